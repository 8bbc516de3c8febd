"""DynamoGraphDeployments of both published shapes."""

from collections.abc import Callable
from fractions import Fraction

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Kind, Pack, Pattern, Role
from solver.domain.resources import GPU

Read = Callable[..., GangInput]

SERVICES = """
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata:
  name: chat
  namespace: prod
  annotations: {nvidia.com/kai-scheduler-queue: team-a}
spec:
  envs: [{name: MODEL_NAME, value: Qwen/Qwen3-8B}]
  services:
    Frontend: {componentType: frontend}
    Planner: {componentType: planner, replicas: 0}
    PrefillWorker:
      componentType: worker
      subComponentType: prefill
      replicas: 3
      minAvailable: 2
      resources:
        requests: {cpu: "8", memory: 64Gi}
        limits: {gpu: "2", custom: {rdma/ib: "2"}}
      extraPodSpec:
        nodeSelector: {gpu: h100}
        tolerations: [{key: gpu, operator: Exists}]
        mainContainer:
          command: [/bin/sh, -c]
          args: ["exec python3 -m dynamo.vllm \\\\\\n  --model $MODEL_NAME --tensor-parallel-size 2"]
    decode:
      componentType: worker
      replicas: 2
      minAvailable: 1
      multinode: {nodeCount: 4}
      topologyConstraint: {packDomain: rack}
      resources: {limits: {gpu: "8"}}
      extraPodSpec: {mainContainer: {args: [--tensor-parallel-size, "16"]}}
  topologyConstraint: {topologyProfile: fabric, packDomain: zone}
"""


def _role(gang: Gang, name: str) -> Role:
    return next(role for role in gang.roles if role.name == name)


def test_services_become_roles_and_groups(read: Read) -> None:
    """Single-node services are roles of the root, multi-node ones groups of ranks; zero replicas are absent."""
    (gang,) = read(SERVICES).gangs
    assert (gang.name, gang.queue, gang.topology, gang.root.pack) == ("prod/chat", "team-a", "fabric", Pack("zone"))
    assert [role.name for role in gang.roles] == ["Frontend", "PrefillWorker", "decode"]
    prefill, (engine,) = _role(gang, "PrefillWorker"), gang.root.groups
    assert (prefill.kind, prefill.replicas, prefill.min) == (Kind.PREFILL, 3, 2)
    assert prefill.pods == ("prod/prefillworker-0", "prod/prefillworker-1", "prod/prefillworker-2")
    assert dict(prefill.requests) == {"gpu": 2000, "cpu": 8000, "memory": 64 * 2**30, "rdma/ib": 2}
    assert prefill.constraints.selector == (("gpu", "h100"),)
    assert prefill.constraints.tolerations[0].key == "gpu"
    assert (engine.name, engine.replicas, engine.min_replicas) == ("decode", 2, 1)
    assert (engine.pack, engine.multinode) == (Pack("rack"), True)
    decode = engine.roles[0]
    assert (decode.kind, decode.replicas, decode.min, decode.requests[GPU]) == (Kind.DECODE, 4, 4, 8000)
    assert decode.pods[:5] == tuple(f"prod/decode-{pod}" for pod in ("0-0", "0-1", "0-2", "0-3", "1-0"))


def test_flows_carry_the_cache_of_the_model(read: Read) -> None:
    """The KV flow has the model's bytes, replicated for the wider side; the router sends requests to prefill.

    Ranks of a multi-node engine send what two reductions in each layer come to, for every token they make.
    """
    gang = read(SERVICES, prompt_tokens=1000).gangs[0]
    cache, requests, ranks = gang.flows
    assert (cache.senders, cache.receivers, cache.pattern) == (("PrefillWorker",), ("decode",), Pattern.ALL_TO_ALL)
    assert cache.bytes == 147_456 * 2 * 1000  # Qwen3-8B has 8 KV heads, decode runs on 16 ranks
    assert (requests.senders, requests.receivers, requests.bytes) == (("Frontend",), ("PrefillWorker",), 65_536)
    assert requests.per_request == Fraction(1)
    assert (ranks.senders, ranks.receivers, ranks.pattern) == (("decode",), ("decode",), Pattern.COLLECTIVE)
    assert ranks.bytes == 2 * 36 * 4096 * 2 * 1000


