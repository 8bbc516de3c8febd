"""What can be done next about a gang."""

from dataclasses import dataclass
from datetime import datetime

from adapters.apply.observed import Fixed, Member
from adapters.kubernetes.placements import Phase, Seat, Why


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be. until: when to look again without being told; None = never."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Say in this phase why it does not go on. Pending also gives up the seats."""

    phase: Phase
    reasons: tuple[Why, ...]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Find seats for all placeable members but the fixed ones, on nodes other than those to avoid."""

    fixed: Fixed
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """Let these pods go to their seats."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """Enough members are bound, here."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """Make these pods go, so that their successors can be placed."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Begin to give back what is bound."""

    reasons: tuple[Why, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The gang is pending again and lets others go first. failures: in a row, this one included."""

    failures: int
    not_before: datetime


@dataclass(frozen=True, slots=True)
class Forget:
    """The gang is gone."""


Step = Nothing | Wait | Plan | Release | Confirm | Replace | GiveUp | Withdraw | Forget
