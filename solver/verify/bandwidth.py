"""Rule `bandwidth` on a finished placement: what every link carries, from where the pods are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from solver.domain.gang import Flow, Pattern
from solver.domain.levels import TopologySpec, decimal
from solver.domain.snapshot import Mask
from solver.verify.placement import Placement

#: Bytes in the G of GB/s.
_GIGA = 10**9


@dataclass(frozen=True, slots=True)
class Load:
    """What one link carries. where: level and domain. out, back: bytes a second; allowed: of each, whole bytes."""

    where: str
    domain: str
    out: Fraction
    back: Fraction
    allowed: int

    @property
    def needed(self) -> Fraction:
        """The fuller direction."""
        return max(self.out, self.back)


def loads(placement: Placement) -> Iterator[Load]:
    """Every link in use by a domain with a pod of a gang that says how many requests it serves, coarse to fine."""
    gang, tree = placement.gang, placement.tree
    if not gang.requests_per_second:
        return
    for level in range(1, tree.height + 1):
        flows = [flow for flow in gang.flows if _crosses(placement, flow, level)]
        domains = placement.domains(level)
        for domain in np.unique(domains).tolist():
            allowed = _allowed(placement, level, domain)
            if allowed is not None:
                inside = domains == domain
                out = sum((_sent_out(placement, flow, inside) for flow in flows), Fraction(0))
                back = sum((_sent_out(placement, flow, ~inside) for flow in flows), Fraction(0))
                yield Load(tree.level_names[level], tree.names[level][domain], out, back, allowed)


def check_bandwidth(placement: Placement) -> Iterator[str]:
    """Rule `bandwidth`: no link carries more than the share of what is left of it, in either direction."""
    for load in loads(placement):
        for what, rate in (("leave", load.out), ("enter", load.back)):
            if rate > load.allowed:
                much = f"{float(rate) / 1e6:.6g} MB/s"
                yield f"{load.where} {load.domain}: {much} {what} it, at most {load.allowed / 1e6:.6g} MB/s may"


def _crosses(placement: Placement, flow: Flow, level: int) -> bool:
    """Whether the flow goes from engine to engine, and no reach rule keeps it inside every domain of the level."""
    if flow.pattern is Pattern.COLLECTIVE:
        return False
    rules = [placement.gang.reach[position] for position in placement.gang.binding(flow)]
    return all(placement.tree.level(rule.level) < level for rule in rules)


def _sent_out(placement: Placement, flow: Flow, inside: Mask) -> Fraction:
    """Bytes a second that the flow sends from the nodes `inside` to the others in use."""
    placement.budget.check()
    sent, received = placement.count(flow.senders), placement.count(flow.receivers)
    rate = (placement.gang.requests_per_second or 0) * flow.per_request * flow.bytes
    senders, receivers = int(sent.sum()), int(received.sum())
    if not senders or not receivers:
        return Fraction(0)
    if flow.pattern is Pattern.NEAREST:
        share = Fraction(int(sent[inside].sum()), senders) - Fraction(int(received[inside].sum()), receivers)
        return rate * max(share, Fraction(0))
    pairs = senders * receivers
    if set(flow.senders) == set(flow.receivers):
        pairs -= senders
    crossing = sum(int(pods) * int(received[~inside].sum()) for pods in sent[inside])
    return rate * Fraction(crossing, pairs) if pairs else Fraction(0)


def _allowed(placement: Placement, level: int, domain: int) -> int | None:
    """Whole bytes a second that the gang may send through the link of a domain, None = it has none."""
    tree, spec = placement.tree, placement.tree.spec
    if not tree.real[level][domain]:
        return None
    nvlink = spec.find("nvl")
    found = []
    if level == tree.height:
        inside = nvlink is not None and tree.real[nvlink][tree.domain_of[nvlink][domain]]
        if spec.node_gbps is not None and not inside:
            found.append(_nics(spec))
    else:
        nodes = int((tree.domain_of[level] == domain).sum())
        found += _uplink(spec, level, nodes)
        if level == nvlink and spec.node_gbps is not None:
            found.append(nodes * _nics(spec))
    return min((_usable(spec, found)), default=None)


def _nics(spec: TopologySpec) -> Fraction:
    """GB/s left of the NICs of a node."""
    return decimal(spec.node_gbps) - decimal(spec.levels[-1].used_gbps)


def _uplink(spec: TopologySpec, level: int, nodes: int) -> list[Fraction]:
    """GB/s left of the uplink of a domain with so many nodes."""
    own = spec.levels[level - 1]
    if own.oversubscription is not None:
        return [nodes * decimal(spec.node_gbps) / decimal(own.oversubscription) - decimal(own.used_gbps)]
    return [] if own.uplink_gbps is None else [decimal(own.uplink_gbps) - decimal(own.used_gbps)]


def _usable(spec: TopologySpec, left: Sequence[Fraction]) -> list[int]:
    return [int(decimal(spec.max_link_share) * max(gbps, Fraction(0)) * _GIGA) for gbps in left]
