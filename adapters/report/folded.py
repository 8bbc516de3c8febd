"""Where a large gang goes: a row for each role and domain, with the nodes and pods there drawn together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from adapters.report.numbers import counted, short
from adapters.report.scene import Scene
from adapters.report.tables import domain_label, gpu_need, name_ranges, plain_table, split_levels
from solver.domain.plan import Assignment, GangPlan
from solver.topology.tree import Tree

#: Pieces of a list of names in one cell.
_MOST_PIECES = 4

#: Role, node, and what is said of the role: pods there.
PodsOnNodes = Mapping[tuple[str, int, str], Sequence[Assignment]]
_Key = tuple[str, str, int]


@dataclass
class _Row:
    """Pods of one role in one domain."""

    nodes: list[int] = field(default_factory=list)
    pods: list[Assignment] = field(default_factory=list)


def print_folded(console: Console, scene: Scene, plan: GangPlan, placed: PodsOnNodes, most_rows: int) -> None:
    """A row for each role and domain of the finest level with which there are at most so many rows."""
    tree, roles = scene.tree_of(plan), scene.roles_of(plan)
    level, rows = _rows(tree, placed, most_rows)
    common, columns = split_levels(tree, sorted({node for _, node, _ in placed}))
    columns = [column for column in columns if column <= level]
    if common:
        console.print("all in " + ", ".join(common), soft_wrap=True)
    table = plain_table("ROLE", *(tree.level_names[column].upper() for column in columns), numbers=("NODES", "PODS"))
    table.add_column("GPUS", justify="right", no_wrap=True)
    for header in ("ON", "NAMES"):
        table.add_column(header, overflow="fold")
    for (role, note, _), row in list(rows.items())[:most_rows]:
        domains = [domain_label(tree, column, row.nodes[0]) for column in columns]
        gpus = short(len(row.pods) * gpu_need(scene, roles.get(role)))
        on = name_ranges([scene.snapshot.nodes[node] for node in row.nodes], _MOST_PIECES)
        names = name_ranges([pod.pod.partition("/")[2] or pod.pod for pod in row.pods], _MOST_PIECES)
        table.add_row(role + note, *domains, str(len(row.nodes)), str(len(row.pods)), gpus, on, names)
    console.print(table)
    hidden = list(rows.values())[most_rows:]
    more = f"{counted(len(hidden), 'more row')} of {sum(len(row.pods) for row in hidden)} pods; " if hidden else ""
    console.print(f"... {more}-o wide shows each node", soft_wrap=True)


def _rows(tree: Tree, placed: PodsOnNodes, most: int) -> tuple[int, dict[_Key, _Row]]:
    """The finest level above the hosts with at most so many rows, else the root; and the rows, in the given order."""
    for level in range(tree.height - 1, -1, -1):
        found: dict[_Key, _Row] = {}
        for (role, node, note), pods in placed.items():
            row = found.setdefault((role, note, int(tree.domain_of[level][node])), _Row())
            row.nodes.append(node)
            row.pods += pods
        if len(found) <= most or not level:
            return level, found
    raise AssertionError("a tree has a root")
