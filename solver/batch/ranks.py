"""Classes of a batch: its priorities, each parted into the gangs that waited longer and the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from solver.domain.gang import Gang


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """A class: the greater one comes strictly first."""

    priority: int
    waited: bool


def ranks_of(gangs: Sequence[Gang], fair_before: datetime | None) -> list[Rank]:
    """The class of each gang; one created before `fair_before` waited longer, one of unknown age did not."""
    return [Rank(gang.priority, _waited(gang, fair_before)) for gang in gangs]


def by_rank(gangs: Sequence[Gang], ranks: Sequence[Rank]) -> list[Gang]:
    """The gangs with numbers for priorities that sort as their ranks do."""
    if not any(rank.waited for rank in ranks):
        return list(gangs)
    number = {rank: at for at, rank in enumerate(sorted(set(ranks)))}
    return [replace(gang, priority=number[rank]) for gang, rank in zip(gangs, ranks, strict=True)]


def _waited(gang: Gang, fair_before: datetime | None) -> bool:
    return fair_before is not None and gang.created is not None and gang.created < fair_before
