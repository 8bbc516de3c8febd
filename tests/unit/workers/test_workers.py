"""Questions in processes that can be ended: the same answers, and none that takes more than it may."""

import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from solver.batch.plan import plan_batch
from solver.domain.errors import InternalError, InvalidRequest
from solver.domain.gang import Gang, Pack
from solver.domain.plan import Plan, ReasonCode, Status
from solver.planner import Options, plan
from solver.workers.frames import Reply, packed, unpacked
from solver.workers.planning import Planner
from solver.workers.workers import SMALL_PODS, Workers, is_small
from support.builders import bound, cluster, flow, gang, group, node, role

NEVER = threading.Event()
OPTIONS = Options(time_limit_s=60.0)
SITE = cluster(
    *(node(f"n{at}", 8, zone="z", rack=f"r{at // 4}") for at in range(24)), pods=[bound("default/x", "n0", 3)]
)
LARGE = gang(role("prefill", 30, gpus=2), role("decode", SMALL_PODS, gpus=1), flows=[flow("prefill", "decode")])
#: A child that is ready and never answers; one that answers nonsense; one that dies.
DEAF = "import sys,time;sys.stdout.buffer.write(b'huddle worker 1\\n');sys.stdout.flush();time.sleep(1000)"
MAD = "import os,sys;os.write(1,b'huddle worker 1\\n');sys.stdin.buffer.read(1);os.write(1,b'x'*100);os._exit(0)"
DEAD = "import os,sys;os.write(1,b'huddle worker 1\\n');sys.stdin.buffer.read(1);os._exit(9)"


def meaning(found: Plan) -> list[object]:
    """All of a plan but times."""
    return [
        (each.name, each.status, each.assignments, each.objective, each.reasons, each.domains) for each in found.gangs
    ]


def child(program: str) -> tuple[str, ...]:
    """The command of a process that runs this."""
    return (sys.executable, "-c", program)


def test_a_process_answers_as_the_planner() -> None:
    """One after another and together; the snapshot travels once, and the process is kept."""
    workers = Workers(1)
    small = gang(role("w", 3, gpus=4), name="default/other")
    try:
        assert not is_small([LARGE])
        for _ in range(2):
            assert meaning(workers.plan(SITE, [LARGE], OPTIONS, NEVER)) == meaning(plan(SITE, [LARGE], OPTIONS))
        (worker,) = workers._idle
        assert worker.has is SITE
        both, moment = [LARGE, small], datetime(2026, 1, 1, tzinfo=UTC)
        together = workers.plan(SITE, both, OPTIONS, NEVER, fair_before=moment, batch=True)
        assert meaning(together) == meaning(plan_batch(SITE, both, OPTIONS, fair_before=moment))
        assert workers._idle == [worker]
        other = cluster(*(node(f"m{at}", 8, rack="r") for at in range(24)))
        assert {item.node[0] for item in workers.plan(other, [LARGE], OPTIONS, NEVER).gangs[0].assignments} == {"m"}
    finally:
        workers.close()
    assert workers._idle == []


def test_what_is_small_needs_no_process() -> None:
    """It is planned by the caller."""
    workers = Workers(1, command=("/does/not/exist",))
    small = gang(role("w", 3, gpus=4))
    assert is_small([small])
    assert meaning(workers.plan(SITE, [small], OPTIONS, NEVER)) == meaning(plan(SITE, [small], OPTIONS))
    assert workers.plan(SITE, [LARGE], OPTIONS, NEVER).gangs[0].status is Status.UNKNOWN


@pytest.mark.parametrize(
    "many",
    [
        gang(role("w", SMALL_PODS + 1)),
        gang(*(role(f"r{at}", 1) for at in range(9))),
        gang(role("w", 1), group("g", role("x", 1), replicas=9, min_replicas=1)),
        gang(role("a", 1), role("b", 1), flows=[flow("a", "b")] * 65),
    ],
    ids=["pods", "roles", "replicas", "flows"],
)
def test_what_is_not_certainly_small(many: Gang) -> None:
    """Any one number that is large is enough."""
    assert not is_small([many])
    assert not is_small([gang(role("w", 1))] * 17)


