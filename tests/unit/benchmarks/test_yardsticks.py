"""The simple placers: what they place is valid, and they fail where they are known to fail."""

from collections.abc import Callable

import pytest

from benchmarks import yardsticks
from solver.domain.gang import BoundMember, Flow, Gang, Group, Pack, Role, Spread
from solver.domain.levels import TopologySpec, discovered_topology
from solver.domain.plan import Assignment
from solver.domain.pods import BoundPod
from solver.domain.resources import GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot
from solver.verify.checker import verify

ZONE, RACK = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack"
Placer = Callable[[Snapshot, Gang, TopologySpec], tuple[Assignment, ...] | None]
ALL: list[Placer] = [yardsticks.first_fit, yardsticks.greedy, yardsticks.lowest_domain]


def cluster(*racks: int, closed: tuple[str, ...] = ()) -> tuple[Snapshot, TopologySpec]:
    """One node `n<i>` in each rack `r<i>` with the given GPUs."""
    nodes = [
        NodeRecord(
            f"n{i}",
            Resources.of({GPU: gpus * 1000, PODS: 110}),
            {ZONE: "z", RACK: f"r{i}"},
            schedulable=f"n{i}" not in closed,
        )
        for i, gpus in enumerate(racks)
    ]
    snapshot = build_snapshot(nodes)
    return snapshot, discovered_topology(snapshot.labels)


def role(name: str, count: int, gpus: int = 1, least: int | None = None, spread: tuple[Spread, ...] = ()) -> Role:
    """A role of pods with whole GPUs."""
    return Role(
        name, count, count if least is None else least, requests=Resources.of({GPU: gpus * 1000}), spread=spread
    )


def nodes_of(answer: tuple[Assignment, ...] | None) -> list[str]:
    """The nodes in use."""
    assert answer is not None
    return sorted({item.node for item in answer})


@pytest.mark.parametrize("placer", ALL)
def test_answers_are_valid_and_complete(placer: Placer) -> None:
    """Every pod is placed once and no rule is broken."""
    snapshot, spec = cluster(4, 4, 2, 8)
    gang = Gang("a/g", Group("g", (role("p", 3, 2), role("d", 3, 2))), flows=(Flow(("p",), ("d",), 10**9),))
    answer = placer(snapshot, gang, spec)
    assert answer is not None
    assert len(answer) == 6
    assert verify(snapshot, gang, spec, answer).violations == ()


@pytest.mark.parametrize("placer", ALL)
def test_required_levels_of_nested_groups_hold(placer: Placer) -> None:
    """Each replica of a group that requires a rack lies in one rack."""
    snapshot, spec = cluster(3, 2, 4, 2)
    child = Group("unit", (role("w", 2),), replicas=4, min_replicas=4, pack=Pack(required="rack"))
    gang = Gang("a/g", Group("g", groups=(child,), pack=Pack(required="zone")))
    answer = placer(snapshot, gang, spec)
    assert answer is not None
    assert verify(snapshot, gang, spec, answer).violations == ()


@pytest.mark.parametrize("placer", ALL)
def test_nothing_is_placed_when_the_gang_does_not_fit(placer: Placer) -> None:
    """One GPU short means no answer; closed nodes do not count."""
    snapshot, spec = cluster(2, 1, 4, closed=("n2",))
    assert placer(snapshot, Gang("a/g", Group("g", (role("w", 4),))), spec) is None
    assert placer(snapshot, Gang("a/g", Group("g", (role("w", 3),))), spec) is not None


@pytest.mark.parametrize("placer", ALL)
def test_an_elastic_gang_shrinks_to_its_minimum(placer: Placer) -> None:
    """When not everything fits, the minimum is placed, lowest names first."""
    snapshot, spec = cluster(3)
    answer = placer(snapshot, Gang("a/g", Group("g", (role("w", 5, least=2),))), spec)
    assert answer is not None
    assert [item.pod for item in answer] == ["a/w-0", "a/w-1"]


@pytest.mark.parametrize("placer", ALL)
def test_spread_and_running_members_are_honoured(placer: Placer) -> None:
    """At most one pod of the role in a rack, the running one included."""
    snapshot, spec = cluster(4, 4, 4)
    snapshot = snapshot.with_pods([BoundPod("a/w-0", "n1", Resources.of({GPU: 1000}))])
    root = Group("g", (role("w", 3, spread=(Spread("rack", 1),)),))
    gang = Gang("a/g", root, running=(BoundMember("a/w-0", "n1"),))
    assert nodes_of(placer(snapshot, gang, spec)) == ["n0", "n2"]


def test_first_fit_takes_the_first_nodes() -> None:
    """Natural order, whatever fits."""
    snapshot, spec = cluster(1, 4, 2)
    assert nodes_of(yardsticks.first_fit(snapshot, Gang("a/g", Group("g", (role("w", 2),))), spec)) == ["n0", "n1"]


def test_lowest_domain_takes_the_fullest_that_fits() -> None:
    """Two pods go onto the node with exactly two free GPUs."""
    snapshot, spec = cluster(1, 4, 2)
    assert nodes_of(yardsticks.lowest_domain(snapshot, Gang("a/g", Group("g", (role("w", 2),))), spec)) == ["n2"]


def test_greedy_keeps_partners_together() -> None:
    """The partner joins the first pod's node although another is first in order."""
    snapshot, spec = cluster(1, 4, 2)
    gang = Gang("a/g", Group("g", (role("p", 1), role("d", 1))), flows=(Flow(("p",), ("d",), 10**9),))
    assert nodes_of(yardsticks.greedy(snapshot, gang, spec)) == ["n1"]


def test_siblings_are_not_revisited() -> None:
    """Fullest first puts 3 into the rack of 5, and the group of 5 no longer fits: what joint solving avoids."""
    snapshot, spec = cluster(6, 5)
    groups = tuple(
        Group(f"g{i}", (role(f"w{i}", size),), pack=Pack(required="rack")) for i, size in enumerate((3, 3, 5))
    )
    assert yardsticks.lowest_domain(snapshot, Gang("a/g", Group("g", groups=groups)), spec) is None
    assert yardsticks.first_fit(snapshot, Gang("a/g", Group("g", groups=groups)), spec) is not None
