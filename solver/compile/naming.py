"""Counts become names, by one procedure: whole replicas are formed from the bottom up, then named in order."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from solver.compile.problem import Problem
from solver.domain.budget import UNLIMITED, Budget
from solver.domain.naming import natural_key
from solver.domain.plan import Assignment
from solver.domain.replicas import Replica
from solver.domain.resources import GPU, MILLI_GPU

_T = TypeVar("_T")


@dataclass
class _Formed:
    """A whole replica: nodes of its own roles' pods, and its child replicas by group."""

    roles: dict[int, list[int]]
    children: dict[int, list["_Formed"]]

    def nodes(self) -> list[int]:
        own = [node for nodes in self.roles.values() for node in nodes]
        return sorted(own + [node for many in self.children.values() for child in many for node in child.nodes()])


@dataclass
class _Stock:
    """What lies in one domain and belongs to no whole replica yet."""

    pods: dict[int, list[int]] = field(default_factory=dict)
    formed: dict[int, list[_Formed]] = field(default_factory=dict)

    def add(self, other: "_Stock") -> None:
        for role, nodes in other.pods.items():
            self.pods.setdefault(role, []).extend(nodes)
        for group, many in other.formed.items():
            self.formed.setdefault(group, []).extend(many)


def name_pods(problem: Problem, states: Mapping[int, int], budget: Budget = UNLIMITED) -> tuple[Assignment, ...]:
    """Assignments of the new pods, from each used node's host state.

    As many replicas as possible are whole in the narrowest domain, which is what `containment_steps` counts; nodes,
    replicas and pods are matched in natural order. Raises OutOfTime.
    """
    if not states:
        return ()
    root = _form(problem, states, budget)
    found: list[tuple[str, str, int]] = []
    structure = problem.frame.structure
    running = {member.pod: structure.snapshot.node_idx[member.node] for member in structure.gang.running}
    _Namer(problem, running, found, budget).name(0, [root], list(problem.frame.groups[0].unit.replicas))
    return _with_devices(problem, sorted(found, key=lambda item: natural_key(item[0])))


def _form(problem: Problem, states: Mapping[int, int], budget: Budget) -> _Formed:
    tree, space = problem.tree, problem.layout.spaces[-1]
    stocks: dict[int, _Stock] = {}
    for node, state in sorted(states.items()):
        budget.check()
        pods = space.role_matrix @ space.counts_at(state)
        stocks[node] = _Stock({role: [node] * n for role, n in enumerate(pods.tolist()) if n})
    for level in range(tree.height, -1, -1):
        for domain in sorted(stocks):
            _make_whole(problem, stocks[domain], budget)
        if level:
            above: dict[int, _Stock] = {}
            for domain in sorted(stocks):
                above.setdefault(int(tree.parent[level][domain]), _Stock()).add(stocks[domain])
            stocks = above
    return stocks[0].formed[0][0]


def _make_whole(problem: Problem, stock: _Stock, budget: Budget) -> None:
    """Form every whole replica the stock allows, inner groups first."""
    groups = problem.frame.groups
    for at in range(len(groups) - 1, -1, -1):
        budget.check()
        group = groups[at]
        roles = {role: problem.frame.roles[role].total // group.count for role in group.roles}
        children = {child: groups[child].count // group.count for child in group.children}
        possible = [len(stock.pods.get(role, [])) // size for role, size in roles.items()]
        possible += [len(stock.formed.get(child, [])) // size for child, size in children.items()]
        count = min(possible)
        if not count:
            continue
        pods = {role: _shares(stock.pods[role], size, count) for role, size in roles.items()}
        inner = {child: _shares(stock.formed[child], size, count) for child, size in children.items()}
        stock.formed.setdefault(at, []).extend(
            _Formed(
                {role: many[each] for role, many in pods.items()}, {child: many[each] for child, many in inner.items()}
            )
            for each in range(count)
        )


def _shares(items: list[_T], size: int, count: int) -> list[list[_T]]:
    """The first items in `count` parts of `size`, taken away from the list."""
    found = [items[at * size : (at + 1) * size] for at in range(count)]
    del items[: size * count]
    return found


class _Namer:
    """Names replicas; adds (pod, role, node) to `found`."""

    def __init__(
        self, problem: Problem, running: Mapping[str, int], found: list[tuple[str, str, int]], budget: Budget
    ) -> None:
        self.problem, self.running, self.found, self.budget = problem, running, found, budget
        self.names = [frozenset(role.source.names) for role in problem.frame.roles]
        self.positions = cache(self._positions)

    def name(self, at: int, formed: list[_Formed], replicas: list[Replica]) -> None:
        """Name the replicas `formed` of group `at` after the first of `replicas`."""
        groups = self.problem.frame.groups
        for one, replica in zip(sorted(formed, key=_Formed.nodes), replicas, strict=False):
            self.budget.check()
            for role, nodes in one.roles.items():
                name = next(name for name in replica.pods if name in self.names[role])
                self.found += [(pod, name, node) for pod, node in _match(replica.pods[name], nodes, self.running)]
            for child, many in one.children.items():
                below = groups[child].unit.replicas
                share = len(below) // len(groups[at].unit.replicas)
                start = self.positions(at)[id(replica)] * share
                self.name(child, many, list(below[start : start + share]))

    def _positions(self, at: int) -> dict[int, int]:
        """Replica of group `at`, by identity → its number."""
        return {id(replica): number for number, replica in enumerate(self.problem.frame.groups[at].unit.replicas)}


def _match(pods: tuple[str, ...], nodes: list[int], running: Mapping[str, int]) -> list[tuple[str, int]]:
    """New pods by lowest natural name onto the nodes that running ones do not account for."""
    held = Counter(running[pod] for pod in pods if pod in running) if running else Counter[int]()
    left = []
    for node in sorted(nodes):
        if held[node]:
            held[node] -= 1
        else:
            left.append(node)
    waiting = sorted((pod for pod in pods if pod not in running), key=natural_key)
    return list(zip(waiting, left, strict=False))


def _with_devices(problem: Problem, placed: list[tuple[str, str, int]]) -> tuple[Assignment, ...]:
    """Assignments with the lowest free indices of `gpu` on each node; plugins number no other devices."""
    snapshot = problem.snapshot
    column = snapshot.resources.index(GPU)
    gpus = {name: role.source.requests[GPU] // MILLI_GPU for role in problem.frame.roles for name in role.source.names}
    following: dict[int, int] = {}
    found = []
    for pod, role, node in placed:
        if node not in following:
            used = int(snapshot.allocatable[node, column] - snapshot.free[node, column])
            following[node] = -(-used // MILLI_GPU)
        first = following[node]
        following[node] += gpus[role]
        devices = tuple(range(first, following[node]))
        found.append(Assignment(pod, role, snapshot.nodes[node], devices))
    return tuple(found)
