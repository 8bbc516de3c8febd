"""Gangs of pods that name none: by the workload that owns them, by another controller, or alone."""

import pytest

from adapters.apply.gangs import LiveGangs
from adapters.apply.observed import LiveGang
from adapters.kubernetes.placements import Owner
from adapters.kubernetes.resources import PODS
from solver.domain.gang import BoundMember, Gang
from solver.domain.resources import GPU
from support.made_up_mirror import MadeUpMirror

GPUS = "containers: [{name: m, resources: {limits: {nvidia.com/gpu: %d}}}]"


def workload(api: str, kind: str, spec: str, *, annotations: str = "") -> str:
    """A workload ns/w."""
    metadata = f"{{name: w, annotations: {{{annotations}}}}}"
    return f"---\napiVersion: {api}\nkind: {kind}\nmetadata: {metadata}\nspec: {{{spec}}}\n"


def template(gpus: int = 4) -> str:
    """A pod template."""
    return f"template: {{metadata: {{labels: {{app: w}}}}, spec: {{{GPUS % gpus}}}}}"


def pod(name: str, owner: str = "", *, gpus: int = 4, node: str = "", labels: str = "", phase: str = "Pending") -> str:
    """A pod of ns. owner: API version, kind and name of its controller; gated unless it is bound."""
    version, _, rest = owner.partition(" ")
    kind, _, of = rest.partition(" ")
    refs = (
        f", ownerReferences: [{{apiVersion: {version}, kind: {kind}, name: {of}, controller: true}}]" if owner else ""
    )
    held = f"nodeName: {node}" if node else "schedulingGates: [{name: huddle.scheduler/gang}]"
    return (
        f"---\nkind: Pod\nmetadata: {{name: {name}, labels: {{{labels}}}{refs}}}\n"
        f"spec: {{{GPUS % gpus}, {held}}}\nstatus: {{phase: {phase}}}\n"
    )


def live(key: str, text: str) -> LiveGang:
    """The gang of a key, of the pods that have not ended."""
    mirror = MadeUpMirror(text)
    bodies = [body for body in mirror.pods_of(key) if body["status"]["phase"] != "Succeeded"]
    done = [body for body in mirror.all(PODS).values() if body["status"]["phase"] == "Succeeded"]
    nodes = {f"ns/{body['metadata']['name']}": body["spec"].get("nodeName", "") for body in bodies}
    return LiveGangs(mirror)(key, bodies, {pod: node for pod, node in nodes.items() if node}, done)


def made(found: LiveGang) -> Gang:
    """The gang, which there is."""
    assert found.problem == ""
    assert found.gang is not None
    return found.gang


DEPLOYMENT = workload("apps/v1", "Deployment", f"replicas: 3, {template()}")
KEY, OWNER, HASH = "ns/deployment.apps:w", "apps/v1 ReplicaSet w-7d9", "pod-template-hash: 7d9"


def replica(name: str, *, gpus: int = 4, node: str = "", code: str = "7d9") -> str:
    """A pod of the Deployment."""
    return pod(name, f"apps/v1 ReplicaSet w-{code}", gpus=gpus, node=node, labels=f"pod-template-hash: '{code}'")


def test_a_deployment_with_its_pods() -> None:
    """All its replicas are needed, those that run are members, and its Placement goes with it."""
    found = live(KEY, DEPLOYMENT + replica("a", node="n") + replica("b") + replica("c"))
    gang = made(found)
    assert gang.name == KEY
    assert gang.running == (BoundMember("ns/a", "n"),)
    assert [(role.name, role.pods, role.min, role.requests[GPU]) for role in gang.roles] == [
        ("w", ("ns/a", "ns/b", "ns/c"), 3, 4000)
    ]
    assert found.missing == {}
    assert found.owner == Owner("apps/v1", "Deployment", "w", "uid-of-w")


def test_pods_that_do_not_exist_are_missing() -> None:
    """None is made up; the role needs as many as are declared."""
    found = live(KEY, DEPLOYMENT + replica("a"))
    assert found.missing == {"w": 2}
    (role,) = made(found).roles
    assert (role.pods, role.min) == (("ns/a",), 3)


