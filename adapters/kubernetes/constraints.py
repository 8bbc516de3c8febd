"""Which nodes a pod may use, read from its `spec`."""

import re
from collections.abc import Mapping

from adapters.kubernetes.objects import Fields, shown
from solver.domain.constraints import (
    NO_EXECUTE,
    NO_SCHEDULE,
    PREFER_NO_SCHEDULE,
    AntiAffinity,
    NodeConstraints,
    NodeSelectorTerm,
    Operator,
    PodSelector,
    Requirement,
    Taint,
    Toleration,
)

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NODE_TERMS = f"spec.affinity.nodeAffinity.{REQUIRED}"
ANTI_TERMS = f"spec.affinity.podAntiAffinity.{REQUIRED}"
_EFFECTS = (NO_SCHEDULE, NO_EXECUTE, PREFER_NO_SCHEDULE)
_LABEL_OPERATORS = (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)
_WHOLE = re.compile(r"-?[0-9]{1,19}")


def node_constraints(pod: Fields, namespace: str, labels: Mapping[str, str]) -> NodeConstraints:
    """Selector, required node affinity, tolerations and required anti-affinity of a pod, from its `spec`.

    namespace, labels: the pod's own. Tolerations that compare numbers are left out. Raises InvalidRequest for
    malformed ones.
    """
    return NodeConstraints(
        selector=tuple(sorted(pod.texts("spec.nodeSelector").items())),
        affinity=_node_affinity(pod),
        tolerations=tuple(
            _toleration(entry)
            for entry in pod.parts("spec.tolerations")
            if entry.text("operator", "") not in ("Gt", "Lt")
        ),
        anti_affinity=anti_affinity(pod, namespace),
        namespace=namespace,
        labels=tuple(sorted(labels.items())),
    )


def anti_affinity(pod: Fields, namespace: str) -> tuple[AntiAffinity, ...]:
    """Required pod anti-affinity of a pod in `namespace`.

    What cannot be evaluated is read in the wider sense: a namespaceSelector means every namespace,
    matchLabelKeys and mismatchLabelKeys restrict nothing. A term without
    labelSelector selects no pod and is dropped.
    """
    return tuple(
        AntiAffinity(term.text("topologyKey"), _pod_selector(term, namespace))
        for term in pod.parts(ANTI_TERMS)
        if term.has("labelSelector")
    )


def repelled_keys(one: NodeConstraints, other: NodeConstraints) -> tuple[str, ...]:
    """Node labels in whose domains pods with constraints `one` tolerate no pod with constraints `other`."""
    labels = dict(other.labels)
    keys = [term.topology_key for term in one.anti_affinity if term.selector.matches(other.namespace, labels)]
    return tuple(dict.fromkeys(keys))


def taint(entry: Fields) -> Taint:
    """One entry of a node's `spec.taints`."""
    return Taint(entry.text("key"), entry.text("value", ""), _effect(entry, required=True))


def label_requirements(selector: Fields) -> tuple[Requirement, ...]:
    """A label selector's matchLabels and matchExpressions; empty selects everything."""
    exact = [Requirement(key, Operator.IN, (value,)) for key, value in sorted(selector.texts("matchLabels").items())]
    expressions = [_requirement(entry, _LABEL_OPERATORS) for entry in selector.parts("matchExpressions")]
    return (*exact, *expressions)


def _pod_selector(term: Fields, namespace: str) -> PodSelector:
    requirements = label_requirements(term.part("labelSelector"))
    if term.has("namespaceSelector"):
        return PodSelector(requirements)
    return PodSelector(requirements, term.words("namespaces") or (namespace,))


def _node_affinity(pod: Fields) -> tuple[NodeSelectorTerm, ...]:
    if not pod.has(NODE_TERMS):
        return ()
    terms = node_terms(pod, f"{NODE_TERMS}.nodeSelectorTerms")
    if not terms:
        raise pod.refuse(f"{NODE_TERMS}.nodeSelectorTerms", "must not be empty")
    return terms


def node_terms(fields: Fields, path: str) -> tuple[NodeSelectorTerm, ...]:
    """The `nodeSelectorTerms` at a path. Raises InvalidRequest for malformed ones."""
    return tuple(
        NodeSelectorTerm(
            tuple(_requirement(entry, tuple(Operator)) for entry in term.parts("matchExpressions")),
            tuple(_name_requirement(entry) for entry in term.parts("matchFields")),
        )
        for term in fields.parts(path)
    )


def _name_requirement(entry: Fields) -> Requirement:
    if entry.text("key") != "metadata.name":
        raise entry.refuse("key", "must be metadata.name")
    found = _requirement(entry, (Operator.IN, Operator.NOT_IN))
    if len(found.values) != 1:
        raise entry.refuse("values", "must hold one node name")
    return found


def _requirement(entry: Fields, allowed: tuple[Operator, ...]) -> Requirement:
    key, word, values = entry.text("key"), entry.text("operator"), entry.words("values")
    if word not in allowed:
        known = ", ".join(allowed)
        raise entry.refuse("operator", f"must be one of {known}, not {shown(word)}")
    operator = Operator(word)
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        raise entry.refuse("values", f"must not be empty with {operator}")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        raise entry.refuse("values", f"must be empty with {operator}")
    if operator in (Operator.GT, Operator.LT) and not (len(values) == 1 and _WHOLE.fullmatch(values[0])):
        raise entry.refuse("values", f"must be one whole number with {operator}")
    return Requirement(key, operator, values)


def _toleration(entry: Fields) -> Toleration:
    key, value = entry.text("key", ""), entry.text("value", "")
    operator = entry.text("operator", "") or "Equal"
    if operator not in ("Equal", "Exists"):
        raise entry.refuse("operator", f"must be one of Equal, Exists, not {shown(operator)}")
    exists = operator == "Exists"
    if not key and not exists:
        raise entry.refuse("operator", "must be Exists when key is empty")
    if value and exists:
        raise entry.refuse("value", "must be empty with Exists")
    return Toleration(key, value, exists, _effect(entry, required=False))


def _effect(entry: Fields, required: bool) -> str:
    effect = entry.text("effect") if required else entry.text("effect", "")
    if effect and effect not in _EFFECTS:
        known = ", ".join(_EFFECTS)
        raise entry.refuse("effect", f"must be one of {known}, not {shown(effect)}")
    return effect
