"""The disposable process: killed, silent, babbling, too fat, not starting; nothing of it stays."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ortools.sat.python import cp_model, cp_model_helper

from solver.search.children import MAX_REFUSALS, WARY_SEARCHES, Child, Children, Reply, Unavailable
from tests.unit.search.models import READY, easy, endless, faking, impossible, soon
from tests.unit.search.processes import alive, becomes, children_of, computed_s, holdings, own_children

PARAMETERS = "num_workers: 1"
OPTIMAL, INFEASIBLE = 4, 3

#: What a child may do instead of answering, once it has said that it is ready.
FAULTS = {
    "exits": "os._exit(0)",
    "exits in the middle of an answer": "os.read(0, 100); os.write(1, b'123')",
    "is killed": "os.read(0, 100); os.kill(os.getpid(), 9)",
    "answers garbage": "os.read(0, 100); os.write(1, b'\\x01\\x03' * 5000); time.sleep(60)",
    "answers another request": "os.read(0, 100); os.write(1, bytes(8) + bytes([3]) + bytes(16)); time.sleep(60)",
    "answers infeasible with values": "os.write(1, os.read(0, 8) + bytes([3]) + bytes(8) + bytes([9]) + bytes(79))",
    "says yes without a solution": "os.write(1, os.read(0, 8) + bytes([4]) + bytes(16))",
}


@pytest.fixture
def children() -> Iterator[Children]:
    """Children of this test's own, ended with it."""
    found = Children()
    yield found
    found.close()


def _solve(
    children: Children,
    model: cp_model.CpModel,
    seconds: float = 60.0,
    memory_mib: int = 1024,
    parameters: str = PARAMETERS,
) -> Reply:
    proto = model.proto
    return children.solve(parameters, str(proto), len(proto.variables), soon(seconds, memory_mib=memory_mib))


def _kill_idle(children: Children) -> None:
    (child,) = children.idle
    child.process.kill()
    assert becomes(lambda: child.process.poll() is not None)


def _kill_at_work(process: int, before_s: float) -> None:
    """Kill it once it has computed more than before, and so has a question."""
    becomes(lambda: computed_s(process) > before_s + 0.1)
    os.kill(process, signal.SIGKILL)


def _binary(proto: object, folder: Path) -> bytes:
    cp_model_helper.CpSatHelper.write_model_to_file(proto, str(folder / "model.bin"))
    return (folder / "model.bin").read_bytes()


def test_what_it_answers(children: Children) -> None:
    """The optimum with its values and bound, or that there is none."""
    found = _solve(children, easy())
    assert (found.status, found.bound, list(found.values)) == (OPTIMAL, -11, [-4, 7, 1])
    assert _solve(children, impossible()).status == INFEASIBLE


@pytest.mark.parametrize("model", [easy(), impossible(), endless(5)])
def test_a_model_survives_the_way(model: cp_model.CpModel, tmp_path: Path) -> None:
    """Domains, constraints, hints and objective are the same after the text form."""
    copy = cp_model_helper.CpModelProto()
    assert copy.parse_text_format(str(model.proto))
    assert _binary(copy, tmp_path) == _binary(model.proto, tmp_path)


