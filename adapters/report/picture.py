"""Racks as bars, one character for each GPU: readable in colour, without colour, and in a log file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from rich.console import Console

from adapters.report.consoles import Line
from adapters.report.detail import FULL, Detail
from adapters.report.numbers import counted
from adapters.report.scene import Scene
from adapters.report.tables import gpu_need
from solver.domain.gang import Kind, Role
from solver.domain.plan import Assignment, GangPlan
from solver.domain.printable import printable
from solver.domain.snapshot import Ints
from solver.topology.tree import Tree

LETTERS = {Kind.PREFILL: "P", Kind.DECODE: "D", Kind.ROUTER: "R", Kind.WORKER: "W", Kind.OTHER: "O"}
FREE, USED, CLOSED, NEIGHBOUR = ".", "#", "x", "+"
_MEANINGS = {
    FREE: "free",
    USED: "used by others",
    CLOSED: "free on a closed node",
    NEIGHBOUR: "other gangs of this call",
}
_STYLES = {
    "P": "bold cyan",
    "D": "bold magenta",
    "R": "bold yellow",
    "W": "bold green",
    "O": "bold blue",
    FREE: "green",
    USED: "bright_black",
    CLOSED: "red",
    NEIGHBOUR: "blue",
}

#: Nodes in one bar.
MOST_NODES = 24
_LONGEST_LABEL = 28
_WIDEST = 120


@dataclass
class NodeBar:
    """One node's GPUs as characters. mark: roles there that use no GPU."""

    cells: str
    mark: str = ""


@dataclass(frozen=True)
class Occupancy:
    """Whole GPUs of every node after the call.

    total, free, closed: [nodes], closed = free on a node that takes no pods. own, marks: letters by node index.
    """

    total: Ints
    free: Ints
    closed: Ints
    own: Mapping[int, str]
    marks: Mapping[int, str]
    others: Mapping[int, int]

    def bar(self, node: int) -> NodeBar:
        """The characters of one node: others first, then the gang, then what is free."""
        own, others = self.own.get(node, ""), self.others.get(node, 0)
        free, closed = int(self.free[node]), int(self.closed[node])
        used = max(0, int(self.total[node]) - free - closed - others - len(own))
        cells = USED * used + NEIGHBOUR * others + own + CLOSED * closed + FREE * free
        return NodeBar(cells, self.marks.get(node, ""))


@dataclass
class RackBar:
    """A domain of the level just above the host. hidden: nodes that are left out of the bar."""

    label: str
    free: int
    total: int
    bars: list[NodeBar] = field(default_factory=list)
    hidden: int = 0


def print_picture(console: Console, scene: Scene, plan: GangPlan, detail: Detail = FULL) -> None:
    """The racks a gang touches, a few others for comparison, what is left, and the legend."""
    tree = scene.tree_of(plan)
    level = max(tree.height - 1, 0)
    occupancy = _occupancy(scene, plan)
    touched = {int(tree.domain_of[level][node]) for node in (*occupancy.own, *occupancy.marks)}
    free = _per_domain(tree, level, occupancy.free)
    total = _per_domain(tree, level, occupancy.total)
    shown = sorted(touched)[: detail.racks]
    others = _contrast(free, total, touched, detail.others)
    racks = [_rack(tree, level, domain, occupancy, free, total) for domain in shown]
    rest = [_rack(tree, level, domain, occupancy, free, total) for domain in others]
    word = tree.level_names[level] if level else "cluster"
    if racks or rest:
        _print_bars(console, word, racks, rest, detail.bar_lines)
    _print_left_out(console, f"further {word}" if shown else f"{word} in use", touched - set(shown), free, total)
    _print_left_out(console, f"other {word}", set(range(len(free))) - touched - set(others), free, total)
    if racks or rest:
        _print_legend(console, scene, plan, [*racks, *rest])


def _occupancy(scene: Scene, plan: GangPlan) -> Occupancy:
    """Who holds which GPU after the whole call, seen from one gang."""
    snapshot = scene.snapshot
    total = snapshot.whole_gpus
    free = snapshot.devices_left.copy()
    others: dict[int, int] = {}
    for other in scene.plan.gangs:
        roles = scene.roles_of(other)
        for item in other.assignments:
            node, held = snapshot.node_idx[item.node], _whole_gpus(scene, roles.get(item.role))
            free[node] -= held
            if other is not plan and held:
                others[node] = others.get(node, 0) + held
    own, marks = _letters(scene, plan)
    free = np.maximum(free, 0)
    closed = np.where(snapshot.open_nodes, 0, free)
    return Occupancy(total, free - closed, closed, own, marks, others)


def _letters(scene: Scene, plan: GangPlan) -> tuple[dict[int, str], dict[int, str]]:
    """Node index → the gang's letters there, one for each GPU; and marks of pods without GPUs."""
    own: dict[int, str] = {}
    marks: dict[int, str] = {}
    roles = scene.roles_of(plan)
    running = {item.pod for item in plan.running}
    ordered = _by_role(roles, (*plan.running, *plan.assignments))
    for item in ordered:
        node, role = scene.snapshot.node_idx[item.node], roles.get(item.role)
        letter = LETTERS[role.kind if role else Kind.OTHER]
        letter = letter.lower() if item.pod in running else letter
        devices = _whole_gpus(scene, role)
        target = own if devices else marks
        target[node] = target.get(node, "") + letter * max(1, devices)
    return own, marks


def _by_role(roles: Mapping[str, Role], items: Iterable[Assignment]) -> list[Assignment]:
    order = {name: position for position, name in enumerate(roles)}
    return sorted(items, key=lambda item: order.get(item.role, len(order)))


