"""LeaderWorkerSet: one gang per replica, all its pods ranks of one engine."""

from collections.abc import Iterator

from adapters.kubernetes.objects import Part
from adapters.kubernetes.pods import Finding, PodShape
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.kinds import kind_of
from adapters.manifests.packing import annotated
from adapters.manifests.reading import FoundGang, Reading, located
from solver.domain.gang import MAX_PODS, BoundMember, Gang, Group, Kind, Role

_TEMPLATE = "spec.leaderWorkerTemplate"
#: Annotations that want whole domains for one replica.
EXCLUSIVE = (
    "leaderworkerset.sigs.k8s.io/exclusive-topology",
    "leaderworkerset.sigs.k8s.io/subgroup-exclusive-topology",
)


def read_leader_worker_set(reading: Reading) -> Iterator[FoundGang]:
    """One gang `namespace/name-<i>` per replica: roles `leader` and `worker`, or `worker` alone without a leader.

    Pods are named as the controller names them; those already bound are running members.
    """
    doc = reading.doc
    if not doc.name:
        raise doc.refuse("metadata.name", "is missing")
    replicas = doc.whole("spec.replicas", 1, maximum=MAX_PODS)
    size = doc.whole(f"{_TEMPLATE}.size", 1, minimum=1, maximum=MAX_PODS)
    if replicas * size > MAX_PODS:
        raise doc.refuse("spec.replicas", f"{replicas} replicas of {size} pods are more than {MAX_PODS} pods")
    for key in EXCLUSIVE:
        if doc.annotations.get(key):
            place = f"metadata.annotations[{key}]"
            reading.unsupported(Finding(place, "exclusive domains are not supported"))
    shapes = _shapes(reading)
    for index in range(replicas):
        yield _gang(reading, index, size, shapes)


def _shapes(reading: Reading) -> dict[str, PodShape]:
    """Role → shape, the leader first if there is one."""
    doc = reading.doc
    if not doc.has(f"{_TEMPLATE}.workerTemplate"):
        raise doc.refuse(f"{_TEMPLATE}.workerTemplate", "is missing")
    names = {"leader": f"{_TEMPLATE}.leaderTemplate", "worker": f"{_TEMPLATE}.workerTemplate"}
    return {role: reading.shape(doc.mapping(at), at) for role, at in names.items() if doc.has(at)}


def _gang(reading: Reading, index: int, size: int, shapes: dict[str, PodShape]) -> FoundGang:
    doc, name = reading.doc, f"{reading.doc.full_name}-{index}"
    pods = (name, *(f"{name}-{rank}" for rank in range(1, size)))
    split = 1 if "leader" in shapes else 0
    owned = {"leader": pods[:split], "worker": pods[split:]}
    templates = [doc.part(f"{_TEMPLATE}.{role}Template") for role in shapes]
    rule = annotated(doc.annotations, *(part.texts("metadata.annotations") for part in templates))
    kind = _kind(reading, templates)
    with located(doc):
        roles = tuple(_role(role, kind, shape, owned[role]) for role, shape in shapes.items() if owned[role])
        gang = Gang(
            name,
            Group(name, roles, pack=rule.pack, multinode=True),
            priority=_priority(reading),
            queue=_queue(reading, templates),
            topology=rule.topology,
            running=_running(reading, pods),
        )
    return reading.found(gang)


def _role(name: str, kind: Kind, shape: PodShape, pods: tuple[str, ...]) -> Role:
    count = len(pods)
    return Role(name, count, count, kind, shape.requests, shape.constraints, shape.spread, pods)


def _kind(reading: Reading, templates: list[Part]) -> Kind:
    """One kind for the whole engine, by the labels of its templates, else by the name of the set."""
    labels = {key: value for part in templates for key, value in part.texts("metadata.labels").items()}
    return kind_of({**reading.doc.labels, **labels}, reading.doc.name)


def _queue(reading: Reading, templates: list[Part]) -> str:
    sources = (reading.doc.labels, *(part.texts("metadata.labels") for part in templates))
    return next((labels[QUEUE_LABEL] for labels in sources if labels.get(QUEUE_LABEL)), "")


def _priority(reading: Reading) -> int:
    return reading.priority(path=f"{_TEMPLATE}.workerTemplate.spec.priorityClassName")


def _running(reading: Reading, pods: tuple[str, ...]) -> tuple[BoundMember, ...]:
    known = reading.world.members
    bound = ((pod, reading.world.node_of(known[pod])) for pod in pods if pod in known)
    return tuple(BoundMember(pod, node) for pod, node in bound if node)