def test_a_process_is_ended_at_the_deadline() -> None:
    """What does not answer is unknown, and its process is gone."""
    workers = Workers(1, command=child(DEAF))
    began = time.monotonic()
    found = workers.plan(SITE, [LARGE], replace(OPTIONS, time_limit_s=0.3), NEVER)
    assert found.gangs[0].status is Status.UNKNOWN
    assert time.monotonic() - began < 40
    assert workers._idle == []


def test_a_process_is_ended_when_the_caller_says_stop() -> None:
    """Long before the deadline."""
    workers, stop = Workers(1, command=child(DEAF)), threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    found = workers.plan(SITE, [LARGE], replace(OPTIONS, time_limit_s=600), stop)
    assert found.gangs[0].status is Status.UNKNOWN
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("program", [MAD, DEAD], ids=["nonsense", "death"])
def test_a_process_that_fails_is_unknown(program: str) -> None:
    """And not kept."""
    workers = Workers(1, command=child(program))
    assert workers.plan(SITE, [LARGE], replace(OPTIONS, time_limit_s=5), NEVER).gangs[0].status is Status.UNKNOWN
    assert workers._idle == []


def test_all_places_are_taken() -> None:
    """Who comes to it too late is unknown; a place is free once its question has ended."""
    workers, stop = Workers(1, command=child(DEAF)), threading.Event()
    first = threading.Thread(target=workers.plan, args=(SITE, [LARGE], replace(OPTIONS, time_limit_s=600), stop))
    first.start()
    while workers._places._value:  # type: ignore[attr-defined]
        time.sleep(0.01)
    found = workers.plan(SITE, [LARGE], replace(OPTIONS, time_limit_s=0.1), NEVER)
    assert found.gangs[0].status is Status.UNKNOWN
    stop.set()
    first.join(60)
    assert workers._places._value == 1  # type: ignore[attr-defined]


def test_refusals_and_faults_come_back() -> None:
    """As what they are."""
    workers = Workers(1)
    wrong = replace(LARGE, root=replace(LARGE.root, pack=Pack(required="nowhere")))
    try:
        with pytest.raises(InvalidRequest) as here:
            plan(SITE, [wrong], OPTIONS)
        with pytest.raises(InvalidRequest) as there:
            workers.plan(SITE, [wrong], OPTIONS, NEVER)
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
    monkeypatch.setattr(Workers, "_asked", lambda *_: reply)
    with pytest.raises(error, match=reply.fault.removesuffix("()") or reply.error):
        Workers(1).plan(SITE, [LARGE], OPTIONS, NEVER)


def test_a_process_that_lacks_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question was too large, with the limit."""
    monkeypatch.setattr(Workers, "_asked", lambda *_: Reply(lacks_memory=True))
    (answer,) = Workers(1, memory_bytes=300 << 20).plan(SITE, [LARGE], OPTIONS, NEVER).gangs
    assert answer.status is Status.UNKNOWN
    (reason,) = answer.reasons
    assert (reason.code, dict(reason.numbers)) == (ReasonCode.TOO_LARGE, {"limit": 300})
    assert "more than the 300 MiB" in reason.message


def test_too_little_memory_is_unknown() -> None:
    """A process that may use hardly any does not answer with a plan."""
    workers = Workers(1, memory_bytes=1 << 20)
    try:
        assert workers.plan(SITE, [LARGE], OPTIONS, NEVER).gangs[0].status is Status.UNKNOWN
    finally:
        workers.close()


def test_answers_survive_the_way() -> None:
    """Everything that plans and snapshots hold can be packed."""
    question = unpacked(packed(Reply(plan(SITE, [LARGE], OPTIONS))))
    assert meaning(question.plan) == meaning(plan(SITE, [LARGE], OPTIONS))
    assert Planner()._snapshot is None
