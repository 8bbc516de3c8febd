"""The ledger's file: whose it is, which version it has, who uses it, and what happens when it cannot be used."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from solver.domain.errors import SourceUnavailable
from solver.ledger import Promise
from solver.service import ledger_schema
from solver.service.errors import Unavailable
from solver.service.ledger_file import LedgerFile
from solver.service.ledger_schema import APPLICATION_ID, STEPS
from solver.service.sqlite_ledger import SqliteLedger
from support.promising import MINUTE_MS, asked, pods_of, workers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is kept."""
    return tmp_path / "ledger.db"


def reserve(ledger: SqliteLedger, request_id: str, name: str = "g", count: int = 2) -> Promise:
    """A promise."""
    pods = pods_of(workers(name, count), "n0")
    return ledger.reserve(asked(request_id), "site", f"default/{name}", pods, MINUTE_MS)[0]


def change(path: Path, *statements: str) -> None:
    """What somebody else does to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_commits_are_on_the_disk_before_they_are_confirmed(path: Path) -> None:
    """Write-ahead log, synchronised at every commit; the file says what it is."""
    file = LedgerFile(path)
    settings = {
        name: file.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "application_id", "user_version")
    }
    file.close()
    expected = {"journal_mode": "wal", "synchronous": 2, "application_id": APPLICATION_ID, "user_version": len(STEPS)}
    assert settings == expected


def test_a_second_service_is_refused_and_named(path: Path) -> None:
    """Also when it comes by another name of the file; and welcome once the first has gone."""
    first = SqliteLedger(path)
    link = path.with_name("link.db")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(SourceUnavailable, match=rf"in use by another service \(process {os.getpid()}\)"):
            SqliteLedger(name)
    first.close()
    SqliteLedger(path).close()


def test_a_file_that_could_not_be_used_is_free_again(path: Path) -> None:
    """A refused start leaves no lock behind."""
    SqliteLedger(path).close()
    change(path, "PRAGMA user_version = 999")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"newer version of Huddle \(schema 999, this one knows 2\)"):
            SqliteLedger(path)


def test_an_older_file_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its promises stay; a step that fails leaves it as it was."""
    ledger = SqliteLedger(path)
    promise = reserve(ledger, "a")
    ledger.close()
    broken = (*STEPS, ("CREATE TABLE notes (text TEXT)", "CREATE TABLE notes (text TEXT)"))
    monkeypatch.setattr(ledger_schema, "STEPS", broken)
    with pytest.raises(SourceUnavailable, match="cannot be opened: table notes already exists"):
        SqliteLedger(path)
    monkeypatch.setattr(ledger_schema, "STEPS", (*STEPS, ("CREATE TABLE notes (text TEXT)",)))
    again = SqliteLedger(path)
    assert again.holding("site") == (promise,)
    again.close()
    monkeypatch.undo()
    with pytest.raises(SourceUnavailable, match="schema 3, this one knows 2"):
        SqliteLedger(path)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"]
)
def test_databases_of_others_are_left_alone(path: Path, statement: str) -> None:
    """Whatever shows that they are."""
    change(path, statement)
    before = path.read_bytes()
    with pytest.raises(SourceUnavailable, match="is a database of something else"):
        SqliteLedger(path)
    assert before[100:] == path.read_bytes()[100:]


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    """As made by `touch` or a new volume."""
    path.touch()
    ledger = SqliteLedger(path)
    reserve(ledger, "a")
    ledger.close()


@pytest.mark.parametrize("damage", ["text", "head", "page", "short"])
def test_a_damaged_file_is_told_in_one_sentence(path: Path, damage: str) -> None:
    """Whether it never was one, or was written over, or lost its end."""
    ledger = SqliteLedger(path)
    for at in range(50):
        reserve(ledger, f"a{at}", f"g{at}", 20)
    ledger.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"promises, promises\n" * 1000)
    elif damage == "head":
        content[:100] = bytes(100)
    elif damage == "page":
        content[4096:] = os.urandom(len(content) - 4096)
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    with pytest.raises(SourceUnavailable) as caught:
        SqliteLedger(path)
    assert f"ledger {path} is damaged: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "[{}]", "7"])
