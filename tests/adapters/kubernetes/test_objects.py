"""Getters of Kubernetes objects: what they return and the one line they refuse with."""

from collections.abc import Callable
from typing import Any

import pytest

from adapters.kubernetes.objects import Document, shown
from solver.domain.errors import InvalidRequest


def pod(spec: dict[str, Any], **metadata: Any) -> Document:
    """A pod called `p` from `in.yaml`."""
    return Document({"kind": "Pod", "metadata": {"name": "p", **metadata}, "spec": spec}, "in.yaml")


def test_identity_of_a_namespaced_object() -> None:
    """Name, namespace and uid come from metadata; group and kind from the head."""
    doc = Document({"apiVersion": "a.io/v1", "kind": "K", "metadata": {"name": "n", "namespace": "s", "uid": "u"}}, "f")
    assert (doc.name, doc.namespace, doc.full_name, doc.uid) == ("n", "s", "s/n", "u")
    assert (doc.kind, doc.api_version, doc.api_group, doc.described) == ("K", "a.io/v1", "a.io", "K s/n")


def test_missing_identity_has_defaults() -> None:
    """Without a namespace an object is in `default`; a core object has no group."""
    doc = Document({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n"}}, "f")
    assert (doc.full_name, doc.uid, doc.api_group) == ("default/n", "", "")


def test_cluster_scoped_objects_are_called_by_their_name() -> None:
    """Nodes and their like have no namespace in messages."""
    doc = Document({"kind": "Node", "metadata": {"name": "n1"}}, "f.yaml")
    assert str(doc.refuse("spec.taints", "must be a list")) == "f.yaml: Node n1: spec.taints: must be a list"


def test_a_refusal_is_one_line() -> None:
    """Line breaks and control characters in the input are shown escaped."""
    doc = Document({"kind": "Pod", "metadata": {"name": "a\nb"}}, "f\x1b[0m")
    assert str(doc.refuse("x\ty", "bad\r\n")) == "f\\x1b[0m: Pod default/a\\nb: x\\ty: bad\\r\\n"


def test_labels_and_annotations_read_null_as_empty() -> None:
    """A null value is the empty text that Kubernetes makes of it."""
    doc = pod({}, labels={"a": None, "b": "c"}, annotations=None)
    assert doc.labels == {"a": "", "b": "c"}
    assert doc.annotations == {}


def test_parts_carry_their_path() -> None:
    """What is refused inside a list names the whole path."""
    inner = pod({"a": [{"b": {"c": [{"d": 1}]}}]}).parts("spec.a")[0].parts("b.c")[0]
    assert inner.at == "spec.a[0].b.c[0]"
    with pytest.raises(InvalidRequest) as refused:
        inner.text("d")
    assert str(refused.value) == "in.yaml: Pod default/p: spec.a[0].b.c[0].d: must be text, not 1"


@pytest.mark.parametrize("value", [3, 3.0])
def test_whole_numbers_may_be_written_with_a_point(value: object) -> None:
    """3 and 3.0 are the same whole number."""
    assert pod({"n": value}).whole("spec.n") == 3


def test_text_counts_as_a_number_only_where_asked() -> None:
    """Dynamo writes GPU counts in quotes; others must not."""
    assert pod({"n": "8"}).whole("spec.n", allow_text=True) == 8


def test_null_is_absent() -> None:
    """A null field takes the default, as in Kubernetes."""
    doc = pod({"n": None})
    assert doc.whole("spec.n", None) is None
    assert doc.text("spec.n", "x") == "x"
    assert doc.items("spec.n") == []
    assert doc.mapping("spec.n.deeper") == {}
    assert doc.part("spec.n").body == {}
    assert not doc.has("spec.n")


Getter = Callable[[Document], object]


@pytest.mark.parametrize(
    ("value", "get", "problem"),
    [
        (True, lambda d: d.whole("spec.n"), "must be a whole number, not true"),
        (1.5, lambda d: d.whole("spec.n"), "must be a whole number, not 1.5"),
        (float("nan"), lambda d: d.whole("spec.n"), "must be a whole number, not nan"),
        (float("inf"), lambda d: d.whole("spec.n"), "must be a whole number, not inf"),
        (1e30, lambda d: d.whole("spec.n"), "must be a whole number, not 1e+30"),
        (10**50, lambda d: d.whole("spec.n"), "a huge number is out of range (0 to 2147483647)"),
        ("8", lambda d: d.whole("spec.n"), "must be a whole number, not '8'"),
        ("x", lambda d: d.whole("spec.n", allow_text=True), "must be a whole number, not 'x'"),
        ("9" * 30, lambda d: d.whole("spec.n", allow_text=True), f"must be a whole number, not '{'9' * 30}'"),
        (-1, lambda d: d.whole("spec.n"), "-1 is out of range (0 to 2147483647)"),
        (7, lambda d: d.whole("spec.n", minimum=1, maximum=6), "7 is out of range (1 to 6)"),
        ([], lambda d: d.whole("spec.n"), "must be a whole number, not a list"),
        (None, lambda d: d.whole("spec.n"), "is missing"),
        ("1", lambda d: d.number("spec.n"), "must be a number, not '1'"),
        (False, lambda d: d.number("spec.n"), "must be a number, not false"),
        (float("nan"), lambda d: d.number("spec.n"), "nan is out of range (0 to 1e+15)"),
        (10**400, lambda d: d.number("spec.n"), "a huge number is out of range (0 to 1e+15)"),
        (None, lambda d: d.number("spec.n"), "is missing"),
        ("yes", lambda d: d.flag("spec.n"), "must be true or false, not 'yes'"),
        (1, lambda d: d.flag("spec.n"), "must be true or false, not 1"),
        ("", lambda d: d.text("spec.n"), "must not be empty"),
        ({}, lambda d: d.text("spec.n"), "must be text, not a mapping"),
        ([], lambda d: d.mapping("spec.n"), "must be a mapping, not a list"),
        ({}, lambda d: d.items("spec.n"), "must be a list, not a mapping"),
        ("a", lambda d: d.parts("spec.n"), "must be a list, not 'a'"),
    ],
)
def test_wrong_values_are_refused(value: object, get: Getter, problem: str) -> None:
    """Each getter says what it wants and what it found."""
    with pytest.raises(InvalidRequest) as refused:
        get(pod({"n": value}))
    assert str(refused.value) == f"in.yaml: Pod default/p: spec.n: {problem}"


@pytest.mark.parametrize(
    ("value", "get", "line"),
    [
        ([1], lambda d: d.parts("spec.n"), "spec.n[0]: must be a mapping, not 1"),
        ([1], lambda d: d.words("spec.n"), "spec.n[0]: must be text, not 1"),
        ({"k.io/x": 1}, lambda d: d.texts("spec.n"), "spec.n[k.io/x]: must be text, not 1"),
        ("a", lambda d: d.find("spec.n.m"), "spec.n: must be a mapping, not 'a'"),
    ],
)
def test_wrong_values_inside_are_refused_where_they_are(value: object, get: Getter, line: str) -> None:
    """The path leads to the entry that is wrong."""
    with pytest.raises(InvalidRequest) as refused:
        get(pod({"n": value}))
    assert str(refused.value) == f"in.yaml: Pod default/p: {line}"


def test_long_values_are_quoted_short() -> None:
    """A message never carries a whole document."""
    assert len(shown("x" * 10_000)) < 65
