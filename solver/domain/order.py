"""Whose turn it is: the order in which the gangs of one call are placed."""

from datetime import UTC, datetime

from solver.domain.gang import Gang
from solver.domain.naming import NaturalKey, natural_key

#: Stands where a moment is not known; what is not known is compared before it.
_NO_MOMENT = datetime.max.replace(tzinfo=UTC)

Turn = tuple[int, bool, datetime, NaturalKey]


def turn(gang: Gang) -> Turn:
    """Sort key: higher priority first, then the gang created earlier (of unknown age: last), then natural name order.

    The order of the input plays no part, unless two gangs have the same name.
    """
    return (-gang.priority, gang.created is None, gang.created or _NO_MOMENT, natural_key(gang.name))
