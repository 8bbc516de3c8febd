"""Groups that replicate, planned whole and replica by replica."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest

from adapters.apply.observed import LiveGang
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Status
from solver.domain.snapshot import Snapshot
from solver.planner import plan
from support.builders import cluster, node

Read = Callable[..., LiveGang]

GANG = """---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: g}
spec:
  root:
    roles: [{name: prefill, kind: prefill, replicas: 2}]
    groups:
      - name: unit
        replicas: 3
        min: 2
        pack: {required: rack}
        roles: [{name: rank, kind: decode, replicas: 2}]
  flows: [{from: prefill, to: rank, bytes: 1310720000}]
"""
PODS = [f"prefill-{at}" for at in range(2)] + [f"rank-{at}" for at in range(6)]


def text(bound: Mapping[str, str], missing: str = "") -> str:
    """The Gang and its pods, some of them bound, each of a whole node."""
    pods = []
    for name in PODS:
        role, where = name.partition("-")[0], bound.get(f"ns/{name}")
        held = f"nodeName: {where}" if where else "schedulingGates: [{name: huddle.scheduler/gang}]"
        labels = f"{{huddle.scheduler/gang: g, huddle.scheduler/role: {role}}}"
        asked = "[{name: main, resources: {limits: {nvidia.com/gpu: 8}}}]"
        if name != missing:
            pods.append(
                f"---\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{{held}, containers: {asked}}}\n"
            )
    return GANG + "".join(pods)


@pytest.fixture
def snapshot() -> Snapshot:
    """Five racks of two nodes, two racks in a zone."""
    nodes = [node(f"n{at}", gpus=8, rack=f"r{at // 2}", zone=f"z{at // 4}") for at in range(10)]
    return cluster(*nodes)


def solved(snapshot: Snapshot, gang: Gang | None) -> GangPlan:
    """The plan of a gang."""
    assert gang is not None
    (found,) = plan(snapshot, [gang]).gangs
    return found


def where(found: GangPlan) -> dict[str, str]:
    """Pod → node, of all members."""
    return {item.pod: item.node for item in (*found.assignments, *found.running)}


def transfer(found: GangPlan) -> Fraction:
    """Mean transfer time of a request."""
    return next(term.value for term in found.objective if term.term == "transfer_us")


def racks(nodes: Mapping[str, str], replica: int) -> set[int]:
    """Racks that a replica is in."""
    return {int(nodes[f"ns/rank-{at}"][1:]) // 2 for at in (2 * replica, 2 * replica + 1)}


def test_a_replica_returns_to_its_rack(live: Read, snapshot: Snapshot) -> None:
    """Whole first; then one pod is lost, and its successor joins the other pod of its replica, nowhere else."""
    first = solved(snapshot, live(text({})).gang)
    assert first.status is Status.OPTIMAL
    nodes = where(first)
    assert all(len(racks(nodes, replica)) == 1 for replica in range(3))
    left = {pod: at for pod, at in nodes.items() if pod != "ns/rank-3"}
    again = solved(snapshot, live(text(left)).gang)
    assert again.status is Status.OPTIMAL
    assert where(again) == nodes
    assert transfer(again) == transfer(first)


def test_parted_is_worth_as_much(live: Read, snapshot: Snapshot) -> None:
    """Beside one pod that runs where the best plan has it, the rest is as good as in that plan."""
    first = solved(snapshot, live(text({})).gang)
    for pod, at in where(first).items():
        again = solved(snapshot, live(text({pod: at})).gang)
        assert again.status is Status.OPTIMAL
        assert transfer(again) == transfer(first)


def test_an_incomplete_replica_is_left_out(live: Read, snapshot: Snapshot) -> None:
    """A replica that lacks a pod stays out, as a whole; the others are placed."""
    found = live(text({}, missing="rank-3"))
    assert found.missing == {"rank": 1}
    answer = solved(snapshot, found.gang)
    assert answer.status is Status.OPTIMAL
    assert set(where(answer)) == {f"ns/{name}" for name in PODS} - {"ns/rank-2", "ns/rank-3"}
