"""The immutable tree of domains: nodes inside hosts, racks, blocks, zones … inside the root."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.domain.errors import InvalidRequest
from solver.domain.levels import TopologySpec
from solver.domain.naming import natural_key
from solver.domain.snapshot import Codes, Ints, Mask, Snapshot


@dataclass(frozen=True)
class Tree:
    """Domains of one topology over one snapshot's nodes.

    Level 0 is the root, levels 1…height follow `spec.levels` from coarse to fine; the last is the host, where
    domain index = node index. A node without a level's label sits in a *void* domain there: no place of its own,
    one for each parent, sorted after its siblings.

    domain_of[level][node_idx]: domain of a node. parent[level][domain_idx]: domain one level up (−1 at the root).
    real[level][domain_idx]: False for void domains. names[level][domain_idx]: path of label values.
    """

    spec: TopologySpec
    domain_of: tuple[Codes, ...]
    parent: tuple[Codes, ...]
    real: tuple[Mask, ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def height(self) -> int:
        """Index of the host level."""
        return len(self.domain_of) - 1

    @cached_property
    def level_names(self) -> tuple[str, ...]:
        """Names by level index; index 0 is `root`."""
        return ("root", *(level.name for level in self.spec.levels))

    def level(self, word: str) -> int:
        """Level index of a name, alias or label key; raises InvalidRequest for an unknown one."""
        position = self.spec.find(word)
        if position is None:
            known = ", ".join(level.name for level in self.spec.levels)
            raise InvalidRequest(f"level {word!r} is unknown; the topology has {known}")
        return position

    def preferred_level(self, word: str | None) -> int:
        """Level index that a preferred pack means, 0 = none; raises InvalidRequest for an unknown word."""
        position = self.spec.find_preferred(word) if word else 0
        return self.level(word or "") if position is None else position

    @cached_property
    def path_bits(self) -> tuple[Ints, ...]:
        """[level][domain_idx]: bit i set when the ancestor-or-self at level i is real; the root always is."""
        bits = [np.ones(1, dtype=np.int64)]
        for level in range(1, self.height + 1):
            bits.append(bits[-1][self.parent[level]] | (self.real[level].astype(np.int64) << level))
        return tuple(bits)


def build_tree(snapshot: Snapshot, spec: TopologySpec) -> Tree:
    """Tree of `spec` over the snapshot's nodes; siblings in natural order of their label values."""
    count = len(snapshot.nodes)
    domain_of: list[Codes] = [np.zeros(count, dtype=np.int32)]
    parents: list[Codes] = [np.array([-1], dtype=np.int32)]
    reals: list[Mask] = [np.ones(1, dtype=np.bool_)]
    names: list[tuple[str, ...]] = [("",)]
    for level in spec.levels[:-1]:
        ranks, values = _ranked_labels(snapshot, level.label)
        width = len(values) + 1
        keys, inverse = np.unique(domain_of[-1].astype(np.int64) * width + ranks, return_inverse=True)
        above, rank = keys // width, keys % width
        paths = tuple(
            _join(names[-1][parent], values[code] if code < len(values) else "-")
            for parent, code in zip(above.tolist(), rank.tolist(), strict=True)
        )
        domain_of.append(inverse.astype(np.int32))
        parents.append(above.astype(np.int32))
        reals.append(rank < len(values))
        names.append(paths)
    parents.append(domain_of[-1])
    domain_of.append(np.arange(count, dtype=np.int32))
    reals.append(np.ones(count, dtype=np.bool_))
    names.append(snapshot.nodes)
    return Tree(spec, tuple(domain_of), tuple(parents), tuple(reals), tuple(names))


def _ranked_labels(snapshot: Snapshot, label: str) -> tuple[Ints, tuple[str, ...]]:
    """Each node's rank in the natural order of the label's values, and the values; no label ranks last."""
    column = snapshot.labels.get(label)
    if column is None:
        return np.zeros(len(snapshot.nodes), dtype=np.int64), ()
    order = sorted(range(len(column.values)), key=lambda code: natural_key(column.values[code]))
    rank_of = np.empty(len(order) + 1, dtype=np.int64)
    rank_of[order] = np.arange(len(order))
    rank_of[-1] = len(order)
    return rank_of[column.codes], tuple(column.values[code] for code in order)


def _join(path: str, value: str) -> str:
    return f"{path}/{value}" if path else value
