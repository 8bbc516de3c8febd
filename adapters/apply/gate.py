"""The hand that pins a gated pod to its node and takes Huddle's gate off, in one patch; any scheduler then binds it."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.kubernetes.gang_keys import GATE

__all__ = ["GATE", "gates", "pinned_node", "release_patch"]

Body = Mapping[str, Any]
Operation = dict[str, Any]

_FIELD = "metadata.name"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def gates(pod: Body) -> tuple[str, ...]:
    """Names of the gates that hold a pod back."""
    return tuple(gate["name"] for gate in pod["spec"].get("schedulingGates") or ())


def pinned_node(pod: Body) -> str:
    """The one node that every term of the pod's required node affinity names, or empty."""
    terms = [term for term in _terms(pod) if not _is_empty(term)]
    found = {frozenset(_named(term)) for term in terms}
    names = next(iter(found)) if len(found) == 1 else frozenset()
    return next(iter(names)) if len(names) == 1 else ""


def release_patch(pod: Body, node: str) -> list[Operation]:
    """The JSON patch that lets a gated pod go to `node` and nowhere else; exactly this pod as it was seen here.

    Whatever its affinity asks for stays, and so do the gates of others. A term that selects no node stays like that.
    """
    held = [dict(gate) for gate in pod["spec"]["schedulingGates"]]
    at = [gate["name"] for gate in held].index(GATE)
    metadata = pod["metadata"]
    return [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "test", "path": "/spec/schedulingGates", "value": held},
        *_pin(pod, node),
        {"op": "remove", "path": f"/spec/schedulingGates/{at}"},
    ]


def _pin(pod: Body, node: str) -> list[Operation]:
    """Operations that add the node to every term, and what has to be around it."""
    field = {"key": _FIELD, "operator": "In", "values": [node]}
    path, here = "/spec", pod["spec"]
    around = ("affinity", "nodeAffinity", _REQUIRED)
    for at, key in enumerate(around):
        path = f"{path}/{key}"
        if not here.get(key):
            value: Any = {"nodeSelectorTerms": [{"matchFields": [field]}]}
            for inner in reversed(around[at + 1 :]):
                value = {inner: value}
            return [{"op": "add", "path": path, "value": value}]
        here = here[key]
    return [
        {"op": "add", "path": f"{path}/nodeSelectorTerms/{at}/matchFields/-", "value": field}
        if term.get("matchFields")
        else {"op": "add", "path": f"{path}/nodeSelectorTerms/{at}/matchFields", "value": [field]}
        for at, term in enumerate(here["nodeSelectorTerms"])
        if not _is_empty(term)
    ]


def _terms(pod: Body) -> Sequence[Body]:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()


def _is_empty(term: Body) -> bool:
    """Whether the term selects no node at all."""
    return not term.get("matchExpressions") and not term.get("matchFields")


def _named(term: Body) -> set[str]:
    """Nodes that the fields of a term leave; empty also where they leave all."""
    lists = [
        set(field.get("values") or ())
        for field in term.get("matchFields") or ()
        if field.get("key") == _FIELD and field.get("operator") == "In"
    ]
    return set.intersection(*lists) if lists else set()