def test_pods_beyond_the_replicas_are_not_needed() -> None:
    """While a new template is rolled out there are more pods than replicas: each may be placed, three are enough."""
    old = "".join(replica(name, node="n", code="old") for name in "abc")
    (role,) = made(live(KEY, DEPLOYMENT + old + replica("d"))).roles
    assert (role.pods, role.min) == (("ns/a", "ns/b", "ns/c", "ns/d"), 3)


def test_pods_of_two_templates_that_wait() -> None:
    """Each asks for what it asks for itself, and any three of them are enough."""
    gang = made(live(KEY, DEPLOYMENT + replica("a", gpus=8) + replica("b", gpus=8) + replica("c", code="new")))
    (group,) = gang.root.groups
    assert group.min == 3
    assert [(role.pods, role.requests[GPU], role.min) for role in group.roles] == [
        (("ns/a", "ns/b"), 8000, 0),
        (("ns/c",), 4000, 0),
    ]


def test_what_the_pods_ask_for_counts() -> None:
    """Pods that were changed as they were admitted differ from their template."""
    text = DEPLOYMENT + "".join(replica(name, gpus=8) for name in "abc")
    assert made(live(KEY, text)).roles[0].requests[GPU] == 8000


def test_a_job_that_is_half_done() -> None:
    """Pods that have succeeded are neither missing nor needed, whether its status says so already or not."""
    own = "batch/v1 Job w"
    pods = pod("a", own, phase="Succeeded", node="n") + pod("b", own, node="n") + pod("c", own)
    for status in ("", "status: {succeeded: 1}\n"):
        job = workload("batch/v1", "Job", f"parallelism: 3, completions: 3, {template()}") + status
        found = live("ns/job.batch:w", job + pods)
        (role,) = made(found).roles
        assert (role.pods, role.min, found.missing) == (("ns/b", "ns/c"), 2, {})


def test_a_job_whose_pods_are_replaced_as_they_succeed() -> None:
    """As long as more is left to complete than runs at once, as many are needed as before."""
    own = "batch/v1 Job w"
    job = workload("batch/v1", "Job", f"parallelism: 2, completions: 9, {template()}")
    found = live("ns/job.batch:w", job + pod("a", own, phase="Succeeded", node="n") + pod("b", own) + pod("c", own))
    assert (made(found).roles[0].min, found.missing) == (2, {})


def test_jobs_of_a_set_by_role() -> None:
    """Each replicated job is a role, of which only its own pods are missing."""
    job = f"replicas: 1, template: {{spec: {{parallelism: 2, completions: 2, {template()}}}}}"
    text = workload("jobset.x-k8s.io/v1alpha2", "JobSet", f"replicatedJobs: [{{name: a, {job}}}, {{name: b, {job}}}]")
    for role, names in (("a", "xy"), ("b", "z")):
        labels = f"jobset.sigs.k8s.io/jobset-name: w, jobset.sigs.k8s.io/replicatedjob-name: {role}"
        text += "".join(pod(name, f"batch/v1 Job w-{role}-0", labels=labels) for name in names)
    found = live("ns/jobset.jobset.x-k8s.io:w", text)
    assert {role.name: role.pods for role in made(found).roles} == {"a": ("ns/x", "ns/y"), "b": ("ns/z",)}
    assert found.missing == {"b": 1}


