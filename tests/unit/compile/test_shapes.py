"""Shapes are counted before they are listed, and counted right."""

import time
from itertools import product

import pytest

from solver.compile import shapes as shapes_module
from solver.compile.shapes import TooManyShapes, shapes_of
from solver.compile.structure import MAX_UNITS, Unit, build_structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import TooLarge
from solver.domain.gang import Gang, Group, Role
from solver.topology.choice import choose_topology
from solver.topology.tree import build_tree
from support.builders import amounts, cluster, node

ONE = amounts(1, 1)


def unit_of(root: Group, budget: Budget | None = None) -> Unit:
    """Normal form of a gang on one node."""
    gang, snapshot = Gang("ns/g", root), cluster(node("n"))
    tree = build_tree(snapshot, choose_topology(snapshot, gang)[0])
    found = build_structure(gang, snapshot, tree, budget=budget or Budget(time.monotonic() + 60)).root
    assert found is not None
    return found


def role(name: str, replicas: int, least: int) -> Role:
    """A role of one GPU a pod."""
    return Role(name, replicas, least, requests=ONE)


def groups() -> list[Group]:
    """Elastic groups of many forms, small enough to list."""
    found = []
    for replicas, least, needs, own, inner in product((1, 2, 3), (1, 2), (None, 0, 1, 2), ((0, 2), (1, 2)), (0, 1)):
        if least <= replicas:
            below = (Group("i", (role("c", 2, 1),), replicas=2, min_replicas=1),) if inner else ()
            child = Group("g", (role("a", own[1], own[0]),), below, replicas, least, needs)
            found += [Group("ns/g", (role("r", 3, 1),), (child,), min=at) for at in (None, 0, 2, 3)]
    alike = tuple(Group(f"k{at}", (role(f"k{at}", 2, 2),)) for at in range(3))
    return found + [Group("ns/g", (role("r", 2, 0),), alike, min=at) for at in range(5)]


def test_as_many_shapes_are_counted_as_are_listed() -> None:
    """The count before listing is that of the list, for gangs of every form."""
    roots = [root for root in map(unit_of, groups()) if root.flexible]
    assert len(roots) > 100
    for root in roots:
        listed = len(shapes_of(root))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shapes_module, "MAX_SHAPES", listed)
            assert len(shapes_of(root)) == listed
            patch.setattr(shapes_module, "MAX_SHAPES", listed - 1)
            with pytest.raises(TooManyShapes) as caught:
                shapes_of(root)
        assert (caught.value.number, caught.value.limit) == (listed, listed - 1)


def test_shapes_without_end_are_refused_before_one_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten elastic groups inside each other, with ten replicas each, are counted and not gone through."""
    inner: tuple[Group, ...] = ()
    for level in range(4):
        inner = (Group(f"g{level}", () if inner else (role("x", 1, 0),), inner, 5, 1),)
    root = unit_of(Group("ns/g", groups=inner, min=0))
    monkeypatch.setattr(shapes_module, "_contents", lambda *_: pytest.fail("a shape is listed"))
    with pytest.raises(TooManyShapes):
        shapes_of(root)


def test_listing_ends_with_the_budget() -> None:
    """A list that is under way when time runs out is given up."""
    root = unit_of(Group("ns/g", tuple(role(f"r{at}", 9, 0) for at in range(5)), min=0))
    assert len(shapes_of(root)) == 100_000
    with pytest.raises(OutOfTime):
        shapes_of(root, Budget(time.monotonic() - 1))


def test_replicas_that_may_differ_are_limited() -> None:
    """Every replica of an elastic group is a unit of its own, of which a gang may have so many."""
    elastic = Group("g", (role("a", 1, 0),), replicas=MAX_UNITS, min_replicas=1, min=0)
    with pytest.raises(TooLarge) as caught:
        unit_of(Group("ns/g", groups=(elastic,)))
    assert caught.value.number == caught.value.limit + 1 == MAX_UNITS + 1


def test_alike_roles_share_their_nodes() -> None:
    """The nodes of a role are looked up once, whatever number of units has it."""
    root = unit_of(Group("ns/g", groups=(Group("g", (role("a", 2, 0),), replicas=50, min_replicas=1),), min=0))
    roles = {id(unit.roles[0]) for unit in root.entries[0].units}
    assert len(root.entries[0].units) == 50
    assert len(roles) == 1
