"""The term `fragmentation` of all gangs of a batch at once, by the verifier's definition."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.resources import GPU, MILLI_GPU
from solver.domain.snapshot import Ints, Mask, Snapshot
from solver.topology.tree import Tree


@dataclass(frozen=True)
class _View:
    """What a gang sees: the nodes open to it, and the GPUs wholly free there by [level][domain_idx]."""

    nodes: Mask
    by_domain: list[Ints]


@dataclass(frozen=True)
class Leftover:
    """What is wholly free in each domain of `tree` once every gang has its place in `full`."""

    full: Snapshot
    tree: Tree

    @cached_property
    def _views(self) -> dict[bytes, _View]:
        """By the nodes that are open."""
        return {}

    def _view(self, gang: Gang) -> _View:
        """What is free for a gang."""
        nodes = self.full.open_to(gang.tolerations)
        view = self._views.get(nodes.tobytes())
        if view is None:
            view = self._views[nodes.tobytes()] = _View(nodes, self._free_on(nodes))
        return view

    def _free_on(self, nodes: Mask) -> list[Ints]:
        whole = self.full.wholly_free_on(nodes)
        found = []
        for level in range(self.tree.height + 1):
            sums = np.bincount(self.tree.domain_of[level], weights=whole, minlength=len(self.tree.names[level]))
            found.append(sums.astype(np.int64))
        return found

    def beside(self, gang: Gang, held: Sequence[BoundPod]) -> int:
        """Fragmentation of a gang whose new pods are `held`, running members included where it has any."""
        index, view = self.full.node_idx, self._view(gang)
        new = [index[pod.node] for pod in held]
        used = np.unique(np.array([*new, *(index[member.node] for member in gang.running)], dtype=np.int64))
        total = 0
        for level in range(1, self.tree.height + 1):
            touched = np.unique(self.tree.domain_of[level][used])
            total += int(view.by_domain[level][touched[self.tree.real[level][touched]]].sum())
        return total + sum(self._unlike(view, node, pods) for node, pods in _by_node(zip(new, held, strict=True)))

    def _unlike(self, view: _View, node: int, pods: Sequence[BoundPod]) -> int:
        """What the verifier counts on a node beyond its column, where parts of a GPU make a difference."""
        if not any(pod.requests[GPU] % MILLI_GPU for pod in pods):
            return 0
        column = self.full.free[node, self.full.resources.index(GPU)]
        before = int(column) + sum(pod.requests[GPU] for pod in pods)
        counted = max(before // MILLI_GPU, 0) * bool(view.nodes[node])
        counted -= sum(pod.requests[GPU] // MILLI_GPU for pod in pods)
        levels = sum(
            bool(self.tree.real[level][self.tree.domain_of[level][node]]) for level in range(1, self.tree.height + 1)
        )
        after = max(int(column) // MILLI_GPU, 0) * bool(view.nodes[node])
        return levels * (counted - after)


def _by_node(items: Iterable[tuple[int, BoundPod]]) -> Iterable[tuple[int, list[BoundPod]]]:
    found: dict[int, list[BoundPod]] = {}
    for node, pod in items:
        found.setdefault(node, []).append(pod)
    return found.items()
