"""Which nodes each role may use, evaluated on columns: one pass per label, never per node."""

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from solver.domain.budget import UNLIMITED, Budget
from solver.domain.constraints import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    AntiAffinity,
    NodeConstraints,
    NodeSelectorTerm,
    Operator,
    Requirement,
    Taint,
    Toleration,
)
from solver.domain.gang import Gang, Group, Role
from solver.domain.levels import NARROWEST
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Codes, Mask, Snapshot
from solver.topology.tree import Tree

#: What keeps pods away from nodes in a state, in words.
_STATES = {
    NOT_READY.key: "not being ready",
    UNREACHABLE.key: "not being reachable",
    UNSCHEDULABLE.key: "a cordon",
}


def needed_levels(gang: Gang, tree: Tree) -> dict[str, tuple[int, ...]]:
    """Role name → levels that its nodes need, coarse to fine: those its rules name, and all coarser ones of these.

    In a topology that labels tell, only those its rules name, but for reach rules, under which traffic that leaves a
    domain pays what the levels around it would.
    """
    named: dict[str, frozenset[int]] = {}
    _descend(gang.root, frozenset(), tree, named)
    for reach in gang.reach:
        for name in (*reach.senders, *reach.receivers):
            named[name] |= set(range(1, tree.level(reach.level) + 1))
    if tree.spec.discovered:
        return {role: tuple(sorted(levels)) for role, levels in named.items()}
    return {role: tuple(range(1, max(levels, default=0) + 1)) for role, levels in named.items()}


def _descend(group: Group, above: frozenset[int], tree: Tree, named: dict[str, frozenset[int]]) -> None:
    preferred = None if group.pack.preferred == NARROWEST else group.pack.preferred
    words = [group.pack.required, preferred, *(spread.level for spread in group.spread)]
    here = above | {tree.level(word) for word in words if word}
    for role in group.roles:
        named[role.name] = here | {tree.level(spread.level) for spread in role.spread}
    for child in group.groups:
        _descend(child, here, tree, named)


def exclusions(
    snapshot: Snapshot, tree: Tree, gang: Gang, role: Role, levels: Iterable[int], budget: Budget = UNLIMITED
) -> Iterator[tuple[str, Mask]]:
    """(cause, [nodes] excluded by it) for new pods of `role`, cause by cause; causes may overlap.

    levels: that its nodes need. A node counts for the coarsest of them that it lacks. Raises OutOfTime.
    """
    rules = role.constraints
    known = np.ones(len(snapshot.nodes), dtype=np.bool_)
    for at in levels:
        there = tree.real[at][tree.domain_of[at]]
        yield f"missing label {tree.spec.levels[at - 1].label}", known & ~there
        known &= there
    for key, value in rules.selector:
        budget.check()
        yield f"nodeSelector {key}={value}", ~_labelled(snapshot, key, value)
    if rules.affinity:
        yield "required node affinity", ~_affine(snapshot, rules.affinity, budget)
    for claim in dict.fromkeys(volume.claim for volume in rules.volumes):
        reaching = [_affine(snapshot, volume.terms, budget) for volume in rules.volumes if volume.claim == claim]
        yield f"volume claim {claim}", ~np.all(reaching, axis=0)
    yield from _tainted(snapshot, rules.tolerations, budget).items()
    repelled = _repelled(snapshot, gang, rules, budget)
    if repelled is not None:
        yield "anti-affinity with running pods", repelled


class Eligibility:
    """Where the pods of one gang may go; roles with the same constraints and levels share their mask."""

    def __init__(self, snapshot: Snapshot, tree: Tree, gang: Gang, budget: Budget) -> None:
        self._snapshot, self._tree, self._gang, self._budget = snapshot, tree, gang, budget
        self._masks: dict[tuple[NodeConstraints, tuple[int, ...]], Mask] = {}

    def of(self, role: Role, levels: Iterable[int]) -> Mask:
        """[nodes] where a new pod of `role` may go, capacity aside. levels: that its nodes need. Raises OutOfTime."""
        key = role.constraints, tuple(levels)
        if key not in self._masks:
            mask = np.ones(len(self._snapshot.nodes), dtype=np.bool_)
            for _, excluded in exclusions(self._snapshot, self._tree, self._gang, role, key[1], self._budget):
                mask &= ~excluded
            self._masks[key] = mask
        return self._masks[key]


