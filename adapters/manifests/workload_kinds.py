"""Objects whose controllers make pods of templates: which pods each wants, and which of those there are it owns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from adapters.kubernetes.foreign_rules import JOBSET_JOB_KEY
from adapters.kubernetes.objects import Document, Part
from adapters.manifests.added_labels import job_labels, job_set_labels
from solver.domain.gang import MAX_PODS

_RAY, _RAY_GROUP, _RAY_REPLICA = "ray.io/cluster", "ray.io/group", "ray.io/worker-group-replica-index"
_HEAD = "headgroup"
_JOB_SET, _REPLICATED, _JOB_INDEX = (
    f"jobset.sigs.k8s.io/{word}" for word in ("jobset-name", "replicatedjob-name", "job-index")
)
_JOB_NAMES = ("batch.kubernetes.io/job-name", "job-name")
_VOLCANO_JOB, _VOLCANO_TASK = "volcano.sh/job-name", "volcano.sh/task-spec"
_HASH = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Names(Sequence[str]):
    """Names of so many pods, `stem-number`, made as they are asked for. each: pods of one part, `stem-part-number`."""

    stem: str
    total: int
    first: int = 0
    each: int = 0

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return tuple(self[index] for index in range(*at.indices(self.total)))
        index = range(self.total)[at]
        return (
            f"{self.stem}-{index // self.each}-{index % self.each}"
            if self.each
            else f"{self.stem}-{self.first + index}"
        )


@dataclass(frozen=True, slots=True)
class Podset:
    """Pods of one template.

    name: the role. units: how many alike parts its pods come in (jobs, replicas of several hosts), each of `size` pods.
    least: parts that are needed. names: of all pods, part by part, `namespace/pod`, as the controller would call them.
    labels: that it adds to every pod. unit_of: which part a pod is in, empty where nothing tells. is_engine: the pods
    of a part are ranks of one engine. job: the template of the Job it belongs to, for annotations on that. spare:
    how many pods may succeed before fewer are wanted, in each part where parts are jobs.
    """

    name: str
    template: Part
    units: int
    size: int
    least: int
    names: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    unit_of: Callable[[Document], str] = lambda _: ""
    is_engine: bool = False
    job: Part | None = None
    spare: int = 0


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """group: the API group. podsets: what an object wants. owner: `namespace/name` of the object a pod is of, or empty.

    podset_of: which of the podsets a pod is of, empty if there is only one. is_gang: the object is a gang whatever its
    pods ask for. completes: no pod is made in the place of one that has succeeded.
    """

    group: str
    podsets: Callable[[Document], Iterator[Podset]]
    owner: Callable[[Document], str]
    podset_of: Callable[[Document], str] = lambda _: ""
    is_gang: bool = False
    completes: bool = False


def _controller(pod: Document, kind: str) -> str:
    for reference in pod.parts("metadata.ownerReferences"):
        if reference.flag("controller", False) and reference.text("kind", "") == kind:
            return reference.text("name", "")
    return ""


def _named(pod: Document, name: str) -> str:
    return f"{pod.namespace}/{name}" if name else ""


def _of_job(pod: Document) -> str:
    return _named(pod, next((pod.labels[key] for key in _JOB_NAMES if pod.labels.get(key)), _controller(pod, "Job")))


def _of_stateful_set(pod: Document) -> str:
    return _named(pod, _controller(pod, "StatefulSet"))


def _of_replica_set(pod: Document) -> str:
    return _named(pod, _controller(pod, "ReplicaSet"))


def _of_deployment(pod: Document) -> str:
    """By the name of its ReplicaSet, which is that of the Deployment and the hash of the template."""
    owner, code = _controller(pod, "ReplicaSet"), pod.labels.get(_HASH, "")
    return _named(pod, owner.removesuffix(f"-{code}") if code and owner.endswith(f"-{code}") else "")


def _of_job_set(pod: Document) -> str:
    return _named(pod, pod.labels.get(_JOB_SET, ""))


def _job_index(pod: Document) -> str:
    return pod.labels.get(_JOB_INDEX, "")


def _of_ray_cluster(pod: Document) -> str:
    return _named(pod, pod.labels.get(_RAY, ""))


def _of_volcano_job(pod: Document) -> str:
    return _named(pod, pod.annotations.get(_VOLCANO_JOB) or pod.labels.get(_VOLCANO_JOB, ""))


def _task(pod: Document) -> str:
    return pod.annotations.get(_VOLCANO_TASK) or pod.labels.get(_VOLCANO_TASK, "")


def _count(part: Document | Part, path: str, default: int = 1) -> int:
    return part.whole(path, default, maximum=MAX_PODS)


def _replicas(doc: Document) -> Iterator[Podset]:
    """Of a Deployment, ReplicaSet or StatefulSet: pods are counted from 0, a StatefulSet's from its first ordinal."""
    count, first = _count(doc, "spec.replicas"), _count(doc, "spec.ordinals.start", 0)
    yield Podset(doc.name, doc.part("spec.template"), count, 1, count, Names(doc.full_name, count, first))


