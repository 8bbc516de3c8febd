"""Room that pods hold by nomination, one pod at a time, straight from the definition."""

from collections.abc import Iterator

from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.resources import PODS
from solver.domain.snapshot import Ints, Snapshot


def holders(snapshot: Snapshot, gang: Gang) -> Iterator[BoundPod]:
    """Pods that wait for a node and keep a gang of this priority from their room."""
    waiting = [pod for pod in snapshot.nominated if pod.nominated_priority is not None]
    names = {pod.name for pod in waiting}
    bound = {pod.name for pod in snapshot.pods if pod.nominated_priority is None and pod.name in names} if names else ()
    own = {pod for role in gang.roles for pod in role.pods}
    own_priority = gang.priority if gang.pod_priority is None else gang.pod_priority
    for pod in waiting:
        is_own = pod.name in own or pod.gang == gang.name
        is_higher = pod.nominated_priority is not None and pod.nominated_priority < own_priority
        if not (is_own or is_higher or pod.name in bound):
            yield pod


def left_beside(snapshot: Snapshot, pods: tuple[BoundPod, ...]) -> Ints:
    """[nodes, resources] what is free once these pods hold their room as well."""
    if not pods:
        return snapshot.free
    free = snapshot.free.copy()
    for pod in pods:
        taken = {**dict(pod.requests), PODS: 1}
        for column, resource in enumerate(snapshot.resources):
            free[snapshot.node_idx[pod.node], column] -= taken.get(resource, 0)
    return free
