"""Which nodes a pod may use: selectors, required affinity, tolerations, required anti-affinity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NO_SCHEDULE = "NoSchedule"
NO_EXECUTE = "NoExecute"
PREFER_NO_SCHEDULE = "PreferNoSchedule"


class Operator(StrEnum):
    """Operators of node and label selectors."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One `matchExpressions` entry: `key operator values`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    _among: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_among", frozenset(self.values))

    def matches(self, value: str | None) -> bool:
        """Whether a label value (None = the label is absent) satisfies the requirement, as Kubernetes reads it."""
        match self.operator:
            case Operator.IN:
                return value is not None and value in self._among
            case Operator.NOT_IN:
                return value is None or value not in self._among
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GT | Operator.LT:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            left, right = int(value), int(self.values[0])
        except (ValueError, IndexError):
            return False
        return left > right if self.operator is Operator.GT else left < right


@dataclass(frozen=True, slots=True)
class NodeSelectorTerm:
    """All requirements hold; `names` are `matchFields` on metadata.name. A term with neither matches nothing."""

    labels: tuple[Requirement, ...] = ()
    names: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Taint:
    """A node's taint."""

    key: str
    value: str = ""
    effect: str = NO_SCHEDULE

    def __str__(self) -> str:
        return f"{self.key}={self.value}" if self.value else self.key

    @property
    def repels(self) -> bool:
        """Whether it keeps pods away that do not tolerate it."""
        return self.effect in (NO_SCHEDULE, NO_EXECUTE)


#: Taints that a node has by its state: cordoned, not ready, and not heard of. A node that is not heard of is not ready
#: either; it has the second of the two instead of the first.
UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable")
NOT_READY = Taint("node.kubernetes.io/not-ready")
UNREACHABLE = Taint("node.kubernetes.io/unreachable")


@dataclass(frozen=True, slots=True)
class Toleration:
    """A pod's toleration; an empty `key` with `exists` tolerates everything, an empty `effect` every effect."""

    key: str = ""
    value: str = ""
    exists: bool = False
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether it tolerates `taint`, as Kubernetes reads it."""
        if self.effect and self.effect != taint.effect:
            return False
        if not self.key:
            return self.exists
        return self.key == taint.key and (self.exists or self.value == taint.value)


@dataclass(frozen=True, slots=True)
class PodSelector:
    """A label selector over pods in `namespaces` (empty = every namespace)."""

    requirements: tuple[Requirement, ...] = ()
    namespaces: tuple[str, ...] = ()

    def matches(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a pod of `namespace` with `labels` is selected."""
        if self.namespaces and namespace not in self.namespaces:
            return False
        return all(requirement.matches(labels.get(requirement.key)) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class AntiAffinity:
    """Required pod anti-affinity: no selected pod in the same value of node label `topology_key`."""

    topology_key: str
    selector: PodSelector


@dataclass(frozen=True, slots=True)
class VolumeNodes:
    """Where a volume that a pod mounts can be: one of `terms` matches; without any no node does.

    claim: what the user is told, the claim's `namespace/name` first. It makes no difference to the pod: volumes of
    different claims with the same terms are equal.
    """

    claim: str = field(compare=False)
    terms: tuple[NodeSelectorTerm, ...]


@dataclass(frozen=True, slots=True)
class NodeConstraints:
    """Everything that decides which nodes a pod may use.

    selector: label → value, all must match. affinity: required terms, one must match (empty = any node).
    volumes: those it mounts that not every node can, all of them must match. anti_affinity: against pods outside the
    gang; labels and namespace are the pod's own, for the anti-affinity that pods already running declare against it.
    """

    selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[NodeSelectorTerm, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    anti_affinity: tuple[AntiAffinity, ...] = ()
    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[VolumeNodes, ...] = ()
