"""ComputeDomains: all pods with a claim in one share NVLink."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import yaml

from adapters.kubernetes.objects import Document
from adapters.manifests.compute_domains import compute_domain_of
from adapters.manifests.gangs import GangInput, GangOptions, read_gangs
from adapters.manifests.reading import World
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Group, Pack
from solver.domain.levels import Level, TopologySpec

Read = Callable[..., GangInput]


def domain(name: str) -> str:
    """A ComputeDomain whose claims are made from `<name>-channel`."""
    channel = {"resourceClaimTemplate": {"name": f"{name}-channel"}}
    return yaml.safe_dump(
        {
            "apiVersion": "resource.nvidia.com/v1beta1",
            "kind": "ComputeDomain",
            "metadata": {"name": name},
            "spec": {"numNodes": 2, "channel": channel},
        }
    )


def deployment(components: Mapping[str, tuple[Sequence[str], Mapping[str, object]]], **spec: object) -> str:
    """A deployment `wide` with one GPU per pod: component → ComputeDomains it has claims in, more fields."""
    listed = []
    for name, (domains, fields) in components.items():
        claims = [{"name": each, "resourceClaimTemplateName": f"{each}-channel"} for each in domains]
        main = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        template = {"spec": {"containers": [main], "resourceClaims": claims}}
        listed.append({"name": name, "type": name.partition("-")[0], "podTemplate": template, **fields})
    body = {"kind": "DynamoGraphDeployment", "metadata": {"name": "wide"}, "spec": {"components": listed, **spec}}
    return yaml.safe_dump(body)


def _read(text: str, levels: Sequence[Level] | None = None, **options: object) -> GangInput:
    """The gangs of a text on a topology with these levels; None: nobody knows it."""
    documents = [Document(body, "gang.yaml") for body in yaml.safe_load_all(text)]
    topology = None if levels is None else TopologySpec("t", tuple(levels))
    return read_gangs(
        documents,
        GangOptions(model="qwen3-8b", **options),  # type: ignore[arg-type]
        topology_of=None if topology is None else lambda _: topology,
    )


def _root(found: GangInput) -> Group:
    (gang,) = found.gangs
    return gang.root


def _shape(group: Group) -> dict[str, tuple[Pack, list[str], list[str]]]:
    """Group → rule, roles and child groups."""
    return {
        each.name: (each.pack, [role.name for role in each.roles], [child.name for child in each.groups])
        for each in group.walk()
    }


MULTI = {"multinode": {"nodeCount": 4}}
WIDE = {"frontend": ([], {}), "prefill": (["x"], {}), "decode": (["x"], MULTI)}
TOGETHER = Pack(preferred="narrowest")
NVL = "ComputeDomain x"


def test_pods_of_a_domain_become_a_group() -> None:
    """Roles and groups whose pods have a claim in it share a group that must lie in one NVLink domain."""
    text = "---\n".join((domain("x"), deployment(WIDE)))
    assert _shape(_root(_read(text))) == {
        "default/wide": (Pack(), ["frontend"], [NVL]),
        NVL: (Pack(required="nvl"), ["prefill"], ["decode"]),
        "decode": (TOGETHER, ["decode"], []),
    }
    preferred = _shape(_root(_read(text, compute_domain="preferred")))
    assert preferred[NVL] == (Pack(preferred="nvl"), ["prefill"], ["decode"])


def test_replicas_share_the_domain() -> None:
    """All replicas of an engine have claims in the same domain, so the rule stands above them."""
    text = "---\n".join((domain("x"), deployment({"frontend": ([], {}), "decode": (["x"], {**MULTI, "replicas": 2})})))
    assert _shape(_root(_read(text))) == {
        "default/wide": (Pack(), ["frontend"], [NVL]),
        NVL: (Pack(required="nvl"), [], ["decode"]),
        "decode": (TOGETHER, ["decode"], []),
    }


def test_a_single_engine_takes_the_rule_itself() -> None:
    """A component of one replica needs no group around it, unless it has a rule of its own, which stays."""
    text = domain("x") + "---\n" + deployment({"frontend": ([], {}), "decode": (["x"], MULTI)})
    assert _shape(_root(_read(text)))["decode"] == (Pack(required="nvl"), ["decode"], [])
    own = {**MULTI, "topologyConstraint": {"packDomain": "rack"}}
    shape = _shape(_root(_read(domain("x") + "---\n" + deployment({"frontend": ([], {}), "decode": (["x"], own)}))))
    assert shape["decode"] == (Pack(required="rack"), [], [NVL])
    assert shape[NVL] == (Pack(required="nvl"), ["decode"], [])


def test_the_rule_of_the_whole_deployment_stays() -> None:
    """Where every pod is in the domain the rule is the root's, or one inside it."""
    components = {"prefill": (["x"], {}), "decode": (["x"], {})}
    assert _root(_read(domain("x") + "---\n" + deployment(components))).pack == Pack(required="nvl")
    block = {"topologyConstraint": {"clusterTopologyName": "t", "packDomain": "block"}}
    shape = _shape(_root(_read(domain("x") + "---\n" + deployment(components, **block))))
    assert shape["default/wide"] == (Pack(required="block"), [], [NVL])
    assert shape[NVL] == (Pack(required="nvl"), ["prefill", "decode"], [])


