"""Placements: what is promised to one gang, which pod goes where, and how far that has come.

In a cluster these objects are the ledger. `spec` holds the plan and is written before anything is done about it;
`status` says how far that has come. A plan whose attempt the status does not know yet is reserved: nothing of it has
been released.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from solver.domain.plan import TermValue
from solver.domain.printable import printable


class Phase(StrEnum):
    """How far a gang has come."""

    PENDING = "Pending"  # pods are missing, or there is no room; the reasons say which
    RESERVED = "Reserved"  # the plan is written, nothing of it is released
    RELEASING = "Releasing"  # pods are let go to their nodes, one by one
    BOUND = "Bound"  # every member was seen bound
    REPAIRING = "Repairing"  # some are bound, others need a new place
    EVICTING = "Evicting"  # those bound are being given back, then the gang is pending again

    @property
    def holds(self) -> bool:
        """Whether seats of pods that are not seen bound take capacity."""
        return self not in (Phase.PENDING, Phase.BOUND)


class Hand(StrEnum):
    """Who binds a pod that Huddle lets go."""

    GATE = "gate"  # any scheduler, once the pod is pinned to its node and Huddle's gate is taken off
    BIND = "bind"  # Huddle itself
    EXTENDER = "extender"  # a scheduler that asks Huddle about every node; an annotation names the one


@dataclass(frozen=True, slots=True)
class Seat:
    """The node of one member. pod: `namespace/name`. uid: of this pod; its successor of the same name has no seat."""

    pod: str
    uid: str
    role: str
    node: str


@dataclass(frozen=True, slots=True)
class Why:
    """One reason why a gang waits. code: one word, of `solver.domain.plan.ReasonCode` or the reconciler's own."""

    code: str
    message: str
    objects: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """People read it with kubectl: whatever is not printable is escaped."""
        object.__setattr__(self, "message", printable(self.message))
        object.__setattr__(self, "objects", tuple(map(printable, self.objects)))


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as Kubernetes knows them. since: when `holds` last changed."""

    type: str
    holds: bool
    reason: str
    message: str
    since: datetime

    def __post_init__(self) -> None:
        """As reasons."""
        object.__setattr__(self, "message", printable(self.message))


@dataclass(frozen=True, slots=True)
class Owner:
    """What a Placement goes with: the object that stands for the gang."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PlacementRecord:
    """One Placement.

    name: of the object. gang: `namespace/name`. uid, resource_version: empty until it is written.

    Of its spec: seats, of all members that have one, bound ones too. left_out: uids of members that the plan found no
    room for and the gang can do without. hand: of most members. attempt: number of this plan, 0 without one.
    planned_from: version of the state it was computed on. avoid: nodes it kept away from, because they did not take a
    pod of this gang in time. objective: its terms.

    Of its status: phase, and since when. released: when pods were let go last, None when none are. partial_since: since
    when pods are let go or bound, but fewer bound than the gang needs; None when enough are or none. failures:
    evictions in a row; not_before: when to plan again after the last one. reasons: why it waits. conditions: by type.
    """

    namespace: str
    name: str
    gang: str
    uid: str = ""
    resource_version: str = ""
    owner: Owner | None = None
    seats: tuple[Seat, ...] = ()
    left_out: tuple[str, ...] = ()
    hand: Hand = Hand.GATE
    attempt: int = 0
    planned_from: int = 0
    avoid: tuple[str, ...] = ()
    objective: tuple[TermValue, ...] = ()
    phase: Phase = Phase.PENDING
    since: datetime | None = None
    released: datetime | None = None
    partial_since: datetime | None = None
    failures: int = 0
    not_before: datetime | None = None
    reasons: tuple[Why, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def seat_of(self, uid: str) -> Seat | None:
        """The seat of the pod with this uid."""
        return next((seat for seat in self.seats if seat.uid == uid), None)
