"""Every term recomputed on plans small enough to work out by hand; the working stands beside each number."""

from collections.abc import Mapping
from fractions import Fraction

import pytest

from solver.domain.constraints import Toleration
from solver.domain.gang import Gang
from solver.domain.levels import Tier
from solver.domain.snapshot import Snapshot
from support import oracle
from support.builders import cluster, constraints, flow, gang, group, node, reach, role, with_running
from tests.unit.verify.verifying import assignments, verdict

#: For one GB between single GPUs; the sums stand beside the tiers.
TIERS = {
    "host": Tier(10, 10),  # 100,000 µs for 1 GB and 10 to set up
    "rack": Tier(5, 20),  # 200,000 + 20
    "zone": Tier(1, 50),  # 1,000,000 + 50
    "root": Tier(0.5, 100),  # 2,000,000 + 100
}
HOST, RACK, ZONE, ROOT = 100_010, 200_020, 1_000_050, 2_000_100

#: zone y: rack a (a1, a2), rack b (b1); zone z: rack c (c1). Eight GPUs each.
SITE = cluster(
    node("a1", zone="y", rack="a"),
    node("a2", zone="y", rack="a"),
    node("b1", zone="y", rack="b"),
    node("c1", zone="z", rack="c"),
    tiers=TIERS,
)


def _checked(snapshot: Snapshot, waiting: Gang, text: str) -> Mapping[str, Fraction]:
    """The checker's values of a plan it accepts; the brute force values it alike."""
    found = verdict(snapshot, waiting, text)
    assert found.violations == ()
    placed = {item.pod: item.node for item in assignments(waiting, text)}
    by_brute_force = oracle.terms_of(snapshot, waiting, placed)
    assert dict(found.objective) == dict(zip(oracle.TERMS, by_brute_force.values, strict=True))
    return found.objective


def pd(senders: int, receivers: int, nearest: bool = False, **more: object) -> Gang:
    """Senders p and receivers d, one GB from each pair."""
    return gang(role("p", senders), role("d", receivers), flows=[flow("p", "d", nearest=nearest, **more)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "micros", "climbed"),
    [
        ("p-0@a1 d-0@a1", HOST, 0),
        ("p-0@a1 d-0@a2", RACK, 1),
        ("p-0@a1 d-0@b1", ZONE, 2),
        ("p-0@a1 d-0@c1", ROOT, 3),
    ],
)
def test_one_pair(plan: str, micros: int, climbed: int) -> None:
    """One GB takes the time of the lowest common domain, for either pattern."""
    for nearest in (False, True):
        found = _checked(SITE, pd(1, 1, nearest), plan)
        assert (found["transfer_us"], found["proximity"]) == (micros, climbed)


@pytest.mark.parametrize(
    ("plan", "transfer", "proximity"),
    [
        # each sender meets each receiver once
        ("p-0@a1 p-1@a2 d-0@a1 d-1@a2", Fraction(2 * HOST + 2 * RACK, 4), Fraction(2, 4)),
        ("p-0@a1 p-1@b1 d-0@a2 d-1@c1", Fraction(RACK + ROOT + ZONE + ROOT, 4), Fraction(1 + 3 + 2 + 3, 4)),
        ("p-0@a1 p-1@a1 d-0@c1 d-1@a1", Fraction(2 * ROOT + 2 * HOST, 4), Fraction(6, 4)),
    ],
)
def test_all_to_all(plan: str, transfer: Fraction, proximity: Fraction) -> None:
    """The mean over all pairs of a sender and a receiver."""
    found = _checked(SITE, pd(2, 2), plan)
    assert (found["transfer_us"], found["proximity"]) == (transfer, proximity)


@pytest.mark.parametrize(
    ("plan", "transfer", "proximity"),
    [
        # each finds its partner on its own node
        ("p-0@a1 p-1@c1 d-0@a1 d-1@c1", Fraction(HOST), Fraction(0)),
        # the first pair in rack a, the second over the root
        ("p-0@a1 p-1@b1 d-0@a2 d-1@c1", Fraction(RACK + ROOT, 2), Fraction(1 + 3, 2)),
        # both cross the zone, no matter who with whom
        ("p-0@a1 p-1@a2 d-0@b1 d-1@b1", Fraction(ZONE), Fraction(2)),
    ],
)
def test_nearest(plan: str, transfer: Fraction, proximity: Fraction) -> None:
    """Equal proportions meet as low as they can."""
    found = _checked(SITE, pd(2, 2, nearest=True), plan)
    assert (found["transfer_us"], found["proximity"]) == (transfer, proximity)


