"""Random work for a ledger whose process is killed again and again, and the audit after each death."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solver.service.failpoints import VARIABLE
from support.ledger_child import Party, Picture, Task

GANGS = [f"g{at}" for at in range(6)]
NODES = [f"n{at}" for at in range(4)]
HOLDING = ("reserved", "confirmed")
#: So many tasks are more than enough to pass every fail point several times.
TASKS = 600

_EMPTY: Picture = {"promises": {}, "held": {}, "answers": {}, "revision": 0}


@dataclass
class Campaign:
    """One ledger file through many lives of its process.

    known: what was last heard. bound: pods that run, name → node. answered: requests that were confirmed to have
    happened, with the promise each led to.
    """

    path: Path
    rng: random.Random
    known: Picture = field(default_factory=lambda: deepcopy(_EMPTY))
    bound: dict[str, str] = field(default_factory=dict)
    answered: dict[str, tuple[Task, str]] = field(default_factory=dict)
    tasks: int = 0

    def live_and_die(self, fuse: str = "") -> int:
        """Work until the process dies, at the fail point or, without one, at any moment; then audit. Tasks done."""
        child = subprocess.Popen(
            [sys.executable, "-m", "support.ledger_child", str(self.path), json.dumps(self.bound)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, VARIABLE: fuse, "PYTHONPATH": os.pathsep.join(("tests", ".", *sys.path))},
        )
        fatal = self.rng.randrange(5, 40) if not fuse else TASKS
        with child:
            try:
                done, task = self.work(child, fatal)
            finally:
                _hang_up(child)
            assert child.wait() == -signal.SIGKILL, f"{fuse}: ended with {child.returncode} after {done} tasks"
        self.audit(task)
        return done

    def work(self, child: "subprocess.Popen[str]", fatal: int) -> tuple[int, Task]:
        """Give tasks until there is no answer any more; how many were answered, and the one that was not."""
        assert child.stdin is not None
        assert child.stdout is not None
        for done in range(TASKS):
            task = self.next_task()
            try:
                child.stdin.write(json.dumps(task) + "\n")
                child.stdin.flush()
            except BrokenPipeError:
                return done, task
            if done == fatal:
                time.sleep(self.rng.random() * 0.01)
                child.kill()
            line = child.stdout.readline()
            if not line:
                return done, task
            self.heard(task, json.loads(line))
        child.kill()
        raise AssertionError(f"it survived {TASKS} tasks: the fail point was never hit")

    def next_task(self) -> Task:
        """Something that may be asked for now."""
        self.tasks += 1
        rng, promises = self.rng, self.known["promises"]
        held = [each for each, told in promises.items() if told and told["phase"] in HOLDING]
        waiting = [pod for each in held for pod, _, seen_on in promises[each]["pods"] if not seen_on]
        kinds = {"reserve": 30, "pass": 12, "tidy": 6}
        if promises:
            kinds |= {"confirm": 15, "release": 12}
        if waiting:
            kinds["bind"] = 18
        if self.bound:
            kinds["unbind"] = 12
        task: Task = {"do": rng.choices(list(kinds), list(kinds.values()))[0], "id": f"request-{self.tasks}"}
        match task["do"]:
            case "reserve":
                task |= {"gang": rng.choice(GANGS), "nodes": rng.sample(NODES, 2), "lease_ms": rng.randrange(1, 30_000)}
            case "confirm" | "release":
                task["promise"] = (
                    rng.choice(held or list(promises)) if rng.random() < 0.9 else rng.choice(list(promises))
                )
            case "bind":
                task |= {"pod": rng.choice(waiting), "node": rng.choice(NODES)}
                self.bound[task["pod"]] = task["node"]
            case "unbind":
                task["pod"] = rng.choice(sorted(self.bound))
                del self.bound[task["pod"]]
            case "pass":
                task["ms"] = rng.randrange(1, 60_000)
        return {**task, "ids": list(promises), "requests": [*self.answered, task["id"]]}

    def heard(self, task: Task, told: Picture) -> None:
        """A task was confirmed: it has happened, and nothing else has."""
        answer = told.pop("answer")
        happened = bool(told["answers"][task["id"]])
        assert happened == (answer not in ("", "conflict")), f"{task['do']}: answered {answer!r}"
        check(self.known, task, told)
        if happened:
            assert told["answers"][task["id"]] == answer
            self.answered[task["id"]] = (task, answer)
        self.known = told

    def audit(self, task: Task) -> None:
        """After a death: what was confirmed is there, what was not is whole or absent, asking again changes nothing."""
        party = Party(self.path, self.bound)
        try:
            told = party.picture(task["ids"], task["requests"])
            check(self.known, task, told)
            for request_id, (earlier, promise_id) in self.answered.items():
                assert told["answers"][request_id] == promise_id
                assert party.do(earlier) == promise_id
            assert party.picture(task["ids"], task["requests"]) == told
            if promise_id := told["answers"][task["id"]]:
                assert party.do(task) == promise_id
                assert party.picture(task["ids"], task["requests"]) == told
                self.answered[task["id"]] = (task, promise_id)
            self.known = told
        finally:
            party.office.promises.close()


def _hang_up(child: "subprocess.Popen[str]") -> None:
    """Say no more; a task that it did not take any more is nothing to complain about."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()


def check(before: Picture, task: Task, after: Picture) -> None:
    """Raises AssertionError unless `after` is `before` with all of the task or nothing of it."""
    expected = deepcopy(before["promises"])
    mine = after["answers"][task["id"]]
    match task["do"]:
        case "reserve" if mine:
            _end(expected, lambda told: told["gang"] == f"default/{task['gang']}", "released")
            told = after["promises"][mine]
            assert mine not in expected
            assert told["gang"] == f"default/{task['gang']}"
            assert [node for _, node, _ in told["pods"]] == task["nodes"]
            expected[mine] = told
        case "confirm" if mine and expected[mine]["phase"] == "reserved":
            expected[mine] |= {"phase": "confirmed", "lease_until_ms": 0}
        case "release" if mine and expected[mine]["phase"] in HOLDING:
            expected[mine]["phase"] = "released"
        case "bind":
            _see(expected, task["pod"], task["node"])
        case "pass":
            ended = [each for each, told in after["promises"].items() if _has_expired(expected.get(each), told)]
            latest = max((expected[each]["lease_until_ms"] for each in ended), default=-1)
            _end(expected, lambda told: told["phase"] == "reserved" and told["lease_until_ms"] <= latest, "expired")
    assert after["promises"] == expected, task
    held = {
        pod: node
        for told in expected.values()
        if told["phase"] in HOLDING
        for pod, node, seen_on in told["pods"]
        if not seen_on
    }
    assert after["held"] == held, task
    assert after["revision"] >= before["revision"]


def _end(promises: dict[str, Any], which: Any, phase: str) -> None:
    for told in promises.values():
        if told["phase"] in HOLDING and which(told):
            told["phase"] = phase


def _see(promises: dict[str, Any], name: str, node: str) -> None:
    for told in promises.values():
        if told["phase"] in HOLDING:
            told["pods"] = [[pod, on, seen_on or (node if pod == name else "")] for pod, on, seen_on in told["pods"]]
            if all(seen_on for _, _, seen_on in told["pods"]):
                told["phase"] = "fulfilled"


def _has_expired(before: Any, after: Any) -> bool:
    return bool(before) and before["phase"] == "reserved" and after["phase"] == "expired"
