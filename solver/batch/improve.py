"""Large-neighbourhood search: a few gangs of the batch leave and are placed anew, while that pays and time lasts."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

from solver.batch.alone import Alone
from solver.batch.exact import place_exactly
from solver.batch.neighbourhoods import all_others, around, domains_for, wanting
from solver.batch.objective import best_of_terms
from solver.batch.state import State
from solver.batch.supplies import device_needs
from solver.batch.swaps import swapped, swaps
from solver.bound.warm import WarmTables
from solver.domain.budget import Budget
from solver.domain.errors import InternalError
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.search.joint import Joint, most_admitted, place_together
from solver.search.options import Engine, Reporter

#: Up to so many gangs and pods are placed all at once; beyond, a few at a time.
ALL_AT_ONCE_GANGS, ALL_AT_ONCE_PODS = 4, 40
#: Up to so many gangs in a cluster of `WHOLE_NODES` are placed all at once in the end, when bounds are known.
PROVEN_GANGS = 8
#: Parts of what is left for placing a few of them at a time before, and for the search by exact tables.
FEW_SHARE, EXACT_SHARE = 0.5, 0.7
#: Most choices of gangs to be placed, out of those that could be, which the search by exact tables goes through.
MOST_CHOICES = 20
#: Above so many nodes a few gangs are placed anew on the domains they use or would use alone only.
WHOLE_NODES = 64
#: Longest time for one joint placement of a few gangs, in seconds.
STEP_S = 2.0
#: Parts of what is left for placing all gangs at once, for making room by swaps, and for looking at single gangs.
WHOLE_SHARE, SWAP_SHARE, ALONE_SHARE = 0.9, 0.5, 0.5
#: Part of what is left for counting how many gangs can be placed, before the search by exact tables.
COUNT_SHARE = 0.4
#: Most gangs that leave for a waiting one.
MOST_LEAVING = 2


@dataclass
class Improver:
    """Looks for better states than `state`. told: hears of each. proven: nothing can be better.

    moves: how often each gang was moved. most: by priority, how many gangs can be placed, once that is known. exact:
    whether all were placed by their exact tables.
    """

    state: State
    alone: Alone
    engine: Engine
    budget: Budget
    reporter: Reporter
    warm: WarmTables
    told: Callable[[State], None] | None = None
    proven: bool = False
    most: Mapping[int, int] | None = None
    exact: bool = False
    moves: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        """Place all gangs together where they are few; else, and where that is not proven best, a few at a time."""
        movable = self.movable()
        few = 2 <= len(movable) <= PROVEN_GANGS and len(self.state.site.snapshot.nodes) <= WHOLE_NODES
        exact = few and self.engine is Engine.AUTO and len(movable) == len(self.state.site.gangs)
        if exact and len(self.state.placed) == len(movable):
            self.look()
            self.exactly(self.budget.part(EXACT_SHARE))
        pods = sum(len(role.pods) for at in movable for role in self.state.site.gangs[at].roles)
        if not self.proven and 2 <= len(movable) <= ALL_AT_ONCE_GANGS and pods <= ALL_AT_ONCE_PODS:
            self.together(tuple(movable), self.budget.part(WHOLE_SHARE))
        if not self.proven:
            self.by_parts(movable, few, exact)

    def by_parts(self, movable: Sequence[int], few: bool, exact: bool) -> None:
        """Make room by swaps, then place a few gangs anew at a time; where they are few, all of them in the end."""
        if self.engine is Engine.AUTO:
            self.admit(movable, self.budget.part(SWAP_SHARE))
        self.look()
        if exact and not self.exact:
            self.count(movable, self.budget.part(COUNT_SHARE))
            self.exactly(self.budget.part(EXACT_SHARE))
            if self.proven:
                return
        self.better(movable, self.budget.part(FEW_SHARE) if few else self.budget)
        if few and not self.proven:
            self.count(movable, self.budget)
            self.together(tuple(movable), self.budget)

    def exactly(self, budget: Budget) -> None:
        """Place all gangs that can be anew by their exact tables, whichever; the best is proven if time allows.

        As many of each priority as are placed now.
        """
        self.reporter.stage("batch", "placing all gangs by what each reaches alone")
        self.exact = True
        site, proven = self.state.site, self.admitted_all
        choices = self.choices() if proven else [tuple(sorted(self.state.placed))]
        if choices is None or not choices[0]:
            return
        for chosen in choices:
            gangs = [site.gangs[at] for at in chosen]
            alone = [self.alone.best(at) for at in chosen]
            found = place_exactly(site.snapshot, gangs, site.tree(0), alone, self.state.values, budget)
            if found.assignments is not None:
                leave: dict[int, tuple[Assignment, ...] | None] = dict.fromkeys(self.state.placed)
                self.take(self.state.changed({**leave, **dict(zip(chosen, found.assignments, strict=True))}))
            proven = proven and found.proven
        self.proven = proven

    def choices(self) -> list[tuple[int, ...]] | None:
        """Gangs that might be placed instead of those that are, as many of each priority, which themselves come first.

        None when there are too many to try, or what a gang reaches alone is not known.
        """
        site = self.state.site
        possible = [at for at in range(len(site.gangs)) if not self.alone.impossible(at)]
        placed = tuple(sorted(self.state.placed))
        found = [placed]
        if len(possible) == len(placed):
            return found
        best = {at: self.alone.best(at) for at in possible}
        if None in best.values():
            return None
        for chosen in combinations(possible, len(placed)):
            least = tuple(sum(column, Fraction(0)) for column in zip(*(best[at] or () for at in chosen), strict=True))
            if chosen != placed and site.admitted(chosen) == self.state.admitted and least <= self.state.values:
                found.append(chosen)
        return found if len(found) <= MOST_CHOICES else None

    @property
    def admitted_all(self) -> bool:
        """Whether it is known that no more gangs can be placed."""
        site = self.state.site
        if all(at in self.state.placed or self.alone.impossible(at) for at in range(len(site.gangs))):
            return True
        classes = sorted({gang.priority for gang in site.gangs}, reverse=True)
        return self.most is not None and self.state.admitted == tuple(self.most.get(each, 0) for each in classes)

    def count(self, movable: Sequence[int], budget: Budget) -> None:
        """How many gangs can be placed at most, by CP-SAT, where some that may fit wait and all can be moved."""
        site = self.state.site
        waiting = [at for at in movable if at not in self.state.placed and not self.alone.impossible(at)]
        if waiting and self.most is None and len(movable) == len(site.gangs):
            self.reporter.stage("batch", "how many gangs can be placed")
            self.most = most_admitted(site.snapshot, site.gangs, site.tree(0), budget)

    def movable(self) -> list[int]:
        """Gangs that may be placed together: one topology and view, nothing running, none with the rule `bandwidth`.

        Nor with anti-affinity among them.
        """
        gangs = self.state.site.gangs
        if not (self.state.site.one_topology and self.state.site.one_view):
            return []
        return [
            at
            for at, gang in enumerate(gangs)
            if not gang.running
            and gang.requests_per_second is None
            and not any(_repels(gang, other) or _repels(other, gang) for other in gangs)
        ]

    def admit(self, movable: Sequence[int], budget: Budget) -> None:
        """Admit more gangs by swaps, until none helps."""
        needs = device_needs(self.state.site.gangs, self.state.site.snapshot.accelerators)
        size = 0
        while needs and size <= MOST_LEAVING:
            self.reporter.stage("batch", "making room for gangs that wait")
            helped = False
            for swap in swaps(self.state, movable, needs, size):
                if not budget.left_s:
                    return
                later = swapped(self.state, swap, budget, self.warm)
                if later is not None and self.take(later):
                    helped = True
                    break
            size = 0 if helped else size + 1

    def look(self) -> None:
        """What each gang reaches alone: it says who is in the way of whom, and bounds the batch."""
        budget = self.budget.part(ALONE_SHARE)
        for at in sorted(range(len(self.state.site.gangs)), key=lambda at: at in self.state.placed):
            self.alone.look(at, budget)

    def better(self, movable: Sequence[int], budget: Budget) -> None:
        """Place a few gangs anew by CP-SAT, those first that do worse than alone; until none does, or time is over."""
        tried: set[object] = set()
        helped = True
        while helped:
            helped = False
            for chosen in self.neighbourhoods(movable):
                key = (chosen, tuple(self.moves[at] for at in chosen))
                if key in tried:
                    continue
                if not budget.left_s:
                    return
                tried.add(key)
                if self.together(chosen, budget.within(STEP_S)):
                    helped = True
                    break

    def neighbourhoods(self, movable: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """First those around gangs that do worse than alone; in a small cluster `fragmentation` alone is worth it."""
        yield from around(self.state, self.alone, movable)
        small = len(self.state.site.snapshot.nodes) <= WHOLE_NODES
        yield from all_others(movable, movable if small else wanting(self.state, self.alone, movable))

    def together(self, chosen: tuple[int, ...], budget: Budget) -> bool:
        """Place some gangs anew together; whether the batch is worth more then."""
        site = self.state.site
        self.reporter.stage("batch", f"placing {len(chosen)} gangs together")
        lowest = None if len(site.snapshot.nodes) <= WHOLE_NODES else domains_for(self.state, self.alone, chosen)
        gangs = [site.gangs[at] for at in chosen]
        whole = len(chosen) == len(site.gangs) and self.admitted_all
        lower = best_of_terms(self.state, self.alone) if whole else None
        found = place_together(self.state.without(chosen), gangs, site.tree(chosen[0]), budget, lowest, lower)
        if found is None:
            return False
        later = self.with_joint(chosen, found)
        helped = later is not None and self.take(later)
        if found.proven and len(chosen) == len(site.gangs):
            if later is not None and later.worth != self.state.worth:
                raise InternalError("a joint placement proven best is worth less than another one")
            self.proven = True
        return helped

    def with_joint(self, chosen: Sequence[int], found: Joint) -> State | None:
        """The state with a joint placement; None when it is the one there is."""
        placed = self.state.placed
        anew = zip(chosen, found.assignments, strict=True)
        moved = {at: items for at, items in anew if items != placed.get(at)}
        return self.state.changed(moved) if moved else None

    def take(self, later: State) -> bool:
        """Go on from another state if it is worth more."""
        if later.worth > self.state.worth:
            self.moves.update(at for at, items in later.placed.items() if self.state.placed.get(at) != items)
            self.state = later
            if self.told is not None:
                self.told(later)
            return True
        return False


def _repels(gang: Gang, other: Gang) -> bool:
    """Whether a role of `gang` declares anti-affinity against a pod of another gang of the batch."""
    if gang is other:
        return False
    return any(
        term.selector.matches(theirs.constraints.namespace, dict(theirs.constraints.labels))
        for role in gang.roles
        for term in role.constraints.anti_affinity
        for theirs in other.roles
    )
