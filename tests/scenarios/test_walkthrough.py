"""The walk-through of the field: what kubectl prints, a Topology and a disaggregated deployment, from files to plan."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.manifests.gangs import read_gangs
from solver.domain.gang import Gang
from solver.domain.snapshot import Snapshot
from solver.planner import Engine
from tests.unit.planner.solving import each_engine, nodes_of, placed, refused, values

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
#: node → zone and GPUs
NODES = {"worker-1": ("1a", 4), "worker-2": ("1a", 4), "worker-3": ("1b", 8)}
#: component → pods and GPUs of one pod; six GPUs in all
COMPONENTS = {"Frontend": (1, 0), "VllmPrefillWorker": (2, 1), "VllmDecodeWorker": (2, 2)}


def _node(name: str, zone: str, gpus: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {HOST: name, ZONE: zone, "nvidia.com/gpu.count": str(gpus)}},
        "spec": {"podCIDR": "10.244.0.0/24"},
        "status": {
            "allocatable": {
                "cpu": "31850m", "memory": "263842756Ki", "pods": "110", "ephemeral-storage": "95491281146",
                "nvidia.com/gpu": str(gpus),
            },
            "conditions": [
                {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"},
            ],
        },
    }  # fmt: skip


def _training(name: str, node: str, gpus: int) -> dict[str, Any]:
    """A pod of somebody else that uses GPUs."""
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}, "requests": {"cpu": "1", "nvidia.com/gpu": str(gpus)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "research", "uid": f"uid-{name}"},
        "spec": {"nodeName": node, "containers": [{"name": "train", "resources": resources}]},
        "status": {"phase": "Running"},
    }


TOPOLOGY = {
    "apiVersion": "kai.scheduler/v1alpha1",
    "kind": "Topology",
    "metadata": {"name": "topology-1"},
    "spec": {"levels": [{"nodeLabel": ZONE}, {"nodeLabel": HOST}]},
}


def _services() -> dict[str, Any]:
    """The older shape: a map of services with Dynamo's own resources."""
    return {
        "services": {
            name: {
                "componentType": "frontend" if name == "Frontend" else "worker",
                "replicas": replicas,
                **({"resources": {"limits": {"gpu": str(gpus)}}} if gpus else {}),
                **({"subComponentType": _side(name)} if gpus else {}),
                "extraPodSpec": {"mainContainer": {"image": "vllm", "args": _arguments(name)}},
            }
            for name, (replicas, gpus) in COMPONENTS.items()
        }
    }


def _components() -> dict[str, Any]:
    """The newer shape: a list of components with native pod templates."""
    return {
        "components": [
            {
                "name": name,
                "type": _side(name) if gpus else "frontend",
                "replicas": replicas,
                "podTemplate": {
                    "spec": {
                        "containers": [
                            {
                                "name": "main",
                                "args": _arguments(name),
                                "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {},
                            }
                        ]
                    }
                },
            }
            for name, (replicas, gpus) in COMPONENTS.items()
        ]
    }


def _side(name: str) -> str:
    return "prefill" if "Prefill" in name else "decode"


def _arguments(name: str) -> list[str]:
    return [] if name == "Frontend" else ["--model", "Qwen/Qwen3-8B"]


SHAPES = {"v1alpha1": _services, "v1beta1": _components}


@dataclass(frozen=True)
class Field:
    """The files of one try, and how to read them."""

    folder: Path
    shape: str

    def read(self, placement: str, used: Mapping[str, int], word: str = ZONE) -> tuple[Snapshot, Gang]:
        """The cluster with `used` GPUs by node, and the gang with the annotation `preferred` or `required`."""
        items = [_node(name, zone, gpus) for name, (zone, gpus) in NODES.items()]
        items += [_training(f"train-{name}", name, gpus) for name, gpus in used.items() if gpus]
        as_printed = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}
        cluster_file, topology_file = self.folder / "nodes-and-pods.json", self.folder / "topology.yaml"
        cluster_file.write_text(json.dumps(as_printed, indent=4), encoding="utf-8")
        topology_file.write_text(yaml.safe_dump(TOPOLOGY), encoding="utf-8")
        annotations = {"kai.scheduler/topology": "topology-1", f"kai.scheduler/topology-{placement}-placement": word}
        deployment = {
            "apiVersion": f"nvidia.com/{self.shape}",
            "kind": "DynamoGraphDeployment",
            "metadata": {"name": "vllm-disagg", "namespace": "inference", "annotations": annotations},
            "spec": SHAPES[self.shape](),
        }
        gang_file = self.folder / "vllm-disagg.yaml"
        gang_file.write_text(yaml.safe_dump(deployment), encoding="utf-8")
        cluster_documents = read_documents([str(cluster_file), str(topology_file)])
        found = read_gangs(read_documents([str(gang_file)]), cluster_documents=cluster_documents)
        (gang,) = found.gangs
        assert found.all_notices == ()
        loaded = load_cluster(cluster_documents)
        assert loaded.notices == ()
        return loaded.snapshot, gang


