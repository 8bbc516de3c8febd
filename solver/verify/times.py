"""What a transfer takes between two engines, from the definition: the slowest of the four ends decides."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from solver.domain.accelerators import Accelerators
from solver.domain.gang import Flow, Gang
from solver.domain.levels import Tier, TopologySpec


@dataclass(frozen=True, slots=True)
class Engine:
    """What sends and receives together. gpus: its devices; nodes: those it lies on, each with its own NICs."""

    gpus: int
    nodes: int


def engines(gang: Gang, accelerators: Accelerators) -> dict[str, Engine]:
    """Role name → its engine: one pod, or all pods with GPUs of a replica of a multi-node group, at least 1 of each."""
    found: dict[str, Engine] = {}
    for group in gang.root.walk():
        own = {role.name: accelerators.devices(role.requests) for role in group.roles}
        users = [(role.replicas, own[role.name]) for role in group.roles if own[role.name]]
        whole = Engine(max(1, sum(pods * gpus for pods, gpus in users)), max(1, sum(pods for pods, _ in users)))
        for role in group.roles:
            found[role.name] = whole if group.multinode else Engine(max(1, own[role.name]), 1)
    return found


def ranks(gang: Gang, accelerators: Accelerators) -> dict[str, Engine]:
    """Role name → what sends in a collective: each pod by itself, as fast as the one of its group with fewest GPUs."""
    found: dict[str, Engine] = {}
    for group in gang.root.walk():
        sizes = [accelerators.devices(role.requests) for role in group.roles if role.replicas]
        slowest = Engine(min(filter(None, sizes), default=1), 1)
        found.update({role.name: slowest for role in group.roles})
    return found


def level_ns(spec: TopologySpec, flow: Flow, one: Engine, other: Engine) -> tuple[int, ...]:
    """[level] nanoseconds that one request's transfers of the flow take if the level's own tier carries them."""
    return tuple(_time_ns(flow, tier, one, other) for tier in spec.tiers)


@lru_cache(maxsize=4096)
def _time_ns(flow: Flow, tier: Tier, one: Engine, other: Engine) -> int:
    slowest = Fraction(0)
    for end in (one, other):
        rates = [Fraction(tier.gbps) * end.gpus]
        if tier.node_gbps is not None:
            rates.append(Fraction(tier.node_gbps) * end.nodes)
        slowest = max(slowest, *(flow.bytes / rate for rate in rates))
    return round((1000 * Fraction(tier.setup_us) + slowest) * flow.per_request)
