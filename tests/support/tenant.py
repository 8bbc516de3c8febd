"""A tenant who writes expensive Gangs all the time, and a client that measures whether a controller answers."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adapters.kubernetes.resources import GANGS
from support.controlplane.api import Api, Json, Refused
from support.controlplane.fleet import gpu_pod
from support.hostile import manifest
from support.workloads import GANG_LABEL, ROLE_LABEL

REPLICA_LABEL = "huddle.scheduler/replica"
#: Gangs of the tenant that are there at a time, and pods of one of them at most.
MOST_ALIVE, MOST_PODS = 40, 24


class HostileTenant:
    """Writes, changes and deletes Gangs and gated pods of one namespace, without a pause, while the block runs.

    refused: answers of the API server that were no, by their first words.
    """

    def __init__(self, api: Api, namespace: str, seed: int, pause_s: float = 0.1) -> None:
        self._api, self._namespace, self._pause_s = api, namespace, pause_s
        self._rng = random.Random(seed)
        self._alive: deque[tuple[str, list[str]]] = deque()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tenant", daemon=True)
        self.written = 0
        self.pods = 0
        self.refused: Counter[str] = Counter()

    def __enter__(self) -> "HostileTenant":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join(60)

    def _run(self) -> None:
        seed = 0
        while not self._ends.wait(self._pause_s):
            seed += 1
            body = self._gang(seed)
            if self._tried(lambda body=body: self._api.create(GANGS.path(self._namespace), body)):  # type: ignore[misc]
                self.written += 1
                self._fill(body)
            if len(self._alive) > MOST_ALIVE:
                self._delete(*self._alive.popleft())
            if self._alive and self._rng.random() < 0.5:
                self._change(self._rng.choice(self._alive)[0])

    def _gang(self, seed: int) -> Json:
        body = OWN[seed % len(OWN)](self._rng) if seed % 2 else manifest(seed)
        body["metadata"] = {"name": f"hostile-{seed}"}
        _without_templates(body["spec"])
        return body

    def _fill(self, body: Json) -> None:
        """Some of the pods that it declares."""
        name, roles = body["metadata"]["name"], list(_roles(body["spec"]["root"]))
        pods = []
        for at in range(self._rng.choice([1, 2, MOST_PODS])):
            role, copies = self._rng.choice(roles)
            labels = {GANG_LABEL: name, ROLE_LABEL: role, REPLICA_LABEL: str(self._rng.randrange(copies))}
            pods.append(gpu_pod(f"{name}-{at}", self._rng.choice([0, 1]), gated=True, labels=labels))
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        made = [pod for pod in pods if self._tried(lambda pod=pod: self._api.create(path, pod))]  # type: ignore[misc]
        self.pods += len(made)
        self._alive.append((name, [pod["metadata"]["name"] for pod in made]))

    def _change(self, name: str) -> None:
        """Something about it, so that it is looked at anew."""
        change = {"metadata": {"annotations": {"changed": str(time.monotonic())}}}
        self._tried(lambda: self._api.patch(GANGS.path(self._namespace, name), change))

    def _delete(self, name: str, pods: list[str]) -> None:
        self._tried(lambda: self._api.delete(GANGS.path(self._namespace, name)))
        for pod in pods:
            self._tried(lambda pod=pod: self._api.delete(f"/api/v1/namespaces/{self._namespace}/pods/{pod}"))  # type: ignore[misc]

    def _tried(self, call: Callable[[], Any]) -> bool:
        try:
            call()
        except Refused as refused:
            self.refused[str(refused)[:60]] += 1
            return False
        return True


def _role(name: str, replicas: int, least: int) -> Json:
    return {"name": name, "replicas": replicas, "min": least}


def _body(spec: Json) -> Json:
    return {"apiVersion": "huddle.scheduler/v1alpha1", "kind": "Gang", "spec": spec}


def _flat(rng: random.Random) -> Json:
    """As many replicas as are admitted, of which one is needed."""
    return _body({"root": {"groups": [{"name": "g", "replicas": 10_000, "min": 1, "roles": [_role("w", 1, 1)]}]}})


def _nest(rng: random.Random) -> Json:
    """Ten in ten in ten in ten."""
    group: Json = {"name": "a", "replicas": 10, "min": 1, "roles": [_role("w", 10, rng.choice([0, 1]))]}
    for name in "bc":
        group = {"name": name, "replicas": 10, "min": 1, "groups": [group]}
    return _body({"root": {"min": 0, "groups": [group]}})


def _many(rng: random.Random) -> Json:
    """As many elastic roles as are admitted, all of which send to all."""
    groups = [
        {"name": f"g{at}", "pack": {"preferred": "rack"}, "roles": [_role(f"r{at}-{of}", 3, 0) for of in range(16)]}
        for at in range(4)
    ]
    names = [role["name"] for group in groups for role in group["roles"]]  # type: ignore[index]
    flows = [{"from": names[:32], "to": names[32:], "bytes": at} for at in range(32)]
    return _body({"root": {"min": 1, "groups": groups}, "flows": flows})


OWN = (_flat, _nest, _many)


def _roles(group: Json, copies: int = 1) -> Iterator[tuple[str, int]]:
    """Roles with the number of replicas over everything above them."""
    copies *= group.get("replicas", 1)
    for role in group.get("roles", ()):
        yield role["name"], copies
    for child in group.get("groups", ()):
        yield from _roles(child, copies)


def _without_templates(value: Any) -> None:
    if isinstance(value, Mapping):
        assert isinstance(value, dict)
        value.pop("template", None)
        for inner in value.values():
            _without_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            _without_templates(inner)
