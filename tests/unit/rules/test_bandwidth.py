"""Rule `bandwidth` alone: NICs of nodes and NVLink domains, uplinks, both patterns, and what forms the limit."""

from dataclasses import replace
from fractions import Fraction

import pytest

from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.levels import HOST_LABEL, Level, TopologySpec
from solver.domain.plan import Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, WarmTables, plan
from support import oracle
from support.builders import cluster, flow, gang, group, node, reach, role, with_running
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, solved, values
from tests.unit.rules.tables import Fits, Refused, check_fits, check_refused, fitting, refusing

RACK = Level("rack", "rack")
#: A bit more than nothing.
MORE = Fraction(1, 1000)


def nodes(*free: int, racks: str = "", spec: TopologySpec) -> Snapshot:
    """Nodes n0, n1 … with so many GPUs each; racks: a letter for each, `-` for none."""
    labels = [None if each == "-" else each for each in racks or "-" * len(free)]
    return cluster(*(node(f"n{at}", gpus, rack=labels[at]) for at, gpus in enumerate(free)), spec=spec)


def nics(gbps: float, used: float | None = None, **settings: float) -> TopologySpec:
    """NICs of so many GB/s a node, of which others use a part."""
    host = Level("host", HOST_LABEL, used_gbps=used)
    return TopologySpec("", (RACK, host), node_gbps=gbps, **settings)


def uplink(gbps: float, used: float | None = None) -> TopologySpec:
    """Racks with an uplink of so many GB/s."""
    return TopologySpec("", (replace(RACK, uplink_gbps=gbps, used_gbps=used),))


def pd(senders: int, receivers: int, gpus: float = 1, rps: Fraction | int | str = 3, nearest: bool = False) -> Gang:
    """Every sender p and receiver d, 1 GB a request."""
    flows = [flow("p", "d", nearest=nearest)]
    return gang(role("p", senders, gpus), role("d", receivers, gpus), flows=flows, rps=rps)


# Two engines of eight GPUs on two nodes of eight: all that is sent crosses. 0.6 of 5 GB/s are 3.
FITS: dict[str, Fits] = {
    "a node's NICs, exactly": (nodes(8, 8, spec=nics(5)), pd(1, 1, 8), 2),
    "nearest, a node's NICs, exactly": (nodes(8, 8, spec=nics(5)), pd(1, 1, 8, nearest=True), 2),
    "a share of its own": (nodes(8, 8, spec=nics(3, max_link_share=1.0)), pd(1, 1, 8), 2),
    "what others use is left out": (nodes(8, 8, spec=nics(6, 1)), pd(1, 1, 8), 2),
    "a rack's uplink, exactly": (nodes(8, 8, racks="ab", spec=uplink(5)), pd(1, 1, 8), 2),
    "an uplink that others use": (nodes(8, 8, racks="ab", spec=uplink(8, 3)), pd(1, 1, 8), 2),
    "oversubscription counts the nodes of a rack": (
        nodes(8, 0, 8, 0, racks="aabb", spec=TopologySpec("", (replace(RACK, oversubscription=2),), node_gbps=5)),
        pd(1, 1, 8), 2,
    ),
    "within a rack no uplink is used": (nodes(8, 8, racks="aa", spec=uplink(0.1)), pd(1, 1, 8), 2),
    "a node without a rack has no uplink": (nodes(8, 8, racks="--", spec=uplink(0.1)), pd(1, 1, 8), 2),
    "on one node nothing leaves": (nodes(8, 8, spec=nics(0.1)), pd(4, 4), 8),
    "all pairs alike: a quarter leaves, exactly": (nodes(2, 2, spec=nics(1.25)), pd(2, 2), 4),
    "nearest: all stays": (nodes(2, 2, spec=nics(0.1)), pd(2, 2, nearest=True), 4),
    "a role with itself: a third of the pairs leave, exactly": (
        nodes(2, 2, spec=nics(2.5)), gang(role("w", 4), flows=[flow("w", "w")], rps=Fraction(9, 2)), 4,
    ),
    "elastic pods stop where the link is full": (
        nodes(8, 2, spec=nics(1)), gang(role("p", 8), role("d", 2, min=0), flows=[flow("p", "d")], rps=3), 9,
    ),
    "no rate, no rule": (
        nodes(8, 8, spec=nics(0.1)), gang(role("p", gpus=8), role("d", gpus=8), flows=[flow("p", "d")]), 2,
    ),
    "nothing served": (nodes(8, 8, spec=nics(0.1)), pd(1, 1, 8, rps=0), 2),
    "what a reach rule keeps in a rack uses no uplink": (
        nodes(4, 2, racks="ab", spec=uplink(0.1)),
        gang(
            role("p", 2), role("d", 4), flows=[flow("p", "d", nearest=True)],
            reach=[reach("p", "d", "rack", "1/2")], rps=3,
        ), 6,
    ),
    "several roles on a side": (
        nodes(4, 4, spec=nics(5)),
        gang(role("p", 2, 2), role("q", 2, 1), role("d", 2, 1), flows=[flow("p+q", "d")], rps=4), 6,
    ),
}  # fmt: skip

