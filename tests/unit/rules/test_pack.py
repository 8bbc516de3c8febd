"""Rule `pack` alone: one level, nested groups, several replicas."""

import pytest

from solver.domain.constraints import Taint
from solver.domain.plan import Status
from solver.domain.snapshot import NodeRecord, Snapshot
from solver.planner import Engine
from support.builders import cluster, constraints, gang, group, node, role, with_running
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, refused, solved
from tests.unit.rules.tables import Fits, Refused, check_fits, check_refused, fitting, refusing


def racks(*free: int, zones: str = "") -> Snapshot:
    """One node for each rack; `zones` holds a letter for each."""
    return cluster(*_nodes(free, zones))


def _nodes(free: tuple[int, ...], zones: str) -> list[NodeRecord]:
    return [
        node(f"n{index}", gpus, rack=f"r{index}", zone=zones[index] if zones else None)
        for index, gpus in enumerate(free)
    ]


def _pair(one: int, other: int) -> Fits:
    """Two groups packed in a rack each, together in a zone."""
    inner = [group("g", role("x", one), required="rack"), group("h", role("y", other), required="rack")]
    return racks(4, 3, 4, 4, zones="aabb"), gang(*inner, required="zone"), one + other


FITS: dict[str, Fits] = {
    "one domain with room to spare": (racks(3, 5), gang(role("w", 4), required="rack"), 4),
    "one domain to the brim": (racks(3, 4), gang(role("w", 4), required="rack"), 4),
    "two nodes of one domain": (
        cluster(node("a", 2, rack="r"), node("b", 2, rack="r"), node("c", 3, rack="s")),
        gang(role("w", 4), required="rack"), 4,
    ),
    "two replicas in two domains": (
        racks(3, 3), gang(group("g", role("w", 3), replicas=2, required="rack")), 6,
    ),
    "two replicas in one domain": (
        racks(6, 2), gang(group("g", role("w", 3), replicas=2, required="rack")), 6,
    ),
    "elastic replicas take whole domains": (
        racks(5, 2, 3), gang(group("g", role("w", 3), replicas=3, min_replicas=1, required="rack")), 6,
    ),
    "elastic pods stay in the domain": (
        racks(3, 3), gang(role("w", 5, min=2), required="rack"), 3,
    ),
    "nested, to the brim": _pair(4, 4),
    "nested, a zone that only together suffices": _pair(4, 3),
    "an outer level narrower than the inner one": (
        racks(4, 4, zones="aa"), gang(group("g", role("w", 2), required="zone"), role("v", 2), required="rack"), 4,
    ),
    "replicas inside replicas": (
        racks(2, 2, 2, 2, zones="aabb"),
        gang(group("o", group("i", role("w", 2), replicas=2, required="rack"), replicas=2, required="zone")), 8,
    ),
    "on one host": (racks(3, 4), gang(role("w", 4), required="host"), 4),
}  # fmt: skip

REFUSED: dict[str, Refused] = {
    "one too many for every domain": (
        racks(3, 4), gang(role("w", 5), required="rack"),
        "pack", "the gang needs 5 GPUs in one rack; the fullest has 4 free", {"needed": 5, "largest": 4},
    ),
    "a replica too big for every domain": (
        racks(3, 4), gang(group("g", role("w", 5), required="rack"), role("v")),
        "pack", "a replica of group g needs 5 GPUs in one rack; the fullest has 4 free", {"needed": 5, "largest": 4},
    ),
    "replicas are not cut": (
        racks(5, 4), gang(group("g", role("w", 3), replicas=3, required="rack")),
        "pack", "g in one rack (3 times 3 GPUs, the fullest has 5 free", {"groups": 1},
    ),
    "nested, no zone has both": (
        racks(4, 3, 4, 3, zones="aabb"), _pair(4, 4)[1],
        "pack", "the gang needs 8 GPUs in one zone; the fullest has 7 free", {"needed": 8, "largest": 7},
    ),
    "nested, the zone suffices and its racks do not": (
        racks(5, 3, 5, 3, zones="aabb"), _pair(4, 4)[1],
        "pack", "root in one zone (8 GPUs, the fullest has 8 free … g in one rack … h in one rack", {"groups": 3},
    ),
    "a sum that suffices in pieces that do not": (
        cluster(*(node(f"n{index}", 3, rack="r") for index in range(3)), node("m", 2, rack="s")),
        gang(role("w", 4, 2), required="rack"),
        "pack", "the gang needs 4 pods of role w (2 GPUs) in one rack; the fullest has room for 3",
        {"needed": 4, "places": 3},
    ),
    "the same name in two zones is not one rack": (
        cluster(node("a", 2, zone="a", rack="r"), node("b", 2, zone="b", rack="r")),
        gang(role("w", 4), required="rack"),
        "pack", "the gang needs 4 GPUs in one rack; the fullest has 2 free", {"needed": 4, "largest": 2},
    ),
    "CPU instead of GPUs": (
        cluster(node("a", 0, 4, rack="r"), node("b", 0, 4, rack="s")), gang(role("w", 5, 0, 1), required="rack"),
        "pack", "the gang needs 5 CPUs in one rack; the fullest has 4 CPUs free", {"needed": 5000, "largest": 4000},
    ),
    "with nodes that are out": (
        cluster(
            node("a", 12, rack="r"), node("b", 4, rack="s"),
            *(node(f"t{index}", 8, rack="r", taints=[Taint("gpu", "reserved")]) for index in range(3)),
        ),
        gang(role("w", 16), required="rack"),
        "pack", "the gang needs 16 GPUs in one rack; the fullest has 12 free … 3 nodes … taint gpu=reserved",
        {"needed": 16, "largest": 12},
    ),
}  # fmt: skip


