"""What pods of promises hold, as text of the ledger's file."""

import json
from collections.abc import Sequence
from typing import Any

from solver.domain.constraints import AntiAffinity, Operator, PodSelector, Requirement
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources
from solver.ledger import PromisedPod

#: Position, pod, role, node, shape, seen_on.
PodRow = tuple[int, str, str, str, int, str]


def to_rows(pods: Sequence[PromisedPod]) -> tuple[str, list[PodRow]]:
    """The shapes that occur, as JSON, and one row for each pod."""
    shapes: dict[object, int] = {}
    texts: list[str] = []
    rows: list[PodRow] = []
    for position, pod in enumerate(pods):
        held = pod.holds
        alike = (held.requests, tuple(held.labels.items()), held.anti_affinity, held.queue)
        shape = shapes.setdefault(alike, len(shapes))
        if shape == len(texts):
            texts.append(_shape(held))
        rows.append((position, held.name, pod.role, held.node, shape, pod.seen_on))
    return f"[{','.join(texts)}]", rows


def from_rows(promise_id: str, gang: str, shapes: str, rows: Sequence[PodRow]) -> tuple[PromisedPod, ...]:
    """The pods of a promise."""
    held = [_held(shape) for shape in json.loads(shapes)]
    return tuple(
        PromisedPod(
            BoundPod(pod, node, *held[shape], gang=gang, uid=promised_uid(promise_id, pod)), role=role, seen_on=seen_on
        )
        for _, pod, role, node, shape, seen_on in rows
    )


def promised_uid(promise_id: str, pod: str) -> str:
    """Identity of what is held for a pod; no real pod has one like it."""
    return f"promise/{promise_id}/{pod}"


def _shape(pod: BoundPod) -> str:
    return json.dumps(
        {
            "requests": dict(pod.requests),
            "labels": dict(pod.labels),
            "anti_affinity": [_rule(rule) for rule in pod.anti_affinity],
            "queue": pod.queue,
        },
        sort_keys=True,
    )


def _held(shape: Any) -> tuple[Resources, dict[str, str], tuple[AntiAffinity, ...], str]:
    rules = tuple(_anti_affinity(rule) for rule in shape["anti_affinity"])
    return Resources.of(shape["requests"]), shape["labels"], rules, shape["queue"]


def _rule(rule: AntiAffinity) -> Any:
    return {
        "topology_key": rule.topology_key,
        "namespaces": rule.selector.namespaces,
        "requirements": [[need.key, need.operator.value, need.values] for need in rule.selector.requirements],
    }


def _anti_affinity(rule: Any) -> AntiAffinity:
    needs = tuple(Requirement(key, Operator(operator), tuple(values)) for key, operator, values in rule["requirements"])
    return AntiAffinity(rule["topology_key"], PodSelector(needs, tuple(rule["namespaces"])))