TEXT = "no placement keeps the traffic of p → d … without this rule {} {} would carry {} MB/s one way, at most {} may"


def _refused(snapshot: Snapshot, waiting: Gang, where: str, domain: str, needed: int, allowed: int) -> Refused:
    text = TEXT.format(where, domain, needed, allowed)
    return snapshot, waiting, "bandwidth", text, {"needed_mbps": needed, "allowed_mbps": allowed}


REFUSED: dict[str, Refused] = {
    "a node's NICs, a bit too much": _refused(
        nodes(8, 8, spec=nics(5)), pd(1, 1, 8, rps=3 + MORE), "host", "n0", 3001, 3000
    ),
    "nearest, a bit too much": _refused(
        nodes(8, 8, spec=nics(5)), pd(1, 1, 8, rps=3 + MORE, nearest=True), "host", "n0", 3001, 3000
    ),
    "a rack's uplink, a bit too much": _refused(
        nodes(8, 8, racks="ab", spec=uplink(5)), pd(1, 1, 8, rps=3 + MORE), "rack", "a", 3001, 3000
    ),
    "others leave too little": _refused(nodes(8, 8, spec=nics(6, 1.5)), pd(1, 1, 8), "host", "n0", 3000, 2700),
    "others leave nothing": _refused(nodes(8, 8, racks="ab", spec=uplink(5, 9)), pd(1, 1, 8), "rack", "a", 3000, 0),
    "too small a rack for its oversubscription": _refused(
        nodes(8, 8, racks="ab", spec=TopologySpec("", (replace(RACK, oversubscription=2),), node_gbps=5)),
        pd(1, 1, 8), "rack", "a", 3000, 1500,
    ),
    "what comes in counts as well": _refused(
        nodes(1, 1, 2, spec=nics(2.5)), gang(role("p", 2, 1), role("d", 1, 2), flows=[flow("p", "d")], rps=3),
        "host", "n2", 3000, 1500,
    ),
}  # fmt: skip


@fitting(FITS)
@each_engine
def test_traffic_that_fits(case: Fits, engine: Engine) -> None:
    """What crosses a link stays within its share, to the last byte."""
    check_fits(case, engine)


@refusing(REFUSED)
@each_engine
def test_traffic_that_does_not_fit(case: Refused, engine: Engine) -> None:
    """There is room for every pod, and only a link forbids it; the reason names it and both figures."""
    check_refused(case, engine)


@each_engine
def test_the_rule_forbids_what_would_be_faster(engine: Engine) -> None:
    """Nodes of one rack are nearest but split 3 to 1, which sends a half over a NIC; halves on two nodes a quarter."""
    site = nodes(3, 1, 2, 2, racks="aabc", spec=nics(1.25))
    free = placed(site, replace(pd(2, 2), requests_per_second=None), engine)
    assert set(nodes_of(free).values()) == {"n0", "n1"}
    answer = placed(site, pd(2, 2), engine)
    assert "n1" not in nodes_of(answer).values()
    assert values(answer)["transfer_us"] > values(free)["transfer_us"]
    assert brute_force_agrees(site, pd(2, 2), answer)


@each_engine
def test_running_members_count(engine: Engine) -> None:
    """What runs already sends and receives: a second sender on its node would be too much."""
    site = nodes(4, 4, 8, spec=nics(2.5))
    snapshot, waiting = with_running(site, pd(2, 1, 4, rps=3), {"default/d-0": "n2"})
    answer = solved(snapshot, waiting, engine)
    assert brute_force_agrees(snapshot, waiting, answer)
    assert nodes_of(answer)["p-0"] == "n2" or nodes_of(answer)["p-1"] == "n2"
    snapshot, waiting = with_running(site, pd(1, 1, 4, rps=3), {"default/d-0": "n0"})
    answer = solved(snapshot, waiting, engine)
    assert answer.status is Status.INFEASIBLE
    assert brute_force_agrees(snapshot, waiting, answer)


def nvlink(*free: int, domains: str, gbps: float) -> Snapshot:
    """Nodes with so many GPUs, each with the letter of its NVLink domain or `-`."""
    records = [
        node(f"n{at}", gpus, nvl=None if each == "-" else each)
        for at, (gpus, each) in enumerate(zip(free, domains, strict=True))
    ]
    return cluster(*records, spec=TopologySpec("", (Level("nvl", "nvl"),), node_gbps=gbps))


@each_engine
def test_inside_an_nvlink_domain_no_nic_is_used(engine: Engine) -> None:
    """What stays in the domain is free; what leaves it goes over the NICs of all its nodes together."""
    together = nvlink(8, 8, 8, 8, domains="aab-", gbps=0.1)
    answer = placed(together, pd(1, 1, 8), engine)
    assert set(nodes_of(answer).values()) == {"n0", "n1"}
    assert brute_force_agrees(together, pd(1, 1, 8), answer)
    pairs = nvlink(8, 8, 8, 8, domains="aabb", gbps=1.25)
    answer = placed(pairs, pd(2, 2, 8), engine)  # a sender and a receiver in each: 0.75 of 1.5 GB/s
    assert brute_force_agrees(pairs, pd(2, 2, 8), answer)
    apart = nvlink(8, 8, domains="a-", gbps=1.25)
    answer = solved(apart, pd(1, 1, 8), engine)
    assert answer.status is Status.INFEASIBLE
    assert brute_force_agrees(apart, pd(1, 1, 8), answer)


