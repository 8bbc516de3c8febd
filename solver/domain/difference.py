"""What turns one snapshot into another, as changes; cheap where both share their columns."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from solver.domain.changes import Change, NodeGone, NodeSet, PodBound, PodGone
from solver.domain.levels import HOST_LABEL
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources
from solver.domain.snapshot import Codes, Mask, NodeRecord, Snapshot

_Rows = npt.NDArray[np.int64]


def difference(
    before: Snapshot, after: Snapshot, named: Callable[[BoundPod], BoundPod] = lambda pod: pod
) -> list[Change] | None:
    """Changes of nodes and pods that make `after` of `before`, in an order that contradicts itself nowhere.

    named: gives a pod a uid of its own, if it has none; changes cannot always name one without. None where topologies,
    queues or accelerators differ, or such a pod keeps none. Costs as much as what differs, and one pass over each
    column that is not shared.
    """
    if after is before:
        return []
    if _differ(before.topologies, after.topologies) or _differ(before.queues, after.queues):
        return None
    if before.accelerators != after.accelerators:
        return None
    gone, added = (list(map(named, pods)) for pods in before.pods.difference(after.pods))
    if any(not pod.uid for pod in (*gone, *added)):
        return None
    staying = {pod.uid for pod in added}
    changes: list[Change] = [PodGone(pod.uid, pod.name) for pod in gone if pod.uid not in staying]
    changes += map(NodeSet, _nodes_set(before, after))
    if before.nodes is not after.nodes:
        changes += [NodeGone(name) for name in before.nodes if name not in after.node_idx]
    return changes + [PodBound(pod) for pod in added]


def _differ(one: object, other: object) -> bool:
    return one is not other and one != other


def _nodes_set(before: Snapshot, after: Snapshot) -> list[NodeRecord]:
    """Nodes of `after` that are new or say something else than before."""
    now, then = _common(before, after)
    changed = np.ones(len(after.nodes), dtype=np.bool_)
    changed[now] = _changed(before, after, then, now)
    return [_record(after, row) for row in np.flatnonzero(changed).tolist()]


def _common(before: Snapshot, after: Snapshot) -> tuple[_Rows, _Rows]:
    """Rows of the nodes that are in both, in `after` and in `before`."""
    if before.nodes is after.nodes or before.nodes == after.nodes:
        rows = np.arange(len(after.nodes), dtype=np.int64)
        return rows, rows
    earlier = np.array([before.node_idx.get(name, -1) for name in after.nodes], dtype=np.int64)
    now = np.flatnonzero(earlier >= 0)
    return now, earlier[now]


def _changed(before: Snapshot, after: Snapshot, then: _Rows, now: _Rows) -> Mask:
    """For nodes in both, whether any column differs. then, now: their rows."""
    moved = then is not now
    found = np.zeros(len(now), dtype=np.bool_)
    if moved or before.ready is not after.ready:
        found |= before.ready[then] != after.ready[now]
    if moved or before.schedulable is not after.schedulable:
        found |= before.schedulable[then] != after.schedulable[now]
    if moved or before.allocatable is not after.allocatable or before.resources != after.resources:
        for name in {*before.resources, *after.resources}:
            found |= _amounts(before, name)[then] != _amounts(after, name)[now]
    if moved or before.taint_codes is not after.taint_codes or before.taint_sets is not after.taint_sets:
        found |= _unlike(before.taint_codes[then], before.taint_sets, after.taint_codes[now], after.taint_sets)
    if moved or before.labels is not after.labels:
        nothing = np.full(max(len(before.nodes), len(after.nodes)), -1, dtype=np.int32)
        for key in {*before.labels, *after.labels}:
            one, other = before.labels.get(key), after.labels.get(key)
            if one is other and not moved:
                continue
            codes, values = (one.codes, one.values) if one else (nothing, ())
            later_codes, later_values = (other.codes, other.values) if other else (nothing, ())
            found |= _unlike(codes[then], values, later_codes[now], later_values)
    return found


def _amounts(snapshot: Snapshot, name: str) -> npt.NDArray[np.int64]:
    if name not in snapshot.resources:
        return np.zeros(len(snapshot.nodes), dtype=np.int64)
    return np.asarray(snapshot.allocatable[:, snapshot.resources.index(name)])


def _unlike(one: Codes, values: Sequence[object], other: Codes, later_values: Sequence[object]) -> Mask:
    """Where two coded columns say different things; −1 says nothing."""
    if values is later_values or values == later_values:
        return np.asarray(one != other)
    numbers = {value: code for code, value in enumerate(values)}
    table = np.array([*(numbers.get(value, -2) for value in later_values), -1], dtype=np.int32)
    return np.asarray(one != table[other])


def _record(snapshot: Snapshot, row: int) -> NodeRecord:
    amounts = dict(zip(snapshot.resources, snapshot.allocatable[row].tolist(), strict=True))
    labels = {key: column.values[code] for key, column in snapshot.labels.items() if (code := column.codes[row]) >= 0}
    name = snapshot.nodes[row]
    if labels.get(HOST_LABEL) == name:
        del labels[HOST_LABEL]  # as nodes have it that do not say
    return NodeRecord(
        name,
        Resources.of(amounts),
        labels,
        snapshot.taint_sets[snapshot.taint_codes[row]],
        bool(snapshot.ready[row]),
        bool(snapshot.schedulable[row]),
    )
