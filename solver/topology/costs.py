"""What a pair of pods pays: transfer time and levels climbed at their lowest common domain."""

from fractions import Fraction
from functools import lru_cache

from solver.domain.accelerators import Accelerators
from solver.domain.gang import Flow, Gang
from solver.domain.levels import Tier
from solver.topology.tree import Tree


@lru_cache(maxsize=4096)
def transfer_ns(flow: Flow, tier: Tier, gpus: int, nodes: int = 1) -> int:
    """Time of the flow's transfers of one request over `tier`, in whole nanoseconds (rounded half to even).

    perRequest · (setup + bytes / min(bandwidth · gpus, bandwidth of a node · nodes)); gpus = the smaller of the two
    engines' devices, or those of a collective's smallest rank, each of which drives its own rail; nodes = the smaller
    number of nodes they lie on, 1 in a collective. 1 GB/s moves one byte in a nanosecond.
    """
    setup = Fraction(tier.setup_us) * 1000
    rate = Fraction(tier.gbps) * gpus
    if tier.node_gbps is not None:
        rate = min(rate, Fraction(tier.node_gbps) * nodes)
    wire = Fraction(flow.bytes) / rate
    return round(flow.per_request * (setup + wire))


def engine_gpus(gang: Gang, accelerators: Accelerators) -> dict[str, int]:
    """Role name → devices of one engine, at least 1: one pod's, or all of a multi-node replica's."""
    found: dict[str, int] = {}
    for group in gang.root.walk():
        own = {role.name: accelerators.devices(role.requests) for role in group.roles}
        together = sum(role.replicas * own[role.name] for role in group.roles)
        found.update((name, max(1, together if group.multinode else gpus)) for name, gpus in own.items())
    return found


def engine_nodes(gang: Gang, accelerators: Accelerators) -> dict[str, int]:
    """Role name → nodes of one engine, at least 1: as many as a multi-node replica has pods with GPUs, else one."""
    found: dict[str, int] = {}
    for group in gang.root.walk():
        ranks = sum(role.replicas for role in group.roles if accelerators.devices(role.requests))
        for role in group.roles:
            found[role.name] = max(1, ranks) if group.multinode else 1
    return found


def rank_gpus(gang: Gang, accelerators: Accelerators) -> dict[str, int]:
    """Role name → GPUs of the smallest rank of its group: the fewest that one of its pods with GPUs has, at least 1."""
    found: dict[str, int] = {}
    for group in gang.root.walk():
        ranks = [accelerators.devices(role.requests) for role in group.roles if role.replicas]
        smallest = min((gpus for gpus in ranks if gpus), default=1)
        found.update(dict.fromkeys((role.name for role in group.roles), smallest))
    return found


def real_levels(bits: int) -> list[int]:
    """Level indices of a path bit set, coarse to fine, the root first."""
    return [level for level in range(bits.bit_length()) if bits >> level & 1]


def pair_ns(tree: Tree, flow: Flow, gpus: int, nodes: int = 1) -> tuple[int, ...]:
    """[level] what the level's own tier costs a pair of this flow, in nanoseconds; as in transfer_ns()."""
    return tuple(transfer_ns(flow, tier, gpus, nodes) for tier in tree.spec.tiers)


def paid_level(costs: tuple[int, ...], bits: int) -> int:
    """The level whose cost a pair pays that meets in a domain with path `bits`.

    D(domain) is the smallest cost among the domain and its ancestors; equal costs name the lowest.
    """
    return min(real_levels(bits), key=lambda level: (costs[level], -level))


def paid(costs: tuple[int, ...], bits: int) -> int:
    """D of a domain with path `bits`: the smallest cost among the domain and its ancestors."""
    return costs[paid_level(costs, bits)]


def capped_costs(costs: tuple[int, ...], level: int | None) -> tuple[int, ...]:
    """Costs for a flow that never crosses `level`: coarser meetings pay what that level pays."""
    if level is None:
        return costs
    inside = min(costs[: level + 1])
    return tuple(inside if at < level else cost for at, cost in enumerate(costs))


def levels_climbed(height: int, bits: int) -> int:
    """Levels from the host up to the domain in which a pair meets; 0 on one node."""
    return height - (bits.bit_length() - 1)
