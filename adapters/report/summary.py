"""Several gangs at a glance: a line for each, and what came of all of them."""

from collections import Counter

from rich.console import Console

from adapters.report.consoles import Line
from adapters.report.numbers import counted, short
from adapters.report.scene import Scene
from adapters.report.structured import sorted_reasons
from adapters.report.tables import STATUS_WORDS, batch_line, gpu_need, size
from solver.domain.plan import GangPlan, Reason, ReasonCode, Status

#: Gangs that are named as those who took the room.
_MOST_TAKERS = 3


def print_summary(console: Console, scene: Scene) -> None:
    """A line for each gang, what a batch is worth, and the total, last."""
    gangs = scene.plan.gangs
    widths = max(len(gang.name) for gang in gangs), max(len(STATUS_WORDS[gang.status][0]) for gang in gangs)
    for gang in gangs:
        word, _, style = STATUS_WORDS[gang.status]
        line = (
            Line(f"{gang.name:<{widths[0]}}  ").append(f"{word:<{widths[1]}}", style).append(f"  {_what(scene, gang)}")
        )
        line.rstrip()
        console.print(line, soft_wrap=True)
    if scene.plan.batch is not None:
        console.print(batch_line(scene.plan.batch), soft_wrap=True)
    console.print(_total(scene), soft_wrap=True)


def _what(scene: Scene, gang: GangPlan) -> str:
    """What is placed, or why nothing is."""
    if gang.status.placed:
        return size(scene, gang)
    reasons = sorted_reasons(gang.reasons)
    if not reasons:
        return "nothing is placed"
    more = f" (and {counted(len(reasons) - 1, 'more reason')})" if len(reasons) > 1 else ""
    return _why(reasons[0]) + more


def _why(reason: Reason) -> str:
    if reason.code is not ReasonCode.TAKEN:
        return f"[{reason.code}] {reason.message}"
    hidden = len(reason.objects) - _MOST_TAKERS
    more = f" and {hidden} more" if hidden > 0 else ""
    return f"taken by {', '.join(reason.objects[:_MOST_TAKERS])}{more}"


def _total(scene: Scene) -> Line:
    """How many gangs, pods and GPUs are placed, and how many gangs have each status, the best first."""
    gangs = scene.plan.gangs
    wanted = sum(len(role.pods) for gang in gangs for role in scene.roles_of(gang).values())
    placed = sum(len(gang.assignments) for gang in gangs)
    running = sum(len(gang.running) for gang in gangs)
    gpus = sum(gpu_need(scene, scene.roles_of(gang).get(pod.role)) for gang in gangs for pod in gang.assignments)
    line = Line(f"total: {sum(gang.status.placed for gang in gangs)} of {counted(len(gangs), 'gang')} planned, ")
    line.append(
        f"{placed} of {counted(wanted, 'pod')}{f', {running} running' if running else ''}, {short(gpus)} GPUs: "
    )
    counts = Counter(gang.status for gang in gangs)
    for position, status in enumerate(each for each in Status if counts[each]):
        word, _, style = STATUS_WORDS[status]
        line.append(f"{', ' if position else ''}{counts[status]} ").append(word, style)
    return line
