"""What kube-scheduler sends to an extender and expects back: JSON with the capitalised names of its Go types."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from solver.domain.errors import InvalidRequest

Body = Mapping[str, Any]
Json = dict[str, Any]


class Malformed(InvalidRequest):
    """A body that no scheduler sends, in one sentence."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one pod and some nodes (ExtenderArgs).

    names: of the nodes, as sent. nodes: whole Node objects in the same order; None when only names were sent.
    """

    pod: Body
    names: Sequence[str]
    nodes: Sequence[Body] | None


@dataclass(frozen=True, slots=True)
class ToBind:
    """A pod that is to be bound (ExtenderBindingArgs)."""

    namespace: str
    name: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class Victims:
    """Which pods would have to go (ExtenderPreemptionArgs). by_node: their uids, and how many budgets that breaks."""

    pod: Body
    by_node: Mapping[str, tuple[Sequence[str], int]]


def read_asked(data: bytes) -> Asked:
    """The question of filter and prioritize. Raises Malformed."""
    body = _object(data)
    nodes, names = body.get("Nodes"), body.get("NodeNames")
    if isinstance(names, list) and set(map(type, names)) <= {str}:
        return Asked(_pod(body), names, None)
    items = nodes.get("items") if isinstance(nodes, dict) else None
    if nodes is None or not isinstance(items, list | None):
        raise Malformed("neither NodeNames nor Nodes.items is a list")
    try:
        found = [item["metadata"]["name"] for item in items or ()]
    except (KeyError, TypeError) as error:
        raise Malformed("an item of Nodes.items has no metadata.name") from error
    return Asked(_pod(body), found, items or [])


def read_to_bind(data: bytes) -> ToBind:
    """The question of bind. Raises Malformed."""
    body = _object(data)
    fields = [body.get(name) for name in ("PodNamespace", "PodName", "PodUID", "Node")]
    texts = [field for field in fields if isinstance(field, str) and field]
    if len(texts) != len(fields):
        raise Malformed("PodNamespace, PodName, PodUID and Node must be texts, none of them empty")
    return ToBind(*texts)


def read_victims(data: bytes) -> Victims:
    """The question of preempt. Raises Malformed."""
    body = _object(data)
    meta, whole = body.get("NodeNameToMetaVictims"), body.get("NodeNameToVictims")
    given = meta if meta is not None else whole
    if not isinstance(given, dict):
        raise Malformed("neither NodeNameToMetaVictims nor NodeNameToVictims is an object")
    try:
        return Victims(_pod(body), {node: _victims(each or {}, meta is not None) for node, each in given.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("the victims of a node are not given as Pods and NumPDBViolations") from error


def filtered(asked: Asked, passed: Iterable[str], refused: Mapping[str, str]) -> bytes:
    """The answer of filter, in the form of the question. refused: node → why, for good."""
    kept = list(passed)
    answer: Json = {"Nodes": None, "NodeNames": None, "FailedNodes": {}, "FailedAndUnresolvableNodes": refused}
    if asked.nodes is None:
        answer["NodeNames"] = kept
    else:
        wanted = set(kept)
        items = [node for node, name in zip(asked.nodes, asked.names, strict=True) if name in wanted]
        answer["Nodes"] = {"metadata": {}, "items": items}
    return msgspec.json.encode({**answer, "Error": ""})


def scored(scores: Iterable[tuple[str, int]]) -> bytes:
    """The answer of prioritize: node and score, 0 to 10."""
    return msgspec.json.encode([{"Host": name, "Score": score} for name, score in scores])


def bound(problem: str) -> bytes:
    """The answer of bind; empty when the pod is bound."""
    return msgspec.json.encode({"Error": problem})


def victims(by_node: Mapping[str, tuple[Sequence[str], int]]) -> bytes:
    """The answer of preempt, by uid whatever was sent."""
    meta = {
        node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": broken}
        for node, (uids, broken) in by_node.items()
    }
    return msgspec.json.encode({"NodeNameToMetaVictims": meta})


def _object(data: bytes) -> Json:
    try:
        body = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Malformed("the body is no JSON object")
    return body


def _pod(body: Json) -> Body:
    """The pod, of which name, namespace, uid and spec are there."""
    pod = body.get("Pod")
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    if not isinstance(pod, dict) or not isinstance(metadata, dict) or not isinstance(pod.get("spec"), dict):
        raise Malformed("Pod is no object with metadata and spec")
    for field in ("namespace", "name", "uid"):
        if not isinstance(metadata.get(field), str) or not metadata[field]:
            raise Malformed(f"Pod.metadata.{field} is missing")
    return pod


def _victims(given: Body, is_meta: bool) -> tuple[Sequence[str], int]:
    uids = [pod["UID"] if is_meta else pod["metadata"]["uid"] for pod in given.get("Pods") or ()]
    return uids, int(given.get("NumPDBViolations") or 0)
