"""The SQLite ledger by itself: phases, identities, requests that are asked again, restarts, forgetting."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from solver.ledger import Phase, Promise
from solver.service.errors import InvalidField, NotFound
from solver.service.sqlite_ledger import KEEP_MS, TIDY_ROWS, SqliteLedger
from support.builders import apart, constraints, gang, role
from support.promising import HOUR_MS, MINUTE_MS, START_MS, Time, asked, pods_of, workers


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the ledger is kept."""
    return tmp_path / "ledger.db" if request.param == "file" else None


@pytest.fixture
def time() -> Time:
    """Time that stands still unless moved."""
    return Time()


@pytest.fixture
def ledger(path: Path | None, time: Time) -> Iterator[SqliteLedger]:
    """An empty ledger."""
    found = SqliteLedger(path, time.source)
    yield found
    found.close()


def reserve(ledger: SqliteLedger, request_id: str, name: str = "g", lease_ms: int = MINUTE_MS) -> Promise:
    """A promise of two pods on n0 and n1."""
    return ledger.reserve(asked(request_id), "site", f"default/{name}", pods_of(workers(name), "n0", "n1"), lease_ms)[0]


def test_a_reservation_holds_its_pods_until_its_lease_ends(ledger: SqliteLedger, time: Time) -> None:
    """It tells what it holds, since when and until when; one millisecond before its end nothing expires."""
    promise = reserve(ledger, "a")
    assert (promise.phase, promise.cluster, promise.gang) == (Phase.RESERVED, "site", "default/g")
    assert (promise.created_ms, promise.lease_until_ms) == (START_MS, START_MS + MINUTE_MS)
    assert [(pod.holds.name, pod.holds.node, pod.role) for pod in promise.pods] == [
        ("default/g-0", "n0", "w"),
        ("default/g-1", "n1", "w"),
    ]
    assert ledger.holding("site") == (promise,)
    time.passes(MINUTE_MS - 1)
    assert ledger.expire() == []
    time.passes(1)
    (expired,) = ledger.expire()
    assert (expired.id, expired.phase, expired.held()) == (promise.id, Phase.EXPIRED, ())
    assert ledger.holding("site") == ()
    assert ledger.get(promise.id) == expired


def test_a_confirmed_promise_has_no_lease(ledger: SqliteLedger, time: Time) -> None:
    """It holds for as long as it takes."""
    promise = reserve(ledger, "a")
    (confirmed,) = ledger.confirm(asked("b"), promise.id)
    assert (confirmed.phase, confirmed.lease_until_ms) == (Phase.CONFIRMED, 0)
    time.passes(1000 * HOUR_MS)
    assert ledger.expire() == []
    assert ledger.holding("site") == (confirmed,)


def test_what_is_released_stays_so(ledger: SqliteLedger) -> None:
    """Releasing once more gives the same, confirming is too late, and neither changes the revision."""
    promise = reserve(ledger, "a")
    (released,) = ledger.release(asked("b"), promise.id)
    assert released.phase is Phase.RELEASED
    assert ledger.release(asked("c"), promise.id) == [released]
    assert ledger.confirm(asked("d"), promise.id) == [released]
    assert ledger.revision == released.revision
    assert ledger.holding("site") == ()


def test_a_late_confirmation_ends_the_reservation(ledger: SqliteLedger, time: Time) -> None:
    """Whoever hears that the lease has ended can rely on it: the end is written down."""
    promise = reserve(ledger, "a")
    time.passes(MINUTE_MS)
    (ended,) = ledger.confirm(asked("b"), promise.id)
    assert ended.phase is Phase.EXPIRED
    assert ledger.get(promise.id) == ended
    assert ledger.answered(asked("b")) is None


def test_a_new_reservation_replaces_those_of_the_same_gang(ledger: SqliteLedger) -> None:
    """Confirmed ones too; other gangs, and gangs of that name elsewhere, keep theirs."""
    first, other = reserve(ledger, "a"), reserve(ledger, "b", "other")
    pods = pods_of(workers(), "n0")
    elsewhere = ledger.reserve(asked("c"), "elsewhere", "default/g", pods, MINUTE_MS)[0]
    ledger.confirm(asked("d"), first.id)
    new, replaced = ledger.reserve(asked("e"), "site", "default/g", pods, MINUTE_MS)
    assert (replaced.id, replaced.phase) == (first.id, Phase.RELEASED)
    assert ledger.holding("site") == (other, new)
    assert ledger.holding("elsewhere") == (elsewhere,)
    assert ledger.clusters() == ["elsewhere", "site"]


