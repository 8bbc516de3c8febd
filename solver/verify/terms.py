"""Every objective term, recomputed from the finished placement by its definition."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from solver.domain.accelerators import Accelerators
from solver.domain.gang import Flow, Gang, Group, Pattern, Role
from solver.domain.plan import FlowReport
from solver.domain.replicas import Replica
from solver.domain.snapshot import Ints
from solver.topology.costs import capped_costs, levels_climbed, paid, paid_level
from solver.topology.tree import Tree
from solver.verify.eligibility import open_to
from solver.verify.placement import Placement
from solver.verify.rules import kept
from solver.verify.times import Engine, level_ns


def replicas(placement: Placement) -> tuple[int, int]:
    """Pods above the fewest, and kept replicas of child groups."""
    fewest = placement.fewest.of(placement.gang.root) or 0
    return len(placement.node_of) - fewest, _kept_below(placement, placement.root)


def _kept_below(placement: Placement, replica: Replica) -> int:
    placement.budget.check()
    present = [child for siblings in replica.children for child in siblings if kept(placement, child)]
    return len(present) + sum(_kept_below(placement, child) for child in present)


def _preferring(placement: Placement) -> list[tuple[Group, int]]:
    levels = [(group, placement.tree.preferred_level(group.pack.preferred)) for group in placement.gang.root.walk()]
    return [(group, level) for group, level in levels if level]


def _roles_below(group: Group) -> list[Role]:
    return [role for inner in group.walk() for role in inner.roles]


def containment_steps(placement: Placement) -> int:
    """Replicas not closed at their preferred level, level by level up to below the root."""
    total = 0
    for group, preferred in _preferring(placement):
        present = [replica for replica in placement.replicas[group.name] if id(replica) in placement.nodes_of]
        sizes = {
            role.name: int(placement.counts[role.name].sum()) // len(present)
            for role in _roles_below(group)
            if present and placement.counts[role.name].sum() >= len(present)
        }
        if not sizes:
            continue
        for level in range(1, preferred + 1):
            placement.budget.check()
            whole = [_per_domain(placement, level, placement.counts[role]) // size for role, size in sizes.items()]
            total += len(present) - int(np.min(whole, axis=0).sum())
    return total


def _per_domain(placement: Placement, level: int, counts: Ints) -> Ints:
    """Pods by domain of a level, in no order; those outside of every domain count for nothing."""
    domains = placement.domains(level)
    real = placement.tree.real[level][domains]
    _, position = np.unique(domains[real], return_inverse=True)
    sums = np.zeros(len(position), dtype=np.int64)
    np.add.at(sums, position, counts[real])
    return sums


def containment_domains(placement: Placement) -> int:
    """Preferred-level domains holding a pod of the group, all its replicas together; each node outside them counts."""
    total = 0
    for group, level in _preferring(placement):
        placement.budget.check()
        pods = placement.count([role.name for role in _roles_below(group)])
        outside = ~placement.tree.real[level][placement.domains(level)]
        total += len(placement.by_domain(level, pods)) + int((pods[outside] > 0).sum())
    return total


def fragmentation(placement: Placement) -> int:
    """GPUs still wholly free in every domain that holds a pod, summed over levels below the root."""
    tree, snapshot = placement.tree, placement.snapshot
    whole = snapshot.devices_in(placement.free)
    free = np.where(snapshot.open_nodes, whole, 0)
    extra = _closed_but_tolerated(placement)
    free[extra] = whole[extra]
    for role in placement.gang.roles:
        gpus = snapshot.accelerators.devices(role.requests)
        for pod in role.pods:
            if placement.is_new(pod):
                free[placement.node_of[pod]] -= gpus
    total = 0
    for level in range(1, tree.height + 1):
        touched = np.zeros(len(tree.real[level]), dtype=np.bool_)
        touched[placement.domains(level)] = True
        touched &= tree.real[level]
        total += int(free[touched[tree.domain_of[level]]].sum())
    return total


def _closed_but_tolerated(placement: Placement) -> Ints:
    """Closed nodes that are open to the gang; nodes of one state and one set of taints are alike."""
    snapshot = placement.snapshot
    closed = np.flatnonzero(~snapshot.open_nodes)
    state = snapshot.taint_codes * 4 + snapshot.ready * 2 + snapshot.schedulable
    _, first, kind = np.unique(state[closed], return_index=True, return_inverse=True)
    tolerated = [open_to(snapshot, placement.gang, node) for node in closed[first].tolist()]
    return closed[np.array(tolerated, dtype=np.bool_)[kind]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """A share of a flow's traffic between two roles that meets in a domain with path bits `bits`."""

    sender: str
    receiver: str
    bits: int
    share: Fraction


