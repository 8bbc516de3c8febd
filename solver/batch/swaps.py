"""Gangs that wait get a place by moving others: a few leave, the waiting one comes first, the tree places the rest.

Every single placement is the tree's optimum over the whole cluster, whatever it costs: one gang more is worth more
than any term.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from solver.batch.room import Freed, Place, Room
from solver.batch.state import State
from solver.batch.supplies import Needs, Piece
from solver.bound.warm import WarmTables
from solver.compile.naming import name_pods
from solver.compile.structure import build_structure
from solver.domain.accelerators import Accelerators, device_unit
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import TooLarge
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.resources import MILLI_GPU
from solver.domain.snapshot import Snapshot
from solver.search.options import Engine
from solver.search.solve import Clock, solve_gang

#: Of the gangs that could leave, so many that free the most useful room are tried two at a time.
PAIRED = 8
#: Longest time for one gang's place, in seconds.
PLACE_S = 1.0


@dataclass(frozen=True)
class Swap:
    """`leaving` go, then `coming` are placed one after the other: first one that waits, last what may get left over."""

    leaving: tuple[int, ...]
    coming: tuple[int, ...]


def swaps(state: State, movable: Sequence[int], needs: Mapping[Piece, Needs], size: int) -> Iterator[Swap]:
    """Swaps in which `size` gangs leave, for every waiting gang; those that may help, the most promising first.

    Counting pieces of devices tells whether the waiting gang could fit then, and whether all that come could.
    """
    gangs = state.site.gangs
    waiting = [at for at in movable if at not in state.placed]
    if not waiting:
        return
    room = Room(state.full, state.site.tree(waiting[0]), gangs, needs)
    weight = {at: _weight(gangs[at], state.site.snapshot.accelerators) for at in movable}
    waiting.sort(key=lambda at: (-gangs[at].priority, weight[at], at))
    freed = {at: room.freed_by(state.held[at]) for at in movable if at in state.placed}
    for first in waiting:
        found = []
        for leaving in _leaving(room, first, freed, size):
            together = _sum(freed[at] for at in leaving)
            if room.shortfall(first, together):
                continue
            others = [at for at in waiting if at != first and not room.shortfall(at, together)]
            all_fit = room.holds((first, *leaving), together)
            if all_fit or any(room.holds((first, at), together) for at in others):
                back = sorted(leaving, key=lambda at: (-gangs[at].priority, -weight[at], at))
                coming = (first, *back, *others) if all_fit else (first, *others, *back)
                key = (not all_fit, sum(weight[at] for at in leaving), leaving)
                found.append((key, Swap(leaving, coming)))
        yield from (swap for _, swap in sorted(found, key=lambda entry: entry[0]))


def _weight(gang: Gang, accelerators: Accelerators) -> int:
    """Thousandths of devices that all pods of a gang ask for."""
    return sum(
        amount * (MILLI_GPU // device_unit(name)) * len(role.pods)
        for role in gang.roles
        for name, amount in role.requests
        if accelerators.counts(name)
    )


def _leaving(room: Room, first: int, freed: Mapping[int, Freed], size: int) -> Iterator[tuple[int, ...]]:
    """Sets of placed gangs that may leave for `first`."""
    if size < 2:
        yield from combinations(sorted(freed), size)
        return
    useful = sorted(freed, key=lambda at: (room.shortfall(first, freed[at]), at))
    yield from (tuple(sorted(chosen)) for chosen in combinations(useful[:PAIRED], size))


def _sum(parts: Iterator[Freed]) -> Freed:
    total: dict[Place, int] = {}
    for part in parts:
        for place, amount in part.items():
            total[place] = total.get(place, 0) + amount
    return total


def swapped(state: State, swap: Swap, budget: Budget, warm: WarmTables) -> State | None:
    """The state after a swap; None when the first one finds no place, or fewer gangs are admitted than before."""
    snapshot = state.without(swap.leaving)
    anew: dict[int, tuple[Assignment, ...] | None] = dict.fromkeys(swap.leaving)
    for at in swap.coming:
        items = _placed(state, snapshot, at, budget, warm)
        if items is not None:
            anew[at] = items
            snapshot = snapshot.with_pods(state.site.held(at, items))
        elif at == swap.coming[0]:
            return None
    there = {*state.placed, *anew} - {at for at, items in anew.items() if items is None}
    return state.changed(anew) if state.site.admitted(there) >= state.admitted else None


def _placed(
    state: State, snapshot: Snapshot, at: int, budget: Budget, warm: WarmTables
) -> tuple[Assignment, ...] | None:
    """The gang's best place in a snapshot by the tree, None when there is none or the tree cannot tell in time."""
    budget = budget.within(PLACE_S)
    try:
        structure = build_structure(state.site.gangs[at], snapshot, state.site.tree(at), budget=budget)
        settled = solve_gang(structure, Engine.TREE, budget, Clock(), warm).settled
    except (OutOfTime, TooLarge):
        return None
    if settled is None:
        return None
    return () if settled.problem is None else name_pods(settled.problem, settled.states)