def test_pods_end_one_by_one_when_they_are_seen(ledger: SqliteLedger) -> None:
    """On whatever node; the last one fulfils the promise. Pods nobody was promised, or seen before, change nothing."""
    promise = reserve(ledger, "a")
    (half,) = ledger.seen("site", {"default/g-1": "n3", "default/stranger": "n0"})
    assert (half.phase, [pod.seen_on for pod in half.pods]) == (Phase.RESERVED, ["", "n3"])
    assert [pod.name for pod in half.held()] == ["default/g-0"]
    assert ledger.seen("site", {"default/g-1": "n2"}) == []
    assert ledger.seen("elsewhere", {"default/g-0": "n0"}) == []
    (whole,) = ledger.seen("site", {"default/g-0": "n0"})
    assert (whole.id, whole.phase) == (promise.id, Phase.FULFILLED)
    assert ledger.confirm(asked("b"), promise.id) == [whole]
    assert ledger.release(asked("c"), promise.id) == [whole]


def test_revisions_grow_with_every_change(ledger: SqliteLedger, time: Time) -> None:
    """No two changes share one, and the ledger knows the latest."""
    changes = ledger.reserve(asked("a"), "site", "default/g", pods_of(workers(), "n0"), MINUTE_MS)
    changes += ledger.reserve(asked("b"), "site", "default/g", pods_of(workers(), "n1"), MINUTE_MS)
    changes += ledger.seen("site", {"default/g-0": "n0"})
    time.passes(HOUR_MS)
    changes += ledger.expire()
    revisions = [promise.revision for promise in changes]
    assert revisions == sorted(set(revisions))
    assert ledger.revision == revisions[-1]


def test_a_request_that_is_asked_again_gives_the_same_promise_as_it_is_now(ledger: SqliteLedger, time: Time) -> None:
    """Once reserved, confirmed, released; even when it has ended since. Nothing is changed by asking again."""
    promise = reserve(ledger, "a")
    assert reserve(ledger, "a") == promise
    confirmed = ledger.confirm(asked("b"), promise.id)
    assert ledger.confirm(asked("b"), promise.id) == confirmed
    assert reserve(ledger, "a") == confirmed[0]
    released = ledger.release(asked("c"), promise.id)
    revision = ledger.revision
    assert ledger.release(asked("c"), promise.id) == released
    assert ledger.confirm(asked("b"), promise.id) == released
    assert [reserve(ledger, "a")] == released
    assert ledger.revision == revision


def test_a_request_id_cannot_be_used_for_something_else(ledger: SqliteLedger) -> None:
    """Not for other content, and nothing happens then."""
    promise = reserve(ledger, "a")
    with pytest.raises(InvalidField, match="request_id: it was used before"):
        ledger.release(asked("a", "other"), promise.id)
    with pytest.raises(InvalidField, match="request_id"):
        ledger.reserve(asked("a", "other"), "site", "default/h", (), MINUTE_MS)
    assert ledger.holding("site") == (promise,)


@pytest.mark.parametrize("wrong", ["", "x", "{name}-", "{name}-0", "{name}-99", "{name}-01", "{name}-１", "other-1"])
def test_what_is_no_promise_is_not_found(ledger: SqliteLedger, wrong: str) -> None:
    """Ids that look like one do not find one."""
    name = reserve(ledger, "a").id.partition("-")[0]
    wrong = wrong.format(name=name)
    assert ledger.get(wrong) is None
    with pytest.raises(NotFound):
        ledger.confirm(asked("b"), wrong)
    with pytest.raises(NotFound):
        ledger.release(asked("c"), wrong)


