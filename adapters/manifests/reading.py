"""What every reader of gang manifests shares: options, the world around the files, notices and refusals."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from functools import cached_property

from adapters.kubernetes.constraints import repelled_keys
from adapters.kubernetes.contests import Contests
from adapters.kubernetes.device_claims import ClaimBook, claimed
from adapters.kubernetes.foreign_rules import foreign_rules
from adapters.kubernetes.objects import Document, Fields, Part, Raw, one_line, shown
from adapters.kubernetes.pods import Finding, PodShape, pod_shape
from adapters.kubernetes.priorities import Priorities
from adapters.kubernetes.running import gang_of, has_ended, nominated_node, own_gang_of, read_bind_requests
from adapters.kubernetes.selected_labels import SelectedKeys, named_anywhere, named_by_pod
from adapters.kubernetes.storage import KnownStorage, Storage
from adapters.kubernetes.volumes import mounts
from adapters.manifests.podsets import Family, PodsetRule, arranged
from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators
from solver.domain.constraints import NodeConstraints
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Group, Role
from solver.domain.levels import TopologySpec
from solver.domain.plan import Notice
from solver.domain.resources import Resources

#: Deepest nesting of groups that is read.
MAX_DEPTH = 32
MAX_PROMPT_TOKENS = 10**8

#: What a ComputeDomain's promise of NVLink is taken for.
COMPUTE_DOMAIN_REQUIRED, COMPUTE_DOMAIN_PREFERRED = "required", "preferred"

_CREATED = "metadata.creationTimestamp"


@dataclass(frozen=True, slots=True)
class GangOptions:
    """How gangs are read.

    model: whose KV cache is sent; None reads it from the manifests. prompt_tokens: of one request.
    ignore_unsupported: hard constraints that cannot be honoured become notices instead of errors. compute_domain:
    whether all pods of a ComputeDomain are `required` to lie in one NVLink domain, or only `preferred` to.
    accelerators: which resources are devices, of which an engine's number is guessed where its flags do not say.
    requests_per_second: of each gang whose manifest does not say; None = unknown. max_priority: up to which a Gang of a
    live cluster has what it states, whatever its pods have; None = any.
    Raises InvalidRequest for a number of tokens out of range and for another word.
    """

    model: str | None = None
    prompt_tokens: int = 4000
    ignore_unsupported: bool = False
    compute_domain: str = COMPUTE_DOMAIN_REQUIRED
    accelerators: Accelerators = KNOWN_ACCELERATORS
    requests_per_second: Fraction | None = None
    max_priority: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.prompt_tokens <= MAX_PROMPT_TOKENS:
            raise InvalidRequest(f"--prompt-tokens: {self.prompt_tokens} is out of range (1 to {MAX_PROMPT_TOKENS})")
        words = (COMPUTE_DOMAIN_REQUIRED, COMPUTE_DOMAIN_PREFERRED)
        if self.compute_domain not in words:
            raise InvalidRequest(f"--compute-domain: {self.compute_domain!r} is not one of {', '.join(words)}")


@dataclass(frozen=True, slots=True)
class FoundGang:
    """A gang and what its reader wants to say about it."""

    gang: Gang
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class World:
    """Everything known beside the object at hand.

    files: the objects whose gangs are planned. cluster: what runs already, context only. selectors: label keys that
    pods select by, where somebody keeps count of them; None = those of the files and of the pods of the cluster that
    are bound or nominated.
    topology_of: the topology a gang means by a name or, without one, by an empty text; None where nobody knows the
    nodes.
    nodes: names of the nodes there are; None where nobody says, so that every one counts.
    live_storage: claims, volumes and classes, where somebody keeps them; None = those of the files and of the cluster.
    """

    files: Sequence[Document]
    cluster: Sequence[Document] = ()
    selectors: SelectedKeys | None = None
    topology_of: Callable[[str], TopologySpec] | None = None
    nodes: Container[str] | None = None
    live_storage: Storage | None = None

    @cached_property
    def selected(self) -> SelectedKeys:
        """Label keys that some selector names; no other label tells pods apart."""
        if self.selectors is not None:
            return self.selectors
        found = SelectedKeys()
        for doc in self.files:
            if doc.kind != "Pod":
                found.add(named_anywhere(doc.body, doc.namespace))
        for docs, all_count in ((self.files, True), (self.cluster, False)):
            for doc in docs:
                if doc.kind == "Pod" and not has_ended(doc) and (all_count or self._takes_room(doc)):
                    found.add(named_by_pod(doc.body, doc.namespace))
        return found

    @cached_property
    def storage(self) -> Storage:
        """Where volumes are."""
        return self.live_storage or KnownStorage((*self.files, *self.cluster), self._running)

    @property
    def has_cluster(self) -> bool:
        """Whether anything is known of the cluster, so that what is not known of it does not exist."""
        return bool(self.cluster) or self.live_storage is not None

    @cached_property
    def contests(self) -> Contests:
        """Claims of all pods that are read, as far as they may get into each other's way."""
        return Contests()

    @cached_property
    def pods(self) -> Mapping[str, Document]:
        """Pods by `namespace/name`: all of the files and the bound ones of the cluster.

        A copy that is bound to a node there is wins.
        """
        found: dict[str, Document] = {}
        for doc in (*self.files, *self.cluster):
            if doc.kind != "Pod":
                continue
            if not doc.name:
                raise doc.refuse("metadata.name", "is missing")
            known = found.get(doc.full_name)
            if known is None or (self._holds(doc) and not self._holds(known)):
                found[doc.full_name] = doc
        planned = {doc.full_name for doc in self.files if doc.kind == "Pod"}
        return {name: doc for name, doc in found.items() if name in planned or self.node_of(doc)}

    @cached_property
    def members(self) -> Mapping[str, Document]:
        """Of `pods` those that can belong to a gang: neither finished nor terminating, nor lost."""
        return {name: doc for name, doc in self.pods.items() if not _over(doc) and name not in self.lost}

    @cached_property
    def lost(self) -> Mapping[str, Document]:
        """Of `pods` those that are bound to a node which is gone: they will never run again."""
        return {name: doc for name, doc in self.pods.items() if not _over(doc) and self._is_lost(doc)}

    @cached_property
    def pods_by_own_gang(self) -> Mapping[str, Sequence[Document]]:
        """Pods by the `namespace/name` of the Gang whose label they carry: members, and those that have succeeded."""
        found: dict[str, list[Document]] = {}
        for doc in self.pods.values():
            succeeded = doc.text("status.phase", "") == "Succeeded"
            if (gang := own_gang_of(doc)) and (succeeded or doc.full_name in self.members):
                found.setdefault(gang, []).append(doc)
        return found

    @cached_property
    def members_by_gang(self) -> Mapping[str, Sequence[Document]]:
        """Members by the `namespace/name` of the PodGroup they name."""
        found: dict[str, list[Document]] = {}
        for doc in self.members.values():
            if (gang := gang_of(doc)) and not own_gang_of(doc):
                found.setdefault(gang, []).append(doc)
        return found

    @cached_property
    def existing(self) -> Mapping[str, Document]:
        """Pods by `namespace/name`, bound or not, also of the cluster: neither finished nor terminating, nor lost."""
        pods = (doc for doc in (*self.cluster, *self.files) if doc.kind == "Pod")
        found = {doc.full_name: doc for doc in pods if not (_over(doc) or self._is_lost(doc))}
        return {**found, **self.members}

    def existing_by(self, key: Callable[[Document], str]) -> Mapping[str, Sequence[Document]]:
        """The existing pods by what `key` says of them; those of which it says nothing are left out."""
        known = self._grouped.get(key)
        if known is None:
            found: dict[str, list[Document]] = {}
            for doc in self.existing.values():
                if name := key(doc):
                    found.setdefault(name, []).append(doc)
            known = self._grouped[key] = found
        return known

    @cached_property
    def owners(self) -> Mapping[tuple[str, str, str], Document]:
        """Objects that may own pods, by kind, namespace and name; those of the files count first."""
        others = [doc for doc in (*self.cluster, *self.files) if doc.kind != "Pod"]
        return {(doc.kind, doc.namespace, doc.name): doc for doc in others}

    def node_of(self, pod: Document) -> str:
        """The node a pod is bound to, by itself or by a BindRequest that has not failed; empty if pending.

        A BindRequest for a node that is gone binds nothing.
        """
        promised = self._promised.get(pod.full_name, "")
        return pod.text("spec.nodeName", "") or (promised if self._is_there(promised) else "")

    def priority(self, class_name: str) -> int | None:
        """The value of a PriorityClass, None if nobody knows it."""
        return self._priorities.of_class(class_name)

    def priority_of(self, pod: Document) -> int:
        """The priority of a pod, as its scheduler knows it."""
        return self._priorities.of_pod(pod)

    def of_kind(self, kind: str) -> Iterator[Document]:
        """Objects of a kind, those of the files first."""
        return (doc for doc in (*self.files, *self.cluster) if doc.kind == kind)

    @cached_property
    def compute_domains(self) -> Mapping[tuple[str, str], str]:
        """Names of ComputeDomains by namespace and the claim template of their channel; those of the files count."""
        at = "spec.channel.resourceClaimTemplate.name"
        domains = [doc for doc in (*self.cluster, *self.files) if doc.kind == "ComputeDomain"]
        return {(doc.namespace, template): doc.name for doc in domains if (template := doc.text(at, ""))}

    @cached_property
    def claims(self) -> ClaimBook:
        """Resource claims, their templates, and the devices they are for."""
        return ClaimBook.of((*self.files, *self.cluster))

    @cached_property
    def default_priority(self) -> int | None:
        """The value of the PriorityClass that says it is the default, if any."""
        return self._priorities.default

    def _takes_room(self, pod: Document) -> bool:
        """Whether a pod is bound, or waits for the node it is nominated to."""
        return bool(self.node_of(pod) or nominated_node(pod))

    def _running(self) -> list[Document]:
        return [doc for doc in self.pods.values() if self.node_of(doc) and not has_ended(doc)]

    @cached_property
    def _grouped(self) -> dict[Callable[[Document], str], Mapping[str, Sequence[Document]]]:
        return {}

    def _holds(self, pod: Document) -> bool:
        """Whether a pod is bound to a node there is."""
        node = self.node_of(pod)
        return bool(node) and self._is_there(node)

    def _is_lost(self, pod: Document) -> bool:
        """Whether a pod is bound to a node that is gone."""
        return self.nodes is not None and not self._is_there(pod.text("spec.nodeName", ""))

    def _is_there(self, node: str) -> bool:
        """Whether a node is known, or nobody says which are; no node at all counts as one that is there."""
        return not node or self.nodes is None or node in self.nodes

    @cached_property
    def _promised(self) -> Mapping[str, str]:
        return read_bind_requests(self.of_kind("BindRequest"))

    @cached_property
    def _priorities(self) -> Priorities:
        return Priorities(self.of_kind("PriorityClass"))


