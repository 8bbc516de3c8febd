"""The cluster state on the wire: whole, in pieces, and change by change."""

from collections.abc import Iterator

from solver.api.v1 import cluster_service_pb2, snapshot_pb2 as pb
from solver.domain.changes import Change
from solver.domain.snapshot import Snapshot

MAX_NODES = 200_000


class SnapshotAssembler:
    """Pieces of a snapshot, put together. Raises InvalidField with the path of what is wrong."""

    def __init__(self, max_nodes: int = MAX_NODES) -> None:
        self._max_nodes = max_nodes

    def add(self, chunk: pb.SnapshotChunk, field: str = "chunk") -> None:
        """Append one piece."""
        raise NotImplementedError

    def finish(self) -> Snapshot:
        """The snapshot, version 0."""
        raise NotImplementedError


def encode_whole(snapshot: Snapshot) -> pb.SnapshotChunk:
    """The snapshot in one piece, for questions that bring their own."""
    raise NotImplementedError


def encode_snapshot(snapshot: Snapshot, max_bytes: int) -> Iterator[pb.SnapshotChunk]:
    """The snapshot in pieces of at most `max_bytes`, unless a single node or pod is larger."""
    raise NotImplementedError


def put_requests(
    cluster: str, base: str, snapshot: Snapshot, max_bytes: int
) -> Iterator[cluster_service_pb2.PutSnapshotRequest]:
    """The messages of PutSnapshot, the last one marked."""
    raise NotImplementedError


def decode_change(message: pb.Change, field: str) -> Change:
    """One change. Raises InvalidField."""
    raise NotImplementedError
