"""The placements of all gangs of a batch, and what they are worth together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from solver.batch.leftover import Leftover
from solver.bound.warm import WarmTables
from solver.domain.errors import InternalError
from solver.domain.gang import Gang
from solver.domain.holding import as_bound, holding_planned
from solver.domain.nominated import seen_by, unnominated
from solver.domain.plan import Assignment, GangPlan, Plan
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from solver.topology.choice import choose_topology, joint_words
from solver.topology.tree import Tree
from solver.verify.checker import TERMS, Verification, verify

#: Higher is better: gangs admitted by class, then everything else summed and negated where lower is better.
Worth = tuple[tuple[int, ...], tuple[Fraction, ...]]
Placed = Mapping[int, tuple[Assignment, ...]]
#: Lower is better, place by place: pods above the fewest and kept replicas negated, then the other terms without
#: `fragmentation`, the only one that depends on other gangs.
Standing = tuple[Fraction, ...]


def standing_of(verdict: Verification) -> Standing:
    """How good a placement is, whatever the other gangs do."""
    above, *others = (verdict.objective[term] for term in TERMS[:-1])
    return (-above, Fraction(-verdict.kept_replicas), *others)


class Site:
    """The cluster without the batch, and the topology of each gang.

    Its snapshot has nominated pods only where they do not count for all gangs alike; then nothing is placed jointly.
    words: levels that every gang has, because some gang names them. apart: says why no topology holds them all.
    """

    def __init__(self, snapshot: Snapshot, gangs: Sequence[Gang], warm: WarmTables) -> None:
        self.snapshot, self.gangs, self._warm = snapshot, tuple(gangs), warm
        self.words, self.apart = joint_words(snapshot, gangs)
        self._specs = [choose_topology(snapshot, gang, self.words)[0] for gang in gangs]

    @property
    def one_view(self) -> bool:
        """Whether all gangs see the same cluster."""
        return not self.snapshot.nominated

    @cached_property
    def alone(self) -> Snapshot:
        """The cluster for a gang without all others of the batch, whose nominated pods may find places elsewhere."""
        return unnominated(self.snapshot, self.gangs)

    @property
    def one_topology(self) -> bool:
        """Whether all gangs see the same tree."""
        return all(spec == self._specs[0] for spec in self._specs)

    def tree(self, at: int) -> Tree:
        """The tree a gang sees."""
        return self._warm.tree(self.snapshot, self._specs[at])

    def handover_ms(self, at: int) -> float | None:
        """What the answer for a gang says of hand-overs; see GangPlan."""
        return self._specs[at].handover_ms if self.gangs[at].hands_over else None

    def held(self, at: int, items: Sequence[Assignment]) -> list[BoundPod]:
        """What a gang holds beside its running members."""
        return as_bound(self.gangs[at], items)

    def admitted(self, placed: Collection[int]) -> tuple[int, ...]:
        """How many of some gangs there are of each priority, the highest first."""
        classes = sorted({gang.priority for gang in self.gangs}, reverse=True)
        return tuple(sum(self.gangs[at].priority == priority for at in placed) for priority in classes)

    def standing(self, at: int, answer: GangPlan) -> Standing:
        """How good a plan of a gang is that plan() has verified."""
        above, *others = (term.value for term in answer.objective[:-1])
        kept = 0
        if self.gangs[at].root.groups:
            spec, tree = self._specs[at], self.tree(at)
            kept = verify(self.snapshot, self.gangs[at], spec, answer.assignments, tree).kept_replicas
        return (-above, Fraction(-kept), *others)

    def verified(self, among: Snapshot, at: int, items: Sequence[Assignment]) -> Verification:
        """A gang's placement among others checked. Raises InternalError for a violation."""
        gang = self.gangs[at]
        verdict = verify(among, gang, self._specs[at], items, self.tree(at))
        if verdict.violations:
            raise InternalError(f"gang {gang.name}: the joint plan fails verification: {verdict.violations[0]}")
        return verdict


@dataclass(frozen=True)
class State:
    """One choice of placements.

    held: what each placed gang holds. full: the cluster with all of them. standings: how good each placement is.
    """

    site: Site
    placed: Placed
    held: Mapping[int, Sequence[BoundPod]]
    full: Snapshot
    standings: Mapping[int, Standing]

    @cached_property
    def fragmentation(self) -> Mapping[int, int]:
        """The term `fragmentation` of each placed gang among all."""
        found: dict[int, int] = {}
        views: dict[int, Leftover] = {}
        for at in self.placed:
            gang, tree = self.site.gangs[at], self.site.tree(at)
            view = views.get(id(tree))
            if view is None or not self.site.one_view:
                view = views[id(tree)] = Leftover(seen_by(self.full, gang), tree)
            found[at] = view.beside(gang, self.held[at])
        return found

    @property
    def admitted(self) -> tuple[int, ...]:
        """Placed gangs by priority, the highest first."""
        return self.site.admitted(self.placed)

    @cached_property
    def values(self) -> tuple[Fraction, ...]:
        """The standings summed, then `fragmentation`; lower is better. Of no placed gang only the last."""
        sums = [sum(column, Fraction(0)) for column in zip(*self.standings.values(), strict=True)]
        return (*sums, Fraction(sum(self.fragmentation.values())))

    @cached_property
    def worth(self) -> Worth:
        """What all placements are worth together."""
        return self.admitted, tuple(-value for value in self.values)

    def without(self, chosen: Iterable[int]) -> Snapshot:
        """The cluster with every gang but the chosen ones in it."""
        return self.full.with_changes((), [pod for at in chosen for pod in self.held.get(at, ())])

    def changed(self, anew: Mapping[int, tuple[Assignment, ...] | None]) -> "State":
        """The state with some gangs placed anew, or not at all (None); those placed are verified among all others."""
        moved = {at: items for at, items in anew.items() if items is not None}
        held = {at: self.site.held(at, items) for at, items in moved.items()}
        full = self.without(anew).with_pods([pod for pods in held.values() for pod in pods])
        standings = {at: found for at, found in self.standings.items() if at not in anew}
        for at, items in moved.items():
            verdict = self.site.verified(full.with_changes((), held[at]), at, items)
            standings[at] = standing_of(verdict)
        stays = [at for at in self.placed if at not in anew]
        placed = {at: self.placed[at] for at in stays} | moved
        return State(self.site, placed, {at: self.held[at] for at in stays} | held, full, standings)

    def verified(self) -> dict[int, Verification]:
        """Every placed gang verified among the others. Raises InternalError when it is not what it was taken for."""
        found = {at: self.site.verified(self.without([at]), at, items) for at, items in self.placed.items()}
        for at, verdict in found.items():
            expected = (self.standings[at], Fraction(self.fragmentation[at]))
            if (standing_of(verdict), verdict.objective[TERMS[-1]]) != expected:
                name = self.site.gangs[at].name
                raise InternalError(f"gang {name}: its place in the batch is not what it was taken for")
        return found


def first_state(site: Site, first: Plan) -> State:
    """The state of a sequential plan, which has verified every gang among those before it."""
    placed = {at: answer.assignments for at, answer in enumerate(first.gangs) if answer.status.placed}
    held = {at: site.held(at, items) for at, items in placed.items()}
    full = site.snapshot
    for at, items in placed.items():
        full = holding_planned(full, site.gangs[at], items)
    standings = {at: site.standing(at, first.gangs[at]) for at in placed}
    return State(site, placed, held, full, standings)
