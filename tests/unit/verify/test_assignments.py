"""Assignments that name what does not exist, or the same pod twice."""

import pytest

from solver.domain.plan import Assignment
from solver.verify.checker import verify
from support.builders import cluster, gang, node, role, with_running

SITE = cluster(node("a"), node("b"))
WAITING = gang(role("w", 2), role("v"))
FINE = [Assignment("default/w-0", "w", "a"), Assignment("default/w-1", "w", "a"), Assignment("default/v-0", "v", "b")]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (Assignment("default/w-7", "w", "a"), "pod default/w-7 is no pod of role w"),
        (Assignment("w-1", "w", "a"), "pod w-1 is no pod of role w"),
        (Assignment("default/w-1", "v", "a"), "pod default/w-1 is no pod of role v"),
        (Assignment("default/w-1", "x", "a"), "pod default/w-1 is no pod of role x"),
        (Assignment("default/w-1", "w", "c"), "node c does not exist"),
        (Assignment("default/w-0", "w", "b"), "pod default/w-0 is placed twice"),
    ],
)
def test_malformed_assignments(item: Assignment, told: str) -> None:
    """The one wrong line is named, and nothing is valued."""
    found = verify(SITE, WAITING, SITE.topologies[""], [FINE[0], item, FINE[2]])
    assert found.violations == (f"assignment: {told}",)
    assert (dict(found.objective), found.flows, dict(found.domains)) == ({}, (), {})


def test_a_running_member_is_not_placed_again() -> None:
    """An assignment of a pod that runs is a second place for it."""
    snapshot, waiting = with_running(SITE, WAITING, {"default/w-0": "a"})
    found = verify(snapshot, waiting, snapshot.topologies[""], FINE)
    assert found.violations == ("assignment: pod default/w-0 is placed twice",)
    assert verify(snapshot, waiting, snapshot.topologies[""], FINE[1:]).violations == ()


def test_a_good_plan_has_every_term() -> None:
    """The checker accepts the plan all others differ from, and counts its domains."""
    found = verify(SITE, WAITING, SITE.topologies[""], FINE)
    assert found.violations == ()
    assert list(found.objective) == [
        "replicas", "containment_steps", "containment_domains", "transfer_us", "proximity", "fragmentation",
    ]  # fmt: skip
    assert found.domains == {"host": 2}