def test_several_domains_are_several_groups() -> None:
    """Each domain has its own group; those that share pods are one."""
    both = domain("x") + "---\n" + domain("y") + "---\n"
    apart = {"frontend": ([], {}), "prefill": (["x"], {}), "decode": (["y"], {"replicas": 2})}
    shape = _shape(_root(_read(both + deployment(apart))))
    assert shape["ComputeDomain x"] == (Pack(required="nvl"), ["prefill"], [])
    assert shape["ComputeDomain y"] == (Pack(required="nvl"), ["decode"], [])
    shared = {"frontend": ([], {}), "prefill": (["x"], {}), "decode-a": (["y", "x"], {}), "decode-b": (["y"], {})}
    shape = _shape(_root(_read(both + deployment(shared))))
    assert shape["ComputeDomain x"] == (Pack(required="nvl"), ["prefill", "decode-a", "decode-b"], [])
    assert "ComputeDomain y" not in shape


def test_claims_of_other_templates_are_no_domain() -> None:
    """Only the claim template that a ComputeDomain of the same namespace names stands for it."""
    text = domain("other") + "---\n" + deployment(WIDE)
    with pytest.raises(InvalidRequest, match="claim template x-channel is not in the input"):
        _read(text)
    (gang,) = _read(text, ignore_unsupported=True).gangs
    assert {group.pack for group in gang.root.walk()} == {Pack(), TOGETHER}
    world = World([Document(yaml.safe_load(domain("x")), "f")])
    assert compute_domain_of(world, "default", "x-channel") == "x"
    assert compute_domain_of(world, "prod", "x-channel") == ""
    assert compute_domain_of(world, "default", "gpus") == ""


def test_the_domain_may_stand_in_the_cluster(read: Read) -> None:
    """A ComputeDomain that is not in the file but in the cluster counts alike."""
    (gang,) = read(deployment(WIDE), cluster=domain("x"), model="qwen3-8b").gangs
    assert NVL in {group.name for group in gang.root.walk()}


@pytest.mark.parametrize(
    "level",
    [
        Level("nvl", "example/nvl"),
        Level("island", "nvidia.com/gpu.clique"),
        Level("clique", "example/clique", also=("nvl",)),
    ],
)
def test_the_level_is_found_by_name_alias_or_label(level: Level) -> None:
    """Whatever a site calls its NVLink domains, the word nvl means them."""
    text = domain("x") + "---\n" + deployment(WIDE)
    assert _shape(_root(_read(text, [level])))[NVL][0] == Pack(required="nvl")
    assert TopologySpec("t", (Level("zone", "z"), level)).find("nvl") == 2


def test_a_topology_without_the_level_is_refused() -> None:
    """Without NVLink domains the promise cannot be kept: refused by name, or a warning and no rule."""
    text = domain("x") + "---\n" + deployment(WIDE)
    levels = [Level("rack", "example/rack")]
    with pytest.raises(InvalidRequest) as caught:
        _read(text, levels)
    problem = "ComputeDomain x: promises NVLink among its pods, but the topology has no level nvl"
    assert str(caught.value) == f"gang.yaml: DynamoGraphDeployment default/wide: {problem}"
    for options in ({"ignore_unsupported": True}, {"compute_domain": "preferred"}):
        found = _read(text, levels, **options)
        (notice,) = (notice for notice in found.all_notices if notice.field == NVL)
        assert notice.code == ("unsupported_ignored" if "ignore_unsupported" in options else "unsupported_soft")
        assert NVL not in {group.name for group in _root(found).walk()}


