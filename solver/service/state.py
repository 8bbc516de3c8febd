"""Cluster states that the service holds: snapshots, the changes since, and the promises on top of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from solver.domain.changes import Change
from solver.domain.snapshot import Snapshot
from solver.ledger import Promise

#: Promised pods have uids that begin so; no other pod may.
PROMISED = "promise/"

#: Told cluster and `namespace/pod` → node of promised pods that were seen bound. Called without any lock held.
SeenHook = Callable[[str, Mapping[str, str]], None]


@dataclass(frozen=True, slots=True)
class View:
    """What a question is answered from; the snapshot bears the version too."""

    version: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot is held."""

    version: int
    nodes: int
    pods: int


@dataclass(frozen=True, slots=True)
class Applied:
    """A group of changes is in the state of this version."""

    version: int


class Cause(StrEnum):
    """Why changes cannot be applied."""

    UNKNOWN_CLUSTER = "unknown_cluster"
    UNKNOWN_BASE = "unknown_base"
    GAP = "gap"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Needed:
    """A new snapshot is needed; the state is as it was. last_sequence: last group in the state, if the base is known."""

    cause: Cause
    message: str
    last_sequence: int = 0


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """What is held of one cluster.

    pods: that hold capacity, promised ones not among them. promised_pods: promised and not yet seen. snapshot_age_s,
    age_s: since the snapshot, and since the last snapshot or group of changes, arrived.
    """

    name: str
    base: str
    sequence: int
    version: int
    nodes: int
    pods: int
    promised_pods: int
    snapshot_age_s: float
    age_s: float
    queues: int
    topologies: tuple[str, ...]


class HeldCluster:
    """One cluster. Any thread may call anything; readers never wait for writers."""

    def __init__(self, name: str, on_seen: SeenHook | None = None) -> None:
        self.name = name

    def put(self, base: str, snapshot: Snapshot) -> Held:
        """Hold this snapshot from now on, with every promise on top of it that its nodes allow."""
        raise NotImplementedError

    def apply(self, base: str, sequence: int, changes: Sequence[Change]) -> Applied | Needed:
        """Change the state by one group, wholly or not at all. A group that is in it already changes nothing."""
        raise NotImplementedError

    def view(self, ignoring_gang: str | None = None) -> View:
        """The state with every promised pod that is not yet seen, but for those of one gang.

        Raises NotFound before the first snapshot.
        """
        raise NotImplementedError

    def promise(self, changed: Sequence[Promise]) -> None:
        """Take promises as they are now; older revisions than those known change nothing."""
        raise NotImplementedError

    def describe(self) -> ClusterDescription:
        """What is held. Raises NotFound before the first snapshot."""
        raise NotImplementedError


class Clusters:
    """Held clusters by name, `max_clusters` at most."""

    def __init__(self, max_clusters: int = 64) -> None:
        self.max_clusters = max_clusters

    def on_new(self, hook: Callable[[HeldCluster], None]) -> None:
        """Call `hook` with every cluster before it can be found; when it raises, the cluster is not made."""
        raise NotImplementedError

    def on_seen(self, hook: SeenHook) -> None:
        """Call `hook` with promised pods that are seen bound, in any cluster."""
        raise NotImplementedError

    def get(self, name: str) -> HeldCluster:
        """A cluster that holds a snapshot. Raises NotFound."""
        raise NotImplementedError

    def of(self, name: str) -> HeldCluster:
        """The cluster of this name, made if there is none. Raises Full."""
        raise NotImplementedError

    def names(self) -> list[str]:
        """Names of the clusters that hold a snapshot, sorted."""
        raise NotImplementedError
