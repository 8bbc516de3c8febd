"""LeaderWorkerSets, loose pods, and what else stands in a gang file."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput, GangOptions
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Kind, Pack
from solver.domain.resources import GPU

Read = Callable[..., GangInput]

WORKER = "workerTemplate: {spec: {containers: [{name: main, resources: {limits: {nvidia.com/gpu: 8}}}]}}"
LEADER = "leaderTemplate: {spec: {containers: [{name: main, resources: {limits: {cpu: 4}}}]}}"


def lws(template: str, *, replicas: int = 1, meta: str = "") -> str:
    """A LeaderWorkerSet ns/vllm-decode."""
    return (
        "---\napiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\n"
        f"metadata: {{name: vllm-decode, namespace: ns{meta}}}\n"
        f"spec: {{replicas: {replicas}, leaderWorkerTemplate: {{{template}}}}}\n"
    )


def bare(name: str, *, meta: str = "", spec: str = "") -> str:
    """A pod of ns without PodGroup."""
    head = f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: ns{meta}}}\n"
    return f"{head}spec: {{containers: []{spec}}}\n"


def owned(name: str, kind: str, owner: str, spec: str = "") -> str:
    """A pod of ns that a controller made."""
    return bare(name, meta=f", ownerReferences: [{{controller: true, kind: {kind}, name: {owner}}}]", spec=spec)


def test_a_set_is_one_gang_per_replica(read: Read) -> None:
    """Each replica is an engine of leader and workers, packed by the annotations."""
    meta = ", annotations: {kai.scheduler/topology-required-placement: rack}, labels: {kai.scheduler/queue: q}"
    found = read(lws(f"size: 3, {LEADER}, {WORKER}", replicas=2, meta=meta))
    assert [gang.name for gang in found.gangs] == ["ns/vllm-decode-0", "ns/vllm-decode-1"]
    gang = found.gangs[1]
    assert (gang.root.multinode, gang.root.pack, gang.queue) == (True, Pack("rack"), "q")
    leader, worker = gang.roles
    assert (leader.name, leader.pods, leader.kind) == ("leader", ("ns/vllm-decode-1",), Kind.DECODE)
    assert (worker.name, worker.pods) == ("worker", ("ns/vllm-decode-1-1", "ns/vllm-decode-1-2"))
    assert (leader.requests[GPU], worker.requests[GPU], worker.min) == (0, 8000, 2)


def test_a_set_without_leader_template(read: Read) -> None:
    """Without a leader template all pods are workers, the leader's name first."""
    (gang,) = read(lws(f"size: 2, {WORKER}")).gangs
    (worker,) = gang.roles
    assert worker.pods == ("ns/vllm-decode-0", "ns/vllm-decode-0-1")


def test_a_set_without_a_rule_is_kept_together(read: Read) -> None:
    """The ranks of one engine lie as close together as may be; a single pod has nothing to be close to."""
    assert [gang.root.pack for gang in read(lws(f"size: 2, {LEADER}, {WORKER}")).gangs] == [Pack(None, "narrowest")]
    assert [gang.root.pack for gang in read(lws(WORKER)).gangs] == [Pack()]


def test_bound_pods_of_a_set_run(read: Read) -> None:
    """Pods of a set that are bound stay where they are, and are no gangs of their own."""
    label = ", labels: {leaderworkerset.sigs.k8s.io/name: vllm-decode}"
    text = lws(f"size: 2, {WORKER}") + bare("vllm-decode-0-1", meta=label)
    (gang,) = read(text, cluster=bare("vllm-decode-0", meta=label, spec=", nodeName: n1")).gangs
    assert gang.running == (BoundMember("ns/vllm-decode-0", "n1"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lws("size: 2"), "spec.leaderWorkerTemplate.workerTemplate: is missing"),
        (lws(f"size: 0, {WORKER}"), "spec.leaderWorkerTemplate.size: 0 is out of range"),
        (lws(f"size: 100000, {WORKER}", replicas=2), "spec.replicas: 2 replicas of 100000 pods are more than"),
        (
            lws(WORKER, meta=", annotations: {jobset.sigs.k8s.io/x: y, topology.gke.io/slice: rack}"),
            "metadata.annotations[topology.gke.io/slice]: placement policies of GKE",
        ),
    ],
)
def test_wrong_sets_are_refused(read: Read, text: str, message: str) -> None:
    """A wrong field of a set is named in one line."""
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    assert str(caught.value).startswith(f"gang.yaml: LeaderWorkerSet ns/vllm-decode: {message}")


def test_a_bare_pod_is_a_gang_of_one(read: Read) -> None:
    """A pod without group and owner stands alone, with its own priority."""
    (gang,) = read(bare("router", spec=", priority: 4")).gangs
    assert (gang.name, gang.priority) == ("ns/router", 4)
    assert [(role.name, role.kind, role.min, role.pods) for role in gang.roles] == [
        ("router", Kind.ROUTER, 1, ("ns/router",))
    ]


