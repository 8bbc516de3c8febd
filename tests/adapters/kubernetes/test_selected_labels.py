"""Which label keys selectors name, and for whose pods."""

from typing import Any

import pytest

from adapters.kubernetes.selected_labels import EVERYWHERE, SelectedKeys, named_anywhere, named_keys

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def keeping_away(kind: str = "podAntiAffinity", rule: str = REQUIRED, **term: Any) -> dict[str, Any]:
    """The spec of a pod with one term of affinity."""
    return {"affinity": {kind: {rule: [{"topologyKey": "zone", **term}]}}}


APP = {"matchLabels": {"app": "x"}}


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, set()),
        (keeping_away(labelSelector=APP), {("ns", "app")}),
        (keeping_away("podAffinity", labelSelector=APP), {("ns", "app")}),
        (
            keeping_away(labelSelector={"matchExpressions": [{"key": "rank", "operator": "Exists"}]}),
            {("ns", "rank")},
        ),
        (keeping_away(labelSelector=APP, matchLabelKeys=["hash"]), {("ns", "app"), ("ns", "hash")}),
        (keeping_away(labelSelector=APP, mismatchLabelKeys=["hash"]), {("ns", "app"), ("ns", "hash")}),
        (keeping_away(labelSelector=APP, namespaces=["a", "b"]), {("a", "app"), ("b", "app")}),
        (keeping_away(labelSelector=APP, namespaceSelector={}), {(EVERYWHERE, "app")}),
        (keeping_away(rule="preferredDuringSchedulingIgnoredDuringExecution", podAffinityTerm={}), set()),
        (
            {"topologySpreadConstraints": [{"labelSelector": APP, "matchLabelKeys": ["hash"]}]},
            {("ns", "app"), ("ns", "hash")},
        ),
        ({"topologySpreadConstraints": [{"labelSelector": APP, "whenUnsatisfiable": "ScheduleAnyway"}]}, set()),
    ],
)
def test_hard_rules_name_keys(spec: dict[str, Any], named: set[tuple[str, str]]) -> None:
    """Every hard rule with a selector, by the namespaces whose pods it selects; soft ones change nothing."""
    assert set(named_keys(spec, "ns")) == named


@pytest.mark.parametrize(
    "spec",
    [
        None,
        3,
        {"affinity": 1},
        {"affinity": {"podAntiAffinity": [1]}},
        {"affinity": {"podAntiAffinity": {REQUIRED: {"a": 1}}}},
        {"affinity": {"podAntiAffinity": {REQUIRED: [None, {"labelSelector": 7, "matchLabelKeys": 7}]}}},
        {"topologySpreadConstraints": [{"labelSelector": {"matchExpressions": [{"key": 1}, 2]}}]},
    ],
)
def test_what_is_malformed_names_nothing(spec: Any) -> None:
    """Whoever reads the rule complains about it."""
    assert set(named_keys(spec, "ns")) == set()


def test_templates_are_found_anywhere() -> None:
    """Templates count however deep they stand in an object; parts that several places share are read once."""
    shared = {"spec": keeping_away(labelSelector=APP)}
    body = {"spec": {"replicated": [{"template": {"spec": {"template": shared}}}, shared], "other": {"affinity": 0}}}
    assert list(named_anywhere(body, "ns")) == [("ns", "app")]


def test_keys_are_counted() -> None:
    """A key counts until the last selector that names it is gone, in its namespace or everywhere."""
    keys = SelectedKeys()
    assert keys.of("a") == frozenset()
    keys.add([("a", "app"), ("b", "rank")])
    keys.add([("a", "app"), (EVERYWHERE, "zone")])
    assert keys.of("a") == {"app", "zone"}
    assert keys.of("b") == {"rank", "zone"}
    assert keys.of("c") == {"zone"}
    assert keys.of("a") is keys.of("a")
    keys.remove([("a", "app"), (EVERYWHERE, "zone")])
    assert keys.of("a") == {"app"}
    keys.remove([("a", "app")])
    assert keys.of("a") == frozenset()
    assert keys.of("b") == {"rank"}
