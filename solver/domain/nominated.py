"""Room of pods that wait for a node they are nominated to, as kube-scheduler keeps it for them.

A nominated pod counts as bound for gangs of at most its priority; for all others, and for its own gang, it is not
there. It holds nothing of its queue. One for which capacity is held already, such as a promised seat, counts once.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot


def counting(snapshot: Snapshot, gang: Gang) -> tuple[BoundPod, ...]:
    """The nominated pods whose room the gang cannot have."""
    if not snapshot.nominated:
        return ()
    own = set(members_among(snapshot, gang))
    return tuple(
        pod
        for pod in snapshot.nominated
        if (pod.nominated_priority or 0) >= gang.room_priority
        and pod.key not in own
        and pod.name not in snapshot.nominated_and_held
    )


def seen_by(snapshot: Snapshot, gang: Gang) -> Snapshot:
    """The snapshot as the gang has to take it, without any nominated pod: those that count are bound in it."""
    return _settled(snapshot, counting(snapshot, gang))


def seen_alike(snapshot: Snapshot, gangs: Sequence[Gang]) -> Snapshot | None:
    """What all of some gangs see, None where they do not see the same."""
    if not snapshot.nominated or not gangs:
        return snapshot
    first, *others = (counting(snapshot, gang) for gang in gangs)
    return _settled(snapshot, first) if all(other == first for other in others) else None


def unnominated(snapshot: Snapshot, gangs: Sequence[Gang]) -> Snapshot:
    """The snapshot without the nominated pods of some gangs."""
    gone = {key: pod for gang in gangs for key, pod in members_among(snapshot, gang).items()}
    return snapshot.with_changes((), tuple(gone.values())) if gone else snapshot


def members_among(snapshot: Snapshot, gang: Gang, pods: Collection[str] | None = None) -> dict[object, BoundPod]:
    """The nominated pods of a gang by key: those of its names, and those that name it under other names.

    pods: its names, if only some of them are meant.
    """
    if not snapshot.nominated:
        return {}
    every = {pod for role in gang.roles for pod in role.pods}
    wanted = every if pods is None else set(pods)
    return {
        pod.key: pod
        for pod in snapshot.nominated
        if pod.name in wanted or (pod.gang == gang.name and pod.name not in every)
    }


def _settled(snapshot: Snapshot, counted: Sequence[BoundPod]) -> Snapshot:
    if not snapshot.nominated:
        return snapshot
    held = [replace(pod, nominated_priority=None, queue="") for pod in counted]
    return snapshot.with_changes(held, snapshot.nominated).as_version(snapshot.version)
