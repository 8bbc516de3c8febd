"""A wide-EP deployment whose ComputeDomain promises NVLink among prefill and an engine of eight nodes."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from adapters.files.documents import read_documents
from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import GangOptions, read_gangs
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine
from solver.topology.choice import cluster_topology
from support.builders import GIB, cluster, node
from tests.unit.planner.solving import each_engine, placed, solved

Read = Callable[[], list[Document]]

OWN = """
apiVersion: resource.nvidia.com/v1beta1
kind: ComputeDomain
metadata: {name: fabric}
spec: {numNodes: 9, channel: {resourceClaimTemplate: {name: fabric-channel}}}
---
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: wide}
spec:
  components:
  - {name: frontend, type: frontend, podTemplate: {spec: {containers: [{name: main}]}}}
  - name: prefill
    type: prefill
    podTemplate: &wide
      spec:
        containers: [{name: main, args: [--model, deepseek-ai/DeepSeek-R1], resources: {limits: {nvidia.com/gpu: 4}}}]
        resourceClaims: [{name: channel, resourceClaimTemplateName: fabric-channel}]
  - {name: decode, type: decode, multinode: {nodeCount: 8}, podTemplate: *wide}
"""


def _own() -> list[Document]:
    return [Document(body, "wide.yaml") for body in yaml.safe_load_all(OWN)]


def _published() -> list[Document]:
    root = os.environ.get("HUDDLE_DATASETS")
    path = Path(root or "") / "manifests" / "dynamo" / "deepseek-r1-trtllm-wide-ep-gb200.yaml"
    if not root or not path.is_file():
        pytest.skip("the published manifests are not here; HUDDLE_DATASETS names the folder that has them")
    return read_documents([str(path)])


def _site(domains: int, nodes: int) -> Snapshot:
    """NVLink domains of so many four-GPU nodes, in one zone."""
    more = {"ephemeral-storage": 1024 * GIB}
    return cluster(
        *(
            node(f"g{domain}-{at}", 4, 144, memory=960, more=more, zone="z", nvl=f"v{domain}")
            for domain in range(domains)
            for at in range(nodes)
        )
    )


def _gang(documents: Iterable[Document], snapshot: Snapshot, **options: object) -> Gang:
    wish = GangOptions(**options)  # type: ignore[arg-type]
    (gang,) = read_gangs(list(documents), wish, topology_of=lambda name: cluster_topology(snapshot, name)).gangs
    return gang


def _domains(answer: GangPlan) -> dict[str, set[str]]:
    """Role → the NVLink domains its pods lie in."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in answer.assignments:
        found[item.role].add(item.node.partition("-")[0])
    return found


BOTH = pytest.mark.parametrize("documents", [_own, _published], ids=["own", "published"])


@BOTH
@each_engine
def test_all_members_lie_in_one_nvlink_domain(documents: Read, engine: Engine) -> None:
    """On NVLink domains of 18 nodes the nine nodes of the ComputeDomain are in one of them."""
    snapshot = _site(2, 18)
    answer = placed(snapshot, _gang(documents(), snapshot), engine)
    found = _domains(answer)
    assert len(found["prefill"] | found["decode"]) == 1
    assert len({item.node for item in answer.assignments if item.role == "decode"}) == 8


@BOTH
@each_engine
def test_small_domains_cannot_hold_it(documents: Read, engine: Engine) -> None:
    """On three domains of four nodes there is no place, and the reason names rule and level."""
    snapshot = _site(3, 4)
    answer = solved(snapshot, _gang(documents(), snapshot), engine)
    assert answer.status is Status.INFEASIBLE
    (reason,) = answer.reasons
    assert reason.code is ReasonCode.PACK
    assert "in one nvl" in reason.message
    assert "ComputeDomain" in reason.message


@BOTH
@each_engine
def test_a_preferred_domain_keeps_the_engine_together(documents: Read, engine: Engine) -> None:
    """Where the promise is relaxed the engine lies in two domains and prefill in the third."""
    snapshot = _site(3, 4)
    answer = placed(snapshot, _gang(documents(), snapshot, compute_domain="preferred"), engine)
    found = _domains(answer)
    assert len(found["decode"]) == 2
    assert not found["prefill"] & found["decode"]


@each_engine
def test_an_engine_is_kept_together_without_any_rule(engine: Engine) -> None:
    """Without a ComputeDomain the engine of eight nodes still lies in two domains of four, not in three."""
    snapshot = _site(3, 4)
    deployment = [doc for doc in _own() if doc.kind != "ComputeDomain"]
    waiting = _gang(deployment, snapshot, ignore_unsupported=True)  # nobody knows what its claims are for
    found = _domains(placed(snapshot, waiting, engine))
    assert len(found["decode"]) == 2
    assert not found["prefill"] & found["decode"]
