"""Gangs with their pods on the control plane, and who keeps those pods coming: what a controller manager would do."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import urllib3

from adapters.kubernetes.resources import GANGS, PLACEMENTS
from support.controlplane.api import Api, Json, Refused
from support.controlplane.fleet import GATE, gpu_pod

GANG_LABEL, ROLE_LABEL = "huddle.scheduler/gang", "huddle.scheduler/role"
#: Bytes of one KV cache that travels from a prefill to a decode worker.
KV_BYTES = 1_310_720_000
#: Seconds between two looks of whoever keeps pods coming, and until it removes pods whose node is gone.
LOOK_S, ORPHAN_S = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Role:
    """Pods that are alike. kind: as in a Gang; None: that of its name. least: pods it needs; None: all."""

    name: str
    replicas: int
    gpus: int
    kind: str | None = None
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """A gang and its pods. hand: `gate`, `bind` or `extender`. owned: whether somebody makes successors of its pods.

    scheduler: who binds pods that Huddle does not bind itself.
    """

    namespace: str
    name: str
    roles: tuple[Role, ...]
    pack: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    hand: str = "gate"
    owned: bool = True
    scheduler: str = "default-scheduler"

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def pods_path(self) -> str:
        """Collection of its pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def gang(self) -> Json:
        """The Gang object; prefill sends to decode where there is both."""
        names = {role.name for role in self.roles}
        flows = [{"from": "prefill", "to": "decode", "bytes": KV_BYTES}] if {"prefill", "decode"} <= names else []
        pack = {"pack": dict(self.pack)} if self.pack else {}
        return {
            "apiVersion": "huddle.scheduler/v1alpha1",
            "kind": "Gang",
            "metadata": {"name": self.name},
            "spec": {
                "priority": self.priority,
                "root": {**pack, "roles": [_role(role) for role in self.roles]},
                "flows": flows,
            },
        }

    def pod_names(self) -> list[str]:
        """Of all pods there should be."""
        return [f"{self.name}-{role.name}-{at}" for role in self.roles for at in range(role.replicas)]

    def pods(self) -> list[Json]:
        """All pods there should be."""
        return [self._pod(role, at) for role in self.roles for at in range(role.replicas)]

    def _pod(self, role: Role, at: int) -> Json:
        labels = {GANG_LABEL: self.name, ROLE_LABEL: role.name}
        gated = self.hand == "gate"
        scheduler = "huddle" if self.hand == "bind" else self.scheduler
        pod = gpu_pod(f"{self.name}-{role.name}-{at}", role.gpus, gated=gated, scheduler=scheduler, labels=labels)
        pod["metadata"]["ownerReferences"] = [_owner(self.name)] if self.owned else []
        return pod

    def create(self, api: Api) -> None:
        """Make the Gang and all its pods."""
        api.create(GANGS.path(self.namespace), self.gang())
        api.create_all(self.pods_path, self.pods())

    def delete(self, api: Api) -> None:
        """Delete the Gang and its pods; the Placement is left to the controller, as there is no garbage collector."""
        _gone(api, GANGS.path(self.namespace, self.name))
        for name in self.pod_names():
            _gone(api, f"{self.pods_path}/{name}")

    def bodies(self, api: Api) -> list[Json]:
        """Its pods as they are."""
        return api.items(self.pods_path, labelSelector=f"{GANG_LABEL}={self.name}")

    def bound(self, api: Api) -> dict[str, str]:
        """Pod → node of those that are bound and not leaving."""
        return {
            body["metadata"]["name"]: body["spec"]["nodeName"]
            for body in self.bodies(api)
            if body["spec"].get("nodeName") and "deletionTimestamp" not in body["metadata"]
        }

    def is_bound(self, api: Api) -> bool:
        """Whether all its pods are."""
        return len(self.bound(api)) == len(self.pod_names())

    def placement(self, api: Api) -> Json:
        """Its Placement, or nothing."""
        try:
            return api.get(PLACEMENTS.path(self.namespace, self.name))
        except Refused as refused:
            if refused.status != 404:
                raise
            return {}

    def planned(self, api: Api) -> dict[str, str]:
        """Pod → node, as its Placement says."""
        seats = self.placement(api).get("spec", {}).get("assignments", [])
        return {seat["pod"]: seat["node"] for seat in seats}

    def phase(self, api: Api) -> str:
        """Phase of its Placement, or empty."""
        return str(self.placement(api).get("status", {}).get("phase", ""))

    def reason(self, api: Api) -> str:
        """Code of the first reason why it waits, or empty."""
        reasons = self.placement(api).get("status", {}).get("reasons") or [{"code": ""}]
        return str(reasons[0]["code"])

    def condition(self, api: Api) -> Json:
        """Its condition `Placed`, as the Gang has it, or nothing."""
        conditions = api.get(GANGS.path(self.namespace, self.name)).get("status", {}).get("conditions") or ()
        return next((condition for condition in conditions if condition["type"] == "Placed"), {})


