"""The gang of a workload: a JobSet, Job, StatefulSet, Deployment, RayCluster or Volcano Job.

All its pods are one gang. Those that exist are members, whether they run or wait; the rest is made of the templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
from adapters.manifests.members import read_member
from adapters.manifests.own_claims import job_volumes, with_own_claims, with_volumes
from adapters.manifests.packing import annotated, one_topology
from adapters.manifests.podsets import PodsetRule, in_slices, inside, podset_rule
from adapters.manifests.reading import FoundGang, Reading, located
from adapters.manifests.traffic import Endpoint, deployment_flows
from adapters.manifests.volcano import network_rule
from adapters.manifests.workload_kinds import Podset, WorkloadKind
from adapters.manifests.workload_pods import NamedPods, WorkloadPods, named_pods, pods_in_files
from solver.domain.constraints import AntiAffinity, Operator, PodSelector, Requirement, Toleration
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Group, Pack, Role, Spread

#: Rules of other schedulers that are honoured on the object or its templates.
HONOURED = PODSET_RULES | {JOBSET_EXCLUSIVE, JOBSET_BY_SELECTOR}
_JOBSET_RULES = frozenset({JOBSET_EXCLUSIVE, JOBSET_BY_SELECTOR})
_NAMESPACED_JOB = "alpha.jobset.sigs.k8s.io/namespaced-job"
_NO_SCHEDULE = "alpha.jobset.sigs.k8s.io/no-schedule"
_AT = "metadata.annotations"
_CLAIM_TEMPLATES = "spec.volumeClaimTemplates"


def read_workload(reading: Reading, kind: WorkloadKind, pods: WorkloadPods | None = None) -> FoundGang | None:
    """The gang of a workload; None when it has no pod. pods: those that exist; None = those of the input.

    Pods that wait ask for what they say themselves, those to come for what the others do, or their template where none
    waits. Pods beyond those that are declared are members that are not needed. Raises InvalidRequest for what cannot be
    honoured.
    """
    doc = reading.doc
    if not doc.name:
        raise doc.refuse("metadata.name", "is missing")
    jobset = _JOBSET_RULES if doc.kind == "JobSet" else frozenset[str]()
    reading.refuse_foreign(jobset)
    _refuse_task_rules(reading)
    podsets = list(kind.podsets(doc))
    pods = pods or pods_in_files(reading.world, doc, kind)
    named = named_pods(reading, kind, podsets, pods)
    podsets = [podset for podset in podsets if podset.names or named[podset.name].pods]
    if not any(named[podset.name].pods for podset in podsets):
        return None
    return _Building(reading, podsets, named, pods).gang()


def _refuse_task_rules(reading: Reading) -> None:
    """Rules that tasks of a Volcano Job have beside their templates: partitions in one domain each, and NUMA nodes."""
    for part in reading.doc.parts("spec.tasks"):
        if part.mapping("partitionPolicy"):
            reading.unsupported(Finding(part.path("partitionPolicy"), "partitions of a task are not supported"))
        if part.text("topologyPolicy", "") not in ("", "none", "best-effort"):
            reading.unsupported(Finding(part.path("topologyPolicy"), "NUMA policies are not supported"))


class _Building:
    """One workload being made into a gang. names: podset → the roles it has become."""

    def __init__(
        self, reading: Reading, podsets: Sequence[Podset], named_pods: Mapping[str, NamedPods], pods: WorkloadPods
    ) -> None:
        self.reading, self.podsets, self.named_pods, self.pods = reading, podsets, named_pods, pods
        self.exclusive = self.exclusive_podsets()
        self.looks = {podset.name: self.looks_of(podset) for podset in podsets}
        self.running = tuple(member for named in named_pods.values() for member in named.running)

    def looks_of(self, podset: Podset) -> list[tuple[PodShape, tuple[str, ...]]]:
        """What the pods of a podset ask for that have still to be placed, and which of them ask for that; at least one.

        The first one counts for pods that run and for pods to come, unless these have claims of their own.
        """
        named = self.named_pods[podset.name]
        by_look: dict[object, tuple[PodShape, list[str]]] = {}
        for pod in named.waiting if podset.name not in self.exclusive else ():
            shape = self.shape_of(pod)
            by_look.setdefault(_look(shape), (shape, []))[1].append(pod.full_name)
        there = {*(pod.full_name for pod in named.waiting), *(member.pod for member in named.running)}
        to_come = [pod for pod in named.pods if pod not in there]
        if not by_look or (to_come and self.has_own_claims):
            shape = self.template_shape(podset, to_come)
            by_look.setdefault(_look(shape), (shape, []))[1].extend(to_come)
        return [(shape, tuple(pods)) for shape, pods in by_look.values()]

    @property
    def has_own_claims(self) -> bool:
        """Whether every pod has volumes of its own."""
        return self.reading.doc.kind == "StatefulSet" and bool(self.reading.doc.items(_CLAIM_TEMPLATES))

    def shape_of(self, pod: Document) -> PodShape:
        """What a pod that exists asks for."""
        known = self.pods.shapes.get(pod.full_name)
        shape = known if known is not None else read_member(self.reading, pod).shape
        self.reading.notices.extend(shape.notices)
        return shape

    def template_shape(self, podset: Podset, to_come: Sequence[str]) -> PodShape:
        """What a pod of the template asks for. to_come: the names of those that do not exist."""
        reading = self.reading
        pod = with_volumes(podset.template, job_volumes(reading.doc))
        shape = reading.shape(pod, podset.template.at, podset.labels)
        return with_own_claims(reading, shape, _CLAIM_TEMPLATES, to_come) if self.has_own_claims else shape

    def shape(self, podset: Podset) -> PodShape:
        """What every pod of a podset asks for. Raises InvalidRequest when two that wait differ."""
        (first, one), *others = self.looks[podset.name]
        if others:
            raise InvalidRequest(f"pods {one[0]} and {others[0][1][0]} of {podset.name} differ in what they ask for")
        return first

    def gang(self) -> FoundGang:
        """The gang, with every rule that its object and templates carry."""
        reading, doc = self.reading, self.reading.doc
        sources = [doc.annotations, *(podset.template.texts(_AT) for podset in self.podsets)]
        rule, topology = annotated(*sources), one_topology(doc, [annotated(source) for source in sources])
        with located(doc):
            parts = [self.part(podset, self.exclusive.get(podset.name, "")) for podset in self.podsets]
            roles = tuple(part for part in parts if isinstance(part, Role))
            groups = tuple(part for part in parts if isinstance(part, Group))
            root = Group(doc.full_name, roles, groups, min=self.least(roles, groups), pack=rule.pack)
            if doc.api_group == "batch.volcano.sh":
                root = inside(root, network_rule(reading, topology).pack)
            domains = {role.name: self.domains(role.name) for group in root.walk() for role in group.roles}
            root = keep_domains(reading, root, topology, domains)
        rules = {role: rule for podset in self.podsets for role, rule in self.rules(podset, root).items()}
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
        named = self.named_pods[podset.name]
        if exclusive == JOBSET_BY_SELECTOR:
            return self.selected_jobs(podset, named, self.shape(podset))
        if exclusive:
            return self.exclusive_jobs(podset, named, self.shape(podset), exclusive)
        if podset.is_engine and named.pods:
            return self.engines(podset, named, self.shape(podset))
        if len(self.looks[podset.name]) > 1 and self.may_differ(podset):
            return self.unlike_pods(podset, named)
        return self.role(podset.name, podset, self.shape(podset), named.pods, len(named.pods), named.needed)

    def may_differ(self, podset: Podset) -> bool:
        """Whether the pods of a podset may be several roles, of which together so many are needed."""
        is_counted = self.reading.doc.api_group == "batch.volcano.sh"
        return not is_counted and not self.rule(podset).slice_size

    def unlike_pods(self, podset: Podset, named: NamedPods) -> Group:
        """Pods that ask for different things, as while a new template is rolled out: any of them are as good."""
        roles, known = [], {pod for _, pods in self.looks[podset.name] for pod in pods}
        others = tuple(pod for pod in named.pods if pod not in known)
        for at, (shape, pods) in enumerate(self.looks[podset.name]):
            mine = (*others, *pods) if at == 0 else pods
            roles.append(self.role(f"{podset.name}#{at}", podset, shape, mine, len(mine), 0))
        return Group(f"{podset.name} pods", tuple(roles), min=named.needed)

    def role(
        self, name: str, podset: Podset, shape: PodShape, pods: tuple[str, ...], replicas: int, least: int
    ) -> Role:
        """A role of a podset."""
        kind = kind_of({**self.reading.doc.labels, **podset.template.texts("metadata.labels")}, podset.name)
        return Role(name, replicas, least, kind, shape.requests, shape.constraints, shape.spread, pods)

    def engines(self, podset: Podset, named: NamedPods, shape: PodShape) -> Group:
        """Replicas of several hosts each: engines of many nodes."""
        units, least = named.units, podset.least
        if not named.running and all(len(unit.pods) == podset.size for unit in units):
            role = self.role(podset.name, podset, shape, named.pods, podset.size, podset.size)
            return Group(f"{podset.name} replicas", (role,), (), len(units), max(1, least), multinode=True)
        groups = []
        for at, unit in enumerate(units):
            role = self.role(f"{podset.name}#{at}", podset, shape, unit.pods, len(unit.pods), unit.needed)
            groups.append(Group(f"{podset.name} replica {at}", (role,), multinode=True))
        return Group(f"{podset.name} replicas", groups=tuple(groups), min=least)

    def exclusive_podsets(self) -> dict[str, str]:
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

    def exclusive_jobs(self, podset: Podset, named: NamedPods, shape: PodShape, level: str) -> Role | Group:
        """Jobs that have a domain of a node label each."""
        doc, count, pods = self.reading.doc, len(named.units), named.pods
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

    def selected_jobs(self, podset: Podset, named: NamedPods, shape: PodShape) -> Group:
        """Jobs that select the nodes which were labelled for each of them."""
        doc, roles = self.reading.doc, []
        tolerated = Toleration(_NO_SCHEDULE, exists=True, effect="NoSchedule")
        for at, unit in enumerate(named.units):
            job = f"{doc.namespace}_{doc.name}-{podset.name}-{at}"
            rules = replace(
                shape.constraints,
                selector=tuple(sorted({**dict(shape.constraints.selector), _NAMESPACED_JOB: job}.items())),
                tolerations=(*shape.constraints.tolerations, tolerated),
            )
            own = replace(shape, constraints=rules)
            name = f"{podset.name}#{at}" if len(named.units) > 1 else podset.name
            roles.append(self.role(name, podset, own, unit.pods, len(unit.pods), unit.needed))
        absent = named.needed - sum(unit.needed for unit in named.units)
        if absent > 0:
            roles.append(self.role(f"{podset.name}#", podset, shape, (), 0, absent))
        return Group(f"{podset.name} jobs", tuple(roles))

    def domains(self, role: str) -> tuple[str, ...]:
        """ComputeDomains that the pods of a role have claims in."""
        name = role.partition("#")[0]
        podset = next(podset for podset in self.podsets if podset.name == name)
        return domains_of(self.reading.world, podset.template, self.reading.doc.namespace, self._devices(name) > 0)

    def rule(self, podset: Podset) -> PodsetRule:
        """What Kueue's annotations of a template ask for; a slice is one job of a JobSet unless they say its size."""
        return podset_rule(podset.template, podset.size if podset.job else 0)

    def rules(self, podset: Podset, root: Group) -> dict[str, PodsetRule]:
        """The same by the roles that the podset has become in `root`."""
        rule, name = self.rule(podset), podset.name
        roles = [role.name for group in root.walk() for role in group.roles if role.name.partition("#")[0] == name]
        return {role: rule if role == name else rule.of_template(name) for role in roles}

    def endpoint(self, podset: Podset) -> Endpoint:
        """A podset as flows see it."""
        labels = {**self.reading.doc.labels, **podset.template.texts("metadata.labels")}
        gpus = self._devices(podset.name) * (podset.size if podset.is_engine else 1)
        kind, engine = kind_of(labels, podset.name), _engine(podset.template)
        return Endpoint(podset.name, kind, engine, gpus, is_dynamo=is_typed(labels))

    def _devices(self, podset: str) -> int:
        """Devices of one pod of a podset."""
        return self.reading.options.accelerators.devices(self.looks[podset][0][0].requests)

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


def _look(shape: PodShape) -> object:
    """What makes pods of one podset alike."""
    return shape.requests, shape.constraints, shape.spread


def _engine(template: Fields) -> Engine:
    containers: list[Fields] = list(template.parts("spec.containers"))
    main = [container for container in containers if container.text("name", "") == "main"] or containers
    return read_engine(main[0]) if main else Engine()
