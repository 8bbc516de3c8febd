"""What one pod, or pod template, asks of the solver, and what of it cannot be honoured."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from adapters.kubernetes.amounts import pod_requests
from adapters.kubernetes.constraints import ANTI_TERMS, PREFERRED, node_constraints
from adapters.kubernetes.exclusive import (
    AFFINITY_TERMS,
    Together,
    exclusive_rules,
    own_affinity,
    own_spread,
    with_exclusive,
)
from adapters.kubernetes.foreign_rules import foreign_rules, foreign_wishes
from adapters.kubernetes.objects import Document, Fields, Raw
from solver.domain.constraints import NodeConstraints
from solver.domain.gang import Spread
from solver.domain.plan import Notice
from solver.domain.resources import Resources

_FRACTIONS = frozenset({"gpu-fraction", "gpu-memory", "gpu-fraction-num-devices"})
_MIG = re.compile(r"(?:^|[^a-z0-9])mig(?:[^a-z0-9]|$)", re.IGNORECASE)
_SOFT_AFFINITY = {
    f"spec.affinity.nodeAffinity.{PREFERRED}": "preferred node affinity is not considered",
    f"spec.affinity.podAffinity.{PREFERRED}": "preferred pod affinity is not considered",
    f"spec.affinity.podAntiAffinity.{PREFERRED}": "preferred pod anti-affinity is not considered",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A hard constraint that cannot be honoured. field: its full path. problem: what is not supported."""

    field: str
    problem: str


@dataclass(frozen=True, slots=True)
class PodShape:
    """One pod as the solver sees it.

    spread: at most one pod of the role per domain of a node label, where the pod's anti-affinity selects its
    own kind. unsupported: hard constraints left out. notices: soft ones left out. together: pods it shares a domain
    with, which the reader of its gang makes a pack rule of.
    """

    requests: Resources
    constraints: NodeConstraints
    spread: tuple[Spread, ...]
    unsupported: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    together: tuple[Together, ...] = ()


def pod_shape(doc: Document, pod: Raw, at: str, honoured: Collection[str] = ()) -> PodShape:
    """Shape of `pod`, a mapping with `metadata` and `spec` at field path `at` of `doc` (empty = doc itself).

    honoured: annotations of other schedulers that the reader takes care of; all others that matter are unsupported.
    Raises InvalidRequest for malformed fields and for annotations that ask for GPU fractions or MIG devices.
    """
    here = doc.within(pod, at)
    refuse_fractions(here)
    labels = here.texts("metadata.labels")
    namespace = here.text("metadata.namespace", "") or doc.namespace
    exclusive = tuple(exclusive_rules(here)) if here.has("metadata.annotations") else ()
    constraints = with_exclusive(node_constraints(here, namespace, labels), exclusive)
    return PodShape(
        requests=pod_requests(here),
        constraints=constraints,
        spread=own_spread(constraints),
        unsupported=tuple(Finding(here.path(field), problem) for field, problem in _unsupported(here, honoured)),
        notices=tuple(Notice(code, doc.described, here.path(field), message) for code, field, message in _soft(here)),
        together=tuple(dict.fromkeys((*exclusive, *own_affinity(here)[0]))),
    )


def refuse_fractions(pod: Fields) -> None:
    """Raise InvalidRequest if an annotation of the pod asks for part of a GPU."""
    for key in pod.mapping("metadata.annotations"):
        if (kind := fraction_kind(key)) is not None:
            raise pod.refuse(f"metadata.annotations[{key}]", f"GPU fractions{kind} are not supported yet")


@lru_cache(maxsize=10_000)
def fraction_kind(annotation: str) -> str | None:
    """Which fractions an annotation asks for, empty for shares of a device; None if it asks for none."""
    if annotation in _FRACTIONS:
        return ""
    return " (MIG annotations)" if _MIG.search(annotation) else None


def _unsupported(pod: Fields, honoured: Collection[str]) -> Iterator[tuple[str, str]]:
    """Hard constraints nobody here can honour: field and problem."""
    yield from _foreign(pod, honoured)
    for index, term in enumerate(pod.parts(ANTI_TERMS)):
        for field in ("matchLabelKeys", "mismatchLabelKeys", "namespaceSelector"):
            if term.mapping(field) if field == "namespaceSelector" else term.items(field):
                yield f"{ANTI_TERMS}[{index}].{field}", f"{field} in pod anti-affinity is not supported"
    for index, constraint in enumerate(pod.parts("spec.topologySpreadConstraints")):
        if constraint.text("whenUnsatisfiable", "") != "ScheduleAnyway":
            yield (
                f"spec.topologySpreadConstraints[{index}]",
                "a hard topology spread constraint is not supported",
            )
    for index, toleration in enumerate(pod.parts("spec.tolerations")):
        operator = toleration.text("operator", "")
        if operator in ("Gt", "Lt"):
            yield f"spec.tolerations[{index}].operator", f"a toleration with {operator} is not supported"
    yield from _host_ports(pod)


def _foreign(pod: Fields, honoured: Collection[str]) -> Iterator[tuple[str, str]]:
    """Rules of other schedulers, and pod affinity: honoured towards the own group by readers that do."""
    if pod.has("metadata.annotations"):
        yield from foreign_rules(pod, "metadata.annotations", honoured)
    own, others = own_affinity(pod)
    if others or any(rule.annotation not in honoured for rule in own):
        yield AFFINITY_TERMS, "required pod affinity is not supported"


def _host_ports(pod: Fields) -> Iterator[tuple[str, str]]:
    shared = pod.flag("spec.hostNetwork", False)
    for field in ("spec.initContainers", "spec.containers"):
        for container_idx, container in enumerate(pod.parts(field)):
            for port_idx, port in enumerate(container.parts("ports")):
                if port.whole("hostPort", 0) or (shared and port.has("containerPort")):
                    path = f"{field}[{container_idx}].ports[{port_idx}]"
                    yield path, "a port of the host is not supported"


def _soft(pod: Fields) -> Iterator[tuple[str, str, str]]:
    """Wishes that are not considered: code, field and message."""
    for field, message in _SOFT_AFFINITY.items():
        if pod.items(field):
            yield "unsupported_soft", field, message
    if pod.has("metadata.annotations"):
        for field, message in foreign_wishes(pod, "metadata.annotations"):
            yield "unsupported_soft", field, message
    for index, constraint in enumerate(pod.parts("spec.topologySpreadConstraints")):
        if constraint.text("whenUnsatisfiable", "") == "ScheduleAnyway":
            field = f"spec.topologySpreadConstraints[{index}]"
            yield "unsupported_soft", field, "a soft topology spread constraint is not considered"
