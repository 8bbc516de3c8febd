"""The six terms of docs/semantics.md from their definitions, exactly, on an explicit map from pods to nodes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations

import networkx as nx

from solver.domain.gang import Flow, Pattern
from support.brute.trees import choices, may_differ
from support.brute.world import Replica, World

Where = Mapping[str, int]
#: Cost of a pair of pods of two roles on two nodes.
PairCost = Callable[[str, str, int, int], int]


def fewest_pods(world: World) -> int | None:
    """The fewest pods any allowed tree has, on the gang alone; None when no tree is allowed."""
    return min((choice.pods for choice in choices(world.root, ())), default=None)


def containment_steps(world: World, where: Where, kept: Sequence[Replica]) -> Fraction:
    """Term 2: levels that replicas of groups with a preferred level had to climb to be whole."""
    total = 0
    for replicas in _preferring(world, kept):
        group = replicas[0].group
        names = [role.name for each in group.walk() for role in each.roles]
        if may_differ(group):
            count = 1
            size = {name: sum(world.role_of[pod].name == name for pod in where) for name in names}
        else:
            count = len(replicas)
            one = [pod for pod in where if pod in replicas[0].all_pods]
            size = {name: sum(world.role_of[pod].name == name for pod in one) for name in names}
        size = {name: pods for name, pods in size.items() if pods}
        if not size:
            continue
        for level in range(world.preferred_level(group), 0, -1):
            here: Counter[tuple[object, str]] = Counter()
            for pod, node in where.items():
                here[world.domain(node, level), world.role_of[pod].name] += 1
            domains = {world.domain(node, level) for node in where.values()} - {None}
            closed = sum(min(here[domain, name] // pods for name, pods in size.items()) for domain in domains)
            total += count - closed
    return Fraction(total)


def containment_domains(world: World, where: Where, kept: Sequence[Replica]) -> Fraction:
    """Term 3: domains at the preferred level, and nodes outside them, that hold any pod of the group."""
    total = 0
    for replicas in _preferring(world, kept):
        level = world.preferred_level(replicas[0].group)
        pods = frozenset[str]().union(*(replica.all_pods for replica in replicas))
        total += len({world.domain(where[pod], level) or where[pod] for pod in pods if pod in where})
    return Fraction(total)


def _preferring(world: World, kept: Sequence[Replica]) -> list[list[Replica]]:
    """The kept replicas of each kept group that has a preferred level."""
    found = []
    for group in world.gang.root.walk():
        replicas = [replica for replica in kept if replica.group is group]
        if replicas and world.preferred_level(group):
            found.append(replicas)
    return found


class Traffic:
    """Terms 4 and 5; equal counts of pods are computed once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._engine, self._rank, self._spread = engine_gpus(world), rank_gpus(world), engine_nodes(world)
        self._seen: dict[object, Fraction] = {}
        self._prices: dict[tuple[int, str, str, int, int], int] = {}

    def transfer_us(self, where: Where) -> Fraction:
        """Term 4: time of the transfers of one request, in microseconds."""
        total = Fraction(0)
        for number, flow in enumerate(self.world.gang.flows):
            total += self._of_flow(("ns", number), flow, where, self._nanoseconds(number))
        return total / 1000

    def proximity(self, where: Where) -> Fraction:
        """Term 5: levels climbed by the same flows, or by every pair of pods with GPUs."""
        flows = self.world.gang.flows
        if not flows:
            roles = tuple(role.name for role in self.world.gang.roles if self.world.devices(dict(role.requests)))
            flows = (Flow(roles, roles, 0),)
        total = Fraction(0)
        for number, flow in enumerate(flows):
            total += self._of_flow(("climb", number), flow, where, self._climb)
        return total

    def _of_flow(self, kind: tuple[str, int], flow: Flow, where: Where, cost: PairCost) -> Fraction:
        if flow.pattern is Pattern.COLLECTIVE:
            return self._of_collective(flow, where, cost)
        senders = self._at(flow.senders, where)
        receivers = self._at(flow.receivers, where)
        key = (*kind, tuple(senders), tuple(receivers))
        if key not in self._seen:
            price = _nearest if flow.pattern is Pattern.NEAREST else _all_to_all
            self._seen[key] = price(senders, receivers, cost, set(flow.senders) == set(flow.receivers))
        return self._seen[key]

    def _of_collective(self, flow: Flow, where: Where, cost: PairCost) -> Fraction:
        """Mean over the kept replicas of what the dearest pair of pods in each pays: all wait for the slowest link."""
        prices = []
        for replica in self.world.replicas:
            pods = [
                (name, where[pod])
                for name, pods in replica.pods.items()
                if name in flow.senders
                for pod in pods
                if pod in where
            ]
            if pods:
                pairs = combinations(pods, 2)
                prices.append(max((cost(one, other, at, there) for (one, at), (other, there) in pairs), default=0))
        return Fraction(sum(prices), len(prices)) if prices else Fraction(0)

    def _at(self, roles: Sequence[str], where: Where) -> list[tuple[str, int]]:
        """Role and node of each placed pod of the roles."""
        found = [(self.world.role_of[pod].name, node) for pod, node in where.items()]
        return sorted(each for each in found if each[0] in roles)

    def _climb(self, _sender: str, _receiver: str, one: int, other: int) -> int:
        return self.world.height - self.world.common(one, other)[-1]

    def _nanoseconds(self, number: int) -> PairCost:
        flow = self.world.gang.flows[number]
        reached = reach_level(self.world, flow)

        def cost(sender: str, receiver: str, one: int, other: int) -> int:
            key = (number, sender, receiver, one, other)
            if key not in self._prices:
                levels = self.world.common(one, other)
                if reached is not None and levels[-1] < reached:
                    levels = tuple(range(reached + 1))
                alike = flow.pattern is Pattern.COLLECTIVE
                sending = self._rank if alike else self._engine
                gpus = min(sending[sender], sending[receiver])
                nodes = 1 if alike else min(self._spread[sender], self._spread[receiver])
                self._prices[key] = min(self._time(flow, level, gpus, nodes) for level in levels)
            return self._prices[key]

        return cost

    def _time(self, flow: Flow, level: int, gpus: int, nodes: int) -> int:
        """Nanoseconds of the flow's transfers at a level: setup, then bytes over every GPU's rail or all NICs."""
        tier = self.world.spec.tiers[level]
        wire = Fraction(flow.bytes) / Fraction(tier.gbps) / gpus
        shared = node_gbps(self.world, level)
        if shared is not None:
            wire = max(wire, Fraction(flow.bytes) / Fraction(shared) / nodes)
        return round(flow.per_request * (Fraction(tier.setup_us) * 1000 + wire))


