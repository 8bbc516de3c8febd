"""Rule `eligible`, one pod and one node at a time, straight from the definition."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from solver.domain.constraints import NodeConstraints, NodeSelectorTerm, Taint
from solver.domain.gang import Gang, Group, Role
from solver.domain.levels import NARROWEST
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from solver.topology.tree import Tree


def named_levels(gang: Gang, tree: Tree) -> dict[str, set[int]]:
    """Role name → levels that its rules and those of the groups around it name; a reach rule means all coarser too."""
    found: dict[str, set[int]] = {}
    _collect_levels(gang.root, [], tree, found)
    for reach in gang.reach:
        for name in (*reach.senders, *reach.receivers):
            found[name].update(range(1, tree.level(reach.level) + 1))
    return found


def _collect_levels(group: Group, above: list[str], tree: Tree, found: dict[str, set[int]]) -> None:
    words = above + [word for word in (group.pack.required, group.pack.preferred) if word and word != NARROWEST]
    words += [spread.level for spread in group.spread]
    for role in group.roles:
        found[role.name] = {tree.level(word) for word in (*words, *(spread.level for spread in role.spread))}
    for child in group.groups:
        _collect_levels(child, words, tree, found)


def lacks_levels(tree: Tree, named: Collection[int], node: int) -> bool:
    """Whether the node has no place at a level that is named or, in a topology that is declared, at a coarser one."""
    needed = named if tree.spec.discovered else range(1, max(named, default=0) + 1)
    return not all(tree.real[level][tree.domain_of[level][node]] for level in needed)


def objections(
    snapshot: Snapshot,
    tree: Tree,
    role: Role,
    named: Collection[int],
    node: int,
    gang: Gang,
    nominated: Sequence[BoundPod] = (),
) -> Iterator[str]:
    """Why a new pod of `role`, whose rules name some levels, must not use the node; nothing when it may.

    nominated: waiting pods that count.
    """
    yield from node_objections(snapshot, role.constraints, node)
    if lacks_levels(tree, named, node):
        yield f"it lacks a label up to level {tree.level_names[max(named)]}"
    yield from _repelled(snapshot, role.constraints, node, gang, nominated)


def node_objections(snapshot: Snapshot, rules: NodeConstraints, node: int) -> Iterator[str]:
    """Why a new pod with these rules must not use the node, whatever else runs there."""
    for taint, text in _state(snapshot, node):
        if not any(toleration.tolerates(taint) for toleration in rules.tolerations):
            yield text
    for key, value in rules.selector:
        if _label(snapshot, node, key) != value:
            yield f"it does not match nodeSelector {key}={value}"
    if rules.affinity and not any(_term_matches(snapshot, node, term) for term in rules.affinity):
        yield "it does not match the required node affinity"
    for volume in rules.volumes:
        if not any(_term_matches(snapshot, node, term) for term in volume.terms):
            yield f"it cannot mount the volume of claim {volume.claim}"
    for taint in snapshot.taint_sets[snapshot.taint_codes[node]]:
        if taint.repels and not any(toleration.tolerates(taint) for toleration in rules.tolerations):
            yield f"taint {taint} is not tolerated"


def open_to(snapshot: Snapshot, gang: Gang, node: int) -> bool:
    """Whether the node is ready and not cordoned, or some role of the gang tolerates all that it is instead."""
    closing = [taint for taint, _ in _state(snapshot, node)]
    return any(
        all(any(toleration.tolerates(taint) for toleration in tolerations) for taint in closing)
        for tolerations in gang.tolerations
    )


def _state(snapshot: Snapshot, node: int) -> Iterator[tuple[Taint, str]]:
    """What a node is that keeps pods away, as the taint that Kubernetes makes of it, and in words."""
    if not snapshot.ready[node]:
        is_silent = Taint("node.kubernetes.io/unreachable") in snapshot.taint_sets[snapshot.taint_codes[node]]
        yield Taint(f"node.kubernetes.io/{'unreachable' if is_silent else 'not-ready'}"), "it is not ready"
    if not snapshot.schedulable[node]:
        yield Taint("node.kubernetes.io/unschedulable"), "it is cordoned"


def _label(snapshot: Snapshot, node: int, key: str) -> str | None:
    column = snapshot.labels.get(key)
    if column is None or column.codes[node] < 0:
        return None
    return str(column.values[column.codes[node]])


def _term_matches(snapshot: Snapshot, node: int, term: NodeSelectorTerm) -> bool:
    if not term.labels and not term.names:
        return False
    by_label = all(need.matches(_label(snapshot, node, need.key)) for need in term.labels)
    return by_label and all(need.matches(snapshot.nodes[node]) for need in term.names)


def _repelled(
    snapshot: Snapshot, rules: NodeConstraints, node: int, gang: Gang, nominated: Sequence[BoundPod]
) -> Iterator[str]:
    index = snapshot.node_idx
    bound = (pod for pod in (snapshot.pods if rules.anti_affinity else snapshot.repelling) if not pod.is_nominated)
    for pod in chain(bound, nominated):
        if gang.runs(pod.name, pod.node):
            continue
        there = index[pod.node]
        for own in rules.anti_affinity:
            if own.selector.matches(pod.namespace, pod.labels) and _together(snapshot, own.topology_key, node, there):
                yield f"anti-affinity to pod {pod.name}"
        for theirs in pod.anti_affinity:
            repels = theirs.selector.matches(rules.namespace, dict(rules.labels))
            if repels and _together(snapshot, theirs.topology_key, node, there):
                yield f"pod {pod.name} has anti-affinity to it"


def _together(snapshot: Snapshot, key: str, left: int, right: int) -> bool:
    value = _label(snapshot, left, key)
    return value is not None and value == _label(snapshot, right, key)
