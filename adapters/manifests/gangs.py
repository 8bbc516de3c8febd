"""Gangs from manifests of every kind that is understood, in the order of the input."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from adapters.kubernetes.foreign_rules import POD_RULES
from adapters.kubernetes.gang_keys import GANG_LABEL
from adapters.kubernetes.objects import Document
from adapters.kubernetes.running import gang_of, own_gang_of
from adapters.kubernetes.spelling import differs_in_case, suggestion
from adapters.manifests.dynamo import DEPLOYMENT_KIND, read_deployment
from adapters.manifests.dynamo_members import deployment_of
from adapters.manifests.joining import join_files
from adapters.manifests.loose_pods import UNREAD_KINDS, Bond, bond_of, read_loose_gang
from adapters.manifests.lost_members import LostMembers
from adapters.manifests.lws import HONOURED as SET_RULES
from adapters.manifests.lws import read_leader_worker_set
from adapters.manifests.members import read_members
from adapters.manifests.models import named_model
from adapters.manifests.own import read_declared, read_gang
from adapters.manifests.policies import POLICIES, policy_of
from adapters.manifests.reading import FoundGang, GangOptions, Reading, World
from adapters.manifests.templates import Workloads
from adapters.manifests.workloads import HONOURED as WORKLOAD_RULES
from adapters.manifests.workloads import read_workload
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.levels import TopologySpec
from solver.domain.plan import Notice

__all__ = ["GangInput", "GangOptions", "read_gangs"]

OWN_GROUP = "huddle.scheduler"

#: What may stand in a gang file, for messages.
KNOWN = "Gang, DynamoGraphDeployment, LeaderWorkerSet, PodGroup, Pod, JobSet, RayCluster, Job, StatefulSet, Deployment"

_UNDERSTOOD = frozenset(KNOWN.split(", "))

#: Kinds that accompany gangs and say nothing about where pods may run.
# fmt: off
_COMPANIONS = frozenset(
    {
        "BindRequest", "ClusterRole", "ClusterRoleBinding", "ComputeDomain", "ConfigMap", "CronJob",
        "CustomResourceDefinition", "DaemonSet", "Deployment", "DynamoModel",
        "DynamoGraphDeploymentScalingAdapter", "Event", "HorizontalPodAutoscaler", "HTTPRoute", "Ingress",
        "Job", "LimitRange", "Namespace", "NetworkPolicy", "PersistentVolume", "PersistentVolumeClaim",
        "PodDisruptionBudget", "PodMonitor", "PriorityClass", "ReplicaSet", "ReplicationController",
        "ResourceClaim", "ResourceClaimTemplate", "ResourceQuota", "Role", "RoleBinding", "Secret",
        "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet", "StorageClass", "Workload",
    }
)
# fmt: on
_CLUSTER_KINDS = frozenset({"Cluster", "ClusterTopology", "ClusterTopologyBinding", "Node", "Queue", "Topology"})
_NOT_YET = frozenset({"PodCliqueSet", "PodGang", "CompositePodGroup"})


@dataclass(frozen=True, slots=True)
class GangInput:
    """Gangs to plan, in input order. notices: by gang name. general: about objects that are no gang.

    sources: gang name → the file and object it comes from, for messages.
    """

    gangs: tuple[Gang, ...]
    notices: Mapping[str, tuple[Notice, ...]] = field(default_factory=dict)
    general: tuple[Notice, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_notices(self) -> tuple[Notice, ...]:
        """The general notices, then those of each gang; each once."""
        of_gangs = (notice for found in self.notices.values() for notice in found)
        return tuple(dict.fromkeys((*self.general, *of_gangs)))


def read_gangs(
    documents: Sequence[Document],
    options: GangOptions | None = None,
    cluster_documents: Sequence[Document] = (),
    topology_of: Callable[[str], TopologySpec] | None = None,
    nodes: Container[str] | None = None,
) -> GangInput:
    """All gangs of `documents`.

    cluster_documents: what runs already. Bound pods in there count as running members, PriorityClasses and owners
    are looked up; nothing in there is planned. topology_of: see World. nodes: names of all nodes there are; a member
    bound to another one is lost, which a notice says. None: nobody knows. Raises InvalidRequest, one line, for anything
    malformed or unsupported, for two gangs of one name, and if there is no gang.
    """
    options = options or GangOptions()
    if options.model is not None:
        named_model(options.model)
    world = World(documents, cluster_documents, topology_of=topology_of, nodes=nodes)
    if made := tuple(Workloads(world).pods()):
        documents = (*documents, *made)
        world = replace(world, files=documents)
    desk = _Desk(world, options)
    found: dict[str, FoundGang] = {}
    sources: dict[str, str] = {}
    for doc in documents:
        for each in map(desk.lost.noted, desk.read(doc)):
            if each.gang.name in found:
                raise doc.refuse("metadata.name", f"another gang is called {each.gang.name} too")
            found[each.gang.name] = _with_rate(each, options)
            sources[each.gang.name] = f"{doc.source}: {doc.described}"
    if not found:
        raise _nothing_found(documents)
    notices = {name: each.notices for name, each in found.items()}
    return GangInput(tuple(each.gang for each in found.values()), notices, tuple(desk.general), sources)


def _with_rate(found: FoundGang, options: GangOptions) -> FoundGang:
    """The gang with the requests per second of the options where its manifest states none."""
    rate = options.requests_per_second
    if rate is None or found.gang.requests_per_second is not None:
        return found
    return replace(found, gang=replace(found.gang, requests_per_second=rate))


class _Desk:
    """Hands every object to its reader; remembers which pods are spoken for."""

    def __init__(self, world: World, options: GangOptions) -> None:
        self.general: list[Notice] = []
        self._world = world
        self._options = options
        self.lost = LostMembers(world)
        self._workloads = Workloads(world)
        self._groups = {doc.full_name for doc in world.files if policy_of(doc)}
        self._own = {doc.full_name for doc in world.files if _is_own(doc)}
        self._sets = {doc.full_name for doc in world.files if doc.kind == "LeaderWorkerSet"}
        self._deployments = {doc.full_name for doc in world.files if doc.kind == DEPLOYMENT_KIND}
        self._done: set[Bond] = set()

    def read(self, doc: Document) -> Iterator[FoundGang]:
        """The gangs an object stands for."""
        if self._is_made_for_deployment(doc):
            return
        if _is_own(doc):
            yield from self._own_gang(doc)
        elif doc.kind == DEPLOYMENT_KIND:
            yield read_deployment(self._reading(doc, frozenset()))
        elif doc.kind == "LeaderWorkerSet":
            yield from read_leader_worker_set(self._reading(doc, SET_RULES))
        elif policy_of(doc):
            yield from self._whole_group(doc)
        elif doc.kind == "Pod":
            yield from self._pod(doc)
        elif kind := self._workloads.kind_of(doc):
            found = read_workload(self._reading(doc, WORKLOAD_RULES), kind)
            if found is not None:
                yield found
        else:
            self._pass_over(doc)

    def _reading(self, doc: Document, honours: frozenset[str] = POD_RULES) -> Reading:
        return Reading(doc, self._world, self._options, honours=honours)

    def _own_gang(self, doc: Document) -> Iterator[FoundGang]:
        """A Gang, made of the pods that name it where there are any."""
        reading = self._reading(doc, frozenset())
        pods = self._world.pods_by_own_gang.get(doc.full_name)
        found = join_files(reading, read_declared(reading), pods) if pods else read_gang(reading)
        if found is not None:
            yield found

    def _whole_group(self, doc: Document) -> Iterator[FoundGang]:
        """The gang of a PodGroup, unless all its pods are lost: then there is nothing to place until others exist."""
        lost = self.lost.of(doc.full_name)
        if not lost or doc.full_name in self._world.members_by_gang:
            yield self._pod_group(doc)
        else:
            self.general.extend(lost)

    def _pod_group(self, doc: Document) -> FoundGang:
        reading = self._reading(doc)
        members = read_members(reading, self._world.members_by_gang.get(doc.full_name, ()))
        return POLICIES[policy_of(doc)](reading, members)

    def _pod(self, doc: Document) -> Iterator[FoundGang]:
        """The gang of a pod that no PodGroup of the files names, at the first of its pods, if any of them waits."""
        member = self._world.members.get(doc.full_name)
        if member is not None and (own := own_gang_of(member)):
            yield from self._pod_of_own(member, own)
            return
        if member is None or gang_of(member) in self._groups or self._in_set(member) or self._workloads.owns(member):
            return
        if graph := self._graphs.get(deployment_of(member)):
            yield from self._deployment_of_cluster(graph)
            return
        bond = bond_of(self._world, member)
        if bond in self._done:
            return
        self._done.add(bond)
        pods = self._loose[bond]
        if all(self._world.node_of(pod) for pod in pods):
            return
        group = self._context.get(bond.name) if bond.shared else None
        yield self._pod_group(group) if group else read_loose_gang(self._reading(member), bond, pods)

    def _deployment_of_cluster(self, graph: Document) -> Iterator[FoundGang]:
        """The gang of a deployment that only the cluster has, at the first of its pods in the files."""
        bond = Bond(graph.full_name, DEPLOYMENT_KIND)
        if bond not in self._done:
            self._done.add(bond)
            yield read_deployment(self._reading(graph, frozenset()))

    @cached_property
    def _graphs(self) -> Mapping[str, Document]:
        """Deployments of the cluster: not planned themselves, but they say what pods of the files need."""
        return {doc.full_name: doc for doc in self._world.cluster if doc.kind == DEPLOYMENT_KIND}

    def _pod_of_own(self, pod: Document, gang: str) -> Iterator[FoundGang]:
        """The Gang of the cluster that a pod of the files names, at the first of its pods."""
        bond = Bond(gang, "Gang")
        if gang in self._own or bond in self._done:
            return
        self._done.add(bond)
        context = self._own_context.get(gang)
        if context is None:
            raise pod.refuse(f"metadata.labels[{GANG_LABEL}]", f"Gang {gang} is not in the input")
        yield from self._own_gang(context)

    @cached_property
    def _own_context(self) -> Mapping[str, Document]:
        """Gangs of the cluster: not planned themselves, but they say how pods of the files hang together."""
        return {doc.full_name: doc for doc in self._world.cluster if _is_own(doc)}

    @cached_property
    def _loose(self) -> Mapping[Bond, Sequence[Document]]:
        """Members by what ties them together."""
        found: dict[Bond, list[Document]] = {}
        for pod in self._world.members.values():
            found.setdefault(bond_of(self._world, pod), []).append(pod)
        return found

    @cached_property
    def _context(self) -> Mapping[str, Document]:
        """PodGroups of the cluster: not planned themselves, but they say what pods of the files need."""
        return {doc.full_name: doc for doc in self._world.cluster if policy_of(doc)}

    def _in_set(self, pod: Document) -> bool:
        name = pod.labels.get("leaderworkerset.sigs.k8s.io/name", "")
        return f"{pod.namespace}/{name}" in self._sets

    def _is_made_for_deployment(self, doc: Document) -> bool:
        """Whether a deployment of the files stands for the object: a pod, set or group that was made for it."""
        if not self._deployments or doc.kind == DEPLOYMENT_KIND:
            return False
        if deployment_of(doc) in self._deployments or (doc.kind in _NOT_YET and doc.full_name in self._deployments):
            return True
        pods = self._world.members_by_gang.get(doc.full_name, ()) if policy_of(doc) else ()
        return bool(pods) and all(deployment_of(pod) in self._deployments for pod in pods)

    def _pass_over(self, doc: Document) -> None:
        """Say what an object that is no gang means for the answer; refuse gangs that cannot be read yet."""
        if doc.kind in _NOT_YET and not self._groups:
            raise doc.refuse("kind", f"{doc.kind} is not supported yet; known are {KNOWN}")
        if doc.kind in UNREAD_KINDS and not self._groups:
            self._unsupported(doc, f"{doc.kind} objects are gangs that are not read; known are {KNOWN}")
            return
        if doc.kind == "PodGroup":
            problem = f"a PodGroup of {doc.api_group} is not supported; known are those of {', '.join(POLICIES)}"
            self._unsupported(doc, problem)
            return
        if doc.kind in _CLUSTER_KINDS:
            self._note("kind_ignored", doc, f"{doc.kind} objects describe the cluster only with --cluster")
        elif differs_in_case(doc.kind, _UNDERSTOOD):
            raise _not_understood(doc)
        elif doc.kind not in _COMPANIONS:
            self._note("kind_ignored", doc, f"{doc.kind or 'nameless'} objects are not understood")

    def _unsupported(self, doc: Document, problem: str) -> None:
        """Refuse a kind that says what a gang is and cannot be read, or say that it is ignored if that is allowed."""
        if not self._options.ignore_unsupported:
            raise doc.refuse("apiVersion", problem)
        self.general.append(Notice("unsupported_ignored", doc.described, "apiVersion", problem))

    def _note(self, code: str, doc: Document, message: str) -> None:
        """Say something about a kind, once, at its first object."""
        if all(notice.message != message for notice in self.general):
            self.general.append(Notice(code, doc.described, "kind", message))


def _is_own(doc: Document) -> bool:
    return doc.kind == "Gang" and doc.api_group in (OWN_GROUP, "")


def _not_understood(doc: Document) -> InvalidRequest:
    """A kind that nobody knows, perhaps a misspelt one."""
    near = suggestion(doc.kind, _UNDERSTOOD)
    return doc.refuse("kind", f"{doc.kind or 'nothing'} is not understood{near}; known are {KNOWN}")


def _nothing_found(documents: Sequence[Document]) -> InvalidRequest:
    """Why there is no gang: a kind nobody knows, pods that all run, or nothing of the kind."""
    known = {*_COMPANIONS, *_CLUSTER_KINDS, "Pod", "PodGroup"}
    for doc in documents:
        if doc.kind not in known:
            return _not_understood(doc)
    sources = ", ".join(dict.fromkeys(doc.source for doc in documents)) or "the input"
    if any(doc.kind == "Pod" for doc in documents):
        return InvalidRequest(f"{sources}: no gang to plan: every pod runs already, ends, has ended or is lost")
    return InvalidRequest(f"{sources}: no gang in here; known are {KNOWN}")
