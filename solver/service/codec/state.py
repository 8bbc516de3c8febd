"""What is held, and what became of changes, on the wire."""

from solver.api.v1 import cluster_service_pb2 as pb
from solver.service.codec.fields import known
from solver.service.errors import InvalidField
from solver.service.held import Applied, Cause, ClusterDescription, Held, Needed

_CAUSES: dict[Cause, "pb.SnapshotNeeded.Cause.ValueType"] = {
    Cause.UNKNOWN_CLUSTER: pb.SnapshotNeeded.CAUSE_UNKNOWN_CLUSTER,
    Cause.UNKNOWN_BASE: pb.SnapshotNeeded.CAUSE_UNKNOWN_BASE,
    Cause.GAP: pb.SnapshotNeeded.CAUSE_GAP,
    Cause.CONTRADICTION: pb.SnapshotNeeded.CAUSE_CONTRADICTION,
}
_CAUSE_OF = {number: cause for cause, number in _CAUSES.items()}


def encode_outcome(request: pb.ApplyDeltasRequest, answer: Applied | Needed) -> pb.ApplyDeltasResponse:
    """Answer to one group of changes."""
    found = pb.ApplyDeltasResponse(cluster=request.cluster, sequence=request.sequence)
    if isinstance(answer, Applied):
        found.version = answer.version
    else:
        found.snapshot_needed.cause = _CAUSES[answer.cause]
        found.snapshot_needed.message = answer.message
        found.snapshot_needed.last_sequence = answer.last_sequence
    return found


def decode_outcome(message: pb.ApplyDeltasResponse) -> Applied | Needed:
    """What became of one group of changes."""
    match message.WhichOneof("outcome"):
        case "version":
            return Applied(message.version)
        case "snapshot_needed":
            needed = message.snapshot_needed
            return Needed(known(_CAUSE_OF, needed.cause, "cause"), needed.message, needed.last_sequence)
    raise InvalidField("outcome", "is missing")


def encode_held(held: Held) -> pb.PutSnapshotResponse:
    """A snapshot is held."""
    return pb.PutSnapshotResponse(version=held.version, nodes=held.nodes, pods=held.pods)


def decode_held(message: pb.PutSnapshotResponse) -> Held:
    """A snapshot is held."""
    return Held(message.version, message.nodes, message.pods)


def encode_description(state: ClusterDescription) -> pb.ClusterState:
    """What is held of one cluster."""
    return pb.ClusterState(
        cluster=state.name,
        base=state.base,
        sequence=state.sequence,
        version=state.version,
        nodes=state.nodes,
        pods=state.pods,
        promised_pods=state.promised_pods,
        snapshot_age_ms=round(state.snapshot_age_s * 1000),
        age_ms=round(state.age_s * 1000),
        queues=state.queues,
        topologies=state.topologies,
    )


def decode_description(message: pb.ClusterState) -> ClusterDescription:
    """What is held of one cluster."""
    return ClusterDescription(
        name=message.cluster,
        base=message.base,
        sequence=message.sequence,
        version=message.version,
        nodes=message.nodes,
        pods=message.pods,
        promised_pods=message.promised_pods,
        snapshot_age_s=message.snapshot_age_ms / 1000,
        age_s=message.age_ms / 1000,
        queues=message.queues,
        topologies=tuple(message.topologies),
    )