def _tainted(snapshot: Snapshot, tolerations: tuple[Toleration, ...], budget: Budget) -> dict[str, Mask]:
    """Cause → [nodes] with a taint that is not tolerated: any that comes with a node's state, else its first."""

    @cache
    def is_tolerated(taint: Taint) -> bool:
        budget.check()
        return any(toleration.tolerates(taint) for toleration in tolerations)

    found = {
        _STATES[taint.key]: mask for taint, mask in snapshot.state_taints if mask.any() and not is_tolerated(taint)
    }
    for code, taints in enumerate(snapshot.taint_sets):
        blocking = [taint for taint in taints if taint.repels and not is_tolerated(taint)]
        if blocking:
            first = next((taint for taint in blocking if taint.key not in _STATES), blocking[0])
            cause = _STATES.get(first.key, f"taint {first}")
            here = snapshot.taint_codes == code
            found[cause] = found[cause] | here if cause in found else here
    return found


def _labelled(snapshot: Snapshot, key: str, value: str) -> Mask:
    column = snapshot.labels.get(key)
    if column is None or value not in column.values:
        return np.zeros(len(snapshot.nodes), dtype=np.bool_)
    return np.asarray(column.codes == column.values.index(value))


def _affine(snapshot: Snapshot, terms: tuple[NodeSelectorTerm, ...], budget: Budget) -> Mask:
    mask = np.zeros(len(snapshot.nodes), dtype=np.bool_)
    for term in terms:
        budget.check()
        if not term.labels and not term.names:
            continue
        matching = np.ones(len(snapshot.nodes), dtype=np.bool_)
        for need in term.labels:
            budget.check()
            matching &= _satisfied(snapshot, need)
        for need in term.names:
            budget.check()
            matching &= _named(snapshot, need)
        mask |= matching
    return mask


def _named(snapshot: Snapshot, need: Requirement) -> Mask:
    """[nodes] whose names satisfy the requirement."""
    if need.operator is not Operator.IN:
        return np.fromiter((need.matches(name) for name in snapshot.nodes), np.bool_, len(snapshot.nodes))
    mask = np.zeros(len(snapshot.nodes), dtype=np.bool_)
    mask[[snapshot.node_idx[name] for name in need.values if name in snapshot.node_idx]] = True
    return mask


def _satisfied(snapshot: Snapshot, need: Requirement) -> Mask:
    column = snapshot.labels.get(need.key)
    if column is None:
        return np.full(len(snapshot.nodes), need.matches(None), dtype=np.bool_)
    if need.operator is Operator.IN and len(need.values) < len(column.values):
        codes = [code for code, value in enumerate(column.values) if need.matches(value)]
        return np.isin(column.codes, codes)
    by_code = np.array([*(need.matches(value) for value in column.values), need.matches(None)], dtype=np.bool_)
    return np.asarray(by_code[column.codes])


def _repelled(snapshot: Snapshot, gang: Gang, rules: NodeConstraints, budget: Budget) -> Mask | None:
    """[nodes] in a domain of a foreign pod with anti-affinity, either way round; None without any."""
    own_labels = dict(rules.labels)
    mask = np.zeros(len(snapshot.nodes), dtype=np.bool_)
    for pod in snapshot.pods if rules.anti_affinity else snapshot.repelling:
        if gang.runs(pod.name, pod.node):
            continue
        budget.check()
        for term in (*_aimed_at(pod, rules.anti_affinity), *_aimed_by(pod, rules.namespace, own_labels)):
            column = snapshot.labels.get(term.topology_key)
            if column is not None:
                mask |= _same_value(column.codes, snapshot.node_idx[pod.node])
    return mask if mask.any() else None


def _aimed_at(pod: BoundPod, terms: tuple[AntiAffinity, ...]) -> list[AntiAffinity]:
    return [term for term in terms if term.selector.matches(pod.namespace, pod.labels)]


def _aimed_by(pod: BoundPod, namespace: str, labels: dict[str, str]) -> list[AntiAffinity]:
    return [term for term in pod.anti_affinity if term.selector.matches(namespace, labels)]


def _same_value(codes: Codes, node: int) -> Mask:
    return np.asarray((codes == codes[node]) & (codes[node] >= 0))