def test_pods_that_share_a_group_name_are_a_gang(read: Read) -> None:
    """Without a PodGroup object all pods that name the group are needed."""
    meta = ", annotations: {pod-group-name: g, kai.scheduler/topology-required-placement: rack}"
    (gang,) = read(bare("a", meta=meta) + bare("b", meta=meta) + bare("c")).gangs[:1]
    assert (gang.name, gang.root.pack, gang.roles[0].min) == ("ns/g", Pack("rack"), 2)


def test_pods_of_one_owner_are_a_gang(read: Read) -> None:
    """The topmost controller names the gang and says how many pods are expected; bound siblings run."""
    text = owned("w-1-a", "ReplicaSet", "w-1") + owned("w-1-b", "ReplicaSet", "w-1")
    above = "ownerReferences: [{controller: true, kind: Deployment, name: w}]"
    cluster = f"---\nkind: ReplicaSet\nmetadata: {{name: w-1, namespace: ns, {above}}}\n"
    cluster += "---\nkind: Deployment\nmetadata: {name: w, namespace: ns}\nspec: {replicas: 4}\n"
    cluster += owned("w-1-c", "ReplicaSet", "w-1", ", nodeName: n1")
    (gang,) = read(text, cluster=cluster).gangs
    assert (gang.name, gang.roles[0].replicas, gang.roles[0].min) == ("ns/w", 3, 4)
    assert gang.running == (BoundMember("ns/w-1-c", "n1"),)
    (alone,) = read(text).gangs
    assert (alone.name, alone.roles[0].min) == ("ns/w-1", 2)


def test_pods_of_a_framework_that_is_not_read_are_refused(read: Read) -> None:
    """Nobody says how many there are, so no gang is made of those that happen to be there."""
    text = owned("w-0", "PyTorchJob", "w") + owned("w-1", "PyTorchJob", "w")
    with pytest.raises(InvalidRequest, match=r"Pod ns/w-0: metadata.ownerReferences: pods of a PyTorchJob are a gang"):
        read(text)
    found = read(text, ignore_unsupported=True)
    assert [gang.roles[0].pods for gang in found.gangs] == [("ns/w-0", "ns/w-1")]
    assert [notice.code for notice in found.all_notices] == ["unsupported_ignored"]


def test_gangs_keep_the_order_of_the_input(read: Read) -> None:
    """Gangs of different kinds come in the order in which they begin."""
    group = "---\napiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: g, namespace: ns}\n"
    text = bare("z") + group + lws(WORKER) + bare("a", meta=", annotations: {pod-group-name: g}") + bare("b")
    assert [gang.name for gang in read(text).gangs] == ["ns/z", "ns/g", "ns/vllm-decode-0", "ns/b"]


def test_companions_are_passed_over(read: Read) -> None:
    """Companions are silent, unknown kinds noted, cluster objects pointed to --cluster."""
    others = "".join(
        f"---\nkind: {kind}\nmetadata: {{name: x}}\n" for kind in ("ConfigMap", "ComputeDomain", "Widget", "Node")
    )
    found = read(bare("a") + others)
    assert [(notice.code, notice.object) for notice in found.general] == [
        ("kind_ignored", "Widget default/x"),
        ("kind_ignored", "Node x"),
    ]
    assert found.all_notices == found.general


def odd(kind: str, version: str = "v1") -> str:
    """An object that is no gang."""
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (odd("Widget"), "gang.yaml: Widget default/x: kind: Widget is not understood; known are Gang,"),
        (odd("ConfigMap"), "gang.yaml: no gang in here; known are Gang,"),
        ("", "the input: no gang in here"),
        (bare("a", spec=", nodeName: n"), "gang.yaml: no gang to plan: every pod runs already"),
        (odd("PodCliqueSet", "grove.io/v1alpha1"), "kind: PodCliqueSet is not supported yet"),
        (odd("PodGroup", "godel.example/v1"), "apiVersion: a PodGroup of godel.example is not supported; known are"),
        (bare(""), "Pod ns/: metadata.name: is missing"),
    ],
)
def test_files_without_a_gang_are_refused(read: Read, text: str, message: str) -> None:
    """A file that holds no gang is refused, naming the kinds that are known."""
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    assert message in str(caught.value)


def test_options_are_checked(read: Read) -> None:
    """An unknown model is refused even where no flow needs it, and so are absurd numbers of tokens."""
    with pytest.raises(InvalidRequest, match="--model: 'gpt-9' is not known"):
        read(bare("a"), model="gpt-9")
    with pytest.raises(InvalidRequest, match="--prompt-tokens: 0 is out of range"):
        GangOptions(prompt_tokens=0)
