"""Random small instances for the brute force, in a mix that `classify` names, and equivalent renamings of them.

An instance is a function of one seed: `random_instance(random.Random(seed))`; `instances()` lets hypothesis draw seeds.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import TypeVar

from hypothesis import strategies as st

from solver.domain.accelerators import Accelerators
from solver.domain.constraints import (
    NO_EXECUTE,
    NO_SCHEDULE,
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    AntiAffinity,
    NodeConstraints,
    NodeSelectorTerm,
    Operator,
    PodSelector,
    Requirement,
    Taint,
    Toleration,
    VolumeNodes,
)
from solver.domain.gang import BoundMember, Flow, Gang, Group, Kind, Pack, Pattern, Reach, Role, Spread
from solver.domain.levels import HOST_LABEL, Level, Tier, TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, GPU, MEMORY, MILLI_GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord, QueueSpec, Snapshot, build_snapshot
from support.brute import bandwidth, terms
from support.brute.trees import choices, may_differ
from support.brute.world import World
from support.oracle import OracleAnswer, unsupported

Instance = tuple[Snapshot, Gang]
_T = TypeVar("_T")

MAX_MAPS = 20_000
MAX_PODS = 7
_WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "flint", "grove", "hazel", "iris", "jade", "kelp", "lotus", "maple",
    "north", "onyx", "pearl", "quartz",
)  # fmt: skip
_SHARES = (Fraction(1), Fraction(1), Fraction(1, 2), Fraction(2), Fraction(1, 3), Fraction(7, 3))
_BYTES = (1_310_720_000, 65_536, 10**9, 10**6, 5 * 10**9, 0)
_FABRIC = "fabric"  # an extended resource
_KNOWN, _ADDED = "amd.com/gpu", "example.com/device"  # two kinds of device beside GPUs, the second by a setting


def instances() -> st.SearchStrategy[Instance]:
    """Instances by seed; a failing one shrinks toward a small seed, not toward a small instance."""
    return seeds().map(lambda seed: random_instance(random.Random(seed)))


def seeds() -> st.SearchStrategy[int]:
    """Seeds for `random_instance`, for tests that want to print theirs."""
    return st.integers(min_value=0, max_value=2**32 - 1)


def random_instance(rng: random.Random, limited: float = 0.15) -> Instance:
    """A snapshot and a gang that the reference supports, small enough for the brute force.

    limited: share of the instances in which links are stated and the gang says how much it serves.
    """
    while True:
        draw = _Draw(rng, limited)
        gang = draw.gang()
        if gang is None or not draw.least_pods <= sum(len(role.pods) for role in gang.roles) <= MAX_PODS:
            continue
        snapshot, gang = draw.cluster(gang)
        if rng.random() < 0.2:
            snapshot, gang = _with_devices(snapshot, gang, rng)
        if not unsupported(snapshot, gang) and _maps(snapshot, gang) <= MAX_MAPS:
            return snapshot, gang


def classify(snapshot: Snapshot, gang: Gang, answer: OracleAnswer | None) -> set[str]:
    """What an instance exercises; the first five are the mix a campaign must hold.

    transfer: feasible with positive transfer · tight: infeasible although the free GPUs suffice · nested · elastic
    · two_resources: on some node CPU stops a pod that the GPUs would take.
    """
    world = World(snapshot, gang)
    groups = list(gang.root.walk())
    fewest = terms.fewest_pods(world)
    free = sum(world.devices(row) for row in world.room)
    inner = groups[1:]
    facts = {
        "feasible": answer is not None,
        "infeasible": answer is None,
        "transfer": answer is not None and answer["transfer_us"] > 0,
        "tight": answer is None and fewest is not None and _fewest_gpus(world) <= free,
        "nested": any(each.pack != Pack() or each.replicas > 1 for each in inner),
        "deep": any(each.groups for each in inner),
        "elastic": may_differ(gang.root),
        "two_resources": any(_cpu_stops(world, role) for role in gang.roles),
        "above_fewest": answer is not None and answer["replicas"] > 0,
        "steps": answer is not None and answer["containment_steps"] > 0,
        "nearest": any(flow.pattern is Pattern.NEAREST for flow in gang.flows),
        "reach": bool(gang.reach),
        "capped": any(terms.reach_level(world, flow) is not None for flow in gang.flows),
        "collective": any(flow.pattern is Pattern.COLLECTIVE for flow in gang.flows),
        "collectives": sum(flow.pattern is Pattern.COLLECTIVE for flow in gang.flows) > 1,
        "collective_of_many": any(
            flow.pattern is Pattern.COLLECTIVE and len({world.group_of[name].name for name in flow.senders}) > 1
            for flow in gang.flows
        ),
        "torn_engine": answer is not None and _collective_us(world, answer) > 0,
        "self_flow": any(set(flow.senders) == set(flow.receivers) for flow in gang.flows),
        "two_senders": any(len(flow.senders) > 1 for flow in gang.flows),
        "running": bool(gang.running),
        "optional": fewest == 0,
        "empty": answer is not None and not answer.placed and not gang.running,
        "kept_without_pods": any(not tree.pods for replica in world.replicas[1:] for tree in choices(replica, ())),
        "runs_in_void": _runs_in_void(world),
        "spread": any(role.spread for role in gang.roles),
        "group_spread": any(each.spread for each in groups),
        "queue": bool(gang.queue),
        "volume": any(role.constraints.volumes for role in gang.roles),
        "closed_but_tolerated": any(world.closed_by(node) for nodes in world.eligible.values() for node in nodes),
        "multinode": any(each.multinode for each in groups),
        "shared_nics": world.spec.shares_nics,
        "served": bool(gang.requests_per_second) and any(bandwidth.links(world)),
        "void": any(world.domain(node, level) is None for node in world.nodes for level in range(1, world.height)),
        "required": any(each.pack.required for each in groups),
        "preferred": any(each.pack.preferred for each in groups),
        "narrowest": any(each.pack.preferred == "narrowest" for each in groups),
        "devices": any(world.devices({**dict(role.requests), GPU: 0}) for role in gang.roles),
        "both_packs": any(each.pack.required and each.pack.preferred for each in groups),
    }
    return {tag for tag, holds in facts.items() if holds}


def _collective_us(world: World, answer: OracleAnswer) -> Fraction:
    """Transfer time of the collectives alone."""
    own = tuple(flow for flow in world.gang.flows if flow.pattern is Pattern.COLLECTIVE)
    alone = World(world.snapshot, replace(world.gang, flows=own))
    where = {pod: world.node_idx[node] for pod, node in answer.placed.items()} | dict(world.running)
    return terms.Traffic(alone).transfer_us(where)


def _fewest_gpus(world: World) -> int:
    return min(
        sum(world.devices(world.demand[world.role_of[pod].name]) for pod in tree.new)
        for tree in choices(world.root, world.running)
    ) if choices(world.root, world.running) else 0  # fmt: skip


def _runs_in_void(world: World) -> bool:
    """Whether a member runs where a level is missing that is required of a group around it."""
    return any(
        each.group.pack.required and world.domain(node, world.level(each.group.pack.required)) is None
        for pod, node in world.running.items()
        for each in (*world.replica_of[pod].above, world.replica_of[pod])
    )


def _cpu_stops(world: World, role: Role) -> bool:
    demand = world.demand[role.name]
    device = next((name for name in (GPU, _KNOWN, _ADDED) if demand.get(name)), None)
    if device is None or not demand.get(CPU) or not role.pods:
        return False
    return any(
        world.room[node][CPU] // demand[CPU] < min(world.room[node].get(device, 0) // demand[device], len(role.pods))
        for node in world.eligible[role.name]
    )


# What the oracle can answer quickly


def _maps(snapshot: Snapshot, gang: Gang) -> int:
    """About how many maps the brute force has to look at."""
    world = World(snapshot, gang)
    total = 0
    for tree in choices(world.root, world.running):
        maps = 1
        for role in gang.roles:
            for replica in tree.kept:
                count = len(set(replica.pods.get(role.name, ())) & set(tree.new))
                maps *= comb(max(len(world.eligible.get(role.name, ())), 1) + count - 1, count)
        total += maps
    return total


# Drawing


@dataclass
class _Draw:
    """One instance in the making: the cluster's shape first, then the gang, then a cluster of the right size."""

    rng: random.Random
    limited: float

    def __post_init__(self) -> None:
        rng = self.rng
        self.names = rng.sample(_WORDS, len(_WORDS))
        named = rng.choices(
            [("zone", "rack"), ("rack",), ("zone", "rack", "nvl"), ("rack", "nvl"), ("zone", "block", "rack"), ()],
            [39, 20, 25, 10, 5, 1],
        )[0]
        self.spec = TopologySpec("", tuple(self._level(name) for name in named), self._tier(0.15))
        if rng.random() < 0.15:
            self.spec = replace(self.spec, levels=(*self.spec.levels[:-1], Level("host", HOST_LABEL, self._tier(1))))
        self.nodes = rng.choices([2, 3, 4, 5], [10, 25, 35, 30])[0]
        self.elastic = self.chance(0.6)
        self.cpu_bound = self.chance(0.5)
        self.least_pods = rng.choices([1, 2, 4, 5], [3, 37, 35, 25])[0]
        self.queued = self.chance(0.15)
        self.closing = self.chance(0.12)  # many nodes are closed, and some roles tolerate that
        self.optional = self.chance(0.14)  # most parts may be left out, often all of them
        self.elastic = self.elastic or self.optional
        self.full = self.chance(0.4 if self.optional else 0.02)  # hardly a node takes a pod
        self.lost = self.chance(0.08)  # many nodes lack levels, and members run wherever they like

    def _with_links(self, gang: Gang) -> Gang:
        """The gang with a rate or without, after NICs and uplinks are stated or not; drawn last of all."""
        rng = self.rng
        if self.chance(0.35):
            self.spec = replace(self.spec, node_gbps=rng.choice([0.5, 3, 20, 90]))
        levels = (self._with_nics(level) for level in self.spec.levels)
        self.spec = replace(self.spec, levels=tuple(levels))
        if not self.chance(self.limited):
            return gang
        self._state_links()
        return replace(gang, requests_per_second=self._rate(gang.flows))

    def _state_links(self) -> None:
        """NICs or uplinks, of which a part may be used by others."""
        rng, nvlink = self.rng, self.spec.nvlink
        if self.chance(0.6):
            self.spec = replace(self.spec, node_gbps=rng.choice([0.5, 3, 20, 90]))
        levels = list(self.spec.levels)
        for at, level in enumerate(levels[:-1]):
            if self.chance(0.5) and not (nvlink is not None and at >= nvlink):
                used = rng.choice([None, None, 0.1, 2])
                if self.spec.node_gbps is not None and self.chance(0.4):
                    levels[at] = replace(level, oversubscription=rng.choice([1, 2, 3.5]), used_gbps=used)
                else:
                    levels[at] = replace(level, uplink_gbps=rng.choice([0.5, 4, 20]), used_gbps=used)
        if self.spec.node_gbps is not None and self.chance(0.2):
            levels[-1] = replace(levels[-1], used_gbps=rng.choice([0.1, 2]))
        self.spec = replace(self.spec, levels=tuple(levels), max_link_share=rng.choice([0.6, 0.6, 1.0, 0.25]))

    def _rate(self, flows: Sequence[Flow]) -> Fraction | None:
        """Requests a second that fill some link about, in parts of what one of its directions may carry."""
        rng = self.rng
        between = [flow for flow in flows if flow.pattern is not Pattern.COLLECTIVE]
        heavy = max((flow.per_request * flow.bytes for flow in between), default=Fraction(0))
        if not heavy:
            return Fraction(3) if self.chance(0.3) else None
        gbps = [level.uplink_gbps for level in self.spec.levels if level.uplink_gbps] or [self.spec.node_gbps or 4]
        whole = Fraction(str(rng.choice(gbps))) * Fraction(str(self.spec.max_link_share)) * 10**9
        return whole / heavy * Fraction(rng.choice(["1/3", "1/2", "3/4", "1", "4/3", "2", "4", "9/2", "6"]))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _tier(self, share: float) -> Tier | None:
        if not self.chance(share):
            return None
        return Tier(self.rng.choice([0.5, 1, 7, 20, 40, 900]), self.rng.choice([0, 3, 12.5, 400, 2000]))

    def _with_nics(self, level: Level) -> Level:
        """The level with NICs of its own now and then, where it states a tier."""
        if level.tier is None or not self.chance(0.2):
            return level
        return replace(level, tier=replace(level.tier, node_gbps=self.rng.choice([0.25, 8, 100])))

    def _level(self, name: str) -> Level:
        label = self.rng.choice([name, f"example.com/{name}"])
        return Level(name, label, self._tier(0.2), also=(f"the-{name}",) if self.chance(0.2) else ())

    def word(self, coarsest: int = 1, finest: int | None = None) -> str:
        """A name, alias or label key of a level between two positions, the host less often."""
        last = len(self.spec.levels) if finest is None else finest
        position = self.rng.randint(coarsest, last)
        if position == len(self.spec.levels) and coarsest < position and self.chance(0.5):
            position = self.rng.randint(coarsest, position - 1)
        level = self.spec.levels[position - 1]
        return self.rng.choice([level.name, level.name, level.label, *level.also])

    # The gang

    def gang(self) -> Gang | None:
        rng = self.rng
        template = rng.choices([self._flat, self._grouped, self._deep], [46, 38, 16])[0]
        root = template()
        roles = [role for group in root.walk() for role in group.roles]
        if not any(role.replicas for role in roles) or len(roles) > 5:
            return None
        flows, reach = self._links(roles)
        flows = self._with_collectives(root, flows)
        return Gang(
            "default/gang", root, queue="team" if self.queued else "", flows=flows, reach=reach,
        )  # fmt: skip

    def _flat(self) -> Group:
        count = self.rng.choices([1, 2, 3], [15, 50, 35])[0]
        sizes = [self.rng.choices([1, 2, 3, 4], [25, 35, 25, 15])[0] for _ in range(count)]
        return self._group(self._roles(sizes), (), root=True)

    def _grouped(self) -> Group:
        outer = [self.rng.randint(1, 2) for _ in range(self.rng.randint(0, 2))]
        children = []
        for _ in range(self.rng.choice([1, 1, 2])):
            sizes = [self.rng.choice([1, 1, 2]) for _ in range(self.rng.choice([1, 1, 2]))]
            children.append(self._group(self._roles(sizes), (), replicas=self.rng.choice([1, 2, 2, 3])))
        return self._group(self._roles(outer), children, root=True)

    def _deep(self) -> Group:
        leaf = self._group(self._roles([self.rng.choice([1, 1, 2])]), (), replicas=self.rng.choice([1, 2, 2]))
        beside = self._roles([1] if self.chance(0.5) else [])
        middle = self._group(beside, [leaf], replicas=self.rng.choice([1, 1, 2, 2]))
        return self._group(self._roles([self.rng.randint(1, 2)] if self.chance(0.6) else []), [middle], root=True)

    def _roles(self, sizes: Sequence[int]) -> list[Role]:
        return [self._role(size) for size in sizes]

    def _role(self, replicas: int) -> Role:
        rng = self.rng
        gpus = rng.choices([0, 1, 2, 4], [10, 45, 30, 15])[0]
        least = replicas
        if self.optional and self.chance(0.9):
            least = 0
        elif self.elastic and self.chance(0.6):
            least = rng.randint(0, replicas)
        elif self.chance(0.01):
            least = replicas + 1
        requests = {GPU: gpus * MILLI_GPU}
        if self.cpu_bound or not gpus or self.chance(0.3):
            requests[CPU] = rng.choice([1500, 3000, 4000, 7000])
        if self.chance(0.1):
            requests[MEMORY] = rng.choice([2**30, 3 * 2**30])
        if self.chance(0.07):
            requests[_FABRIC] = 1
        spread = []
        if self.chance(0.12):
            spread.append(Spread(self.word(), rng.choice([1, 2, 2])))
        return Role(
            self.names.pop(), replicas, least, rng.choice(list(Kind)), Resources.of(requests), self._constraints(),
            tuple(spread),
        )  # fmt: skip

    def _constraints(self) -> NodeConstraints:
        rng = self.rng
        selector: tuple[tuple[str, str], ...] = ()
        affinity: tuple[NodeSelectorTerm, ...] = ()
        tolerations: tuple[Toleration, ...] = ()
        anti: tuple[AntiAffinity, ...] = ()
        if self.chance(0.05):
            selector = (("pool", rng.choice("aab")),)
        if self.chance(0.06):
            affinity = (
                NodeSelectorTerm(labels=(Requirement("pool", rng.choice([Operator.IN, Operator.NOT_IN]), ("a",)),)),
                *rng.choice([(), (), (NodeSelectorTerm(),), (self._own_nodes(),)]),
            )
        if self.chance(0.3):
            tolerations = (Toleration("reserved", exists=True, effect=rng.choice(["", NO_SCHEDULE])),)
        if self.closing and self.chance(0.6):
            tolerations += self._of_states()
        if self.chance(0.06):
            key = rng.choice([HOST_LABEL, self.spec.levels[0].label])
            wanted = PodSelector((Requirement("app", Operator.EXISTS),), rng.choice([(), ("other",)]))
            anti = (AntiAffinity(key, wanted),)
        volumes = tuple(self._volume(number) for number in range(rng.choice([1, 1, 2]))) if self.chance(0.04) else ()
        team = (("team", rng.choice("xy")),)
        return NodeConstraints(selector, affinity, tolerations, anti, labels=team, volumes=volumes)

    def _volume(self, number: int) -> VolumeNodes:
        """A volume on some of the nodes, by name, by pool or by a level; rarely on none."""
        rng = self.rng
        level = rng.choice(self.spec.levels)
        labels = (Requirement("pool", Operator.IN, ("a",)), Requirement(level.label, Operator.EXISTS))
        terms = [
            NodeSelectorTerm(names=(Requirement("metadata.name", Operator.IN, (f"n-{at}",)),))
            for at in rng.sample(range(1, 13), 9)
        ]
        any_of = [terms, [NodeSelectorTerm(labels=(rng.choice(labels),))], [NodeSelectorTerm(labels), terms[0]], []]
        return VolumeNodes(f"default/claim-{number}", tuple(rng.choices(any_of, [50, 30, 18, 2])[0]))

    def _of_states(self) -> tuple[Toleration, ...]:
        """Some ways to tolerate closed nodes; one of them, of another effect, does not."""
        taints = self.rng.sample([UNSCHEDULABLE, NOT_READY, UNREACHABLE], self.rng.choice([1, 1, 2]))
        plain = tuple(
            Toleration(taint.key, exists=self.chance(0.7), effect=self.rng.choice(["", NO_SCHEDULE, NO_EXECUTE]))
            for taint in taints
        )
        return self.rng.choice([plain, plain, (Toleration(exists=True, effect=self.rng.choice(["", NO_SCHEDULE])),)])

    def _own_nodes(self) -> NodeSelectorTerm:
        named = tuple(f"n-{number}" for number in self.rng.sample(range(1, 7), 2))
        return NodeSelectorTerm(names=(Requirement("metadata.name", Operator.IN, named),))

    def _group(self, roles: Sequence[Role], children: Sequence[Group], replicas: int = 1, root: bool = False) -> Group:
        rng = self.rng
        if not roles and not children:
            roles = self._roles([1])
        required = self.word() if self.chance(0.7 if self.lost else 0.15 if root else 0.4) else None
        preferred = self.word() if self.chance(0.42) else None
        if self.chance(0.12):
            preferred = "narrowest"
        spread: tuple[Spread, ...] = ()
        if required is not None and self.chance(0.3 if replicas > 1 else 0.05):
            spread = (Spread(self.word(1, self.spec.find(required)), rng.choice([1, 1, 2])),)
        if self.lost and self.chance(0.7):
            replicas = 1
        least = replicas
        if self.elastic and self.chance(0.6):
            least = rng.randint(1, replicas)
        at_least = None
        if self.optional and self.chance(0.7):
            at_least = 0
        elif self.elastic and self.chance(0.5):
            at_least = rng.randint(0, sum(role.replicas for role in roles) + len(children))
        group = Group(
            f"g{self.names.pop()}", tuple(roles), tuple(children), replicas, least, at_least,
            Pack(required, preferred), spread, multinode=self._is_multinode(roles, children, root),
        )  # fmt: skip
        if replicas > 1 and may_differ(group) and any(each.pack.preferred or each.spread for each in group.walk()):
            return _plain(group)
        return group

    def _is_multinode(self, roles: Sequence[Role], children: Sequence[Group], root: bool) -> bool:
        several = sum(role.replicas for role in roles) > 1
        return not children and self.chance(0.12 if root else 0.6 if several else 0.25)

    def _links(self, roles: Sequence[Role]) -> tuple[tuple[Flow, ...], tuple[Reach, ...]]:
        rng = self.rng
        flows: list[Flow] = []
        reach: list[Reach] = []
        sides = [self._sides(roles) for _ in range(rng.choices([0, 1, 2, 3], [5, 53, 26, 16])[0])]
        for senders, receivers in sides:
            apart = not set(senders) & set(receivers)
            near = apart and self.chance(0.45)
            if near and self.chance(0.35):
                ratio = rng.choice([Fraction(0), Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)])
                pair = (senders, receivers) if self.chance(0.85) else (receivers, senders)
                reach.append(Reach(*pair, self.word(), ratio))
            pattern = Pattern.NEAREST if near else Pattern.ALL_TO_ALL
            flows.append(Flow(senders, receivers, rng.choice(_BYTES), rng.choice(_SHARES), pattern))
        if not reach and self.chance(0.05):
            senders, receivers = self._sides(roles)
            if not set(senders) & set(receivers):
                reach.append(Reach(senders, receivers, self.word(), Fraction(0)))
        return tuple(flows), tuple(reach)

    def _with_collectives(self, root: Group, flows: tuple[Flow, ...]) -> tuple[Flow, ...]:
        """The flows and, mostly, a collective of each multi-node group, or one of all of them."""
        rng = self.rng
        ends = [tuple(role.name for role in group.roles) for group in root.walk() if group.multinode]
        if len(ends) > 1 and self.chance(0.4):
            ends = [tuple(name for names in ends for name in names)]
        chosen = [names for names in ends if self.chance(0.8)]
        kept = () if chosen and self.chance(0.2) else flows
        found = [
            Flow(names, tuple(reversed(names)), rng.choice(_BYTES), rng.choice(_SHARES), Pattern.COLLECTIVE)
            for names in chosen
        ]
        return tuple(rng.sample([*kept, *found], len(kept) + len(found)))

    def _sides(self, roles: Sequence[Role]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        names = self.rng.sample([role.name for role in roles], len(roles))
        if len(names) == 1 or self.chance(0.12):
            both = tuple(names[: self.rng.choice([1, 1, 2])])
            return both, tuple(reversed(both))
        cut = self.rng.choice([1, 1, 1, 2]) if len(names) > 2 else 1
        end = cut + (self.rng.choice([1, 1, 2]) if len(names) > cut + 1 else 1)
        return tuple(names[:cut]), tuple(names[cut:end])

    # The cluster

    def cluster(self, gang: Gang) -> Instance:
        """A cluster in proportion to the gang: sometimes roomy, sometimes a little short, rarely far too small."""
        rng = self.rng
        pods = [role for role in gang.roles for _ in role.pods]
        gpus = [role.requests[GPU] // MILLI_GPU for role in pods]
        factor = rng.choices([0.8, 1.0, 1.3, 1.8, 2.6, 4.0], [1, 5, 14, 33, 32, 15])[0]
        wanted = max(1, round(sum(gpus) * factor))
        sizes = self._parts(wanted, self.nodes, max(gpus))
        numbers = rng.sample(range(1, 13), self.nodes)
        paths = self._paths()
        records: list[NodeRecord] = []
        others: list[BoundPod] = []
        for number, gpu, labels in zip(numbers, sizes, paths, strict=True):
            used = rng.choice([0, 0, 1, 2]) if gpu else 0
            name = f"n-{number}"
            records.append(self._node(name, gpu + used, gang, labels))
            if used or self.chance(0.15):
                others.append(self._outsider(name, used, len(others)))
        queues = self._queues(gang, others) if gang.queue else []
        gang, queues = self._rights(gang, queues)
        gang, members = self._running(gang, records)
        rng.shuffle(records)
        waiting = []
        if self.chance(0.12):
            gang = replace(gang, pod_priority=rng.choice([None, None, -3, 4]))
            waiting = self._nominated(gang, records)
        gang = self._with_links(gang)
        return build_snapshot(records, [*others, *members, *waiting], [self.spec], queues), gang

    def _parts(self, total: int, count: int, least: int) -> list[int]:
        """`total` GPUs over `count` nodes, unequal, in lumps that mostly take a pod."""
        sizes = [0] * count
        left = total
        while left > 0:
            lump = min(left, max(1, self.rng.choice([least, least, least, 1, 2])))
            sizes[self.rng.randrange(count)] += lump
            left -= lump
        return sizes

    def _paths(self) -> list[dict[str, str]]:
        """Labels of each node: values repeat under different parents, and some are missing."""
        rng = self.rng
        missing = 0.4 if self.lost else 0.2 if self.chance(0.25) else 0
        paths = []
        for _ in range(self.nodes):
            labels = {}
            for level in self.spec.levels[:-1]:
                if not self.chance(missing):
                    labels[level.label] = f"{level.name[0]}{rng.randint(1, 2 if level.name != 'rack' else 3)}"
            if self.chance(0.8):
                labels["pool"] = rng.choice("aab")
            paths.append(labels)
        return paths

    def _node(self, name: str, gpus: int, gang: Gang, labels: Mapping[str, str]) -> NodeRecord:
        rng = self.rng
        cpus = [role.requests[CPU] for role in gang.roles if role.requests[CPU]]
        cpu = 64_000
        if self.cpu_bound and cpus and self.chance(0.6):
            cpu = rng.choice([0, 1, 2, 2, 3, 4]) * rng.choice(cpus) + rng.choice([0, 500])
        amounts = {
            GPU: gpus * MILLI_GPU,
            CPU: cpu,
            MEMORY: rng.choice([8, 8, 3]) * 2**30,
            PODS: rng.choices([0, 1], [85, 15])[0] if self.full else rng.choices([110, 4, 2], [85, 8, 7])[0],
        }
        if self.chance(0.85):
            amounts[_FABRIC] = rng.randint(1, 4)
        taints: tuple[Taint, ...] = ()
        if self.chance(0.06):
            effect = rng.choice([NO_SCHEDULE, NO_EXECUTE, "PreferNoSchedule"])
            taints = (Taint("reserved", "yes", effect),)
        is_ready = not self.chance(0.2 if self.closing else 0.02)
        if not is_ready and self.chance(0.4):
            taints = (*taints, UNREACHABLE)
        return NodeRecord(
            name, Resources.of(amounts), labels, taints, is_ready, not self.chance(0.3 if self.closing else 0.03)
        )

    def _outsider(self, node: str, gpus: int, number: int) -> BoundPod:
        rng = self.rng
        namespace = rng.choice(["default", "other"])
        repels: tuple[AntiAffinity, ...] = ()
        if self.chance(0.06):
            wanted = PodSelector((Requirement("team", Operator.IN, ("x",)),), rng.choice([(), ("default",)]))
            repels = (AntiAffinity(HOST_LABEL, wanted),)
        requests = Resources.of({GPU: gpus * MILLI_GPU, CPU: rng.choice([0, 500])})
        queue = rng.choice(["team", "sister", ""]) if self.queued else ""
        return BoundPod(f"{namespace}/other-{number}", node, requests, {"app": "other"}, repels, queue)

    def _nominated(self, gang: Gang, records: Sequence[NodeRecord]) -> list[BoundPod]:
        """Pods that wait for nodes: of higher, lower and equal priority, some of the gang, by name or as they say."""
        rng, found = self.rng, list[BoundPod]()
        names = rng.sample([pod for role in gang.roles for pod in role.pods], 1)
        for number in range(rng.choice([1, 1, 2, 3])):
            pod = self._outsider(rng.choice(records).name, rng.choice([1, 1, 2]), 100 + number)
            if self.chance(0.2) and names and names[0] not in {member.pod for member in gang.running}:
                pod = replace(pod, name=names.pop())
            member_of = gang.name if self.chance(0.1) else ""
            priority = gang.room_priority + rng.choice([-1, 0, 0, 1])
            found.append(replace(pod, gang=member_of, nominated_priority=priority))
        return found

    def _queues(self, gang: Gang, others: Sequence[BoundPod]) -> list[QueueSpec]:
        """Three queues in a line and a sister; limits only on what every pod asks for, above what others hold."""
        asked = Resources.total(role.requests for role in gang.roles for _ in role.pods)

        def limits(held_by: Callable[[BoundPod], bool]) -> dict[str, int]:
            found = {}
            for name in (GPU, CPU):
                least = min((role.requests[name] for role in gang.roles if role.requests[name]), default=0)
                if least and all(role.requests[name] for role in gang.roles) and self.chance(0.5):
                    held = sum(pod.requests[name] for pod in others if held_by(pod))
                    found[name] = held + max(least, asked[name] - self.rng.choice([0, 0, 0, 1, 2]) * least)
            return found

        queues = [
            QueueSpec("team", limits(lambda pod: pod.queue == "team"), "division"),
            QueueSpec("sister", {}, "division"),
            QueueSpec("division", limits(lambda pod: bool(pod.queue)), self.rng.choice(["company", ""])),
            QueueSpec("company", limits(lambda pod: bool(pod.queue))),
        ]
        return self.rng.sample(queues, len(queues))

    def _rights(self, gang: Gang, queues: list[QueueSpec]) -> tuple[Gang, list[QueueSpec]]:
        """Sometimes the gang's queue is for some namespaces only, or is theirs by default and not named."""
        kind = self.rng.choice(["all"] * 12 + ["listed", "closed", "default", "both"]) if queues else "all"
        lists = {
            "listed": {"namespaces": (gang.namespace, "elsewhere")},
            "closed": {"namespaces": ("elsewhere",)},
            "default": {"default_for": (gang.namespace,)},
            "both": {"namespaces": ("elsewhere",), "default_for": ("elsewhere", gang.namespace)},
        }
        found = [replace(queue, **lists.get(kind, {})) if queue.name == gang.queue else queue for queue in queues]
        return (replace(gang, queue="") if kind == "default" else gang), found

    def _running(self, gang: Gang, records: Sequence[NodeRecord]) -> tuple[Gang, list[BoundPod]]:
        """Sometimes a few pods of groups that do not replicate run already, mostly where they could be placed."""
        rng = self.rng
        if not self.chance(0.7 if self.lost else 0.14):
            return gang, []
        fixed = [role for role in _unreplicated(gang.root) if role.pods]
        pods = [(role, pod) for role in fixed for pod in role.pods]
        chosen = rng.sample(pods, min(len(pods), rng.choice([1, 1, 2])))
        homes = {pod: rng.choice(records).name for _, pod in chosen}
        members = [
            BoundPod(pod, homes[pod], role.requests, dict(role.constraints.labels), queue=gang.queue, gang=gang.name)
            for role, pod in chosen
        ]
        return replace(gang, running=tuple(BoundMember(pod, node) for pod, node in homes.items())), members


def _with_devices(snapshot: Snapshot, gang: Gang, rng: random.Random) -> Instance:
    """Some roles ask for another kind of device instead of GPUs, some nodes have it instead of them or beside them.

    The kind is in the table, or added by a setting, or now and then no device at all.
    """
    name = rng.choice([_KNOWN, _ADDED])
    added = (_ADDED,) if rng.random() < 0.9 else ()
    other = {role.name for role in gang.roles if rng.random() < 0.6}
    root = _asking(gang.root, other, name)
    role_of = {pod: role for group in root.walk() for role in group.roles for pod in role.pods}
    records: list[NodeRecord] = []
    replaced: set[str] = set()
    for record in _records(snapshot):
        gpus = record.allocatable[GPU] // MILLI_GPU
        match rng.choice(["gpus", "other", "other", "both"]):
            case "other":
                replaced.add(record.name)
                record = replace(record, allocatable=_instead(record.allocatable, name))
            case "both":
                amounts = Resources.of({**dict(record.allocatable), name: rng.choice([1, 2, gpus])})
                record = replace(record, allocatable=amounts)
        records.append(record)
    pods = [
        replace(pod, requests=role_of[pod.name].requests)
        if pod.name in role_of
        else replace(pod, requests=_instead(pod.requests, name) if pod.node in replaced else pod.requests)
        for pod in snapshot.pods
    ]
    topologies, queues = snapshot.topologies.values(), snapshot.queues.values()
    return build_snapshot(records, pods, topologies, queues, Accelerators(added)), replace(gang, root=root)


def _asking(group: Group, roles: Collection[str], name: str) -> Group:
    """The group with some roles asking for devices called `name` instead of GPUs."""
    own = tuple(
        replace(role, requests=_instead(role.requests, name)) if role.name in roles else role for role in group.roles
    )
    return replace(group, roles=own, groups=tuple(_asking(child, roles, name) for child in group.groups))


def _instead(amounts: Resources, name: str) -> Resources:
    """The amounts with devices called `name` in place of GPUs."""
    return Resources.of({**dict(amounts), GPU: 0, name: amounts[GPU] // MILLI_GPU})


def _records(snapshot: Snapshot) -> list[NodeRecord]:
    """The nodes of a snapshot, one by one."""
    found = []
    for idx, node in enumerate(snapshot.nodes):
        labels = {
            key: column.values[column.codes[idx]] for key, column in snapshot.labels.items() if column.codes[idx] >= 0
        }
        amounts = dict(zip(snapshot.resources, snapshot.allocatable[idx].tolist(), strict=True))
        found.append(
            NodeRecord(
                node, Resources.of(amounts), labels, snapshot.taint_sets[snapshot.taint_codes[idx]],
                ready=bool(snapshot.ready[idx]), schedulable=bool(snapshot.schedulable[idx]),
            )
        )  # fmt: skip
    return found


def _unreplicated(group: Group) -> list[Role]:
    if group.replicas > 1:
        return []
    return [*group.roles, *(role for child in group.groups for role in _unreplicated(child))]


def _plain(group: Group) -> Group:
    """The group without preferred levels and group spread, anywhere inside."""
    return replace(
        group, pack=Pack(group.pack.required), spread=(), groups=tuple(_plain(child) for child in group.groups)
    )


# Renaming


def renamed(snapshot: Snapshot, gang: Gang, rng: random.Random) -> Instance:
    """The same instance with other names of nodes, pods, roles and groups, and with every input order shuffled."""
    names = _Names(snapshot, gang, rng)
    return names.snapshot(), names.gang()


class _Names:
    def __init__(self, snapshot: Snapshot, gang: Gang, rng: random.Random) -> None:
        self.before, self.waiting, self.rng = snapshot, gang, rng
        self.node = self._fresh("host", snapshot.nodes)
        self.role = self._fresh("role", [role.name for role in gang.roles])
        self.group = self._fresh("part", [group.name for group in gang.root.walk()])
        pods = sorted({pod.name for pod in snapshot.pods} | {pod for role in gang.roles for pod in role.pods})
        short = self._fresh("pod", pods)
        self.pod = {pod: f"{pod.partition('/')[0]}/{short[pod]}" for pod in pods}

    def _fresh(self, word: str, old: Sequence[str]) -> dict[str, str]:
        numbers = self.rng.sample(range(1, 10 * len(old) + 1), len(old))
        return {name: f"{word}-{number}" for name, number in zip(old, numbers, strict=True)}

    def _shuffled(self, items: Sequence[_T]) -> list[_T]:
        return self.rng.sample(list(items), len(items))

    def snapshot(self) -> Snapshot:
        before = self.before
        records = []
        for record in _records(before):
            host = record.labels[HOST_LABEL]
            labels = {**record.labels, HOST_LABEL: self.node.get(host, host)}
            records.append(replace(record, name=self.node[record.name], labels=labels))
        pods = [replace(pod, name=self.pod[pod.name], node=self.node[pod.node]) for pod in self._shuffled(before.pods)]
        queues = self._shuffled(list(before.queues.values()))
        nodes, topologies = self._shuffled(records), before.topologies.values()
        return build_snapshot(nodes, pods, topologies, queues, before.accelerators)

    def gang(self) -> Gang:
        gang = self.waiting
        running = tuple(
            BoundMember(self.pod[member.pod], self.node[member.node]) for member in self._shuffled(gang.running)
        )
        return replace(
            gang,
            root=self._group(gang.root),
            flows=tuple(self._flow(flow) for flow in self._shuffled(gang.flows)),
            reach=tuple(self._reach(rule) for rule in self._shuffled(gang.reach)),
            running=running,
        )

    def _group(self, group: Group) -> Group:
        return replace(
            group,
            name=self.group[group.name],
            roles=tuple(self._role(role) for role in self._shuffled(group.roles)),
            groups=tuple(self._group(child) for child in self._shuffled(group.groups)),
        )

    def _role(self, role: Role) -> Role:
        size = role.replicas
        slices = [role.pods[at : at + size] for at in range(0, len(role.pods), size or 1)]
        pods = tuple(self.pod[pod] for each in slices for pod in self._shuffled(each))
        affinity = tuple(
            replace(term, labels=self._on_nodes(term.labels, HOST_LABEL), names=self._on_nodes(term.names, None))
            for term in self._shuffled(role.constraints.affinity)
        )
        selector = tuple(
            (key, self.node.get(value, value) if key == HOST_LABEL else value)
            for key, value in role.constraints.selector
        )
        volumes = tuple(
            replace(
                volume,
                terms=tuple(
                    replace(
                        term, labels=self._on_nodes(term.labels, HOST_LABEL), names=self._on_nodes(term.names, None)
                    )
                    for term in volume.terms
                ),
            )
            for volume in self._shuffled(role.constraints.volumes)
        )
        where = replace(role.constraints, affinity=affinity, selector=selector, volumes=volumes)
        return replace(role, name=self.role[role.name], pods=pods, constraints=where)

    def _on_nodes(self, requirements: Sequence[Requirement], key: str | None) -> tuple[Requirement, ...]:
        return tuple(
            replace(each, values=tuple(self.node.get(value, value) for value in each.values))
            if key is None or each.key == key
            else each
            for each in requirements
        )

    def _flow(self, flow: Flow) -> Flow:
        return replace(flow, senders=self._roles(flow.senders), receivers=self._roles(flow.receivers))

    def _reach(self, rule: Reach) -> Reach:
        return replace(rule, senders=self._roles(rule.senders), receivers=self._roles(rule.receivers))

    def _roles(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.role[name] for name in self._shuffled(names))
