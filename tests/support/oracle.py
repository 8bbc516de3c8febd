"""The brute force: every map from pod names to nodes of a small instance, judged by docs/semantics.md word for word.

It shares no formula with the solver: domains come from labels, `nearest` is a real transport problem, rules and terms
look at named pods. Only choices that differ in names alone are skipped: pods of one role in one replica, and replicas
with equal content, take their nodes in non-decreasing order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from solver.domain.gang import Gang, Pattern
from solver.domain.snapshot import Snapshot
from support.brute import bandwidth, rules, terms
from support.brute.trees import Choice, choices, kept_replicas, may_differ
from support.brute.world import Replica, World, topology_of

TERMS = (
    "replicas", "containment_steps", "containment_domains", "transfer_us", "proximity", "fragmentation",
)  # fmt: skip

#: Smaller is better: −pods above the fewest, −kept child-group replicas, then the five minimised terms.
Key = tuple[Fraction, ...]


@dataclass(frozen=True)
class Valued:
    """What a map is worth: the six terms in the order of `TERMS`, and the key that compares maps."""

    values: tuple[Fraction, ...]
    key: Key

    def __getitem__(self, term: str) -> Fraction:
        return self.values[TERMS.index(term)]


@dataclass(frozen=True)
class OracleAnswer(Valued):
    """The best value and one best map: new pods only, pod name → node name."""

    placed: Mapping[str, str]


def solve(snapshot: Snapshot, gang: Gang) -> OracleAnswer | None:
    """The lexicographically best plan, None when the gang cannot be placed."""
    world = World(snapshot, gang)
    fewest = terms.fewest_pods(world)
    if fewest is None:
        return None
    trees = sorted(choices(world.root, world.running), key=_first_term)
    for _, alike in groupby(trees, key=_first_term):
        # trees with more pods, then more kept replicas, come first: the first that can be placed decide
        maps = [(where, tree.kept) for tree in alike for where in _maps(world, tree)]
        if maps:
            where, kept = _best(world, maps)
            worth = _worth(world, where, kept, fewest)
            return OracleAnswer(worth.values, worth.key, _names(world, where))
    return None


def terms_of(snapshot: Snapshot, gang: Gang, placed: Mapping[str, str]) -> Valued:
    """What a given map (pod → node; running members may be left out) is worth.

    A map that breaks the tree rules is valued as if exactly the replicas with pods were kept.
    """
    world = World(snapshot, gang)
    where = _everything(world, placed)
    kept = kept_replicas(world.root, where, world.running)
    if kept is None:
        kept = tuple(each for each in world.replicas if each is world.root or each.all_pods & set(where))
    return _worth(world, where, kept, terms.fewest_pods(world) or 0)


def allowed(snapshot: Snapshot, gang: Gang, placed: Mapping[str, str]) -> list[str]:
    """Names of the hard rules that a map (pod → node; running members may be left out) breaks."""
    world = World(snapshot, gang)
    return rules.violated(world, _everything(world, placed))


def unsupported(snapshot: Snapshot, gang: Gang) -> list[str]:
    """Why the input is bad, by the reference; after an unknown level nothing else is looked for."""
    spec = topology_of(snapshot, gang)
    if any(spec.find(word) is None for word in _level_words(gang)):
        return ["unknown level"]
    world = World(snapshot, gang)
    groups = list(gang.root.walk())
    found = [
        f"group {group.name}: replicas may differ under preferred or spread"
        for group in groups
        if group.replicas > 1 and may_differ(group) and any(each.pack.preferred or each.spread for each in group.walk())
    ]
    found += [
        f"group {group.name}: spread below the required level"
        for group in groups
        for spread in group.spread
        if group.pack.required is None or world.level(spread.level) > world.level(group.pack.required)
    ]
    found += [
        f"group {replica.group.name}: running members in a group that replicates"
        for replica in world.replicas
        if replica.group.replicas > 1 and replica.all_pods & set(world.running)
    ]
    return found + _unsupported_flows(world)


def _unsupported_flows(world: World) -> list[str]:
    found = []
    gpus, nodes = terms.engine_gpus(world), terms.engine_nodes(world)
    sizes = [gpus, nodes] if any(terms.node_gbps(world, level) for level in range(world.height + 1)) else [gpus]
    for flow in world.gang.flows:
        if flow.pattern is Pattern.NEAREST:
            pairs = [(one, other) for one in flow.senders for other in flow.receivers]
            if any(len({min(size[one], size[other]) for one, other in pairs}) > 1 for size in sizes):
                found.append(f"flow {flow}: nearest between unequal engines")
        elif terms.reach_level(world, flow) is not None:
            found.append(f"flow {flow}: all_to_all under a reach rule")
    return found


def _level_words(gang: Gang) -> list[str]:
    groups = list(gang.root.walk())
    words = [word for each in groups for word in (each.pack.required, each.pack.preferred) if word]
    words = [word for word in words if word != "narrowest"]
    words += [spread.level for each in groups for spread in each.spread]
    words += [spread.level for each in gang.roles for spread in each.spread]
    return words + [rule.level for rule in gang.reach]


# Enumeration


def _first_term(tree: Choice) -> tuple[int, int]:
    return -tree.pods, -len(tree.kept)


def _maps(world: World, tree: Choice) -> Iterator[dict[str, int]]:
    """Every map of the tree's pods that keeps all rules, running members included."""
    running = {pod: world.running[pod] for pod in tree.running}
    if not rules.queue_holds(world, (*tree.new, *running)):
        return
    for nodes in _Nodes(world, tree):
        where = {**running, **dict(zip(tree.new, nodes, strict=True))}
        holds = rules.spread_holds(world, where) and rules.reach_holds(world, where) and rules.pack_holds(world, where)
        if holds and bandwidth.bandwidth_holds(world, where):
            yield where


