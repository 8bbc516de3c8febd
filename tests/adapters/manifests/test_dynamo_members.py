"""Pods of a DynamoGraphDeployment that exist already."""

from collections.abc import Callable, Iterable, Mapping

import pytest
import yaml

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Gang, Pack

Read = Callable[..., GangInput]

GRAPH, COMPONENT = "nvidia.com/dynamo-graph-deployment-name", "nvidia.com/dynamo-component"
GROUP_INDEX, RANK = "leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"


def _dgd(**components: Mapping[str, object]) -> str:
    """A deployment `app`; each component asks for one GPU per pod."""
    main = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    listed = [
        {"name": name, "type": name, "podTemplate": {"spec": {"containers": [main]}}, **fields}
        for name, fields in components.items()
    ]
    body = {"kind": "DynamoGraphDeployment", "metadata": {"name": "app"}, "spec": {"components": listed}}
    return yaml.safe_dump(body)


def _pod(name: str, labels: Mapping[str, str], node: str = "", **metadata: object) -> str:
    spec = {"containers": [{"name": "main"}], **({"nodeName": node} if node else {})}
    return yaml.safe_dump({"kind": "Pod", "metadata": {"name": name, "labels": labels, **metadata}, "spec": spec})


def _of(component: str, **more: str) -> dict[str, str]:
    return {GRAPH: "app", COMPONENT: component, **more}


def _all(texts: Iterable[str]) -> str:
    return "---\n".join(texts)


def _gang(found: GangInput) -> Gang:
    (gang,) = found.gangs
    return gang


def test_running_pods_are_members_by_the_operator_s_labels(read: Read) -> None:
    """Bound pods keep their names and nodes, the missing ones have planned names that nobody has."""
    cluster = _all(
        (
            _pod("app-0-prefill-aa", _of("prefill"), "n0"),
            _pod("app-0-decode-bb", _of("decode"), "n1"),
            _pod("decode-1", _of("decode"), "n2"),
            _pod("decode-2", {GRAPH: "other", COMPONENT: "decode"}, "n3"),
            _pod("app-0-decode-dd", _of("decode"), "n4", deletionTimestamp="2026-01-01T00:00:00Z"),
        )
    )
    gang = _gang(read(_dgd(prefill={"replicas": 1}, decode={"replicas": 4}), cluster=cluster, model="qwen3-8b"))
    prefill, decode = gang.roles
    assert prefill.pods == ("default/app-0-prefill-aa",)
    assert decode.pods == ("default/app-0-decode-bb", "default/decode-1", "default/decode-2", "default/decode-3")
    assert set(gang.running) == {
        BoundMember("default/app-0-prefill-aa", "n0"),
        BoundMember("default/app-0-decode-bb", "n1"),
        BoundMember("default/decode-1", "n2"),
    }


def test_waiting_pods_take_a_place(read: Read) -> None:
    """A pod that waits, in the file or in the cluster, is one of those to be placed; a surplus one is left out."""
    waiting = _pod("app-0-decode-w", _of("decode"))
    gang = _gang(read(_dgd(decode={"replicas": 2}), cluster=waiting))
    assert gang.roles[0].pods == ("default/app-0-decode-w", "default/decode-1")
    assert gang.running == ()
    found = read(_all((_dgd(decode={"replicas": 1}), waiting)), cluster=_pod("app-0-decode-r", _of("decode"), "n0"))
    assert _gang(found).roles[0].pods == ("default/app-0-decode-r",)


def test_more_pods_than_declared_all_stay(read: Read) -> None:
    """After a scale-down every pod that still runs is a member, with a warning."""
    running = _all(_pod(f"decode-{n}", _of("decode"), f"n{n}") for n in range(3))
    found = read(_dgd(decode={"replicas": 1}), cluster=running)
    (role,) = _gang(found).roles
    assert (role.replicas, role.min, len(_gang(found).running)) == (3, 1, 3)
    assert [notice.code for notice in found.all_notices] == ["members_surplus"]


