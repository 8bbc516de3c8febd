"""Reasons of the rule `bandwidth`: what the fullest link would carry if the rule were not there."""

from collections.abc import Iterator
from dataclasses import replace

from solver.bound.solve import TreeAnswer, solve_shape
from solver.compile.frame import build_frame
from solver.compile.links import links_of
from solver.compile.naming import name_pods
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import Shape, TooManyShapes, shapes_of
from solver.compile.structure import Structure, build_structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import TooLarge
from solver.domain.gang import Gang, Pattern
from solver.domain.plan import Reason, ReasonCode
from solver.explain.wording import reason
from solver.rules import queue
from solver.terms.registry import terms_of
from solver.verify.bandwidth import Load, loads
from solver.verify.placement import place

#: Shapes of an elastic gang that are looked at one by one, at most.
MOST_SHAPES = 500
#: Bytes of a megabyte.
MEGA = 10**6


def without_links(structure: Structure) -> Gang | None:
    """The gang without the rule `bandwidth`; None when the rule takes no part."""
    gang = structure.gang
    if not gang.requests_per_second or not gang.hands_over or links_of(structure.tree) is None:
        return None
    return replace(gang, requests_per_second=None)


def any_placeable(structure: Structure, shapes: list[Shape], budget: Budget) -> bool:
    """Whether one of some shapes can be placed under rules that need its totals.

    Raises TreeTooLarge, OutOfTime, and TooManyShapes above MOST_SHAPES.
    """
    if len(shapes) > MOST_SHAPES:
        raise TooManyShapes
    return any(solve_shape(build_problem(build_frame(structure, shape)), (), budget) is not None for shape in shapes)


def link_reason(structure: Structure, budget: Budget) -> Iterator[Reason]:
    """The link that is fullest, against what it may carry, in the best plan without the rule."""
    counted = [str(flow) for flow in structure.gang.flows if flow.pattern is not Pattern.COLLECTIVE]
    flows = ", ".join(counted)
    rate = float(structure.gang.requests_per_second or 0)
    fullest = _fullest(structure, budget)
    if fullest is None:
        text = (
            f"at {rate:g} requests per second no placement keeps the traffic of {flows} within what its links may carry"
        )
        yield reason(ReasonCode.BANDWIDTH, text, counted, flows=len(counted))
        return
    needed, allowed = -int(-fullest.needed // MEGA), fullest.allowed // MEGA
    text = (
        f"at {rate:g} requests per second no placement keeps the traffic of {flows} within what its links may carry; "
        f"without this rule {fullest.where} {fullest.domain} would carry {needed} MB/s one way, at most {allowed} may"
    )
    yield reason(ReasonCode.BANDWIDTH, text, (fullest.domain,), needed_mbps=needed, allowed_mbps=allowed)


def _fullest(structure: Structure, budget: Budget) -> Load | None:
    """The link with the largest part of what it may carry in the best plan without the rule, None without a plan."""
    gang = replace(structure.gang, requests_per_second=None)
    try:
        found = _best(build_structure(gang, structure.snapshot, structure.tree, budget=budget), budget)
    except (TooLarge, OutOfTime):
        return None
    if found is None:
        return None
    problem, answer = found
    new = {item.pod: item.node for item in name_pods(problem, answer.states)}
    placement = place(structure.gang, structure.snapshot, structure.tree, new)
    return max(loads(placement), key=lambda load: load.needed / max(1, load.allowed), default=None)


def _best(structure: Structure, budget: Budget) -> tuple[Problem, TreeAnswer] | None:
    """The best plan of the first shape that has one."""
    assert structure.root is not None, "the gang without the rule has pods"
    allowed = queue.allowing(structure)
    for shape in shapes_of(structure.root, budget):
        if shape.pods and allowed(shape):
            problem = build_problem(build_frame(structure, shape))
            answer = solve_shape(problem, terms_of(problem), budget)
            if answer is not None:
                return problem, answer
    return None
