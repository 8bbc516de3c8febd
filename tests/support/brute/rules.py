"""The hard rules of docs/semantics.md on an explicit map from pod names to nodes, running members included."""

from collections import Counter
from collections.abc import Iterable, Mapping

from solver.domain.pods import BoundPod
from solver.domain.resources import PODS
from support.brute.bandwidth import bandwidth_holds
from support.brute.trees import held, kept_replicas
from support.brute.world import Domain, World

Where = Mapping[str, int]


def violated(world: World, where: Where) -> list[str]:
    """Names of the rules that the map breaks, in the order of the reference."""
    checks = {
        "gang": kept_replicas(world.root, where, world.running) is not None,
        "capacity": capacity_holds(world, where),
        "eligible": all(
            node in world.eligible[world.role_of[pod].name] for pod, node in where.items() if pod not in world.running
        ),
        "pack": pack_holds(world, where),
        "spread": spread_holds(world, where),
        "reach": reach_holds(world, where),
        "queue": queue_holds(world, where),
        "bandwidth": bandwidth_holds(world, where),
    }
    return [rule for rule, holds in checks.items() if not holds]


def capacity_holds(world: World, where: Where) -> bool:
    """Rule 2: on each node and resource the new pods fit what is free."""
    taken: Counter[tuple[int, str]] = Counter()
    for pod, node in where.items():
        if pod not in world.running:
            for resource, amount in world.demand[world.role_of[pod].name].items():
                taken[node, resource] += amount
    return all(amount <= world.room[node].get(resource, 0) for (node, resource), amount in taken.items())


def pack_holds(world: World, where: Where) -> bool:
    """Rule 4: the pods of one replica lie in one domain of the required level."""
    for replica in world.replicas:
        word = replica.group.pack.required
        if word is not None:
            domains = {world.domain(where[pod], world.level(word)) for pod in held(where, replica)}
            if len(domains) > 1 or None in domains:
                return False
    return True


def spread_holds(world: World, where: Where) -> bool:
    """Rule 5: no domain holds more pods of a role, or replicas of a group, than allowed."""
    for role in world.gang.roles:
        for spread in role.spread:
            level = world.level(spread.level)
            pods = _domains(world.domain(where[pod], level) for pod in role.pods if pod in where)
            if any(count > spread.max for count in pods.values()):
                return False
    for group in world.gang.root.walk():
        for spread in group.spread:
            level = world.level(spread.level)
            replicas: Counter[Domain] = Counter()
            for replica in world.replicas:
                if replica.group is group:
                    replicas.update(set(_domains(world.domain(where[p], level) for p in held(where, replica))))
            if any(count > spread.max for count in replicas.values()):
                return False
    return True


def reach_holds(world: World, where: Where) -> bool:
    """Rule 6: senders and receivers share every domain of the level, in proportion."""
    for rule in world.gang.reach:
        level = world.level(rule.level)
        senders = [where[pod] for pod in where if world.role_of[pod].name in rule.senders]
        receivers = [where[pod] for pod in where if world.role_of[pod].name in rule.receivers]
        if any(world.domain(node, level) is None for node in (*senders, *receivers)):
            return False  # outside every domain of the level its traffic would cross it
        sending = _domains(world.domain(node, level) for node in senders)
        receiving = _domains(world.domain(node, level) for node in receivers)
        if set(sending) != set(receiving):
            return False
        for domain, sent in sending.items():
            if receiving[domain] * len(senders) < rule.ratio * sent * len(receivers):
                return False
    return True


def queue_holds(world: World, pods: Iterable[str]) -> bool:
    """Rule 7: the gang may use its queue, and fits the limits of it and of every queue above it."""
    snapshot, gang = world.snapshot, world.gang
    own = queue_named(world, gang.queue, gang.namespace)
    if not own or not snapshot.queues:
        return True
    if own not in snapshot.queues:
        return False
    allowed = [*snapshot.queues[own].namespaces, *snapshot.queues[own].default_for]
    if snapshot.queues[own].namespaces and gang.namespace not in allowed:
        return False
    placed = list(pods)
    for name in queue_line(world, own):
        used: Counter[str] = Counter()
        for pod in placed:
            used.update(world.demand[world.role_of[pod].name])
        for outsider in world.outsiders:
            if name in queue_line(world, queue_named(world, outsider.queue, outsider.name.split("/")[0])):
                used.update(_held_by(outsider))
        if any(used[resource] > limit for resource, limit in snapshot.queues[name].limits.items()):
            return False
    return True


def queue_named(world: World, named: str, namespace: str) -> str:
    """The queue that is named, else the first that a namespace has by default, else none."""
    defaults = sorted(queue.name for queue in world.snapshot.queues.values() if namespace in queue.default_for)
    return named or (defaults[0] if defaults else "")


def queue_line(world: World, name: str) -> list[str]:
    """A queue and all its ancestors."""
    line: list[str] = []
    while name in world.snapshot.queues and name not in line:
        line.append(name)
        name = world.snapshot.queues[name].parent
    return line


def _held_by(pod: BoundPod) -> dict[str, int]:
    return {**{name: amount for name, amount in pod.requests if name != PODS}, PODS: 1}


def _domains(domains: Iterable[Domain | None]) -> Counter[Domain]:
    """How often each real domain occurs."""
    return Counter(domain for domain in domains if domain is not None)
