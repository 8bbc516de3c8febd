"""JobSets, Jobs, StatefulSets, Deployments, RayClusters and Jobs of Volcano as gangs."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from adapters.manifests.workload_kinds import Names
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Gang, Kind, Pack, Pattern, Spread

Read = Callable[..., GangInput]

KEY = "alpha.jobset.sigs.k8s.io/exclusive-topology: rack"
SELECTOR = f"{KEY}, alpha.jobset.sigs.k8s.io/node-selector: 'true'"
RACK = "kueue.x-k8s.io/podset-required-topology: rack"


def template(gpus: int = 8, *, labels: str = "", annotations: str = "", spec: str = "") -> str:
    """A pod template."""
    limits = f"resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}" if gpus else "image: x"
    head = f"metadata: {{labels: {{{labels}}}, annotations: {{{annotations}}}}}"
    return f"{{{head}, spec: {{containers: [{{name: m, {limits}}}]{spec}}}}}"


def thing(api: str, kind: str, spec: str, *, annotations: str = "", meta: str = "", name: str = "w") -> str:
    """An object of ns."""
    return (
        f"---\napiVersion: {api}\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: ns, annotations: {{{annotations}}}{meta}}}\nspec: {{{spec}}}\n"
    )


def pod(name: str, *, node: str = "", labels: str = "", owner: str = "", annotations: str = "") -> str:
    """A pod of ns. owner: kind and name."""
    kind, _, who = owner.partition("/")
    refs = f", ownerReferences: [{{controller: true, kind: {kind}, name: {who}}}]" if owner else ""
    where = f", nodeName: {node}" if node else ""
    return (
        "---\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: ns, labels: {{{labels}}}, annotations: {{{annotations}}}{refs}}}\n"
        f"spec: {{containers: [{{name: m, resources: {{limits: {{nvidia.com/gpu: 8}}}}}}]{where}}}\n"
    )


def only(found: GangInput) -> Gang:
    """The only gang."""
    (gang,) = found.gangs
    return gang


@pytest.mark.parametrize(
    ("api", "kind", "spec", "pods"),
    [
        ("apps/v1", "Deployment", "replicas: 2", ("ns/w-0", "ns/w-1")),
        ("apps/v1", "StatefulSet", "replicas: 2, ordinals: {start: 3}", ("ns/w-3", "ns/w-4")),
        ("apps/v1", "ReplicaSet", "", ("ns/w-0",)),
        ("batch/v1", "Job", "parallelism: 2, completions: 5", ("ns/w-0", "ns/w-1")),
        ("batch/v1", "Job", "parallelism: 5, completions: 1", ("ns/w-0",)),
    ],
)
def test_one_template_is_one_role(read: Read, api: str, kind: str, spec: str, pods: tuple[str, ...]) -> None:
    """Every pod is needed, and called as its controller would call it or by number."""
    gang = only(read(thing(api, kind, ", ".join(filter(None, [spec, f"template: {template()}"])))))
    assert gang.name == "ns/w"
    assert [(role.pods, role.min, role.requests.gpus) for role in gang.roles] == [(pods, len(pods), 8)]


STATEFUL = thing("apps/v1", "StatefulSet", f"replicas: 3, template: {template()}")
DEPLOYMENT = thing("apps/v1", "Deployment", f"replicas: 3, template: {template()}")
JOB = thing("batch/v1", "Job", f"parallelism: 3, template: {template()}")


@pytest.mark.parametrize(
    ("text", "labels", "owner"),
    [
        (STATEFUL, "", "StatefulSet/w"),
        (DEPLOYMENT, "pod-template-hash: abc", "ReplicaSet/w-abc"),
        (JOB, "batch.kubernetes.io/job-name: w", "Job/w"),
        (JOB, "", "Job/w"),
    ],
)
def test_pods_that_exist_are_members(read: Read, text: str, labels: str, owner: str) -> None:
    """Bound pods run, waiting ones keep their names, and only what is missing is made up."""
    cluster = pod("w-1", node="n", labels=labels, owner=owner) + pod("w-x", labels=labels, owner=owner)
    cluster += pod("v-0", node="n", labels="", owner="StatefulSet/v")
    gang = only(read(text, cluster=cluster))
    assert gang.running == (BoundMember("ns/w-1", "n"),)
    assert gang.roles[0].pods == ("ns/w-1", "ns/w-x", "ns/w-0")


@pytest.mark.parametrize("pods", [1, 2])
def test_pods_that_name_a_group_are_no_gang_of_their_workload(read: Read, pods: int) -> None:
    """Volcano and others make a PodGroup and let the pods name it: they are one gang, with those still to be made."""
    job = thing("batch.volcano.sh/v1alpha1", "Job", f"tasks: [{{name: a, replicas: 2, template: {template()}}}]")
    job += "---\napiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nmetadata: {name: w-7, namespace: ns}\n"
    job += "spec: {minMember: 2}\n"
    marks = "volcano.sh/job-name: w, volcano.sh/task-spec: a"
    for at in range(pods):
        job += pod(f"w-a-{at}", labels=marks, annotations="scheduling.k8s.io/group-name: w-7", owner="Job/w")
    gang = only(read(job))
    assert (gang.name, [(role.pods, role.min) for role in gang.roles]) == ("ns/w-7", [(("ns/w-a-0", "ns/w-a-1"), 2)])


def test_pods_of_the_files_belong_to_their_workload(read: Read) -> None:
    """Pods beside their workload are no gang of their own."""
    gang = only(read(STATEFUL + pod("w-0", node="n", owner="StatefulSet/w") + pod("w-1", owner="StatefulSet/w")))
    assert (gang.name, gang.roles[0].pods) == ("ns/w", ("ns/w-0", "ns/w-1", "ns/w-2"))


def test_more_pods_than_wanted_stay(read: Read) -> None:
    """Pods that run are members even when fewer are wanted."""
    cluster = "".join(pod(f"w-{at}", node="n", owner="StatefulSet/w") for at in range(4))
    assert len(only(read(STATEFUL, cluster=cluster)).running) == 4


def test_waiting_pods_beyond_those_wanted_are_not_needed(read: Read) -> None:
    """They are members, as while a new template is rolled out, of which three are enough."""
    (role,) = only(read(STATEFUL, cluster="".join(pod(f"w-{at}", owner="StatefulSet/w") for at in range(4)))).roles
    assert (role.replicas, role.min) == (4, 3)


def test_waiting_pods_ask_for_what_they_say(read: Read) -> None:
    """Pods that differ from their template, or from each other, count as they are; any three are enough."""
    twice = [pod(f"w-{at}", owner="StatefulSet/w").replace("gpu: 8", "gpu: 16") for at in range(3)]
    (role,) = only(read(STATEFUL + "".join(twice))).roles
    assert role.requests.gpus == 16
    (group,) = only(read(STATEFUL + "".join(twice[:2]) + pod("w-2", owner="StatefulSet/w"))).root.groups
    assert (group.min, [(role.requests.gpus, role.min) for role in group.roles]) == (3, [(16, 0), (8, 0)])


def test_pods_that_have_succeeded_are_not_made_again(read: Read) -> None:
    """Those of a JobSet have done their part."""
    job = f"parallelism: 2, completions: 2, template: {template()}"
    text = thing("jobset.x-k8s.io/v1alpha2", "JobSet", f"replicatedJobs: [{{name: a, template: {{spec: {{{job}}}}}}}]")
    labels = "jobset.sigs.k8s.io/jobset-name: w, jobset.sigs.k8s.io/replicatedjob-name: a"
    over = pod("w-a-0-x", node="n", labels=labels, owner="Job/w-a-0") + "status: {phase: Succeeded}\n"
    (role,) = only(read(text, cluster=over)).roles
    assert (role.replicas, role.min) == (1, 1)


def test_names_are_made_as_they_are_asked_for() -> None:
    """A number that an object declares costs nothing by itself."""
    names = Names("ns/w", 10**9, each=4)
    assert (len(names), names[0], names[5], names[-1]) == (10**9, "ns/w-0-0", "ns/w-1-1", f"ns/w-{10**9 // 4 - 1}-3")
    assert names[1:3] == ("ns/w-0-1", "ns/w-0-2")


def test_companions_are_no_gangs(read: Read) -> None:
    """A Deployment without GPUs beside a gang is none; one with a topology rule is."""
    web = thing("apps/v1", "Deployment", f"replicas: 3, template: {template(0)}", name="web")
    assert [gang.name for gang in read(web + STATEFUL).gangs] == ["ns/w"]
    ruled = thing("apps/v1", "Deployment", f"template: {template(0, annotations=RACK)}", name="web")
    assert [gang.name for gang in read(ruled + STATEFUL).gangs] == ["ns/web", "ns/w"]
    with pytest.raises(InvalidRequest, match="no gang in here"):
        read(web)


@pytest.mark.parametrize(
    "asked",
    [
        "containers: [{name: m, resources: {limits: {amd.com/gpu: 1}}}]",
        "containers: [{name: m}], resourceClaims: [{name: gpu, resourceClaimName: x}]",
    ],
)
def test_any_device_makes_a_gang(read: Read, asked: str) -> None:
    """Devices of every maker count, and so do claims; the claim may be refused, but is not passed over."""
    text = thing("apps/v1", "Deployment", f"template: {{spec: {{{asked}}}}}")
    assert only(read(text, ignore_unsupported=True)).name == "ns/w"


def test_what_a_controller_made_belongs_to_it(read: Read) -> None:
    """A ReplicaSet whose Deployment is there is not planned beside it."""
    made = thing(
        "apps/v1",
        "ReplicaSet",
        f"replicas: 3, template: {template()}",
        name="w-abc",
        meta=", ownerReferences: [{controller: true, kind: Deployment, name: w}]",
    )
    assert [gang.name for gang in read(DEPLOYMENT + made).gangs] == ["ns/w"]


def test_rules_of_templates(read: Read) -> None:
    """Kueue's annotations, the priority class and the queue of a template count."""
    one = template(annotations=RACK, labels="kai.scheduler/queue: q", spec=", priorityClassName: inference")
    gang = only(read(thing("apps/v1", "StatefulSet", f"replicas: 2, template: {one}")))
    assert (gang.root.pack, gang.queue, gang.priority) == (Pack("rack"), "q", 125)