def test_rows_that_make_no_sense_are_damage_too(path: Path, value: str) -> None:
    """As somebody may leave them who writes by hand."""
    ledger = SqliteLedger(path)
    reserve(ledger, "a")
    ledger.close()
    change(path, f"UPDATE promises SET shapes = '{value}'")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="is damaged: "):
            SqliteLedger(path)


def test_places_where_no_file_can_be_are_told_in_one_sentence(tmp_path: Path) -> None:
    """A folder that does not exist, and a folder in the place of the file."""
    with pytest.raises(SourceUnavailable, match="cannot be opened: No such file or directory"):
        SqliteLedger(tmp_path / "none" / "ledger.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceUnavailable, match="cannot be opened: unable to open database file"):
        SqliteLedger(tmp_path / "folder")


def test_a_full_file_refuses_and_leaves_nothing_half_done(path: Path) -> None:
    """Reserving fails as a whole, what was promised stays, and there is room again once the file may grow."""
    ledger = SqliteLedger(path, max_bytes=200_000)
    promises = [reserve(ledger, "first")]
    refused = ""
    while not refused:
        name = f"g{len(promises)}"
        try:
            promises.append(reserve(ledger, name, name, 50))
        except Unavailable as error:
            refused = str(error)
    assert "database or disk is full" in refused
    assert len(promises) > 10
    assert ledger.answered(asked(name)) is None
    assert ledger.holding("site") == tuple(promises)
    assert ledger.revision == promises[-1].revision
    ledger.close()
    again = SqliteLedger(path)
    assert again.holding("site") == tuple(promises)
    promises.append(reserve(again, name, name, 50))
    assert again.holding("site") == tuple(promises)
    again.close()


@contextmanager
def no_room(path: Path) -> Iterator[None]:
    """Files of this process cannot grow beyond what the log of the ledger has now."""
    log = path.with_name(path.name + "-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log + 100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_a_disk(path: Path) -> None:
    """In a process of its own: no room for a while, in the middle of every kind of change."""
    ledger = SqliteLedger(path)
    one, two, three = (reserve(ledger, name, name) for name in ("a", "b", "c"))
    ledger.confirm(asked("confirm b"), two.id)
    before = ledger.holding("site")
    changes = (
        lambda: reserve(ledger, "d", "d", 400),
        lambda: ledger.confirm(asked("confirm a"), one.id),
        lambda: ledger.release(asked("release c"), three.id),
        lambda: ledger.seen("site", {"default/b-0": "n0"}),
    )
    with no_room(path):
        for each in changes:
            try:
                each()
            except Unavailable as error:
                print(error)
            assert ledger.holding("site") == before
    for each in changes:
        each()
    print([(promise.gang, promise.phase.value) for promise in ledger.holding("site")], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_full_disk_refuses_and_leaves_nothing_half_done(path: Path) -> None:
    """Whatever is asked for fails and is as before, and works as soon as there is room, `kill -9` or not."""
    code = f"from tests.unit.service.test_ledger_file import *; fill_a_disk(Path({str(path)!r}))"
    places = os.pathsep.join(("tests", ".", *sys.path))
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places}
    )
    lines = run.stdout.splitlines()
    held = [("default/a", "confirmed"), ("default/b", "confirmed"), ("default/d", "reserved")]
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert len(lines) == 5
    assert all(line.startswith("the ledger cannot be used now: ") for line in lines[:4])
    assert lines[4] == str(held)
    again = SqliteLedger(path)
    assert [(promise.gang, promise.phase.value) for promise in again.holding("site")] == held
    assert [pod.seen_on for pod in again.holding("site")[1].pods] == ["n0", ""]
    again.close()


def test_a_file_that_is_locked_by_a_reader_with_a_pen_is_waited_for_and_then_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who writes by hand makes changes fail, not the service."""
    monkeypatch.setattr("solver.service.ledger_file.BUSY_MS", 1)
    ledger = SqliteLedger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="database is locked"):
            reserve(ledger, "a")
        other.execute("ROLLBACK")
    reserve(ledger, "a")
    ledger.close()
