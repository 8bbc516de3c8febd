"""Bodies that kube-scheduler 1.37 sent on the tests' control plane are understood and answered in kind.

recorded/ has one of each verb, as it came over the wire: with names of nodes (`nodeCacheCapable: true`), and with whole
nodes and victims. The pods in it are those of tests/controlplane/test_extender.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.extender.conftest import Asking
from tests.adapters.extender.test_server import Post, served

RECORDED = Path(__file__).parent / "recorded"
FORMS = ("names", "whole-nodes")


def recorded(name: str) -> bytes:
    """One body."""
    return (RECORDED / f"{name}.json").read_bytes()


def answered(asking: Asking, verb: str, data: bytes) -> Any:
    """What the server says to it."""
    found: list[Any] = []

    async def story(post: Post) -> None:
        status, text = await post(verb, data)
        assert status == 200, text
        found.append(json.loads(text))

    served(asking, story)
    return found[0]


@pytest.mark.parametrize("form", FORMS)
def test_filter(asking: Asking, form: str) -> None:
    """A pod of no gang may go everywhere it was asked about, in the form of the question."""
    body = json.loads(recorded(f"filter-{form}"))
    answer = answered(asking, "filter", recorded(f"filter-{form}"))
    assert (answer["Error"], answer["FailedNodes"], answer["FailedAndUnresolvableNodes"]) == ("", {}, {})
    assert answer["NodeNames"] == body["NodeNames"]
    assert (answer["Nodes"] or {}).get("items") == (body["Nodes"] or {}).get("items")
    assert answer["NodeNames"] or answer["Nodes"]["items"]


@pytest.mark.parametrize("form", FORMS)
def test_prioritize(asking: Asking, form: str) -> None:
    """One score for each node."""
    body = json.loads(recorded(f"prioritize-{form}"))
    names = body["NodeNames"] or [node["metadata"]["name"] for node in body["Nodes"]["items"]]
    answer = answered(asking, "prioritize", recorded(f"prioritize-{form}"))
    assert [each["Host"] for each in answer] == names
    assert all(0 <= each["Score"] <= 10 for each in answer)


@pytest.mark.parametrize("form", FORMS)
def test_preempt(asking: Asking, form: str) -> None:
    """The victims stay as they are, named by uid."""
    body = json.loads(recorded(f"preempt-{form}"))
    given = body["NodeNameToMetaVictims"] or body["NodeNameToVictims"]
    uids = {
        node: [pod.get("UID") or pod["metadata"]["uid"] for pod in victims["Pods"]] for node, victims in given.items()
    }
    answer = answered(asking, "preempt", recorded(f"preempt-{form}"))["NodeNameToMetaVictims"]
    assert {node: [pod["UID"] for pod in victims["Pods"]] for node, victims in answer.items()} == uids
    assert any(uids.values())


def test_bind(asking: Asking) -> None:
    """Nobody here knows that pod any more."""
    body = json.loads(recorded("bind"))
    answer = answered(asking, "bind", recorded("bind"))
    assert answer == {"Error": f"pod {body['PodNamespace']}/{body['PodName']} is gone"}
