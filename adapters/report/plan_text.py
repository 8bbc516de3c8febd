"""The whole answer as text, gang by gang."""

from rich.console import Console

from adapters.report.detail import FULL, PAGE_LINES, Detail, fitting
from adapters.report.folded import print_folded
from adapters.report.picture import print_picture
from adapters.report.scene import Scene
from adapters.report.summary import print_summary
from adapters.report.tables import (
    handover_line,
    print_assignments,
    print_flows,
    print_objective,
    print_reasons,
    print_status,
    stats_line,
    transfer_line,
)
from solver.domain.plan import GangPlan, Notice, Plan

#: Of more gangs only a line each is shown.
MOST_PAGES = 8


def print_plan(console: Console, scene: Scene, wide: bool = False) -> None:
    """Every gang of the call: status, placement, picture, terms, flows, reasons, and where the time went.

    The verdict stands last again; of several gangs that is a line each and the total. wide: everything of every gang;
    else each fits a page, with pods folded by domain where they are many, and of many gangs only their lines are shown.
    """
    gangs = scene.plan.gangs
    if wide or len(gangs) <= MOST_PAGES:
        for gang in gangs:
            print_page(console, scene, gang, wide)
            if len(gangs) > 1:
                console.print()
    if len(gangs) == 1:
        print_status(console, scene, gangs[0])
    elif gangs:
        print_summary(console, scene)


def print_page(console: Console, scene: Scene, gang: GangPlan, wide: bool = False) -> None:
    """One gang's answer, wide or with so much detail that it fits a page together with the verdict after it."""
    detail = FULL
    if not wide:
        rows = len(scene.placed_on_nodes(gang))
        detail = fitting(console, lambda page, less: print_gang(page, scene, gang, less), rows, PAGE_LINES - 1)
    print_gang(console, scene, gang, detail)


def print_gang(console: Console, scene: Scene, gang: GangPlan, detail: Detail = FULL) -> None:
    """One gang's answer; without a plan only its status, the reasons and where the time went."""
    print_status(console, scene, gang)
    print_reasons(console, gang, detail.entries)
    if gang.assignments or gang.running:
        console.print()
        _print_placement(console, scene, gang, detail)
        console.print()
        print_picture(console, scene, gang, detail)
    if gang.objective:
        console.print()
        print_objective(console, gang.objective)
    if gang.flows:
        console.print()
        print_flows(console, scene.tree_of(gang), gang.flows, detail.entries)
        console.print(transfer_line(), soft_wrap=True)
        if gang.handover_ms is not None:
            console.print(handover_line(gang.handover_ms), soft_wrap=True)
    console.print()
    console.print(stats_line(gang.stats), soft_wrap=True)


def _print_placement(console: Console, scene: Scene, gang: GangPlan, detail: Detail) -> None:
    """A row for each role and node, or for each role and domain where those are too many."""
    placed = scene.placed_on_nodes(gang)
    if detail.rows is None or len(placed) <= detail.rows:
        print_assignments(console, scene, gang)
    else:
        print_folded(console, scene, gang, placed, detail.rows)


def plan_notices(plan: Plan) -> list[Notice]:
    """Every warning of the call: the general ones, then those of each gang."""
    return [*plan.warnings, *(notice for gang in plan.gangs for notice in gang.warnings)]