class Keeper:
    """Makes successors of owned pods that went, and removes pods whose node is gone. A thread, while the block runs.

    look_s: it lists every node and pod so often.
    """

    def __init__(self, api: Api, look_s: float = LOOK_S) -> None:
        self._api, self._look_s = api, look_s
        self._kept: dict[str, Workload] = {}
        self._orphans: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join(60)

    def keep(self, workload: Workload) -> None:
        """Make a workload and keep its pods coming; or, if it is kept already, as it is from now on."""
        known = self._kept.get(workload.key)
        with self._lock:
            if known is None:
                self._api.create(GANGS.path(workload.namespace), workload.gang())
            else:
                self._api.patch(GANGS.path(workload.namespace, workload.name), {"spec": workload.gang()["spec"]})
            self._kept[workload.key] = workload

    def drop(self, workload: Workload) -> None:
        """Delete a workload."""
        with self._lock:
            del self._kept[workload.key]
            workload.delete(self._api)

    def _run(self) -> None:
        while not self._ends.wait(self._look_s):
            try:
                with self._lock:
                    self._look()
            except (Refused, urllib3.exceptions.HTTPError):
                continue  # the API server is away, or something changed meanwhile

    def _look(self) -> None:
        nodes = {node["metadata"]["name"] for node in self._api.items("/api/v1/nodes")}
        there: dict[str, set[str]] = {}
        orphans = dict[str, float]()
        for pod in self._api.items("/api/v1/pods"):
            metadata, node = pod["metadata"], pod["spec"].get("nodeName")
            if node and node not in nodes:
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
                orphans[path] = self._orphans.get(path, time.monotonic())
            there.setdefault(metadata["namespace"], set()).add(metadata["name"])
        self._orphans = orphans
        for path, since_s in orphans.items():
            if time.monotonic() > since_s + ORPHAN_S:
                _gone(self._api, path)
        for workload in self._kept.values():
            present = there.get(workload.namespace, set())
            missing = [pod for pod in workload.pods() if pod["metadata"]["name"] not in present]
            if missing and workload.owned:
                self._api.create_all(workload.pods_path, missing)


def is_gated(pod: Json) -> bool:
    """Whether Huddle's gate holds the pod."""
    return GATE in [gate["name"] for gate in pod["spec"].get("schedulingGates", ())]


def events(api: Api, namespace: str, name: str) -> Sequence[str]:
    """What events say about an object of this name."""
    items = api.items(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
    return [item.get("note", "") for item in items if item.get("regarding", {}).get("name") == name]


def _role(role: Role) -> dict[str, Any]:
    known = ("router", "prefill", "decode", "worker")
    kind = role.kind or (role.name if role.name in known else "other")
    least = {} if role.least is None else {"min": role.least}
    template = gpu_pod(role.name, role.gpus)
    return {
        "name": role.name,
        "kind": kind,
        "replicas": role.replicas,
        **least,
        "template": {"spec": {"containers": template["spec"]["containers"]}},
    }


def _owner(name: str) -> Json:
    """A controller; nobody looks whether it exists."""
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": f"uid-of-{name}", "controller": True}


def _gone(api: Api, path: str) -> None:
    try:
        api.delete(path)
    except Refused as refused:
        if refused.status not in (404, 409):
            raise
