"""One small gang of every kind of input: the objects that declare it and its pods, as their own controllers make them.

Each gang has two roles of two pods where its kind has roles at all, four GPUs a pod, and asks for one rack as its kind
can say that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from support.controlplane.api import Json
from support.controlplane.fleet import RACK, gpu_pod

#: Name of every gang, without its namespace, unless its kind says otherwise.
NAME = "app"
_TOPOLOGY = {"kai.scheduler/topology-required-placement": RACK}


@dataclass(frozen=True, slots=True)
class Declared:
    """An object that declares a gang. path: plural and group version of its kind, such as `gangs`, `example.com/v1`."""

    plural: str
    group_version: str
    body: Json

    @property
    def whole(self) -> Json:
        """The object with its apiVersion."""
        return {"apiVersion": self.group_version, **self.body}

    def collection(self, namespace: str) -> str:
        """The path of its collection on the API server."""
        return f"/apis/{self.group_version}/namespaces/{namespace}/{self.plural}"


@dataclass(frozen=True, slots=True)
class InputKind:
    """A gang of one kind. declared: without the kinds of Kubernetes itself a definition is needed for each.

    gang: its name offline. key: in the controller, if that is another one.
    """

    id: str
    declared: tuple[Declared, ...]
    pods: tuple[Json, ...]
    gang: str = NAME
    is_built_in: bool = False
    key: str = ""


def _pod(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: tuple[str, str, str] | None = None,
    **spec: Any,
) -> Json:
    """A gated pod of four GPUs. owner: API version, kind and name of its controller."""
    pod = gpu_pod(name, 4, gated=True, labels=labels, **spec)
    pod["metadata"]["annotations"] = dict(annotations or {})
    if owner is not None:
        pod["metadata"]["ownerReferences"] = [_reference(owner)]
    return pod


def _reference(owner: tuple[str, str, str]) -> Json:
    """The reference to a controller. owner: its API version, kind and name."""
    version, kind, name = owner
    return {"apiVersion": version, "kind": kind, "name": name, "uid": f"uid-of-{name}", "controller": True}


def _template(pod: Json) -> Json:
    """The template that a pod was made from."""
    metadata = {key: value for key, value in pod["metadata"].items() if key in ("labels", "annotations")}
    return {"metadata": metadata, "spec": pod["spec"]}


def _gang() -> InputKind:
    roles = [{"name": name, "kind": name, "replicas": 2} for name in ("prefill", "decode")]
    flows = [{"from": "prefill", "to": "decode", "bytes": 1_310_720_000}]
    spec = {"root": {"pack": {"required": RACK}, "roles": roles}, "flows": flows}
    body = {"kind": "Gang", "metadata": {"name": NAME}, "spec": spec}
    pods = [
        _pod(f"{NAME}-{role}-{at}", labels={"huddle.scheduler/gang": NAME, "huddle.scheduler/role": role})
        for role in ("prefill", "decode")
        for at in range(2)
    ]
    return InputKind("gang", (Declared("gangs", "huddle.scheduler/v1alpha1", body),), tuple(pods), is_built_in=True)


def _native() -> InputKind:
    spec = {
        "schedulingPolicy": {"gang": {"minCount": 4}},
        "schedulingConstraints": {"topology": [{"key": RACK}]},
    }
    body = {"kind": "PodGroup", "metadata": {"name": NAME}, "spec": spec}
    pods = [_pod(f"w-{at}", schedulingGroup={"podGroupName": NAME}) for at in range(4)]
    declared = Declared("podgroups", "scheduling.k8s.io/v1beta1", body)
    return InputKind("native-podgroup", (declared,), tuple(pods), is_built_in=True)


def _kai() -> InputKind:
    groups = [{"name": name, "minMember": 2} for name in ("prefill", "decode")]
    spec = {"subGroups": groups, "topologyConstraint": {"requiredTopologyLevel": RACK}}
    body = {"kind": "PodGroup", "metadata": {"name": NAME}, "spec": spec}
    pods = [
        _pod(f"{role}-{at}", annotations={"pod-group-name": NAME}, labels={"kai.scheduler/subgroup-name": role})
        for role in ("prefill", "decode")
        for at in range(2)
    ]
    return InputKind("kai-podgroup", (Declared("podgroups", "scheduling.run.ai/v2alpha2", body),), tuple(pods))


def _lws() -> InputKind:
    prefix, name = "leaderworkerset.sigs.k8s.io", f"{NAME}-0"
    pods = [
        _pod(
            name if rank == 0 else f"{name}-{rank}",
            labels={f"{prefix}/name": NAME, f"{prefix}/group-index": "0", f"{prefix}/worker-index": str(rank)},
            annotations={f"{prefix}/size": "4"},
        )
        for rank in range(4)
    ]
    template = {"spec": dict(pods[0]["spec"])}
    spec = {"replicas": 1, "leaderWorkerTemplate": {"size": 4, "workerTemplate": template}}
    body = {"kind": "LeaderWorkerSet", "metadata": {"name": NAME, "annotations": _TOPOLOGY}, "spec": spec}
    declared = Declared("leaderworkersets", "leaderworkerset.x-k8s.io/v1", body)
    return InputKind("leaderworkerset", (declared,), tuple(pods), gang=name)


def _annotated() -> InputKind:
    marks = {"pod-group-name": NAME, "huddle.scheduler/size": "4", **_TOPOLOGY}
    return InputKind("annotated-pods", (), tuple(_pod(f"p-{at}", annotations=marks) for at in range(4)))


def _coscheduling() -> InputKind:
    body = {"kind": "PodGroup", "metadata": {"name": NAME, "annotations": _TOPOLOGY}, "spec": {"minMember": 4}}
    pods = [_pod(f"c-{at}", labels={"scheduling.x-k8s.io/pod-group": NAME}) for at in range(4)]
    return InputKind("coscheduling", (Declared("podgroups", "scheduling.x-k8s.io/v1alpha1", body),), tuple(pods))


def _volcano() -> InputKind:
    spec = {"minMember": 4, "minTaskMember": {"prefill": 2, "decode": 2}}
    body = {"kind": "PodGroup", "metadata": {"name": NAME, "annotations": _TOPOLOGY}, "spec": spec}
    pods = [
        _pod(
            f"{task}-{at}",
            annotations={"scheduling.k8s.io/group-name": NAME, "volcano.sh/task-spec": task},
            labels={"volcano.sh/task-spec": task},
        )
        for task in ("prefill", "decode")
        for at in range(2)
    ]
    return InputKind("volcano", (Declared("podgroups", "scheduling.volcano.sh/v1beta1", body),), tuple(pods))


def _koordinator() -> InputKind:
    prefix = "gang.scheduling.koordinator.sh"
    marks = {f"{prefix}/name": NAME, f"{prefix}/min-available": "4", **_TOPOLOGY}
    return InputKind("koordinator", (), tuple(_pod(f"k-{at}", annotations=marks) for at in range(4)))


def _grouped(kind: str, plural: str, group_version: str, spec: Json) -> InputKind:
    """A workload of Kubernetes itself whose template names a group; its controller would make the pods."""
    marks = {"pod-group-name": NAME, "huddle.scheduler/size": "4", **_TOPOLOGY}
    owner = (group_version, kind, "engine")
    pods = [_pod(f"engine-{at}", labels={"app": "engine"}, annotations=marks, owner=owner) for at in range(4)]
    made = _template(pods[0])
    if kind == "Job":
        made["spec"] = {**made["spec"], "restartPolicy": "Never"}
    body = {"kind": kind, "metadata": {"name": "engine"}, "spec": {**spec, "template": made}}
    declared = Declared(plural, group_version, body)
    return InputKind(kind.lower(), (declared,), tuple(pods), is_built_in=True)


def _stateful_set() -> InputKind:
    spec = {"replicas": 4, "serviceName": "engine", "selector": {"matchLabels": {"app": "engine"}}}
    return _grouped("StatefulSet", "statefulsets", "apps/v1", spec)


def _deployment() -> InputKind:
    return _grouped(
        "Deployment", "deployments", "apps/v1", {"replicas": 4, "selector": {"matchLabels": {"app": "engine"}}}
    )


def _job() -> InputKind:
    return _grouped("Job", "jobs", "batch/v1", {"parallelism": 4, "completions": 4})


def _job_set() -> InputKind:
    marks = {"pod-group-name": NAME, "huddle.scheduler/size": "4", **_TOPOLOGY}
    pods = []
    for job in ("prefill", "decode"):
        labels = {"jobset.sigs.k8s.io/jobset-name": "js", "jobset.sigs.k8s.io/replicatedjob-name": job}
        owner = ("batch/v1", "Job", f"js-{job}-0")
        pods += [_pod(f"js-{job}-0-{at}", labels=labels, annotations=marks, owner=owner) for at in range(2)]
    template = {"metadata": {"annotations": marks}, "spec": {**pods[0]["spec"], "restartPolicy": "Never"}}
    jobs = [
        {"name": job, "replicas": 1, "template": {"spec": {"parallelism": 2, "completions": 2, "template": template}}}
        for job in ("prefill", "decode")
    ]
    body = {"kind": "JobSet", "metadata": {"name": "js"}, "spec": {"replicatedJobs": jobs}}
    return InputKind("jobset", (Declared("jobsets", "jobset.x-k8s.io/v1alpha2", body),), tuple(pods))


def _ray_cluster() -> InputKind:
    marks = {"pod-group-name": NAME, "huddle.scheduler/size": "4", **_TOPOLOGY}
    groups = {"headgroup": 1, "workers": 3}
    pods = [
        _pod(
            f"ray-{group}-{at}",
            labels={"ray.io/cluster": "ray", "ray.io/group": group},
            annotations=marks,
            owner=("ray.io/v1", "RayCluster", "ray"),
        )
        for group, count in groups.items()
        for at in range(count)
    ]
    template = {"metadata": {"annotations": marks}, "spec": pods[0]["spec"]}
    workers = [{"groupName": "workers", "replicas": 3, "minReplicas": 3, "template": template}]
    spec = {"headGroupSpec": {"template": template}, "workerGroupSpecs": workers}
    body = {"kind": "RayCluster", "metadata": {"name": "ray"}, "spec": spec}
    return InputKind("raycluster", (Declared("rayclusters", "ray.io/v1", body),), tuple(pods))


def _ungrouped(kind: str, plural: str, group_version: str, pods: list[Json], spec: Json) -> InputKind:
    """A workload whose pods name no group; the rule of topology is on the object."""
    body = {"kind": kind, "metadata": {"name": NAME, "annotations": _TOPOLOGY}, "spec": spec}
    declared = Declared(plural, group_version, body)
    group = group_version.partition("/")[0]
    return InputKind(
        f"{kind.lower()}.{group}-without-group",
        (declared,),
        tuple(pods),
        is_built_in=group in ("apps", "batch"),
        key=f"{kind.lower()}.{group}:{NAME}",
    )


def _plain(kind: str, plural: str, group_version: str, name: str = NAME, code: str = "") -> InputKind:
    """A workload of Kubernetes itself. name: of the controller of its pods. code: the hash of its template."""
    labels = {"app": NAME, **({"pod-template-hash": code} if code else {})}
    owner = (group_version, "ReplicaSet" if code else kind, name)
    pods = [_pod(f"{name}-{at}", labels=labels, owner=owner) for at in range(4)]
    made = _template(_pod(name, labels={"app": NAME}))
    spec: Json = {"replicas": 4, "selector": {"matchLabels": {"app": NAME}}, "template": made}
    if kind == "StatefulSet":
        spec["serviceName"] = NAME
    if kind == "Job":
        made["spec"] = {**made["spec"], "restartPolicy": "Never"}
        spec = {"parallelism": 4, "completions": 4, "template": made}
    return _ungrouped(kind, plural, group_version, pods, spec)


def _plain_deployment() -> InputKind:
    """With its ReplicaSet, which the pods name as their controller."""
    made = _plain("Deployment", "deployments", "apps/v1", f"{NAME}-7d9", "7d9")
    (deployment,) = made.declared
    labels = {"app": NAME, "pod-template-hash": "7d9"}
    template = _template(_pod(NAME, labels=labels))
    reference = _reference(("apps/v1", "Deployment", NAME))
    body = {
        "kind": "ReplicaSet",
        "metadata": {"name": f"{NAME}-7d9", "labels": labels, "ownerReferences": [reference]},
        "spec": {"replicas": 4, "selector": {"matchLabels": labels}, "template": template},
    }
    return replace(made, declared=(deployment, Declared("replicasets", "apps/v1", body)))


def _plain_job_set() -> InputKind:
    pods, jobs = [], []
    for job in ("prefill", "decode"):
        labels = {"jobset.sigs.k8s.io/jobset-name": NAME, "jobset.sigs.k8s.io/replicatedjob-name": job}
        owner = ("batch/v1", "Job", f"{NAME}-{job}-0")
        made = [_pod(f"{NAME}-{job}-0-{at}", labels=labels, owner=owner) for at in range(2)]
        template = {"metadata": {}, "spec": {**made[0]["spec"], "restartPolicy": "Never"}}
        spec = {"parallelism": 2, "completions": 2, "template": template}
        jobs.append({"name": job, "replicas": 1, "template": {"spec": spec}})
        pods += made
    return _ungrouped("JobSet", "jobsets", "jobset.x-k8s.io/v1alpha2", pods, {"replicatedJobs": jobs})


def _plain_ray_cluster() -> InputKind:
    pods = [
        _pod(
            f"{NAME}-{group}-{at}",
            labels={"ray.io/cluster": NAME, "ray.io/group": group},
            owner=("ray.io/v1", "RayCluster", NAME),
        )
        for group, count in (("headgroup", 1), ("workers", 3))
        for at in range(count)
    ]
    template = {"metadata": {}, "spec": pods[0]["spec"]}
    workers = [{"groupName": "workers", "replicas": 3, "minReplicas": 3, "template": template}]
    spec = {"headGroupSpec": {"template": template}, "workerGroupSpecs": workers}
    return _ungrouped("RayCluster", "rayclusters", "ray.io/v1", pods, spec)


def _volcano_job() -> InputKind:
    pods, tasks = [], []
    for task in ("prefill", "decode"):
        marks = {"volcano.sh/job-name": NAME, "volcano.sh/task-spec": task}
        owner = ("batch.volcano.sh/v1alpha1", "Job", NAME)
        made = [_pod(f"{NAME}-{task}-{at}", labels=marks, annotations=marks, owner=owner) for at in range(2)]
        tasks.append({"name": task, "replicas": 2, "template": {"metadata": {}, "spec": made[0]["spec"]}})
        pods += made
    spec = {"minAvailable": 4, "queue": "default", "tasks": tasks}
    return _ungrouped("Job", "jobs", "batch.volcano.sh/v1alpha1", pods, spec)


def _volcano_job_in_group() -> InputKind:
    """With the PodGroup that its controller makes, and that its pods name."""
    known, name = _volcano_job(), f"{NAME}-7f0c"
    pods = []
    for pod in known.pods:
        metadata = pod["metadata"]
        annotations = {**metadata["annotations"], "scheduling.k8s.io/group-name": name}
        pods.append({**pod, "metadata": {**metadata, "annotations": annotations}})
    reference = _reference(("batch.volcano.sh/v1alpha1", "Job", NAME))
    metadata = {"name": name, "annotations": _TOPOLOGY, "ownerReferences": [reference]}
    body = {"kind": "PodGroup", "metadata": metadata, "spec": {"minMember": 4}}
    group = Declared("podgroups", "scheduling.volcano.sh/v1beta1", body)
    return InputKind("volcano-job-in-group", (*known.declared, group), tuple(pods), gang=name)


def _bare_pod() -> InputKind:
    """A pod that nothing controls and that names no gang."""
    return InputKind("bare-pod", (), (_pod(NAME),), key=f"pod:{NAME}")


def _other_controller() -> InputKind:
    """Pods of a controller of a kind that nobody knows."""
    owner = ("example.com/v1", "Widget", NAME)
    pods = tuple(_pod(f"{NAME}-{at}", annotations=_TOPOLOGY, owner=owner) for at in range(4))
    return InputKind("unknown-controller", (), pods, key=f"widget.example.com:{NAME}")


def _grove() -> InputKind:
    """A DynamoGraphDeployment whose pods have the labels of Grove alone."""
    known = _dynamo()
    pods = []
    for pod in known.pods:
        role = pod["metadata"]["labels"]["nvidia.com/dynamo-component"]
        labels = {
            "app.kubernetes.io/managed-by": "grove-operator",
            "app.kubernetes.io/part-of": NAME,
            "grove.io/podclique": f"{NAME}-0-{role}",
            "grove.io/podcliqueset-replica-index": "0",
        }
        pods.append(_pod(pod["metadata"]["name"], labels=labels))
    return replace(known, id="dynamo-by-grove-labels", pods=tuple(pods))


def _dynamo() -> InputKind:
    prefix = "nvidia.com/dynamo"
    pods = {
        role: [
            _pod(
                f"{NAME}-0-{role}-{at}",
                labels={
                    f"{prefix}-graph-deployment-name": NAME,
                    f"{prefix}-component": role,
                    f"{prefix}-component-type": role,
                },
            )
            for at in range(2)
        ]
        for role in ("prefill", "decode")
    }
    components = [
        {"name": role, "type": role, "replicas": 2, "podTemplate": {"spec": made[0]["spec"]}}
        for role, made in pods.items()
    ]
    metadata = {"name": NAME, "annotations": _TOPOLOGY}
    body = {"kind": "DynamoGraphDeployment", "metadata": metadata, "spec": {"components": components}}
    declared = Declared("dynamographdeployments", "nvidia.com/v1beta1", body)
    return InputKind("dynamo", (declared,), tuple(pod for made in pods.values() for pod in made))


_MADE: tuple[Callable[[], InputKind], ...] = (
    _gang,
    _native,
    _kai,
    _coscheduling,
    _volcano,
    _koordinator,
    _lws,
    _dynamo,
    _stateful_set,
    _deployment,
    _job,
    _job_set,
    _ray_cluster,
    _annotated,
    partial(_plain, "StatefulSet", "statefulsets", "apps/v1"),
    partial(_plain, "ReplicaSet", "replicasets", "apps/v1"),
    partial(_plain, "Job", "jobs", "batch/v1"),
    _plain_deployment,
    _plain_job_set,
    _plain_ray_cluster,
    _volcano_job,
    _volcano_job_in_group,
    _grove,
    _other_controller,
    _bare_pod,
)


def input_kinds() -> list[InputKind]:
    """A gang of every kind."""
    return [make() for make in _MADE]
