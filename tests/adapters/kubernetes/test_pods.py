"""Shapes of pods: where they may run, how they spread, and what cannot be honoured."""

from typing import Any

import pytest

from adapters.kubernetes.constraints import ANTI_TERMS, NODE_TERMS, repelled_keys
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import Finding, PodShape, pod_shape
from solver.domain.constraints import (
    AntiAffinity,
    NodeSelectorTerm,
    Operator,
    PodSelector,
    Requirement,
    Toleration,
)
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Spread

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def shape(spec: dict[str, Any], **metadata: Any) -> PodShape:
    """Shape of a Pod in namespace `prod`."""
    body = {"kind": "Pod", "metadata": {"name": "p", "namespace": "prod", **metadata}, "spec": spec}
    return pod_shape(Document(body, "in.yaml"), body, "")


def refusal(spec: dict[str, Any], **metadata: Any) -> str:
    """The line a Pod is refused with."""
    with pytest.raises(InvalidRequest) as refused:
        shape(spec, **metadata)
    return str(refused.value)


def anti(**term: Any) -> dict[str, Any]:
    """A spec with one required anti-affinity term on racks."""
    return {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "rack", **term}]}}}


def test_a_plain_pod_has_an_empty_shape() -> None:
    """Nothing asked, nothing found."""
    found = shape({"containers": [{"name": "c"}]}, labels={"app": "a"})
    assert found.requests.items == ()
    assert (found.spread, found.unsupported, found.notices) == ((), (), ())
    assert (found.constraints.namespace, found.constraints.labels) == ("prod", (("app", "a"),))


def test_a_template_takes_the_namespace_of_its_object() -> None:
    """Messages of a template lead into the object that holds it."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"x": 1}}}
    doc = Document({"kind": "Set", "metadata": {"name": "s", "namespace": "ml"}}, "in.yaml")
    with pytest.raises(InvalidRequest) as refused:
        pod_shape(doc, template, "spec.template")
    assert str(refused.value) == "in.yaml: Set ml/s: spec.template.spec.nodeSelector[x]: must be text, not 1"
    assert pod_shape(doc, {"spec": {}}, "spec.template").constraints.namespace == "ml"


def test_selector_affinity_and_tolerations_are_read() -> None:
    """Everything that decides about nodes."""
    found = shape(
        {
            "nodeSelector": {"b": "2", "a": "1"},
            "affinity": {
                "nodeAffinity": {
                    REQUIRED: {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "gpu", "operator": "In", "values": ["h100", "h200"]},
                                    {"key": "old", "operator": "DoesNotExist"},
                                    {"key": "gen", "operator": "Gt", "values": ["4"]},
                                ]
                            },
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
                        ]
                    }
                }
            },
            "tolerations": [
                {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "team", "value": "ml"},
                {"operator": "Exists"},
            ],
        }
    ).constraints
    assert found.selector == (("a", "1"), ("b", "2"))
    assert found.affinity == (
        NodeSelectorTerm(
            (
                Requirement("gpu", Operator.IN, ("h100", "h200")),
                Requirement("old", Operator.DOES_NOT_EXIST),
                Requirement("gen", Operator.GT, ("4",)),
            )
        ),
        NodeSelectorTerm((), (Requirement("metadata.name", Operator.IN, ("n1",)),)),
    )
    assert found.tolerations == (
        Toleration("gpu", "", exists=True, effect="NoSchedule"),
        Toleration("team", "ml"),
        Toleration(exists=True),
    )


@pytest.mark.parametrize(
    ("term", "namespaces"),
    [
        ({}, ("prod",)),
        ({"namespaces": []}, ("prod",)),
        ({"namespaces": ["a", "b"]}, ("a", "b")),
        ({"namespaceSelector": {}}, ()),
        ({"namespaceSelector": {}, "namespaces": ["a"]}, ()),
    ],
)
def test_anti_affinity_namespaces(term: dict[str, Any], namespaces: tuple[str, ...]) -> None:
    """Named namespaces, else the pod's own; an empty selector is every namespace."""
    found = shape(anti(labelSelector={"matchLabels": {"app": "x"}}, **term))
    selector = PodSelector((Requirement("app", Operator.IN, ("x",)),), namespaces)
    assert found.constraints.anti_affinity == (AntiAffinity("rack", selector),)
    assert (found.spread, found.unsupported) == ((), ())


def test_anti_affinity_without_selector_selects_nothing() -> None:
    """As in Kubernetes: no selector is no pod, an empty one is every pod."""
    assert shape(anti()).constraints.anti_affinity == ()
    assert shape(anti(labelSelector={})).constraints.anti_affinity == (
        AntiAffinity("rack", PodSelector((), ("prod",))),
    )


