"""Where devices are free, in pieces as large as pods ask for: which gangs there may be room for, by counting alone."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from solver.batch.supplies import Needs, Piece, open_to_any
from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Ints, Mask, Snapshot
from solver.topology.tree import Tree

#: A resource of a node: its name and the node's index.
Place = tuple[str, int]
#: Resource of a node → what is free of it in addition.
Freed = Mapping[Place, int]


class Room:
    """The free devices of one snapshot. needs: see device_needs().

    A gang that falls short here cannot be placed; one that does not may still not fit.
    """

    def __init__(self, snapshot: Snapshot, tree: Tree, gangs: Sequence[Gang], needs: Mapping[Piece, Needs]) -> None:
        self._tree, self._gangs, self._needs = tree, gangs, needs
        self._index = snapshot.node_idx
        nodes = open_to_any(snapshot, gangs)
        self._free = {name: _free(snapshot, nodes, name) for name, _ in needs}
        self._pieces: dict[tuple[int, Piece], Ints] = {}

    def freed_by(self, pods: Iterable[BoundPod]) -> Freed:
        """What is free in addition once some pods are gone."""
        found: dict[Place, int] = {}
        for pod in pods:
            node = self._index[pod.node]
            for name in self._free:
                if amount := pod.requests[name]:
                    found[name, node] = found.get((name, node), 0) + amount
        return found

    def shortfall(self, at: int, freed: Freed) -> int:
        """Pieces that a gang misses in the domain with the most room, of those one of which it requires."""
        required = self._gangs[at].root.pack.required
        level = 0 if required is None else self._tree.level(required)
        missing = np.zeros(len(self._tree.names[level]), dtype=np.int64)
        for piece, needs in self._needs.items():
            np.maximum(missing, needs[at] - self._having(level, piece, freed), out=missing)
        return int(missing[self._tree.real[level]].min(initial=max(needs[at] for needs in self._needs.values())))

    def holds(self, chosen: Iterable[int], freed: Freed) -> bool:
        """Whether the whole cluster has as many pieces of each size as some gangs together need at least."""
        together = list(chosen)
        return all(
            sum(needs[at] for at in together) <= int(self._having(0, piece, freed)[0])
            for piece, needs in self._needs.items()
        )

    def _having(self, level: int, piece: Piece, freed: Freed) -> Ints:
        """[domain_idx] whole pieces of a resource and size."""
        name, size = piece
        domain_of = self._tree.domain_of[level]
        if (level, piece) not in self._pieces:
            pieces = np.bincount(domain_of, weights=self._free[name] // size, minlength=len(self._tree.names[level]))
            self._pieces[level, piece] = pieces.astype(np.int64)
        found = self._pieces[level, piece].copy()
        for (resource, node), more in freed.items():
            if resource == name:
                before = int(self._free[name][node])
                found[domain_of[node]] += (before + more) // size - before // size
        return found


def _free(snapshot: Snapshot, nodes: Mask, resource: str) -> Ints:
    """[nodes] what some nodes have free of a resource; nothing where no node has it."""
    if resource not in snapshot.resources:
        return np.zeros(len(snapshot.nodes), dtype=np.int64)
    column = np.maximum(snapshot.free[:, snapshot.resources.index(resource)], 0)
    return np.where(nodes, column, 0)