def test_templates_that_name_a_group(read: Read) -> None:
    """Pods to come are members of the group that their template names."""
    one = template(labels="scheduling.x-k8s.io/pod-group: g")
    group = "---\napiVersion: scheduling.x-k8s.io/v1alpha1\nkind: PodGroup\nmetadata: {name: g, namespace: ns}\n"
    group += "spec: {minMember: 3}\n"
    text = thing("batch/v1", "Job", f"parallelism: 3, template: {one}") + group
    running = pod("w-0", node="n", labels="scheduling.x-k8s.io/pod-group: g, job-name: w")
    gang = only(read(text, cluster=running))
    assert (gang.name, gang.roles[0].pods, gang.roles[0].min) == ("ns/g", ("ns/w-0", "ns/w-1", "ns/w-2"), 3)
    assert gang.running == (BoundMember("ns/w-0", "n"),)


def job_set(*jobs: str, annotations: str = "") -> str:
    """A JobSet ns/w."""
    return thing("jobset.x-k8s.io/v1alpha2", "JobSet", f"replicatedJobs: [{', '.join(jobs)}]", annotations=annotations)


def replicated(name: str, replicas: int, parallelism: int, pods: str = "", annotations: str = "") -> str:
    """A replicated job."""
    job = f"{{metadata: {{annotations: {{{annotations}}}}}, spec: {{parallelism: {parallelism}, template: "
    return f"{{name: {name}, replicas: {replicas}, template: {job}{pods or template()}}}}}}}"