def test_nearest_with_unequal_sides() -> None:
    """A sender of weight 1/2 splits over receivers of weight 1/3.

    a1: p and d meet 1/3; p's other 1/6 goes to the d of a2 in rack a. b1: p meets nobody: 1/6 to the rest of a2's d
    and 1/3 to c1.
    """
    found = _checked(SITE, pd(2, 3, nearest=True), "p-0@a1 d-0@a1 d-1@a2 p-1@b1 d-2@c1")
    assert found["transfer_us"] == Fraction(HOST, 3) + Fraction(RACK, 6) + Fraction(ZONE, 6) + Fraction(ROOT, 3)
    assert found["proximity"] == Fraction(1, 6) + Fraction(2, 6) + Fraction(3, 3)


def test_nearest_shares_of_the_report() -> None:
    """The report gives the same shares by level."""
    (report,) = verdict(SITE, pd(2, 3, nearest=True), "p-0@a1 d-0@a1 d-1@a2 p-1@b1 d-2@c1").flows
    sixth = Fraction(1, 6)
    assert dict(report.tier_share) == {"host": 2 * sixth, "rack": sixth, "zone": sixth, "root": 2 * sixth}
    assert (report.source, report.target) == ("p", "d")


@pytest.mark.parametrize(
    ("plan", "transfer", "proximity"),
    [
        ("w-0@a1 w-1@a1 w-2@a1", Fraction(HOST), Fraction(0)),
        # six ordered pairs: a1-a2 twice in the rack, four times with c1 over the root
        ("w-0@a1 w-1@a2 w-2@c1", Fraction(2 * RACK + 4 * ROOT, 6), Fraction(2 * 1 + 4 * 3, 6)),
    ],
)
def test_flow_of_a_role_with_itself(plan: str, transfer: Fraction, proximity: Fraction) -> None:
    """The mean over ordered pairs of different pods."""
    found = _checked(SITE, gang(role("w", 3), flows=[flow("w", "w")]), plan)
    assert (found["transfer_us"], found["proximity"]) == (transfer, proximity)


def test_flows_without_a_pair_cost_nothing() -> None:
    """A pod alone with itself, and a flow to a role that has no pod."""
    found = _checked(SITE, gang(role("w", 1), flows=[flow("w", "w")]), "w-0@a1")
    assert (found["transfer_us"], found["proximity"]) == (0, 0)
    for nearest in (False, True):
        waiting = gang(role("p", 1), role("d", 1, min=0), flows=[flow("p", "d", nearest=nearest)])
        assert _checked(SITE, waiting, "p-0@a1")["transfer_us"] == 0


def test_flows_add_up() -> None:
    """Flows of one request are summed, not averaged, each with its own bytes and transfers."""
    waiting = gang(
        role("r", 1, 0),
        role("p", 1),
        role("d", 1),
        flows=[flow("p", "d"), flow("r", "p", size=0, per_request=3), flow("d", "r", 2, per_request="1/2")],
    )
    found = _checked(SITE, waiting, "r-0@a1 p-0@a1 d-0@a2")
    # 1 GB in the rack; three set-ups on the host; half of 20 + 400,000 µs in the rack
    assert found["transfer_us"] == RACK + 3 * 10 + Fraction(400_020, 2)
    assert found["proximity"] == 1 + 0 + 1


def test_more_gpus_move_bytes_faster() -> None:
    """The smaller engine drives the transfer: 4 GPUs against 2 move 1 GB in half the time."""
    waiting = gang(role("p", 1, 4), role("d", 1, 2), flows=[flow("p", "d")])
    assert _checked(SITE, waiting, "p-0@a1 d-0@a2")["transfer_us"] == 20 + 100_000
    ranks = gang(group("g", role("p", 4, 1), multinode=True), role("d", 1, 4), flows=[flow("p", "d")])
    assert _checked(SITE, ranks, "p-0@a1 p-1@a1 p-2@a1 p-3@a1 d-0@a2")["transfer_us"] == 20 + 50_000


#: One NIC of 2 GB/s a node, over which a single GPU would move 5 in a rack.
NICS = cluster(node("a1", rack="a"), node("a2", rack="a"), node("b1", rack="b"), tiers=TIERS, node_gbps=2)


