"""LeaderWorkerSet: one gang per replica, all its pods ranks of one engine."""

from collections.abc import Iterator

from adapters.kubernetes.objects import Part
from adapters.kubernetes.pods import Finding, PodShape
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.added_labels import LEADER_WORKER_SET_KEYS, leader_worker_set_labels
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
    shapes = _Shapes(reading)
    for index in range(replicas):
        yield _gang(reading, index, size, shapes)


class _Shapes:
    """Shapes of the pods of a set. templates: role → path of its pod template, the leader first if there is one."""

    def __init__(self, reading: Reading) -> None:
        doc = reading.doc
        if not doc.has(f"{_TEMPLATE}.workerTemplate"):
            raise doc.refuse(f"{_TEMPLATE}.workerTemplate", "is missing")
        paths = {role: f"{_TEMPLATE}.{role}Template" for role in ("leader", "worker")}
        self.templates = {role: at for role, at in paths.items() if doc.has(at)}
        self._reading = reading
        self._selected = reading.world.selected.of(doc.namespace)
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], PodShape] = {}

    def of(self, index: int, size: int) -> Iterator[tuple[str, PodShape, list[int]]]:
        """Roles of a replica: name, shape and ranks. Ranks with labels of their own that matter are roles of their own.

        Those are called `worker`, `worker-2`, … by first rank.
        """
        split = 1 if "leader" in self.templates else 0
        for role, ranks in (("leader", range(split)), ("worker", range(split, size))):
            alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
            for rank in ranks:
                alike.setdefault(self._added(index, rank), []).append(rank)
            for number, (labels, found) in enumerate(alike.items(), start=1):
                yield role if number == 1 else f"{role}-{number}", self._shape(role, labels), found

    def _added(self, index: int, rank: int) -> tuple[tuple[str, str], ...]:
        """Labels that the pod gets from its controller, as far as a selector names them."""
        if self._selected.isdisjoint(LEADER_WORKER_SET_KEYS):
            return ()
        labels = leader_worker_set_labels(self._reading.doc.namespace, self._reading.doc.name, index, rank)
        return tuple((key, value) for key, value in labels.items() if key in self._selected)

    def _shape(self, role: str, labels: tuple[tuple[str, str], ...]) -> PodShape:
        shape = self._known.get((role, labels))
        if shape is None:
            at = self.templates[role]
            shape = self._known[role, labels] = self._reading.shape(self._reading.doc.mapping(at), at, dict(labels))
        return shape


def _gang(reading: Reading, index: int, size: int, shapes: _Shapes) -> FoundGang:
    doc, name = reading.doc, f"{reading.doc.full_name}-{index}"
    pods = (name, *(f"{name}-{rank}" for rank in range(1, size)))
    templates = [doc.part(at) for at in shapes.templates.values()]
    rule = annotated(doc.annotations, *(part.texts("metadata.annotations") for part in templates))
    kind = _kind(reading, templates)
    found = list(shapes.of(index, size))
    with located(doc):
        roles = tuple(_role(role, kind, shape, tuple(pods[rank] for rank in ranks)) for role, shape, ranks in found)
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
