"""What a batch is worth in one statement: gangs admitted by class and the terms summed, each with its bound.

No gang does better among the others than alone. Terms are compared one after the other, so the best that any m gangs
of a class can reach together are the m best of what they reach alone, summed. That sum bounds the first term always,
and each further one while all before it sit at their bounds.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from solver.batch.alone import Alone
from solver.batch.ranks import Rank
from solver.batch.state import Standing, State
from solver.batch.supplies import most_by_class, supplies
from solver.domain.errors import InternalError
from solver.domain.plan import Admitted, Batch, Sense, TermValue
from solver.verify.checker import TERMS

#: The numbers of a standing and `fragmentation`: the second part of `replicas` is not shown.
_SHOWN = (TERMS[0], None, *TERMS[1:])


def batch_of(
    state: State, ranks: Sequence[Rank], alone: Alone, proven: bool, exact: Mapping[int, int] | None = None
) -> Batch:
    """What a state is worth.

    proven: nothing can be better. exact: by the gangs' priority how many can be placed at most, beside as many as can
    be of every higher one.
    """
    order = sorted(set(ranks), reverse=True)
    classes = [[at for at, rank in enumerate(ranks) if rank == each] for each in order]
    admitted = [len(state.placed.keys() & members) for members in classes]
    most = admitted if proven else _most(state, classes, alone, admitted, exact)
    shown = [
        Admitted(rank.priority, count, bound, rank.waited)
        for rank, count, bound in zip(order, admitted, most, strict=True)
    ]
    if any(each.value > each.bound for each in shown):
        raise InternalError(f"more gangs are admitted than there can be: {shown}")
    if not state.placed:
        return Batch(tuple(shown))
    sums = [sum(column, Fraction(0)) for column in zip(*state.standings.values(), strict=True)]
    values = [*sums, Fraction(sum(state.fragmentation.values()))]
    best = _best_together(state, classes, alone) if admitted == most else None
    bounds = values if proven else _bounds(values, best)
    return Batch(tuple(shown), _terms(values, bounds))


def terms_of_gang(state: State, alone: Alone, at: int, proven: bool) -> tuple[TermValue, ...]:
    """The terms of a placed gang among all others; a bound is what no placement of the batch can better."""
    values = [*state.standings[at], Fraction(state.fragmentation[at])]
    return _terms(values, values if proven else _bounds(values, alone.best(at)))


def settled_classes(state: State, ranks: Sequence[Rank], batch: Batch) -> set[int]:
    """Gangs of classes of which no more can be placed, and neither of any class before."""
    order = sorted(set(ranks), reverse=True)
    closed = set(order[: next((at for at, each in enumerate(batch.admitted) if each.value < each.bound), len(order))])
    return {at for at in range(len(state.site.gangs)) if ranks[at] in closed}


def best_of_terms(state: State, alone: Alone) -> Sequence[Fraction] | None:
    """Lower bounds of the terms from `containment_steps` to `proximity`, each while those before it are met.

    They hold where as many gangs of each class are placed as in the state; None where `replicas` might get better.
    """
    priorities = sorted({gang.priority for gang in state.site.gangs}, reverse=True)
    classes = [[at for at, gang in enumerate(state.site.gangs) if gang.priority == each] for each in priorities]
    best = _best_together(state, classes, alone)
    sums = [sum(column, Fraction(0)) for column in zip(*state.standings.values(), strict=True)]
    return best[2:] if best and sums[:2] == list(best[:2]) else None


def _most(
    state: State,
    classes: Sequence[Sequence[int]],
    alone: Alone,
    admitted: Sequence[int],
    exact: Mapping[int, int] | None,
) -> list[int]:
    possible = [[at for at in members if not alone.impossible(at)] for members in classes]
    most = most_by_class(supplies(state.site.snapshot, state.site.gangs), possible, admitted)
    for at, members in enumerate(classes if exact is not None else ()):
        bound = (exact or {}).get(state.site.gangs[members[0]].priority, 0)
        most[at] = min(most[at], bound)
        if admitted[at] != bound:
            break  # the numbers of the classes after it are those beside as many of this one
    return most


def _best_together(state: State, classes: Sequence[Sequence[int]], alone: Alone) -> Standing | None:
    """The best that as many gangs of each class as are placed can reach; None while one is not known alone."""
    chosen: list[Standing] = []
    for members in classes:
        known = [alone.best(at) for at in members if not alone.impossible(at)]
        each = sorted(best for best in known if best is not None)
        if len(each) < len(known):
            return None
        chosen += each[: len(state.placed.keys() & members)]
    return tuple(sum(column, Fraction(0)) for column in zip(*chosen, strict=True))


def _bounds(values: Sequence[Fraction], best: Standing | None) -> list[Fraction | None]:
    """Bounds of values that are compared one after the other: one holds while all before it are met."""
    found: list[Fraction | None] = []
    for value, bound in zip(values, best or (), strict=False):
        if value < bound:
            raise InternalError(f"a value of {value} is better than its bound of {bound}")
        found.append(bound)
        if value != bound:
            break
    return found + [None] * (len(values) - len(found))


def _terms(values: Sequence[Fraction], bounds: Sequence[Fraction | None]) -> tuple[TermValue, ...]:
    found = []
    for term, value, bound in zip(_SHOWN, values, bounds, strict=True):
        if term == TERMS[0]:
            found.append(TermValue(term, Sense.MAX, -value, None if bound is None else -bound))
        elif term is not None:
            found.append(TermValue(term, Sense.MIN, value, bound))
    return tuple(found)
