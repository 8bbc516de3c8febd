"""Gangs that are written to be expensive: every call keeps its time and its memory, and says why it has no answer.

Each gang is planned in a process of its own, so that what it takes can be measured, and ended when it does not end.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Options, plan
from support.hostile import KINDS, hostile, manifest, world

#: Budget of a call, in seconds, and how many times over a loaded machine may take it: a few of these run at once, and
#: what is not looked at for 20 ms of work takes a multiple of that beside others.
LIMIT_S, LOADED = 0.5, 6.0
#: What a call may take beyond its budget on a quiet machine.
SHARE, SLACK_S = 1.2, 0.2
#: Memory of the whole process; the limit of one question, and what Python and the libraries take.
MEMORY_BYTES = (1024 + 512) << 20
#: Of so many seeds `make test` takes the first ones, `make soak` all.
FEW, MANY = 3 * len(KINDS), 25 * len(KINDS)


def planned_apart(snapshot: Snapshot, gangs: Sequence[Gang], most_s: float) -> tuple[GangPlan | str, float, int]:
    """The first answer, or what went wrong, with its seconds and the most memory in bytes; ended after `most_s`.

    gangs: several are planned jointly.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _plan_and_leave(snapshot, gangs, write, most_s)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return f"ended by signal {os.WTERMSIG(status)}", most_s, 0
    found = json.loads(text)
    if found["problem"]:
        return found["problem"], found["seconds"], found["bytes"]
    return GangPlan("", Status(found["status"])), found["seconds"], found["bytes"]


def _plan_and_leave(snapshot: Snapshot, gangs: Sequence[Gang], write: int, most_s: float) -> None:
    """In the child: plan, tell, and leave whatever happens."""
    found = {"problem": "", "status": "", "seconds": 0.0, "bytes": 0}
    try:
        signal.setitimer(signal.ITIMER_REAL, most_s)
        since = time.monotonic()
        try:
            how, options = plan_batch if len(gangs) > 1 else plan, Options(time_limit_s=LIMIT_S)
            answer, *others = how(snapshot, gangs, options).gangs
            found["status"] = answer.status.value
            found["problem"] = "" if others else _wrong(answer, time.monotonic() - since)
        except InvalidRequest:
            found["status"] = Status.UNKNOWN.value
        except BaseException as error:
            found["problem"] = repr(error)
        found["seconds"] = time.monotonic() - since
        found["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        os.write(write, json.dumps(found).encode())
    finally:
        os._exit(0)


def _wrong(answer: GangPlan, seconds: float) -> str:
    """What an answer must not be: without a plan and a reason, although there was time."""
    if answer.status is not Status.UNKNOWN:
        return ""
    large = [reason for reason in answer.reasons if reason.code is ReasonCode.TOO_LARGE]
    if not large and seconds < 0.8 * LIMIT_S:
        return f"unknown after {seconds:.2f} s of {LIMIT_S} s without a reason"
    if any(reason.numbers["number"] <= reason.numbers["limit"] for reason in large):
        return f"no number is too large: {large}"
    return ""


def check(seed: int, most_s: float) -> None:
    """One gang, by its seed, in time and memory."""
    try:
        gang = hostile(seed)
    except InvalidRequest:
        return
    keeps_limits([gang], most_s)


def keeps_limits(gangs: Sequence[Gang], most_s: float) -> None:
    """Plan them, jointly if they are several, in time and memory."""
    names = ", ".join(gang.name for gang in gangs)
    found, seconds, size = planned_apart(world(), gangs, 2 * most_s)
    assert isinstance(found, GangPlan), f"{names}: {found}"
    assert seconds <= most_s, f"{names}: {seconds:.2f} s of {LIMIT_S} s"
    assert size <= MEMORY_BYTES, f"{names}: {size >> 20} MiB"


def check_together(seed: int, most_s: float) -> None:
    """A few gangs of any kinds, by the seed of the choice."""
    rng = random.Random(seed)
    found = []
    for each in rng.sample(range(3000), rng.choice([2, 3, 5])):
        with suppress(InvalidRequest):
            found.append(hostile(each))
    if len(found) > 1:
        keeps_limits(found, most_s)


@pytest.mark.parametrize("seed", range(FEW))
def test_every_kind_of_hostile_gang_keeps_time_and_memory(seed: int) -> None:
    """Some gangs of each kind, with room for a loaded machine."""
    check(seed, LOADED * (SHARE * LIMIT_S + SLACK_S))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_three_hundred_hostile_gangs_keep_time_and_memory(seed: int) -> None:
    """As many as it takes, by the strict limit: for a quiet machine."""
    check(seed, SHARE * LIMIT_S + SLACK_S)


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_hostile_gangs_are_planned_jointly_in_time_and_memory(seed: int) -> None:
    """What is too large together is left to what each gang has by itself."""
    check_together(seed, LOADED * (SHARE * LIMIT_S + SLACK_S))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(len(KINDS), MANY))
def test_many_batches_of_hostile_gangs_keep_time_and_memory(seed: int) -> None:
    """By the strict limit: for a quiet machine."""
    check_together(seed, SHARE * LIMIT_S + SLACK_S)


CLUSTER = """
apiVersion: huddle.scheduler/v1alpha1
kind: Cluster
metadata: {name: c}
spec:
  topology: {levels: [{name: zone, label: z}, {name: block, label: b}, {name: rack, label: r}, {name: nvl, label: v}]}
  nodes: [{prefix: n, count: 32, per: {zone: 16, block: 8, rack: 4, nvl: 2}, gpus: 8, cpu: "64"}]
"""


def command(tmp_path: Path, gang: Path, cluster: Path, most_s: float) -> "subprocess.CompletedProcess[str]":
    """`huddle plan` with a budget of one second."""
    words = ["plan", str(gang), "--cluster", str(cluster), "--time-limit", "1s", "-o", "json"]
    return subprocess.run(
        [sys.executable, "-m", "adapters.cli", *words], capture_output=True, text=True, timeout=most_s, check=False
    )


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_the_command_keeps_its_time(seed: int, tmp_path: Path) -> None:
    """The command answers in time: a plan, no, unknown, or one line that refuses the gang."""
    gang, cluster = tmp_path / "gang.json", tmp_path / "cluster.yaml"
    gang.write_text(json.dumps(manifest(seed)), "utf-8")
    cluster.write_text(CLUSTER, "utf-8")
    found = command(tmp_path, gang, cluster, 60)
    assert found.returncode in (0, 2, 3, 4), found.stderr
    if found.returncode == 4:
        assert '"unknown"' in found.stdout


def attack() -> Path:
    """Where inputs that were once found to be expensive lie."""
    if not os.environ.get("HUDDLE_ATTACK"):
        pytest.skip("HUDDLE_ATTACK is not set: inputs of the attack are not read")
    return Path(os.environ["HUDDLE_ATTACK"]) / "files"


@pytest.mark.parametrize("name", ["b2-nest.json", "boom-wide.json"])
def test_inputs_that_once_ran_without_end(name: str, tmp_path: Path) -> None:
    """Inputs of the attack end by their time."""
    found = command(tmp_path, attack() / name, attack() / "big.yaml", 60)
    assert found.returncode in (0, 2, 3, 4), found.stderr