@pytest.mark.parametrize(
    ("labels", "term", "spread"),
    [
        ({"app": "x"}, {}, (Spread("rack", 1),)),
        ({"app": "y"}, {}, ()),
        ({"app": "x"}, {"namespaces": ["other"]}, ()),
        ({"app": "x"}, {"namespaceSelector": {}}, (Spread("rack", 1),)),
    ],
)
def test_pods_that_repel_their_own_kind_spread(
    labels: dict[str, str], term: dict[str, Any], spread: tuple[Spread, ...]
) -> None:
    """A selector that matches the pod itself allows one of its kind per domain."""
    found = shape(anti(labelSelector={"matchLabels": {"app": "x"}}, **term), labels=labels)
    assert found.spread == spread


def test_two_terms_on_one_key_spread_once() -> None:
    """The same rule is not said twice."""
    term = {"topologyKey": "rack", "labelSelector": {}}
    assert shape({"affinity": {"podAntiAffinity": {REQUIRED: [term, term]}}}).spread == (Spread("rack", 1),)


def test_repelled_keys_tell_which_roles_keep_apart() -> None:
    """Anti-affinity from one role to another, in the direction it is declared."""
    one = shape(anti(labelSelector={"matchLabels": {"role": "decode"}}), labels={"role": "prefill"}).constraints
    other = shape({}, labels={"role": "decode"}).constraints
    assert repelled_keys(one, other) == ("rack",)
    assert repelled_keys(other, one) == ()


HARD = "a hard topology spread constraint is not supported"
PORT = "a port of the host is not supported"


@pytest.mark.parametrize(
    ("spec", "field", "problem"),
    [
        (
            {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "zone"}]}}},
            f"spec.affinity.podAffinity.{REQUIRED}",
            "required pod affinity is not supported",
        ),
        (
            {"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]},
            "spec.topologySpreadConstraints[0]",
            HARD,
        ),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "spec.topologySpreadConstraints[0]", HARD),
        ({"containers": [{"ports": [{}, {"hostPort": 80}]}]}, "spec.containers[0].ports[1]", PORT),
        ({"initContainers": [{"ports": [{"hostPort": 80}]}]}, "spec.initContainers[0].ports[0]", PORT),
        (
            {"hostNetwork": True, "containers": [{"ports": [{"containerPort": 80}]}]},
            "spec.containers[0].ports[0]",
            PORT,
        ),
        (
            anti(labelSelector={}, namespaceSelector={"matchLabels": {"a": "b"}}),
            f"{ANTI_TERMS}[0].namespaceSelector",
            "namespaceSelector in pod anti-affinity is not supported",
        ),
        (
            anti(labelSelector={}, matchLabelKeys=["a"]),
            f"{ANTI_TERMS}[0].matchLabelKeys",
            "matchLabelKeys in pod anti-affinity is not supported",
        ),
        (
            anti(labelSelector={}, mismatchLabelKeys=["a"]),
            f"{ANTI_TERMS}[0].mismatchLabelKeys",
            "mismatchLabelKeys in pod anti-affinity is not supported",
        ),
        (
            {"tolerations": [{"key": "sla", "operator": "Gt", "value": "9"}]},
            "spec.tolerations[0].operator",
            "a toleration with Gt is not supported",
        ),
    ],
)
def test_hard_constraints_that_cannot_be_honoured_are_found(spec: dict[str, Any], field: str, problem: str) -> None:
    """Each is reported where it stands."""
    assert shape(spec).unsupported == (Finding(field, problem),)


@pytest.mark.parametrize(
    "spec",
    [
        {"hostNetwork": True, "containers": [{"ports": None}]},
        {"containers": [{"ports": [{"containerPort": 80, "hostPort": 0}]}]},
        {"affinity": {"podAffinity": {REQUIRED: []}}},
        {"volumes": [{"name": "tmp", "emptyDir": {}}]},
    ],
)
def test_harmless_fields_are_no_findings(spec: dict[str, Any]) -> None:
    """Empty lists, plain ports and local volumes bind nothing."""
    found = shape(spec)
    assert (found.unsupported, found.notices) == ((), ())


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        (
            {"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 1}]}}},
            "unsupported_soft",
            f"spec.affinity.nodeAffinity.{PREFERRED}",
        ),
        (
            {"affinity": {"podAffinity": {PREFERRED: [{"weight": 1}]}}},
            "unsupported_soft",
            f"spec.affinity.podAffinity.{PREFERRED}",
        ),
        (
            {"affinity": {"podAntiAffinity": {PREFERRED: [{"weight": 1}]}}},
            "unsupported_soft",
            f"spec.affinity.podAntiAffinity.{PREFERRED}",
        ),
        (
            {"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]},
            "unsupported_soft",
            "spec.topologySpreadConstraints[0]",
        ),
    ],
)
def test_wishes_that_are_not_considered_are_noticed(spec: dict[str, Any], code: str, field: str) -> None:
    """Soft constraints never stop a plan, and are never passed over in silence."""
    found = shape(spec)
    assert found.unsupported == ()
    assert [(notice.code, notice.object, notice.field) for notice in found.notices] == [(code, "Pod prod/p", field)]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("gpu-fraction", "GPU fractions are not supported yet"),
        ("gpu-memory", "GPU fractions are not supported yet"),
        ("gpu-fraction-num-devices", "GPU fractions are not supported yet"),
        ("nvidia.com/mig-profile", "GPU fractions (MIG annotations) are not supported yet"),
        ("run.ai/mig-1g.5gb", "GPU fractions (MIG annotations) are not supported yet"),
        ("MIG", "GPU fractions (MIG annotations) are not supported yet"),
    ],
)
def test_parts_of_a_gpu_are_refused(key: str, problem: str) -> None:
    """Planning a fraction as if it were a whole GPU would be wrong, so nothing is planned."""
    assert refusal({}, annotations={key: "0.5"}) == f"in.yaml: Pod prod/p: metadata.annotations[{key}]: {problem}"


