"""Why a gang cannot be placed: counting first, then the rule families without which it could be."""

from contextlib import suppress
from dataclasses import replace

from solver.compile.structure import Structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import TooLarge
from solver.domain.plan import Reason, ReasonCode
from solver.domain.replicas import fewest_pods
from solver.explain.counting import (
    no_node_for_a_pod,
    pods_missing,
    queue_full,
    runs_outside,
    too_few_places,
    too_little_in_all,
)
from solver.explain.families import rule_families
from solver.explain.wording import counted, reason


def reasons_for(structure: Structure, budget: Budget) -> tuple[Reason, ...]:
    """Reasons of a gang that is proven impossible; at least one, each true by itself, as far as the budget goes."""
    found: list[Reason] = []
    structure = replace(structure, budget=budget)
    with suppress(OutOfTime, TooLarge):
        for look in (pods_missing, queue_full, runs_outside, no_node_for_a_pod, too_little_in_all, too_few_places):
            found.extend(look(structure))
            if found:
                return tuple(found)
        found += rule_families(structure, budget)
    return tuple(found) or (_unexplained(structure),)


def _unexplained(structure: Structure) -> Reason:
    gang = structure.gang
    fewest = fewest_pods(gang.root) or 0
    text = f"not every minimum of gang {gang.name}, {counted(fewest, 'pod')} in all, can be placed at the same time"
    return reason(ReasonCode.GANG, text, (gang.name,), pods=fewest)
