"""Leases under clocks that are set back or forward: nothing comes back, and what is prolonged is bounded."""

import time
from pathlib import Path

import pytest

from solver.ledger import Phase, Promise
from solver.service.ledger_clock import LedgerClock, TimeSource
from solver.service.sqlite_ledger import SqliteLedger
from support.promising import HOUR_MS, MINUTE_MS, START_MS, Time, asked, pods_of, workers


def reserve(ledger: SqliteLedger, lease_ms: int = MINUTE_MS) -> Promise:
    """A promise."""
    return ledger.reserve(asked("a"), "site", "default/g", pods_of(workers(), "n0"), lease_ms)[0]


def test_the_real_clock_follows_the_machine() -> None:
    """It starts at the machine's time and moves with it."""
    before = time.time_ns() // 10**6
    clock = LedgerClock(0, TimeSource())
    first = clock.now_ms()
    while clock.now_ms() == first:
        time.sleep(0.001)
    assert before <= first < clock.now_ms()
    assert LedgerClock(first + HOUR_MS, TimeSource()).now_ms() >= first + HOUR_MS


@pytest.mark.parametrize("shift_ms", [-5 * HOUR_MS, 5 * HOUR_MS])
def test_a_clock_that_is_set_while_the_service_runs_changes_no_lease(shift_ms: int) -> None:
    """The lease ends when its length has elapsed, no sooner and no later."""
    clock = Time()
    ledger = SqliteLedger(None, clock.source)
    reserve(ledger)
    clock.wall += shift_ms
    clock.passes(MINUTE_MS - 1)
    assert ledger.expire() == []
    clock.passes(1)
    assert [promise.phase for promise in ledger.expire()] == [Phase.EXPIRED]
    ledger.close()


def test_a_clock_that_was_set_back_before_a_start_brings_nothing_back(tmp_path: Path) -> None:
    """What has expired stays expired, and a lease goes on from the last time that was noted."""
    clock = Time()
    ledger = SqliteLedger(tmp_path / "ledger.db", clock.source)
    expired = reserve(ledger)
    clock.passes(MINUTE_MS)
    ledger.expire()
    running = ledger.reserve(asked("b"), "site", "default/h", pods_of(workers("h"), "n0"), MINUTE_MS)[0]
    clock.passes(MINUTE_MS // 2)
    ledger.tidy()
    ledger.close()
    clock.wall -= 10 * HOUR_MS
    again = SqliteLedger(tmp_path / "ledger.db", clock.source)
    ended = again.get(expired.id)
    assert ended is not None
    assert ended.phase is Phase.EXPIRED
    assert again.expire() == []
    clock.passes(MINUTE_MS // 2 - 1)
    assert again.expire() == []
    clock.passes(1)
    assert [promise.id for promise in again.expire()] == [running.id]
    again.close()


def test_the_time_a_service_was_down_is_all_that_a_clock_set_back_can_add(tmp_path: Path) -> None:
    """From the last note to the start: after that a lease has no more than what was left of it then."""
    clock = Time()
    ledger = SqliteLedger(tmp_path / "ledger.db", clock.source)
    promise = reserve(ledger)
    noted_ms = START_MS
    ledger.close()
    clock.wall -= 10 * HOUR_MS
    again = SqliteLedger(tmp_path / "ledger.db", clock.source)
    clock.passes(promise.lease_until_ms - noted_ms)
    assert [found.id for found in again.expire()] == [promise.id]
    again.close()


def test_a_clock_that_is_right_lets_leases_end_while_the_service_is_down(tmp_path: Path) -> None:
    """The time in which nothing ran counts."""
    clock = Time()
    ledger = SqliteLedger(tmp_path / "ledger.db", clock.source)
    reserve(ledger)
    ledger.close()
    clock.wall += MINUTE_MS
    again = SqliteLedger(tmp_path / "ledger.db", clock.source)
    assert [promise.phase for promise in again.expire()] == [Phase.EXPIRED]
    again.close()


def test_a_start_in_the_future_is_not_taken_back(tmp_path: Path) -> None:
    """Once years were noted by mistake, time goes on from there, and leases are as long as ever."""
    clock = Time(wall=START_MS + 10_000 * HOUR_MS)
    ledger = SqliteLedger(tmp_path / "ledger.db", clock.source)
    ledger.release(asked("r"), reserve(ledger).id)
    ledger.close()
    clock.wall = START_MS
    again = SqliteLedger(tmp_path / "ledger.db", clock.source)
    promise = again.reserve(asked("b"), "site", "default/g", pods_of(workers(), "n0"), MINUTE_MS)[0]
    assert promise.created_ms == START_MS + 10_000 * HOUR_MS
    clock.passes(MINUTE_MS - 1)
    assert again.expire() == []
    clock.passes(1)
    assert [found.id for found in again.expire()] == [promise.id]
    again.close()
