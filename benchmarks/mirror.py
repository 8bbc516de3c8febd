"""The mirror of a cluster: list bytes of nodes and pods until they are in the held state, and changes after that.

The bytes are made beforehand, as the API server would send them, managed fields included, in pages. What is measured is
all the mirror does with them: decode, drop what nobody reads, index, fold, hold. No network is in it.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from adapters.kubernetes.api import Api, Json, Query, Reader, decoded
from adapters.kubernetes.api_errors import NotFound
from adapters.kubernetes.decoding import decoder
from adapters.kubernetes.mirror import Mirror
from adapters.kubernetes.resources import NODES, PODS, Resource
from adapters.kubernetes.watching import Event, Verb, read_line
from benchmarks.output import machine, percentile, print_table, resident_mb, say, time_text, write_csv

#: Nodes and pods; the first has a target.
SIZES = ((5_000, 50_000), (1_000, 10_000))
TARGET_S = 5.0
PAGE = 1000
CHANGES = 500

Row = dict[str, Any]


class Recorded(Api):
    """An API server that answers lists with pages of bytes, knows no other kinds, and to watches says nothing."""

    def __init__(self, pages: Mapping[str, Sequence[bytes]]) -> None:
        super().__init__()
        self._pages = pages

    async def list_pages(
        self, path: str, query: Query | None = None, page: int = 500, read: Reader = msgspec.json.decode
    ) -> AsyncGenerator[Json, None]:
        """The recorded pages."""
        if path not in self._pages:
            raise NotFound(404, "NotFound", path)
        for data in self._pages[path]:
            yield decoded(data, read)

    async def watch(self, path: str, since: str, query: Query | None = None) -> AsyncGenerator[list[bytes], None]:
        """Nothing."""
        yield []
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, write mirror.csv, and give its rows."""
    parser = argparse.ArgumentParser(description="Lists and changes taken into a mirror, without a network.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny cluster, once: does it still run")
    chosen = parser.parse_args(arguments)
    sizes, repeat = (((20, 100),), 1) if chosen.quick else (SIZES, chosen.repeat)
    rows = []
    for nodes, pods in sizes:
        say(f"[mirror, {nodes} nodes]")
        rows.append(asyncio.run(measured(nodes, pods, repeat)))
    write_csv("mirror.csv", rows)
    _print(rows)
    return rows


