"""PodGroup objects and their pods: KAI's with its tree of subgroups, the native one, and those of coscheduling.

A PodGroup says how many pods are needed and how they are packed; the pods say what they ask for. Members are pods of
the same namespace that name the group, whether they wait or run.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import Finding
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.compute_domains import keep_domains
from adapters.manifests.kinds import kind_of
from adapters.manifests.members import (
    Likes,
    Member,
    alike,
    bound_members,
    by_role,
    domains_by_role,
    first_label,
    packed,
)
from adapters.manifests.packing import annotated, one_topology, packing
from adapters.manifests.podsets import in_slices
from adapters.manifests.reading import FoundGang, Reading, located
from adapters.manifests.subgroups import Subgroup, read_tree
from adapters.manifests.traffic import deployment_flows
from solver.domain.gang import MAX_PODS, Gang, Group, Role

SUBGROUP_LABEL = "kai.scheduler/subgroup-name"
_KAI_DEFAULT_PRIORITY = 50
_GANG_GROUPS = "gang.scheduling.koordinator.sh/groups"


def kai_group(reading: Reading, members: Sequence[Member]) -> FoundGang:
    """The gang of a `scheduling.run.ai` PodGroup and the pods that name it."""
    return _gang(reading, members, read_tree(reading), reading.priority(_KAI_DEFAULT_PRIORITY))


def native_group(reading: Reading, members: Sequence[Member]) -> FoundGang:
    """The gang of a `scheduling.k8s.io` PodGroup and the pods that name it; a basic policy needs one pod."""
    doc = reading.doc
    if doc.text("spec.parentCompositePodGroupName", ""):
        place = "spec.parentCompositePodGroupName"
        reading.unsupported(Finding(place, "composite pod groups are not supported yet"))
    if doc.items("spec.resourceClaims"):
        reading.unsupported(Finding("spec.resourceClaims", "claims of a pod group are not supported"))
    keys = [part.text("key") for part in doc.parts("spec.schedulingConstraints.topology")]
    if len(keys) > 1:
        raise doc.refuse("spec.schedulingConstraints.topology", "holds at most one constraint")
    rule = packing(required=keys[0]) if keys else annotated(doc.annotations)
    priority = doc.whole("spec.priority", None, minimum=-(2**31))
    tree = Subgroup(doc.name, least_pods(reading), rule)
    return _gang(reading, members, tree, reading.priority() if priority is None else priority)


def coscheduling_group(reading: Reading, members: Sequence[Member]) -> FoundGang:
    """The gang of a PodGroup of `scheduling.x-k8s.io` (scheduler-plugins) or `scheduling.sigs.k8s.io` (Koordinator).

    Its resources follow from its pods, and how long it may wait is for who places it. Gangs of several groups are
    unsupported.
    """
    doc = reading.doc
    if doc.has("spec.minResources"):
        reading.note("unsupported_soft", "spec.minResources", "what the pods request counts, not a sum beside it")
    place = f"metadata.annotations[{_GANG_GROUPS}]"
    others = _listed(doc.annotations.get(_GANG_GROUPS, ""))
    if others is None or others - {doc.full_name}:
        reading.unsupported(Finding(place, "a gang made of several groups is not supported"))
    tree = Subgroup(doc.name, least_members(reading), annotated(doc.annotations))
    return _gang(reading, members, tree, reading.priority(), {_GANG_GROUPS})


def least_members(reading: Reading) -> int:
    """Fewest pods of a PodGroup that says them as `minMember`: one if it does not."""
    return reading.doc.whole("spec.minMember", 1, maximum=MAX_PODS)


def _listed(text: str) -> frozenset[str] | None:
    """Names in a JSON list; None for anything else."""
    try:
        found = json.loads(text) if text else []
    except ValueError:
        return None
    return frozenset(map(str, found)) if isinstance(found, list) else None


def least_pods(reading: Reading) -> int:
    """Fewest pods of a `scheduling.k8s.io` PodGroup."""
    return reading.doc.whole("spec.schedulingPolicy.gang.minCount", 1, maximum=MAX_PODS)


def _gang(
    reading: Reading, members: Sequence[Member], tree: Subgroup, priority: int, honoured: Collection[str] = ()
) -> FoundGang:
    check_members(reading, members)
    likes = _likes_by_leaf(reading, tree, members)
    with located(reading.doc):
        root = _group(tree, reading.doc.full_name, likes)
    everyone = [like for group in likes.values() for like in group]
    reading.refuse_foreign(honoured)
    return finished(reading, everyone, root, priority, one_topology(reading.doc, tree.rules()))


def check_members(reading: Reading, members: Sequence[Member]) -> None:
    """Raise InvalidRequest for a PodGroup without a name or without pods."""
    if not reading.doc.name:
        raise reading.doc.refuse("metadata.name", "is missing")
    if not members:
        raise reading.doc.refuse("metadata.name", "no pod names this PodGroup, so there is nothing to place")


def finished(
    reading: Reading, everyone: Sequence[Likes], root: Group, priority: int, topology: str, queue: str = ""
) -> FoundGang:
    """The gang of a PodGroup with these roles in `root`, and what the pods themselves ask for. queue: of the object."""
    doc = reading.doc
    members = [member for like in everyone for member in like.members]
    flows = deployment_flows(reading, [like.endpoint() for like in everyone])
    queue = queue or doc.text("spec.queue", "") or doc.labels.get(QUEUE_LABEL) or first_label(members, QUEUE_LABEL)
    root = keep_domains(reading, root, topology, domains_by_role(reading.world, by_role(everyone)))
    root = packed(reading, root, by_role(everyone))
    flows = in_slices(flows, root)
    own = reading.pod_priority((member.doc for member in members if not member.node), priority)
    with located(doc):
        running = bound_members(members)
        gang = Gang(doc.full_name, root, priority, queue, topology, flows, running=running, pod_priority=own)
    return reading.found(gang)


def _likes_by_leaf(reading: Reading, tree: Subgroup, members: Sequence[Member]) -> dict[str, tuple[Likes, ...]]:
    """Leaf name → its roles."""
    leaves = [leaf.name for leaf in tree.leaves()]
    by_leaf: dict[str, list[Member]] = {name: [] for name in leaves}
    for member in members:
        by_leaf[_leaf_of(member.doc, tree, by_leaf)].append(member)
    return {name: alike(reading, name, found, leaves) for name, found in by_leaf.items()}


def _leaf_of(pod: Document, tree: Subgroup, leaves: Collection[str]) -> str:
    """The leaf a pod belongs to; refuses a name that is unknown, no leaf, or missing where it is needed."""
    field = f"metadata.labels[{SUBGROUP_LABEL}]"
    name = pod.labels.get(SUBGROUP_LABEL, "")
    if not tree.children:
        if name:
            raise pod.refuse(field, f"subgroup {name!r} does not exist: the PodGroup has none")
        return tree.name
    if not name:
        raise pod.refuse(field, "is missing: the PodGroup has subgroups")
    if name not in leaves:
        raise pod.refuse(field, f"{name!r} is not a subgroup that holds pods; those are {', '.join(leaves)}")
    return name


def _group(node: Subgroup, name: str, likes: Mapping[str, tuple[Likes, ...]]) -> Group:
    if node.children:
        groups = tuple(_group(child, child.name, likes) for child in node.children)
        return Group(name, groups=groups, min=node.least, pack=node.packing.pack)
    roles, least = leaf_roles(node.name, likes[node.name], node.least or 0)
    return Group(name, roles, min=least, pack=node.packing.pack)


def leaf_roles(name: str, likes: Sequence[Likes], least: int) -> tuple[tuple[Role, ...], int | None]:
    """Roles of a leaf that needs `least` pods, and the minimum of its group.

    One role carries the minimum itself; several share it, so that any of them may be left out.
    """
    if not likes:
        return (Role(name, 0, least, kind_of({}, name)),), None
    if len(likes) == 1:
        return (likes[0].role(least),), None
    return tuple(like.role(0) for like in likes), least
