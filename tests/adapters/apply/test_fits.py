"""Whether levels that a gang names exist, asked before it has any pod."""

from typing import Any

import pytest

from adapters.apply import fits
from adapters.apply.fits import Fits
from adapters.manifests.own import DeclaredGang
from solver.domain.gang import Group, Pack, Role
from solver.service.state import HeldCluster
from support.builders import cluster, node


def declared(level: str, replicas: int = 20_000) -> DeclaredGang:
    """A gang of many replicas that require a level."""
    group = Group("g", (Role("w", 4, 4),), replicas=replicas, min_replicas=replicas, pack=Pack(level))
    return DeclaredGang("ns/g", Group("root", (), (group,)))


def asked(*nodes: Any) -> Fits:
    """Who is asked about these nodes."""
    held = HeldCluster("prod")
    held.put("b", cluster(*nodes))
    return Fits(held)


def test_a_level_that_does_not_exist_is_said_without_any_pod() -> None:
    """By name of the group and field, with the levels there are; however many replicas are declared."""
    found = asked(node("n", 2, rack="r")).unknown_level(declared("rak"))
    assert "group g: pack.required: level 'rak' is unknown; the topology has" in found
    assert "rack" in found
    assert asked(node("n", 2, rack="r")).unknown_level(declared("rack")) == ""


def test_without_nodes_nobody_knows() -> None:
    """Nodes that come later tell which levels there are."""
    assert asked().unknown_level(declared("rak")) == ""


def test_it_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the gang and the nodes are the same."""
    looks = []
    monkeypatch.setattr(fits, "check_levels", lambda gang, spec: looks.append(gang.name))
    there, gang = asked(node("n", 2, rack="r")), declared("rack")
    for _ in range(3):
        assert there.unknown_level(gang) == ""
    assert looks == ["ns/g"]
    there.unknown_level(declared("rack"))
    assert looks == ["ns/g", "ns/g"]