@dataclass
class Reading:
    """One object being read: its notices so far and how it refuses.

    honours: annotations of other schedulers that its reader takes care of; every other one that matters is unsupported.
    """

    doc: Document
    world: World
    options: GangOptions
    notices: list[Notice] = field(default_factory=list)
    honours: Collection[str] = frozenset()

    def note(self, code: str, at: str, message: str) -> None:
        """Say something about field `at` of the object."""
        self.notices.append(Notice(code, self.doc.described, at, message))

    def unsupported(self, found: Finding, doc: Document | None = None) -> None:
        """Refuse a hard constraint that cannot be honoured, or say that it is ignored if that is allowed."""
        doc = doc or self.doc
        if not self.options.ignore_unsupported:
            raise doc.refuse(found.field, found.problem)
        self.notices.append(Notice("unsupported_ignored", doc.described, found.field, found.problem))

    def shape(self, pod: Raw, at: str, added: Mapping[str, str] | None = None) -> PodShape:
        """The shape of a pod template found at `at`; its findings are refused or noted.

        added: labels that pods get besides the template's own.
        """
        if added:
            metadata = self.doc.within(pod, at).mapping("metadata")
            labels = {**self.doc.within(pod, at).texts("metadata.labels"), **added}
            pod = {**pod, "metadata": {**metadata, "labels": labels}}
        shape = pod_shape(self.doc, pod, at, self.honours)
        for found in shape.unsupported:
            self.unsupported(found)
        shape = self.mounting(shape, self.doc.within(pod, at), self.doc)
        self.notices.extend(shape.notices)
        return self.told_apart(self.with_claims(shape, self.doc.within(pod, at), at))

    def with_claims(self, shape: PodShape, pod: Fields, at: str = "", doc: Document | None = None) -> PodShape:
        """The shape with the devices of the pod's resource claims; what cannot be honoured of them is unsupported.

        at: where the pod is. doc: its object, if it is another one. Claims of a ComputeDomain are for no devices.
        """
        namespace = (doc or self.doc).namespace
        channels = (template for where, template in self.world.compute_domains if where == namespace)
        asked = claimed(self.world.claims, pod, namespace, channels)
        for place, problem in asked.refused:
            self.unsupported(Finding(f"{at}.{place}" if at else place, problem), doc)
        if not asked.requests.items:
            return shape
        return replace(shape, requests=Resources.total((shape.requests, asked.requests)))

    def mounting(self, shape: PodShape, pod: Part, doc: Document, name: str = "", runs: bool = False) -> PodShape:
        """The shape with where the volumes of the pod let it go; what is not known is refused or noted.

        doc: the object it is part of. name: of the pod; empty for a template. runs: it has a node already, so nothing
        of its volumes is refused. Without a cluster nothing is refused either, since all that may be missing is there.
        """
        rules = shape.constraints
        found = mounts(pod, rules.namespace, name, self.world.storage)
        said = [("volume_unbound", *each) for each in found.notices]
        if not self.world.has_cluster:
            said += [("volume_ignored", *each) for each in found.problems]
        elif not runs:
            user = f"{rules.namespace}/{name}" if name else ""
            contested = ((each.at, self.world.contests.problem(each, user)) for each in found.contests)
            for at, problem in (*found.problems, *contested):
                if problem:
                    self.unsupported(Finding(pod.path(at), problem), doc)
        notices = tuple(Notice(code, doc.described, pod.path(at), message) for code, at, message in said)
        rules = replace(rules, volumes=tuple(dict.fromkeys((*rules.volumes, *found.nodes))))
        return replace(shape, constraints=rules, notices=(*shape.notices, *notices))

    def told_apart(self, shape: PodShape) -> PodShape:
        """The shape with those of its labels alone that some selector names."""
        rules = shape.constraints
        keys = self.world.selected.of(rules.namespace)
        labels = tuple(label for label in rules.labels if label[0] in keys)
        return shape if labels == rules.labels else replace(shape, constraints=replace(rules, labels=labels))

    def refuse_foreign(self, honoured: Collection[str] = ()) -> None:
        """Refuse, or note, rules of other schedulers on the object itself but for the `honoured` ones."""
        for at, problem in foreign_rules(self.doc, "metadata.annotations", honoured):
            self.unsupported(Finding(at, problem))

    def packed(
        self,
        root: Group,
        rules: Mapping[str, PodsetRule],
        families: Callable[[], Sequence[Family]] = tuple,
        running: Collection[str] = (),
    ) -> Group:
        """`root` with the rules of its podsets (by role) and of families of roles; refused or noted if it cannot be.

        running: pods that run.
        """
        try:
            return arranged(root, rules, families(), running)
        except InvalidRequest as error:
            self.unsupported(Finding("metadata.annotations", str(error)))
            return root

    def priority(self, fallback: int = 0, path: str = "spec.priorityClassName", name: str = "") -> int:
        """The value of the PriorityClass the object names in its spec or by label, else the default.

        name: of the class, where it stands elsewhere than at a plain path.
        """
        name = name or self.doc.text(path, "") or self.doc.labels.get("priorityClassName", "")
        default = self.world.default_priority
        if not name:
            return fallback if default is None else default
        value = self.world.priority(name)
        if value is None:
            self.note("priority_unknown", path, f"no PriorityClass {name!r} is known; {fallback} is assumed")
            return fallback
        return value

    @property
    def states_priority(self) -> bool:
        """Whether the object says which priority it has, by number or class."""
        return self.doc.has("spec.priority") or _names_class(self.doc) or "priorityClassName" in self.doc.labels

    def pod_priority(self, pods: Iterable[Document], priority: int) -> int | None:
        """The lowest priority that some pods say they have, by themselves or by class; None if it is the gang's own.

        Pods that say nothing have that of the gang where its object says one, else the one that pods have by default.
        """
        found = [self.world.priority_of(pod) for pod in pods if pod.has("spec.priority") or _names_class(pod)]
        least = min(found, default=priority if self.states_priority else self.world.default_priority or 0)
        return None if least == priority else least

    def found(self, gang: Gang, pods: Sequence[Document] = ()) -> FoundGang:
        """The finished gang with its notices, each once; anti-affinity between its own roles is unsupported.

        It waits since its object was created, or without one of its own since the oldest of `pods` was.
        """
        known = [moment for doc in pods or [self.doc] if (moment := _created(doc)) is not None]
        gang = replace(gang, created=min(known)) if known else gang
        self._refuse_repelled(gang.roles)
        return FoundGang(gang, tuple(dict.fromkeys(self.notices)))

    def _refuse_repelled(self, roles: Sequence[Role]) -> None:
        """Roles that keep away from each other are unsupported; of those that are alike, two are looked at."""
        alike: dict[NodeConstraints, list[Role]] = {}
        for role in roles:
            alike.setdefault(role.constraints, []).append(role)
        seen = [role for found in alike.values() for role in found[:2]]
        for role in (role for role in seen if role.constraints.anti_affinity):
            for other in (other for other in seen if other is not role):
                for key in repelled_keys(role.constraints, other.constraints):
                    problem = f"keeps away from role {other.name!r} by {key}, which is not supported"
                    self.unsupported(Finding(f"podAntiAffinity of role {role.name!r}", problem))


@contextmanager
def located(doc: Document, at: str = "") -> Iterator[None]:
    """Put source, object and field in front of what domain values refuse; the original is the cause."""
    try:
        yield
    except InvalidRequest as error:
        place = f"{doc.source}: {doc.described}: {at}: " if at else f"{doc.source}: {doc.described}: "
        raise InvalidRequest(one_line(f"{place}{error}")) from error


def _names_class(doc: Document) -> bool:
    return bool(doc.text("spec.priorityClassName", ""))


def _created(doc: Document) -> datetime | None:
    text = doc.text(_CREATED, "")
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        moment = None
    if text and (moment is None or moment.tzinfo is None):
        raise doc.refuse(_CREATED, f"{shown(text)} is not a time such as 2026-01-31T12:00:00Z")
    return moment


def _over(pod: Document) -> bool:
    return has_ended(pod) or pod.has("metadata.deletionTimestamp")