def test_one_process_serves_one_search_after_the_other(children: Children) -> None:
    """Between searches the child stays; searches at the same time have one each, and only one of them stays."""
    _solve(children, easy())
    (first,) = own_children()
    _solve(children, impossible())
    assert own_children() == {first}
    work = f"{PARAMETERS} max_deterministic_time: 1"  # the same on every machine, where time would end a slow child
    threads = [threading.Thread(target=_solve, args=(children, endless(), 600.0, 1024, work)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert becomes(lambda: len(own_children()) == 2)
    for thread in threads:
        thread.join()
    assert len(children.idle) == 1
    assert becomes(lambda: len(own_children()) == 1)


def test_killed_in_the_middle(children: Children) -> None:
    """A child that is killed while it searches leaves the outcome unknown; the next search is answered by another."""
    _solve(children, easy())
    (victim,) = own_children()
    threading.Thread(target=_kill_at_work, args=(victim, computed_s(victim))).start()
    assert _solve(children, endless(), seconds=300.0) == Reply()
    assert children.wary == WARY_SEARCHES
    assert _solve(children, easy()).status == OPTIMAL
    assert victim not in own_children()


def test_killed_between_searches(children: Children) -> None:
    """A child that went while nothing was asked of it is replaced without a word."""
    _solve(children, easy())
    _kill_idle(children)
    assert _solve(children, easy()).status == OPTIMAL
    assert children.wary == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_unknown(fault: str) -> None:
    """Whatever a child does instead of answering, the outcome is unknown, it is gone, and the next search works."""
    children = Children(faking(READY + FAULTS[fault]))
    assert _solve(children, impossible()) == Reply()
    assert children.due()
    assert becomes(lambda: not own_children())
    children.command = Children().command
    assert _solve(children, impossible()).status == INFEASIBLE
    children.close()


@pytest.mark.parametrize("reads", [True, False])
def test_a_search_that_ignores_its_limit_is_ended(reads: bool) -> None:
    """A child that never answers, or does not even read its request, is killed soon after the deadline."""
    command = faking(READY + ("os.read(0, 1 << 20); " if reads else "") + "time.sleep(600)")
    children = Children(command, [Child.start(command, soon())])
    assert _solve(children, endless(), seconds=0.5) == Reply()
    assert children.due()
    assert becomes(lambda: not own_children())


@pytest.mark.parametrize("code", ["pass", "import os; os.write(1, b'hello, this is no child of yours')", "1 / 0"])
def test_a_child_that_does_not_start(code: str) -> None:
    """That is said, and after some attempts in a row no more are made."""
    children = Children(faking(code))
    for _ in range(MAX_REFUSALS):
        with pytest.raises(Unavailable):
            _solve(children, easy())
    children.command = Children().command
    with pytest.raises(Unavailable):
        _solve(children, easy())
    assert becomes(lambda: not own_children())


def test_a_program_that_does_not_exist() -> None:
    """Where no process can be started at all, that is said too."""
    with pytest.raises(Unavailable):
        _solve(Children(("/no/such/python",)), easy())


def test_no_time_to_start_is_unknown() -> None:
    """A deadline that passes while the child starts is no fault of the child."""
    children = Children(faking("import time; time.sleep(600)"))
    assert _solve(children, easy(), seconds=0.1) == Reply()
    assert (children.wary, children.refusals) == (0, 0)


def test_memory_above_the_limit_ends_the_child(children: Children) -> None:
    """A model too large for the memory of a search is unknown, and a smaller one is solved after it."""
    assert _solve(children, endless(250), memory_mib=64) == Reply()
    assert children.due()
    assert _solve(children, easy(), memory_mib=64).status == OPTIMAL


def test_stop_ends_it(children: Children) -> None:
    """A search that is stopped is unknown, its process is gone, and that is no fault."""
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    proto = endless().proto
    assert children.solve(PARAMETERS, str(proto), len(proto.variables), soon(60, stop)) == Reply()
    assert children.wary == 0
    assert becomes(lambda: not own_children())


def test_nothing_stays(children: Children) -> None:
    """A hundred searches, some of them ended by force, leave one child, no thread and no open file behind."""
    _solve(children, easy())
    _, threads, files = holdings()
    for at in range(100):
        if at % 10:
            assert _solve(children, easy()).status == OPTIMAL
        else:
            _kill_idle(children) if at % 20 else _solve(children, endless(20), seconds=0.05)
    _solve(children, easy())
    assert becomes(lambda: holdings() == ({children.idle[0].process.pid}, threads, files)), holdings()
    children.close()
    assert own_children() == set()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """When the process that asked is killed in the middle of a search, the child ends too."""
    model = tmp_path / "model.txt"
    model.write_text(str(endless().proto))
    code = (
        "import sys, time; from pathlib import Path; from solver.search.children import CHILDREN; "
        "from solver.domain.budget import Budget; "
        f"CHILDREN.solve('num_workers: 1', Path({str(model)!r}).read_text(), 1, Budget(time.monotonic() + 600))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3]) as parent:
        assert becomes(lambda: bool(children_of(parent.pid)))
        (child,) = children_of(parent.pid)
        assert becomes(lambda: _searching(child))
        parent.kill()
    assert becomes(lambda: not alive(child))


def _searching(process: int) -> bool:
    """Whether it has used so much processor time that it must be past its start."""
    return computed_s(process) > 1.5


def test_a_fork_leaves_the_child_to_its_parent(children: Children) -> None:
    """A forked process starts its own child, and the parent's goes on serving the parent."""
    _solve(children, easy())
    (kept,) = children.idle
    children.after_fork()
    assert _solve(children, easy()).status == OPTIMAL
    assert children.idle != [kept]
    assert kept.process.stdin is not None
    assert kept.process.stdin.closed
    os.waitpid(kept.process.pid, 0)


def test_the_parent_needs_no_engine() -> None:
    """Starting and feeding children does not load OR-Tools."""
    code = "import solver.search.children, sys; print([name for name in sys.modules if name.startswith('ortools')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
