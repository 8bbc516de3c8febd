"""A snapshot and changes sent to `huddle serve` on loopback: what it takes until they are in the held state.

The server is a process of its own. Each node has eight labels, and nine nodes in ten hold a pod. A group of changes is
one pod that goes and one that comes; its round trip ends with the acknowledgement, which means that it is in the state.
"""

import argparse
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.cases import GIB
from benchmarks.output import machine, percentile, print_table, say, time_text, write_csv
from benchmarks.service_process import served
from solver.api.v1 import cluster_service_pb2 as pb
from solver.api.v1.cluster_service_pb2_grpc import ClusterServiceStub
from solver.domain.changes import Change, NodeSet, PodBound, PodGone
from solver.domain.levels import Level, TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, EPHEMERAL_STORAGE, GPU, MEMORY, PODS, Resources
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot
from solver.service.codec.snapshot import encode_change, put_requests

SIZES = (1_000, 10_000, 100_000)
CLUSTER = "bench"
PIECE_BYTES = 4_000_000
CAPACITY = Resources.of({GPU: 8_000, CPU: 192_000, MEMORY: 2_048 * GIB, PODS: 110, EPHEMERAL_STORAGE: 3_000 * GIB})
ASKS = tuple(Resources.of({GPU: gpus * 1000, CPU: gpus * 8_000, MEMORY: gpus * 32 * GIB}) for gpus in (1, 2, 4, 8))
TOPOLOGY = TopologySpec("", (Level("zone", "zone"), Level("block", "block"), Level("rack", "rack")))

Row = dict[str, Any]


@dataclass
class Line:
    """An open stream of changes."""

    stub: ClusterServiceStub
    base: str
    sequence: int = 0

    def __post_init__(self) -> None:
        self._said: queue.SimpleQueue[pb.ApplyDeltasRequest | None] = queue.SimpleQueue()
        self._answers = self.stub.ApplyDeltas(iter(self._said.get, None))

    def group(self, *changes: Change) -> pb.ApplyDeltasRequest:
        """The next group."""
        self.sequence += 1
        wired = [encode_change(change) for change in changes]
        return pb.ApplyDeltasRequest(cluster=CLUSTER, base=self.base, sequence=self.sequence, changes=wired)

    def round_trip_ms(self, *changes: Change) -> float:
        """From saying a group to its acknowledgement."""
        request = self.group(*changes)
        began = time.perf_counter()
        self._said.put(request)
        answer = next(self._answers)
        spent_ms = (time.perf_counter() - began) * 1000
        if answer.WhichOneof("outcome") != "version":
            raise RuntimeError(answer.snapshot_needed.message)
        return spent_ms

    def per_second(self, groups: Sequence[pb.ApplyDeltasRequest]) -> float:
        """Groups acknowledged in a second when none waits for the one before."""
        began = time.perf_counter()
        for request in groups:
            self._said.put(request)
        for _ in groups:
            next(self._answers)
        return len(groups) / (time.perf_counter() - began)

    def end(self) -> None:
        """Nothing more to say."""
        self._said.put(None)
        list(self._answers)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, write service_state.csv, and give its rows."""
    parser = argparse.ArgumentParser(description="Snapshots and changes sent to a server on loopback.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny cluster, a few groups")
    chosen = parser.parse_args(arguments)
    sizes, groups, repeat = ((50,), 5, 1) if chosen.quick else (chosen.sizes, chosen.groups, chosen.repeat)
    rows = []
    for nodes in sizes:
        say(f"[service state, {nodes} nodes]")
        with served() as address, grpc.insecure_channel(address) as channel:
            rows.append(measured(ClusterServiceStub(channel), nodes, groups, repeat))
    write_csv("service_state.csv", rows)
    _print(rows)
    return rows


def measured(stub: ClusterServiceStub, nodes: int, groups: int, repeat: int) -> Row:
    """All figures of one size."""
    snapshot = site(nodes)
    encode_ms, put_ms, size = [], [], 0
    for at in range(repeat):
        began = time.perf_counter()
        requests = list(put_requests(CLUSTER, str(at), snapshot, PIECE_BYTES))
        sent = time.perf_counter()
        stub.PutSnapshot(iter(requests))
        encode_ms.append((sent - began) * 1000)
        put_ms.append((time.perf_counter() - sent) * 1000)
        size = sum(request.ByteSize() for request in requests)
    line = Line(stub, str(repeat - 1))
    pods = list(snapshot.pods)
    moves = [_move(pods[at % len(pods)], at, nodes) for at in range(2 * groups)]
    delta_ms = [line.round_trip_ms(*move) for move in moves[:groups]]
    node_ms = [line.round_trip_ms(NodeSet(_node(at, ready=False))) for at in range(min(nodes, groups // 10 + 1))]
    per_second = line.per_second([line.group(*move) for move in moves[groups:]])
    line.end()
    return {
        "nodes": nodes,
        "pods": len(pods),
        "bytes": size,
        "encode_ms": percentile(encode_ms, 50),
        "put_ms": percentile(put_ms, 50),
        "delta_p50_ms": percentile(delta_ms, 50),
        "delta_p99_ms": percentile(delta_ms, 99),
        "node_p50_ms": percentile(node_ms, 50),
        "deltas_per_s": per_second,
    }


def site(nodes: int) -> Snapshot:
    """A cluster in racks of 16, blocks of 128 and zones of 1,024 nodes."""
    pods = [
        BoundPod(f"jobs/job-{at}", f"node-{at}", ASKS[at % 4], {"app": f"a{at % 50}"}, uid=_uid(at))
        for at in range(nodes * 9 // 10)
    ]
    return build_snapshot((_node(at) for at in range(nodes)), pods, [TOPOLOGY])


def _node(at: int, ready: bool = True) -> NodeRecord:
    name = f"node-{at}"
    labels = {
        "kubernetes.io/hostname": name,
        "zone": f"z{at // 1024}",
        "block": f"b{at // 128}",
        "rack": f"r{at // 16}",
        "nvidia.com/gpu.clique": f"c{at // 9}",
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "kubernetes.io/arch": "amd64",
        "pool": f"p{at % 7}",
    }
    return NodeRecord(name, CAPACITY, labels, ready=ready)


def _move(pod: BoundPod, at: int, nodes: int) -> tuple[Change, Change]:
    """The pod goes, and another one comes on some node."""
    comes = BoundPod(f"jobs/new-{at}", f"node-{at * 7 % nodes}", ASKS[0], uid=_uid(10**9 + at))
    return PodGone(pod.uid, pod.name), PodBound(comes)


def _uid(at: int) -> str:
    return f"{at:08x}-7a1c-4c5e-9d3b-{at * 2_654_435_761 % 2**48:012x}"


def _print(rows: Sequence[Row]) -> None:
    print_table(
        f"service state: loopback, medians; {machine()}",
        (
            "nodes",
            "pods",
            "MB",
            "encode",
            "put",
            "delta p50",
            "delta p99",
            "node set p50",
            "deltas/s",
        ),
        [
            (
                f"{row['nodes']:,}",
                f"{row['pods']:,}",
                f"{row['bytes'] / 1e6:.2f}",
                time_text(row["encode_ms"]),
                time_text(row["put_ms"]),
                time_text(row["delta_p50_ms"]),
                time_text(row["delta_p99_ms"]),
                time_text(row["node_p50_ms"]),
                f"{row['deltas_per_s']:,.0f}",
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
