"""What simpler placers would answer: first fit, greedy by added transfer cost, lowest domain that fits.

All of them place pod by pod and never revisit a pod or a sibling group; they only try the next domain of a group
with a pack rule. They honour eligibility, capacity, required pack and the spread of roles while placing; an answer
that breaks any other rule counts as none. A gang that does not fit with all its pods is tried with its minimum.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from solver.domain.accelerators import device_unit
from solver.domain.gang import Flow, Gang, Group, Pattern, Role
from solver.domain.levels import TopologySpec
from solver.domain.naming import natural_key
from solver.domain.plan import Assignment
from solver.domain.replicas import Replica, root_replica
from solver.domain.resources import GPU, MILLI_GPU, PODS
from solver.domain.snapshot import Ints, Mask, Snapshot
from solver.topology.costs import engine_gpus, paid, pair_ns, rank_gpus
from solver.topology.tree import Tree, build_tree
from solver.verify.checker import TERMS, verify
from solver.verify.eligibility import named_levels, objections

Answer = tuple[Assignment, ...]
Floats = npt.NDArray[np.float64]


def first_fit(snapshot: Snapshot, gang: Gang, spec: TopologySpec) -> Answer | None:
    """Pod by pod in declared order, each on the first node in natural order that takes it."""
    desk = Desk.of(snapshot, gang, spec)
    return _best(desk, [FirstFit(desk)])


def greedy(snapshot: Snapshot, gang: Gang, spec: TopologySpec) -> Answer | None:
    """Pod by pod, roles in turn, each where it adds the least transfer time to the pods already placed."""
    desk = Desk.of(snapshot, gang, spec)
    return _best(desk, [Greedy(desk)])


def lowest_domain(snapshot: Snapshot, gang: Gang, spec: TopologySpec) -> Answer | None:
    """The lowest domain that can hold the gang, fullest first; inside it pods go onto the fullest nodes.

    This is what topology-aware schedulers do. The order of roles is the one, of three, that favours it.
    """
    desk = Desk.of(snapshot, gang, spec)
    return _best(desk, [LowestDomain(desk, order) for order in ("declared", "largest", "smallest")])


@dataclass
class Desk:
    """The state all placers share: what is free, what is eligible, what is placed so far.

    free: [nodes, resources]. need: role → [resources]. allowed: role → [nodes]. node_of: pod → node index.
    """

    snapshot: Snapshot
    gang: Gang
    tree: Tree
    free: Ints
    need: Mapping[str, Ints]
    allowed: Mapping[str, Mask]
    node_of: dict[str, int] = field(default_factory=dict)
    role_at: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Snapshot, gang: Gang, spec: TopologySpec) -> "Desk":
        """An empty desk; running members are placed where they run."""
        tree = build_tree(snapshot, spec)
        need = {role.name: _need(snapshot, role) for role in gang.roles}
        desk = cls(snapshot, gang, tree, snapshot.free.copy(), need, eligible_nodes(snapshot, tree, gang))
        desk.clear()
        return desk

    def clear(self) -> None:
        """Forget everything placed but the running members."""
        self.free = np.maximum(self.snapshot.free, 0)
        self.node_of, self.role_at = {}, {role.name: [] for role in self.gang.roles}
        role_of = {pod: role.name for role in self.gang.roles for pod in role.pods}
        for member in self.gang.running:
            node = self.snapshot.node_idx[member.node]
            self.node_of[member.pod] = node
            self.role_at[role_of[member.pod]].append(node)

    def put(self, role: Role, pod: str, node: int) -> None:
        """Place one pod."""
        self.free[node] -= self.need[role.name]
        self.node_of[pod] = node
        self.role_at[role.name].append(node)

    def saved(self) -> "Desk":
        """A copy to go back to."""
        at = {role: list(nodes) for role, nodes in self.role_at.items()}
        return replace(self, free=self.free.copy(), node_of=dict(self.node_of), role_at=at)

    def restore(self, saved: "Desk") -> None:
        """Go back to a copy."""
        self.free, self.node_of, self.role_at = saved.free, saved.node_of, saved.role_at

    def room(self, role: Role, mask: Mask) -> Mask:
        """[nodes] where one more pod of the role fits now, inside `mask`."""
        fits: Mask = mask & self.allowed[role.name] & (self.free >= self.need[role.name]).all(axis=1)
        for spread in role.spread:
            level = self.tree.level(spread.level)
            domains = self.tree.domain_of[level]
            held = np.bincount(domains[self.role_at[role.name]], minlength=len(self.tree.names[level]))
            fits &= held[domains] < spread.max
        return fits

    @property
    def free_gpus(self) -> Ints:
        """[nodes] free devices of every kind now, in thousandths, nothing on closed nodes."""
        free = np.zeros(len(self.snapshot.nodes), dtype=np.int64)
        for name in self.snapshot.accelerators.among(self.snapshot.resources):
            free += self.free[:, self.snapshot.resources.index(name)] * (MILLI_GPU // device_unit(name))
        return np.where(self.snapshot.open_nodes, free, 0)

    def gpus_of(self, role: Role) -> int:
        """Devices of one pod, in thousandths."""
        counts = self.snapshot.accelerators.counts
        return sum(amount * (MILLI_GPU // device_unit(name)) for name, amount in role.requests if counts(name))


class Placer(ABC):
    """What tells the placers apart: the order of pods, of domains, and the node for one pod."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def pods(self, replica: Replica) -> list[tuple[Role, str]]:
        """New pods of one replica's own roles, in the order in which they are placed."""
        return [
            (role, pod)
            for role in replica.group.roles
            for pod in replica.pods[role.name]
            if pod not in self.desk.node_of
        ]

    def levels(self, group: Group, is_root: bool) -> list[int]:
        """Levels whose domains may hold one replica of the group, in the order they are tried; 0 is anywhere."""
        return [self.desk.tree.level(group.pack.required) if group.pack.required else 0]

    def ordered(self, domains: Sequence[int], free: Ints) -> list[int]:
        """The order in which domains with `free` GPUs are tried."""
        return list(domains)

    @abstractmethod
    def node(self, role: Role, room: Mask) -> int:
        """The node for one pod among those with room."""


