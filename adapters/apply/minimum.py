"""Whether some pods of a gang are as many as it needs."""

from collections.abc import Collection

from solver.domain.gang import Gang
from solver.domain.replicas import Replica, root_replica


def is_enough(gang: Gang, pods: Collection[str]) -> bool:
    """Whether the gang could do with these of its pods, `namespace/name`, alone."""
    return _is_kept(root_replica(gang), frozenset(pods))


def can_be_enough(gang: Gang) -> bool:
    """Whether the gang could do with all the pods it has."""
    return is_enough(gang, [pod for role in gang.roles for pod in role.pods])


def _is_kept(replica: Replica, pods: frozenset[str]) -> bool:
    group, placed, children = replica.group, 0, 0
    for role in group.roles:
        here = sum(pod in pods for pod in replica.pods[role.name])
        if here < role.min:
            return False
        placed += here
    for child, siblings in zip(group.groups, replica.children, strict=True):
        children += sum(_is_kept(sibling, pods) for sibling in siblings) >= child.min_replicas
    return children == len(group.groups) if group.min is None else placed + children >= group.min
