"""JSON Schemas of answers: sound, strict, and kept."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from adapters.report.answers import API_VERSION, AnswerKind, heading, schema_text
from adapters.report.structured import plan_document
from adapters.report.topology_view import topology_document
from solver.domain.plan import Admitted, Batch, GangPlan, Notice, Plan, Sense, TermValue
from solver.domain.snapshot import Snapshot
from support.answers import valid


@pytest.mark.parametrize("kind", list(AnswerKind))
def test_schemas_are_sound_and_strict(kind: AnswerKind) -> None:
    """Each is a JSON Schema, names its kind, and allows no key that it does not list."""
    schema = json.loads(schema_text(kind))
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["apiVersion"] == {"const": API_VERSION}
    assert schema["properties"]["kind"] == {"const": kind.value}
    for part in objects(schema):
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert set(part["required"]) <= set(part["properties"])


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a value."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from objects(child)
    elif isinstance(value, list):
        for child in value:
            yield from objects(child)


def test_plans_are_valid(answer: GangPlan, refusal: GangPlan) -> None:
    """With and without a plan, alone, together, jointly, and none."""
    term = TermValue("replicas", Sense.MAX, answer.objective[0].value, None)
    batch = Batch((Admitted(5, 1, 2, True),), (term,))
    notice = Notice("code", "object", "field", "message")
    for plan in (
        Plan(()),
        Plan((answer,)),
        Plan((refusal,), (notice,)),
        Plan((answer, refusal), batch=batch),
        Plan((replace(answer, handover_ms=170.5, flows=()),)),
    ):
        assert list(valid(plan_document(plan)))[:2] == ["apiVersion", "kind"]


def test_topologies_are_valid(snapshot: Snapshot) -> None:
    """With nodes left out and broken nesting, as of any cluster."""
    assert valid(topology_document(snapshot, [Notice("c", "o", "f", "m")]))["kind"] == "TopologyReport"


def test_what_is_not_in_the_schema_is_caught(answer: GangPlan) -> None:
    """A key more, a key less, a number that is text, a kind that nobody knows."""
    document = plan_document(Plan((answer,)))
    gang = document["gangs"][0]
    for wrong in (
        {**document, "more": 1},
        {key: value for key, value in document.items() if key != "stats"},
        {**document, "gangs": [{**gang, "more": 1}]},
        {**document, "gangs": [{**gang, "handover_ms": "170"}]},
        {**document, "apiVersion": "v1"},
    ):
        with pytest.raises(ValidationError):
            valid(wrong)
    assert heading(AnswerKind.PLAN) == {"apiVersion": API_VERSION, "kind": "Plan"}
