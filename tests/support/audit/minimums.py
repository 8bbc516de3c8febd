"""Whether the bound members of a gang are enough of it: read off the tree of its spec, level by level."""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
#: Bound members by role.
Bound = Mapping[str, int]


def is_whole(root: Json, bound: Bound) -> bool:
    """Whether the members suffice, if they are spread over the replicas of groups in the best way.

    `min` counts children on the root; on a group below it counts replicas, and `minChildren` children.
    """
    children = [*root.get("roles", ()), *root.get("groups", ())]
    kept = sum(_child_is_whole(child, bound) for child in children)
    return kept >= root.get("min", len(children))


def _child_is_whole(child: Json, bound: Bound) -> bool:
    if "roles" not in child and "groups" not in child:
        return bound.get(child["name"], 0) >= child.get("min", child["replicas"])
    replicas = child.get("min", child.get("replicas", 1))
    return all(bound.get(role, 0) >= replicas * least for role, least in _least(child).items())


def _least(group: Json) -> dict[str, int]:
    """Members of each role that one replica cannot do without."""
    children = [*group.get("roles", ()), *group.get("groups", ())]
    if group.get("minChildren", len(children)) < len(children):
        return {}
    least = {role["name"]: role.get("min", role["replicas"]) for role in group.get("roles", ())}
    for inner in group.get("groups", ()):
        replicas = inner.get("min", inner.get("replicas", 1))
        least |= {role: replicas * count for role, count in _least(inner).items()}
    return least
