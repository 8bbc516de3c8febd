"""The tree of subgroups of a KAI PodGroup."""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from adapters.kubernetes.objects import Document, Fields, Part
from adapters.kubernetes.pods import Finding
from adapters.manifests.packing import Packing, annotated, packing
from adapters.manifests.reading import MAX_DEPTH, Reading
from solver.domain.gang import MAX_PODS

_POD_MINIMUM, _CHILD_MINIMUM = "minMember", "minSubGroup"


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A node of the tree; the root's name is that of the PodGroup.

    least: pods of a leaf that are needed, children of an inner node (None = all).
    """

    name: str
    least: int | None
    packing: Packing
    children: tuple["Subgroup", ...] = ()

    def leaves(self) -> list["Subgroup"]:
        """The subgroups that hold pods, in declared order."""
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]

    def rules(self) -> list[Packing]:
        """Pack rules of the whole tree."""
        return [self.packing, *(rule for child in self.children for rule in child.rules())]

    def fewest_pods(self) -> int:
        """Fewest pods with which every minimum is met."""
        if not self.children:
            return self.least or 0
        fewest = sorted(child.fewest_pods() for child in self.children)
        return sum(fewest if self.least is None else fewest[: self.least])


def read_tree(reading: Reading) -> Subgroup:
    """The tree of a PodGroup; a single leaf if it has no subgroups.

    Refuses repeated names, unknown parents, cycles and minimums at the wrong place.
    """
    doc = reading.doc
    spec, parts = doc.part("spec"), doc.parts("spec.subGroups")
    _check_tree(doc, parts)
    by_parent: dict[str, list[Part]] = {}
    for part in parts:
        by_parent.setdefault(part.text("parent", ""), []).append(part)
    children = tuple(_subgroup(part, by_parent) for part in by_parent.get("", ()))
    if not children:
        return Subgroup(doc.name, _least_pods(spec), _root_packing(doc))
    root = Subgroup(doc.name, _least_children(spec), _root_packing(doc), children)
    _check_total(reading, spec, root)
    return root


def constraint(fields: Fields) -> Packing:
    """The `topologyConstraint` of a PodGroup's spec or of a subgroup."""
    return packing(
        fields.text("topologyConstraint.topology", ""),
        fields.text("topologyConstraint.requiredTopologyLevel", ""),
        fields.text("topologyConstraint.preferredTopologyLevel", ""),
    )


def _root_packing(doc: Document) -> Packing:
    return constraint(doc.part("spec")) or annotated(doc.annotations)


def _subgroup(part: Part, by_parent: dict[str, list[Part]]) -> Subgroup:
    name = part.text("name")
    children = tuple(_subgroup(child, by_parent) for child in by_parent.get(name, ()))
    if not children:
        return Subgroup(name, _least_pods(part), constraint(part))
    if part.has(_POD_MINIMUM):
        raise part.refuse(_POD_MINIMUM, f"belongs to leaves; {name!r} has subgroups and takes {_CHILD_MINIMUM}")
    return Subgroup(name, _least_children(part), constraint(part), children)


def _least_pods(part: Part) -> int:
    """The minimum of a leaf: 1 unless it says otherwise."""
    _refuse_both(part)
    if part.has(_CHILD_MINIMUM):
        raise part.refuse(_CHILD_MINIMUM, f"needs subgroups; without them it is {_POD_MINIMUM}")
    return part.whole(_POD_MINIMUM, 1, maximum=MAX_PODS)


def _least_children(part: Part) -> int | None:
    _refuse_both(part)
    return part.whole(_CHILD_MINIMUM, None, maximum=MAX_PODS)


def _refuse_both(part: Part) -> None:
    if part.has(_POD_MINIMUM) and part.has(_CHILD_MINIMUM):
        raise part.refuse(_CHILD_MINIMUM, f"excludes {_POD_MINIMUM} at the same level")


def _check_total(reading: Reading, spec: Part, root: Subgroup) -> None:
    """A minimum over all pods adds nothing if the subgroups' own minimums imply it; else it is unsupported."""
    fewest, wanted = root.fewest_pods(), spec.whole(_POD_MINIMUM, 0, maximum=MAX_PODS)
    if wanted > fewest:
        problem = f"{wanted} pods over all subgroups, whose own minimums come to {fewest}, is not supported"
        reading.unsupported(Finding(spec.path(_POD_MINIMUM), problem))


def _check_tree(doc: Document, parts: Sequence[Part]) -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for part in parts:
        name = part.text("name")
        if name in graph:
            raise part.refuse("name", f"subgroup {name!r} appears twice")
        graph.add_node(name)
    for part in parts:
        parent = part.text("parent", "")
        if parent and parent not in graph:
            raise part.refuse("parent", f"subgroup {parent!r} does not exist")
        if parent:
            graph.add_edge(parent, part.text("name"))
    if not nx.is_directed_acyclic_graph(graph):
        names = [edge[0] for edge in nx.find_cycle(graph)]
        shown = " → ".join((*names, names[0]))
        raise doc.refuse("spec.subGroups", f"subgroups are each other's parents: {shown}")
    if nx.dag_longest_path_length(graph) >= MAX_DEPTH:
        raise doc.refuse("spec.subGroups", f"subgroups nest more than {MAX_DEPTH} deep")