def test_engines_of_several_hosts() -> None:
    """An engine that is not whole stays one; the others are whole by themselves."""
    group = f"groupName: g, replicas: 2, numOfHosts: 2, {template()}"
    head = f"headGroupSpec: {{{template(0)}}}"
    text = workload("ray.io/v1", "RayCluster", f"{head}, workerGroupSpecs: [{{{group}}}]")
    own, labels = "ray.io/v1 RayCluster w", "ray.io/cluster: w, ray.io/group: %s"
    text += pod("h", own, gpus=0, labels=labels % "headgroup")
    for name, unit in (("a0", 0), ("a1", 0), ("b0", 1)):
        text += pod(name, own, labels=f"{labels % 'g'}, ray.io/worker-group-replica-index: '{unit}'")
    found = live("ns/raycluster.ray.io:w", text)
    (replicas,) = made(found).root.groups
    assert [(role.pods, role.min) for each in replicas.groups for role in each.roles] == [
        (("ns/a0", "ns/a1"), 2),
        (("ns/b0",), 2),
    ]
    assert found.missing == {"g": 1}


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        (
            "ns/statefulset.apps:w",
            workload("apps/v1", "StatefulSet", f"replicas: 2, {template()}") + pod("w-0", "apps/v1 StatefulSet w"),
            "StatefulSet ns/w: spec.podManagementPolicy: OrderedReady makes pods one after the other",
        ),
        (
            "ns/jobset.jobset.x-k8s.io:w",
            workload(
                "jobset.x-k8s.io/v1alpha2",
                "JobSet",
                "startupPolicy: {startupPolicyOrder: InOrder}, replicatedJobs: [{name: a, replicas: 2, template:"
                f" {{spec: {{{template()}}}}}}}]",
            )
            + pod("x", "batch/v1 Job w-a-0", labels="jobset.sigs.k8s.io/jobset-name: w, jobset.sigs.k8s.io/"
                  "replicatedjob-name: a, jobset.sigs.k8s.io/job-index: '0'"),
            "JobSet ns/w: spec.startupPolicy.startupPolicyOrder: InOrder makes jobs only once",
        ),
        (
            "ns/job.batch.volcano.sh:w",
            workload(
                "batch.volcano.sh/v1alpha1",
                "Job",
                f"tasks: [{{name: a, {template()}}}, {{name: b, dependsOn: {{name: [a]}}, {template()}}}]",
            )
            + pod("x", "batch.volcano.sh/v1alpha1 Job w", labels="volcano.sh/job-name: w, volcano.sh/task-spec: a"),
            "Job ns/w: spec.tasks[1].dependsOn: pods are made only once others have come so far",
        ),
        (
            "ns/pytorchjob.kubeflow.org:w",
            pod("x", "kubeflow.org/v1 PyTorchJob w"),
            "Pod ns/x: metadata.ownerReferences: pods of a PyTorchJob are a gang that is not read",
        ),
    ],
)  # fmt: skip
def test_pods_that_come_too_late(key: str, text: str, problem: str) -> None:
    """A workload that waits for its first pods before it makes the rest would never be complete: it is refused."""
    assert live(key, text).problem.startswith(problem)


def test_a_stateful_set_that_starts_all_at_once() -> None:
    """With Parallel its pods come by themselves: they are missing for now."""
    text = workload("apps/v1", "StatefulSet", f"replicas: 2, podManagementPolicy: Parallel, {template()}")
    found = live("ns/statefulset.apps:w", text + pod("w-0", "apps/v1 StatefulSet w"))
    assert (found.problem, found.missing) == ("", {"w": 1})


def test_pods_of_a_controller_that_nobody_knows() -> None:
    """They are one gang, of which there may be more."""
    own = "example.com/v1 Widget w"
    found = live("ns/widget.example.com:w", pod("a", own) + pod("b", own, node="n"))
    gang = made(found)
    assert (gang.name, gang.roles[0].pods, gang.roles[0].min) == ("ns/widget.example.com:w", ("ns/a", "ns/b"), 2)
    assert found.is_open
    assert not found.is_declared


def test_a_pod_that_nothing_controls() -> None:
    """It is a gang of its own, and whole."""
    found = live("ns/pod:a", pod("a") + pod("b"))
    assert made(found).roles[0].pods == ("ns/a",)
    assert not found.is_open


def test_a_workload_that_is_gone() -> None:
    """Its pods are a gang of as many as there are."""
    found = live(KEY, replica("a") + replica("b"))
    assert (made(found).roles[0].min, found.is_open, found.owner) == (2, True, None)
