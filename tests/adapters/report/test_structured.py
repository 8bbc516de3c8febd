"""The JSON contract of a plan."""

import json
from dataclasses import replace
from fractions import Fraction

import yaml

from adapters.report.structured import as_json, as_yaml, plan_document, total_stats
from solver.domain.plan import Admitted, Batch, GangPlan, Notice, Plan, Proof, Sense, Stats, Status, TermValue

GANG_KEYS = [
    "name", "status", "warnings", "assignments", "running", "objective", "domains", "flows",
    "handover_ms", "ttft", "reasons", "relaxations", "evictions", "evicted_pods", "moves",
]  # fmt: skip
STATS_KEYS = [
    "nodes", "classes", "signatures", "compile_ms", "bound_ms", "search_ms", "verify_ms", "engine", "proof",
    "domains_recomputed", "widened",
]  # fmt: skip


def test_every_key_is_present_with_or_without_a_plan(answer: GangPlan, refusal: GangPlan) -> None:
    """A reader never has to ask whether a key exists."""
    document = plan_document(Plan((answer, refusal)))
    assert list(document) == ["apiVersion", "kind", "status", "warnings", "gangs", "stats"]
    assert [list(gang) for gang in document["gangs"]] == [GANG_KEYS, GANG_KEYS]
    assert list(document["stats"]) == STATS_KEYS
    assert document["status"] == "infeasible"


def test_values_follow_the_contract(answer: GangPlan) -> None:
    """Pods are sorted naturally, whole numbers are ints, unproven bounds null."""
    gang = plan_document(Plan((answer,)))["gangs"][0]
    assert [item["pod"] for item in gang["assignments"]] == [
        "prod/decode-0", "prod/decode-1", "prod/prefill-0", "prod/router-0",
    ]  # fmt: skip
    assert gang["assignments"][2] == {
        "pod": "prod/prefill-0", "role": "prefill", "node": "n1", "gpu_devices": [0, 1],
    }  # fmt: skip
    assert gang["objective"][1] == {"term": "transfer_us", "sense": "min", "value": 12.5, "bound": 12.5}
    assert gang["objective"][3] == {"term": "fragmentation", "sense": "min", "value": 7, "bound": None}
    assert isinstance(gang["objective"][0]["value"], int)
    assert gang["flows"] == [
        {"from": "prefill", "to": "decode", "tier_share": {"zone": 0.5, "rack": 0.5}, "transfer_us": 12.5}
    ]
    assert gang["domains"] == {"zone": 1, "rack": 2, "host": 3}
    assert gang["warnings"][0]["code"] == "model_assumed"


def test_a_hand_over_is_told_beside_the_flows(answer: GangPlan) -> None:
    """What the connector takes is a number of its own, null where nobody says."""
    assert plan_document(Plan((answer,)))["gangs"][0]["handover_ms"] is None
    assert plan_document(Plan((replace(answer, handover_ms=170.0),)))["gangs"][0]["handover_ms"] == 170


def test_ttft_is_said_not_to_be_modelled_beside_flows(answer: GangPlan) -> None:
    """Transfer times are no promise about the first token; without flows there is nothing to say."""
    assert plan_document(Plan((answer,)))["gangs"][0]["ttft"] == "not modelled"
    assert plan_document(Plan((replace(answer, flows=()),)))["gangs"][0]["ttft"] is None


def test_without_a_plan_only_reasons_are_filled(refusal: GangPlan) -> None:
    """Reasons are sorted by code; everything a plan would fill is empty."""
    gang = plan_document(Plan((refusal,)))["gangs"][0]
    assert [reason["code"] for reason in gang["reasons"]] == ["eligible", "pack"]
    assert gang["reasons"][1]["numbers"] == {"needed": 16}
    assert (gang["assignments"], gang["objective"], gang["flows"], gang["domains"]) == ([], [], [], {})


def test_json_and_yaml_say_the_same(answer: GangPlan) -> None:
    """Both texts read back to one document."""
    document = plan_document(Plan((answer,), (Notice("code", "object", "field", "ü: a #text"),)))
    assert json.loads(as_json(document)) == yaml.safe_load(as_yaml(document)) == document


def test_total_stats_sum_times_and_keep_the_weakest_proof() -> None:
    """Sizes are the largest of any gang, times add up."""
    both = Stats(8, 2, 3, 1.0, 2.0, 3.0, 0.5, "auto", Proof.BOTH)
    none = Stats(8, 5, 1, 1.0, 0.5, 7.0, 0.5, "auto", Proof.NONE)
    assert total_stats([both, none]) == Stats(8, 5, 3, 2.0, 2.5, 10.0, 1.0, "auto", Proof.NONE)
    assert total_stats([]) == Stats()


def test_an_empty_plan_is_a_document_too() -> None:
    """No gangs: optimal and empty."""
    document = plan_document(Plan(()))
    assert document["status"] == Status.OPTIMAL.value
    assert document["gangs"] == []


def test_a_batch_states_its_worth(answer: GangPlan) -> None:
    """Classes in the order given, terms as those of a gang; the key is there for a joint plan only."""
    terms = (TermValue("transfer_us", Sense.MIN, Fraction(5, 2), Fraction(2)),)
    batch = Batch((Admitted(5, 1, 2, waited=True), Admitted(5, 0, 0)), terms)
    document = plan_document(Plan((answer,), batch=batch))
    assert list(document)[2:] == ["status", "warnings", "gangs", "batch", "stats"]
    assert document["batch"] == {
        "admitted": [
            {"priority": 5, "waited": True, "value": 1, "bound": 2},
            {"priority": 5, "waited": False, "value": 0, "bound": 0},
        ],
        "objective": [{"term": "transfer_us", "sense": "min", "value": 2.5, "bound": 2}],
    }