@pytest.mark.parametrize("key", ["example.com/migration", "migrate", "gpu-fraction-container-name", "amigo"])
def test_other_annotations_are_no_fractions(key: str) -> None:
    """Words that merely contain the letters are harmless."""
    assert shape({}, annotations={key: "x"}).unsupported == ()


TERM = f"{NODE_TERMS}.nodeSelectorTerms[0]"


def node_term(**term: Any) -> dict[str, Any]:
    """A spec with one required node affinity term."""
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            node_term(matchExpressions=[{"key": "a", "operator": "in", "values": ["b"]}]),
            f"{TERM}.matchExpressions[0].operator: must be one of In, NotIn, Exists, DoesNotExist, Gt, Lt, not 'in'",
        ),
        (
            node_term(matchExpressions=[{"key": "a", "operator": "In"}]),
            f"{TERM}.matchExpressions[0].values: must not be empty with In",
        ),
        (
            node_term(matchExpressions=[{"key": "a", "operator": "Exists", "values": ["b"]}]),
            f"{TERM}.matchExpressions[0].values: must be empty with Exists",
        ),
        (
            node_term(matchExpressions=[{"key": "a", "operator": "Gt", "values": ["many"]}]),
            f"{TERM}.matchExpressions[0].values: must be one whole number with Gt",
        ),
        (
            node_term(matchExpressions=[{"operator": "Exists"}]),
            f"{TERM}.matchExpressions[0].key: is missing",
        ),
        (
            node_term(matchFields=[{"key": "metadata.uid", "operator": "In", "values": ["b"]}]),
            f"{TERM}.matchFields[0].key: must be metadata.name",
        ),
        (
            node_term(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]),
            f"{TERM}.matchFields[0].values: must hold one node name",
        ),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}},
            f"{NODE_TERMS}.nodeSelectorTerms: must not be empty",
        ),
        ({"affinity": []}, "spec.affinity: must be a mapping, not a list"),
        ({"nodeSelector": ["a"]}, "spec.nodeSelector: must be a mapping, not a list"),
        (
            {"tolerations": [{"key": "a", "operator": "Maybe"}]},
            "spec.tolerations[0].operator: must be one of Equal, Exists, not 'Maybe'",
        ),
        ({"tolerations": [{"value": "a"}]}, "spec.tolerations[0].operator: must be Exists when key is empty"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "spec.tolerations[0].value: must be empty with Exists",
        ),
        (
            {"tolerations": [{"key": "a", "effect": "Never"}]},
            "spec.tolerations[0].effect: must be one of NoSchedule, NoExecute, PreferNoSchedule, not 'Never'",
        ),
        (
            {"affinity": {"podAntiAffinity": {REQUIRED: [{"labelSelector": {}}]}}},
            f"{ANTI_TERMS}[0].topologyKey: is missing",
        ),
        (
            anti(labelSelector={"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            f"{ANTI_TERMS}[0].labelSelector.matchExpressions[0].operator: "
            "must be one of In, NotIn, Exists, DoesNotExist, not 'Gt'",
        ),
        ({"hostNetwork": "yes"}, "spec.hostNetwork: must be true or false, not 'yes'"),
        (
            {"containers": [{"ports": [{"hostPort": "http"}]}]},
            "spec.containers[0].ports[0].hostPort: must be a whole number, not 'http'",
        ),
    ],
)
def test_malformed_constraints_are_refused(spec: dict[str, Any], line: str) -> None:
    """One line says where and what."""
    assert refusal(spec) == f"in.yaml: Pod prod/p: {line}"
