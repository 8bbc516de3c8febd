"""The patch that pins a pod and takes Huddle's gate off, for every shape of affinity a pod may have."""

import copy
from typing import Any

import pytest

from adapters.apply.gate import gates, pinned_node, release_patch
from support.controlplane.fleet import GATE, gpu_pod
from support.json_patches import json_patched

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
PIN = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
GPU = {"key": "gpu", "operator": "In", "values": ["h100"]}
ZONE = {"key": "zone", "operator": "Exists"}
OTHER = {"key": "metadata.name", "operator": "NotIn", "values": ["n7"]}


def pod(affinity: Any = None, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """A gated pod as the API server has it."""
    body = gpu_pod("p", gated=True)
    body["metadata"] |= {"uid": "u", "resourceVersion": "5", "namespace": "ns"}
    body["spec"]["schedulingGates"] = [*({"name": name} for name in others), {"name": GATE}]
    if affinity is not None:
        body["spec"]["affinity"] = affinity
    return body


def required(*terms: Any) -> Any:
    """Required node affinity."""
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, required({"matchFields": [PIN]})),
        ({}, required({"matchFields": [PIN]})),
        (
            {"podAntiAffinity": {PREFERRED: []}},
            {"podAntiAffinity": {PREFERRED: []}, **required({"matchFields": [PIN]})},
        ),
        ({"nodeAffinity": {}}, required({"matchFields": [PIN]})),
        (
            {"nodeAffinity": {PREFERRED: [{"weight": 1}]}},
            {"nodeAffinity": {PREFERRED: [{"weight": 1}], **required({"matchFields": [PIN]})["nodeAffinity"]}},
        ),
        (
            required({"matchExpressions": [GPU]}, {"matchExpressions": [ZONE], "matchFields": [OTHER]}),
            required(
                {"matchExpressions": [GPU], "matchFields": [PIN]},
                {"matchExpressions": [ZONE], "matchFields": [OTHER, PIN]},
            ),
        ),
        (required({}, {"matchExpressions": [GPU]}), required({}, {"matchExpressions": [GPU], "matchFields": [PIN]})),
    ],
    ids=["none", "empty", "of pods", "of nodes but empty", "preferred", "several terms", "a term that selects nothing"],
)
def test_every_term_is_pinned_and_nothing_else_changes(before: Any, after: Any) -> None:
    """The pod is pinned to the node, in every term that selects any."""
    body = pod(before)
    seen = copy.deepcopy(body)
    patched = json_patched(body, release_patch(body, "n1"))
    assert body == seen
    assert patched["spec"].pop("affinity") == after
    seen["spec"].pop("affinity", None)
    seen["spec"]["schedulingGates"] = []
    assert patched == seen
    assert pinned_node({**patched, "spec": {**patched["spec"], "affinity": after}}) == "n1"


def test_gates_of_others_stay() -> None:
    """In their order."""
    body = pod(None, ("first", "second"))
    patched = json_patched(body, release_patch(body, "n1"))
    assert gates(patched) == ("first", "second")


@pytest.mark.parametrize("part", ["uid", "resourceVersion", "schedulingGates"])
def test_another_pod_is_not_touched(part: str) -> None:
    """Its uid, its version or its gates are not those that were seen."""
    body = pod()
    patch, other = release_patch(body, "n1"), copy.deepcopy(body)
    if part == "schedulingGates":
        other["spec"][part] = [{"name": "new"}, {"name": GATE}]
    else:
        other["metadata"][part] = "other"
    with pytest.raises(AssertionError, match=part):
        json_patched(other, patch)


@pytest.mark.parametrize(
    "affinity",
    [
        None,
        required({"matchExpressions": [GPU]}),
        required({"matchFields": [PIN]}, {"matchExpressions": [GPU]}),
        required({"matchFields": [PIN]}, {"matchFields": [{**PIN, "values": ["n2"]}]}),
        required({"matchFields": [OTHER]}),
        required({}),
        required({"matchFields": [PIN, {**PIN, "values": ["n2"]}]}),
    ],
)
def test_a_pod_that_more_or_fewer_nodes_would_take_is_not_pinned(affinity: Any) -> None:
    """Only one and the same node in every term is a pin."""
    assert pinned_node(pod(affinity)) == ""
