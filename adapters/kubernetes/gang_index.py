"""Pods by gang, and which gangs an object is about.

A pod is in the gang that it names, else in that of its owner. The latter matters only while some pod of it waits for
Huddle, or once it has a Placement: most workloads of a cluster are scheduled by others.
"""

from collections.abc import Mapping
from typing import Any

from adapters.kubernetes.decoding import Body
from adapters.kubernetes.gang_keys import gang_key, is_held, is_replica, owner_key, replica_keys, split_owner_key
from adapters.kubernetes.occupancy import Key, Store
from adapters.kubernetes.placement_objects import placement_name
from adapters.kubernetes.resources import (
    BIND_REQUESTS,
    DYNAMO_DEPLOYMENTS,
    GANGS,
    LEADER_WORKER_SETS,
    PLACEMENTS,
    POD_GROUPS,
    PODS,
    WORKLOADS,
    Resource,
)
from solver.domain.naming import natural_key

_NAMED_LIKE_GANGS = (GANGS, DYNAMO_DEPLOYMENTS, *POD_GROUPS)


class GangIndex:
    """The pods of a store by gang."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[str, dict[Key, None]] = {}
        self._held: dict[str, set[Key]] = {}  # by gang: pods without its name that wait for Huddle

    def note_pod(self, key: Key, before: Body | None, now: Body | None) -> None:
        """A pod has changed."""
        left, joined = (_any_key(body) if body else "" for body in (before, now))
        if left != joined and left:
            self._pods[left].pop(key)
            if not self._pods[left]:
                del self._pods[left]
        if joined:
            self._pods.setdefault(joined, {})[key] = None
        if left:
            self._note_held(left, key, False)
        if joined and now is not None and split_owner_key(joined) is not None:
            self._note_held(joined, key, is_held(now))

    def _note_held(self, gang: str, key: Key, holds: bool) -> None:
        if holds:
            self._held.setdefault(gang, set()).add(key)
        elif gang in self._held:
            self._held[gang].discard(key)
            if not self._held[gang]:
                del self._held[gang]

    def gang_of(self, pod: Mapping[str, Any]) -> str:
        """The gang of a pod: that it names, else that of its owner while it matters; empty if it is in none."""
        named = gang_key(pod)
        if named:
            return named
        owner = owner_key(pod)
        return owner if owner and (self._matters(owner) or is_held(pod)) else ""

    def _matters(self, owner: str) -> bool:
        """Whether a gang of an owner is Huddle's."""
        return owner in self._held or (owner.partition("/")[0], placement_name(owner)) in self._store[PLACEMENTS]

    def pods_of(self, gang: str) -> tuple[Body, ...]:
        """Pods of a gang, by natural name."""
        keys = sorted(self._pods.get(gang, ()), key=lambda key: natural_key(key[1]))
        found = (self._store[PODS].get(key) for key in keys)  # another thread may look while one has just gone
        return tuple(body for body in found if body is not None)

    def of_pod(self, key: Key) -> str:
        """The gang of a pod, or empty."""
        body = self._store[PODS].get(key)
        return self.gang_of(body) if body else ""

    def keys(self) -> frozenset[str]:
        """Every gang that has a pod or an object of its own; of owners only those that matter."""
        found = {key for key in self._pods if split_owner_key(key) is None or self._matters(key)}
        for resource in (*_NAMED_LIKE_GANGS, PLACEMENTS):
            for body in self._store[resource].values():
                found |= self.keys_of(resource, None, body)
        return frozenset(found)

    def keys_of(self, resource: Resource, before: Body | None, now: Body | None) -> set[str]:
        """Gangs that an object is, or was, about; of a LeaderWorkerSet those of which there is a pod or a Placement."""
        return {gang for body in (before, now) if body for gang in self._about(resource, body) if gang}

    def _about(self, resource: Resource, body: Body) -> list[str]:
        metadata, spec = body["metadata"], body.get("spec") or {}
        namespace = metadata.get("namespace") or ""
        if resource is PODS:
            return [self.gang_of(body)]
        if resource in _NAMED_LIKE_GANGS:
            return [f"{namespace}/{metadata['name']}"]
        if resource is PLACEMENTS:
            return [f"{namespace}/{spec.get('gang') or metadata['name']}"]
        if resource is LEADER_WORKER_SETS:
            return replica_keys(body, self._pods) + self._placed_replicas(namespace, body)
        if resource in WORKLOADS:
            owner = f"{namespace}/{resource.kind.lower()}.{resource.group}:{metadata['name']}"
            return [owner] if self._matters(owner) else []
        if resource is BIND_REQUESTS:
            return [self.of_pod((namespace, spec.get("podName") or ""))]
        return []

    def _placed_replicas(self, namespace: str, leader_worker_set: Body) -> list[str]:
        """Gangs of a LeaderWorkerSet that have a Placement."""
        placed = (
            key
            for (where, name), body in self._store[PLACEMENTS].items()
            if where == namespace
            for key in [f"{namespace}/{(body.get('spec') or {}).get('gang') or name}"]
        )
        return [key for key in placed if is_replica(leader_worker_set, key)]


def _any_key(pod: Mapping[str, Any]) -> str:
    """The gang of a pod, whether it matters or not."""
    return gang_key(pod) or owner_key(pod)
