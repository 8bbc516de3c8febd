"""Gangs as they are in the cluster: what their objects declare, made of the pods that exist.

A `Gang` counts before a DynamoGraphDeployment, that before a PodGroup, that before a LeaderWorkerSet, and that before
the name that pods share by an annotation or label alone. Pods that name no gang are one with those of their owner.
Requests and constraints are those of the pods, but those of a DynamoGraphDeployment are its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from adapters.apply.deployments import join_deployment
from adapters.apply.live_pods import MemberReader, live_documents
from adapters.apply.live_storage import LiveStorage
from adapters.apply.noticing import each_once
from adapters.apply.observed import LiveGang
from adapters.apply.owned_gangs import join_owned, join_workload
from adapters.apply.pod_groups import join_pod_group, join_replica, join_shared_name
from adapters.kubernetes.foreign_rules import POD_RULES
from adapters.kubernetes.gang_keys import (
    GANG_LABEL,
    POD_GROUP_ANNOTATION,
    deployment_name,
    group_name,
    is_replica,
    split_owner_key,
)
from adapters.kubernetes.objects import Document
from adapters.kubernetes.placements import Owner
from adapters.kubernetes.resources import (
    COMPUTE_DOMAINS,
    DYNAMO_DEPLOYMENTS,
    GANGS,
    KAI_POD_GROUPS,
    LEADER_WORKER_SETS,
    POD_GROUPS,
    PODS,
    PRIORITY_CLASSES,
    TOPOLOGIES,
    WORKLOADS,
    Resource,
)
from adapters.kubernetes.selected_labels import SelectedKeys
from adapters.kubernetes.storage import ClaimKey
from adapters.manifests.joining import declared_gang, join
from adapters.manifests.live_members import SOURCE, Body, Joined, LivePods, pod_name
from adapters.manifests.members import Member
from adapters.manifests.own import DeclaredGang
from adapters.manifests.reading import GangOptions, Reading, World
from adapters.manifests.workloads import HONOURED as WORKLOAD_RULES
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Notice

_SET_NAME = "leaderworkerset.sigs.k8s.io/name"
_ENDED = ("Succeeded", "Failed")


class Source(Protocol):
    """What is read of a mirror."""

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object, or None."""

    def all(self, resource: Resource) -> Mapping[tuple[str, str], Body]:
        """Every object of a kind."""

    def pods_of(self, gang_key: str) -> Sequence[Body]:
        """Pods of a gang, those that have ended or are leaving too."""

    @property
    def selected(self) -> SelectedKeys:
        """Label keys that the selectors of pods name."""

    def pods_mounting(self, claim: ClaimKey) -> Sequence[Body]:
        """Pods that mount a claim, those that have ended or are leaving too."""

    def version_of(self, resource: Resource) -> str | None:
        """The API version under which a kind is served."""


@dataclass(frozen=True, slots=True)
class _Declaration:
    """The object that stands for a gang."""

    resource: Resource
    doc: Document

    @property
    def owner(self) -> Owner:
        return Owner(self.doc.api_version, self.doc.kind, self.doc.name, self.doc.uid)


def rightful(gang: Gang, pods: Iterable[Body], most: int | None) -> Gang:
    """The gang with the priority it may have: what it states up to `most`, more only as far as all its pods have it.

    A user who may write to a namespace chooses what its Gangs state, while the priority of a pod is what Kubernetes
    admitted, as is that of a PodGroup. most: None = any.
    """
    if most is None or gang.priority <= most:
        return gang
    admitted = min((int(body["spec"].get("priority") or 0) for body in pods), default=0)
    return replace(gang, priority=min(gang.priority, max(most, admitted)))