@pytest.mark.parametrize(
    ("ranks", "receiver", "gpus", "micros"),
    [
        (1, 1, 1, 20 + 500_000),  # 5 GB/s of one GPU, 2 of the NIC
        (1, 4, 4, 20 + 500_000),  # 20 GB/s of four GPUs, 2 of the NIC
        (2, 2, 1, 20 + 500_000),  # four of two nodes and two of one: the smaller side
    ],
)
def test_all_gpus_of_a_node_share_its_nics(ranks: int, receiver: int, gpus: int, micros: int) -> None:
    """However many GPUs an engine has, its bytes pass the NICs of its nodes."""
    sender = group("g", role("p", ranks, gpus), multinode=ranks > 1)
    waiting = gang(sender, role("d", 1, receiver), flows=[flow("p", "d")])
    where = " ".join(f"p-{rank}@a1" for rank in range(ranks))
    assert _checked(NICS, waiting, f"{where} d-0@a2")["transfer_us"] == micros


def test_every_node_of_an_engine_has_nics_of_its_own() -> None:
    """Two engines of two pods each: four GPUs would move 20 GB/s, two NICs move 4; a leader without GPUs adds none."""
    sides = [group(name, role(name, 2, 4), role(f"{name}l", 1, 0), multinode=True) for name in "pd"]
    waiting = gang(*sides, flows=[flow("p", "d")])
    plan = "p-0@a1 p-1@a1 pl-0@a1 d-0@a2 d-1@a2 dl-0@a2"
    assert _checked(NICS, waiting, plan)["transfer_us"] == 20 + 250_000


def test_a_fast_nic_changes_nothing() -> None:
    """NICs that carry what the GPUs send leave every time as it was."""
    sites = [cluster(node("a", rack="r"), node("b", rack="r"), tiers=TIERS, node_gbps=rate) for rate in (None, 20)]
    waiting = gang(role("p", 1, 4), role("d", 1, 4), flows=[flow("p", "d")])
    assert [_checked(site, waiting, "p-0@a d-0@b")["transfer_us"] for site in sites] == [20 + 50_000] * 2


def test_nvlink_and_a_host_that_states_a_tier_use_no_nic() -> None:
    """Inside an NVLink domain, and on a host whose tier says how its pods talk, `nodeGbps` of the site is no limit."""
    waiting = gang(role("p", 1, 4), role("d", 1, 4), flows=[flow("p", "d")])
    tiers = {"nvl": Tier(100, 0), "root": Tier(1, 0)}
    site = cluster(node("a", nvl="v"), node("b", nvl="v"), node("c"), tiers=tiers, node_gbps=0.5)
    assert _checked(site, waiting, "p-0@a d-0@b")["transfer_us"] == 2_500
    assert _checked(site, waiting, "p-0@a d-0@c")["transfer_us"] == 2_000_000
    host = cluster(node("a"), levels=[], tiers={"host": Tier(10, 0), "root": Tier(1, 0)}, node_gbps=0.5)
    assert _checked(host, waiting, "p-0@a d-0@a")["transfer_us"] == 25_000
    silent = cluster(node("a"), levels=[], tiers={"root": Tier(1, 5000)}, node_gbps=0.5)
    assert _checked(silent, waiting, "p-0@a d-0@a")["transfer_us"] == 400 + 2_000_000


def test_equal_or_dearer_domains_inside_pay_the_outer_cost() -> None:
    """Two pods of one node inside an NVLink domain pay that domain's cost; the share names it too."""
    tiers = {"nvl": Tier(1000, 0), "host": Tier(10, 0), "root": Tier(1, 0)}
    snapshot = cluster(node("a", nvl="v"), node("b", nvl="v"), tiers=tiers)
    assert _checked(snapshot, pd(1, 1), "p-0@a d-0@a")["transfer_us"] == 1000
    (report,) = verdict(snapshot, pd(1, 1), "p-0@a d-0@a").flows
    assert dict(report.tier_share) == {"nvl": 1}
    assert _checked(snapshot, pd(1, 1), "p-0@a d-0@a")["proximity"] == 0


def test_equal_costs_name_the_lowest_level() -> None:
    """Where tiers cost the same the share names the level of the pair's own domain."""
    tiers = {"rack": Tier(10, 0), "host": Tier(10, 0), "root": Tier(1, 0)}
    snapshot = cluster(node("a", rack="r"), node("b", rack="r"), tiers=tiers)
    for plan, level in (("p-0@a d-0@a", "host"), ("p-0@a d-0@b", "rack")):
        (report,) = verdict(snapshot, pd(1, 1), plan).flows
        assert dict(report.tier_share) == {level: 1}