class FirstFit(Placer):
    """Everything in natural order."""

    def node(self, role: Role, room: Mask) -> int:
        """The first node."""
        return int(np.flatnonzero(room)[0])


class LowestDomain(Placer):
    """Low domains before high ones, full ones before empty ones."""

    def __init__(self, desk: Desk, order: str) -> None:
        super().__init__(desk)
        self.order = order

    def pods(self, replica: Replica) -> list[tuple[Role, str]]:
        """In the chosen order of roles."""
        pods = super().pods(replica)
        sign = {"declared": 0, "largest": -1, "smallest": 1}[self.order]
        return sorted(pods, key=lambda entry: sign * self.desk.gpus_of(entry[0]))

    def levels(self, group: Group, is_root: bool) -> list[int]:
        """From the preferred level, else the host, up to the required one, else the root."""
        tree, pack = self.desk.tree, group.pack
        if not (pack.required or pack.preferred or is_root):
            return [0]
        highest = tree.level(pack.required) if pack.required else 0
        lowest = tree.preferred_level(pack.preferred) or tree.height
        return list(range(max(lowest, highest), highest - 1, -1))

    def ordered(self, domains: Sequence[int], free: Ints) -> list[int]:
        """Fullest first."""
        return sorted(domains, key=lambda domain: (free[domain], domain))

    def node(self, role: Role, room: Mask) -> int:
        """The fullest node."""
        nodes = np.flatnonzero(room)
        return int(nodes[np.argmin(self.desk.free_gpus[nodes])])


