"""What is told of cluster states that the service holds."""

from dataclasses import dataclass
from enum import StrEnum

from solver.domain.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class View:
    """What a question is answered from; the snapshot bears the same version."""

    version: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot is held, in the state of this version. pods: promised ones not among them."""

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
    """A new snapshot is needed; the state is as it was. last_sequence: last group in it, if the base is known."""

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


def unknown_cluster(name: str) -> Needed:
    """The answer to changes of a cluster that is not held."""
    return Needed(Cause.UNKNOWN_CLUSTER, f"no snapshot of cluster {name!r} is held")