def test_everything_is_there_after_a_restart(tmp_path: Path, time: Time) -> None:
    """Promises with all that their pods hold, their order, requests, revisions; ids go on and are never used again."""
    rule = apart("kubernetes.io/hostname", app="db")
    where = constraints(anti_affinity=[rule], labels={"app": "llm"})
    wanted = gang(role("r", 2, 0.5, 3, memory=1, more={"example.com/nic": 2}, where=where), name="a/b", queue="team")
    ledger = SqliteLedger(tmp_path / "ledger.db", time.source)
    kept = ledger.reserve(asked("a"), "site", wanted.name, pods_of(wanted, "n0", "n1"), MINUTE_MS)[0]
    (kept,) = ledger.seen("site", {"a/r-1": "n9"})
    others = [reserve(ledger, f"b{at}", f"g{at}") for at in range(3)]
    ledger.confirm(asked("c"), others[1].id)
    (ended,) = ledger.release(asked("d"), others[2].id)
    before = ledger.holding("site"), ledger.revision
    ledger.close()
    again = SqliteLedger(tmp_path / "ledger.db", time.source)
    assert (again.holding("site"), again.revision) == before
    held = again.holding("site")[0].pods[0].holds
    assert (held.requests, held.labels, held.anti_affinity, held.queue, held.gang) == (
        wanted.roles[0].requests,
        {"app": "llm"},
        (rule,),
        "team",
        "a/b",
    )
    assert again.get(ended.id) == ended
    assert again.answered(asked("a")) == kept
    assert again.answered(asked("d")) == ended
    new = reserve(again, "e", "h")
    assert new.id not in {kept.id, *(promise.id for promise in others)}
    assert new.revision > before[1]
    again.close()


def test_two_ledgers_never_give_the_same_id(ledger: SqliteLedger, time: Time) -> None:
    """A promise of a ledger that was lost is not taken for one of the ledger that came after."""
    other = SqliteLedger(None, time.source)
    assert reserve(other, "a").id != reserve(ledger, "a").id
    other.close()


def test_requests_and_ended_promises_are_forgotten_after_a_day(ledger: SqliteLedger, time: Time) -> None:
    """Not before, and a promise never before its requests; what holds capacity stays."""
    promise, kept = reserve(ledger, "a"), reserve(ledger, "b", "kept")
    (kept,) = ledger.confirm(asked("c"), kept.id)
    (ended,) = ledger.release(asked("d"), promise.id)
    time.passes(HOUR_MS)
    ledger.release(asked("e"), promise.id)
    time.passes(KEEP_MS - HOUR_MS)
    ledger.tidy()
    assert ledger.answered(asked("a")) == ended
    time.passes(1)
    ledger.tidy()
    assert ledger.answered(asked("a")) is None
    assert ledger.answered(asked("e")) == ended
    time.passes(HOUR_MS)
    ledger.tidy()
    assert ledger.get(promise.id) is None
    assert ledger.answered(asked("e")) is None
    assert ledger.holding("site") == (kept,)
    assert ledger.get(kept.id) == kept


def test_much_is_forgotten_bit_by_bit(tmp_path: Path, time: Time) -> None:
    """One call never deletes more than its share, and in the end the file holds nothing of it."""
    ledger = SqliteLedger(tmp_path / "ledger.db", time.source)
    for at in range(TIDY_ROWS // 2 + 20):
        ledger.release(asked(f"r{at}"), reserve(ledger, f"a{at}", f"g{at}").id)
    ids = [ledger.answered(asked(f"a{at}")) for at in range(TIDY_ROWS // 2 + 20)]
    time.passes(2 * KEEP_MS)
    ledger.tidy()
    left = sum(ledger.get(promise.id) is not None for promise in ids if promise)
    assert 0 < left < len(ids)
    for _ in range(3):
        ledger.tidy()
    assert not any(ledger.get(promise.id) for promise in ids if promise)
    ledger.close()


def test_pods_are_counted_until_they_are_seen(ledger: SqliteLedger) -> None:
    """Or until their promise ends."""
    promise = reserve(ledger, "a")
    reserve(ledger, "b", "h")
    assert ledger.held_pods == 4
    ledger.seen("site", {"default/g-0": "n0"})
    ledger.confirm(asked("c"), promise.id)
    assert ledger.held_pods == 3
    ledger.release(asked("d"), promise.id)
    assert ledger.held_pods == 2
