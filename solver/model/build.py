"""The CP-SAT model of one problem: patterns of node classes, counts of domains, the all-or-nothing Boolean.

y[domain, class, pattern] says how many nodes of a class in a lowest domain hold a pattern (a count vector that fits).
Counts of domains are sums, and no node has a name, so there is no symmetry between alike nodes. Where small pods make
patterns explode, the nodes of a domain carry counts with capacity rows instead.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from solver.compile.classes import NodeClass
from solver.compile.layout import Space
from solver.compile.links import NO_LINK
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.domain.snapshot import Ints, Mask
from solver.model.domain_view import DomainVariables
from solver.model.variables import Expr, Hint, Variables, scaled, weighted
from solver.rules import bandwidth, pack, reach, spread
from solver.rules.registry import allowed_states
from solver.terms.base import Term

#: Above so many patterns in one lowest domain its nodes are modelled by counts.
MAX_PATTERNS = 2000


@dataclass(frozen=True)
class PatternUse:
    """How many of `nodes` (alike, natural order) hold each state."""

    nodes: tuple[int, ...]
    states: tuple[int, ...]
    uses: tuple[Expr, ...]


@dataclass
class Subtree:
    """What the children of a domain add up to: counts by dim of their space, hints, and the most pods by role."""

    counts: list[Expr]
    hints: list[Hint]
    most: list[int]

    def add(self, counts: Sequence[Expr], hints: Sequence[Hint], most: Sequence[int]) -> None:
        """Add one more child."""
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.hints = [None if a is None or b is None else a + b for a, b in zip(self.hints, hints, strict=True)]
        self.most = [a + b for a, b in zip(self.most, most, strict=True)]


@dataclass
class PlacementModel:
    """The model and the way back from it.

    root: counts of the root by dim. sums: by term, the expression to minimise (constants excluded).
    """

    problem: Problem
    variables: Variables
    root: DomainVariables
    sums: list[Expr]
    patterns: list[PatternUse] = field(default_factory=list)
    single_nodes: list[tuple[int, DomainVariables]] = field(default_factory=list)


def build_model(
    problem: Problem,
    terms: Sequence[Term],
    lowest: Collection[int] | None = None,
    hint: Mapping[int, int] | None = None,
    budget: Budget | None = None,
) -> PlacementModel:
    """Model of `problem` with one objective expression for each of `terms`; nothing is minimised yet.

    lowest: indices of the domains just above the hosts that may be used, None = all; those with running members are
    always in. hint: node index → host state of a plan to start from. Raises OutOfTime when the budget ends first.
    """
    return _Builder(problem, terms, lowest, hint, budget).build()


class _Builder:
    def __init__(
        self,
        problem: Problem,
        terms: Sequence[Term],
        lowest: Collection[int] | None,
        hint: Mapping[int, int] | None,
        budget: Budget | None,
    ) -> None:
        self.problem, self.terms, self.hint = problem, terms, hint
        self.variables = Variables(budget)
        self.sums: list[Expr] = [0] * len(terms)
        self.lowest = None if lowest is None else set(lowest)
        self.patterns: list[PatternUse] = []
        self.single_nodes: list[tuple[int, DomainVariables]] = []
        self.height = problem.tree.height
        self.listed = bool(problem.classes) and problem.classes[0].fits is not None
        self.loads = None if problem.links is None else bandwidth.Loads(problem)
        self.host_states = cache(self._host_states)

    def build(self) -> PlacementModel:
        below = self.hosts()
        views: dict[int, DomainVariables] = {}
        for level in range(self.height - 1, -1, -1):
            views = {domain: self.domain(level, domain, part) for domain, part in below.items()}
            if level:
                below = self.gather(level, views)
        root = views.get(0) or self.domain(0, 0, self.nothing(1))
        return PlacementModel(self.problem, self.variables, root, self.sums, self.patterns, self.single_nodes)

    def _host_states(self, bits: int) -> Mask:
        """[host states] that no rule forbids on a node with path `bits`."""
        return allowed_states(self.problem, self.height, True, self.problem.link_of_node(bits))

    def nothing(self, level: int) -> Subtree:
        dims = len(self.problem.layout.spaces[level].dims)
        hints: list[Hint] = [None if self.hint is None else 0] * dims
        return Subtree([0] * dims, hints, [0] * len(self.problem.totals))

    def gather(self, level: int, views: Mapping[int, DomainVariables]) -> dict[int, Subtree]:
        """Sums of the domains of `level` by parent."""
        found: dict[int, Subtree] = {}
        for domain, view in views.items():
            parent = int(self.problem.tree.parent[level][domain])
            found.setdefault(parent, self.nothing(level)).add(view.counts, view.hints, view.most)
        return found

    def hosts(self) -> dict[int, Subtree]:
        """Sums of the nodes by lowest domain."""
        found: dict[int, Subtree] = {}
        for domain, families in self.node_families():
            part = found.setdefault(domain, self.nothing(self.height))
            listed = self.patterns_listed([self.problem.classes[at] for at, _ in families])
            for at, nodes in families:
                if listed:
                    part.add(*self.pattern_uses(self.problem.classes[at], nodes))
                else:
                    for node in self.enough(self.problem.classes[at], nodes):
                        view = self.single_node(node, self.problem.classes[at])
                        part.add(view.counts, view.hints, view.most)
        return found

    def patterns_listed(self, classes: Sequence[NodeClass]) -> bool:
        """Whether the patterns of a lowest domain's classes are few enough to have a variable each."""
        if not self.listed:
            return False
        listed = (node_class.fits for node_class in classes if node_class.fits is not None)
        return sum(int(fits.sum()) for fits in listed) <= MAX_PATTERNS

    def node_families(self) -> Iterator[tuple[int, list[tuple[int, tuple[int, ...]]]]]:
        """(lowest domain, [(class, its nodes)]) of the candidate domains."""
        kinds, parents = self.problem.node_class, self.problem.tree.parent[self.height]
        usable = kinds >= 0
        if self.lowest is not None:
            needed = self.lowest | set(parents[self.problem.running.any(axis=0)].tolist())
            usable &= np.isin(parents, list(needed))
        found: dict[int, dict[int, list[int]]] = {}
        for node in np.flatnonzero(usable).tolist():
            found.setdefault(int(parents[node]), {}).setdefault(int(kinds[node]), []).append(node)
        for domain in sorted(found):
            yield domain, [(at, tuple(nodes)) for at, nodes in sorted(found[domain].items())]

    def enough(self, node_class: NodeClass, nodes: tuple[int, ...]) -> tuple[int, ...]:
        """As many alike nodes as can matter."""
        return nodes[: self.problem.frame.pods] if node_class.empty_allowed else nodes

    def pattern_uses(self, node_class: NodeClass, nodes: tuple[int, ...]) -> tuple[list[Expr], list[Hint], list[int]]:
        """Uses of each pattern by the nodes of one class: their counts by dim, hints, most pods by role."""
        space = self.problem.layout.spaces[-1]
        nodes = self.enough(node_class, nodes)
        assert node_class.fits is not None
        fits = node_class.fits & self.host_states(node_class.bits)
        states = [int(s) for s in np.flatnonzero(fits) if s or not node_class.empty_allowed]
        vectors = space.coordinates[:, states]
        pods = space.pods[:, states]
        hints = self.pattern_hints(nodes, states)
        uses = []
        for at in range(len(states)):
            fewest = [total // n for total, n in zip(self.problem.totals, pods[:, at].tolist(), strict=True) if n]
            uses.append(self.variables.integer(0, min([len(nodes), *fewest]), hints[at]))
        total = weighted(uses, [1] * len(uses))
        self.variables.add(total <= len(nodes) if node_class.empty_allowed else total == len(nodes))
        self.price(node_class, states, uses)
        self.patterns.append(PatternUse(nodes, tuple(states), tuple(uses)))
        counts = [weighted(uses, row.tolist()) for row in vectors]
        most = [int(row.max(initial=0)) * len(nodes) for row in pods]
        return counts, [scaled(hints, row.tolist()) for row in vectors], most

    def pattern_hints(self, nodes: Sequence[int], states: Sequence[int]) -> list[Hint]:
        if self.hint is None:
            return [None] * len(states)
        held = [self.hint.get(node, 0) for node in nodes]
        return [held.count(state) for state in states]

    def price(self, node_class: NodeClass, states: Sequence[int], uses: Sequence[Expr]) -> None:
        """Add what hosts cost by themselves to the terms."""
        for at, term in enumerate(self.terms):
            cost = term.cost(self.height, node_class.bits)
            weights = [0 if cost is None else int(cost[state]) for state in states]
            if term.holes:
                times = term.hole_times()
                weights = [
                    weight + node_class.hole * int(times[state]) for weight, state in zip(weights, states, strict=True)
                ]
            self.sums[at] = self.sums[at] + weighted(uses, weights)

    def single_node(self, node: int, node_class: NodeClass) -> DomainVariables:
        """A node that carries counts: capacity by rows, terms and rules as in any domain."""
        problem = self.problem
        room, here = np.array(node_class.free), np.array(node_class.running)
        space = problem.layout.spaces[-1]
        most = _most(problem, node_class)
        state = None if self.hint is None else self.hint.get(node, 0)
        hints: list[Hint] = [
            None if state is None else int(count) for count in (space.counts_at(state or 0) if space.dims else ())
        ]
        counts = [self.variables.integer(0, dim.cap, value) for dim, value in zip(space.dims, hints, strict=True)]
        view = DomainVariables(
            problem, self.variables, self.height, node_class.bits, node_class.hole, counts, hints, most
        )
        for role in range(len(problem.totals)):
            pods = view.pods((role,))
            self.variables.add(pods >= int(here[role]))
            self.variables.add(pods <= (most[role] if problem.masks[role, node] else int(here[role])))
        for resource in range(problem.requests.shape[1]):
            asked = [int(value) for value in problem.requests[:, resource]]
            pods_by_role = [view.pods((role,)) for role in range(len(asked))]
            held = int(problem.requests[:, resource] @ here)
            self.variables.add(weighted(pods_by_role, asked) <= int(room[resource]) + held)
        self.finish(view, problem.link_of_node(node_class.bits))
        self.single_nodes.append((node, view))
        return view

    def domain(self, level: int, domain: int, below: Subtree) -> DomainVariables:
        """Variables of one domain, linked to what is below it."""
        problem = self.problem
        space = problem.layout.spaces[level]
        pods_hint = _role_hints(problem.layout.spaces[level + 1], below.hints)
        hints = _dim_hints(problem, space, pods_hint)
        counts = [self.variables.integer(0, dim.cap, hint) for dim, hint in zip(space.dims, hints, strict=True)]
        for expression, row in zip(below.counts, problem.layout.below_matrix(level), strict=True):
            self.variables.add(expression == weighted(counts, row.tolist()))
        view = DomainVariables(
            problem,
            self.variables,
            level,
            int(problem.tree.path_bits[level][domain]),
            int(problem.holes[level][domain]),
            counts,
            hints,
            below.most,
        )
        self.locate(view)
        links = problem.links_at(level)
        self.finish(view, NO_LINK if links is None else int(links[domain]))
        return view

    def locate(self, view: DomainVariables) -> None:
        """A flexible group is located here exactly when it has pods here."""
        for at, dim in enumerate(view.space.dims):
            if dim.kind == "located" and self.problem.frame.groups[dim.item].required == view.level:
                roles = [r for r, size in enumerate(self.problem.frame.groups[dim.item].inside) if size]
                pods = view.pods(roles)
                self.variables.add(pods >= view.counts[at])
                self.variables.add(pods <= sum(self.problem.totals[r] for r in roles) * view.counts[at])

    def finish(self, view: DomainVariables, link: int) -> None:
        """Rules and terms of one domain. link: bytes a second that may go over its link, NO_LINK = any number."""
        if not view.bits >> view.level & 1:
            self.outside(view)
            return
        for count, most in spread.limits(self.problem, view):
            self.variables.add(count <= most)
        for rule in reach.rules_at(self.problem, view.level):
            here, there = view.pods(rule.senders), view.pods(rule.receivers)
            self.variables.add(view.present(rule.senders) == view.present(rule.receivers))
            if rule.ratio:
                left = there * (rule.senders_total * rule.ratio.denominator)
                self.variables.add(left >= here * (rule.receivers_total * rule.ratio.numerator))
        for load, most in () if self.loads is None else self.loads.rows(view, link):
            self.variables.add(load <= most)
        for at, term in enumerate(self.terms):
            self.sums[at] = self.sums[at] + term.express(view)

    def outside(self, view: DomainVariables) -> None:
        """Nodes without a domain of the level: nothing that names the level is here."""
        frame = self.problem.frame
        barred = {
            r for g in pack.groups_at(self.problem, view.level) for r, n in enumerate(frame.groups[g].inside) if n
        }
        for rule in reach.rules_at(self.problem, view.level):
            barred |= {*rule.senders, *rule.receivers}
        if barred:
            self.variables.add(view.pods(sorted(barred)) == 0)


def _most(problem: Problem, node_class: NodeClass) -> list[int]:
    """By role, the most pods a node of the class can hold."""
    most = []
    for role, (total, here) in enumerate(zip(problem.totals, node_class.running, strict=True)):
        asked = problem.requests[role]
        rooms = [room // int(ask) for room, ask in zip(node_class.free, asked, strict=True) if ask]
        most.append(min([total, here + min(rooms)]))
    return most


def _role_hints(space: Space, hints: Sequence[Hint]) -> list[Hint]:
    return [scaled(hints, row.tolist()) for row in space.role_matrix]


def _dim_hints(problem: Problem, space: Space, pods: Sequence[Hint]) -> list[Hint]:
    """Counts of a space's dims when a domain holds `pods` by role."""
    found: list[Hint] = []
    for dim in space.dims:
        if dim.kind == "role":
            found.append(pods[dim.item])
            continue
        sizes = problem.frame.groups[dim.item].inside
        values = [(n, size) for n, size in zip(pods, sizes, strict=True) if size]
        if any(n is None for n, _ in values):
            found.append(None)
        elif dim.kind == "group":
            found.append(min(n // size for n, size in values if n is not None))
        else:
            found.append(int(any(n for n, _ in values)))
    return found


def read_states(model: PlacementModel, value: Callable[[Expr], int]) -> dict[int, int]:
    """Node index → host state of a solution; alike nodes are used in natural order, the fuller first."""
    found: dict[int, int] = {}
    space = model.problem.layout.spaces[-1]
    for use in model.patterns:
        held = [state for state, count in zip(use.states, use.uses, strict=True) for _ in range(value(count))]
        fuller_first = zip(use.nodes, sorted(held, reverse=True), strict=False)
        found.update({node: state for node, state in fuller_first if state})
    for node, view in model.single_nodes:
        counts: Ints = np.array([value(count) for count in view.counts], dtype=np.int64)
        state = space.state_of(counts)
        if state:
            found[node] = state
    return found