def test_collectives_outweigh_the_cache(read: Read) -> None:
    """A prefill engine works on the prompt, one that serves alone on all tokens, and the KV cache never counts more."""
    several = ", multinode: {nodeCount: 2}"
    prefill = read(_workers("prefill", "decode", extra=several), model="qwen3-8b", prompt_tokens=1500).gangs[0]
    cache, of_prefill, of_decode = prefill.flows[0], *prefill.flows[2:]
    assert (of_prefill.source, of_decode.source) == ("prefill", "decode")
    assert (of_prefill.bytes, of_decode.bytes) == (589_824 * 1500, 589_824 * 1000)
    long = read(_workers("prefill", "decode", extra=several), model="qwen3-8b", prompt_tokens=100_000).gangs[0]
    assert long.flows[3].bytes == 2 * long.flows[0].bytes
    assert min(of_prefill.bytes, of_decode.bytes) >= 2 * cache.bytes
    (alone,) = read(_workers("Worker", extra=several), model="qwen3-8b", prompt_tokens=1500).gangs[0].flows
    assert (alone.bytes, alone.pattern) == (589_824 * 2500, Pattern.COLLECTIVE)


def test_a_multi_node_engine_without_a_rule_is_kept_together(read: Read) -> None:
    """Its replicas lie as close together as may be; a rule of its own stays, and the ranks still send."""
    text = SERVICES.replace("      topologyConstraint: {packDomain: rack}\n", "")
    assert read(text).gangs[0].root.groups[0].pack == Pack(None, "narrowest")
    assert read(text).gangs[0].flows == read(SERVICES).gangs[0].flows


COMPONENTS = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: chat, labels: {kai.scheduler/queue: team-b}}
spec:
  priorityClassName: inference
  topologyConstraint: {clusterTopologyName: fabric}
  experimental:
    kvTransferPolicy: {clusterTopologyName: fabric, domain: block}
  components:
  - {name: Frontend, type: frontend, podTemplate: {spec: {containers: [{name: main}]}}}
  - name: P
    type: prefill
    replicas: 2
    podTemplate:
      metadata: {annotations: {kai.scheduler/topology-preferred-placement: rack}}
      spec:
        containers:
        - {name: sidecar}
        - name: main
          args: [--model=Qwen/Qwen3-32B, --kv-cache-dtype, fp8_e4m3]
          resources: {limits: {nvidia.com/gpu: "4"}}
  - name: D
    type: decode
    podTemplate:
      spec:
        containers:
        - {name: main, args: [--model=Qwen/Qwen3-32B, --kv-cache-dtype=fp8], resources: {limits: {nvidia.com/gpu: "4"}}}
