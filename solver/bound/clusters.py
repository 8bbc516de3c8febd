"""Which roles to merge: alike ones first, until the merged states are few enough."""

from itertools import combinations

import numpy as np

from solver.bound.projection import Projection
from solver.compile.problem import Problem


def projection_within(problem: Problem, most_pairs: int) -> Projection:
    """The finest projection, merging alike roles first, with at most `most_pairs` pairs of states; else one cluster.

    Raises OutOfTime.
    """
    clusters = [[role] for role in range(len(problem.totals))]

    def unlikeness(pair: tuple[int, int]) -> tuple[int, int, int]:
        problem.budget.check()
        return _unlikeness(problem, clusters, *pair)

    while len(clusters) > 1 and _projection(problem, clusters).space.pairs > most_pairs:
        left, right = min(combinations(range(len(clusters)), 2), key=unlikeness)
        clusters[left] += clusters.pop(right)
    return _projection(problem, clusters)


def every_role(problem: Problem) -> Projection:
    """The projection that merges nothing: its tables are exact."""
    return _projection(problem, [[role] for role in range(len(problem.totals))])


def _projection(problem: Problem, clusters: list[list[int]]) -> Projection:
    """Each cluster counts its pods by their GPUs, so that a merged count says how full a node is."""
    weights = np.zeros((len(clusters), len(problem.totals)), dtype=np.int64)
    for at, cluster in enumerate(clusters):
        gpus = np.array([problem.frame.roles[role].gpus for role in cluster], dtype=np.int64)
        weights[at, cluster] = np.maximum(1, gpus // max(1, int(np.gcd.reduce(gpus))))
    return Projection(weights, problem.totals)


def _unlikeness(problem: Problem, clusters: list[list[int]], left: int, right: int) -> tuple[int, int, int]:
    """How little two clusters have in common: nodes and kind of hardware, flows, size of what they make together."""
    roles = [problem.frame.roles[role] for role in (*clusters[left], *clusters[right])]
    hardware = len({(role.source.mask_id, role.gpus > 0) for role in roles})
    links = len({link for role in roles for link in role.source.links})
    return hardware, links, _projection(problem, [clusters[left] + clusters[right]]).caps[0]