def _lowered(stated: Gang | None, gang: Gang) -> tuple[Notice, ...]:
    """That a gang does not have the priority that it states, if so."""
    if stated is None or gang.priority == stated.priority:
        return ()
    text = (
        f"priority {stated.priority} is more than this controller lets a Gang state and than all its pods have: "
        f"{gang.priority} counts"
    )
    return (Notice("priority_lowered", gang.name, "spec.priority", text),)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a version of a `Gang` object declares, and what there is to say about it."""

    version: str
    gang: DeclaredGang
    notices: tuple[Notice, ...]


class LiveGangs:
    """Reads gangs of one cluster: a `GangReader`. In one thread."""

    def __init__(self, source: Source, options: GangOptions | None = None) -> None:
        self._source, self._options = source, options or GangOptions()
        self._members, self._storage = MemberReader(), LiveStorage(source)
        self._declared: dict[str, _Known] = {}  # of `Gang` objects, by key

    def __call__(self, key: str, pods: Sequence[Body], fixed: Mapping[str, str], done: Sequence[Body] = ()) -> LiveGang:
        """The gang made of exactly `pods`.

        fixed: `namespace/pod` → node of those that stay where they are. done: pods that succeeded; they are not
        missing, and what their roles need at least is so much less.
        """
        found = self._declaration(key, pods)
        if found is None and not pods:
            self._declared.pop(key, None)
            self._members.forget(key)
            return LiveGang()
        owner = found.owner if found else None
        is_own = found is not None and found.resource is GANGS
        try:
            joined = self._joined(key, found, self._live(key, pods, fixed, done))
        except InvalidRequest as error:
            problem = str(error).removeprefix(f"{SOURCE}: ")
            return LiveGang(problem=problem, owner=owner, is_own=is_own, is_declared=found is not None)
        if joined is None:
            return LiveGang()
        gang, notices = joined.gang, joined.notices
        if is_own and gang is not None:
            gang = rightful(gang, pods, self._options.max_priority)
            notices = (*notices, *_lowered(joined.gang, gang))
        declared = self._declared[key].gang if is_own else None
        return LiveGang(
            gang, joined.missing, "", owner, is_own, found is not None, joined.is_open, notices, declared
        )  # fmt: skip

    def _joined(self, key: str, found: _Declaration | None, live: LivePods) -> Joined | None:
        """The gang of an object and pods; None for pods that name a Gang which does not exist."""
        if found is None:
            return self._undeclared(key, live)
        reading = self._reading(found.doc, _honoured(found.resource))
        if found.resource is DYNAMO_DEPLOYMENTS:
            others = [_document(PODS, body, "v1") for body in live.others]
            return _noted(join_deployment(reading, live_documents(live), others), reading)
        members = self._members.read(key, reading, live)
        return _noted(self._of_members(key, found.resource, reading, live, members), reading, members)

    def _of_members(
        self, key: str, resource: Resource, reading: Reading, live: LivePods, members: Sequence[Member]
    ) -> Joined:
        """The gang of an object of a kind and members that have been read."""
        if resource is GANGS:
            return join(reading, self._declared_gang(key, reading), live, members)
        if resource is LEADER_WORKER_SETS:
            return join_replica(reading, key, live, members)
        if resource in WORKLOADS:
            return join_workload(reading, key, live, members)
        return join_pod_group(reading, live, members)

    def _undeclared(self, key: str, live: LivePods) -> Joined | None:
        first = live.bodies[0]
        labels, annotations = first["metadata"].get("labels") or {}, first["metadata"].get("annotations") or {}
        is_owned, shared = split_owner_key(key) is not None, group_name(labels, annotations, "")
        if not is_owned and (labels.get(GANG_LABEL) or not (shared or labels.get(_SET_NAME))):
            return None
        reading = self._reading(_document(PODS, first, "v1"), POD_RULES)
        members = self._members.read(key, reading, live)
        how = join_owned if is_owned else join_shared_name if shared else join_replica
        return _noted(how(reading, key, live, members), reading, members)

    def _declared_gang(self, key: str, reading: Reading) -> DeclaredGang:
        """The gang its object describes, read once for each version of it."""
        version = f"{reading.doc.uid}/{reading.doc.text('metadata.resourceVersion', '')}"
        known = self._declared.get(key)
        if known is None or known.version != version:
            gang = declared_gang(reading)
            known = self._declared[key] = _Known(version, gang, tuple(reading.notices))
        else:
            reading.notices.extend(known.notices)
        return known.gang

    def _reading(self, doc: Document, honours: frozenset[str]) -> Reading:
        context = [
            _document(resource, body, resource.versions[0])
            for resource in (PRIORITY_CLASSES, COMPUTE_DOMAINS, *TOPOLOGIES)
            for body in self._source.all(resource).values()
        ]
        world = World((doc,), context, self._source.selected, live_storage=self._storage)
        return Reading(doc, world, self._options, honours=honours)

    def _live(self, key: str, pods: Sequence[Body], fixed: Mapping[str, str], done: Sequence[Body]) -> LivePods:
        counted = {body["metadata"]["uid"] for body in (*pods, *done)}
        others = [
            body
            for body in self._source.pods_of(key)
            if body["metadata"]["uid"] not in counted and not _is_over(body)
        ]  # fmt: skip
        names = frozenset(pod_name(body) for body in done)
        return LivePods((*pods, *done), fixed, names, others)

    def _declaration(self, key: str, pods: Sequence[Body]) -> _Declaration | None:
        namespace, _, name = key.partition("/")
        if (owner := split_owner_key(key)) is not None:
            return self._workload(namespace, *owner)
        annotated = any((pod["metadata"].get("annotations") or {}).get(POD_GROUP_ANNOTATION) for pod in pods)
        groups = (KAI_POD_GROUPS, *(group for group in POD_GROUPS if group is not KAI_POD_GROUPS))
        groups = groups if annotated else POD_GROUPS
        made_for = any(deployment_name(namespace, pod["metadata"].get("labels") or {}) for pod in pods)
        first = (DYNAMO_DEPLOYMENTS,) if made_for or not pods else ()
        for resource in (GANGS, *first, *groups):
            body = self._source.get(resource, namespace, name)
            if body is not None:
                return self._declare(resource, body)
        for body in self._source.all(LEADER_WORKER_SETS).values():
            if is_replica(body, key):
                return self._declare(LEADER_WORKER_SETS, body)
        return None

    def _workload(self, namespace: str, kind: str, name: str) -> _Declaration | None:
        """The workload of this kind and API group, in lower case, and name."""
        resource = next((one for one in WORKLOADS if f"{one.kind.lower()}.{one.group}" == kind), None)
        body = self._source.get(resource, namespace, name) if resource else None
        return self._declare(resource, body) if resource and body else None

    def _declare(self, resource: Resource, body: Body) -> _Declaration:
        version = self._source.version_of(resource) or resource.versions[0]
        return _Declaration(resource, _document(resource, body, version))


def _document(resource: Resource, body: Body, version: str) -> Document:
    """An object with its kind, which lists leave out."""
    api_version = f"{resource.group}/{version}" if resource.group else version
    return Document({"apiVersion": api_version, "kind": resource.kind, **body}, SOURCE)


def _noted(joined: Joined, reading: Reading, members: Sequence[Member] = ()) -> Joined:
    """With what there is to say about the gang and its members, each once."""
    of_members = (notice for member in members for notice in member.shape.notices)
    return replace(joined, notices=each_once((*reading.notices, *of_members)))


def _honoured(resource: Resource) -> frozenset[str]:
    """Rules of other schedulers that the reader of a kind takes care of."""
    if resource is GANGS:
        return frozenset()
    return WORKLOAD_RULES if resource in WORKLOADS else POD_RULES


def _is_over(pod: Body) -> bool:
    """Whether a pod has ended or is leaving."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in _ENDED or bool(pod["metadata"].get("deletionTimestamp"))