def _pods_of_job(job: Document | Part) -> int:
    """Pods of a Job that run at once: no more than are still to complete."""
    parallel = _count(job, "spec.parallelism")
    completions = job.whole("spec.completions", None, maximum=10**9)
    return parallel if completions is None else min(parallel, completions)


def _job(doc: Document) -> Iterator[Podset]:
    parallel = _pods_of_job(doc)
    completions = doc.whole("spec.completions", None, maximum=10**9)
    done = doc.whole("status.succeeded", 0, maximum=10**9)
    count = max(0, parallel - done if completions is None else min(parallel, completions - done))
    spare = done if completions is None else max(0, completions - count)
    names = Names(doc.full_name, count)
    yield Podset(doc.name, doc.part("spec.template"), count, 1, count, names, job_labels(doc.name), spare=spare)


def _job_set(doc: Document) -> Iterator[Podset]:
    before = 0
    for part in doc.parts("spec.replicatedJobs"):
        name, replicas = part.text("name"), _count(part, "replicas")
        job = part.part("template")
        size = _pods_of_job(job)
        spare = max(0, job.whole("spec.completions", size, maximum=10**9) - size)
        _limit(part, "replicas", replicas * size)
        names = Names(f"{doc.full_name}-{name}", replicas * size, each=size)
        labels = job_set_labels(doc.namespace, doc.name, name, replicas, 0, before)
        shared = {key: labels[key] for key in (_JOB_SET, _REPLICATED, JOBSET_JOB_KEY)}
        template = job.part("spec.template")
        yield Podset(name, template, replicas, size, replicas, names, shared, _job_index, job=job, spare=spare)
        before += replicas


def _ray_cluster(doc: Document) -> Iterator[Podset]:
    scales = doc.flag("spec.enableInTreeAutoscaling", False)
    labels = {_RAY: doc.name, _RAY_GROUP: _HEAD}
    yield Podset(_HEAD, doc.part("spec.headGroupSpec.template"), 1, 1, 1, (f"{doc.full_name}-head",), labels)
    for part in doc.parts("spec.workerGroupSpecs"):
        name, hosts = part.text("groupName"), part.whole("numOfHosts", 1, minimum=1, maximum=MAX_PODS)
        fewest = _count(part, "minReplicas", 0)
        replicas = 0 if part.flag("suspend", False) else _count(part, "replicas", fewest)
        _limit(part, "replicas", replicas * hosts)
        names = Names(f"{doc.full_name}-{name}", replicas * hosts, each=hosts if hosts > 1 else 0)
        yield Podset(
            name,
            part.part("template"),
            replicas,
            hosts,
            min(fewest, replicas) if scales else replicas,
            names,
            {_RAY: doc.name, _RAY_GROUP: name},
            lambda pod: pod.labels.get(_RAY_REPLICA, ""),
            is_engine=hosts > 1,
        )


def _volcano_job(doc: Document) -> Iterator[Podset]:
    """Minimums of tasks count only if they are no more than that of the whole Job, as in Volcano."""
    tasks = doc.parts("spec.tasks")
    least = {id(part): _count(part, "minAvailable", _count(part, "replicas")) for part in tasks}
    whole = doc.whole("spec.minAvailable", None, maximum=MAX_PODS)
    for part in tasks:
        name, count = part.text("name"), _count(part, "replicas")
        names = Names(f"{doc.full_name}-{name}", count)
        fewest = least[id(part)] if whole is None or sum(least.values()) <= whole else 0
        labels = {_VOLCANO_JOB: doc.name, _VOLCANO_TASK: name}
        yield Podset(name, part.part("template"), count, 1, fewest, names, labels)


def _limit(part: Part, path: str, pods: int) -> None:
    if pods > MAX_PODS:
        raise part.refuse(path, f"{pods} pods are more than {MAX_PODS}")


#: By kind, and API group where several have a kind of this name.
WORKLOADS: Mapping[tuple[str, str], WorkloadKind] = {
    ("Deployment", "apps"): WorkloadKind("apps", _replicas, _of_deployment),
    ("ReplicaSet", "apps"): WorkloadKind("apps", _replicas, _of_replica_set),
    ("StatefulSet", "apps"): WorkloadKind("apps", _replicas, _of_stateful_set),
    ("Job", "batch"): WorkloadKind("batch", _job, _of_job, completes=True),
    ("JobSet", "jobset.x-k8s.io"): WorkloadKind(
        "jobset.x-k8s.io", _job_set, _of_job_set, lambda pod: pod.labels.get(_REPLICATED, ""), True, True
    ),
    ("RayCluster", "ray.io"): WorkloadKind(
        "ray.io", _ray_cluster, _of_ray_cluster, lambda pod: pod.labels.get(_RAY_GROUP, ""), True
    ),
    ("Job", "batch.volcano.sh"): WorkloadKind("batch.volcano.sh", _volcano_job, _of_volcano_job, _task, True, True),
}


def workload_of(doc: Document) -> WorkloadKind | None:
    """How an object's pods are read; None for other kinds. Without an API group its kind alone tells."""
    if doc.api_group:
        return WORKLOADS.get((doc.kind, doc.api_group))
    return next((kind for (name, _), kind in WORKLOADS.items() if name == doc.kind), None)
