"""Pods by gang, and which gangs an object is about."""

from adapters.kubernetes.decoding import Body
from adapters.kubernetes.gang_keys import gang_key, is_replica, replica_keys
from adapters.kubernetes.occupancy import Key, Store
from adapters.kubernetes.resources import (
    BIND_REQUESTS,
    DYNAMO_DEPLOYMENTS,
    GANGS,
    LEADER_WORKER_SETS,
    PLACEMENTS,
    POD_GROUPS,
    PODS,
    Resource,
)
from solver.domain.naming import natural_key

_NAMED_LIKE_GANGS = (GANGS, DYNAMO_DEPLOYMENTS, *POD_GROUPS)


class GangIndex:
    """The pods of a store by gang."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[str, dict[Key, None]] = {}

    def note_pod(self, key: Key, before: Body | None, now: Body | None) -> None:
        """A pod has changed."""
        left, joined = (gang_key(body) if body else "" for body in (before, now))
        if left != joined and left:
            self._pods[left].pop(key)
            if not self._pods[left]:
                del self._pods[left]
        if joined:
            self._pods.setdefault(joined, {})[key] = None

    def pods_of(self, gang: str) -> tuple[Body, ...]:
        """Pods of a gang, by natural name."""
        keys = sorted(self._pods.get(gang, ()), key=lambda key: natural_key(key[1]))
        found = (self._store[PODS].get(key) for key in keys)  # another thread may look while one has just gone
        return tuple(body for body in found if body is not None)

    def of_pod(self, key: Key) -> str:
        """The gang of a pod, or empty."""
        body = self._store[PODS].get(key)
        return gang_key(body) if body else ""

    def keys(self) -> frozenset[str]:
        """Every gang that has a pod or an object of its own."""
        found = set(self._pods)
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
            return [gang_key(body)]
        if resource in _NAMED_LIKE_GANGS:
            return [f"{namespace}/{metadata['name']}"]
        if resource is PLACEMENTS:
            return [f"{namespace}/{spec.get('gang') or metadata['name']}"]
        if resource is LEADER_WORKER_SETS:
            return replica_keys(body, self._pods) + self._placed_replicas(namespace, body)
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
