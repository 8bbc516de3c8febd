"""A snapshot from columns: parts in any order and numbering, joined, sorted and charged without a loop over nodes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators
from solver.domain.constraints import Taint
from solver.domain.errors import InvalidRequest
from solver.domain.levels import HOST_LABEL, TopologySpec
from solver.domain.naming import natural_key
from solver.domain.pods import BoundPod, Pods
from solver.domain.resources import PODS
from solver.domain.snapshot import (
    FIRST_RESOURCES,
    Codes,
    Column,
    Ints,
    Mask,
    QueueSpec,
    Snapshot,
    frozen,
    nominated,
    repelling,
)

_Kind = TypeVar("_Kind", bound=np.generic)

#: Most values of all label columns of a snapshot together, and of all resource columns.
MAX_CELLS = 2**25

#: What the pods of one node may hold of one resource; far above any real node, far below where 64 bits end.
_MOST_HELD = 2**61


@dataclass(frozen=True, slots=True)
class NodeColumns:
    """Columns of some nodes in any order, as in `Snapshot`. allocatable: resource → [nodes]."""

    names: Sequence[str]
    allocatable: Mapping[str, Ints]
    labels: Mapping[str, Column]
    taint_codes: Codes
    taint_sets: Sequence[tuple[Taint, ...]]
    ready: Mask
    schedulable: Mask


def assemble(
    parts: Sequence[NodeColumns],
    pods: Sequence[BoundPod] = (),
    topologies: Mapping[str, TopologySpec] = MappingProxyType({}),
    queues: Mapping[str, QueueSpec] = MappingProxyType({}),
    accelerators: Accelerators = KNOWN_ACCELERATORS,
) -> Snapshot:
    """The snapshot of all parts, equal to what `build_snapshot` makes of the same nodes.

    Names have to be different. Raises InvalidRequest for pods on unknown nodes, repeated pods, and for more columns
    or larger sums than can be held.
    """
    names = [name for part in parts for name in part.names]
    keys = [natural_key(name) for name in names]
    order = np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)
    sorted_names = tuple(names[at] for at in order.tolist())
    resources = resource_names({name for part in parts for name in part.allocatable}, pods)
    allocatable = _allocatable(parts, resources, len(names))[order]
    node_idx = {name: idx for idx, name in enumerate(sorted_names)}
    taint_codes, taint_sets = _taints(parts)
    bound = sorted(pods, key=lambda pod: pod.name)
    waiting = nominated(bound)
    _rows(waiting, node_idx)
    found = Snapshot(
        version=0,
        nodes=sorted_names,
        resources=resources,
        allocatable=frozen(allocatable),
        free=frozen(allocatable - _held(_bound(bound, waiting), node_idx, resources)),
        ready=frozen(_joined([part.ready for part in parts], np.bool_)[order]),
        schedulable=frozen(_joined([part.schedulable for part in parts], np.bool_)[order]),
        labels=_labels(parts, order, sorted_names),
        taint_codes=frozen(taint_codes[order]),
        taint_sets=taint_sets,
        pods=Pods(bound),
        repelling=repelling(bound),
        nominated=waiting,
        topologies=MappingProxyType(dict(topologies)),
        queues=MappingProxyType(dict(queues)),
        accelerators=accelerators,
    )
    found.__dict__["node_idx"] = node_idx
    return found


def resource_names(found: Iterable[str], pods: Iterable[BoundPod]) -> tuple[str, ...]:
    """Names of resource columns, the well-known ones first: those `found` and those that pods hold."""
    held = {name for requests in {id(pod.requests): pod.requests for pod in pods}.values() for name, _ in requests}
    return FIRST_RESOURCES + tuple(sorted((held | set(found)) - set(FIRST_RESOURCES)))


def sharing(snapshot: Snapshot, earlier: Snapshot) -> Snapshot:
    """The snapshot with names and labels of `earlier` in place of its own, if they say the same.

    What is kept by these columns, such as trees, is then found again.
    """
    if snapshot.nodes != earlier.nodes or snapshot.labels.keys() != earlier.labels.keys():
        return snapshot
    if not all(_same(column, earlier.labels[key]) for key, column in snapshot.labels.items()):
        return snapshot
    found = replace(snapshot, nodes=earlier.nodes, labels=earlier.labels)
    found.__dict__["node_idx"] = earlier.node_idx
    return found


def compacted(column: Column) -> Column | None:
    """The column without values that no node has; None when no node has any."""
    used = np.bincount(column.codes + 1, minlength=len(column.values) + 1)[1:] > 0
    if used.all():
        return column if len(column.values) else None
    if not used.any():
        return None
    codes = renumbered(column.codes, np.cumsum(used) - 1)
    return Column(frozen(codes), tuple(column.values[at] for at in np.flatnonzero(used).tolist()))


def renumbered(codes: Codes, numbers: Sequence[int] | npt.NDArray[Any]) -> Codes:
    """`numbers[code]` for each code; −1 stays."""
    table = np.full(len(numbers) + 1, -1, dtype=np.int32)
    table[:-1] = numbers
    return np.asarray(table[codes])


def refuse_cells(columns: int, nodes: int) -> None:
    """Raises InvalidRequest when so many columns over so many nodes are more than can be held."""
    if columns * nodes > MAX_CELLS:
        raise InvalidRequest(f"{columns} columns over {nodes} nodes are more than {MAX_CELLS} values")


def _joined(arrays: Sequence[npt.NDArray[_Kind]], kind: type[_Kind]) -> npt.NDArray[_Kind]:
    return np.concatenate([np.zeros(0, dtype=kind), *arrays])


def _allocatable(parts: Sequence[NodeColumns], resources: tuple[str, ...], count: int) -> Ints:
    refuse_cells(len(resources), count)
    found = np.zeros((count, len(resources)), dtype=np.int64)
    start = 0
    for part in parts:
        for name, amounts in part.allocatable.items():
            found[start : start + len(part.names), resources.index(name)] = amounts
        start += len(part.names)
    return found


def _held(pods: Sequence[BoundPod], node_idx: Mapping[str, int], resources: tuple[str, ...]) -> Ints:
    """[nodes, resources] what pods hold; each holds one of `pods`."""
    held = np.zeros((len(node_idx), len(resources)), dtype=np.int64)
    if not pods:
        return held
    requests = {id(pod.requests): pod.requests for pod in pods}
    code = {key: at for at, key in enumerate(requests)}
    table = np.zeros((len(requests), len(resources)), dtype=np.int64)
    position = {name: at for at, name in enumerate(resources)}
    for row, request in enumerate(requests.values()):
        for name, amount in request:
            table[row, position[name]] = amount
    table[:, position[PODS]] = 1
    codes = np.array([code[id(pod.requests)] for pod in pods], dtype=np.int64)
    rows = np.array(_rows(pods, node_idx), dtype=np.int64)
    if int(table.max()) * len(pods) > _MOST_HELD:
        _refuse_sums(table[codes], rows, len(node_idx))
    np.add.at(held, rows, table[codes])
    return held


def _bound(pods: Sequence[BoundPod], waiting: Sequence[BoundPod]) -> Sequence[BoundPod]:
    return [pod for pod in pods if not pod.is_nominated] if waiting else pods


def _rows(pods: Sequence[BoundPod], node_idx: Mapping[str, int]) -> list[int]:
    try:
        return [node_idx[pod.node] for pod in pods]
    except KeyError:
        lost = next(pod for pod in pods if pod.node not in node_idx)
    raise InvalidRequest(f"Pod {lost.name}: node {lost.node!r} is not among the nodes")


def _refuse_sums(amounts: Ints, rows: Ints, count: int) -> None:
    sums = np.zeros((count, amounts.shape[1]), dtype=np.float64)
    np.add.at(sums, rows, amounts.astype(np.float64))
    if sums.max() > _MOST_HELD:
        raise InvalidRequest("the pods of a node hold more than can be counted")


def _taints(parts: Sequence[NodeColumns]) -> tuple[Codes, tuple[tuple[Taint, ...], ...]]:
    sets: dict[tuple[Taint, ...], int] = {}
    codes = []
    for part in parts:
        used = np.unique(part.taint_codes)
        numbers = np.zeros(len(part.taint_sets), dtype=np.int32)
        numbers[used] = [sets.setdefault(part.taint_sets[at], len(sets)) for at in used.tolist()]
        codes.append(numbers[part.taint_codes])
    return _joined(codes, np.int32), tuple(sets) or ((),)


def _labels(parts: Sequence[NodeColumns], order: Ints, names: tuple[str, ...]) -> Mapping[str, Column]:
    keys = {key for part in parts for key in part.labels}
    refuse_cells(len(keys), len(names))
    codes = {key: np.full(len(names), -1, dtype=np.int32) for key in keys}
    values: dict[str, dict[str, int]] = {key: {} for key in keys}
    start = 0
    for part in parts:
        for key, column in part.labels.items():
            known = values[key]
            numbers = [known.setdefault(value, len(known)) for value in column.values]
            codes[key][start : start + len(part.names)] = renumbered(column.codes, numbers)
        start += len(part.names)
    found = {key: compacted(Column(frozen(codes[key][order]), tuple(values[key]))) for key in sorted(keys)}
    return _with_hosts({key: column for key, column in found.items() if column is not None}, names)


def _with_hosts(columns: dict[str, Column], names: tuple[str, ...]) -> Mapping[str, Column]:
    """The columns, with the name of the node as host where a node has no host label."""
    column = columns.get(HOST_LABEL)
    if column is None and names:
        columns[HOST_LABEL] = Column(frozen(np.arange(len(names), dtype=np.int32)), names)
    elif column is not None and (column.codes < 0).any():
        codes, known = column.codes.copy(), {value: at for at, value in enumerate(column.values)}
        for at in np.flatnonzero(codes < 0).tolist():
            codes[at] = known.setdefault(names[at], len(known))
        columns[HOST_LABEL] = Column(frozen(codes), tuple(known))
    return MappingProxyType({key: columns[key] for key in sorted(columns)})


def _same(one: Column, other: Column) -> bool:
    if one.values == other.values:
        return bool((one.codes == other.codes).all())
    known = {value: at for at, value in enumerate(other.values)}
    return bool((renumbered(one.codes, [known.get(value, -2) for value in one.values]) == other.codes).all())
