"""ClusterService: take snapshots and changes, tell what is held."""

import math
from collections.abc import Iterator

import grpc

from solver.api.v1 import cluster_service_pb2 as pb
from solver.api.v1 import cluster_service_pb2_grpc as rpc
from solver.domain.snapshot import Snapshot
from solver.service.codec.fields import required, within
from solver.service.codec.snapshot import SnapshotAssembler, decode_change
from solver.service.codec.state import encode_description, encode_held, encode_outcome
from solver.service.config import Limits
from solver.service.errors import InvalidField, NotFound
from solver.service.held import Applied, Needed, unknown_cluster
from solver.service.state import Clusters
from solver.service.status import answering

#: Longest name of a cluster and longest base, in characters.
MAX_NAME = 253
#: Longest that a state is kept idle by limit, in milliseconds: a year.
MAX_IDLE_MS = 365 * 24 * 3600 * 1000


class ClusterServicer(rpc.ClusterServiceServicer):
    """Answers ClusterService. One message of a stream is read after the other, as fast as it is worked on."""

    def __init__(self, clusters: Clusters, limits: Limits) -> None:
        self._clusters, self._limits = clusters, limits

    def PutSnapshot(  # noqa: N802
        self, request_iterator: Iterator[pb.PutSnapshotRequest], context: grpc.ServicerContext
    ) -> pb.PutSnapshotResponse:
        """Hold a snapshot."""
        with answering(context):
            first, snapshot = self._read(request_iterator)
            idle_limit_s = first.idle_limit_ms / 1000 or math.inf
            held = self._clusters.of(first.cluster).put(first.base, snapshot, idle_limit_s)
            return encode_held(held)

    def ApplyDeltas(  # noqa: N802
        self, request_iterator: Iterator[pb.ApplyDeltasRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ApplyDeltasResponse]:
        """Change states, group by group."""
        with answering(context):
            for request in request_iterator:
                yield encode_outcome(request, self._applied(request))

    def GetState(  # noqa: N802
        self, request: pb.GetStateRequest, context: grpc.ServicerContext
    ) -> pb.GetStateResponse:
        """Tell what is held."""
        with answering(context):
            names = [request.cluster] if request.cluster else self._clusters.names()
            described = (self._clusters.get(name).describe() for name in names)
            return pb.GetStateResponse(clusters=map(encode_description, described))

    def DropCluster(  # noqa: N802
        self, request: pb.DropClusterRequest, context: grpc.ServicerContext
    ) -> pb.DropClusterResponse:
        """Forget a state."""
        with answering(context):
            self._clusters.drop(_name(request.cluster, "cluster"))
            return pb.DropClusterResponse()

    def _read(self, requests: Iterator[pb.PutSnapshotRequest]) -> tuple[pb.PutSnapshotRequest, Snapshot]:
        """First message and snapshot of a stream, up to its last message."""
        first: pb.PutSnapshotRequest | None = None
        assembler = SnapshotAssembler(self._limits)
        for request in requests:
            first = first or _begun(request)
            if request.cluster not in ("", first.cluster):
                raise InvalidField("cluster", f"{request.cluster!r} is another one than in the first message")
            if request.base not in ("", first.base):
                raise InvalidField("base", f"{request.base!r} is another one than in the first message")
            assembler.add(request.chunk)
            if request.last:
                return first, assembler.finish()
        raise InvalidField("last", "the stream ended without a last message; nothing has changed")

    def _applied(self, request: pb.ApplyDeltasRequest) -> Applied | Needed:
        name, base = _name(request.cluster, "cluster"), _name(request.base, "base")
        changes = [decode_change(change, f"changes[{at}]") for at, change in enumerate(request.changes)]
        try:
            cluster = self._clusters.get(name)
        except NotFound:
            return unknown_cluster(name)
        return cluster.apply(base, request.sequence, changes)


def _begun(first: pb.PutSnapshotRequest) -> pb.PutSnapshotRequest:
    """The first message of a snapshot, with nothing wrong in it."""
    _name(first.cluster, "cluster")
    _name(first.base, "base")
    within(first.idle_limit_ms, 0, MAX_IDLE_MS, "idle_limit_ms")
    return first


def _name(value: str, field: str) -> str:
    if len(required(value, field)) > MAX_NAME:
        raise InvalidField(field, f"is longer than {MAX_NAME} characters")
    if not value.isprintable():
        raise InvalidField(field, "has characters that cannot be printed")
    return value