def _all_to_all(
    senders: list[tuple[str, int]], receivers: list[tuple[str, int]], cost: PairCost, same: bool
) -> Fraction:
    """Mean cost over all ordered pairs of different pods."""
    prices = [
        cost(sender, receiver, one, other)
        for i, (sender, one) in enumerate(senders)
        for j, (receiver, other) in enumerate(receivers)
        if not (same and i == j)
    ]
    return Fraction(sum(prices), len(prices)) if prices else Fraction(0)


def _nearest(senders: list[tuple[str, int]], receivers: list[tuple[str, int]], cost: PairCost, same: bool) -> Fraction:
    """Cheapest transport in which every sender sends 1/N_send and every receiver takes 1/N_recv."""
    assert not same
    if not senders or not receivers:
        return Fraction(0)
    # one pod's price stands for its role set: all pairs of a nearest flow have the same engine
    name, other_name = senders[0][0], receivers[0][0]
    graph: nx.DiGraph[tuple[str, int]] = nx.DiGraph()
    supply = Counter(node for _, node in senders)
    demand = Counter(node for _, node in receivers)
    for node, pods in supply.items():
        graph.add_node(("from", node), demand=-pods * len(receivers))
    for node, pods in demand.items():
        graph.add_node(("to", node), demand=pods * len(senders))
    for node in supply:
        for other in demand:
            graph.add_edge(("from", node), ("to", other), weight=cost(name, other_name, node, other))
    total, _ = nx.network_simplex(graph)
    return Fraction(total, len(senders) * len(receivers))


def fragmentation(world: World, where: Where) -> Fraction:
    """Term 6: GPUs still wholly free in the domains that hold a pod of the gang."""
    left = []
    for node in world.nodes:
        new = [world.role_of[pod] for pod, at in where.items() if at == node and pod not in world.running]
        after = {
            name: room - sum(world.demand[role.name].get(name, 0) for role in new)
            for name, room in world.room[node].items()
        }
        left.append(world.devices(after) if world.is_open(node) else 0)
    total = 0
    for level in range(1, world.height + 1):
        held = {world.domain(node, level) for node in where.values()} - {None}
        total += sum(left[node] for node in world.nodes if world.domain(node, level) in held)
    return Fraction(total)


def reach_level(world: World, flow: Flow) -> int | None:
    """The level that a reach rule between exactly the flow's two sets keeps it inside, the finest of several."""
    sides = {frozenset(flow.senders), frozenset(flow.receivers)}
    return max(
        (
            world.level(rule.level)
            for rule in world.gang.reach
            if {frozenset(rule.senders), frozenset(rule.receivers)} == sides
        ),
        default=None,
    )


def engine_gpus(world: World) -> dict[str, int]:
    """Role name → GPUs that send together: one pod's, or those of a whole multi-node replica; at least 1."""
    found = {}
    for role in world.gang.roles:
        group = world.group_of[role.name]
        ranks = [(each, each.replicas) for each in group.roles] if group.multinode else [(role, 1)]
        found[role.name] = max(1, sum(pods * world.devices(dict(each.requests)) for each, pods in ranks))
    return found


def engine_nodes(world: World) -> dict[str, int]:
    """Role name → nodes whose NICs send together: one for each pod with GPUs of a multi-node replica; at least 1."""
    found = {}
    for role in world.gang.roles:
        group = world.group_of[role.name]
        with_gpus = [pod.replicas for pod in group.roles if world.devices(dict(pod.requests))]
        found[role.name] = max(1, sum(with_gpus)) if group.multinode else 1
    return found


def node_gbps(world: World, level: int) -> float | None:
    """What all NICs of a node carry together on paths of a level; None = that limits nothing."""
    spec = world.spec
    stated = (spec.root_tier, *(each.tier for each in spec.levels))[level]
    if stated is not None and stated.node_gbps is not None:
        return stated.node_gbps
    nvlink = next((at for at, each in enumerate(spec.levels, 1) if each.answers_to("nvl")), None)
    if nvlink is not None:
        return spec.node_gbps if level < nvlink else None
    return spec.node_gbps if level < world.height or stated is None else None


def rank_gpus(world: World) -> dict[str, int]:
    """Role name → GPUs with which a rank beside it sends: the fewest of a pod of its group that has any; at least 1."""
    found = {}
    for role in world.gang.roles:
        ranks = [world.devices(dict(each.requests)) for each in world.group_of[role.name].roles if each.replicas]
        found[role.name] = min((gpus for gpus in ranks if gpus), default=1)
    return found
