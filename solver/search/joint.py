"""A few gangs placed together: who is admitted, by priority class, then the terms summed, all by CP-SAT."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from solver.compile.frame import build_frame
from solver.compile.naming import name_pods
from solver.compile.problem import build_problem
from solver.compile.shapes import Shape
from solver.compile.structure import Structure, build_structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import TooLarge
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.replicas import fewest_pods
from solver.domain.snapshot import Snapshot
from solver.model.gang_tree import Limit
from solver.model.variables import Expr
from solver.rules import queue
from solver.search.bundle import Bundle, bundle, owner
from solver.search.cpsat import Answer, run
from solver.search.elastic import ShapeSearch
from solver.search.solve import in_units
from solver.search.stages import solve_staged
from solver.terms.base import Term
from solver.terms.joint import joint_terms
from solver.topology.tree import Tree

#: Largest sum of a term over several gangs; the model makes room for four times as much in 64 bits.
MOST_SUM = 1 << 58


@dataclass(frozen=True)
class Joint:
    """What was found for a few gangs: assignments of each, None = not admitted, and whether nothing is better."""

    assignments: tuple[tuple[Assignment, ...] | None, ...]
    proven: bool


def most_admitted(snapshot: Snapshot, gangs: Sequence[Gang], tree: Tree, budget: Budget) -> dict[int, int] | None:
    """How many gangs of each priority can be placed together at most.

    None when time ran out, when they are too large together, or when one needs no pod.

    As many as possible of the highest priority, then of the next one beside those, and so on. The ratio of `reach` is
    left out, so that there may be room for fewer. The gangs have no running members and one topology.
    """
    known = [gang for gang in gangs if not queue.refusal(gang, snapshot) and fewest_pods(gang.root) is not None]
    if not known or any(fewest_pods(gang.root) == 0 for gang in gangs):
        return None
    together = bundle(known, snapshot.accelerators)
    try:
        structure = build_structure(together.gang, snapshot, tree, merge=False, budget=budget)
        search = ShapeSearch(structure, _limits(together, structure), None, budget)
    except (OutOfTime, TooLarge):
        return None
    present = _present(search, together)
    search.maximise(_by_class(present, together))
    search.cp_model.maximize(search.score)
    best = run(search.cp_model, budget, presolve=True)
    if best.answer is not Answer.OPTIMAL:
        return None
    counts = dict.fromkeys((gang.priority for gang in known), 0)
    for member, literal in present.items():
        counts[together.members[member].priority] += best.value(literal)
    return counts


def place_together(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    tree: Tree,
    budget: Budget,
    lowest: Collection[int] | None = None,
    lower: Sequence[Fraction] | None = None,
) -> Joint | None:
    """Best joint placement of `gangs`; None when time ran out before any was found, or they are too large together.

    Admitted gangs count first, higher priority classes strictly before lower ones; then pods above the minimum, kept
    child-group replicas, and every term summed over the gangs. The gangs have no running members and one topology.
    lowest: domains above the hosts that may be used, None = all; only then anything is proven, and only where the same
    nodes are open to all gangs. lower: what the sums of the terms from `containment_steps` to `proximity` cannot fall
    below where as many gangs and pods are placed as can be, each while those before it sit at theirs.
    """
    known = [gang for gang in gangs if not queue.refusal(gang, snapshot) and fewest_pods(gang.root) is not None]
    if not known:
        return Joint(tuple(None for _ in gangs), proven=True)
    together = bundle(known, snapshot.accelerators)
    try:
        structure = build_structure(together.gang, snapshot, tree, merge=False, budget=budget)
        search = ShapeSearch(structure, _limits(together, structure), lowest, budget)
        search.maximise(_score(search, together))
    except (OutOfTime, TooLarge):
        return None
    for family in search.families(budget):
        found, refuted = _best_of(structure, together, family.shapes, budget, lowest, lower)
        if found is not None:
            placed = dict(zip((gang.name for gang in known), found.assignments, strict=True))
            exact = found.proven and family.answer is Answer.OPTIMAL and lowest is None and _see_alike(snapshot, known)
            return Joint(tuple(placed.get(gang.name) for gang in gangs), exact)
        if family.answer is not Answer.OPTIMAL or not refuted:
            return None
    return None


def _see_alike(snapshot: Snapshot, gangs: Sequence[Gang]) -> bool:
    """Whether the same nodes are open to all; else `fragmentation` of all together is not the sum of theirs."""
    return bool(snapshot.open_nodes.all()) or len({snapshot.open_to(gang.tolerations).tobytes() for gang in gangs}) == 1


def _best_of(
    structure: Structure,
    together: Bundle,
    shapes: Sequence[Shape],
    budget: Budget,
    lowest: Collection[int] | None,
    lower: Sequence[Fraction] | None,
) -> tuple[Joint | None, bool]:
    """The best placement of any of the shapes, None when none is found; and whether none is proven to exist."""
    best: tuple[tuple[object, ...], Joint] | None = None
    proven = True
    for shape in shapes:
        if not shape.pods:
            return Joint(_admitted(together, [()] * len(together.members)), proven=True), False
        try:
            problem = build_problem(build_frame(structure, shape))
            terms = joint_terms(problem, together.families(problem.frame))
            _refuse_numbers(terms)
        except (OutOfTime, TooLarge):
            proven = False
            continue
        lows = () if lower is None else (*lower, Fraction(0))
        bounds = [int(low / term.unit) for low, term in zip(lows, terms, strict=True)] if lows else None
        staged = solve_staged(problem, terms, budget, bounds, lowest=lowest)
        proven = proven and staged.answer in (Answer.OPTIMAL, Answer.INFEASIBLE)
        if staged.sums:
            values = in_units(terms, staged.sums)
            if best is None or values < best[0]:
                parts = together.apart(name_pods(problem, staged.states))
                best = values, Joint(_admitted(together, parts), proven=True)
    return (None, proven) if best is None else (Joint(best[1].assignments, proven), False)


def _refuse_numbers(terms: Sequence[Term]) -> None:
    """Raise TooLarge for a term whose sums leave what CP-SAT counts with.

    Every gang alone may be fine: the term of all has the common denominator of theirs, which grows with each.
    """
    for term in terms:
        if term.magnitude >= MOST_SUM:
            raise TooLarge(f"sums of {term.name} over several gangs", term.magnitude, MOST_SUM)


def _admitted(together: Bundle, parts: Sequence[tuple[Assignment, ...]]) -> tuple[tuple[Assignment, ...] | None, ...]:
    """What each gang got; without a pod only those are admitted that need none, and these always are."""
    return tuple(
        part if part or fewest_pods(gang.root) == 0 else None
        for part, gang in zip(parts, together.members, strict=True)
    )


def _score(search: ShapeSearch, together: Bundle) -> Expr:
    """Admitted gangs by priority class, then pods above the fewest, then kept child-group replicas."""
    there = _present(search, together)
    admitted = _by_class(there, together)
    fewest: Expr = 0
    count: Expr = 0
    for member, present in there.items():
        fewest = fewest + (fewest_pods(together.members[member].root) or 0) * present
        count = count + present
    pods = sum(len(role.pods) for role in together.gang.roles) + 1
    above = search.choice.pods - fewest
    return (admitted * pods + above) * search.most_kept + search.choice.kept_replicas - count


def _present(search: ShapeSearch, together: Bundle) -> dict[int, Expr]:
    """By member whether it is admitted."""
    return {
        owner(name): present
        for name, present in search.choice.present.items()
        if owner(name) in range(len(together.members)) and name == _root_name(together, owner(name))
    }


def _by_class(present: Mapping[int, Expr], together: Bundle) -> Expr:
    """Admitted gangs, those of a higher class strictly first."""
    classes = sorted({gang.priority for gang in together.members})
    admitted: Expr = 0
    for member, literal in present.items():
        weight = (len(together.members) + 1) ** classes.index(together.members[member].priority)
        admitted = admitted + weight * literal
    return admitted


def _root_name(together: Bundle, member: int) -> str:
    return together.gang.root.groups[member].name


def _limits(together: Bundle, structure: Structure) -> list[Limit]:
    """Room of every queue for all gangs in it and below it together."""
    rooms: dict[tuple[str, str], int] = {}
    axes: dict[tuple[str, str], frozenset[int]] = {}
    for gang, own in zip(together.members, together.axes_by_member(structure), strict=True):
        for room in queue.rooms(gang, structure.snapshot):
            key = (room.queue, room.resource)
            rooms[key] = room.left
            axes[key] = axes.get(key, frozenset()) | own
    return [Limit(resource, left, axes[name, resource]) for (name, resource), left in rooms.items()]