def all_traffic(placement: Placement, flows: Sequence[Flow]) -> list[list[Traffic]]:
    """The traffic of each flow; flows between the same ends meet alike."""
    found: dict[object, list[Traffic]] = {}
    for flow in flows:
        placement.budget.check()
        key = flow.pattern, flow.senders, flow.receivers
        if key not in found:
            found[key] = traffic(placement, flow)
    return [found[flow.pattern, flow.senders, flow.receivers] for flow in flows]


def traffic(placement: Placement, flow: Flow) -> list[Traffic]:
    """Where the flow's traffic meets; shares add up to 1, or to the part of a collective's replicas with two pods.

    Empty when a side has no pod.
    """
    return _BY_PATTERN[flow.pattern](placement, flow)


def _all_to_all(placement: Placement, flow: Flow) -> list[Traffic]:
    """Every ordered pair of different pods carries the same share; roles that send alike are counted together."""
    engine_of = placement.senders(flow)
    sides = [_alike(names, engine_of) for names in (flow.senders, flow.receivers)]
    found: list[tuple[str, str, int, int]] = []
    for sending in sides[0]:
        for receiving in sides[1]:
            placement.budget.check()
            met = _meetings(placement, sending, receiving)
            found += [(sending[0], receiving[0], bits, number) for bits, number in sorted(met.items()) if number]
    total = sum(number for *_, number in found)
    return [Traffic(sender, receiver, value, Fraction(number, total)) for sender, receiver, value, number in found]


def _alike(names: Sequence[str], engine_of: Mapping[str, Engine]) -> list[list[str]]:
    """Roles whose engines are alike."""
    found: dict[Engine, list[str]] = {}
    for name in names:
        found.setdefault(engine_of[name], []).append(name)
    return list(found.values())


def _meetings(placement: Placement, sending: Sequence[str], receiving: Sequence[str]) -> dict[int, int]:
    """Path bits → the ordered pairs of different pods whose lowest common real domain has that path.

    Pairs that are in one real domain together meet there unless they meet further down already: each domain gives its
    pairs to its path, and takes them from the path of the real domain around it.
    """
    same = set(sending) & set(receiving)
    sent, received = placement.count(sending), placement.count(receiving)
    both = placement.count(sorted(same)) if same else np.zeros_like(sent)
    counts = np.stack([sent, received, both], axis=1)
    met = {1: int(sent.sum()) * int(received.sum()) - int(both.sum())}
    for level in range(1, placement.tree.height + 1):
        position, paths = placement.paths[level]
        sums = np.zeros((len(paths), 3), dtype=np.int64)
        np.add.at(sums, position, counts)
        for bits, (here, there, twice) in zip(paths, sums.tolist(), strict=True):
            pairs = here * there - twice
            if pairs and bits >> level & 1:
                met[bits] = met.get(bits, 0) + pairs
                met[bits ^ (1 << level)] = met.get(bits ^ (1 << level), 0) - pairs
    return met


def _nearest(placement: Placement, flow: Flow) -> list[Traffic]:
    """Traffic stays as low in the tree as the proportions allow: optimal transport on a tree, bottom up."""
    tree = placement.tree
    sent, received = placement.count(flow.senders), placement.count(flow.receivers)
    if not sent.any() or not received.any():
        return []
    found: dict[int, Fraction] = {}
    surplus: dict[int, list[Fraction]] = {}
    whole = int(sent.sum()), int(received.sum())
    for node, a, b in zip(placement.nodes.tolist(), sent.tolist(), received.tolist(), strict=True):
        left, right = Fraction(a, whole[0]), Fraction(b, whole[1])
        bits = int(tree.path_bits[tree.height][node])
        found[bits] = found.get(bits, Fraction(0)) + min(left, right)
        surplus[node] = [left - right]
    for level in range(tree.height - 1, -1, -1):
        above: dict[int, list[Fraction]] = {}
        for domain, values in surplus.items():
            above.setdefault(int(tree.parent[level + 1][domain]), []).extend(values)
        for domain in above:
            if tree.real[level][domain]:  # a void domain is no place: nothing meets there
                left_over = sum(above[domain], Fraction(0))
                met = (sum(map(abs, above[domain]), Fraction(0)) - abs(left_over)) / 2
                bits = int(tree.path_bits[level][domain])
                found[bits] = found.get(bits, Fraction(0)) + met
                above[domain] = [left_over]
        surplus = above
    return [Traffic(flow.senders[0], flow.receivers[0], bits, share) for bits, share in found.items() if share]


