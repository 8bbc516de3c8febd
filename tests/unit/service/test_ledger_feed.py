"""Watches: what holds at the beginning, then every change in order; slow readers are cut and hold up nobody."""

import random
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from solver.ledger import Phase, Promise
from solver.service import feed as feed_module
from solver.service.errors import Conflict, Full, Unavailable
from solver.service.feed import Feed, Synced, Watch
from solver.service.promises import PromiseLimits
from support.promising import CLUSTER, Office, asked, nodes, wish, workers

BACKLOG = 5


@pytest.fixture
def office() -> Iterator[Office]:
    """Four nodes of eight GPUs; watchers may fall five changes behind."""
    found = Office.open(limits=PromiseLimits(max_backlog=BACKLOG))
    found.put(nodes())
    yield found
    found.promises.close()


def change(office: Office, count: int, name: str = "g") -> list[Promise]:
    """So many changes, from so many new promises that all stay."""
    wanted = [workers(f"{name}{at}", 1, 0.1) for at in range(count)]
    return [office.promises.reserve(wish(each.name, each, "n0")).promise for each in wanted]


def test_a_watch_tells_what_holds_then_that_it_did_then_every_change(office: Office) -> None:
    """In the order of revisions; other clusters are not told."""
    held = change(office, 3)
    watch = office.promises.watch(CLUSTER)
    quiet = office.promises.watch("elsewhere")
    office.promises.release(asked("r"), held[1].id)
    office.promises.confirm(asked("c"), held[0].id)
    events = iter(watch)
    assert [next(events) for _ in range(4)] == [*held, Synced(held[-1].revision)]
    ended, confirmed = next(events), next(events)
    assert isinstance(ended, Promise)
    assert isinstance(confirmed, Promise)
    assert (ended.id, ended.phase) == (held[1].id, Phase.RELEASED)
    assert (confirmed.id, confirmed.phase) == (held[0].id, Phase.CONFIRMED)
    watch.close()
    assert list(events) == []
    quiet.close()
    assert list(quiet) == []
    assert office.promises.watches == 0


def test_a_replacement_is_two_events(office: Office) -> None:
    """The new promise and the end of the old one."""
    office.promises.reserve(wish("a", workers(), "n0"))
    with office.promises.watch(CLUSTER) as watch:
        office.promises.reserve(wish("b", workers(), "n1"))
        events = iter(watch)
        told = [next(events) for _ in range(4)]
    assert [event.phase.value if isinstance(event, Promise) else "synced" for event in told] == [
        "reserved",
        "synced",
        "reserved",
        "released",
    ]


def test_a_slow_reader_is_cut_and_holds_up_nobody(office: Office) -> None:
    """One that is exactly at the limit is not; the one beyond hears so, and may watch anew."""
    slow, watch = office.promises.watch(CLUSTER), office.promises.watch(CLUSTER)
    quick, told = iter(watch), []
    assert isinstance(next(quick), Synced)
    for at in range(BACKLOG + 1):
        change(office, 1, f"g{at}-")
        told.append(next(quick))
    assert len({event.revision for event in told}) == BACKLOG + 1
    with pytest.raises(Full, match="more than 5 changes behind"):
        list(slow)
    slow.close()
    watch.close()
    full = office.promises.watch(CLUSTER)
    change(office, BACKLOG, "h")
    events = iter(full)
    assert len([next(events) for _ in range(2 * BACKLOG + 2)]) == 2 * BACKLOG + 2
    full.close()


def test_a_watcher_that_was_cut_and_never_comes_back_is_given_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call is ended once, after a while, and nothing of it stays; one that listens is left alone."""
    feed = Feed(BACKLOG)
    given_up: list[str] = []
    slow, quick = feed.open(CLUSTER, (), 0), feed.open(CLUSTER, (), 0)
    slow.when_stuck(lambda: given_up.append("slow"))
    quick.when_stuck(lambda: given_up.append("quick"))
    listening = iter(quick)
    assert next(listening) == Synced(0)
    for promise in change(office, BACKLOG + 1):
        feed.tell([promise])
        assert next(listening) == promise
    feed.give_up_stuck()
    assert given_up == []
    monkeypatch.setattr(feed_module, "STUCK_S", 0.0)
    feed.give_up_stuck()
    feed.give_up_stuck()
    assert given_up == ["slow"]
    assert len(feed) == 1


def test_the_end_of_the_service_ends_all_watches(office: Office) -> None:
    """Waiting ones too, with the reason; and no new ones begin."""
    watch = office.promises.watch(CLUSTER)
    caught: list[str] = []

    def listen() -> None:
        try:
            list(watch)
        except Unavailable as error:
            caught.append(str(error))

    thread = threading.Thread(target=listen)
    thread.start()
    office.promises.close()
    thread.join(20)
    assert caught == ["the service is being stopped"]
    with pytest.raises(Unavailable):
        office.promises.watch(CLUSTER)


class Listener:
    """Listens in a thread of its own and keeps what it hears."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.heard, self.last = watch, list[Promise | Synced](), threading.Event()
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self) -> None:
        for event in self.watch:
            self.heard.append(event)
            if isinstance(event, Promise) and event.gang == "default/last":
                self.last.set()

    def knows(self) -> dict[str, Promise]:
        """What holds capacity, as far as it heard."""
        told = {event.id: event for event in self.heard if isinstance(event, Promise)}
        return {promise.id: promise for promise in told.values() if promise.phase.holds}

    def revisions(self) -> list[int]:
        """Of the changes after the beginning."""
        start = next(at for at, event in enumerate(self.heard) if isinstance(event, Synced))
        return [event.revision for event in self.heard[start:]]


def reserve_and_release(office: Office, rng: random.Random, who: str) -> None:
    """Work of one client."""
    mine: list[str] = []
    for at in range(60):
        if mine and rng.random() < 0.5:
            office.promises.release(asked(f"r{who}-{at}"), mine.pop(rng.randrange(len(mine))))
            continue
        wanted = workers(f"g{who}-{rng.randrange(5)}", 1, 1)
        with suppress(Conflict):
            mine.append(office.promises.reserve(wish(f"{who}-{at}", wanted, f"n{at % 4}")).promise.id)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_missed_between_the_beginning_and_the_changes(seed: int) -> None:
    """Watches that begin at any moment of a busy ledger all arrive at what it holds in the end."""
    office = Office.open()
    office.put(nodes())
    work = [
        threading.Thread(target=reserve_and_release, args=(office, random.Random(f"{seed}-{who}"), str(who)))
        for who in range(3)
    ]
    for thread in work:
        thread.start()
    listeners = []
    while len(listeners) < 4 or (any(thread.is_alive() for thread in work) and len(listeners) < 40):
        listeners.append(Listener(office.promises.watch(CLUSTER)))
        work[0].join(0.005)
    for thread in work:
        thread.join(60)
    office.promises.reserve(wish("last", workers("last", 1, 0.1), "n0"))
    held = {promise.id: promise for promise in office.ledger.holding(CLUSTER)}
    for listener in listeners:
        assert listener.last.wait(60)
        listener.watch.close()
        listener.thread.join(60)
        assert listener.knows() == held
        assert listener.revisions() == sorted(set(listener.revisions()))
    assert office.promises.watches == 0
    office.promises.close()
