"""What a placement is worth: its counts summed up the tree, rules checked, terms added up."""

from collections.abc import Mapping

import numpy as np

from solver.bound.vectors import MakeTerms, costs_of
from solver.compile.layout import Space
from solver.compile.listing import listed
from solver.compile.problem import Problem
from solver.domain.snapshot import Codes, Ints
from solver.rules import bandwidth
from solver.rules.registry import allowed_states


def worth(problem: Problem, make_terms: MakeTerms, states: Mapping[int, int]) -> tuple[int, ...] | None:
    """Sum of each term, constants included, of the placement of the whole frame; None when it breaks a rule.

    states: node index → host state that fits the node. make_terms: the terms of a problem.
    """
    height, space = problem.tree.height, problem.layout.spaces[-1]
    nodes = np.array(sorted(states), dtype=np.int64)
    counts = np.array([space.counts_at(states[node]) for node in nodes.tolist()], dtype=np.int64)
    pods_on = space.role_matrix @ counts.reshape(len(nodes), len(space.dims)).T
    sums = np.array([term.constant for term in make_terms(problem)], dtype=object)
    for level in range(height, -1, -1):
        domains, where = np.unique(problem.tree.domain_of[level][nodes], return_inverse=True)
        pods = np.zeros((len(pods_on), len(domains)), dtype=np.int64)
        np.add.at(pods.T, where, pods_on.T)
        added = _level_worth(problem, make_terms, level, domains, pods)
        if added is None:
            return None
        sums += added
    if pods[:, 0].tolist() != list(problem.totals):
        return None
    return tuple(int(value) for value in sums)


def counts_of_pods(problem: Problem, space: Space, pods: Ints) -> Ints | None:
    """[dims, domains] counts of domains that hold pods [roles, domains]; None when a replica is not whole there."""
    found = np.zeros((len(space.dims), pods.shape[1]), dtype=np.int64)
    for at, dim in enumerate(space.dims):
        if dim.kind == "role":
            found[at] = pods[dim.item]
        else:
            sizes = np.array(problem.frame.groups[dim.item].inside)
            inside = sizes > 0
            found[at] = (pods[inside] // sizes[inside, None]).min(axis=0)
    return found if (space.role_matrix @ found == pods).all() else None


def states_of_pods(problem: Problem, nodes: Ints, pods: Ints) -> dict[int, int] | None:
    """Node index → host state of `nodes` that hold pods [roles, nodes]; None when a replica is torn apart."""
    space = problem.layout.spaces[-1]
    counts = counts_of_pods(problem, space, pods)
    if counts is None:
        return None
    return {node: space.state_of(column) for node, column in zip(nodes.tolist(), counts.T, strict=True)}


def _level_worth(problem: Problem, make_terms: MakeTerms, level: int, domains: Codes, pods: Ints) -> Ints | None:
    """[terms] what the domains of a level add, or None when a rule forbids what one of them holds."""
    counts = counts_of_pods(problem, problem.layout.spaces[level], pods)
    if counts is None:
        return None
    here = listed(problem, level, counts)
    terms = make_terms(here)
    bits = problem.tree.path_bits[level][domains]
    total = np.zeros(len(terms), dtype=object)
    if not _links_hold(here, level, domains, bits):
        return None
    for path in np.unique(bits).tolist():
        inside = bits == path
        real = bool(path >> level & 1)
        if not allowed_states(here, level, real)[inside].all():
            return None
        total += costs_of(here, terms, level, path)[:, inside].sum(axis=1)
        if level and real:
            holes = int(problem.holes[level][domains[inside]].sum())
            total += np.array([holes if term.holes else 0 for term in terms], dtype=object)
    return total


def _links_hold(here: Problem, level: int, domains: Codes, bits: Ints) -> bool:
    """Whether the links of the domains carry what they hold. here: the problem with one state for each domain."""
    if here.links is None:
        return True
    links = here.links_at(level)
    if level == here.tree.height:
        limits = np.array([here.link_of_node(path) for path in bits.tolist()], dtype=np.int64)
    elif links is None:
        return True
    else:
        limits = links[domains]
    return all(bandwidth.mask(here, level, limit)[limits == limit].all() for limit in np.unique(limits).tolist())
