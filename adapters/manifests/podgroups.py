"""PodGroup objects and their pods: KAI's with its tree of subgroups, and the native one.

A PodGroup says how many pods are needed and how they are packed; the pods say what they ask for. Members are pods of
the same namespace that name the group, whether they wait or run.
"""

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
    read_members,
)
from adapters.manifests.packing import annotated, one_topology, packing
from adapters.manifests.podsets import in_slices
from adapters.manifests.reading import FoundGang, Reading, located
from adapters.manifests.subgroups import Subgroup, read_tree
from adapters.manifests.traffic import deployment_flows
from solver.domain.gang import MAX_PODS, Gang, Group, Role

SUBGROUP_LABEL = "kai.scheduler/subgroup-name"
_KAI_DEFAULT_PRIORITY = 50


def read_kai_group(reading: Reading, pods: Sequence[Document]) -> FoundGang:
    """The gang of a `scheduling.run.ai` PodGroup and the pods that name it."""
    return kai_group(reading, read_members(reading, pods))


def kai_group(reading: Reading, members: Sequence[Member]) -> FoundGang:
    """The same of pods that have been read."""
    return _gang(reading, members, read_tree(reading), reading.priority(_KAI_DEFAULT_PRIORITY))


def read_native_group(reading: Reading, pods: Sequence[Document]) -> FoundGang:
    """The gang of a `scheduling.k8s.io` PodGroup and the pods that name it; a basic policy needs one pod."""
    return native_group(reading, read_members(reading, pods))


def native_group(reading: Reading, members: Sequence[Member]) -> FoundGang:
    """The same of pods that have been read."""
    doc = reading.doc
    if doc.text("spec.parentCompositePodGroupName", ""):
        place = "spec.parentCompositePodGroupName"
        reading.unsupported(Finding(place, "composite pod groups are not supported yet"))
    if doc.items("spec.resourceClaims"):
        reading.note("unsupported_soft", "spec.resourceClaims", "resource claims are not counted")
    keys = [part.text("key") for part in doc.parts("spec.schedulingConstraints.topology")]
    if len(keys) > 1:
        raise doc.refuse("spec.schedulingConstraints.topology", "holds at most one constraint")
    rule = packing(required=keys[0]) if keys else annotated(doc.annotations)
    priority = doc.whole("spec.priority", None, minimum=-(2**31))
    tree = Subgroup(doc.name, least_pods(reading), rule)
    return _gang(reading, members, tree, reading.priority() if priority is None else priority)


def least_pods(reading: Reading) -> int:
    """Fewest pods of a `scheduling.k8s.io` PodGroup."""
    return reading.doc.whole("spec.schedulingPolicy.gang.minCount", 1, maximum=MAX_PODS)


def _gang(reading: Reading, members: Sequence[Member], tree: Subgroup, priority: int) -> FoundGang:
    doc = reading.doc
    if not doc.name:
        raise doc.refuse("metadata.name", "is missing")
    if not members:
        raise doc.refuse("metadata.name", "no pod names this PodGroup, so there is nothing to place")
    likes = _likes_by_leaf(reading, tree, members)
    everyone = [like for group in likes.values() for like in group]
    topology = one_topology(doc, tree.rules())
    flows = deployment_flows(reading, [like.endpoint() for like in everyone])
    queue = doc.text("spec.queue", "") or doc.labels.get(QUEUE_LABEL) or first_label(members, QUEUE_LABEL)
    with located(doc):
        root = _group(tree, doc.full_name, likes)
        root = keep_domains(reading, root, topology, domains_by_role(reading.world, by_role(everyone)))
    reading.refuse_foreign()
    root = packed(reading, root, by_role(everyone))
    flows = in_slices(flows, root)
    with located(doc):
        gang = Gang(doc.full_name, root, priority, queue, topology, flows, running=bound_members(members))
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
