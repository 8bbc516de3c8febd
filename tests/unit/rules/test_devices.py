"""Devices of every kind: engine sizes, proximity and fragmentation are the same whatever they are called."""

from fractions import Fraction

import pytest

from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, ReasonCode, Status
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot
from solver.planner import Engine, Options, plan
from solver.topology.costs import engine_gpus
from support.builders import flow, gang, group, node, role, topology
from support.oracle import TERMS, solve

ENGINES = pytest.mark.parametrize("engine", list(Engine))
AMD, OWN = "amd.com/gpu", "example.com/card"


def site(*nodes: NodeRecord, added: tuple[str, ...] = ()) -> Snapshot:
    """Nodes in racks."""
    return build_snapshot(nodes, topologies=[topology("rack")], accelerators=Accelerators(added))


def machine(name: str, rack: str, **devices: int) -> NodeRecord:
    """A node without GPUs but with devices: `amd` or `own`."""
    names = {"amd": AMD, "own": OWN}
    return node(name, 0, more={names[kind]: count for kind, count in devices.items()}, rack=rack)


def planned(snapshot: Snapshot, waiting: Gang, engine: Engine) -> GangPlan:
    """The plan, which every oracle and the checker agree to."""
    found = plan(snapshot, [waiting], Options(engine)).gangs[0]
    best = solve(snapshot, waiting)
    assert best is not None
    assert {term.term: term.value for term in found.objective} == {name: best[name] for name in TERMS}
    return found


def value(found: GangPlan, term: str) -> Fraction:
    """What a term is worth."""
    return next(each.value for each in found.objective if each.term == term)


RACKS = (
    *(machine(f"a{at}", "r1", amd=8) for at in range(2)),
    *(machine(f"b{at}", "r2", amd=8) for at in range(3)),
)


@ENGINES
def test_pods_on_devices_belong_together(engine: Engine) -> None:
    """Three whole nodes without any rule: only the second rack has them, and proximity takes it."""
    found = planned(site(*RACKS), gang(role("w", 3, 0, more={AMD: 8})), engine)
    assert {each.node for each in found.assignments} == {"b0", "b1", "b2"}
    assert (value(found, "proximity"), value(found, "fragmentation")) == (1, 0)


@ENGINES
def test_a_resource_that_is_no_device_does_not_draw_pods_together(engine: Engine) -> None:
    """The same with a resource nobody has declared a device: any nodes will do, and nothing is fragmented."""
    nodes = [machine(f"n{at}", f"r{at}", own=8) for at in range(3)]
    waiting = gang(role("w", 2, 0, more={OWN: 8}))
    found = planned(site(*nodes), waiting, engine)
    assert (value(found, "proximity"), value(found, "fragmentation")) == (0, 0)
    declared = planned(site(*nodes, added=("example.com/*",)), waiting, engine)
    assert value(declared, "proximity") == 2


@ENGINES
def test_devices_are_rails(engine: Engine) -> None:
    """Eight devices of another maker send as fast as eight GPUs, four times as fast as two."""
    times = []
    for devices in (8, 2):
        nodes = [machine("a", "r1", amd=devices), machine("b", "r1", amd=devices)]
        roles = [role(name, 1, 0, more={AMD: devices}) for name in ("prefill", "decode")]
        found = planned(site(*nodes), gang(*roles, flows=[flow("prefill", "decode", 1)]), engine)
        times.append(value(found, "transfer_us"))
    assert times == [400 + Fraction(10**9, 40 * 8 * 1000), 400 + Fraction(10**9, 40 * 2 * 1000)]


def test_an_engine_has_the_devices_of_all_its_ranks() -> None:
    """Ranks of a multi-node replica count together, whichever kinds they use; nothing counts as one."""
    ranks = group("engine", role("rank", 2, 1, more={AMD: 4}), replicas=2, multinode=True)
    sizes = engine_gpus(gang(ranks, role("alone", 1, 0, more={AMD: 3}), role("router", 1, 0)), KNOWN_ACCELERATORS)
    assert sizes == {"rank": 10, "alone": 3, "router": 1}


@ENGINES
def test_a_node_with_two_kinds_leaves_holes_of_both(engine: Engine) -> None:
    """A pod that takes two of four leaves two, and on the node with two GPUs beside them two more."""
    both, plain = node("both", 2, more={AMD: 4}, rack="r1"), machine("plain", "r2", amd=4)
    found = planned(site(both, plain), gang(role("w", 1, 0, more={AMD: 2})), engine)
    assert [each.node for each in found.assignments] == ["plain"]
    assert value(found, "fragmentation") == 4  # two on the node, two in its rack
    two = planned(site(both), gang(role("w", 1, 2, more={AMD: 1})), engine)
    assert value(two, "fragmentation") == 6


@ENGINES
def test_a_kind_does_not_stand_in_for_another(engine: Engine) -> None:
    """Devices of one kind are no room for pods that ask for another, on the border of what fits."""
    snapshot = site(node("a", 8, rack="r1"), machine("b", "r1", amd=7))
    assert plan(snapshot, [gang(role("w", 1, 0, more={AMD: 7}))], Options(engine)).gangs[0].status is Status.OPTIMAL
    short = plan(snapshot, [gang(role("w", 1, 0, more={AMD: 8}))], Options(engine)).gangs[0]
    assert (short.status, [each.code for each in short.reasons]) == (Status.INFEASIBLE, [ReasonCode.CAPACITY])
    assert "8 amd.com/gpu" in short.reasons[0].message
