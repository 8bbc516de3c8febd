"""Projections: which counts of a state merged tables keep."""

from dataclasses import dataclass

import numpy as np

from solver.compile.layout import Dim, Space
from solver.domain.snapshot import Ints


@dataclass(frozen=True)
class Projection:
    """Weighted totals of the pods of disjoint clusters of roles, one cluster for each dim of the merged states.

    weights: [clusters, roles]; every role has one positive weight, so that only the empty vector projects to 0.
    totals: pods by role over the gang.
    """

    weights: Ints
    totals: tuple[int, ...]

    @property
    def caps(self) -> tuple[int, ...]:
        """The whole gang's merged counts."""
        return tuple(int(cap) for cap in self.weights @ np.array(self.totals, dtype=np.int64))

    @property
    def space(self) -> Space:
        """The merged states, the same at every level; their dims stand for clusters instead of roles."""
        dims = tuple(Dim("role", at, cap) for at, cap in enumerate(self.caps))
        return Space(dims, np.eye(len(dims), dtype=np.int64), np.zeros((0, len(dims)), dtype=np.int64))

    def index(self, pods: Ints) -> Ints:
        """Merged state of pods [roles, …]."""
        return self.space.index(np.tensordot(self.weights, pods, axes=1))
