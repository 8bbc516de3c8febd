"""Gangs of pods without a PodGroup: by the group or deployment they name, by their topmost controller, or alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.kubernetes.gang_keys import POD_GROUP_ANNOTATION, wanted_sizes
from adapters.kubernetes.objects import Document, Part
from adapters.kubernetes.pods import Finding
from adapters.kubernetes.running import QUEUE_LABEL, gang_of
from adapters.manifests.compute_domains import keep_domains
from adapters.manifests.dynamo_members import deployment_of
from adapters.manifests.members import (
    Member,
    alike,
    bound_members,
    by_role,
    domains_by_role,
    first_label,
    packed,
    read_members,
)
from adapters.manifests.packing import annotated, one_topology
from adapters.manifests.podgroups import leaf_roles
from adapters.manifests.podsets import in_slices
from adapters.manifests.reading import FoundGang, Reading, World, located
from adapters.manifests.traffic import deployment_flows
from solver.domain.errors import InvalidRequest
from solver.domain.gang import MAX_PODS, Gang, Group

#: Where the owners of pods say how many pods they want.
_SIZE = {
    "Deployment": "spec.replicas",
    "ReplicaSet": "spec.replicas",
    "StatefulSet": "spec.replicas",
    "ReplicationController": "spec.replicas",
    "Job": "spec.parallelism",
}
_MOST_OWNERS = 16
#: Kinds whose pods are gangs of frameworks that are not read.
UNREAD_KINDS = frozenset(
    {
        "AppWrapper", "JAXJob", "MPIJob", "ModelServing", "PaddleJob",
        "PyTorchJob", "RayJob", "RayService", "RoleBasedGroup", "RoleBasedGroupSet", "SparkApplication", "TFJob",
        "TrainJob", "XGBoostJob",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bond:
    """What makes pods one gang.

    name: the gang's. reason: `group` for a shared group name, else the kind of the controller, `Pod` for the pod
    itself. owner: the controller, if it is known.
    """

    name: str
    reason: str
    owner: Document | None = field(default=None, compare=False)

    @property
    def shared(self) -> bool:
        """Whether the pods name the group themselves."""
        return self.reason == "group"


def bond_of(world: World, pod: Document) -> Bond:
    """What ties a pod to others: a shared group or deployment, its topmost controller, or nothing but itself."""
    shared = gang_of(pod) or deployment_of(pod)
    if shared:
        return Bond(shared, "group")
    kind, name, owner = "Pod", pod.name, pod
    for _ in range(_MOST_OWNERS):
        controller = _controller(owner)
        if controller is None:
            break
        kind, name = controller.text("kind", ""), controller.text("name", "")
        known = world.owners.get((kind, pod.namespace, name))
        if known is None:
            return Bond(f"{pod.namespace}/{name}", kind)
        owner = known
    return Bond(f"{pod.namespace}/{name}", kind, owner if kind != "Pod" else None)


def read_loose_gang(reading: Reading, bond: Bond, pods: Sequence[Document]) -> FoundGang:
    """The gang of pods with one bond: as many as their owner wants are needed, all of them if nobody says."""
    members = read_members(reading, pods)
    size = told_size(bond.name, members) if bond.shared else None
    if bond.shared and size is None and not any(pod.annotations.get(POD_GROUP_ANNOTATION) for pod in pods):
        message = f"group {bond.name} is not in the input; all {len(members)} pods that name it are needed"
        reading.note("group_unknown", "metadata", message)
    return loose_gang(reading, bond, members, size)


def told_size(gang: str, members: Sequence[Member]) -> int | None:
    """How many pods are needed of those that name a PodGroup nobody has, as they say; None when they do not.

    Raises InvalidRequest when they say different things, or no number.
    """
    told: dict[str, str] = {}  # size → who says it
    for member in members:
        told |= {size: key for key, size in wanted_sizes(member.doc.labels, member.doc.annotations).items()}
    if len(told) > 1:
        keys, sizes = ", ".join(sorted(set(told.values()))), ", ".join(sorted(told))
        raise InvalidRequest(f"pods of {gang} differ in their annotation {keys}: {sizes}")
    for size, key in told.items():
        if not (size.isascii() and size.isdigit() and 1 <= int(size[:9]) <= MAX_PODS):
            raise members[0].doc.refuse(
                f"metadata.annotations[{key}]", f"{size!r} is no number of pods (1 to {MAX_PODS})"
            )
        return int(size)
    return None


def loose_gang(reading: Reading, bond: Bond, members: Sequence[Member], wanted: int | None = None) -> FoundGang:
    """The same of pods that have been read. wanted: how many pods are needed, where that is said."""
    if bond.reason in UNREAD_KINDS:
        problem = f"pods of a {bond.reason} are a gang that is not read: its template has to name a group and its size"
        reading.unsupported(Finding("metadata.ownerReferences", problem))
    name = bond.name.partition("/")[2]
    likes = alike(reading, name, members)
    sources = [*(member.doc.annotations for member in members), bond.owner.annotations if bond.owner else {}]
    rule = annotated(*sources)
    topology = one_topology(reading.doc, [annotated(source) for source in sources])
    flows = deployment_flows(reading, [like.endpoint() for like in likes])
    priority = _priority(reading)
    wanted = _wanted(bond, len(members)) if wanted is None else wanted
    with located(reading.doc):
        roles, least = leaf_roles(name, likes, wanted)
        root = Group(bond.name, roles, min=least, pack=rule.pack)
    root = keep_domains(reading, root, topology, domains_by_role(reading.world, by_role(likes)))
    root = packed(reading, root, by_role(likes))
    flows = in_slices(flows, root)
    own = reading.pod_priority((member.doc for member in members if not member.node), priority)
    with located(reading.doc):
        queue, running = first_label(members, QUEUE_LABEL), bound_members(members)
        gang = Gang(bond.name, root, priority, queue, topology, flows, running=running, pod_priority=own)
    return reading.found(gang, [member.doc for member in members])


def _controller(doc: Document) -> Part | None:
    """The owner that controls an object; a static pod's node does not count."""
    for reference in doc.parts("metadata.ownerReferences"):
        if reference.flag("controller", False) and reference.text("kind", "") != "Node":
            return reference
    return None


def controller_kind(pod: Document) -> str:
    """The kind of what controls a pod; `Pod` where nothing does."""
    controller = _controller(pod)
    return "Pod" if controller is None else controller.text("kind", "")


def _wanted(bond: Bond, found: int) -> int:
    if bond.owner is None or bond.owner.kind not in _SIZE:
        return found
    return bond.owner.whole(_SIZE[bond.owner.kind], 1, maximum=MAX_PODS)


def _priority(reading: Reading) -> int:
    given = reading.doc.whole("spec.priority", None, minimum=-(2**31))
    return reading.priority() if given is None else given
