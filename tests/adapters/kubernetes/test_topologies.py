"""Topology objects of KAI, Kueue and Grove."""

from typing import Any

import pytest

from adapters.kubernetes.objects import Document
from adapters.kubernetes.topologies import read_topologies
from solver.domain.errors import InvalidRequest
from solver.domain.levels import DEFAULT_TIERS, HOST_LABEL, TopologySpec

ZONE, RACK = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack"
KAI, KUEUE, GROVE = "kai.scheduler/v1alpha1", "kueue.x-k8s.io/v1beta1", "grove.io/v1alpha1"


def topology(*levels: dict[str, Any], api: str = KAI, kind: str = "Topology", name: str = "t") -> Document:
    """A topology object from `in.yaml`."""
    return Document(
        {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": {"levels": list(levels)}}, "in.yaml"
    )


def binding(*pairs: tuple[str, str], name: str = "t", kind: str = "ClusterTopologyBinding") -> Document:
    """A Grove topology from (domain, key) pairs."""
    return topology(*({"domain": domain, "key": key} for domain, key in pairs), api=GROVE, kind=kind, name=name)


def kai(*labels: str) -> Document:
    """A KAI topology without aliases."""
    return topology(*({"nodeLabel": label} for label in labels))


def one(*documents: Document) -> TopologySpec:
    """The only topology, with nothing to notice."""
    specs, notices = read_topologies(documents)
    assert notices == []
    (spec,) = specs
    return spec


def names(spec: TopologySpec) -> list[str]:
    """Level names, coarse to fine."""
    return [level.name for level in spec.levels]


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (kai(ZONE, RACK, HOST_LABEL), ["zone", "rack", "host"]),
        (kai(ZONE, RACK), ["zone", "rack", "host"]),
        (kai("my.io/row", "my.io/rack"), ["my.io/row", "rack", "host"]),
        (topology({"nodeLabel": RACK}, api=KUEUE), ["rack", "host"]),
        (topology({"nodeLabel": ZONE, "alias": "az"}, {"nodeLabel": RACK}), ["az", "rack", "host"]),
        (binding(("zone", ZONE), ("tray", "my.io/tray"), ("host", HOST_LABEL)), ["zone", "tray", "host"]),
        (binding(("rack", RACK), kind="ClusterTopology"), ["rack", "host"]),
        (topology(), ["host"]),
    ],
)
def test_levels_are_named(doc: Document, expected: list[str]) -> None:
    """By alias or domain, else by the well-known name, else by the label; the host is always the last."""
    assert names(one(doc)) == expected


@pytest.mark.parametrize("word", ["az", "zone", ZONE])
def test_a_level_answers_to_all_its_words(word: str) -> None:
    """Alias, well-known name and label key mean the same level."""
    assert one(topology({"nodeLabel": ZONE, "alias": "az"}, {"nodeLabel": RACK})).find(word) == 1


def test_an_aliased_host_is_still_the_host() -> None:
    """`host` means the node whatever the topology calls it."""
    spec = one(topology({"nodeLabel": RACK}, {"nodeLabel": HOST_LABEL, "alias": "node"}))
    assert names(spec) == ["rack", "node"]
    assert spec.find("host") == spec.find("node") == 2


def test_a_well_known_name_is_given_once() -> None:
    """Two labels with one well-known name: the first keeps it, the other goes by its label."""
    spec = one(kai("a.io/block", "b.io/block", "c.io/rack"))
    assert names(spec) == ["block", "b.io/block", "rack", "host"]
    assert spec.find("block") == 1


def test_an_alias_beats_a_well_known_name() -> None:
    """A level called `rack` takes the word from the label that would have it."""
    spec = one(topology({"nodeLabel": RACK}, {"nodeLabel": "my.io/tor", "alias": "rack"}))
    assert names(spec) == [RACK, "rack", "host"]
    assert spec.find("rack") == 2


def test_only_the_host_is_called_host() -> None:
    """A domain `host` with another label goes by its label."""
    spec = one(binding(("rack", RACK), ("host", "my.io/machine")))
    assert names(spec) == ["rack", "my.io/machine", "host"]


def test_tiers_go_by_name() -> None:
    """Well-known levels bring their default costs."""
    assert one(kai("nvidia.com/gpu.clique")).tiers[1] == DEFAULT_TIERS["nvl"]


def test_levels_finer_than_the_host_are_noticed() -> None:
    """Sockets inside a node are not considered."""
    specs, notices = read_topologies([binding(("host", HOST_LABEL), ("numa", "my.io/numa"))])
    assert names(specs[0]) == ["host"]
    assert [(notice.code, notice.object, notice.field) for notice in notices] == [
        ("level_ignored", "ClusterTopologyBinding t", "spec.levels[1]")
    ]


@pytest.mark.parametrize("flip", [False, True])
def test_a_binding_lends_its_words_to_the_kai_topology_of_its_name(flip: bool) -> None:
    """Grove derives a KAI Topology under its own name: together they are one."""
    documents = [kai(ZONE, RACK), binding(("datahall", ZONE), ("rack", RACK))]
    spec = one(*(documents[::-1] if flip else documents))
    assert names(spec) == ["datahall", "rack", "host"]
    assert spec.find("zone") == spec.find("datahall") == 1


def test_topologies_that_contradict_each_other_are_noticed() -> None:
    """KAI's levels count; the other object is named."""
    specs, notices = read_topologies([topology({"nodeLabel": "my.io/row"}, api=KUEUE), kai(ZONE)])
    assert names(specs[0]) == ["zone", "host"]
    assert [notice.code for notice in notices] == ["topology_repeated"]


def test_topologies_are_sorted_by_name() -> None:
    """The input order does not matter."""
    specs, _ = read_topologies([topology(name="b"), topology(name="a")])
    assert [spec.name for spec in specs] == ["a", "b"]


@pytest.mark.parametrize(
    ("doc", "line"),
    [
        (topology({"alias": "a"}), "Topology t: spec.levels[0].nodeLabel: is missing"),
        (
            topology({"domain": "a"}, kind="ClusterTopologyBinding"),
            "ClusterTopologyBinding t: spec.levels[0].key: is missing",
        ),
        (topology({"nodeLabel": ""}), "Topology t: spec.levels[0].nodeLabel: must not be empty"),
        (topology({"nodeLabel": 1}), "Topology t: spec.levels[0].nodeLabel: must be text, not 1"),
        (kai(RACK, RACK), f"Topology t: spec.levels: level label {RACK!r} appears twice"),
        (
            topology({"nodeLabel": ZONE, "alias": "x"}, {"nodeLabel": RACK, "alias": "x"}),
            "Topology t: spec.levels[1]: the name 'x' appears twice",
        ),
        (kai(*(f"l{index}" for index in range(17))), "Topology t: spec.levels: more than 16 levels"),
    ],
)
def test_malformed_topologies_are_refused(doc: Document, line: str) -> None:
    """One line names topology and level."""
    with pytest.raises(InvalidRequest) as refused:
        read_topologies([doc])
    assert str(refused.value) == f"in.yaml: {line}"
