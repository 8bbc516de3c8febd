"""Whose turn it is to be planned."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.apply.observed import Fixed
from adapters.apply.planning import MOST_TOGETHER, TURN_S, Planning
from adapters.apply.round import Found, Round, Wanted, without_nodes
from adapters.apply.steps import Plan
from solver.domain.constraints import Toleration
from solver.domain.gang import BoundMember, Gang, Group, Role
from solver.domain.plan import GangPlan, Status
from solver.domain.plan import Plan as Answer
from solver.planner import plan
from support.builders import bound, cluster, constraints, gang, node, role

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class View:
    """A state that stays as it is."""

    version: int = 1
    snapshot: Any = field(default_factory=lambda: cluster(node("n0", gpus=8)))

    def view(self, ignoring: Sequence[str]) -> "View":
        return self


@dataclass
class Solver:
    """Never finds anything, and remembers who asked, in order."""

    asked: list[str] = field(default_factory=list)

    def plan(self, snapshot: Any, gangs: Sequence[Gang], stop: Any) -> Answer:
        self.asked += [gang.name for gang in gangs]
        return Answer(tuple(GangPlan(gang.name, Status.INFEASIBLE) for gang in gangs))


def test_nodes_to_keep_away_from_are_closed_whatever_is_tolerated() -> None:
    """A gang that tolerates everything goes to the other node, and nowhere if there is none; what runs there stays."""
    where = constraints(tolerations=[Toleration(exists=True)])
    waiting = gang(role("w", 2, where=where), running={"default/w-0": "n0"})
    site = cluster(node("n0", 8), node("n1", 8), pods=[bound("default/w-0", "n0", 1, gang="default/llama")])
    found = plan(without_nodes(site, ["n0", "gone"]), [waiting]).gangs[0]
    assert {item.node for item in found.assignments} == {"n1"}
    twice = without_nodes(without_nodes(site, ["n0"]), ["n0", "n1"])
    assert plan(twice, [waiting]).gangs[0].status is Status.INFEASIBLE
    assert (twice.whole_free_gpus == 0).all()


def wanted(name: str, now: datetime, priority: int = 0, is_alone: bool = False) -> Wanted:
    """A gang of one pod."""
    role = Role("w", 1, 1, pods=(f"ns/{name}-0",))
    gang = Gang(f"ns/{name}", Group(f"ns/{name}", (role,)), priority=priority)
    return Wanted(gang.name, Plan(Fixed()), gang, now, is_alone)


class Queue:
    """Planning with a clock of its own."""

    def __init__(self) -> None:
        self.now, self.solver, self.settled = START, Solver(), list[Found]()
        self.planning = Planning(
            View(),  # type: ignore[arg-type]
            self.solver,  # type: ignore[arg-type]
            self._settle,
            room=lambda: 0,
            is_quiet=lambda: True,
            now=lambda: self.now,
            fair_after_s=60.0,
            solved=lambda *_: None,
        )

    async def _settle(self, found: Found) -> None:
        self.settled.append(found)

    def round(self) -> list[str]:
        """Who is planned now, in order."""
        self.solver.asked.clear()
        asyncio.run(self.planning.round())
        assert sorted(found.wanted.key for found in self.settled) == sorted(self.solver.asked)
        self.settled.clear()
        return list(self.solver.asked)


def test_priority_then_those_under_way_then_age() -> None:
    """Whoever has to be planned alone is; the others together, as far as the next one that has to be."""
    queue = Queue()
    for at, (name, priority, is_alone) in enumerate(
        (("old", 0, False), ("new", 0, False), ("repaired", 0, True), ("urgent", 5, False))
    ):
        queue.planning.want(wanted(name, START + timedelta(milliseconds=at), priority, is_alone))
    assert queue.round() == ["ns/urgent"]
    assert queue.round() == ["ns/repaired"]
    assert queue.round() == ["ns/old", "ns/new"]
    assert queue.round() == []


def test_a_node_that_goes_under_a_member_is_a_problem_of_its_gang_alone() -> None:
    """Whoever looks at the gang next sees the member lost; meanwhile the others are planned."""
    queue, running = Queue(), wanted("a", START)
    member = BoundMember("ns/a-0", "gone")
    queue.planning.want(replace(running, gang=replace(running.gang, running=(member,))))
    queue.planning.want(wanted("b", START))
    asyncio.run(queue.planning.round())
    assert {found.wanted.key: found.problem for found in queue.settled} == {
        "ns/a": "node gone of running pod ns/a-0 is gone",
        "ns/b": "",
    }
    assert queue.solver.asked == ["ns/b"]


def test_nobody_waits_for_ever() -> None:
    """Gangs of higher priority that ask again and again let others have a turn once those have waited for it."""
    queue = Queue()
    queue.planning.want(wanted("low", START))
    asked = list[str]()
    while "ns/low" not in asked:
        for at in range(MOST_TOGETHER):
            queue.planning.want(wanted(f"high-{at}", queue.now, priority=1))
        asked = queue.round()
        queue.now += timedelta(seconds=1)
        queue.planning.want(wanted("low", queue.now))  # looked at meanwhile, which is no new beginning
    waited_s = (queue.now - START).total_seconds()
    assert TURN_S < waited_s <= TURN_S + 3
    assert asked[-1] == "ns/low", "within one round higher priority comes first all the same"


def test_overdue_gangs_have_their_turn_in_the_order_in_which_they_came() -> None:
    """Also when there are so many of higher priority that all are overdue again before the last of them was asked."""
    queue = Queue()
    asked = [f"ns/high-{at}" for at in range(3 * MOST_TOGETHER)]
    queue.planning.want(wanted("low", START + timedelta(milliseconds=1)))
    rounds = 0
    while "ns/low" not in asked:
        for key in asked:
            queue.planning.want(wanted(key.removeprefix("ns/"), queue.now, priority=1))
        queue.now += timedelta(seconds=TURN_S)
        asked = queue.round()
        rounds += 1
        assert rounds <= 8


def test_those_that_are_overdue_do_not_keep_higher_priority_waiting() -> None:
    """However many they are, an urgent gang is asked about in one of the next two rounds."""
    queue = Queue()
    for at in range(10 * MOST_TOGETHER):
        queue.planning.want(wanted(f"low-{at}", START))
    queue.now += timedelta(seconds=TURN_S)
    for _ in range(3):
        queue.planning.want(wanted("urgent", queue.now, priority=1))
        assert "ns/urgent" in queue.round() + queue.round()


class SlowSolver(Solver):
    """Takes until it is told to go on, or to stop, for gangs whose names begin with `slow`; knows nothing of them."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self.go = go

    def plan(self, snapshot: Any, gangs: Sequence[Gang], stop: Any) -> Answer:
        """As it says."""
        found = super().plan(snapshot, gangs, stop)
        if "/slow" not in gangs[0].name:
            return found
        while not self.go.wait(0.005) and not stop.is_set():
            pass
        return Answer(tuple(GangPlan(gang.name, Status.UNKNOWN) for gang in gangs))


