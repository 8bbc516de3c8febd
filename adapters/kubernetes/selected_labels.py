"""Which label keys the selectors of pods name: pods that differ in no other label are alike."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adapters.kubernetes.constraints import REQUIRED
from adapters.kubernetes.foreign_rules import EXCLUSIVE_LABELS, JOBSET_JOB_KEY

#: Instead of a namespace: selectors that look at every namespace.
EVERYWHERE = ""
_OF_PODS = ("podAntiAffinity", "podAffinity")
_BY_KEY = ("matchLabelKeys", "mismatchLabelKeys")


class SelectedKeys:
    """Label keys by the namespace whose pods are selected, counted, so that a pod that goes takes only its own away."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._known: dict[str, frozenset[str]] = {}

    def of(self, namespace: str) -> frozenset[str]:
        """Keys that selectors over the pods of a namespace name; the same object until they change."""
        found = self._known.get(namespace)
        if found is None:
            keys = {*self._counts.get(EVERYWHERE, ()), *self._counts.get(namespace, ())}
            found = self._known[namespace] = frozenset(keys)
        return found

    def add(self, named: Iterable[tuple[str, str]]) -> None:
        """Count keys, as `named_keys` tells them of one pod."""
        for namespace, key in named:
            counts = self._counts.setdefault(namespace, Counter())
            counts[key] += 1
            if counts[key] == 1:
                self._changed(namespace)

    def remove(self, named: Iterable[tuple[str, str]]) -> None:
        """Take back keys that were counted before."""
        for namespace, key in named:
            counts = self._counts[namespace]
            counts[key] -= 1
            if not counts[key]:
                del counts[key]
                self._changed(namespace)
            if not counts:
                del self._counts[namespace]

    def _changed(self, namespace: str) -> None:
        if namespace == EVERYWHERE:
            self._known.clear()
        else:
            self._known.pop(namespace, None)


def named_keys(spec: Any, namespace: str) -> Iterator[tuple[str, str]]:
    """(namespace, key) of each label that a hard rule in the spec of a pod of `namespace` selects by.

    Rules: required pod affinity and anti-affinity, and topology spread constraints that are not soft. Namespaces are
    those whose pods are selected, EVERYWHERE for a namespaceSelector. What is malformed names nothing: whoever reads
    the rule complains.
    """
    if not isinstance(spec, Mapping):
        return
    affinity = spec.get("affinity")
    if affinity:
        for kind in _OF_PODS:
            for term in _parts(_part(affinity, kind), REQUIRED):
                keys = tuple(_keys(term))
                for selected in _namespaces(term, namespace):
                    yield from ((selected, key) for key in keys)
    if spec.get("topologySpreadConstraints"):
        for constraint in _parts(spec, "topologySpreadConstraints"):
            if constraint.get("whenUnsatisfiable") != "ScheduleAnyway":
                yield from ((namespace, key) for key in _keys(constraint))


def named_by_pod(pod: Mapping[str, Any], namespace: str) -> Iterator[tuple[str, str]]:
    """The same of a whole pod: what its spec names, and what annotations for exclusive domains stand for."""
    yield from named_keys(pod.get("spec"), namespace)
    yield from _exclusive_keys(_part(_part(pod, "metadata"), "annotations"), namespace)


def named_anywhere(body: Any, namespace: str) -> Iterator[tuple[str, str]]:
    """The same of every pod template inside an object of any kind, wherever it stands."""
    left, seen = [body], set[int]()
    while left:
        value = left.pop()
        if id(value) in seen or not isinstance(value, Mapping | list):
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            yield from named_keys(value, namespace)
            yield from _exclusive_keys(value, namespace)
            left.extend(value.values())
        else:
            left.extend(value)


def _exclusive_keys(annotations: Mapping[str, Any], namespace: str) -> Iterator[tuple[str, str]]:
    """Labels that annotations for exclusive domains select by: a JobSet's in every namespace."""
    for annotation, label in EXCLUSIVE_LABELS.items():
        if annotations.get(annotation):
            yield (EVERYWHERE if label == JOBSET_JOB_KEY else namespace), label


def _keys(term: Mapping[str, Any]) -> Iterator[str]:
    """Label keys that a term of affinity, or a spread constraint, selects by."""
    selector = _part(term, "labelSelector")
    named: list[Any] = [*_part(selector, "matchLabels")]
    named += [expression.get("key") for expression in _parts(selector, "matchExpressions")]
    for field in _BY_KEY:
        value = term.get(field)
        named += value if isinstance(value, list) else ()
    return (key for key in named if isinstance(key, str))


def _namespaces(term: Mapping[str, Any], own: str) -> tuple[str, ...]:
    if term.get("namespaceSelector") is not None:
        return (EVERYWHERE,)
    listed = term.get("namespaces")
    named = tuple(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()
    return tuple(dict.fromkeys(named)) or (own,)


def _part(value: Any, field: str) -> Mapping[str, Any]:
    found = value.get(field) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _parts(value: Any, field: str) -> list[Mapping[str, Any]]:
    found = value.get(field) if isinstance(value, Mapping) else None
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, list) else []
