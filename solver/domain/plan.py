"""The answer: assignments, objective terms with proven bounds, reasons, statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction


class Status(StrEnum):
    """What is known about a plan; ordered from best to worst by `rank`."""

    OPTIMAL = "optimal"  # proven best
    FEASIBLE = "feasible"  # valid, gap stated
    UNKNOWN = "unknown"  # time ran out, or the question is too large (the reason says so)
    INFEASIBLE = "infeasible"  # proven impossible

    @property
    def rank(self) -> int:
        """0 for the best status, 3 for the worst."""
        return list(Status).index(self)

    @property
    def placed(self) -> bool:
        """Whether there is a plan."""
        return self in (Status.OPTIMAL, Status.FEASIBLE)


class Sense(StrEnum):
    """Direction of a term."""

    MIN = "min"
    MAX = "max"


class Proof(StrEnum):
    """Who proved the answer."""

    TREE = "tree"
    CPSAT = "cpsat"
    BOTH = "tree+cpsat"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One pod on one node; gpu_devices are indices of `gpu` local to the node, equal = same device."""

    pod: str
    role: str
    node: str
    gpu_devices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TermValue:
    """One objective term; bound is None while it is not proven."""

    term: str
    sense: Sense
    value: Fraction
    bound: Fraction | None


@dataclass(frozen=True, slots=True)
class FlowReport:
    """Where the pairs of one flow meet: level → share of the traffic, and its mean transfer time."""

    source: str
    target: str
    tier_share: Mapping[str, Fraction]
    transfer_us: Fraction


class ReasonCode(StrEnum):
    """Why a gang is not placed: the violated rule family, `taken` by a gang of the same call, or `too_large`.

    The last comes with the status `unknown` and proves nothing.
    """

    GANG = "gang"
    CAPACITY = "capacity"
    ELIGIBLE = "eligible"
    PACK = "pack"
    SPREAD = "spread"
    REACH = "reach"
    QUEUE = "queue"
    BANDWIDTH = "bandwidth"
    PODS_MISSING = "pods_missing"
    TAKEN = "taken"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause, in a code, the objects concerned, numbers, and a sentence made of them."""

    code: ReasonCode
    message: str
    objects: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the reader should know; the plan holds nevertheless."""

    code: str
    object: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Where the time of one call went and what was solved; times in milliseconds.

    domains_recomputed: domains looked at again because their nodes changed since the tables were last used.
    widened: CP-SAT had to look beyond the domains of the plan it started from.
    """

    nodes: int = 0
    classes: int = 0
    signatures: int = 0
    compile_ms: float = 0.0
    bound_ms: float = 0.0
    search_ms: float = 0.0
    verify_ms: float = 0.0
    engine: str = "auto"
    proof: Proof = Proof.NONE
    domains_recomputed: int = 0
    widened: bool = False


@dataclass(frozen=True, slots=True)
class GangPlan:
    """The answer for one gang; without a plan everything but the reasons is empty.

    handover_ms: what the connector takes for one hand-over beside the transfer, the same for every placement and in no
    term; None where the topology does not say, and for a gang without flows but collectives.
    """

    name: str
    status: Status
    assignments: tuple[Assignment, ...] = ()
    running: tuple[Assignment, ...] = ()
    objective: tuple[TermValue, ...] = ()
    domains: Mapping[str, int] = field(default_factory=dict)
    flows: tuple[FlowReport, ...] = ()
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Notice, ...] = ()
    stats: Stats = field(default_factory=Stats)
    handover_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """Gangs of one class that are placed.

    waited: whether the class is the part of its priority that waited longer. bound: more cannot be placed, given
    what is placed of the classes before it where that meets their bound.
    """

    priority: int
    value: int
    bound: int
    waited: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What a jointly planned batch is worth: admitted gangs, highest class first, then the terms summed over them.

    A term's bound is None unless everything before it, admitted gangs included, sits at its own.
    """

    admitted: tuple[Admitted, ...] = ()
    objective: tuple[TermValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer for one call: gangs in input order, the worst status on top. batch: of jointly planned gangs."""

    gangs: tuple[GangPlan, ...]
    warnings: tuple[Notice, ...] = ()
    batch: Batch | None = None

    @property
    def status(self) -> Status:
        """The worst status of any gang; an empty plan is optimal."""
        return max((gang.status for gang in self.gangs), key=lambda status: status.rank, default=Status.OPTIMAL)