def _collective(placement: Placement, flow: Flow) -> list[Traffic]:
    """Every kept replica of the flow's groups carries the same share, met in the lowest domain around all its pods."""
    tree = placement.tree
    found: dict[tuple[str, int], int] = {}
    replicas = 0
    ends = set(flow.senders)
    talking = [group.name for group in placement.gang.root.walk() if any(role.name in ends for role in group.roles)]
    for replica in (replica for name in talking for replica in placement.replicas[name]):
        placement.budget.check()
        nodes = [
            placement.node_of[pod]
            for name, pods in replica.pods.items()
            if name in ends
            for pod in pods
            if pod in placement.node_of
        ]
        replicas += bool(nodes)
        if len(nodes) > 1:
            key = next(iter(replica.pods)), _around(tree, set(nodes))
            found[key] = found.get(key, 0) + 1
    return [Traffic(name, name, bits, Fraction(count, replicas)) for (name, bits), count in found.items()]


def _around(tree: Tree, nodes: set[int]) -> int:
    """Path bits of the lowest real domain that holds all the nodes."""
    for level in range(tree.height, 0, -1):
        first, *others = {int(tree.domain_of[level][node]) for node in nodes}
        if not others and tree.real[level][first]:
            return int(tree.path_bits[level][first])
    return 1


_BY_PATTERN = {
    Pattern.ALL_TO_ALL: _all_to_all,
    Pattern.NEAREST: _nearest,
    Pattern.COLLECTIVE: _collective,
}


def _limit(placement: Placement, flow: Flow) -> int | None:
    """The finest level this flow never crosses, or None."""
    gang = placement.gang
    levels = [placement.tree.level(gang.reach[position].level) for position in gang.binding(flow)]
    return max(levels, default=None)


def _inside(bits: int, limit: int | None) -> int:
    """Path bits of where traffic is said to meet: never coarser than the level it stays inside."""
    if limit is None or bits.bit_length() - 1 >= limit:
        return bits
    return (1 << limit + 1) - 1


def flow_report(placement: Placement, flow: Flow, parts: Sequence[Traffic]) -> FlowReport:
    """Mean transfer time of one flow, and the levels whose cost its traffic pays. parts: its traffic."""
    placement.budget.check()
    tree, engine_of = placement.tree, placement.senders(flow)
    limit = _limit(placement, flow)
    mean, shares = Fraction(0), dict[str, Fraction]()
    for part in parts:
        times = level_ns(tree.spec, flow, engine_of[part.sender], engine_of[part.receiver])
        costs = capped_costs(times, limit)
        mean += part.share * paid(costs, part.bits)
        name = tree.level_names[paid_level(costs, _inside(part.bits, limit))]
        shares[name] = shares.get(name, Fraction(0)) + part.share
    return FlowReport(flow.source, flow.target, shares, mean / 1000)


def proximity(placement: Placement, parts: Iterable[Traffic]) -> Fraction:
    """Mean levels climbed from the host to the meeting domain, summed over flows. parts: the traffic of all of them."""
    height = placement.tree.height
    return sum((part.share * levels_climbed(height, part.bits) for part in parts), Fraction(0))


def proximity_flows(gang: Gang, accelerators: Accelerators) -> tuple[Flow, ...]:
    """The gang's flows; without any, one among all roles that use GPUs."""
    if gang.flows:
        return gang.flows
    users = tuple(role.name for role in gang.roles if accelerators.devices(role.requests))
    return (Flow(users, users, 0),) if users else ()
