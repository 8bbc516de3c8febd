"""Nodes on the wire: columns of many, records of one."""

from collections.abc import Sequence

import numpy as np

from solver.api.v1 import gang_pb2
from solver.api.v1 import snapshot_pb2 as pb
from solver.domain.columns import NodeColumns, compacted, refuse_cells
from solver.domain.constraints import Taint
from solver.domain.levels import HOST_LABEL
from solver.domain.resources import MAX_AMOUNT, Resources
from solver.domain.snapshot import Codes, Column, Ints, Mask, NodeRecord, Snapshot, frozen
from solver.service.codec.constraints import decode_taint, encode_taint
from solver.service.codec.fields import checking, required, within
from solver.service.errors import InvalidField


def decode_nodes(message: pb.NodeColumns, field: str) -> NodeColumns:
    """Columns as they are sent. Raises InvalidField."""
    names = list(message.names)
    if "" in names:
        raise InvalidField(f"{field}.names[{names.index('')}]", "must not be empty")
    with checking(field):
        refuse_cells(len(message.allocatable) + len(message.labels), len(names))
    return NodeColumns(
        names=names,
        allocatable=_decode_allocatable(message.allocatable, len(names), f"{field}.allocatable"),
        labels=_decode_labels(message.labels, len(names), f"{field}.labels"),
        taint_codes=decode_codes(message.taint_codes, len(names), len(message.taint_sets), f"{field}.taint_codes"),
        taint_sets=_decode_taint_sets(message.taint_sets, f"{field}.taint_sets"),
        ready=_decode_mask(message.not_ready, len(names), f"{field}.not_ready"),
        schedulable=_decode_mask(message.cordoned, len(names), f"{field}.cordoned"),
    )


def encode_nodes(snapshot: Snapshot, first: int, last: int) -> pb.NodeColumns:
    """The nodes from `first` to `last`, the latter not included."""
    rows = slice(first, last)
    found = pb.NodeColumns(names=snapshot.nodes[rows])
    for at, name in enumerate(snapshot.resources):
        amounts = snapshot.allocatable[rows, at]
        if amounts.any():
            same = bool((amounts == amounts[0]).all())
            found.allocatable.add(resource=name, amounts=[int(amounts[0])] if same else amounts.tolist())
    for key, column in snapshot.labels.items():
        _encode_label(found, key, Column(column.codes[rows], column.values))
    used, codes = np.unique(snapshot.taint_codes[rows], return_inverse=True)
    sets = [snapshot.taint_sets[code] for code in used.tolist()]
    if any(sets):
        present = [taints for taints in sets if taints]
        numbers = np.array([present.index(taints) + 1 if taints else 0 for taints in sets])
        found.taint_sets.extend(pb.TaintSet(taints=map(encode_taint, taints)) for taints in present)
        found.taint_codes.extend(numbers[codes].tolist())
    found.not_ready.extend(np.flatnonzero(~snapshot.ready[rows]).tolist())
    found.cordoned.extend(np.flatnonzero(~snapshot.schedulable[rows]).tolist())
    return found


def decode_node(message: pb.Node, field: str) -> NodeRecord:
    """One node."""
    name = required(message.name, f"{field}.name")
    amounts = {
        required(resource, f"{field}.allocatable"): within(amount, 0, MAX_AMOUNT, f"{field}.allocatable[{resource}]")
        for resource, amount in message.allocatable.items()
    }
    labels = dict(message.labels)
    if "" in labels:
        raise InvalidField(f"{field}.labels", "a label key must not be empty")
    taints = _taints(message.taints, f"{field}.taints")
    return NodeRecord(name, Resources.of(amounts), labels, taints, not message.not_ready, not message.cordoned)


def encode_node(node: NodeRecord) -> pb.Node:
    """One node."""
    return pb.Node(
        name=node.name,
        allocatable=dict(node.allocatable),
        labels=node.labels,
        taints=map(encode_taint, node.taints),
        not_ready=not node.ready,
        cordoned=not node.schedulable,
    )


