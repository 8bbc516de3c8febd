"""Sites: the lowest domains a search is restricted to, those of a relaxed optimum first, then what is near."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from solver.compile.listing import node_room
from solver.compile.problem import Problem
from solver.domain.snapshot import Codes, Ints


def ranked_domains(problem: Problem, chosen: Mapping[int, Sequence[int]]) -> list[int]:
    """Lowest domains above the hosts that can hold pods, the best to look at first.

    chosen: those of a relaxed optimum, with what it puts there; the fullest come first. The others follow by how many
    levels they share with one of these, then by the pods that the domains around them could take, coarse to fine.
    """
    tree, lowest = problem.tree, lowest_of(problem)
    usable = np.unique(lowest[problem.node_class >= 0])
    _, most = node_room(problem)
    room = most.sum(axis=1)
    first_node = np.zeros(len(tree.parent[tree.height - 1]), dtype=np.int64)
    first_node[lowest[::-1]] = np.arange(len(lowest))[::-1]
    near = np.zeros(len(first_node), dtype=np.int64)
    rooms = []
    for level in range(1, tree.height):
        above = tree.domain_of[level][first_node]
        near += np.isin(above, above[list(chosen)])
        rooms.append(np.bincount(tree.domain_of[level], weights=room)[above])
    fullest = sorted(chosen, key=lambda domain: (-sum(chosen[domain]), domain))
    others = np.setdiff1d(usable, fullest)
    keys = (-near, *(-each for each in rooms))
    order = np.lexsort((others, *(key[others] for key in reversed(keys))))
    return fullest + [int(domain) for domain in others[order]]


def roomy_nodes(problem: Problem, level: int, most: int) -> Iterator[Ints]:
    """Nodes of each of up to `most` domains of a level that could take the whole gang, as far as sums tell.

    Those with the least room to spare come first.
    """
    amounts, pods = node_room(problem)
    domains, usable = problem.tree.domain_of[level], problem.node_class >= 0
    totals = np.array(problem.totals, dtype=np.int64)
    room = np.concatenate([amounts, pods], axis=1)
    needed = np.concatenate([totals @ problem.requests, totals])
    sums = np.zeros((len(problem.tree.parent[level]), room.shape[1]), dtype=np.int64)
    np.add.at(sums, domains[usable], room[usable])
    enough = np.flatnonzero((sums >= needed).all(axis=1))
    for domain in enough[np.argsort(sums[enough, -len(totals) :].sum(axis=1), kind="stable")][:most].tolist():
        yield np.flatnonzero(usable & (domains == domain))


def lowest_of(problem: Problem) -> Codes:
    """[nodes] lowest domain above the host."""
    return problem.tree.domain_of[problem.tree.height - 1]


def nodes_in_order(problem: Problem, domains: Sequence[int]) -> Ints:
    """Nodes that can hold pods, domain by domain; those of domains not listed are left out."""
    rank = np.full(len(problem.tree.parent[problem.tree.height - 1]), -1, dtype=np.int64)
    rank[list(domains)] = np.arange(len(domains))
    ranks = rank[lowest_of(problem)]
    nodes = np.flatnonzero((ranks >= 0) & (problem.node_class >= 0))
    return np.asarray(nodes[np.argsort(ranks[nodes], kind="stable")])


def model_size(problem: Problem, domains: Collection[int]) -> int:
    """About how many variables the CP-SAT model of a site has, before it is built."""
    inside = np.isin(lowest_of(problem), list(domains)) & (problem.node_class >= 0)
    classes, roles = problem.classes, len(problem.totals)
    _, most = node_room(problem)
    places = np.unique(np.stack([lowest_of(problem)[inside], problem.node_class[inside]]), axis=1)
    patterns = 0
    for at in places[1].tolist():
        fits = classes[at].fits
        patterns += 0 if fits is None else int(fits.sum())
    single = int(sum(classes[at].fits is None for at in problem.node_class[inside].tolist()))
    steps = 0
    for level in range(1, problem.tree.height):
        where = problem.tree.domain_of[level][inside]
        held = np.zeros((len(problem.tree.parent[level]), roles), dtype=np.int64)
        np.add.at(held, where, most[inside])
        steps += int(np.minimum(held, problem.totals).sum())
    return patterns + single * 4 * roles + 3 * steps