def test_running_replicas_keep_the_rule() -> None:
    """Replicas that run have groups of their own; the domain holds them all."""
    labels = {"nvidia.com/dynamo-graph-deployment-name": "wide", "nvidia.com/dynamo-component": "decode"}
    group = {"leaderworkerset.sigs.k8s.io/name": "d", "leaderworkerset.sigs.k8s.io/group-index": "0"}
    spec = {"nodeName": "n", "containers": []}
    pod = yaml.safe_dump({"kind": "Pod", "metadata": {"name": "d-0", "labels": {**labels, **group}}, "spec": spec})
    components = {"frontend": ([], {}), "decode": (["x"], {**MULTI, "replicas": 2})}
    shape = _shape(_root(_read("---\n".join((domain("x"), deployment(components), pod)))))
    assert shape["decode"] == (Pack(required="nvl"), [], ["decode#0", "decode#1"])


def test_domains_that_grove_makes() -> None:
    """Cliques of one MNNVL group share a domain; `none` and pods without GPUs are in none."""
    text = deployment({"prefill": ([], {}), "decode": ([], {})}, annotations={"grove.io/mnnvl-group": "a"})
    assert _root(_read(text)).pack == Pack(required="nvl")
    assert _root(_read(text.replace("mnnvl-group: a", "mnnvl-group: none"))).pack == Pack()


def _pod(name: str, template: str = "") -> str:
    claims = [{"name": "c", "resourceClaimTemplateName": template}] if template else []
    meta = {"name": name, "annotations": {"pod-group-name": "g"}}
    return yaml.safe_dump({"kind": "Pod", "metadata": meta, "spec": {"containers": [], "resourceClaims": claims}})


def test_other_kinds_keep_the_promise_too() -> None:
    """Pods of a PodGroup, of a shared name and of a LeaderWorkerSet with claims in a domain share it."""
    group = "apiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: g}\nspec: {minMember: 2}\n"
    pods = _pod("a", "x-channel") + "---\n" + _pod("b", "x-channel")
    for text in ("---\n".join((domain("x"), group, pods)), domain("x") + "---\n" + pods):
        assert _root(_read(text)).pack == Pack(required="nvl")
    claims = "resourceClaims: [{name: c, resourceClaimTemplateName: x-channel}]"
    worker = f"{{size: 2, workerTemplate: {{spec: {{containers: [{{name: main}}], {claims}}}}}}}"
    lws = f"kind: LeaderWorkerSet\nmetadata: {{name: s}}\nspec: {{replicas: 1, leaderWorkerTemplate: {worker}}}\n"
    assert _root(_read(domain("x") + "---\n" + lws)).pack == Pack(required="nvl")
    with pytest.raises(InvalidRequest, match="s: ComputeDomain x: its NVLink domain is shared by replicas"):
        _read(domain("x") + "---\n" + lws.replace("replicas: 1", "replicas: 2"))
    two = _read(domain("x") + "---\n" + lws.replace("replicas: 1", "replicas: 2"), compute_domain="preferred").gangs
    assert [gang.root.pack for gang in two] == [Pack(preferred="nvl")] * 2


def test_pods_that_cannot_be_told_apart_are_refused() -> None:
    """Among pods any of which may be left out a part cannot be tied together."""
    pods = _pod("a", "x-channel").replace("spec:", "spec:\n  nodeSelector: {a: b}", 1) + "---\n" + _pod("b")
    group = "apiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: g}\nspec: {minMember: 1}\n"
    with pytest.raises(InvalidRequest, match="ComputeDomain x: its pods share a group with others"):
        _read("---\n".join((domain("x"), group, pods)))


def test_other_words_are_refused() -> None:
    """A promise is required or preferred."""
    with pytest.raises(InvalidRequest, match="--compute-domain: 'always' is not one of required, preferred"):
        GangOptions(compute_domain="always")
