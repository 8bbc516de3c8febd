"""Nodes with GPUs that kwok plays, and pods that ask for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from support.controlplane.api import Api, Json

GPU = "nvidia.com/gpu"
ZONE, RACK, HOST = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack", "kubernetes.io/hostname"
GATE = "huddle.scheduler/gang"
PLAYED = {"kwok.x-k8s.io/node": "fake"}


def gpu_node(
    name: str,
    *,
    gpus: int = 8,
    cpu: str = "128",
    memory: str = "1Ti",
    taints: Sequence[Mapping[str, str]] = (),
    played: bool = True,
    labels: Mapping[str, str] | None = None,
) -> Json:
    """A ready node. played: whether kwok, once started, is its kubelet."""
    amounts = {"cpu": cpu, "memory": memory, "pods": "110", GPU: str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {HOST: name, **(labels or {})},
            "annotations": PLAYED if played else {},
        },
        "spec": {"taints": list(taints)},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Tests"}],
        },
    }


def create_gpu_nodes(
    api: Api, count: int, *, per_rack: int = 8, racks_per_zone: int = 4, prefix: str = "gpu", **fields: Any
) -> list[str]:
    """Nodes gpu-000, gpu-001, … in racks rack-0, … of zones zone-0, …; other fields as in `gpu_node`. Their names."""
    nodes = []
    for at in range(count):
        rack = at // per_rack
        place = {ZONE: f"zone-{rack // racks_per_zone}", RACK: f"rack-{rack}"}
        nodes.append(gpu_node(f"{prefix}-{at:03}", **{**fields, "labels": place | fields.get("labels", {})}))
    api.create_all("/api/v1/nodes", nodes)
    return [node["metadata"]["name"] for node in nodes]


def gpu_pod(
    name: str,
    gpus: int = 1,
    *,
    gated: bool = False,
    scheduler: str = "default-scheduler",
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A pod that asks for whole GPUs. gated: held back by Huddle's gate; other keywords are fields of its spec."""
    amounts = {"cpu": "1", "memory": "1Gi", **({GPU: str(gpus)} if gpus else {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {
            "schedulerName": scheduler,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": amounts, "limits": amounts}}],
            **({"schedulingGates": [{"name": GATE}]} if gated else {}),
            **spec,
        },
    }
