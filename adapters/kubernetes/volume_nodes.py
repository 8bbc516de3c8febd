"""Which nodes can mount a PersistentVolume, and where a StorageClass makes new ones."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from adapters.kubernetes.constraints import node_terms
from adapters.kubernetes.objects import Document
from solver.domain.constraints import NodeSelectorTerm, Operator, Requirement

#: Alternatives: one of the terms matches.
Terms = tuple[NodeSelectorTerm, ...]

_REQUIRED = "spec.nodeAffinity.required"
#: Older label → the one that took its place.
_RENAMED = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_ZONES = (*_RENAMED, *_RENAMED.values())
#: A node without any zone is in all of them, as Kubernetes sees it.
_ZONELESS = NodeSelectorTerm(tuple(Requirement(key, Operator.DOES_NOT_EXIST) for key in _ZONES))


def volume_terms(volume: Document) -> list[Terms]:
    """What a node has to match to mount the volume, all of it; empty for one that every node can mount.

    That is its required node affinity and, of older volumes, the zones and regions that its labels name. Raises
    InvalidRequest for malformed fields.
    """
    found = []
    if volume.has(_REQUIRED):
        found.append(node_terms(volume, f"{_REQUIRED}.nodeSelectorTerms"))
    return found + [_in_zone(key, volume.labels[key]) for key in _ZONES if volume.labels.get(key)]


def in_one(alternatives: Sequence[Terms]) -> Terms:
    """Terms of which one matches exactly where all of several do."""
    return tuple(
        NodeSelectorTerm(
            tuple(need for term in terms for need in term.labels), tuple(need for term in terms for need in term.names)
        )
        for terms in product(*(_matchable(terms) for terms in alternatives))
    )


def allowed_terms(storage_class: Document) -> Terms:
    """Where new volumes of a class may be made; empty for anywhere. Raises InvalidRequest for malformed fields."""
    return tuple(
        NodeSelectorTerm(
            tuple(
                Requirement(need.text("key"), Operator.IN, need.words("values"))
                for need in term.parts("matchLabelExpressions")
            )
        )
        for term in storage_class.parts("allowedTopologies")
    )


def on_node(name: str) -> Terms:
    """One node alone."""
    return (NodeSelectorTerm(names=(Requirement("metadata.name", Operator.IN, (name,)),)),)


def any_of(areas: Iterable[Terms]) -> Terms:
    """Every alternative once."""
    return tuple(dict.fromkeys(term for terms in areas for term in terms))


def labels_match(needs: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector."""
    return all(need.matches(labels.get(need.key)) for need in needs)


def _in_zone(key: str, text: str) -> Terms:
    """Nodes in one of the zones, or regions, that a label of a volume names; several stand between `__`."""
    zones = tuple(zone.strip() for zone in text.split("__"))
    found = [NodeSelectorTerm((Requirement(key, Operator.IN, zones),))]
    if key in _RENAMED:
        absent = Requirement(key, Operator.DOES_NOT_EXIST)
        found.append(NodeSelectorTerm((absent, Requirement(_RENAMED[key], Operator.IN, zones))))
    return (*found, _ZONELESS)


def _matchable(terms: Terms) -> Terms:
    """Without those that match nothing."""
    return tuple(term for term in terms if term.labels or term.names)
