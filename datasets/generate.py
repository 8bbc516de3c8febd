"""Synthetic GPU sites, the same for the same seed, in the shape `kubectl get nodes,pods -A -o json` prints.

As a program: `python datasets/generate.py h100 --nodes 1024 --used 0.75 -o site.json`.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Object = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"
BLOCK = "topology.kubernetes.io/block"
RACK = "topology.kubernetes.io/rack"
NVL = "nvidia.com/gpu.clique"
HOST = "kubernetes.io/hostname"
PRODUCT = "nvidia.com/gpu.product"
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Hardware:
    """One kind of node. gpus: devices; gpu_memory_mb: of one device; cpu: cores; memory: GiB."""

    product: str
    gpus: int
    gpu_memory_mb: int
    cpu: int
    memory: int


H100 = Hardware("NVIDIA-H100-80GB-HBM3", 8, 81_559, 192, 2048)
GB200 = Hardware("NVIDIA-GB200", 4, 189_471, 144, 960)
A100 = Hardware("NVIDIA-A100-SXM4-40GB", 8, 40_960, 96, 1024)
L40S = Hardware("NVIDIA-L40S", 4, 46_068, 64, 512)
CPU_ONLY = Hardware("", 0, 0, 64, 256)


@dataclass(frozen=True)
class Site:
    """A regular site. zones, then blocks in a zone, racks in a block, nodes in a rack.

    rack_label: what a rack is called on the node; an NVLink domain when it is `NVL`.
    """

    prefix: str
    hardware: Hardware
    zones: int
    blocks: int
    racks: int
    nodes: int
    rack_label: str = RACK

    @property
    def size(self) -> int:
        """Nodes of the whole site."""
        return self.zones * self.blocks * self.racks * self.nodes


#: 72-GPU NVLink domains of 18 four-GPU nodes; 4 domains in a block, 4 blocks in a zone: 288 nodes, 1,152 GPUs.
NVL72_SITE = Site("gb", GB200, zones=1, blocks=4, racks=4, nodes=18, rack_label=NVL)
#: Racks of 4 eight-GPU nodes, blocks of 8 racks, 16 blocks in a zone: 1,024 nodes, 8,192 GPUs.
H100_SITE = Site("h", H100, zones=2, blocks=16, racks=8, nodes=4)


def site_nodes(site: Site) -> list[Object]:
    """The nodes of a regular site, all of them ready and empty."""
    return list(_site_nodes(site))


def _site_nodes(site: Site) -> Iterator[Object]:
    number = 0
    for zone in range(1, site.zones + 1):
        for block in range(1, site.blocks + 1):
            for rack in range(1, site.racks + 1):
                place = {ZONE: f"zone-{zone}", BLOCK: f"z{zone}b{block}"}
                place[site.rack_label] = (
                    f"clique-{zone}-{block}.{rack}" if site.rack_label == NVL else f"z{zone}b{block}r{rack}"
                )
                for _ in range(site.nodes):
                    number += 1
                    yield node(f"{site.prefix}{number:04d}", site.hardware, place)


def node(name: str, hardware: Hardware, labels: Mapping[str, str]) -> Object:
    """A ready v1 Node."""
    allocatable = {
        "cpu": str(hardware.cpu),
        "memory": f"{hardware.memory}Gi",
        "pods": "110",
        "ephemeral-storage": "3500Gi",
    }
    own = {HOST: name, **labels}
    if hardware.gpus:
        allocatable[GPU] = str(hardware.gpus)
        own |= {PRODUCT: hardware.product, "nvidia.com/gpu.memory": str(hardware.gpu_memory_mb)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": own},
        "spec": {},
        "status": {
            "allocatable": allocatable,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, on: Object, gpus: int, cpu: str, memory: str, namespace: str = "tenants") -> Object:
    """A running v1 Pod bound to node `on`."""
    amounts = {"cpu": cpu, "memory": memory} | ({GPU: str(gpus)} if gpus else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name.rpartition("-")[0]}},
        "spec": {
            "nodeName": on["metadata"]["name"],
            "containers": [{"name": "main", "resources": {"requests": amounts, "limits": amounts}}],
        },
        "status": {"phase": "Running"},
    }


def other_workloads(nodes: Sequence[Object], used: float, seed: int, whole: float = 0.4) -> list[Object]:
    """Running pods of other tenants on about `used` of the GPUs, unevenly: some racks full, some nearly empty.

    whole: share of the racks' load that comes as whole nodes; the rest are pods of 1, 2 or 4 GPUs, which leave
    gaps. Every rack draws its own load.
    """
    chance = random.Random(seed)
    pods: list[Object] = []
    load: dict[str, float] = {}
    for on in nodes:
        labels, size = on["metadata"]["labels"], int(on["status"]["allocatable"].get(GPU, 0))
        rack = labels.get(RACK) or labels.get(NVL) or labels.get(ZONE, "")
        if rack not in load:
            load[rack] = min(1.0, chance.betavariate(4 * used + 0.2, 4 * (1 - used) + 0.2))
        for gpus in _jobs(chance, size, load[rack], whole):
            kind = {1: "notebook", 2: "finetune", 4: "serve"}.get(gpus, "train")
            pods.append(pod(f"{kind}-{len(pods):05d}", on, gpus, str(4 * gpus), f"{32 * gpus}Gi"))
    return pods


def _jobs(chance: random.Random, size: int, load: float, whole: float) -> Iterator[int]:
    """GPU counts of the pods on one node of `size` GPUs, about `load` of it."""
    if not size:
        return
    if chance.random() < whole:
        if chance.random() < load:
            yield size
        return
    left = min(size, int(load * size + chance.random()))
    while left:
        gpus = min(left, chance.choice([1, 1, 2, 2, 4]))
        left -= gpus
        yield gpus


def h100_fragmented(nodes: int = 1024, used: float = 0.7, seed: int = 20) -> list[Object]:
    """The H100 site at a given size, worn: other workloads, a few cordoned, NotReady and reserved nodes."""
    chance = random.Random(seed)
    per_block = H100_SITE.racks * H100_SITE.nodes
    blocks = max(1, -(-nodes // per_block))
    zones = 2 if blocks % 2 == 0 and blocks > 1 else 1
    found = site_nodes(replace(H100_SITE, zones=zones, blocks=blocks // zones))[:nodes]
    pods = other_workloads(found, used, seed)
    for on in found:
        _wear(chance, on)
    return [*found, *pods]


def nvl72_fragmented(used: float = 0.6, seed: int = 72) -> list[Object]:
    """The NVL72 site with other workloads."""
    found = site_nodes(NVL72_SITE)
    return [*found, *other_workloads(found, used, seed, whole=0.7)]


def mixed_site(racks: int = 9, used: float = 0.5, seed: int = 7) -> list[Object]:
    """Racks of unlike hardware and size with other workloads, taints, closed nodes and nodes without a rack label."""
    chance = random.Random(seed)
    found: list[Object] = []
    for rack in range(1, racks + 1):
        hardware = chance.choice([H100, H100, A100, L40S])
        for _ in range(chance.randint(2, 5)):
            zone = f"zone-{'ab'[rack % 2]}"
            labels = {ZONE: zone, BLOCK: f"{zone}-b{(rack + 3) // 4}", RACK: f"r{rack}"}
            if chance.random() < 0.08:
                del labels[RACK]
            found.append(node(f"node-{len(found) + 1}", hardware, labels))
    found += [node(f"cpu-{number}", CPU_ONLY, {ZONE: "zone-a"}) for number in (1, 2)]
    pods = other_workloads(found, used, seed)
    pods += [pod(f"agent-{number:03d}", on, 0, "250m", "256Mi", "kube-system") for number, on in enumerate(found)]
    for on in found:
        _wear(chance, on, share=0.07)
    return [*found, *pods]


def _wear(chance: random.Random, on: Object, share: float = 0.01) -> None:
    """Cordon a node, make it NotReady, or reserve it by a taint, each with probability `share`."""
    draw = chance.random()
    if draw < share:
        on["spec"]["unschedulable"] = True
    elif draw < 2 * share:
        on["status"]["conditions"][0]["status"] = "Unknown"
    elif draw < 3 * share:
        on["spec"]["taints"] = [{"key": "gpu", "value": "reserved", "effect": "NoSchedule"}]


def as_list(items: Sequence[Object]) -> Object:
    """A v1 List, as kubectl prints several objects."""
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}


def write_list(items: Sequence[Object], path: Path) -> None:
    """Write the objects as one JSON List."""
    path.write_text(json.dumps(as_list(items), separators=(",", ":")) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one site to a file or to stdout."""
    parser = argparse.ArgumentParser(description="Write a synthetic GPU site as a v1 List in JSON.")
    parser.add_argument("site", choices=["h100", "nvl72", "mixed"])
    parser.add_argument("--nodes", type=int, default=1024, help="h100: how many nodes")
    parser.add_argument("--racks", type=int, default=9, help="mixed: how many racks of 2 to 5 nodes")
    parser.add_argument("--used", type=float, default=0.7, help="share of GPUs that others use")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, help="file; default stdout")
    chosen = parser.parse_args(arguments)
    if chosen.site == "h100":
        items = h100_fragmented(chosen.nodes, chosen.used, chosen.seed)
    elif chosen.site == "nvl72":
        items = nvl72_fragmented(chosen.used, chosen.seed)
    else:
        items = mixed_site(chosen.racks, chosen.used, chosen.seed)
    if chosen.output:
        write_list(items, chosen.output)
    else:
        json.dump(as_list(items), sys.stdout)


if __name__ == "__main__":
    main()