def test_a_job_set_is_one_gang(read: Read) -> None:
    """All jobs of all replicated jobs, with the flow from prefill to decode."""
    gang = only(read(job_set(replicated("prefill", 2, 2), replicated("decode", 1, 2))))
    assert [(role.name, role.kind, role.pods) for role in gang.roles] == [
        ("prefill", Kind.PREFILL, tuple(f"ns/w-prefill-{job}-{at}" for job in (0, 1) for at in (0, 1))),
        ("decode", Kind.DECODE, ("ns/w-decode-0-0", "ns/w-decode-0-1")),
    ]
    assert [(flow.source, flow.pattern) for flow in gang.flows] == [("prefill", Pattern.ALL_TO_ALL)]


def member(name: str, job: int, node: str = "n") -> str:
    """A pod of the replicated job `a` of JobSet w."""
    own = "jobset.sigs.k8s.io/jobset-name: w, jobset.sigs.k8s.io/replicatedjob-name: a"
    return pod(name, node=node, labels=f"{own}, jobset.sigs.k8s.io/job-index: '{job}'")


def test_running_pods_of_a_job_set(read: Read) -> None:
    """Pods are told by the labels of the JobSet; each job lacks its own."""
    gang = only(read(job_set(replicated("a", 2, 2)), cluster=member("x", 1) + member("y", 1) + member("z", 0)))
    assert {one.pod for one in gang.running} == {"ns/x", "ns/y", "ns/z"}
    assert sorted(gang.roles[0].pods) == ["ns/w-a-0-0", "ns/x", "ns/y", "ns/z"]


