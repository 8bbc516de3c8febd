"""The gang of a workload: a JobSet, Job, StatefulSet, Deployment, RayCluster or Volcano Job.

All its pods are one gang. Those that exist are members, whether they run or wait; the rest is made of the templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.kubernetes.exclusive import own_spread
from adapters.kubernetes.foreign_rules import (
    JOBSET_BY_SELECTOR,
    JOBSET_EXCLUSIVE,
    JOBSET_JOB_KEY,
    PODSET_RULES,
)
from adapters.kubernetes.objects import Document, Fields
from adapters.kubernetes.pods import Finding, PodShape
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.added_labels import job_set_labels
from adapters.manifests.compute_domains import domains_of, keep_domains
from adapters.manifests.engines import Engine, read_engine
from adapters.manifests.kinds import is_typed, kind_of
from adapters.manifests.own_claims import job_volumes, with_own_claims, with_volumes
from adapters.manifests.packing import annotated, one_topology
from adapters.manifests.podsets import PodsetRule, in_slices, inside, podset_rule
from adapters.manifests.reading import FoundGang, Reading, located
from adapters.manifests.traffic import Endpoint, deployment_flows
from adapters.manifests.volcano import network_rule
from adapters.manifests.workload_kinds import Podset, WorkloadKind
from solver.domain.constraints import AntiAffinity, Operator, PodSelector, Requirement, Toleration
from solver.domain.gang import BoundMember, Gang, Group, Pack, Role, Spread
from solver.domain.naming import natural_key

#: Rules of other schedulers that are honoured on the object or its templates.
HONOURED = PODSET_RULES | {JOBSET_EXCLUSIVE, JOBSET_BY_SELECTOR}
_JOBSET_RULES = frozenset({JOBSET_EXCLUSIVE, JOBSET_BY_SELECTOR})
_NAMESPACED_JOB = "alpha.jobset.sigs.k8s.io/namespaced-job"
_NO_SCHEDULE = "alpha.jobset.sigs.k8s.io/no-schedule"
_AT = "metadata.annotations"
_CLAIM_TEMPLATES = "spec.volumeClaimTemplates"


@dataclass(frozen=True, slots=True)
class _NamedPods:
    """Pods of a podset by part: names, those that run among them."""

    parts: tuple[tuple[str, ...], ...]
    running: tuple[BoundMember, ...]


def read_workload(reading: Reading, kind: WorkloadKind) -> FoundGang | None:
    """The gang of a workload; None when it wants no pod. Raises InvalidRequest for what cannot be honoured."""
    doc = reading.doc
    if not doc.name:
        raise doc.refuse("metadata.name", "is missing")
    jobset = _JOBSET_RULES if doc.kind == "JobSet" else frozenset[str]()
    reading.refuse_foreign(jobset)
    _refuse_task_rules(reading)
    podsets = [podset for podset in kind.podsets(doc) if podset.names]
    if not podsets:
        return None
    named_pods = {podset.name: _named_pods(reading, kind, podset, len(podsets)) for podset in podsets}
    return _Building(reading, podsets, named_pods).gang()


def _refuse_task_rules(reading: Reading) -> None:
    """Rules that tasks of a Volcano Job have beside their templates: partitions in one domain each, and NUMA nodes."""
    for part in reading.doc.parts("spec.tasks"):
        if part.mapping("partitionPolicy"):
            reading.unsupported(Finding(part.path("partitionPolicy"), "partitions of a task are not supported"))
        if part.text("topologyPolicy", "") not in ("", "none", "best-effort"):
            reading.unsupported(Finding(part.path("topologyPolicy"), "NUMA policies are not supported"))


class _Building:
    """One workload being made into a gang."""

    def __init__(self, reading: Reading, podsets: Sequence[Podset], named_pods: Mapping[str, _NamedPods]) -> None:
        self.reading, self.podsets, self.named_pods = reading, podsets, named_pods
        self.shapes = {podset.name: self.shape(podset) for podset in podsets}
        self.running = tuple(member for named in named_pods.values() for member in named.running)

    def shape(self, podset: Podset) -> PodShape:
        """What a pod of a podset asks for that has still to be placed."""
        reading, doc, named = self.reading, self.reading.doc, self.named_pods[podset.name]
        pod = with_volumes(podset.template, job_volumes(doc))
        shape = reading.shape(pod, podset.template.at, podset.labels)
        if doc.kind != "StatefulSet":
            return shape
        there = {member.pod for member in named.running}
        waiting = [pod for part in named.parts for pod in part if pod not in there]
        return with_own_claims(reading, shape, _CLAIM_TEMPLATES, waiting)

    def gang(self) -> FoundGang:
        """The gang, with every rule that its object and templates carry."""
        reading, doc = self.reading, self.reading.doc
        sources = [doc.annotations, *(podset.template.texts(_AT) for podset in self.podsets)]
        rule, topology = annotated(*sources), one_topology(doc, [annotated(source) for source in sources])
        exclusive = self.exclusive()
        with located(doc):
            parts = [self.part(podset, exclusive.get(podset.name, "")) for podset in self.podsets]
            roles = tuple(part for part in parts if isinstance(part, Role))
            groups = tuple(part for part in parts if isinstance(part, Group))
            root = Group(doc.full_name, roles, groups, min=self.least(roles, groups), pack=rule.pack)
            if doc.api_group == "batch.volcano.sh":
                root = inside(root, network_rule(reading, topology).pack)
            domains = {role.name: self.domains(role.name) for group in root.walk() for role in group.roles}
            root = keep_domains(reading, root, topology, domains)
        rules = {podset.name: self.rule(podset) for podset in self.podsets}
        root = reading.packed(root, rules, running=[member.pod for member in self.running])
        flows = in_slices(deployment_flows(reading, [self.endpoint(podset) for podset in self.podsets]), root)
        with located(doc):
            gang = Gang(doc.full_name, root, self.priority(), self.queue(), topology, flows, running=self.running)
        return reading.found(gang)

    def least(self, roles: Sequence[Role], groups: Sequence[Group]) -> int | None:
        """Fewest children of a Volcano Job, which says them for all its tasks together."""
        doc = self.reading.doc
        if doc.api_group != "batch.volcano.sh" or not doc.has("spec.minAvailable"):
            return None
        return doc.whole("spec.minAvailable", maximum=sum(role.replicas for role in roles) + len(groups))

    def part(self, podset: Podset, exclusive: str) -> Role | Group:
        """A podset as a role, or as a group where its parts are told apart."""
        named, shape = self.named_pods[podset.name], self.shapes[podset.name]
        if exclusive == JOBSET_BY_SELECTOR:
            return self.selected_jobs(podset, named, shape)
        if exclusive:
            return self.exclusive_jobs(podset, named, shape, exclusive)
        if podset.is_engine:
            return self.engines(podset, named, shape)
        pods = tuple(pod for part in named.parts for pod in part)
        return self.role(podset.name, podset, shape, pods, len(pods), podset.least * podset.size)

    def role(
        self, name: str, podset: Podset, shape: PodShape, pods: tuple[str, ...], replicas: int, least: int
    ) -> Role:
        """A role of a podset."""
        kind = kind_of({**self.reading.doc.labels, **podset.template.texts("metadata.labels")}, podset.name)
        return Role(name, replicas, least, kind, shape.requests, shape.constraints, shape.spread, pods)

    def engines(self, podset: Podset, named: _NamedPods, shape: PodShape) -> Group:
        """Replicas of several hosts each: engines of many nodes."""
        pods = tuple(pod for part in named.parts for pod in part)
        if not named.running:
            role = self.role(podset.name, podset, shape, pods, podset.size, podset.size)
            count, least = len(named.parts), max(1, podset.least)
            return Group(f"{podset.name} replicas", (role,), (), count, least, multinode=True)
        groups = []
        for at, part in enumerate(named.parts):
            role = self.role(f"{podset.name}#{at}", podset, shape, part, len(part), len(part))
            groups.append(Group(f"{podset.name} replica {at}", (role,), multinode=True))
        return Group(f"{podset.name} replicas", groups=tuple(groups), min=podset.least)

    def exclusive(self) -> dict[str, str]:
        """Podset → the node label of which each of its jobs has a domain for itself, or JOBSET_BY_SELECTOR."""
        found = {}
        for podset in self.podsets:
            annotations = {
                **(podset.job.texts(_AT) if podset.job else {}),
                **podset.template.texts(_AT),
                **{key: value for key, value in self.reading.doc.annotations.items() if value and podset.job},
            }
            if level := annotations.get(JOBSET_EXCLUSIVE, ""):
                found[podset.name] = JOBSET_BY_SELECTOR if annotations.get(JOBSET_BY_SELECTOR) else level
        by_level = [name for name, level in found.items() if level != JOBSET_BY_SELECTOR]
        if by_level and len(self.podsets) > 1:
            problem = "exclusive domains of a JobSet with several replicated jobs are not supported"
            self.reading.unsupported(Finding(f"{_AT}[{JOBSET_EXCLUSIVE}]", problem))
            found = {name: level for name, level in found.items() if name not in by_level}
        return found

    def exclusive_jobs(self, podset: Podset, named: _NamedPods, shape: PodShape, level: str) -> Role | Group:
        """Jobs that have a domain of a node label each."""
        doc, count = self.reading.doc, len(named.parts)
        pods = tuple(pod for part in named.parts for pod in part)
        if named.running and count > 1:
            problem = "exclusive domains of several jobs are not supported while some of their pods run"
            self.reading.unsupported(Finding(f"{_AT}[{JOBSET_EXCLUSIVE}]", problem))
            return self.role(podset.name, podset, shape, pods, len(pods), len(pods))
        names = (job_set_labels(doc.namespace, doc.name, podset.name, count, at) for at in range(count))
        keys = tuple(labels[JOBSET_JOB_KEY] for labels in names)
        needs = (Requirement(JOBSET_JOB_KEY, Operator.EXISTS), Requirement(JOBSET_JOB_KEY, Operator.NOT_IN, keys))
        rules = shape.constraints
        labels = tuple(sorted({**dict(rules.labels), JOBSET_JOB_KEY: keys[0]}.items()))
        rules = replace(
            rules, labels=labels, anti_affinity=(*rules.anti_affinity, AntiAffinity(level, PodSelector(needs)))
        )
        shape = replace(shape, constraints=rules, spread=own_spread(rules))
        role = self.role(podset.name, podset, shape, pods, podset.size, podset.size)
        spread = (Spread(level, 1),) if count > 1 else ()
        return Group(f"{podset.name} jobs", (role,), (), count, count, pack=Pack(level), spread=spread)

    def selected_jobs(self, podset: Podset, named: _NamedPods, shape: PodShape) -> Group:
        """Jobs that select the nodes which were labelled for each of them."""
        doc, roles = self.reading.doc, []
        tolerated = Toleration(_NO_SCHEDULE, exists=True, effect="NoSchedule")
        for at, part in enumerate(named.parts):
            job = f"{doc.namespace}_{doc.name}-{podset.name}-{at}"
            rules = replace(
                shape.constraints,
                selector=tuple(sorted({**dict(shape.constraints.selector), _NAMESPACED_JOB: job}.items())),
                tolerations=(*shape.constraints.tolerations, tolerated),
            )
            own = replace(shape, constraints=rules)
            name = f"{podset.name}#{at}" if len(named.parts) > 1 else podset.name
            roles.append(self.role(name, podset, own, part, len(part), len(part)))
        return Group(f"{podset.name} jobs", tuple(roles))

    def domains(self, role: str) -> tuple[str, ...]:
        """ComputeDomains that the pods of a role have claims in."""
        name = role.partition("#")[0]
        podset = next(podset for podset in self.podsets if podset.name == name)
        return domains_of(self.reading.world, podset.template, self.reading.doc.namespace, self._devices(name) > 0)

    def rule(self, podset: Podset) -> PodsetRule:
        """What Kueue's annotations of a template ask for; a slice is one job of a JobSet unless they say its size."""
        return podset_rule(podset.template, podset.size if podset.job else 0)

    def endpoint(self, podset: Podset) -> Endpoint:
        """A podset as flows see it."""
        labels = {**self.reading.doc.labels, **podset.template.texts("metadata.labels")}
        gpus = self._devices(podset.name) * (podset.size if podset.is_engine else 1)
        kind, engine = kind_of(labels, podset.name), _engine(podset.template)
        return Endpoint(podset.name, kind, engine, gpus, is_dynamo=is_typed(labels))

    def _devices(self, podset: str) -> int:
        """Devices of one pod of a podset."""
        return self.reading.options.accelerators.devices(self.shapes[podset].requests)

    def priority(self) -> int:
        """Of the object itself, else of the first template that names a class."""
        own = self.reading.doc.text("spec.priorityClassName", "")
        words = [podset.template.text("spec.priorityClassName", "") for podset in self.podsets]
        return self.reading.priority(name=own or next((word for word in words if word), ""))

    def queue(self) -> str:
        """KAI's queue, by the labels of the object or of a template; of a Volcano Job the one it names."""
        sources = [self.reading.doc.labels, *(podset.template.texts("metadata.labels") for podset in self.podsets)]
        named = next((labels[QUEUE_LABEL] for labels in sources if labels.get(QUEUE_LABEL)), "")
        volcano = self.reading.doc.text("spec.queue", "") if self.reading.doc.api_group == "batch.volcano.sh" else ""
        return named or ("" if volcano == "default" else volcano)


