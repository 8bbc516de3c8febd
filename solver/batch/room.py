"""Where GPUs are free, in pieces as large as pods ask for: which gangs there may be room for, by counting alone."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from solver.batch.supplies import Needs, open_to_any
from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.resources import GPU
from solver.domain.snapshot import Ints, Snapshot
from solver.topology.tree import Tree

#: Node index → thousandths of a GPU that are free in addition.
Freed = Mapping[int, int]


class Room:
    """The free GPUs of one snapshot. needs: see gpu_needs().

    A gang that falls short here cannot be placed; one that does not may still not fit.
    """

    def __init__(self, snapshot: Snapshot, tree: Tree, gangs: Sequence[Gang], needs: Mapping[int, Needs]) -> None:
        self._tree, self._gangs, self._needs = tree, gangs, needs
        self._index = snapshot.node_idx
        column = np.maximum(snapshot.free[:, snapshot.resources.index(GPU)], 0)
        self._free = np.where(open_to_any(snapshot, gangs), column, 0)
        self._pieces: dict[tuple[int, int], Ints] = {}

    def freed_by(self, pods: Iterable[BoundPod]) -> dict[int, int]:
        """What is free in addition once some pods are gone."""
        found: dict[int, int] = {}
        for pod in pods:
            node = self._index[pod.node]
            found[node] = found.get(node, 0) + pod.requests[GPU]
        return found

    def shortfall(self, at: int, freed: Freed) -> int:
        """Pieces that a gang misses in the domain with the most room, of those one of which it requires."""
        required = self._gangs[at].root.pack.required
        level = 0 if required is None else self._tree.level(required)
        missing = np.zeros(len(self._tree.names[level]), dtype=np.int64)
        for size, needs in self._needs.items():
            np.maximum(missing, needs[at] - self._having(level, size, freed), out=missing)
        return int(missing[self._tree.real[level]].min(initial=max(needs[at] for needs in self._needs.values())))

    def holds(self, chosen: Iterable[int], freed: Freed) -> bool:
        """Whether the whole cluster has as many pieces of each size as some gangs together need at least."""
        together = list(chosen)
        return all(
            sum(needs[at] for at in together) <= int(self._having(0, size, freed)[0])
            for size, needs in self._needs.items()
        )

    def _having(self, level: int, size: int, freed: Freed) -> Ints:
        """[domain_idx] whole pieces of a size."""
        domain_of = self._tree.domain_of[level]
        if (level, size) not in self._pieces:
            pieces = np.bincount(domain_of, weights=self._free // size, minlength=len(self._tree.names[level]))
            self._pieces[level, size] = pieces.astype(np.int64)
        found = self._pieces[level, size].copy()
        for node, more in freed.items():
            before = int(self._free[node])
            found[domain_of[node]] += (before + more) // size - before // size
        return found
