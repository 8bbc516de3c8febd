"""Every hard rule, checked on a finished placement. One function per rule; each yields what is violated."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from solver.domain.constraints import NodeConstraints
from solver.domain.gang import Group
from solver.domain.replicas import Replica
from solver.domain.resources import PODS, Resources
from solver.domain.snapshot import QueueSpec
from solver.verify.bandwidth import check_bandwidth
from solver.verify.eligibility import named_levels, objections
from solver.verify.placement import Placement


def check_gang(placement: Placement) -> Iterator[str]:
    """Rule `gang`: every kept replica meets its minimum, everything else has no pod."""
    yield from _check_kept(placement, placement.root)


def kept(placement: Placement, replica: Replica) -> bool:
    """Whether a replica inside a kept parent is kept: it has a pod, or needs none."""
    return id(replica) in placement.nodes_of or placement.fewest.of(replica.group) == 0


def _check_kept(placement: Placement, replica: Replica) -> Iterator[str]:
    placement.budget.check()
    where = f"group {replica.group.name} replica {replica.index}"
    have = 0
    for role in replica.group.roles:
        placed = sum(pod in placement.node_of for pod in replica.pods[role.name])
        have += placed
        if placed < role.min:
            yield f"{where}: role {role.name} has {placed} of at least {role.min} pods"
    children = 0
    for child, siblings in zip(replica.group.groups, replica.children, strict=True):
        present = [sibling for sibling in siblings if kept(placement, sibling)]
        if present and len(present) < child.min_replicas:
            yield f"{where}: group {child.name} keeps {len(present)} of at least {child.min_replicas} replicas"
        children += bool(present)
        for sibling in present:
            yield from _check_kept(placement, sibling)
    if replica.group.min is None and children < len(replica.group.groups):
        yield f"{where}: only {children} of {len(replica.group.groups)} child groups are kept"
    if replica.group.min is not None and have + children < replica.group.min:
        yield f"{where}: {have + children} of at least {replica.group.min} children are placed"


def check_capacity(placement: Placement) -> Iterator[str]:
    """Rule `capacity`: what new pods ask for fits what is free, per node and resource."""
    snapshot = placement.snapshot
    asked: dict[int, dict[str, int]] = {}
    for role in placement.gang.roles:
        each = {**dict(role.requests), PODS: 1}
        for node, pods in Counter(placement.node_of[pod] for pod in role.pods if placement.is_new(pod)).items():
            totals = asked.setdefault(node, {})
            for name, amount in each.items():
                totals[name] = totals.get(name, 0) + pods * amount
    columns = {name: column for column, name in enumerate(snapshot.resources)}
    for node, totals in sorted(asked.items()):
        row = placement.free[node].tolist()
        for name, amount in sorted(totals.items()):
            free = max(row[columns[name]], 0) if name in columns else 0
            if amount > free:
                yield f"node {snapshot.nodes[node]}: {amount} {name} asked of {free} free"


def check_eligible(placement: Placement) -> Iterator[str]:
    """Rule `eligible`: every new pod may use its node."""
    gang, snapshot = placement.gang, placement.snapshot
    levels = named_levels(gang, placement.tree)
    known: dict[tuple[NodeConstraints, frozenset[int]], dict[int, tuple[str, ...]]] = {}
    for role in gang.roles:
        used = {placement.node_of[pod] for pod in role.pods if placement.is_new(pod)}
        level, beside = levels[role.name], placement.nominated
        found = known.setdefault((role.constraints, frozenset(level)), {})  # roles that are alike see nodes alike
        for node in sorted(used):
            placement.budget.check()
            if node not in found:
                found[node] = tuple(objections(snapshot, placement.tree, role, level, node, gang, beside))
            for objection in found[node]:
                yield f"role {role.name} on node {snapshot.nodes[node]}: {objection}"


def check_pack(placement: Placement) -> Iterator[str]:
    """Rule `pack`: each replica of a group with a required level lies in one domain of it."""
    tree = placement.tree
    for group in placement.gang.root.walk():
        level = tree.level(group.pack.required) if group.pack.required else 0
        for replica in placement.replicas[group.name] if level else ():
            placement.budget.check()
            nodes = placement.nodes_of.get(id(replica), frozenset())
            domains = {int(tree.domain_of[level][node]) for node in nodes}
            if len(domains) > 1 or not all(tree.real[level][domain] for domain in domains):
                yield (
                    f"group {replica.group.name} replica {replica.index}: its pods lie in {len(domains)} domains of "
                    f"level {tree.level_names[level]}, or on a node without it"
                )


def check_spread(placement: Placement) -> Iterator[str]:
    """Rule `spread`: at most `max` pods of a role, or replicas of a group, in one domain."""
    tree = placement.tree
    for role in placement.gang.roles:
        for spread in role.spread:
            placement.budget.check()
            level = tree.level(spread.level)
            for domain, pods in placement.by_domain(level, placement.counts[role.name]).items():
                if pods > spread.max:
                    yield f"role {role.name}: {pods} pods in {tree.names[level][domain]}, at most {spread.max}"
    for group in placement.gang.root.walk():
        for spread in group.spread:
            yield from _check_group_spread(placement, group, tree.level(spread.level), spread.max)


def _check_group_spread(placement: Placement, group: Group, level: int, most: int) -> Iterator[str]:
    tree = placement.tree
    replicas: dict[int, int] = {}
    for replica in placement.replicas[group.name]:
        placement.budget.check()
        nodes = placement.nodes_of.get(id(replica), frozenset())
        for domain in {int(tree.domain_of[level][node]) for node in nodes}:
            replicas[domain] = replicas.get(domain, 0) + 1
    for domain, count in sorted(replicas.items()):
        if count > most and tree.real[level][domain]:
            yield f"group {group.name}: {count} replicas in {tree.names[level][domain]}, at most {most}"


def check_reach(placement: Placement) -> Iterator[str]:
    """Rule `reach`: every domain with a sender holds receivers in proportion, and vice versa."""
    tree = placement.tree
    for reach in placement.gang.reach:
        placement.budget.check()
        level = tree.level(reach.level)
        senders, receivers = placement.count(reach.senders), placement.count(reach.receivers)
        sent, received = placement.by_domain(level, senders), placement.by_domain(level, receivers)
        for domain in sorted(sent.keys() | received.keys()):
            here, there = sent.get(domain, 0), received.get(domain, 0)
            name = tree.names[level][domain]
            if not (here and there):
                yield f"{name}: {here} senders and {there} receivers of {reach.senders} → {reach.receivers}"
            elif there * int(senders.sum()) < reach.ratio * here * int(receivers.sum()):
                yield f"{name}: {there} receivers for {here} senders fall short of ratio {reach.ratio}"
        located = np.array([tree.real[level][domain] for domain in placement.domains(level)], dtype=np.bool_)
        if ((senders + receivers)[~located] > 0).any():
            yield f"a pod of {reach.senders} → {reach.receivers} is on a node without level {reach.level}"


def check_queue(placement: Placement) -> Iterator[str]:
    """Rule `queue`: the gang may use its queue, and with its other pods fits the limits of it and its ancestors."""
    queues, namespace = placement.snapshot.queues, placement.gang.namespace
    defaults = _default_queues(queues)
    own = placement.gang.queue or defaults.get(namespace, "")
    if not queues or not own:
        return
    if own not in queues:
        yield f"queue {own} does not exist"
        return
    if queues[own].namespaces and namespace not in (*queues[own].namespaces, *queues[own].default_for):
        yield f"queue {own} is not for namespace {namespace}"
    held: dict[str, int] = {}
    for role in placement.gang.roles:
        pods = int(placement.counts[role.name].sum())
        for name, amount in role.requests:
            held[name] = held.get(name, 0) + pods * amount
    for queue in lineage(queues[own], dict(queues)):
        below = {name for name, other in queues.items() if queue in lineage(other, dict(queues))}
        others = dict(Resources.total(_foreign_pods(placement, below, defaults)))
        for name, limit in sorted(queue.limits.items()):
            if held.get(name, 0) and held[name] + others.get(name, 0) > limit:
                yield f"queue {queue.name}: {held[name]} {name} on top of {others.get(name, 0)} exceed limit {limit}"


def _foreign_pods(placement: Placement, queues: set[str], defaults: Mapping[str, str]) -> Iterator[Resources]:
    for pod in placement.snapshot.pods:
        if pod.is_nominated or placement.gang.runs(pod.name, pod.node):
            continue
        if (pod.queue or (defaults.get(pod.namespace, "") if defaults else "")) in queues:
            yield pod.requests


def _default_queues(queues: Mapping[str, QueueSpec]) -> dict[str, str]:
    """Namespace → the first queue by name that is its default."""
    found: dict[str, str] = {}
    for name in sorted(queues):
        for namespace in queues[name].default_for:
            found.setdefault(namespace, name)
    return found


def lineage(queue: QueueSpec, queues: dict[str, QueueSpec]) -> list[QueueSpec]:
    """The queue and its ancestors, innermost first; a loop or an unknown parent ends it."""
    line = [queue]
    while line[-1].parent in queues and queues[line[-1].parent] not in line:
        line.append(queues[line[-1].parent])
    return line


RULES: dict[str, Callable[[Placement], Iterator[str]]] = {
    "gang": check_gang,
    "capacity": check_capacity,
    "eligible": check_eligible,
    "pack": check_pack,
    "spread": check_spread,
    "reach": check_reach,
    "queue": check_queue,
    "bandwidth": check_bandwidth,
}
"""Rule id → its check, in the order of the reference."""
