"""Questions in processes that can be ended: the same answers, and none that takes more than it may."""

import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from solver.batch.plan import plan_batch
from solver.domain.budget import Budget
from solver.domain.errors import InternalError, InvalidRequest
from solver.domain.gang import Gang, Pack
from solver.domain.plan import Plan, ReasonCode, Status, TermValue
from solver.planner import Engine, Options, plan
from solver.search.options import Reporter
from solver.workers import processes as module
from solver.workers.frames import Reply, packed, unpacked
from solver.workers.planning import Planner
from solver.workers.processes import Processes
from solver.workers.question import Question
from support.builders import bound, cluster, flow, gang, node, role

#: Longer than any of these questions takes on a machine with much else to do.
LIMIT_S = 300.0
OPTIONS = Options(time_limit_s=LIMIT_S)
SITE = cluster(
    *(node(f"n{at}", 8, zone="z", rack=f"r{at // 4}") for at in range(24)), pods=[bound("default/x", "n0", 3)]
)
LARGE = gang(role("prefill", 30, gpus=2), role("decode", 64, gpus=1), flows=[flow("prefill", "decode")])
#: A child that is ready and never answers; one that answers nonsense; one that dies.
SAY_READY = "import os,sys,time;os.write(1,b'huddle worker 2\\n');"
DEAF = SAY_READY + "time.sleep(1000)"
MAD = SAY_READY + "sys.stdin.buffer.read(1);os.write(1,b'x'*100);os._exit(0)"
DEAD = SAY_READY + "sys.stdin.buffer.read(1);os._exit(9)"
#: One that tells of a plan and then nothing more.
TELLS = (
    SAY_READY
    + "from solver.workers.frames import *;from solver.domain.plan import *;sys.stdin.buffer.read(1);"
    + "d=packed(News('planned',(Plan((GangPlan('told',Status.FEASIBLE),)),)));os.write(1,ANSWER.pack(len(d))+d);"
    + "time.sleep(1000)"
)


def asked(*gangs: Gang, within_s: float = LIMIT_S, batch: bool = False, fair: datetime | None = None) -> Question:
    """A question that has so much time from now on."""
    return Question(gangs, OPTIONS, time.monotonic() + within_s, batch, fair)


def meaning(found: Plan) -> list[object]:
    """All of a plan but times."""
    return [
        (each.name, each.status, each.assignments, each.objective, each.reasons, each.domains) for each in found.gangs
    ]


def child(program: str) -> tuple[str, ...]:
    """The command of a process that runs this."""
    return (sys.executable, "-c", program)


class Heard(Reporter):
    """Notes what it hears."""

    wants_plans = True

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.better: list[tuple[TermValue, ...]] = []
        self.plans: list[Plan] = []
        self.called = threading.Event()

    def stage(self, gang: str, text: str) -> None:
        self.stages.append(text)
        self.called.set()

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        self.better.append(objective)

    def planned(self, so_far: Plan) -> None:
        self.plans.append(so_far)
        self.called.set()


def test_a_process_answers_as_the_planner() -> None:
    """One after another and together; the snapshot travels once, and the process is kept."""
    workers = Processes(1)
    small = gang(role("w", 3, gpus=4), name="default/other")
    try:
        for _ in range(2):
            assert meaning(workers.plan(SITE, asked(LARGE))) == meaning(plan(SITE, [LARGE], OPTIONS))
        (worker,) = workers._idle
        assert worker.has is SITE
        both, moment = (small, gang(role("w", 2, gpus=8))), datetime(2026, 1, 1, tzinfo=UTC)
        together = workers.plan(SITE, asked(*both, batch=True, fair=moment))
        assert meaning(together) == meaning(plan_batch(SITE, both, OPTIONS, fair_before=moment))
        assert workers._idle == [worker]
        other = cluster(*(node(f"m{at}", 8, rack="r") for at in range(24)))
        assert {item.node[0] for item in workers.plan(other, asked(LARGE)).gangs[0].assignments} == {"m"}
    finally:
        workers.close()
    assert workers._idle == []


def test_news_come_from_the_process() -> None:
    """Stages, better and better values, and plans, the last of which is the answer."""
    workers, heard = Processes(1), Heard()
    try:
        found = workers.plan(SITE, asked(LARGE), None, heard)
    finally:
        workers.close()
    assert "compiling" in heard.stages
    assert [term.value for term in heard.better[-1]] == [term.value for term in found.gangs[0].objective]
    assert heard.plans[-1].gangs[0].assignments == found.gangs[0].assignments


