"""The whole answer as text, gang by gang."""

from rich.console import Console

from adapters.report.picture import print_picture
from adapters.report.scene import Scene
from adapters.report.tables import (
    batch_line,
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


def print_plan(console: Console, scene: Scene) -> None:
    """Every gang of the call: status, placement, picture, terms, flows, reasons, and where the time went.

    In the end what a batch is worth.
    """
    for position, gang in enumerate(scene.plan.gangs):
        if position:
            console.print()
        print_gang(console, scene, gang)
    if scene.plan.batch is not None and len(scene.plan.gangs) > 1:
        console.print()
        console.print(batch_line(scene.plan.batch), soft_wrap=True)


def print_gang(console: Console, scene: Scene, gang: GangPlan) -> None:
    """One gang's answer; without a plan only its status, the reasons and where the time went."""
    print_status(console, scene, gang)
    print_reasons(console, gang)
    if gang.assignments or gang.running:
        console.print()
        print_assignments(console, scene, gang)
        console.print()
        print_picture(console, scene, gang)
    if gang.objective:
        console.print()
        print_objective(console, gang.objective)
    if gang.flows:
        console.print()
        print_flows(console, scene.tree_of(gang), gang.flows)
        console.print(transfer_line(), soft_wrap=True)
        if gang.handover_ms is not None:
            console.print(handover_line(gang.handover_ms), soft_wrap=True)
    console.print()
    console.print(stats_line(gang.stats), soft_wrap=True)


def plan_notices(plan: Plan) -> list[Notice]:
    """Every warning of the call: the general ones, then those of each gang."""
    return [*plan.warnings, *(notice for gang in plan.gangs for notice in gang.warnings)]