def test_pods_of_no_component_are_said(read: Read) -> None:
    """Pods of a component that is gone or scaled to zero are no members."""
    running = _all((_pod("old-0", _of("encode"), "n0"), _pod("old-1", _of("prefill"), "n1")))
    found = read(_dgd(decode={"replicas": 1}, prefill={"replicas": 0}), cluster=running)
    assert _gang(found).running == ()
    (notice,) = found.all_notices
    assert (notice.code, "default/old-0 and 1 more pods" in notice.message) == ("member_unknown", True)


def _grove(clique: str, group: str = "", index: str = "", pod_index: str = "0") -> dict[str, str]:
    found = {
        "app.kubernetes.io/managed-by": "grove-operator",
        "app.kubernetes.io/part-of": "app",
        "grove.io/podcliqueset-replica-index": "0",
        "grove.io/podclique": clique,
        "grove.io/podclique-pod-index": pod_index,
    }
    if group:
        found |= {"grove.io/podcliquescalinggroup": group, "grove.io/podcliquescalinggroup-replica-index": index}
    return found


def test_pods_of_grove_are_members_by_its_labels(read: Read) -> None:
    """A standalone clique is a component; leader and workers of a scaling group are the ranks of one replica."""
    cluster = _all(
        (
            _pod("app-0-frontend-a", _grove("app-0-frontend"), "n0"),
            _pod("app-0-decode-1-decode-ldr-b", _grove("app-0-decode-1-decode-ldr", "app-0-decode", "1"), "n1"),
            _pod("app-0-decode-1-decode-wkr-c", _grove("app-0-decode-1-decode-wkr", "app-0-decode", "1", "1"), "n2"),
        )
    )
    several = {"replicas": 2, "multinode": {"nodeCount": 3}, "topologyConstraint": {"packDomain": "rack"}}
    gang = _gang(read(_dgd(frontend={}, decode=several), cluster=cluster))
    (decode,) = gang.root.groups
    assert (decode.name, decode.min, decode.replicas, decode.pack) == ("decode", 2, 1, Pack())
    assert [(each.name, each.pack, each.multinode) for each in decode.groups] == [
        ("decode#0", Pack("rack"), True),
        ("decode#1", Pack("rack"), True),
    ]
    first, second = (each.roles[0] for each in decode.groups)
    assert first.pods == (
        "default/app-0-decode-1-decode-ldr-b",
        "default/app-0-decode-1-decode-wkr-c",
        "default/decode-0-1",
    )
    assert second.pods == ("default/decode-1-0", "default/decode-1-1", "default/decode-1-2")
    assert (first.name, first.replicas, first.min) == ("decode#0", 3, 3)
    assert {member.node for member in gang.running} == {"n0", "n1", "n2"}


def test_pods_of_a_leader_worker_set_stay_with_their_replica(read: Read) -> None:
    """The set and the group index tell the replica; flows and KV rules follow the roles the replicas have become."""
    cluster = _all(
        _pod(
            f"d-{set_index}-{rank}",
            _of("decode", **{SET: f"d-{set_index}", GROUP_INDEX: "0", RANK: str(rank)}),
            f"n{n}",
        )
        for n, (set_index, rank) in enumerate([(0, 1), (1, 0), (1, 1)])
    )
    text = _dgd(prefill={}, decode={"replicas": 2, "multinode": {"nodeCount": 2}})
    policy = "  experimental: {kvTransferPolicy: {domain: rack}}\n"
    gang = _gang(read(text + policy, cluster=cluster, model="qwen3-8b"))
    (decode,) = gang.root.groups
    assert [each.roles[0].pods for each in decode.groups] == [
        ("default/d-0-1", "default/decode-0-0"),
        ("default/d-1-0", "default/d-1-1"),
    ]
    flow, ranks = gang.flows
    assert (flow.receivers, flow.source, flow.target) == (("decode#0", "decode#1"), "prefill", "decode")
    assert (ranks.senders, ranks.receivers, str(ranks)) == (flow.receivers, flow.receivers, "decode → decode")
    assert gang.reach[0].receivers == ("decode#0", "decode#1")