def test_a_process_that_is_told_to_stop_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends its search, answers what it knows, and answers the next question."""
    monkeypatch.setattr(module, "STOP_GRACE_S", 60.0)  # however slow the machine is
    workers, heard = Processes(1), Heard()
    hard = gang(role("a", 30, gpus=2), role("b", 40, gpus=1), role("c", 50, gpus=1), flows=[flow("a", "b")])
    site = cluster(*(node(f"n{at}", 1 + at % 8, zone=f"z{at // 64}", rack=f"r{at // 7}") for at in range(256)))
    endless = replace(asked(hard, within_s=600), options=Options(Engine.CPSAT, 600))
    try:
        workers.plan(SITE, asked(LARGE))
        (worker,) = workers._idle
        found = workers.plan(site, endless, heard.called, heard)
        assert found.gangs[0].status in (Status.UNKNOWN, Status.FEASIBLE)
        assert workers._idle == [worker]
        assert meaning(workers.plan(SITE, asked(LARGE))) == meaning(plan(SITE, [LARGE], OPTIONS))
        assert workers._idle == [worker]
    finally:
        workers.close()


def test_a_process_is_ended_at_the_deadline() -> None:
    """What does not answer is unknown, and its process is gone."""
    workers = Processes(1, command=child(DEAF))
    assert workers.plan(SITE, asked(LARGE, within_s=0.3)).gangs[0].status is Status.UNKNOWN
    assert workers._idle == []


def test_a_process_is_ended_when_the_caller_says_stop() -> None:
    """Long before the deadline, when it does not end by itself."""
    workers, stop = Processes(1, command=child(DEAF)), threading.Event()
    threading.Timer(0.2, stop.set).start()
    question = asked(LARGE, within_s=600)
    assert workers.plan(SITE, question, stop).gangs[0].status is Status.UNKNOWN
    assert question.left_s > 300
    assert workers._idle == []


def test_what_was_told_is_the_answer_of_a_process_that_is_ended() -> None:
    """A plan that is known is not lost with the process."""
    workers, heard = Processes(1, command=child(TELLS)), Heard()
    found = workers.plan(SITE, asked(LARGE, within_s=600), heard.called, heard)
    assert [(each.name, each.status) for each in found.gangs] == [("told", Status.FEASIBLE)]


@pytest.mark.parametrize("program", [MAD, DEAD], ids=["nonsense", "death"])
def test_a_process_that_fails_is_unknown(program: str) -> None:
    """And not kept."""
    workers = Processes(1, command=child(program))
    assert workers.plan(SITE, asked(LARGE, within_s=60)).gangs[0].status is Status.UNKNOWN
    assert workers._idle == []


def test_all_places_are_taken() -> None:
    """Who comes to it too late is unknown; a place is free once its question has ended."""
    workers, stop = Processes(1, command=child(DEAF)), threading.Event()
    first = threading.Thread(target=workers.plan, args=(SITE, asked(LARGE, within_s=600), stop))
    first.start()
    while workers._places._value:  # type: ignore[attr-defined]
        time.sleep(0.01)
    assert workers.plan(SITE, asked(LARGE, within_s=0.1)).gangs[0].status is Status.UNKNOWN
    stop.set()
    first.join(60)
    assert workers._places._value == 1  # type: ignore[attr-defined]


def test_so_many_are_kept() -> None:
    """None at all, or those that know the snapshot first."""
    none = Processes(1, keep=0)
    assert none.plan(SITE, asked(LARGE)).gangs[0].status.placed
    assert none._idle == []
    other = cluster(*(node(f"m{at}", 8, rack="r") for at in range(24)))
    two = Processes(2)
    try:
        both = [two._borrowed(site, a_minute()) for site in (SITE, other)]
        for worker, site in zip(both, (SITE, other), strict=True):
            worker.has = site
            two._give_back(worker, Reply())
        assert [two._borrowed(site, a_minute()) for site in (SITE, other)] == both
    finally:
        for worker in both:
            two._give_back(worker, Reply())
        two.close()


def a_minute() -> Budget:
    """So much time from now on."""
    return Budget(time.monotonic() + 60)


def test_refusals_come_back() -> None:
    """As what they are."""
    workers = Processes(1)
    wrong = replace(LARGE, root=replace(LARGE.root, pack=Pack(required="nowhere")))
    try:
        with pytest.raises(InvalidRequest) as here:
            plan(SITE, [wrong], OPTIONS)
        with pytest.raises(InvalidRequest) as there:
            workers.plan(SITE, asked(wrong))
        assert str(there.value) == str(here.value)
    finally:
        workers.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [(Reply(fault="AssertionError()"), InternalError), (Reply(error="no such level"), InvalidRequest)],
)
def test_what_a_process_raises_is_raised_here(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, error: type[Exception]
) -> None:
    """A defect of ours as one, whatever it was there."""
    monkeypatch.setattr(Processes, "_asked", lambda *_: reply)
    with pytest.raises(error, match=reply.fault.removesuffix("()") or reply.error):
        Processes(1).plan(SITE, asked(LARGE))


def test_a_process_that_lacks_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question was too large, with the limit."""
    monkeypatch.setattr(Processes, "_asked", lambda *_: Reply(lacks_memory=True))
    (answer,) = Processes(1, memory_bytes=300 << 20).plan(SITE, asked(LARGE)).gangs
    assert answer.status is Status.UNKNOWN
    (reason,) = answer.reasons
    assert (reason.code, dict(reason.numbers)) == (ReasonCode.TOO_LARGE, {"limit": 300})
    assert "more than the 300 MiB" in reason.message


def test_too_little_memory_is_unknown() -> None:
    """A process that may use hardly any does not answer with a plan."""
    workers = Processes(1, memory_bytes=1 << 20)
    try:
        assert workers.plan(SITE, asked(LARGE)).gangs[0].status is Status.UNKNOWN
    finally:
        workers.close()


def test_answers_survive_the_way() -> None:
    """Everything that plans and snapshots hold can be packed."""
    question = unpacked(packed(Reply(plan(SITE, [LARGE], OPTIONS))))
    assert meaning(question.plan) == meaning(plan(SITE, [LARGE], OPTIONS))
    assert Planner()._snapshot is None