def test_nodes_without_a_level_meet_above_it() -> None:
    """Two nodes of one zone without a rack share no rack: they meet in the zone, each on its own node."""
    snapshot = cluster(node("a", zone="y"), node("b", zone="y"), node("c", zone="y", rack="r"), tiers=TIERS)
    found = _checked(snapshot, pd(2, 2), "p-0@a d-0@b p-1@a d-1@a")
    assert found["transfer_us"] == Fraction(2 * ZONE + 2 * HOST, 4)
    assert found["proximity"] == Fraction(2 * 2, 4)
    assert _checked(snapshot, pd(1, 1, nearest=True), "p-0@a d-0@c")["transfer_us"] == ZONE


def test_a_reach_rule_caps_the_cost_of_its_flow() -> None:
    """What the rule keeps inside a rack never pays more than a rack; proximity is not capped."""
    rule = reach("p", "d", "rack", "1/2")
    waiting = gang(role("p", 2), role("d", 4), flows=[flow("p", "d", nearest=True)], reach=[rule])
    plan = "p-0@a1 d-0@a1 d-1@a1 d-2@a1 p-1@b1 d-3@b1"
    # a1 has 1/2 and 3/4, b1 1/2 and 1/4: 3/4 meet on the nodes, 1/4 is left over between the racks
    found = _checked(SITE, waiting, plan)
    assert found["transfer_us"] == Fraction(3 * HOST + RACK, 4)
    assert found["proximity"] == Fraction(2, 4)


@pytest.mark.parametrize(
    ("plan", "climbed"),
    [
        ("w-0@a1 w-1@a2 v-0@a1", Fraction(2 * 0 + 4 * 1, 6)),
        ("w-0@a1 w-1@b1 v-0@c1", Fraction(2 * 2 + 4 * 3, 6)),
    ],
)
def test_proximity_without_flows(plan: str, climbed: Fraction) -> None:
    """All pods that ask for GPUs count as one flow; the router without one does not."""
    waiting = gang(role("w", 2), role("v", 1), role("r", 1, 0))
    found = _checked(SITE, waiting, f"{plan} r-0@c1")
    assert (found["proximity"], found["transfer_us"]) == (climbed, 0)
    assert _checked(SITE, gang(role("r", 2, 0)), "r-0@a1 r-1@c1")["proximity"] == 0


@pytest.mark.parametrize(
    ("plan", "steps", "domains"),
    [
        ("w-0@a1 w-1@a2 w-2@a1 w-3@a1", 0, 1),  # both replicas of two pods in rack a
        ("w-0@a1 w-1@a2 w-2@b1 w-3@b1", 0, 2),  # one in a, one in b
        ("w-0@a1 w-1@a1 w-2@a1 w-3@b1", 1, 2),  # one whole in a, the other closes in the zone only
        ("w-0@a1 w-1@b1 w-2@c1 w-3@c1", 1, 3),  # one whole in c, the other in no rack, both in their zones
        ("w-0@a1 w-1@b1 w-2@b1 w-3@c1", 2, 3),  # one whole in b and in zone y, the other in neither rack nor zone
    ],
)
def test_containment_of_replicas(plan: str, steps: int, domains: int) -> None:
    """Replicas that close in no preferred domain count at every level where they do not."""
    waiting = gang(group("g", role("w", 2), replicas=2, preferred="rack"))
    found = _checked(SITE, waiting, plan)
    assert (found["containment_steps"], found["containment_domains"]) == (steps, domains)


@pytest.mark.parametrize(
    ("plan", "steps", "domains"),
    [
        ("x-0@a1 y-0@a2 y-1@a2", 0, 1),
        ("x-0@a1 y-0@a1 y-1@b1", 1, 2),  # not in one rack, in one zone
        ("x-0@a1 y-0@b1 y-1@c1", 2, 3),  # neither
    ],
)
def test_containment_of_a_whole_gang(plan: str, steps: int, domains: int) -> None:
    """Several roles are contained where all their pods are."""
    waiting = gang(role("x", 1), role("y", 2), preferred="rack")
    found = _checked(SITE, waiting, plan)
    assert (found["containment_steps"], found["containment_domains"]) == (steps, domains)


