"""Who is next: the caller of whom fewest run, then who came first."""

from dataclasses import dataclass

from solver.service.lane import Lane


@dataclass(frozen=True)
class Asked:
    """The nth question, of a caller."""

    caller: str
    number: int


def joined(lane: Lane[Asked], callers: str) -> list[Asked]:
    """Questions of these callers, in this order, in line."""
    found = [Asked(caller, at) for at, caller in enumerate(callers)]
    for asked in found:
        lane.join(asked)
    return found


def names(lane: Lane[Asked]) -> str:
    """Callers of those whose turn it is now."""
    return "".join(asked.caller for asked in lane.started())


def test_callers_take_turns() -> None:
    """A caller with more questions waits longer."""
    lane: Lane[Asked] = Lane(1, 0)
    asked = joined(lane, "aaab")
    assert names(lane) == "a"
    assert (lane.running, lane.waiting) == (1, 3)
    lane.ended(asked[0])
    assert names(lane) == "a", "none of either runs, and it came first"
    lane = Lane(2, 0)
    asked = joined(lane, "aaabb")
    assert names(lane) == "ab"
    lane.ended(asked[0])
    assert names(lane) == "a"
    lane.ended(asked[3])
    assert names(lane) == "b"


def test_spare_places_are_for_those_of_whom_none_runs() -> None:
    """As many as there are, and no more than one for each."""
    lane: Lane[Asked] = Lane(1, 2)
    asked = joined(lane, "aabcdd")
    assert names(lane) == "abc"
    assert names(lane) == ""
    lane.ended(asked[0])
    assert names(lane) == "a", "it came before d, and none of it runs"
    lane.ended(asked[2])
    assert names(lane) == "d"
    lane.ended(asked[3])
    lane.ended(asked[1])
    assert names(lane) == ""
    lane.ended(asked[4])
    assert names(lane) == "d"
    assert (lane.running, lane.waiting) == (1, 0)


def test_who_leaves_is_not_started() -> None:
    """And one that runs, or is unknown, is not in line."""
    lane: Lane[Asked] = Lane(1, 0)
    first, second, third = joined(lane, "aab")
    assert names(lane) == "a"
    assert lane.leave(second)
    assert not lane.leave(second)
    assert not lane.leave(first)
    assert not lane.leave(Asked("x", 9))
    assert lane.emptied() == [third]
    assert lane.waiting == 0
    lane.ended(first)
    assert names(lane) == ""