async def measured(nodes: int, pods: int, repeat: int) -> Row:
    """All figures of one size."""
    pages = {NODES.path(): _pages(NODES, [_node(at) for at in range(nodes)])}
    pages[PODS.path()] = _pages(PODS, [_pod(at, nodes) for at in range(pods)])
    spent_s, cpu_s = [], []
    before_mb, _ = resident_mb()
    for _ in range(repeat):
        gc.collect()
        began, began_cpu = time.perf_counter(), time.process_time()
        mirror = Mirror(Recorded(pages))
        task = asyncio.create_task(mirror.run())
        await mirror.synced()
        spent_s.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - began_cpu)
        task.cancel()
    now_mb, _ = resident_mb()
    if len(mirror.held.view().snapshot.pods) != pods:
        raise RuntimeError("pods are missing in the held state")
    return {
        "nodes": nodes,
        "pods": pods,
        "bytes": sum(len(page) for each in pages.values() for page in each),
        "synced_s": min(spent_s),
        "synced_median_s": percentile(spent_s, 50),
        "synced_cpu_s": min(cpu_s),
        "grown_mb": now_mb - before_mb,
        "pod_p50_ms": percentile([_change_ms(mirror, PODS, _moved(at, nodes)) for at in range(CHANGES)], 50),
        "heartbeat_p50_ms": percentile([_change_ms(mirror, NODES, _beat(at % nodes)) for at in range(CHANGES)], 50),
        "node_p50_ms": percentile([_change_ms(mirror, NODES, _closed(at % nodes)) for at in range(CHANGES // 10)], 50),
    }


def _change_ms(mirror: Mirror, resource: Resource, body: Json) -> float:
    """From one line of a watch to the held state."""
    line = msgspec.json.encode({"type": "MODIFIED", "object": body})
    began = time.perf_counter()
    mirror.changed(resource, [Event(Verb.MODIFIED, read_line(line, decoder(resource))[1])])
    return (time.perf_counter() - began) * 1000


def _pages(resource: Resource, bodies: Sequence[Json]) -> list[bytes]:
    """A list as bytes, page by page."""
    found = []
    for start in range(0, len(bodies), PAGE):
        metadata = {"resourceVersion": "1000000", "continue": "next" if start + PAGE < len(bodies) else ""}
        page = {"kind": f"{resource.kind}List", "apiVersion": "v1", "metadata": metadata}
        found.append(msgspec.json.encode({**page, "items": bodies[start : start + PAGE]}))
    return found


def _metadata(name: str, version: int, labels: Mapping[str, str], fields: Sequence[str]) -> Json:
    managed = {f"f:{field}": {".": {}, "f:type": {}, "f:status": {}} for field in fields}
    return {
        "name": name,
        "uid": f"{version:08x}-7a1c-4c5e-9d3b-{version * 2_654_435_761 % 2**48:012x}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-03-01T08:00:00Z",
        "labels": labels,
        "managedFields": [
            {
                "manager": manager,
                "operation": "Update",
                "apiVersion": "v1",
                "time": "2026-03-01T08:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}, "f:status": managed},
            }
            for manager in ("kubelet", "kube-controller-manager")
        ],
    }


def _node(at: int) -> Json:
    name = f"node-{at}"
    labels = {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": f"z{at // 1024}",
        "topology.kubernetes.io/rack": f"r{at // 16}",
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "nvidia.com/gpu.clique": f"c{at // 9}",
        "kubernetes.io/arch": "amd64",
    }
    amounts = {"cpu": "192", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8", "ephemeral-storage": "3Ti"}
    types = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    return {
        "metadata": _metadata(name, at + 1, labels, types),
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": f"site://{name}"},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [
                {"type": each, "status": str(each == "Ready"), "lastHeartbeatTime": "2026-03-01T08:00:00Z"}
                for each in types
            ],
            "images": [{"names": [f"registry.example/image-{image}:1"], "sizeBytes": 10**9} for image in range(50)],
        },
    }


def _pod(at: int, nodes: int) -> Json:
    """One of sixteen that come from two templates."""
    labels = {
        "app": f"a{at // 16}",
        "pod-template-hash": "7c9d",
        "huddle.scheduler/gang": f"g{at // 16}",
        "huddle.scheduler/role": "prefill" if at % 16 < 4 else "decode",
    }
    types = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    amounts = {"cpu": "8", "memory": "64Gi", **({"nvidia.com/gpu": "1"} if at % 10 < 8 else {})}
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"a{at // 16}",
        "uid": f"u{at // 16}",
        "controller": True,
    }
    account = {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    now = "2026-03-01T08:00:00Z"
    return {
        "metadata": {
            **_metadata(f"pod-{at}", 10**6 + at, labels, types),
            "namespace": f"team-{at // 16 % 20}",
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8000"},
            "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": f"node-{at * 7 % nodes}",
            "containers": [
                {
                    "name": "main",
                    "image": "registry.example/engine:1",
                    "args": ["--model", "llama-3-70b", "--tensor-parallel-size", "1"],
                    "env": [{"name": f"SETTING_{each}", "value": str(each)} for each in range(10)],
                    "ports": [{"containerPort": 8000, "protocol": "TCP"}],
                    "resources": {"requests": amounts, "limits": amounts},
                    "volumeMounts": [account],
                }
            ],
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"downwardAPI": {"items": []}}]}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
            "schedulerName": "default-scheduler",
            "restartPolicy": "Always",
            "serviceAccountName": "default",
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": each, "status": "True", "lastTransitionTime": now} for each in types],
            "containerStatuses": [
                {"name": "main", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": now}}}
            ],
            "podIP": "10.0.0.1",
        },
    }


def _moved(at: int, nodes: int) -> Json:
    """A pod that came anew under its old name, elsewhere."""
    body = _pod(at, nodes)
    body["metadata"] |= {"uid": f"again-{at}", "resourceVersion": str(2 * 10**6 + at)}
    body["spec"]["nodeName"] = f"node-{at * 13 % nodes}"
    return body


def _beat(at: int) -> Json:
    """A node that says it is alive, which changes nothing."""
    body = _node(at)
    body["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-03-01T08:05:00Z"
    return body


def _closed(at: int) -> Json:
    """A node that takes no more pods."""
    return {**_node(at), "spec": {"unschedulable": True}}


def _print(rows: Sequence[Row]) -> None:
    print_table(
        f"mirror: lists as bytes until held, best of the runs; {machine()}",
        ("nodes", "pods", "MB", "held after", "processor time", "memory", "pod p50", "heartbeat p50", "node p50"),
        [
            (
                f"{row['nodes']:,}",
                f"{row['pods']:,}",
                f"{row['bytes'] / 1e6:.0f}",
                time_text(row["synced_s"] * 1000),
                time_text(row["synced_cpu_s"] * 1000),
                f"{row['grown_mb']:.0f} MB",
                time_text(row["pod_p50_ms"]),
                time_text(row["heartbeat_p50_ms"]),
                time_text(row["node_p50_ms"]),
            )
            for row in rows
        ],
    )
    for row in rows:
        if (row["nodes"], row["pods"]) == SIZES[0]:
            met = "met" if row["synced_s"] <= TARGET_S else "MISSED"
            print(f"target of the first row: held after {TARGET_S:g} s: {met}")


if __name__ == "__main__":
    main()