def test_containment_of_elastic_content() -> None:
    """For elastic pods the pods that are placed count as one replica; a group that is not kept counts nothing."""
    waiting = gang(group("g", role("w", 4, min=1), preferred="rack"), role("r", 1, 0), min=1)
    assert _checked(SITE, waiting, "r-0@a1 w-0@a1 w-1@a2")["containment_steps"] == 0
    assert _checked(SITE, waiting, "r-0@a1 w-0@a1 w-1@b1")["containment_steps"] == 1
    assert _checked(SITE, waiting, "r-0@a1")["containment_domains"] == 0


def test_containment_of_nested_preferences() -> None:
    """Each group with a preferred level counts for itself, nested roles included."""
    inner = group("g", role("x", 2), preferred="rack")
    waiting = gang(inner, role("y", 1), preferred="zone")
    # g over two racks of one zone: one step, two racks; the gang in one zone
    found = _checked(SITE, waiting, "x-0@a1 x-1@b1 y-0@a1")
    assert (found["containment_steps"], found["containment_domains"]) == (1, 2 + 1)
    # g in a rack; the gang in two zones
    found = _checked(SITE, waiting, "x-0@a1 x-1@a2 y-0@c1")
    assert (found["containment_steps"], found["containment_domains"]) == (1, 1 + 2)


def test_fragmentation() -> None:
    """What stays wholly free in every touched host, rack and zone, counted at each level."""
    waiting = gang(role("w", 2, 3))
    # a1: 2 left; rack a: 2 + 8; zone y: 2 + 8 + 8
    assert _checked(SITE, waiting, "w-0@a1 w-1@a1")["fragmentation"] == 2 + 10 + 18
    # a1 and c1: 5 each; rack a 13, rack c 5; zone y 21, zone z 5
    assert _checked(SITE, waiting, "w-0@a1 w-1@c1")["fragmentation"] == 10 + 18 + 26


def test_fragmentation_counts_open_nodes_and_free_devices_only() -> None:
    """Closed nodes have no free GPUs, running pods hold theirs, nodes that cannot be touched still count in a rack."""
    snapshot = cluster(
        node("a", 8, rack="r"), node("b", 8, rack="r", ready=False), node("c", 8, rack="r", schedulable=False),
        node("d", 4, rack="r"),
    )  # fmt: skip
    snapshot, waiting = with_running(snapshot, gang(role("w", 2, 2)), {"default/w-0": "b"})
    # host a: 6, host b: closed; rack: 6 + 4
    found = verdict(snapshot, waiting, "w-1@a")
    assert found.violations == ()
    assert found.objective["fragmentation"] == 6 + 0 + 10


def test_fragmentation_counts_nodes_that_some_role_may_use_though_they_are_closed() -> None:
    """One role tolerates a cordon, the other not being ready; nobody tolerates both on one node."""
    snapshot = cluster(
        node("a", 8, rack="r"), node("b", 4, rack="r", ready=False), node("c", 2, rack="r", schedulable=False),
        node("d", 1, rack="r", ready=False, schedulable=False),
    )  # fmt: skip
    cordon, asleep = "node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready"
    waiting = gang(
        role("v", where=constraints(tolerations=[Toleration(cordon, exists=True)])),
        role("w", where=constraints(tolerations=[Toleration(asleep, exists=True)])),
    )
    found = verdict(snapshot, waiting, "v-0@c w-0@b")
    assert found.violations == ()
    # host c: 1, host b: 3; rack: 8 + 3 + 1
    assert found.objective["fragmentation"] == 1 + 3 + 12


def test_replicas_above_the_minimum() -> None:
    """Pods above the fewest; kept child-group replicas decide among equals."""
    waiting = gang(group("g", role("w", 2), replicas=3, min_replicas=1), role("r", 2, min=1))
    for plan, above, kept in (
        ("w-0@a1 w-1@a1 r-0@a1", 0, 1),
        ("w-0@a1 w-1@a1 r-0@a1 r-1@a1", 1, 1),
        ("w-0@a1 w-1@a1 w-2@a1 w-3@a1 r-0@a1", 2, 2),
    ):
        assert _checked(SITE, waiting, plan)["replicas"] == above
        assert verdict(SITE, waiting, plan).kept_replicas == kept


def test_domains_in_use() -> None:
    """Distinct real domains at every level; a node without a level adds none."""
    snapshot = cluster(node("a", zone="y", rack="r"), node("b", zone="z", rack="r"), node("c"))
    found = verdict(snapshot, gang(role("w", 3)), "w-0@a w-1@b w-2@c")
    assert dict(found.domains) == {"zone": 2, "rack": 2, "host": 3}