@pytest.fixture(params=SHAPES)
def field(request: pytest.FixtureRequest, tmp_path: Path) -> Field:
    """The deployment in either published shape."""
    return Field(tmp_path, request.param)


each_placement = pytest.mark.parametrize("placement", ["preferred", "required"])

#: GPUs in use by node
ROOM_IN_1A = {"worker-3": 4}  # 4 + 4 free in 1a, 4 in 1b
ROOM_IN_1B = {"worker-1": 2, "worker-2": 2}  # 2 + 2 free in 1a, 8 in 1b
ROOM_IN_BOTH_TOGETHER = {"worker-1": 2, "worker-2": 2, "worker-3": 4}  # 4 free in each
ONE_GPU_SHORT = {"worker-1": 2, "worker-2": 2, "worker-3": 7}  # 4 free in 1a, 1 in 1b


def _zones(answer_nodes: Mapping[str, str]) -> Counter[str]:
    return Counter(NODES[name][0] for name in answer_nodes.values())


@each_placement
@each_engine
def test_all_in_the_zone_with_room(placement: str, engine: Engine, field: Field) -> None:
    """All five pods go to 1a, over both of its nodes."""
    answer = placed(*field.read(placement, ROOM_IN_1A), engine)
    where = nodes_of(answer)
    assert sorted(where) == [
        "frontend-0", "vllmdecodeworker-0", "vllmdecodeworker-1", "vllmprefillworker-0", "vllmprefillworker-1",
    ]  # fmt: skip
    assert _zones(where) == {"1a": 5}
    assert (answer.domains["zone"], values(answer)["containment_steps"]) == (1, 0)


@each_placement
@each_engine
def test_the_other_zone_when_the_first_is_too_small(placement: str, engine: Engine, field: Field) -> None:
    """With four GPUs left in 1a the whole deployment goes to 1b."""
    answer = placed(*field.read(placement, ROOM_IN_1B), engine)
    assert _zones(nodes_of(answer)) == {"1b": 5}
    assert answer.domains["zone"] == 1


@each_engine
def test_preferred_spans_zones_when_none_is_big_enough(engine: Engine, field: Field) -> None:
    """Preferred is no obstacle: all pods are placed, over both zones, which is proven to be the best."""
    answer = placed(*field.read("preferred", ROOM_IN_BOTH_TOGETHER), engine)
    assert len(answer.assignments) == 5
    assert set(_zones(nodes_of(answer))) == {"1a", "1b"}
    assert answer.domains["zone"] == 2
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (1, 2)


@each_engine
def test_required_waits_when_none_is_big_enough(engine: Engine, field: Field) -> None:
    """Required places nothing; the reason tells what is needed in one zone and what the fullest has."""
    snapshot, gang = field.read("required", ROOM_IN_BOTH_TOGETHER)
    refused(snapshot, gang, engine, "pack", "needs 6 GPUs in one zone … 4 free", needed=6, largest=4)


@each_placement
@each_engine
def test_one_gpu_short_and_nothing_is_placed(placement: str, engine: Engine, field: Field) -> None:
    """Five free GPUs of six needed: not one pod is placed, not even the frontend."""
    snapshot, gang = field.read(placement, ONE_GPU_SHORT)
    refused(snapshot, gang, engine, "capacity", "needs 6 GPUs … 3 eligible nodes … 5 GPUs free", needed=6, free=5)


@pytest.mark.parametrize("word", [ZONE, "zone"])
def test_the_annotation_may_name_the_label_or_the_level(word: str, field: Field) -> None:
    """The level is called by its node label or by its well-known name."""
    answer = placed(*field.read("required", ROOM_IN_1B, word), Engine.AUTO)
    assert _zones(nodes_of(answer)) == {"1b": 5}


def test_both_shapes_are_the_same_gang(tmp_path: Path) -> None:
    """Services and components of the same deployment plan alike."""
    answers = [placed(*Field(tmp_path, shape).read("preferred", ROOM_IN_1A), Engine.AUTO) for shape in SHAPES]
    assert answers[0].assignments == answers[1].assignments
    assert answers[0].objective == answers[1].objective
    assert [(flow.source, flow.target) for flow in answers[0].flows] == [
        ("VllmPrefillWorker", "VllmDecodeWorker"),
        ("Frontend", "VllmPrefillWorker"),
    ]
