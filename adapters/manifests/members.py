"""Pods that exist already, sorted into roles of pods that are alike."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from adapters.kubernetes.objects import Document, Fields
from adapters.kubernetes.pods import Finding, PodShape, pod_shape
from adapters.manifests.engines import Engine, read_engine
from adapters.manifests.kinds import kind_of
from adapters.manifests.reading import Reading
from adapters.manifests.traffic import Endpoint
from solver.domain.gang import BoundMember, Kind, Role
from solver.domain.naming import natural_key


@dataclass(frozen=True, slots=True)
class Member:
    """A pod of a gang. node: where it is bound, empty if it waits."""

    doc: Document
    shape: PodShape
    node: str

    @property
    def name(self) -> str:
        """`namespace/pod`."""
        return self.doc.full_name


@dataclass(frozen=True, slots=True)
class Likes:
    """Members with equal scheduling spec, in natural name order: a role but for its minimum."""

    name: str
    kind: Kind
    members: tuple[Member, ...]

    def role(self, least: int) -> Role:
        """The role; `least` of its pods are needed."""
        shape = self.members[0].shape
        return Role(
            self.name,
            len(self.members),
            least,
            self.kind,
            shape.requests,
            shape.constraints,
            shape.spread,
            tuple(member.name for member in self.members),
        )

    def endpoint(self) -> Endpoint:
        """The role as flows see it: every pod is an engine."""
        first = self.members[0]
        return Endpoint(self.name, self.kind, _engine(first.doc), first.shape.requests.gpus)


def read_members(reading: Reading, pods: Iterable[Document]) -> tuple[Member, ...]:
    """The pods as members, in natural name order; unsupported constraints are refused or noted."""
    return tuple(read_member(reading, doc) for doc in sorted(pods, key=lambda pod: natural_key(pod.full_name)))


def read_member(reading: Reading, doc: Document) -> Member:
    """One pod as a member, with the labels alone that tell it apart; unsupported constraints are refused or noted."""
    shape = pod_shape(doc, doc.body, "")
    for found in shape.unsupported:
        reading.unsupported(found, doc)
    if doc.has("spec.workloadRef"):
        problem = "pods that name a Workload are not supported; a PodGroup is"
        reading.unsupported(Finding("spec.workloadRef", problem), doc)
    return Member(doc, reading.told_apart(shape), reading.world.node_of(doc))


def alike(reading: Reading, name: str, members: Sequence[Member], taken: Collection[str] = ()) -> tuple[Likes, ...]:
    """Roles of one leaf: `name`, then `name-2`, … by first pod, leaving out names that are `taken`.

    What the first pod of each role has to say becomes a notice.
    """
    by_spec: dict[object, list[Member]] = {}
    for member in members:
        shape = member.shape
        by_spec.setdefault((shape.requests, shape.constraints, shape.spread), []).append(member)
    found: list[Likes] = []
    number = 1
    for group in by_spec.values():
        role = name if number == 1 else f"{name}-{number}"
        while number > 1 and role in taken:
            number += 1
            role = f"{name}-{number}"
        number += 1
        reading.notices.extend(group[0].shape.notices)
        found.append(Likes(role, kind_of(group[0].doc.labels, role), tuple(group)))
    return tuple(found)


def bound_members(members: Iterable[Member]) -> tuple[BoundMember, ...]:
    """Those that run already."""
    return tuple(BoundMember(member.name, member.node) for member in members if member.node)


def first_label(members: Sequence[Member], key: str) -> str:
    """The first value any member has for a label, or empty."""
    return next((value for member in members if (value := member.doc.labels.get(key))), "")


def _engine(pod: Document) -> Engine:
    """The engine of a pod: its container `main`, else the first one."""
    containers: list[Fields] = list(pod.parts("spec.containers"))
    main = [container for container in containers if container.text("name", "") == "main"] or containers
    return read_engine(main[0]) if main else Engine()
