"""What the pods of gangs hold, as others see it."""

from collections.abc import Sequence
from dataclasses import replace

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.nominated import members_among
from solver.domain.plan import Assignment, Notice
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot


def without_lost(snapshot: Snapshot, gang: Gang) -> tuple[Gang, tuple[Notice, ...]]:
    """The gang without the running members whose nodes are gone: they are lost, and their places are planned anew.

    With a notice for each of them.
    """
    lost = [member for member in gang.running if member.node not in snapshot.node_idx]
    if not lost:
        return gang, ()
    notices = tuple(
        Notice("member_lost", member.pod, "running", f"node {member.node} is gone: the pod is lost and placed anew")
        for member in lost
    )
    return replace(gang, running=tuple(member for member in gang.running if member not in lost)), notices


def holding_running(snapshot: Snapshot, gangs: Sequence[Gang]) -> Snapshot:
    """The snapshot with every running member of `gangs` in it; those it does not know yet take their capacity."""
    if not any(gang.running for gang in gangs):
        return snapshot
    known = {(pod.name, pod.node) for pod in snapshot.pods if pod.nominated_priority is None}
    missing = []
    for gang in gangs:
        requests = {pod: role.requests for role in gang.roles for pod in role.pods}
        for member in gang.running:
            if member.node not in snapshot.node_idx:
                problem = f"running pod {member.pod}: node {member.node!r} is not in the input"
                raise InvalidRequest(f"gang {gang.name}: {problem}")
            if (member.pod, member.node) not in known:
                missing.append(
                    BoundPod(member.pod, member.node, requests[member.pod], queue=gang.queue, gang=gang.name)
                )
    return snapshot.with_pods(missing) if missing else snapshot


def holding_planned(snapshot: Snapshot, gang: Gang, assignments: Sequence[Assignment]) -> Snapshot:
    """The snapshot with what a placed gang holds; its pods hold nothing by nomination any more."""
    freed = members_among(snapshot, gang, [item.pod for item in assignments])
    return snapshot.with_changes(as_bound(gang, assignments), tuple(freed.values()))


def as_bound(gang: Gang, assignments: Sequence[Assignment]) -> list[BoundPod]:
    """What a placed gang holds, as others see it."""
    roles = {role.name: role for role in gang.roles}
    return [
        BoundPod(
            name=item.pod,
            node=item.node,
            requests=roles[item.role].requests,
            labels=dict(roles[item.role].constraints.labels),
            anti_affinity=roles[item.role].constraints.anti_affinity,
            queue=gang.queue,
            gang=gang.name,
            uid=f"planned/{gang.name}/{item.pod}",
        )
        for item in assignments
    ]