def _named_pods(reading: Reading, kind: WorkloadKind, podset: Podset, podsets: int) -> _NamedPods:
    """The pods of a podset: those that run, then those that wait, then names of those to come."""
    world = reading.world
    owned = world.existing_by(kind.owner).get(reading.doc.full_name, ())
    own = [pod for pod in owned if podsets == 1 or kind.podset_of(pod) == podset.name]
    own.sort(key=lambda pod: (not world.node_of(pod), natural_key(pod.full_name)))
    running = [pod for pod in own if world.node_of(pod)]
    members = tuple(BoundMember(pod.full_name, world.node_of(pod)) for pod in running)
    told_apart = podset.is_engine or podset.job is not None
    if told_apart and own and podset.units > 1:
        return _NamedPods(_by_unit(podset, own), members)
    count = max(len(podset.names), len(running))
    names = [pod.full_name for pod in own[:count]]
    return _NamedPods(_split(_filled(names, podset.names, count), podset.size if told_apart else 1), members)


def _by_unit(podset: Podset, own: Sequence[Document]) -> tuple[tuple[str, ...], ...]:
    """Pods by the part they say they are in, each part filled up with names of pods to come."""
    units: dict[str, list[str]] = {}
    for pod in own:
        unit = podset.unit_of(pod)
        if not unit:
            raise pod.refuse("metadata.labels", f"does not say which of {podset.units} parts of {podset.name} it is in")
        units.setdefault(unit, []).append(pod.full_name)
    parts = [units[unit] for unit in sorted(units, key=natural_key)]
    parts += [[] for _ in range(podset.units - len(parts))]
    taken = {pod.full_name for pod in own}
    free = iter([name for name in podset.names if name not in taken])
    return tuple(
        (*part, *(name for _, name in zip(range(podset.size - len(part)), free, strict=False))) for part in parts
    )


def _filled(names: list[str], wanted: Sequence[str], count: int) -> list[str]:
    known = set(names)
    return names + [name for name in wanted if name not in known][: count - len(names)]


def _split(names: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[at : at + size]) for at in range(0, len(names), size))


def _engine(template: Fields) -> Engine:
    containers: list[Fields] = list(template.parts("spec.containers"))
    main = [container for container in containers if container.text("name", "") == "main"] or containers
    return read_engine(main[0]) if main else Engine()
