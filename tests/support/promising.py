"""What tests of promises need: time that they move, small plans, a ledger with a cluster."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.snapshot import Snapshot
from solver.ledger import Asked, PromisedPod
from solver.service.fitting import promised_pods
from solver.service.ledger_clock import TimeSource
from solver.service.promises import PromiseLimits, Promises, Wish
from solver.service.sqlite_ledger import SqliteLedger
from solver.service.state import Clusters
from support.builders import cluster, gang, node, role

CLUSTER = "site"
START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@dataclass
class Time:
    """A machine's clock and the time elapsed, moved by the test."""

    wall: int = START_MS
    elapsed: int = 0

    @property
    def source(self) -> TimeSource:
        """As the ledger takes it."""
        return TimeSource(lambda: self.wall, lambda: self.elapsed)

    def passes(self, ms: int) -> None:
        """Time passes, as everybody measures it."""
        self.wall += ms
        self.elapsed += ms


def asked(request_id: str, content: str = "") -> Asked:
    """A request with some content."""
    return Asked(request_id, hashlib.sha256(content.encode()).digest())


def workers(name: str = "g", count: int = 2, gpus: float = 2, **more: object) -> Gang:
    """A gang of alike pods `default/<name>-0` …"""
    pods = [f"default/{name}-{at}" for at in range(count)]
    return gang(role("w", count, gpus=gpus, pods=pods), name=f"default/{name}", **more)  # type: ignore[arg-type]


def placed(wanted: Gang, *nodes: str) -> tuple[Assignment, ...]:
    """Its pods on these nodes, one after the other, beginning anew when there are fewer nodes than pods."""
    pods = [(pod, each.name) for each in wanted.roles for pod in each.pods]
    return tuple(Assignment(pod, role_name, nodes[at % len(nodes)]) for at, (pod, role_name) in enumerate(pods))


def pods_of(wanted: Gang, *nodes: str) -> Sequence[PromisedPod]:
    """What the pods of a gang hold on these nodes."""
    return promised_pods(wanted, placed(wanted, *nodes))


def wish(
    request_id: str, wanted: Gang, *nodes: str, lease_ms: int = 0, content: str = "", state_version: int = 0
) -> Wish:
    """A plan on these nodes to be promised."""
    return Wish(asked(request_id, content), CLUSTER, wanted, placed(wanted, *nodes), state_version, lease_ms)


def nodes(count: int = 4, gpus: float = 8) -> Snapshot:
    """Nodes n0 … in racks of two."""
    return cluster(*[node(f"n{at}", gpus, rack=f"r{at // 2}") for at in range(count)])


@dataclass
class Office:
    """A ledger, the states and the promises between them."""

    ledger: SqliteLedger
    clusters: Clusters
    promises: Promises

    @classmethod
    def open(
        cls,
        path: Path | None = None,
        time: Time | None = None,
        limits: PromiseLimits | None = None,
        max_bytes: int | None = None,
    ) -> "Office":
        """No cluster is held yet, and no thread runs."""
        ledger = SqliteLedger(path, (time or Time()).source, max_bytes)
        clusters = Clusters()
        return cls(ledger, clusters, Promises(ledger, clusters, limits))

    def put(self, snapshot: Snapshot, base: str = "1") -> None:
        """Hold this snapshot."""
        self.clusters.of(CLUSTER).put(base, snapshot)

    def promised(self, *ignoring: str) -> dict[str, str]:
        """Pods the state holds for promises, name → node."""
        snapshot = self.clusters.get(CLUSTER).view(ignoring).snapshot
        return {pod.name: pod.node for pod in snapshot.pods if pod.uid.startswith("promise/")}

    def free_gpus(self, name: str) -> int:
        """GPUs that are free on a node."""
        snapshot = self.clusters.get(CLUSTER).view().snapshot
        return int(snapshot.whole_free_gpus[snapshot.node_idx[name]])