@pytest.fixture(autouse=True)
def only_slow_gangs_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a quick one has to wait for the processor."""
    real = Round.slow

    def slow(running: Round, patience_s: float) -> Wanted | None:
        found = real(running, patience_s)
        return found if found is not None and "/slow" in found.key else None

    monkeypatch.setattr(Round, "slow", slow)


class Lanes(Queue):
    """Planning with solvers for what takes long, and hardly any patience."""

    def __init__(self, others: int = 2) -> None:
        super().__init__()
        self.go = threading.Event()
        solvers = [SlowSolver(self.go) for _ in range(1 + others)]
        self.planning = replace(
            self.planning, solver=solvers[0], others=solvers[1:], patience_s=0.05  # type: ignore[type-var]
        )  # fmt: skip

    def of(self, name: str, space: str) -> None:
        """A gang of a namespace is wanted."""
        found = wanted(name, self.now)
        self.planning.want(replace(found, key=f"{space}/{name}", gang=replace(found.gang, name=f"{space}/{name}")))

    def keys(self) -> list[str]:
        """Who was settled since the last call, in order."""
        found = [each.wanted.key for each in self.settled]
        self.settled.clear()
        return found


def test_others_go_on_without_a_gang_that_takes_long() -> None:
    """What was found before is settled at once; those after it, and those that come later, are planned meanwhile."""

    async def story() -> None:
        lanes = Lanes()
        for name, space in (("a", "one"), ("slow", "two"), ("z", "one")):
            lanes.of(name, space)
            lanes.now += timedelta(milliseconds=1)
        await lanes.planning.round()
        assert lanes.keys() == ["one/a"]
        lanes.of("later", "one")
        lanes.of("behind", "two")
        await lanes.planning.round()
        assert lanes.keys() == ["one/z", "one/later"], "those of its own namespace wait for it"
        lanes.go.set()
        await lanes.planning.beside_ended()
        assert lanes.keys() == ["two/slow"]

    asyncio.run(story())


def test_a_namespace_that_asks_much_is_planned_beside_the_others() -> None:
    """One gang at a time, once one of it took long and came to nothing; in the end all of them are."""

    async def story() -> None:
        lanes = Lanes()
        lanes.of("slow", "two")
        await lanes.planning.round()
        lanes.go.set()
        await lanes.planning.beside_ended()
        lanes.go.clear()
        lanes.keys()
        for at in range(20):
            lanes.of(f"slow-{at}", "two")
        lanes.of("good", "one")
        await lanes.planning.round()
        assert lanes.keys() == ["one/good"]
        await lanes.planning.round()
        assert len(lanes.planning) == 19
        lanes.go.set()
        while len(lanes.planning):
            await lanes.planning.beside_ended()
            await lanes.planning.round()
        await lanes.planning.beside_ended()
        assert sorted(lanes.keys()) == sorted(f"two/slow-{at}" for at in range(20))

    asyncio.run(story())


def test_one_solver_is_always_left_for_the_others() -> None:
    """Where all others are taken, a gang that takes long is stopped, and planned once one of them is free."""

    async def story() -> None:
        lanes = Lanes()
        for space in ("two", "three", "four"):
            lanes.of("slow", space)
            await lanes.planning.round()
        assert lanes.keys() == []
        while len(lanes.planning) == 0 or "four" in lanes.planning._beside:
            await asyncio.sleep(0.01)
        assert list(lanes.planning._wanted) == ["four/slow"]
        lanes.of("good", "one")
        await lanes.planning.round()
        assert lanes.keys() == ["one/good"]
        lanes.go.set()
        await lanes.planning.beside_ended()
        await lanes.planning.round()
        await lanes.planning.beside_ended()
        assert sorted(lanes.keys()) == ["four/slow", "three/slow", "two/slow"]

    asyncio.run(story())


def test_without_other_solvers_each_waits_for_all() -> None:
    """As far as one solver goes."""

    async def story() -> None:
        lanes = Lanes(others=0)
        lanes.of("slow", "two")
        lanes.of("good", "one")
        threading.Timer(0.3, lanes.go.set).start()
        await lanes.planning.round()
        assert sorted(lanes.keys()) == ["one/good", "two/slow"]

    asyncio.run(story())


def test_the_end_stops_what_is_being_planned() -> None:
    """In the rounds and beside them."""

    async def story() -> None:
        lanes = Lanes()
        lanes.of("slow", "two")
        await lanes.planning.round()
        lanes.of("slow", "three")
        running = asyncio.create_task(lanes.planning.run())
        while len(lanes.planning) or len(lanes.planning._running) < 2:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert all(each.stop.is_set() for each in lanes.planning._running)

    asyncio.run(story())
