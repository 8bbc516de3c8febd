"""Topologies and queues on the wire."""

from solver.api.v1 import snapshot_pb2 as pb
from solver.domain.levels import MAX_LINK_SHARE, Level, Tier, TopologySpec
from solver.domain.snapshot import QueueSpec
from solver.service.codec.fields import checking, required, within


def decode_topology(message: pb.Topology, field: str) -> TopologySpec:
    """A topology. Raises InvalidField."""
    levels = tuple(_decode_level(level, f"{field}.levels[{at}]") for at, level in enumerate(message.levels))
    root = _decode_tier(message.root_tier, f"{field}.root_tier") if message.HasField("root_tier") else None
    with checking(f"{field}.levels"):
        return TopologySpec(
            message.name,
            levels,
            root,
            message.node_gbps if message.HasField("node_gbps") else None,
            message.handover_ms if message.HasField("handover_ms") else None,
            max_link_share=message.max_link_share if message.HasField("max_link_share") else MAX_LINK_SHARE,
        )


def encode_topology(spec: TopologySpec) -> pb.Topology:
    """A topology."""
    return pb.Topology(
        name=spec.name,
        levels=[
            pb.Level(
                name=level.name,
                label=level.label,
                tier=_encode_tier(level.tier),
                also=level.also,
                uplink_gbps=level.uplink_gbps,
                oversubscription=level.oversubscription,
                used_gbps=level.used_gbps,
            )
            for level in spec.levels
        ],
        root_tier=_encode_tier(spec.root_tier),
        node_gbps=spec.node_gbps,
        handover_ms=spec.handover_ms,
        max_link_share=spec.max_link_share,
    )


def decode_queue(message: pb.Queue, field: str) -> QueueSpec:
    """A queue. Raises InvalidField."""
    limits = {
        required(resource, f"{field}.limits"): within(limit, 0, 2**63 - 1, f"{field}.limits[{resource}]")
        for resource, limit in message.limits.items()
    }
    return QueueSpec(
        required(message.name, f"{field}.name"),
        limits,
        message.parent,
        tuple(required(name, f"{field}.namespaces") for name in message.namespaces),
        tuple(required(name, f"{field}.default_for") for name in message.default_for),
    )


def encode_queue(queue: QueueSpec) -> pb.Queue:
    """A queue."""
    return pb.Queue(
        name=queue.name,
        limits=dict(queue.limits),
        parent=queue.parent,
        namespaces=queue.namespaces,
        default_for=queue.default_for,
    )


def _decode_level(message: pb.Level, field: str) -> Level:
    name, label = required(message.name, f"{field}.name"), required(message.label, f"{field}.label")
    tier = _decode_tier(message.tier, f"{field}.tier") if message.HasField("tier") else None
    with checking(field):
        return Level(
            name,
            label,
            tier,
            tuple(message.also),
            message.uplink_gbps if message.HasField("uplink_gbps") else None,
            message.oversubscription if message.HasField("oversubscription") else None,
            message.used_gbps if message.HasField("used_gbps") else None,
        )


def _decode_tier(message: pb.Tier, field: str) -> Tier:
    with checking(field):
        return Tier(message.gbps, message.setup_us, message.node_gbps if message.HasField("node_gbps") else None)


def _encode_tier(tier: Tier | None) -> pb.Tier | None:
    return None if tier is None else pb.Tier(gbps=tier.gbps, setup_us=tier.setup_us, node_gbps=tier.node_gbps)
