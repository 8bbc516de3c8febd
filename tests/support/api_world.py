"""Random objects as an API server has them, and random changes of them: a dictionary, the oracle of mirrors."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from adapters.kubernetes.decoding import Body, decoder
from adapters.kubernetes.objects import Document
from adapters.kubernetes.occupancy import NAMING_QUEUES, Key
from adapters.kubernetes.resources import (
    BIND_REQUESTS,
    GANGS,
    KAI_POD_GROUPS,
    KAI_TOPOLOGIES,
    KUEUE_TOPOLOGIES,
    LEADER_WORKER_SETS,
    MIRRORED,
    NATIVE_POD_GROUPS,
    NODES,
    PLACEMENTS,
    PODS,
    PRIORITY_CLASSES,
    QUEUES,
    Resource,
)
from adapters.kubernetes.watching import Event, Verb

_RARE = (BIND_REQUESTS, GANGS, KAI_POD_GROUPS, NATIVE_POD_GROUPS, PLACEMENTS, LEADER_WORKER_SETS)
_RARE_TOO = (QUEUES, KAI_TOPOLOGIES, KUEUE_TOPOLOGIES, PRIORITY_CLASSES)
_TOGETHER = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass
class ApiWorld:
    """What an API server holds. Every change gives the event that a watch tells."""

    rng: random.Random
    objects: dict[Resource, dict[Key, Body]] = field(default_factory=lambda: {kind: {} for kind in MIRRORED})
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def change(self) -> tuple[Resource, Event]:
        """One random change."""
        rare = self.rng.choice((*_RARE, *_RARE_TOO))
        resource = self.rng.choice((PODS, PODS, PODS, NODES, NODES, rare, rare, BIND_REQUESTS))
        known = self.objects[resource]
        if known and self.rng.random() < 0.3:
            return resource, self.delete(resource, self.rng.choice(sorted(known)))
        return resource, self.put(resource, self._random(resource))

    def put(self, resource: Resource, body: Body) -> Event:
        """An object appears, or is as it is from now on."""
        version = str(next(self._numbers))
        key = (body["metadata"].get("namespace", ""), body["metadata"]["name"])
        before = self.objects[resource].get(key)
        body["metadata"] |= {"resourceVersion": version, "uid": before["metadata"]["uid"] if before else f"u{version}"}
        body |= {"kind": resource.kind, "apiVersion": f"{resource.group}/{resource.versions[0]}".lstrip("/")}
        self.objects[resource][key] = decoder(resource).body(msgspec.json.encode(body))
        return Event(Verb.MODIFIED if before else Verb.ADDED, body)

    def delete(self, resource: Resource, key: Key) -> Event:
        """An object goes."""
        body = self.objects[resource].pop(key)
        version = str(next(self._numbers))
        return Event(Verb.DELETED, {**body, "metadata": {**body["metadata"], "resourceVersion": version}})

    def documents(self) -> list[Document]:
        """Everything, as a file would have it; objects that name queues in the order in which they count."""
        first = [kind for kind in MIRRORED if kind not in NAMING_QUEUES]
        return [
            Document(body, "world")
            for kind in (*first, *NAMING_QUEUES)
            for _, body in sorted(self.objects[kind].items())
        ]

    def _random(self, resource: Resource) -> Body:
        rng = self.rng
        name, namespace = f"x{rng.randint(0, 2)}", rng.choice(("a", "b"))
        if resource is NODES:
            return _node(rng)
        if resource is PODS:
            return _pod(rng, f"p{rng.randint(0, 5)}", namespace)
        if resource is QUEUES:
            return _body(name, spec={"resources": {"gpu": {"limit": rng.choice((-1, 0, 8))}}})
        if resource in (KAI_TOPOLOGIES, KUEUE_TOPOLOGIES):
            keys = [key for key in ("zone", "rack", "nvl") if rng.random() < 0.7]
            return _body(name, spec={"levels": [{"nodeLabel": key} for key in keys]})
        if resource is BIND_REQUESTS:
            spec = {"podName": f"p{rng.randint(0, 5)}", "selectedNode": f"n{rng.randint(0, 5)}"}
            return _body(name, namespace, spec=spec, status={"phase": rng.choice(("Pending", "Failed"))})
        if resource is PRIORITY_CLASSES:
            return _body(name, value=rng.randint(-5, 5), globalDefault=rng.random() < 0.3)
        if resource is LEADER_WORKER_SETS:
            return _body(name, namespace, spec={"replicas": rng.randint(0, 2)})
        if resource is PLACEMENTS:
            return _body(name, namespace, spec={"gang": rng.choice((name, "g"))})
        return _body(f"g{rng.randint(0, 2)}", namespace, spec={"queue": rng.choice(("", "x0", "x1"))})


def _body(name: str, namespace: str = "", **fields: Any) -> Body:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, **fields}


def _node(rng: random.Random) -> Body:
    name = f"n{rng.randint(0, 5)}"
    return {
        "metadata": {"name": name, "labels": {"zone": rng.choice("ab"), "kubernetes.io/hostname": name}},
        "spec": {"unschedulable": rng.random() < 0.2},
        "status": {
            "allocatable": {"cpu": "8", "memory": "1Gi", "nvidia.com/gpu": rng.choice(("4", "8"))},
            "conditions": [{"type": "Ready", "status": rng.choice(("True", "True", "False", "Unknown"))}],
        },
    }


def _pod(rng: random.Random, name: str, namespace: str) -> Body:
    labels = {"app": rng.choice("xy")}
    if rng.random() < 0.4:
        labels["huddle.scheduler/gang"] = f"g{rng.randint(0, 2)}"
    if rng.random() < 0.3:
        labels |= {"leaderworkerset.sigs.k8s.io/name": "x1", "leaderworkerset.sigs.k8s.io/group-index": "0"}
    if rng.random() < 0.2:
        labels["kai.scheduler/queue"] = "x0"
    amounts = {"cpu": rng.choice(("1", "500m")), "nvidia.com/gpu": rng.choice(("0", "1", "2"))}
    spec: dict[str, Any] = {"containers": [{"name": "main", "resources": {"requests": amounts}}]}
    if rng.random() < 0.7:
        spec["nodeName"] = f"n{rng.randint(0, 5)}"
    spec |= rng.choice(({}, {"priority": rng.randint(-1, 1)}, {"priorityClassName": f"x{rng.randint(0, 2)}"}))
    if rng.random() < 0.2:
        spec["schedulingGroup"] = {"podGroupName": f"g{rng.randint(0, 2)}"}
    if rng.random() < 0.2:
        term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}
        spec["affinity"] = {"podAntiAffinity": {_TOGETHER: [term]}}
    annotations = {"pod-group-name": f"g{rng.randint(0, 2)}"} if rng.random() < 0.3 else {}
    if rng.random() < 0.3:
        annotations |= {"gpu-fraction": "0.5", "gpu-fraction-num-devices": rng.choice(("1", "2", "many"))}
    if rng.random() < 0.4:
        labels |= {"runai-gpu-group": rng.choice(("d0", "d1")), **rng.choice(({}, {"runai-gpu-group/d2": "d2"}))}
    status: Body = {"phase": rng.choice(("Running", "Running", "Pending", "Succeeded"))}
    if rng.random() < 0.5:
        status["nominatedNodeName"] = rng.choice(("", *(f"n{at}" for at in range(6))))
    if rng.random() < 0.3:
        amounts = {"cpu": rng.choice(("250m", "2"))}
        status["containerStatuses"] = [{"name": "main", "allocatedResources": amounts}]
        status["conditions"] = [{"type": "PodResizePending", "reason": rng.choice(("Infeasible", "Deferred"))}]
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    return {"metadata": metadata, "spec": spec, "status": status}
