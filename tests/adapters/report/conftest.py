"""A small cluster, a gang on it, and the answer a simple placer gives."""

from collections.abc import Callable
from fractions import Fraction

import pytest

from adapters.report.scene import Scene
from solver.domain.gang import Flow, Gang, Group, Kind, Pack, Role
from solver.domain.plan import (
    Assignment,
    FlowReport,
    GangPlan,
    Notice,
    Plan,
    Proof,
    Reason,
    ReasonCode,
    Sense,
    Stats,
    Status,
    TermValue,
)
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot

ZONE, RACK = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack"


def node(name: str, zone: str, rack: str | None, gpus: int = 4, **states: bool) -> NodeRecord:
    """A node with whole GPUs in a zone and, unless None, a rack."""
    labels = {ZONE: zone} | ({RACK: rack} if rack else {})
    return NodeRecord(name, Resources.of({GPU: gpus * 1000, CPU: 64_000, PODS: 110}), labels, **states)


@pytest.fixture
def snapshot() -> Snapshot:
    """Four racks of two 4-GPU nodes in two zones; n1 half used, n8 cordoned."""
    nodes = [node(f"n{i}", f"z{(i + 3) // 4}", f"r{(i + 1) // 2}", schedulable=i != 8) for i in range(1, 9)]
    return build_snapshot(nodes, [BoundPod("x/busy", "n1", Resources.of({GPU: 2000}))])


@pytest.fixture
def gang() -> Gang:
    """A router without GPU, a prefill and two decode pods of two GPUs."""

    def role(name: str, kind: Kind, count: int, gpus: int) -> Role:
        return Role(name, count, count, kind, Resources.of({GPU: gpus * 1000, CPU: 1000}))

    root = Group(
        "g",
        (
            role("router", Kind.ROUTER, 1, 0),
            role("prefill", Kind.PREFILL, 1, 2),
            role("decode", Kind.DECODE, 2, 2),
        ),
        pack=Pack(required="zone"),
    )
    return Gang("prod/g", root, flows=(Flow(("prefill",), ("decode",), 1_310_720_000),))


@pytest.fixture
def answer() -> GangPlan:
    """All pods of the gang on n1, n2 and n3, out of order, with every kind of number."""
    return GangPlan(
        "prod/g",
        Status.FEASIBLE,
        (
            Assignment("prod/decode-1", "decode", "n3"),
            Assignment("prod/decode-0", "decode", "n2"),
            Assignment("prod/router-0", "router", "n2"),
            Assignment("prod/prefill-0", "prefill", "n1", (0, 1)),
        ),
        objective=(
            TermValue("replicas", Sense.MAX, Fraction(0), Fraction(0)),
            TermValue("transfer_us", Sense.MIN, Fraction(25, 2), Fraction(25, 2)),
            TermValue("proximity", Sense.MIN, Fraction(4, 3), Fraction(1)),
            TermValue("fragmentation", Sense.MIN, Fraction(7), None),
        ),
        domains={"zone": 1, "rack": 2, "host": 3},
        flows=(FlowReport("prefill", "decode", {"zone": Fraction(1, 2), "rack": Fraction(1, 2)}, Fraction(25, 2)),),
        warnings=(Notice("model_assumed", "prod/g", "", "no model named; llama-3-70b assumed"),),
        stats=Stats(8, 2, 3, 1.25, 2.5, 3.0, 0.25, "auto", Proof.BOTH),
    )


@pytest.fixture
def refusal() -> GangPlan:
    """A gang that cannot be placed."""
    reasons = (
        Reason(ReasonCode.PACK, "needs 16 GPUs in one rack; the fullest has 6 free", ("rack",), {"needed": 16}),
        Reason(ReasonCode.ELIGIBLE, "1 node is cordoned", ("n8",), {"nodes": 1}),
    )
    return GangPlan("prod/big", Status.INFEASIBLE, reasons=reasons, stats=Stats(8, proof=Proof.TREE))


@pytest.fixture
def scene_of(snapshot: Snapshot, gang: Gang) -> Callable[..., Scene]:
    """A scene from gang plans."""
    return lambda *plans: Scene(snapshot, [gang], Plan(tuple(plans)))