def decode_codes(sent: Sequence[int], count: int, size: int, field: str) -> Codes:
    """Codes 0 (nothing) to `size`, `count` of them or none at all, which means nothing everywhere."""
    if not sent:
        return np.zeros(count, dtype=np.int32)
    if len(sent) != count:
        raise InvalidField(field, f"has {len(sent)} entries, not {count}")
    codes = np.array(sent, dtype=np.int32)
    wrong = np.flatnonzero((codes < 0) | (codes > size))
    if wrong.size:
        raise InvalidField(f"{field}[{wrong[0]}]", f"{codes[wrong[0]]} is out of range (0 to {size})")
    return codes


def _decode_allocatable(columns: Sequence[pb.ResourceColumn], count: int, field: str) -> dict[str, Ints]:
    found: dict[str, Ints] = {}
    for at, column in enumerate(columns):
        path = f"{field}[{at}]"
        if required(column.resource, f"{path}.resource") in found:
            raise InvalidField(f"{path}.resource", f"{column.resource!r} appears twice")
        amounts = np.array(column.amounts, dtype=np.int64)
        if len(amounts) not in (1, count):
            raise InvalidField(f"{path}.amounts", f"has {len(amounts)} entries, not {count}")
        wrong = np.flatnonzero((amounts < 0) | (amounts > MAX_AMOUNT))
        if wrong.size:
            problem = f"{amounts[wrong[0]]} is out of range (0 to {MAX_AMOUNT})"
            raise InvalidField(f"{path}.amounts[{wrong[0]}]", problem)
        found[column.resource] = np.broadcast_to(amounts, count)
    return found


def _decode_labels(columns: Sequence[pb.LabelColumn], count: int, field: str) -> dict[str, Column]:
    found: dict[str, Column] = {}
    keys = set()
    for at, column in enumerate(columns):
        path = f"{field}[{at}]"
        if required(column.key, f"{path}.key") in keys:
            raise InvalidField(f"{path}.key", f"{column.key!r} appears twice")
        keys.add(column.key)
        if column.codes:
            codes = decode_codes(column.codes, count, len(column.values), f"{path}.codes") - 1
        elif len(column.values) == count:
            codes = np.arange(count, dtype=np.int32)
        else:
            problem = f"has {len(column.values)} entries, not {count}, and there are no codes"
            raise InvalidField(f"{path}.values", problem)
        used = compacted(Column(frozen(codes.astype(np.int32)), tuple(column.values)))
        if used is not None:
            found[column.key] = used
    return found


def _decode_mask(positions: Sequence[int], count: int, field: str) -> Mask:
    """False at the positions, True elsewhere."""
    mask = np.ones(count, dtype=np.bool_)
    for at, position in enumerate(positions):
        mask[within(position, 0, count - 1, f"{field}[{at}]")] = False
    return mask


def _decode_taint_sets(messages: Sequence[pb.TaintSet], field: str) -> tuple[tuple[Taint, ...], ...]:
    """By code: none, then each set."""
    return ((), *(_taints(each.taints, f"{field}[{at}].taints") for at, each in enumerate(messages)))


def _taints(messages: Sequence[gang_pb2.Taint], field: str) -> tuple[Taint, ...]:
    return tuple(decode_taint(taint, f"{field}[{at}]") for at, taint in enumerate(messages))


def _encode_label(found: pb.NodeColumns, key: str, column: Column) -> None:
    """Add one label, unless it is the host label and says nothing but the nodes' names."""
    used, codes = np.unique(column.codes, return_inverse=True)
    values = [column.values[code] for code in used.tolist() if code >= 0]
    if len(values) == len(codes):
        by_node = [column.values[code] for code in column.codes.tolist()]
        if key != HOST_LABEL or by_node != list(found.names):
            found.labels.add(key=key, values=by_node)
    elif values:
        found.labels.add(key=key, values=values, codes=(codes + (0 if used[0] < 0 else 1)).tolist())