def test_jobs_with_domains_of_their_own(read: Read) -> None:
    """Each job of an exclusive JobSet is a replica that no other shares a rack with."""
    gang = only(read(job_set(replicated("a", 2, 3), annotations=KEY)))
    (jobs,) = gang.root.groups
    assert (jobs.replicas, jobs.min_replicas, jobs.pack, jobs.spread) == (2, 2, Pack("rack"), (Spread("rack", 1),))
    (term,) = jobs.roles[0].constraints.anti_affinity
    assert (term.topology_key, term.selector.namespaces) == ("rack", ())
    assert term.selector.matches("other", {"jobset.sigs.k8s.io/job-key": "x"})
    assert only(read(job_set(replicated("a", 2, 3, annotations=KEY)))).root.groups == (jobs,)


@pytest.mark.parametrize(
    ("text", "cluster", "message"),
    [
        (job_set(replicated("a", 1, 1), replicated("b", 1, 1), annotations=KEY), "", "several replicated jobs"),
        (job_set(replicated("a", 2, 1), annotations=KEY), member("x", 0), "while some of their pods run"),
        (job_set(replicated("a", 100_000, 2)), "", "200000 pods are more than 100000"),
    ],
)
def test_job_sets_that_cannot_be_read(read: Read, text: str, cluster: str, message: str) -> None:
    """What cannot be honoured is refused by name."""
    with pytest.raises(InvalidRequest, match=message):
        read(text, cluster=cluster)


def test_jobs_that_select_their_nodes(read: Read) -> None:
    """With the node selector strategy each job selects nodes labelled for it and tolerates their taint."""
    gang = only(read(job_set(replicated("a", 2, 1), annotations=SELECTOR)))
    selectors = [dict(role.constraints.selector) for role in gang.roles]
    assert selectors == [{"alpha.jobset.sigs.k8s.io/namespaced-job": f"ns_w-a-{at}"} for at in (0, 1)]
    assert gang.roles[0].constraints.tolerations[0].key == "alpha.jobset.sigs.k8s.io/no-schedule"


