"""The terms of a frame, in lexicographic order. `replicas` is settled before: it chooses the shape."""

from solver.compile.problem import Problem
from solver.terms.base import Term
from solver.terms.containment import ContainmentDomains, ContainmentSteps
from solver.terms.fragmentation import Fragmentation
from solver.terms.proximity import proximity_term
from solver.terms.transfer import transfer_term


def terms_of(problem: Problem) -> tuple[Term, ...]:
    """containment_steps, containment_domains, transfer_us, proximity, fragmentation; all minimised."""
    return (
        ContainmentSteps(problem),
        ContainmentDomains(problem),
        transfer_term(problem),
        proximity_term(problem),
        Fragmentation(problem),
    )