@fitting(FITS)
@each_engine
def test_packs_that_fit(case: Fits, engine: Engine) -> None:
    """Every replica finds a domain of its own required level."""
    check_fits(case, engine)


@refusing(REFUSED)
@each_engine
def test_packs_that_do_not_fit(case: Refused, engine: Engine) -> None:
    """The total suffices and no domain does; the reason names the level and what the fullest domain has."""
    if case[1].roles[0].replicas < 16:
        check_refused(case, engine)
    else:  # sixteen pods are too many to try every map
        snapshot, waiting, code, text, numbers = case
        refused(snapshot, waiting, engine, code, text, **numbers)


@each_engine
def test_a_replica_is_whole_and_replicas_are_free(engine: Engine) -> None:
    """Each replica of two pods lies in one rack, wherever the other replicas are."""
    snapshot, waiting, _ = FITS["two replicas in two domains"]
    where = nodes_of(placed(snapshot, waiting, engine))
    assert {where[f"w-{index}"] for index in (0, 1, 2)} != {where[f"w-{index}"] for index in (3, 4, 5)}
    assert all(len({where[f"w-{index + part}"] for index in range(3)}) == 1 for part in (0, 3))


@each_engine
def test_running_members_hold_the_domain(engine: Engine) -> None:
    """The rest of the gang joins the rack where a member runs, or nothing is placed."""
    waiting = gang(role("w", 3), required="rack")
    for there, fine in ((3, True), (2, False)):
        snapshot, joined = with_running(racks(8, there), waiting, {"default/w-0": "n1"})
        if fine:
            answer = placed(snapshot, joined, engine)
            assert nodes_of(answer) == {"w-1": "n1", "w-2": "n1"}
        else:
            text = "the gang needs 2 GPUs more in the rack it runs in, which has 1 free"
            answer = refused(snapshot, joined, engine, "pack", text, needed=2, largest=1)
        assert brute_force_agrees(snapshot, joined, answer)


@each_engine
def test_pods_of_different_pools_share_the_domain(engine: Engine) -> None:
    """A rack needs room for every role on nodes that the role may use."""
    nodes = [
        node("a1", 4, rack="a", pool="x"),
        node("a2", 1, rack="a", pool="y"),
        node("b1", 2, rack="b", pool="x"),
        node("b2", 2, rack="b", pool="y"),
    ]
    waiting = gang(
        role("x", 2, where=constraints(pool="x")), role("y", 2, where=constraints(pool="y")), required="rack"
    )
    answer = placed(cluster(*nodes), waiting, engine)
    assert nodes_of(answer) == {"x-0": "b1", "x-1": "b1", "y-0": "b2", "y-1": "b2"}
    assert brute_force_agrees(cluster(*nodes), waiting, answer)


@each_engine
def test_a_narrower_outer_level_does_not_hide_a_missing_label(engine: Engine) -> None:
    """One host is inside one rack, but not where a member runs on a node that has no rack."""
    waiting = gang(group("g", role("w", 2), required="rack"), required="host")
    for rack, status in (("r", Status.OPTIMAL), (None, Status.INFEASIBLE)):
        site = cluster(node("a", 8, rack=rack), node("b", 8, rack="s"))
        snapshot, running = with_running(site, waiting, {"default/w-0": "a"})
        answer = solved(snapshot, running, engine)
        assert answer.status is status
        assert brute_force_agrees(snapshot, running, answer)


@each_engine
@pytest.mark.parametrize("outer", ["zone", "rack", "host", None])
@pytest.mark.parametrize("inner", ["zone", "rack"])
def test_a_member_that_runs_where_its_level_is_missing_breaks_the_rule(
    inner: str, outer: str | None, engine: Engine
) -> None:
    """Whatever is required around the group: it is reported as such."""
    packed = {} if outer is None else {"required": outer}
    waiting = gang(group("g", role("w", 1), required=inner), **packed)
    labels = {"zone": "z", "rack": "r"} | {inner: None}
    snapshot, running = with_running(
        cluster(node("a", 8, **labels), node("b", 8, zone="y", rack="s")), waiting, {"default/w-0": "a"}
    )
    if inner == outer:
        answer = solved(snapshot, running, engine)
        assert [reason.code for reason in answer.reasons] == ["pack", "pack"]
    else:
        text = f"group g has to lie in one {inner} … 1 pod of it runs on a node without label {inner} … w-0 on a"
        answer = refused(snapshot, running, engine, "pack", text, pods=1)
    assert brute_force_agrees(snapshot, running, answer)