def test_nics_that_are_looked_at_together_are_told() -> None:
    """Only for a gang with the rule, and only where an NVLink domain has several nodes."""
    for domains, waiting, told in (("aa", pd(1, 1), True), ("ab", pd(1, 1), False), ("aa", pd(1, 1, rps="0"), True)):
        (answer,) = plan(nvlink(8, 8, domains=domains, gbps=50), [waiting]).gangs
        assert ("nics_together" in [each.code for each in answer.warnings]) is told


@pytest.mark.parametrize(
    ("site", "waiting", "missing"),
    [
        (nodes(8, 8, racks="ab", spec=TopologySpec("", (RACK,))), pd(1, 1), "neither nodeGbps nor uplinks"),
        (nodes(8, 8, spec=nics(5)), gang(role("p"), rps=3), "no flows"),
    ],
)
def test_a_rule_with_nothing_to_check_is_told(site: Snapshot, waiting: Gang, missing: str) -> None:
    """Requests per second without links, or without traffic, are a warning and no limit."""
    (answer,) = plan(site, [waiting]).gangs
    (notice,) = answer.warnings
    assert answer.status is Status.OPTIMAL
    assert (notice.code, notice.object, notice.field) == (
        "bandwidth_unchecked", "default/llama", "requestsPerSecond",
    )  # fmt: skip
    assert missing in notice.message


def test_numbers_beyond_64_bits_are_refused() -> None:
    """In one sentence that names the gang, by every engine alike."""
    flows = [
        flow("p", "d", size=10**15 - 1, per_request="999983/999979"),
        flow("d", "p", size=10**15 - 3, per_request="1/3"),
    ]
    waiting = gang(role("p", 7), role("d", 5), flows=flows, rps=3)
    for engine in Engine:
        with pytest.raises(InvalidRequest) as caught:
            plan(nodes(8, 8, spec=nics(5)), [waiting], Options(engine))
        assert str(caught.value).startswith("gang default/llama: bandwidth: the numbers leave the 64-bit range")


def test_a_rate_out_of_range_is_refused() -> None:
    """Requests a second are between 0 and 10⁹."""
    for rate in (Fraction(-1), Fraction(10**9 + 1)):
        with pytest.raises(InvalidRequest, match=r"requestsPerSecond .* is out of range"):
            pd(1, 1, rps=rate)


def test_warm_tables_tell_rates_and_links_apart() -> None:
    """Gangs that differ in their rate only, and sites that differ in their links only, share no tables."""
    warm = WarmTables()
    site = nodes(8, 8, racks="ab", spec=uplink(5))
    for rate, status in ((3, Status.OPTIMAL), (4, Status.INFEASIBLE), (3, Status.OPTIMAL), (None, Status.OPTIMAL)):
        waiting = replace(pd(1, 1, 8), requests_per_second=None if rate is None else Fraction(rate))
        assert plan(site, [waiting], Options(Engine.TREE), warm=warm).gangs[0].status is status
    for gbps, status in ((4, Status.INFEASIBLE), (5, Status.OPTIMAL)):
        other = nodes(8, 8, racks="ab", spec=uplink(gbps))
        assert plan(other, [pd(1, 1, 8)], Options(Engine.TREE), warm=warm).gangs[0].status is status


def test_gangs_of_a_batch_each_keep_their_rule() -> None:
    """Planned jointly, each plan keeps the links within what the gang's own traffic may use."""
    site = nodes(2, 2, 2, 2, racks="aabb", spec=nics(1.25))
    both = [
        gang(role(f"p{at}", 2), role(f"d{at}", 2), name=f"default/g{at}", flows=[flow(f"p{at}", f"d{at}")], rps=3)
        for at in range(2)
    ]
    found = plan_batch(site, both, Options(time_limit_s=20))
    for answer, waiting in zip(found.gangs, both, strict=True):
        assert answer.status.placed
        where = {item.pod: item.node for item in answer.assignments}
        assert "bandwidth" not in oracle.allowed(site, waiting, where)


def test_a_multinode_engine_sends_from_each_of_its_nodes() -> None:
    """The ranks of one engine are pods like any others: each carries its part."""
    engine = group("g", role("p", 2, 8), multinode=True)
    waiting = gang(engine, role("d", 1, 8), flows=[flow("p", "d")], rps=3)
    site = nodes(8, 8, 8, spec=nics(5))
    assert brute_force_agrees(site, waiting, placed(site, waiting, Engine.AUTO))
    assert solved(site, replace(waiting, requests_per_second=3 + MORE), Engine.AUTO).status is Status.INFEASIBLE