def _whole_gpus(scene: Scene, role: Role | None) -> int:
    """Devices of one pod; a fraction counts as one."""
    return -int(-gpu_need(scene, role) // 1)


def _per_domain(tree: Tree, level: int, values: Ints) -> Ints:
    sums = np.bincount(tree.domain_of[level], weights=values, minlength=len(tree.names[level]))
    return sums.astype(np.int64)


def _contrast(free: Ints, total: Ints, touched: set[int], most: int) -> list[int]:
    """A few domains the gang leaves alone: the fullest and the emptiest."""
    if not most:
        return []
    rest = [domain for domain in range(len(free)) if domain not in touched and total[domain]]
    by_free = sorted(rest, key=lambda domain: (free[domain], domain))
    half = most // 2
    return by_free if len(by_free) <= most else [*by_free[:half], *by_free[-half:]]


def _rack(tree: Tree, level: int, domain: int, occupancy: Occupancy, free: Ints, total: Ints) -> RackBar:
    nodes = np.flatnonzero(tree.domain_of[level] == domain).tolist()
    used = [node for node in nodes if node in occupancy.own or node in occupancy.marks]
    chosen = sorted([*used, *(node for node in nodes if node not in set(used))][:MOST_NODES])
    label = printable(tree.names[level][domain]) or "all nodes"
    bars = [occupancy.bar(node) for node in chosen]
    return RackBar(label, int(free[domain]), int(total[domain]), bars, len(nodes) - len(chosen))


def _print_bars(
    console: Console, word: str, racks: Sequence[RackBar], rest: Sequence[RackBar], most_lines: int | None
) -> None:
    """All bars in one column; a bar that is too long goes on in the next line, or ends there."""
    everything = [*racks, *rest]
    width = min(max((len(rack.label) for rack in everything), default=0), _LONGEST_LABEL)
    width = max(width, len(word))
    digits = max((len(f"{rack.free}/{rack.total}") for rack in everything), default=0)
    digits = max(digits, len("FREE"))
    console.print(Line(f"{word.upper():<{width}}  {'FREE':>{digits}}  GPUS BY NODE", "bold"))
    room = min(console.width, _WIDEST) - width - digits - 4
    for position, rack in enumerate(everything):
        if position == len(racks) and racks:
            console.print(Line("others, fullest and emptiest:", "dim"))
        head = f"{_shortened(rack.label, width):<{width}}  {f'{rack.free}/{rack.total}':>{digits}}  "
        for line in _bar_lines(rack, room, most_lines):
            console.print(Line(head).append_text(line), no_wrap=True, overflow="ignore", crop=False)
            head = " " * len(head)


def _bar_lines(rack: RackBar, room: int, most: int | None) -> list[Line]:
    """The bar in lines of at most `room` characters, broken between nodes; of at most so many lines."""
    lines: list[Line] = []
    line, hidden = Line("["), rack.hidden
    if most is not None and rack.hidden + len(rack.bars) > 1:
        room -= len(_more(len(rack.bars) + rack.hidden))
    for position, bar in enumerate(rack.bars):
        cells = _node_text(bar)
        if position and len(line) + 1 + len(cells) + 1 > room:
            if len(lines) + 1 == most:
                hidden += len(rack.bars) - position
                break
            lines.append(line)
            line = Line(" ")
        elif position:
            line.append("|", "dim")
        line.append_text(cells)
    line.append("]")
    if hidden:
        line.append(_more(hidden), "dim")
    return [*lines, line]


def _more(nodes: int) -> str:
    """What stands behind a bar that is not whole."""
    return f" and {counted(nodes, 'more node')}"


def _node_text(bar: NodeBar) -> Line:
    text = Line()
    for cell, run in groupby(bar.cells or "-"):
        text.append("".join(run), _STYLES.get(cell.upper(), _STYLES.get(cell, "")))
    for letter in sorted(set(bar.mark)):
        count = bar.mark.count(letter)
        text.append(f"({count if count > 1 else ''}{letter})", _STYLES.get(letter.upper(), ""))
    return text


def _print_left_out(console: Console, what: str, domains: set[int], free: Ints, total: Ints) -> None:
    """One line for all the domains that are not drawn."""
    chosen = sorted(domain for domain in domains if total[domain])
    if chosen:
        head = counted(len(chosen), what)
        gpus = f"{int(free[chosen].sum())} of {int(total[chosen].sum())} GPUs free"
        console.print(f"... {head}, {gpus}", soft_wrap=True)


def _print_legend(console: Console, scene: Scene, plan: GangPlan, racks: Sequence[RackBar]) -> None:
    """Only what the picture shows: letters with their roles, then the other characters."""
    drawn = {cell for rack in racks for bar in rack.bars for cell in bar.cells + bar.mark}
    legend = Line("legend: ")
    names: dict[str, list[str]] = {}
    marked = {cell for rack in racks for bar in rack.bars for cell in bar.mark}
    for role in scene.roles_of(plan).values():
        names.setdefault(LETTERS[role.kind], []).append(role.name)
    for letter, roles in names.items():
        if letter in drawn:
            shown = f"({letter})" if letter in marked else letter
            legend.append(shown, _STYLES[letter]).append(f" {', '.join(roles)}  ")
        if letter.lower() in drawn:
            legend.append(letter.lower(), _STYLES[letter]).append(f" {', '.join(roles)}, already running  ")
    for cell, meaning in _MEANINGS.items():
        if cell in drawn:
            legend.append(cell, _STYLES[cell]).append(f" {meaning}  ")
    legend.rstrip()
    console.print(legend)


def _shortened(label: str, width: int) -> str:
    return label if len(label) <= width else ".." + label[-(width - 2) :]