class _Nodes:
    """The choices of nodes for a tree's new pods, in order: eligible, with room, beside their replica's other pods."""

    def __init__(self, world: World, tree: Choice) -> None:
        position = {pod: at for at, pod in enumerate(tree.new)}
        self.world, self.new = world, tree.new
        # both sides of a swap are compared when the last pod of the second is placed
        self.swaps: list[list[tuple[list[int], list[int]]]] = [[] for _ in tree.new]
        for first, second in tree.alike:
            sides = [position[pod] for pod in first], [position[pod] for pod in second]
            self.swaps[max(sides[1])].append(sides)
        self.packs = [_packs(world, pod) for pod in tree.new]
        self.roles = [world.role_of[pod].name for pod in tree.new]
        self.room = [dict(row) for row in world.room]
        self.chosen: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        at = len(self.chosen)
        if at == len(self.new):
            yield tuple(self.chosen)
            return
        for node in self.world.eligible[self.roles[at]]:
            if self._has_room(at, node) and self._is_packed(at, node):
                self._take(at, node, 1)
                if self._is_ordered(at):
                    yield from self
                self._take(at, node, -1)

    def _take(self, at: int, node: int, pods: int) -> None:
        for name, amount in self.world.demand[self.roles[at]].items():
            self.room[node][name] -= pods * amount
        if pods > 0:
            self.chosen.append(node)
        else:
            self.chosen.pop()

    def _has_room(self, at: int, node: int) -> bool:
        demand = self.world.demand[self.roles[at]]
        return all(self.room[node].get(name, 0) >= amount for name, amount in demand.items())

    def _is_packed(self, at: int, node: int) -> bool:
        for replica, level in self.packs[at]:
            first = next((i for i in range(at) if self.new[i] in replica.all_pods), at)
            domain = self.world.domain(node, level)
            if first < at and self.world.domain(self.chosen[first], level) != domain:
                return False
        return True

    def _is_ordered(self, at: int) -> bool:
        return all([self.chosen[i] for i in one] <= [self.chosen[i] for i in other] for one, other in self.swaps[at])


def _packs(world: World, pod: str) -> list[tuple[Replica, int]]:
    own = world.replica_of[pod]
    return [
        (replica, world.level(replica.group.pack.required))
        for replica in (*own.above, own)
        if replica.group.pack.required is not None
    ]


# Values


def _best(
    world: World, maps: list[tuple[dict[str, int], tuple[Replica, ...]]]
) -> tuple[dict[str, int], tuple[Replica, ...]]:
    """The best of maps that are equal in the first term: stage by stage, only the best of one term go on."""
    traffic = terms.Traffic(world)
    stages = (
        lambda where, kept: terms.containment_steps(world, where, kept),
        lambda where, kept: terms.containment_domains(world, where, kept),
        lambda where, kept: traffic.transfer_us(where),
        lambda where, kept: traffic.proximity(where),
        lambda where, kept: terms.fragmentation(world, where),
    )
    for term in stages:
        values = [term(where, kept) for where, kept in maps]
        best = min(values)
        maps = [each for each, value in zip(maps, values, strict=True) if value == best]
    return maps[0]


def _worth(world: World, where: Mapping[str, int], kept: Sequence[Replica], fewest: int) -> Valued:
    traffic = terms.Traffic(world)
    above = Fraction(len(where) - fewest)
    children = Fraction(len(kept) - 1)
    minimised = (
        terms.containment_steps(world, where, kept),
        terms.containment_domains(world, where, kept),
        traffic.transfer_us(where),
        traffic.proximity(where),
        terms.fragmentation(world, where),
    )
    return Valued((above, *minimised), (-above, -children, *minimised))


def _everything(world: World, placed: Mapping[str, str]) -> dict[str, int]:
    """Indices of nodes by pod, running members included; a running member cannot be elsewhere."""
    where = {pod: world.node_idx[node] for pod, node in placed.items()}
    for pod, node in world.running.items():
        if where.setdefault(pod, node) != node:
            raise ValueError(f"{pod} runs on {world.snapshot.nodes[node]} and stays there")
    unknown = sorted(set(where) - set(world.role_of))
    if unknown:
        raise ValueError(f"{unknown[0]} is no pod of {world.gang.name}")
    return where


def _names(world: World, where: Mapping[str, int]) -> dict[str, str]:
    return {pod: world.snapshot.nodes[node] for pod, node in where.items() if pod not in world.running}


__all__ = ["TERMS", "OracleAnswer", "Valued", "allowed", "solve", "terms_of", "unsupported"]