"""


def test_components_of_the_newer_shape(read: Read) -> None:
    """Native pod templates, priority class, a packed single-node component and a required KV domain are read."""
    found = read(COMPONENTS)
    (gang,) = found.gangs
    assert (gang.name, gang.priority, gang.queue, gang.topology) == ("default/chat", 125, "team-b", "fabric")
    (packed,) = gang.root.groups
    assert (packed.name, packed.replicas, packed.min_replicas, packed.multinode) == ("P", 1, 1, False)
    assert (packed.pack, packed.roles[0].replicas, packed.roles[0].min) == (Pack(None, "rack"), 2, 2)
    assert packed.roles[0].pods == ("default/p-0", "default/p-1")
    assert gang.flows[0].bytes == 131_072 * 4000
    assert gang.flows[0].pattern is Pattern.NEAREST
    assert gang.flows[1].pattern is Pattern.ALL_TO_ALL
    (reach,) = gang.reach
    assert (reach.senders, reach.receivers, reach.level) == (("P",), ("D",), "block")
    assert found.all_notices == ()


def test_shape_counts_not_version(read: Read) -> None:
    """Services under the newer apiVersion are read as services."""
    swapped = SERVICES.replace("v1alpha1", "v1beta1")
    assert read(swapped).gangs == read(SERVICES).gangs


def test_a_preferred_kv_domain_is_noted(read: Read) -> None:
    """A preferred KV policy leaves the flow as it is and says so."""
    found = read(COMPONENTS.replace("domain: block", "domain: block, enforcement: preferred"))
    assert found.gangs[0].reach == ()
    assert found.gangs[0].flows[0].pattern is Pattern.ALL_TO_ALL
    assert [notice.code for notice in found.notices["default/chat"]] == ["unsupported_soft"]


def _workers(*names: str, extra: str = "") -> str:
    lines = [f"    {name}: {{componentType: worker, resources: {{limits: {{gpu: 1}}}}{extra}}}" for name in names]
    head = "kind: DynamoGraphDeployment\nmetadata: {name: d}\nspec:\n  services:\n"
    return head + "    Frontend: {componentType: frontend}\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (("VllmPrefillWorker", "VllmDecodeWorker"), (Kind.PREFILL, Kind.DECODE)),
        (("VllmPrefillWorker", "VllmWorker"), (Kind.PREFILL, Kind.DECODE)),
        (("VllmPrefillWorker", "VllmEncodeWorker", "Llm"), (Kind.PREFILL, Kind.WORKER, Kind.DECODE)),
        (("VllmPrefillWorker", "Decode", "Extra"), (Kind.PREFILL, Kind.DECODE, Kind.WORKER)),
        (("VllmWorker",), (Kind.WORKER,)),
    ],
)
def test_kinds_come_from_names(read: Read, names: tuple[str, ...], kinds: tuple[Kind, ...]) -> None:
    """Without a sub-type the name decides; beside prefill workers a plain worker decodes, else it serves alone."""
    (gang,) = read(_workers(*names)).gangs
    assert tuple(_role(gang, name).kind for name in names) == kinds


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ("[--is-prefill-worker]", Kind.PREFILL),
        ("[--disaggregation-mode, decode]", Kind.DECODE),
        ('["dynamo.trtllm --disaggregation-mode=prefill --x"]', Kind.PREFILL),
        ("[--disaggregation-mode, prefill_and_decode]", Kind.WORKER),
    ],
)
def test_kinds_come_from_flags(read: Read, flags: str, kind: Kind) -> None:
    """Flags decide where neither type nor name does."""
    text = _workers("Engine", extra=f", extraPodSpec: {{mainContainer: {{args: {flags}}}}}")
    assert _role(read(text).gangs[0], "Engine").kind is kind


def test_aggregated_workers_have_no_flow(read: Read) -> None:
    """Workers that serve alone exchange nothing, so no model is needed either."""
    found = read(_workers("VllmWorker"))
    assert found.gangs[0].flows == ()
    assert found.all_notices == ()


def test_an_unnamed_model_is_assumed_and_said(read: Read) -> None:
    """Without a model, or with one nobody knows, Llama 70B is assumed with a notice; --model settles it."""
    text = _workers("prefill", "decode")
    named = _workers("prefill", "decode", extra=", extraPodSpec: {mainContainer: {args: [--model, acme/tiny]}}")
    for manifest, words in ((text, "no model is named"), (named, "'acme/tiny' is not known")):
        found = read(manifest)
        (notice,) = found.notices["default/d"]
        assert notice.code == "model_assumed"
        assert words in notice.message
        assert found.gangs[0].flows[0].bytes == 1_310_720_000
    settled = read(named, model="qwen3-0.6b")
    assert settled.gangs[0].flows[0].bytes == 458_752_000
    assert settled.all_notices == ()


def test_several_roles_of_a_kind_share_a_flow(read: Read) -> None:
    """Two prefill services send as one side, named after their kind."""
    (gang,) = read(_workers("prefill-a", "prefill-b", "decode"), model="qwen3-8b").gangs
    cache = gang.flows[0]
    assert (cache.senders, cache.source, cache.target) == (("prefill-a", "prefill-b"), "prefill", "decode")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('gpu: "8"', 'gpu: "8.5"', "spec.services.decode.resources.limits.gpu: must be a whole number"),
        ('gpu: "8"', "gpu: lots", "spec.services.decode.resources.limits.gpu: "),
        ('cpu: "8"', 'cpu: "-8"', "spec.services.PrefillWorker.resources.requests.cpu: '-8'"),
        ("replicas: 3", "replicas: 1e30", "spec.services.PrefillWorker.replicas: must be a whole number"),
        ("replicas: 3", "replicas: -3", "spec.services.PrefillWorker.replicas: -3 is out of range"),
        ("minAvailable: 2", "minAvailable: 4", "PrefillWorker.minAvailable: 4 is out of range (1 to 3)"),
        ("nodeCount: 4", "nodeCount: 90000", "decode.replicas: 2 replicas of 90000 pods are more than 100000 pods"),
        ("key: gpu, operator: Exists", "key: gpu, operator: Ex", "PrefillWorker.extraPodSpec.tolerations[0].operator"),
        ("{gpu: h100}", "[h100]", "spec.services.PrefillWorker.extraPodSpec.nodeSelector: must be a mapping"),
        ("name: chat", "label: chat", "metadata.name: is missing"),
        ("  services:", "  things:", "spec: has neither services nor components"),
        (
            "componentType: frontend}",
            "componentType: frontend, providerOverride: {}}",
            "Frontend.providerOverride: overrides",
        ),
        (
            "minAvailable: 1",
            "annotations: {kai.scheduler/topology: other}",
            "several topologies in one gang are not supported yet (fabric, other)",
        ),
    ],
)
def test_wrong_fields_are_named_in_one_line(read: Read, old: str, new: str, message: str) -> None:
    """A wrong field is refused in one line that spells its path as the file does."""
    assert old in SERVICES
    text = SERVICES.replace(old, new, 1)
    if "topologies" in message:
        text = text.replace("      topologyConstraint: {packDomain: rack}\n", "")
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    line = str(caught.value)
    assert line.startswith("gang.yaml: DynamoGraphDeployment prod/")
    assert message in line


def test_unsupported_constraints_are_refused_or_noted(read: Read) -> None:
    """A required pod affinity is refused with its path, or noted when that is asked for."""
    rule = "podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: rack, labelSelector: {}}]}"
    text = _workers("decode", extra=f", extraPodSpec: {{affinity: {{{rule}}}}}")
    field = "spec.services.decode.extraPodSpec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    assert f"{field}: required pod affinity is not supported" in str(caught.value)
    (notice,) = read(text, ignore_unsupported=True).notices["default/d"]
    assert (notice.code, notice.field) == ("unsupported_ignored", field)


def test_anti_affinity_between_roles_is_unsupported(read: Read) -> None:
    """Keeping prefill and decode on different hosts is no rule yet, so it is refused; among equals it is a spread."""
    selector = "labelSelector: {matchLabels: {nvidia.com/dynamo-component-type: worker}}"
    term = f"[{{topologyKey: kubernetes.io/hostname, {selector}}}]"
    rule = f"podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {term}}}"
    extra = f", extraPodSpec: {{affinity: {{{rule}}}}}"
    with pytest.raises(InvalidRequest, match=r"keeps away from role 'decode' by kubernetes\.io/hostname"):
        read(_workers("prefill", "decode", extra=extra))
    (gang,) = read(_workers("decode", extra=extra + ", replicas: 2")).gangs
    (spread,) = _role(gang, "decode").spread
    assert (spread.level, spread.max) == ("kubernetes.io/hostname", 1)