SET = "leaderworkerset.sigs.k8s.io/name"


def test_a_single_multi_node_replica_needs_no_split(read: Read) -> None:
    """With one replica the group is as declared, whatever of it runs and however it is labelled."""
    gang = _gang(read(_dgd(decode={"multinode": {"nodeCount": 2}}), cluster=_pod("x", _of("decode"), "n0")))
    (decode,) = gang.root.groups
    assert (decode.name, decode.replicas, decode.groups) == ("decode", 1, ())
    assert decode.roles[0].pods == ("default/x", "default/decode-0-0")
    assert gang.running == (BoundMember("default/x", "n0"),)


def test_replicas_that_only_wait_stay_replicas(read: Read) -> None:
    """Without a running pod the group replicates as declared, made of the pods there are."""
    waiting = _pod("w", _of("decode", **{SET: "s", GROUP_INDEX: "1", RANK: "1"}))
    gang = _gang(read(_dgd(decode={"replicas": 2, "multinode": {"nodeCount": 2}}), cluster=waiting))
    (decode,) = gang.root.groups
    assert (decode.replicas, decode.roles[0].replicas) == (2, 2)
    assert decode.roles[0].pods == ("default/w", "default/decode-0-0", "default/decode-1-0", "default/decode-1-1")


def test_pods_that_do_not_tell_their_replica_are_refused(read: Read) -> None:
    """Of two multi-node replicas a pod must say which one it is in."""
    with pytest.raises(InvalidRequest, match="does not say which of its 2 replicas it is in"):
        read(_dgd(decode={"replicas": 2, "multinode": {"nodeCount": 2}}), cluster=_pod("x", _of("decode"), "n0"))


def test_what_was_made_for_a_deployment_is_no_gang_of_its_own(read: Read) -> None:
    """Pods, PodGroups and Grove's objects of a deployment in the same file are not planned twice."""
    group = "apiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: app-0}\nspec: {minMember: 1}\n"
    pods = _pod("app-0-decode-x", _of("decode"), annotations={"pod-group-name": "app-0"})
    clique_set = "apiVersion: grove.io/v1alpha1\nkind: PodCliqueSet\nmetadata: {name: app}\n"
    found = read(_all((_dgd(decode={"replicas": 1}), group, pods, clique_set)))
    assert _gang(found).roles[0].pods == ("default/app-0-decode-x",)
    assert found.all_notices == ()
    with pytest.raises(InvalidRequest, match="PodCliqueSet is not supported yet"):
        read(_all((_dgd(decode={"replicas": 1}), clique_set.replace("app", "other"))))


def test_pods_in_the_file_are_planned_with_the_deployment_of_the_cluster(read: Read) -> None:
    """Waiting pods whose deployment only the cluster has are planned as that deployment, once and whole."""
    text = _all(_pod(f"w-{n}", _of("decode")) for n in range(2))
    gang = _gang(read(text, cluster=_all((_dgd(decode={"replicas": 3}), _pod("r", _of("decode"), "n0")))))
    assert gang.name == "default/app"
    assert gang.roles[0].pods == ("default/r", "default/w-0", "default/w-1")


def test_pods_of_a_deployment_nobody_knows_are_one_gang(read: Read) -> None:
    """Without the deployment its pods still belong together, whatever controls each of them."""
    text = _all((_pod("p", _of("prefill")), _pod("d", _of("decode")), _pod("g", _grove("app-0-decode"))))
    gang = _gang(read(text))
    assert gang.name == "default/app"
    assert {pod for role in gang.roles for pod in role.pods} == {"default/p", "default/d", "default/g"}
