"""Nodes that appear, change or go: a new snapshot that shares what they leave as it was."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from solver.domain.columns import compacted, refuse_cells, resource_names
from solver.domain.constraints import Taint
from solver.domain.levels import HOST_LABEL
from solver.domain.naming import natural_key
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Codes, Column, Ints, NodeRecord, Snapshot, frozen

_Kind = TypeVar("_Kind", bound=np.generic)

#: By row of the new snapshot: row of the old one, −1 for a new node.
_Rows = npt.NDArray[np.int64]


def with_nodes(snapshot: Snapshot, arrived: Sequence[NodeRecord], gone: Collection[str] = ()) -> Snapshot:
    """The snapshot with nodes set and others gone; names of both are different, unknown ones may go.

    Pods stay, so none may be on a node that goes. Labels are shared, the mapping itself included, unless a node
    appears, goes or changes its own. Raises InvalidRequest when the columns become more than can be held.
    """
    wide = with_resources(snapshot, {name for record in arrived for name in record.allocatable.names()})
    rows, names = _rows(wide, arrived, gone)
    node_idx = wide.node_idx if rows is None else {name: idx for idx, name in enumerate(names)}
    at = [node_idx[record.name] for record in arrived]
    allocatable, free = _amounts(wide, rows, at, arrived)
    ready = _moved(wide.ready, rows, False)
    schedulable = _moved(wide.schedulable, rows, False)
    ready[at] = [record.ready for record in arrived]
    schedulable[at] = [record.schedulable for record in arrived]
    taint_codes, taint_sets = _taints(wide, rows, at, arrived)
    later = replace(
        wide,
        version=snapshot.version + 1,
        nodes=names,
        allocatable=frozen(allocatable),
        free=frozen(free),
        ready=frozen(ready),
        schedulable=frozen(schedulable),
        labels=_labels(wide, rows, at, arrived, len(names)),
        taint_codes=taint_codes,
        taint_sets=taint_sets,
    )
    later.__dict__["node_idx"] = node_idx
    return later


def with_resources(snapshot: Snapshot, names: Iterable[str], pods: Iterable[BoundPod] = ()) -> Snapshot:
    """The snapshot with a column for each of these resources and those that `pods` hold; nothing else changes."""
    resources = resource_names({*snapshot.resources, *names}, pods)
    if resources == snapshot.resources:
        return snapshot
    refuse_cells(len(resources), len(snapshot.nodes))
    columns = [resources.index(name) for name in snapshot.resources]
    allocatable, free = (np.zeros((len(snapshot.nodes), len(resources)), dtype=np.int64) for _ in range(2))
    allocatable[:, columns], free[:, columns] = snapshot.allocatable, snapshot.free
    later = replace(snapshot, resources=resources, allocatable=frozen(allocatable), free=frozen(free))
    later.__dict__["node_idx"] = snapshot.node_idx
    return later


def _rows(
    snapshot: Snapshot, arrived: Sequence[NodeRecord], gone: Collection[str]
) -> tuple[_Rows | None, tuple[str, ...]]:
    """Where each node was, and the names; None when no node appears or goes."""
    known = snapshot.node_idx
    leaving = [known[name] for name in gone if name in known]
    new = sorted((record.name for record in arrived if record.name not in known), key=natural_key)
    if not leaving and not new:
        return None, snapshot.nodes
    rows = np.delete(np.arange(len(known), dtype=np.int64), leaving)
    staying = [snapshot.nodes[row] for row in rows.tolist()]
    rows = np.insert(rows, [bisect_left(staying, natural_key(name), key=natural_key) for name in new], -1)
    coming = iter(new)
    return rows, tuple(snapshot.nodes[row] if row >= 0 else next(coming) for row in rows.tolist())


def _moved(array: npt.NDArray[_Kind], rows: _Rows | None, new: int) -> npt.NDArray[_Kind]:
    """A copy by new rows; `new` where the node is new."""
    if rows is None:
        return array.copy()
    found = np.full((len(rows), *array.shape[1:]), new, dtype=array.dtype)
    found[rows >= 0] = array[rows[rows >= 0]]
    return found


def _amounts(snapshot: Snapshot, rows: _Rows | None, at: list[int], arrived: Sequence[NodeRecord]) -> tuple[Ints, Ints]:
    allocatable, free = _moved(snapshot.allocatable, rows, 0), _moved(snapshot.free, rows, 0)
    refuse_cells(len(snapshot.resources), len(allocatable))
    position = {name: idx for idx, name in enumerate(snapshot.resources)}
    own = np.zeros((len(arrived), len(snapshot.resources)), dtype=np.int64)
    for row, record in enumerate(arrived):
        for name, amount in record.allocatable:
            own[row, position[name]] = amount
    free[at] += own - allocatable[at]
    allocatable[at] = own
    return allocatable, free


def _taints(
    snapshot: Snapshot, rows: _Rows | None, at: list[int], arrived: Sequence[NodeRecord]
) -> tuple[Codes, tuple[tuple[Taint, ...], ...]]:
    known = {taints: code for code, taints in enumerate(snapshot.taint_sets)}
    wanted = [known.setdefault(record.taints, len(known)) for record in arrived]
    if rows is None and (snapshot.taint_codes[at] == wanted).all():
        return snapshot.taint_codes, snapshot.taint_sets
    codes, sets = _moved(snapshot.taint_codes, rows, 0), tuple(known)
    codes[at] = wanted
    used = np.unique(codes)
    numbers = np.zeros(len(sets), dtype=np.int32)
    numbers[used] = np.arange(len(used))
    return frozen(numbers[codes]), tuple(sets[code] for code in used.tolist()) or ((),)


def _labels(
    snapshot: Snapshot, rows: _Rows | None, at: list[int], arrived: Sequence[NodeRecord], count: int
) -> Mapping[str, Column]:
    wanted = {row: {HOST_LABEL: record.name, **record.labels} for row, record in zip(at, arrived, strict=True)}
    if rows is None:
        wanted = {row: labels for row, labels in wanted.items() if labels != _labels_of(snapshot, row)}
        if not wanted:
            return snapshot.labels
    keys = {*snapshot.labels, *(key for labels in wanted.values() for key in labels)}
    refuse_cells(len(keys), count)
    found = {}
    for key in sorted(keys):
        column = _column(
            snapshot.labels.get(key), rows, {row: labels.get(key) for row, labels in wanted.items()}, count
        )
        if column is not None:
            found[key] = column
    return MappingProxyType(found)


def _labels_of(snapshot: Snapshot, row: int) -> dict[str, str]:
    codes = ((key, column, int(column.codes[row])) for key, column in snapshot.labels.items())
    return {key: column.values[code] for key, column, code in codes if code >= 0}


def _column(column: Column | None, rows: _Rows | None, wanted: Mapping[int, str | None], count: int) -> Column | None:
    """A label column with the values of some rows replaced; the column itself where that changes nothing."""
    if column is None:
        column, rows = Column(np.full(count, -1, dtype=np.int32), ()), None
    values = {value: code for code, value in enumerate(column.values)}
    numbers = [-1 if value is None else values.setdefault(value, len(values)) for value in wanted.values()]
    at = list(wanted)
    if rows is None and (column.codes[at] == numbers).all():
        return compacted(column)
    codes = _moved(column.codes, rows, -1)
    codes[at] = numbers
    return compacted(Column(frozen(codes), tuple(values)))