def test_slices_of_a_job_set(read: Read) -> None:
    """Without a size a slice is one job."""
    sliced = template(annotations="kueue.x-k8s.io/podset-slice-required-topology: rack")
    (child,) = only(read(job_set(replicated("a", 2, 3, sliced)))).root.groups
    assert (child.replicas, child.roles[0].replicas, child.pack) == (2, 3, Pack("rack"))


def ray(workers: str, head: str = "") -> str:
    """A RayCluster ns/w."""
    return thing(
        "ray.io/v1", "RayCluster", f"headGroupSpec: {{template: {head or template(0)}}}, workerGroupSpecs: [{workers}]"
    )


def test_a_ray_cluster(read: Read) -> None:
    """The head and every worker; groups of several hosts are engines of many nodes."""
    workers = f"{{groupName: a, replicas: 2, template: {template()}}}"
    workers += f", {{groupName: b, replicas: 2, numOfHosts: 4, template: {template()}}}"
    gang = only(read(ray(workers)))
    assert [(role.name, role.replicas, len(role.pods)) for role in gang.roles] == [
        ("headgroup", 1, 1),
        ("a", 2, 2),
        ("b", 4, 8),
    ]
    (engines,) = gang.root.groups
    assert (engines.replicas, engines.multinode) == (2, True)


def host(name: str, replica: str) -> str:
    """A running pod of the worker group b of RayCluster w."""
    index = f", ray.io/worker-group-replica-index: {replica}" if replica else ""
    return pod(name, node="n", labels=f"ray.io/cluster: w, ray.io/group: b{index}")


def test_running_hosts_of_a_ray_cluster(read: Read) -> None:
    """Once some run each replica is a group of its own; hosts have to say which they are in."""
    text = ray(f"{{groupName: b, replicas: 2, numOfHosts: 2, template: {template()}}}")
    gang = only(read(text, cluster=host("x", "b-1")))
    assert [role.pods for role in gang.roles[1:]] == [("ns/x", "ns/w-b-0-0"), ("ns/w-b-0-1", "ns/w-b-1-0")]
    with pytest.raises(InvalidRequest, match="does not say which of 2 parts of b it is in"):
        read(text, cluster=host("x", ""))


def test_a_volcano_job(read: Read) -> None:
    """Tasks are roles; the minimum of the Job counts pods of all of them."""
    tasks = (
        f"tasks: [{{name: ps, replicas: 1, template: {template(0)}}}, {{name: w, replicas: 3, template: {template()}}}]"
    )
    spec = f"minAvailable: 2, queue: q, networkTopology: {{highestTierName: rack}}, {tasks}"
    gang = only(read(thing("batch.volcano.sh/v1alpha1", "Job", spec)))
    assert (gang.root.min, gang.queue, gang.root.pack) == (2, "q", Pack("rack"))
    assert [(role.name, role.replicas, role.min) for role in gang.roles] == [("ps", 1, 0), ("w", 3, 0)]
    whole = only(read(thing("batch.volcano.sh/v1alpha1", "Job", tasks)))
    assert [role.min for role in whole.roles] == [1, 3]


@pytest.mark.parametrize("rule", ["partitionPolicy: {totalPartitions: 2}", "topologyPolicy: restricted"])
def test_rules_of_volcano_tasks_are_refused(read: Read, rule: str) -> None:
    """Partitions and NUMA policies of a task are named."""
    text = thing("batch.volcano.sh/v1alpha1", "Job", f"tasks: [{{name: a, {rule}, template: {template()}}}]")
    with pytest.raises(InvalidRequest, match=rf"spec\.tasks\[0\]\.{rule.partition(':')[0]}: "):
        read(text)


@pytest.mark.parametrize("kind", ["RayJob", "MPIJob", "RoleBasedGroup"])
def test_other_gangs_are_refused(read: Read, kind: str) -> None:
    """Kinds that stand for gangs and are not read are named."""
    with pytest.raises(InvalidRequest, match=f"{kind} objects are gangs that are not read"):
        read(thing("x/v1", kind, "") + STATEFUL)
