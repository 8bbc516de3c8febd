"""Rule `bandwidth` of docs/semantics.md on an explicit map from pod names to nodes: pair by pair, link by link."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction

from solver.domain.gang import Flow, Pattern
from support.brute.world import Domain, World

Where = Mapping[str, int]


def bandwidth_holds(world: World, where: Where) -> bool:
    """Whether no link carries more than the gang may send through it, in either direction."""
    if not world.gang.requests_per_second:
        return True
    for level, domain, allowed in links(world):
        inside = {pod for pod, node in where.items() if world.domain(node, level) == domain}
        out = sum(_bytes_out(world, where, flow, level, inside) for flow in world.gang.flows)
        back = sum(_bytes_out(world, where, flow, level, set(where) - inside) for flow in world.gang.flows)
        if max(out, back) > allowed:
            return False
    return True


def links(world: World) -> Iterator[tuple[int, Domain, int]]:
    """(level, domain, bytes a second that the gang may send through its link) of every link there is."""
    spec = world.spec
    share = _written(spec.max_link_share)
    nvlink = next((at for at, level in enumerate(spec.levels, 1) if level.answers_to("nvl")), None)
    nics = None
    if spec.node_gbps is not None:
        nics = max(Fraction(0), _written(spec.node_gbps) - _written(spec.levels[-1].used_gbps or 0))
    for at, level in enumerate(spec.levels, 1):
        nodes: dict[Domain, list[int]] = {}
        for node in world.nodes:
            domain = world.domain(node, at)
            if domain is not None:
                nodes.setdefault(domain, []).append(node)
        for domain, inside in nodes.items():
            left = []
            if level.uplink_gbps is not None:
                left.append(_written(level.uplink_gbps) - _written(level.used_gbps or 0))
            if level.oversubscription is not None:
                together = len(inside) * _written(spec.node_gbps or 0)
                left.append(together / _written(level.oversubscription) - _written(level.used_gbps or 0))
            if at == nvlink and nics is not None:
                left.append(len(inside) * nics)
            own_nics = at == world.height and (nvlink is None or world.domain(inside[0], nvlink) is None)
            if own_nics and nics is not None:
                left.append(nics)
            for gbps in left:
                yield at, domain, int(max(Fraction(0), gbps) * share * 10**9)


def _written(value: float) -> Fraction:
    return Fraction(Decimal(repr(value)))


def _bytes_out(world: World, where: Where, flow: Flow, level: int, inside: set[str]) -> Fraction:
    """Bytes a second from the pods inside to those outside; a collective's are not counted."""
    if flow.pattern is Pattern.COLLECTIVE:
        return Fraction(0)
    if any(rule.binds(flow) and world.level(rule.level) >= level for rule in world.gang.reach):
        return Fraction(0)
    senders = [pod for pod in where if world.role_of[pod].name in flow.senders]
    receivers = [pod for pod in where if world.role_of[pod].name in flow.receivers]
    if not senders or not receivers:
        return Fraction(0)
    rate = (world.gang.requests_per_second or 0) * flow.per_request * flow.bytes
    if flow.pattern is Pattern.NEAREST:
        sent = Fraction(sum(pod in inside for pod in senders), len(senders))
        received = Fraction(sum(pod in inside for pod in receivers), len(receivers))
        return rate * max(Fraction(0), sent - received)
    pairs = [(one, other) for one in senders for other in receivers if one != other]
    leaving = [pair for pair in pairs if pair[0] in inside and pair[1] not in inside]
    return rate * Fraction(len(leaving), len(pairs)) if pairs else Fraction(0)
