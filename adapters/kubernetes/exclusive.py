"""Exclusive placement: pods that share a group key lie in one domain of a node label, alone among all with such a key.

LeaderWorkerSet and JobSet make it of an annotation: required pod affinity to the own key and required anti-affinity to
every other one. Both are read of pods that exist, and of the annotation where pods do not have them yet.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from adapters.kubernetes.constraints import REQUIRED, label_requirements, repelled_keys
from adapters.kubernetes.foreign_rules import EXCLUSIVE_LABELS, JOBSET_JOB_KEY
from adapters.kubernetes.objects import Fields
from solver.domain.constraints import AntiAffinity, NodeConstraints, Operator, PodSelector, Requirement
from solver.domain.gang import Spread

AFFINITY_TERMS = f"spec.affinity.podAffinity.{REQUIRED}"
_GROUP_LABELS = frozenset(EXCLUSIVE_LABELS.values())


@dataclass(frozen=True, slots=True)
class Together:
    """Pods whose `label` has `value` lie in one domain of the node label `key`."""

    key: str
    label: str
    value: str

    @property
    def annotation(self) -> str:
        """The annotation that stands for such a rule."""
        return next(annotation for annotation, label in EXCLUSIVE_LABELS.items() if label == self.label)


def exclusive_term(one: Together, namespace: str) -> AntiAffinity:
    """What keeps pods of every other group out of the domain. A JobSet minds those of every namespace."""
    other = Requirement(one.label, Operator.NOT_IN, (one.value,))
    namespaces = () if one.label == JOBSET_JOB_KEY else (namespace,)
    return AntiAffinity(one.key, PodSelector((Requirement(one.label, Operator.EXISTS), other), namespaces))


def exclusive_rules(pod: Fields) -> Iterator[Together]:
    """What the annotations of a pod ask for; those without the label of their group are left out."""
    labels = pod.texts("metadata.labels")
    annotations = pod.texts("metadata.annotations")
    for annotation, label in EXCLUSIVE_LABELS.items():
        if annotations.get(annotation) and labels.get(label):
            yield Together(annotations[annotation], label, labels[label])


def homeless_rules(pod: Fields) -> Iterator[str]:
    """Annotations that ask for a domain of a group which the pod does not name."""
    labels = pod.texts("metadata.labels")
    annotations = pod.texts("metadata.annotations")
    return (key for key, label in EXCLUSIVE_LABELS.items() if annotations.get(key) and not labels.get(label))


def own_affinity(pod: Fields) -> tuple[tuple[Together, ...], bool]:
    """Required pod affinity of a pod to its own group, and whether it has any other, which nobody honours."""
    found: list[Together] = []
    others = False
    if not pod.has(AFFINITY_TERMS):
        return (), False
    labels = pod.texts("metadata.labels")
    for term in pod.parts(AFFINITY_TERMS):
        needs = label_requirements(term.part("labelSelector")) if term.has("labelSelector") else ()
        own = [need for need in needs if need.key in _GROUP_LABELS and need.operator is Operator.IN]
        if len(needs) == 1 and own and own[0].values == (labels.get(own[0].key),):
            found.append(Together(term.text("topologyKey"), own[0].key, own[0].values[0]))
        else:
            others = True
    return tuple(found), others


def with_exclusive(constraints: NodeConstraints, rules: Collection[Together]) -> NodeConstraints:
    """The constraints with the terms that exclusive rules stand for, each once."""
    terms = (exclusive_term(rule, constraints.namespace) for rule in rules)
    return replace(constraints, anti_affinity=tuple(dict.fromkeys((*constraints.anti_affinity, *terms))))


def own_spread(constraints: NodeConstraints) -> tuple[Spread, ...]:
    """How pods with these constraints keep away from their like: one in a domain."""
    return tuple(Spread(key, 1) for key in repelled_keys(constraints, constraints))
