"""Which gangs CP-SAT places anew together: those that do worse than alone, with the gangs that hold their room."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from solver.batch.alone import Alone
from solver.batch.state import State

#: So many of the gangs in the way of another are placed anew with it.
BLOCKERS = 4


def wanting(state: State, alone: Alone, movable: Sequence[int]) -> list[int]:
    """Gangs that wait though they may fit, then those placed worse than alone, as far as is known."""
    waiting = [at for at in movable if at not in state.placed and not alone.impossible(at)]
    worse = [at for at in movable if at in state.placed and alone.best(at) != state.standings[at]]
    return waiting + worse


def around(state: State, alone: Alone, movable: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Each wanting gang with one gang in its way, then with two of them."""
    wanted = wanting(state, alone, movable)
    in_the_way = {at: _blockers(state, alone, movable, at) for at in wanted}
    seen = set()
    for size in (1, 2):
        for at in wanted:
            for blockers in combinations(in_the_way[at], size):
                chosen = tuple(sorted((at, *blockers)))
                if chosen not in seen:
                    seen.add(chosen)
                    yield chosen


def all_others(movable: Sequence[int], among: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every two and then every three gangs with one of `among`."""
    wanted = set(among)
    for size in (2, 3):
        yield from (chosen for chosen in combinations(movable, size) if wanted.intersection(chosen))


def domains_for(state: State, alone: Alone, chosen: Sequence[int]) -> set[int]:
    """Lowest domains above the hosts that the chosen gangs use now, or would use alone."""
    tree = state.site.tree(chosen[0])
    parent, index = tree.parent[tree.height], state.site.snapshot.node_idx
    nodes = {item.node for at in chosen for item in state.placed.get(at, ())}
    nodes |= {node for at in chosen for node in alone.nodes(at)}
    return {int(parent[index[node]]) for node in nodes}


def _blockers(state: State, alone: Alone, movable: Sequence[int], at: int) -> list[int]:
    """Placed gangs with the most pods in the domains that a gang would use alone."""
    tree = state.site.tree(at)
    parent, index = tree.parent[tree.height], state.site.snapshot.node_idx
    wanted = {int(parent[index[node]]) for node in alone.nodes(at)}
    there = {
        other: sum(int(parent[index[item.node]]) in wanted for item in state.placed[other])
        for other in movable
        if other != at and other in state.placed
    }
    return sorted((other for other in there if there[other]), key=lambda other: (-there[other], other))[:BLOCKERS]
