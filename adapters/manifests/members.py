"""Pods that exist already, sorted into roles of pods that are alike."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.kubernetes.exclusive import homeless_rules
from adapters.kubernetes.foreign_rules import EXCLUSIVE_LABELS, KUEUE_GROUP
from adapters.kubernetes.objects import Document, Fields
from adapters.kubernetes.pods import Finding, PodShape, pod_shape
from adapters.manifests.compute_domains import domains_of
from adapters.manifests.engines import Engine, read_engine
from adapters.manifests.kinds import is_typed, kind_of
from adapters.manifests.podsets import NO_RULE, Family, PodsetRule, podset_rule
from adapters.manifests.reading import Reading, World
from adapters.manifests.traffic import Endpoint
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Group, Kind, Pack, Role
from solver.domain.naming import natural_key


@dataclass(frozen=True, slots=True)
class Member:
    """A pod of a gang. node: where it is bound, empty if it waits. rule: what Kueue's annotations ask for."""

    doc: Document
    shape: PodShape
    node: str
    rule: PodsetRule = NO_RULE

    @property
    def name(self) -> str:
        """`namespace/pod`."""
        return self.doc.full_name


@dataclass(frozen=True, slots=True)
class Likes:
    """Members with equal scheduling spec, in natural name order: a role but for its minimum. gpus: devices of one."""

    name: str
    kind: Kind
    members: tuple[Member, ...]
    gpus: int

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
        return Endpoint(self.name, self.kind, _engine(first.doc), self.gpus, is_dynamo=is_typed(first.doc.labels))


def read_members(reading: Reading, pods: Iterable[Document]) -> tuple[Member, ...]:
    """The pods as members, in natural name order; unsupported constraints are refused or noted."""
    return tuple(read_member(reading, doc) for doc in sorted(pods, key=lambda pod: natural_key(pod.full_name)))


def read_member(reading: Reading, doc: Document) -> Member:
    """One pod as a member, with the labels alone that tell it apart; unsupported constraints are refused or noted."""
    return with_volumes(reading, read_without_volumes(reading, doc))


def with_volumes(reading: Reading, member: Member) -> Member:
    """A member with where its volumes let it go."""
    doc = member.doc
    shape = reading.mounting(member.shape, doc.within(doc.body, ""), doc, doc.name, runs=bool(member.node))
    return member if shape == member.shape else replace(member, shape=shape)


def read_without_volumes(reading: Reading, doc: Document) -> Member:
    """One pod as a member, whatever its volumes are."""
    shape = reading.with_claims(pod_shape(doc, doc.body, "", reading.honours), doc, doc=doc)
    for found in (*shape.unsupported, *_homeless(reading, doc)):
        reading.unsupported(found, doc)
    if doc.has("spec.workloadRef"):
        problem = "pods that name a Workload are not supported; a PodGroup is"
        reading.unsupported(Finding("spec.workloadRef", problem), doc)
    rule = podset_rule(doc) if KUEUE_GROUP in reading.honours else NO_RULE
    return Member(doc, reading.told_apart(shape), reading.world.node_of(doc), rule)


def alike(reading: Reading, name: str, members: Sequence[Member], taken: Collection[str] = ()) -> tuple[Likes, ...]:
    """Roles of one leaf: `name`, then `name-2`, … by first pod, leaving out names that are `taken`.

    What the first pod of each role has to say becomes a notice.
    """
    by_spec: dict[object, list[Member]] = {}
    shared = _shared_labels(members)
    for member in members:
        shape = member.shape
        values = tuple(member.doc.labels.get(label) for label in shared)
        by_spec.setdefault((shape.requests, shape.constraints, shape.spread, member.rule, values), []).append(member)
    found: list[Likes] = []
    number = 1
    for group in by_spec.values():
        role = name if number == 1 else f"{name}-{number}"
        while number > 1 and role in taken:
            number += 1
            role = f"{name}-{number}"
        number += 1
        reading.notices.extend(group[0].shape.notices)
        gpus = reading.options.accelerators.devices(group[0].shape.requests)
        found.append(Likes(role, kind_of(group[0].doc.labels, role), tuple(group), gpus))
    return tuple(found)


Sorted = Mapping[str, Sequence[Member]]


def by_role(likes: Iterable[Likes]) -> Sorted:
    """Members by role."""
    return {like.name: like.members for like in likes}


def packed(reading: Reading, root: Group, roles: Sorted) -> Group:
    """`root` with what the pods of its roles say of domains they share; refused or noted where it cannot be told."""
    running = [member.name for members in roles.values() for member in members if member.node]
    rules = {role: members[0].rule for role, members in roles.items() if members}
    return reading.packed(root, rules, lambda: together_families(roles), running)


def together_families(roles: Sorted) -> list[Family]:
    """Roles whose pods share the key of a group that keeps to one domain.

    Raises InvalidRequest when pods of one role have different keys.
    """
    everyone = [member for members in roles.values() for member in members]
    families = []
    for rule in dict.fromkeys(rule for member in everyone for rule in member.shape.together):
        of_role = {
            role: {member.doc.labels.get(rule.label) for member in members}
            for role, members in roles.items()
            if members
        }
        inside = frozenset(role for role, values in of_role.items() if rule.value in values)
        mixed = [role for role in sorted(inside) if len(of_role[role]) > 1]
        if mixed:
            raise InvalidRequest(f"pods of role {mixed[0]} differ in label {rule.label}, whose pods lie together")
        families.append(Family(f"{rule.label} {rule.value}", inside, Pack(rule.key)))
    return families


def bound_members(members: Iterable[Member]) -> tuple[BoundMember, ...]:
    """Those that run already."""
    return tuple(BoundMember(member.name, member.node) for member in members if member.node)


def domains_by_role(world: World, roles: Mapping[str, Iterable[Member]]) -> dict[str, tuple[str, ...]]:
    """Role → the ComputeDomains that any of its pods has a claim in."""
    return {
        role: tuple(
            dict.fromkeys(
                domain
                for member in members
                for domain in domains_of(world, member.doc, member.doc.namespace, has_gpus=False)
            )
        )
        for role, members in roles.items()
    }


def first_label(members: Sequence[Member], key: str) -> str:
    """The first value any member has for a label, or empty."""
    return next((value for member in members if (value := member.doc.labels.get(key))), "")


def _shared_labels(members: Iterable[Member]) -> tuple[str, ...]:
    """Labels by which some of the pods keep together."""
    return tuple(sorted({rule.label for member in members for rule in member.shape.together}))


def _homeless(reading: Reading, doc: Document) -> list[Finding]:
    """Exclusive domains asked for by a pod that does not say of which group it is."""
    return [
        Finding(f"metadata.annotations[{key}]", f"needs the label {EXCLUSIVE_LABELS[key]}: of which group the pod is")
        for key in homeless_rules(doc)
        if key in reading.honours
    ]


def _engine(pod: Document) -> Engine:
    """The engine of a pod: its container `main`, else the first one."""
    containers: list[Fields] = list(pod.parts("spec.containers"))
    main = [container for container in containers if container.text("name", "") == "main"] or containers
    return read_engine(main[0]) if main else Engine()