class Greedy(Placer):
    """Cheapest node for one pod after the other."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        engine, rank = (of(desk.gang, desk.snapshot.accelerators) for of in (engine_gpus, rank_gpus))
        self.links = [
            link
            for flow in desk.gang.flows
            for link in _links(desk.tree, desk.gang, flow, rank if flow.pattern is Pattern.COLLECTIVE else engine)
        ]

    def pods(self, replica: Replica) -> list[tuple[Role, str]]:
        """Roles in turn, each at its own pace, so that partners meet early."""
        pods = super().pods(replica)
        counts: dict[str, int] = {}
        turns = []
        for role, pod in pods:
            position = counts[role.name] = counts.get(role.name, 0) + 1
            turns.append((position / len(replica.pods[role.name]), role, pod))
        return [(role, pod) for _, role, pod in sorted(turns, key=lambda turn: turn[0])]

    def ordered(self, domains: Sequence[int], free: Ints) -> list[int]:
        """Emptiest first."""
        return sorted(domains, key=lambda domain: (-free[domain], domain))

    def node(self, role: Role, room: Mask) -> int:
        """The cheapest node; among equals the nearest to the gang, then the emptiest rack and the fullest node."""
        tree, free = self.desk.tree, self.desk.free_gpus
        nodes = np.flatnonzero(room)
        racks = tree.domain_of[max(tree.height - 1, 0)]
        rack_free = np.bincount(racks, weights=free)[racks]
        apart = self._apart()
        order = np.lexsort((nodes, free[nodes], -rack_free[nodes], apart[nodes], self._added(role)[nodes]))
        return int(nodes[order[0]])

    def _apart(self) -> Floats:
        """[nodes] levels climbed to all pods of the gang placed so far."""
        tree = self.desk.tree
        steps = tuple(tree.height - level for level in range(tree.height + 1))
        apart: Floats = np.zeros(len(self.desk.snapshot.nodes))
        for node in self.desk.node_of.values():
            apart += _cost_from(tree, node, steps)
        return apart

    def _added(self, role: Role) -> Floats:
        """[nodes] transfer time that a pod of the role would add, in nanoseconds."""
        added: Floats = np.zeros(len(self.desk.snapshot.nodes))
        for own, partner, costs, weight in self.links:
            if own == role.name:
                for node in self.desk.role_at[partner]:
                    added += weight * _cost_from(self.desk.tree, node, costs)
        return added


def eligible_nodes(snapshot: Snapshot, tree: Tree, gang: Gang) -> dict[str, Mask]:
    """Role name → [nodes] that its pods may use, capacity aside."""
    levels = {name: frozenset(levels) for name, levels in named_levels(gang, tree).items()}
    found: dict[tuple[object, frozenset[int]], Mask] = {}
    for role in gang.roles:
        key = (role.constraints, levels[role.name])
        if key not in found:
            found[key] = _eligible(snapshot, tree, gang, role, levels[role.name])
    return {role.name: found[role.constraints, levels[role.name]] for role in gang.roles}


def _eligible(snapshot: Snapshot, tree: Tree, gang: Gang, role: Role, named: frozenset[int]) -> Mask:
    mask: Mask = snapshot.open_nodes.copy()
    for level in named if tree.spec.discovered else range(1, max(named, default=0) + 1):
        mask &= tree.real[level][tree.domain_of[level]]
    tolerated = [
        all(not taint.repels or any(t.tolerates(taint) for t in role.constraints.tolerations) for taint in taints)
        for taints in snapshot.taint_sets
    ]
    mask = mask & np.array(tolerated)[snapshot.taint_codes]
    for node in np.flatnonzero(mask).tolist() if _is_particular(snapshot, role) else ():
        mask[node] = next(objections(snapshot, tree, role, named, node, gang), None) is None
    return mask


def _is_particular(snapshot: Snapshot, role: Role) -> bool:
    """Whether anything but closed nodes, levels and taints can exclude a node."""
    own = role.constraints
    return bool(own.selector or own.affinity or own.anti_affinity or any(pod.anti_affinity for pod in snapshot.pods))


def _need(snapshot: Snapshot, role: Role) -> Ints:
    """[resources] of one pod; a resource that no node has makes the row unfittable."""
    need = np.zeros(len(snapshot.resources), dtype=np.int64)
    position = {name: idx for idx, name in enumerate(snapshot.resources)}
    for name, amount in role.requests:
        need[position.get(name, position[GPU])] += amount if name in position else np.int64(2) ** 60
    need[position[PODS]] = 1
    return need


def _best(desk: Desk, placers: Sequence[Placer]) -> Answer | None:
    """The best valid answer of several placers, complete gangs before minimal ones."""
    whole = root_replica(desk.gang)
    for wanted in (whole, _minimum(whole)):
        answers = [answer for placer in placers if (answer := _attempt(desk, placer, wanted)) is not None]
        rated = [(value, answer) for answer in answers if (value := _rating(desk, answer)) is not None]
        if rated:
            return min(rated, key=lambda entry: entry[0])[1]
    return None


def _rating(desk: Desk, answer: Answer) -> tuple[Fraction, ...] | None:
    """The terms, smaller is better; None for an answer that breaks a rule."""
    found = verify(desk.snapshot, desk.gang, desk.tree.spec, answer, desk.tree)
    if found.violations:
        return None
    return tuple(-found.objective[term] if term == "replicas" else found.objective[term] for term in TERMS)


def _attempt(desk: Desk, placer: Placer, wanted: Replica) -> Answer | None:
    desk.clear()
    running = set(desk.node_of)
    if not _place(desk, placer, wanted, np.ones(len(desk.snapshot.nodes), dtype=np.bool_), is_root=True):
        return None
    role_of = {pod: role.name for role in desk.gang.roles for pod in role.pods}
    new = sorted((pod for pod in desk.node_of if pod not in running), key=natural_key)
    return tuple(Assignment(pod, role_of[pod], desk.snapshot.nodes[desk.node_of[pod]]) for pod in new)


def _place(desk: Desk, placer: Placer, replica: Replica, inside: Mask, is_root: bool = False) -> bool:
    """Place one replica in the first candidate domain that takes it."""
    for level in placer.levels(replica.group, is_root):
        for mask in _domains(desk, placer, replica, level, inside):
            before = desk.saved()
            if _fill(desk, placer, replica, mask):
                return True
            desk.restore(before)
    return False


def _domains(desk: Desk, placer: Placer, replica: Replica, level: int, inside: Mask) -> Iterator[Mask]:
    """Masks of the candidate domains at a level; those without the GPUs or the running members are skipped."""
    tree = desk.tree
    domain_of, count = tree.domain_of[level], len(tree.names[level])
    free = np.bincount(domain_of, weights=np.where(inside, desk.free_gpus, 0), minlength=count).astype(np.int64)
    new = [pod for pod in replica.all_pods() if pod not in desk.node_of]
    role_of = {pod: role for role in desk.gang.roles for pod in role.pods}
    wanted = sum(desk.gpus_of(role_of[pod]) for pod in new)
    fixed = {int(domain_of[desk.node_of[pod]]) for pod in replica.all_pods() if pod in desk.node_of}
    fit = [domain for domain in np.flatnonzero((free >= wanted) & tree.real[level]).tolist() if fixed <= {domain}]
    for domain in placer.ordered(fit, free):
        yield inside & (domain_of == domain)


def _fill(desk: Desk, placer: Placer, replica: Replica, mask: Mask) -> bool:
    """Own pods first, then child groups one after the other."""
    for role, pod in placer.pods(replica):
        room = desk.room(role, mask)
        if not room.any():
            return False
        desk.put(role, pod, placer.node(role, room))
    return all(_place(desk, placer, child, mask) for siblings in replica.children for child in siblings)


def _minimum(replica: Replica) -> Replica:
    """The replica with every role and every child group at its minimum, lowest names first."""
    pods = {
        role.name: tuple(sorted(replica.pods[role.name], key=natural_key)[: role.min]) for role in replica.group.roles
    }
    children = tuple(
        tuple(_minimum(child) for child in siblings[: siblings[0].group.min_replicas])
        for siblings in replica.children
        if siblings
    )
    return replace(replica, pods=pods, children=children)


def _links(
    tree: Tree, gang: Gang, flow: Flow, gpus: Mapping[str, int]
) -> Iterator[tuple[str, str, tuple[int, ...], float]]:
    """(role, partner, costs by level, weight) in both directions of a flow; of a collective between all its pods alike.

    gpus: GPUs that send together, by role.
    """
    count = {role.name: len(role.pods) for role in gang.roles}
    pairs = sum(count[name] for name in flow.senders) * sum(count[name] for name in flow.receivers)
    weight = 1 / max(1, pairs)
    for sender in flow.senders:
        for receiver in flow.receivers:
            costs = pair_ns(tree, flow, min(gpus[sender], gpus[receiver]))
            yield sender, receiver, costs, weight
            if sender != receiver:
                yield receiver, sender, costs, weight


def _cost_from(tree: Tree, node: int, costs: tuple[int, ...]) -> Floats:
    """[nodes] what a pair of pods pays of which one is on `node`."""
    found: Floats = np.full(len(tree.domain_of[0]), float(costs[0]))
    for level in range(1, tree.height + 1):
        domain = int(tree.domain_of[level][node])
        if tree.real[level][domain]:
            found[tree.domain_of[level] == domain] = paid(costs, int(tree.path_bits[level][domain]))
    return found
