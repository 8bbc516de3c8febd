"""Damaged, missing and outdated files of a ledger: nothing confirmed is lost in silence, nothing ended comes back."""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from solver.domain.errors import SourceUnavailable
from solver.service.errors import Unavailable
from solver.service.ledger_note import SLOT, Note, NoteFile
from solver.service.sqlite_ledger import SqliteLedger
from support.ledger_damage import History, damaged, outcome
from support.promising import MINUTE_MS, Time, asked, pods_of, workers


def campaign(folder: Path, seed: int, damages: int) -> Counter[str]:
    """Damages to one ledger, each to a copy of its own; how they ended."""
    rng = random.Random(seed)
    history = History(folder, rng, rng.choice([5, 20, 60, 150]))
    found: Counter[str] = Counter()
    for at in range(damages):
        copy = folder / f"damaged-{at}"
        found[outcome(history, damaged(history, rng, copy))] += 1
        shutil.rmtree(copy)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_damage_has_no_effect_or_is_told(tmp_path: Path, seed: int) -> None:
    """Fifteen random damages to each of four ledgers."""
    assert set(campaign(tmp_path, seed, 15)) <= {"refused", "same"}


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 140))
def test_much_damage_has_no_effect_or_is_told(tmp_path: Path, seed: int) -> None:
    """Thirty random damages to each of forty ledgers: 1,200, of which many are refused and many do no harm."""
    found = campaign(tmp_path, seed, 30)
    assert set(found) == {"refused", "same"}, found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger as a `kill -9` leaves it: 4 promises, the second given back, all of it still in the log."""
    source = tmp_path / "source" / "ledger.db"
    source.parent.mkdir()
    ledger = SqliteLedger(source, Time().source)
    for name in "abcd":
        promise = reserve(ledger, name)
        if name == "b":
            ledger.release(asked("release b"), promise)
    shutil.copytree(source.parent, tmp_path / "ledger")
    ledger.close()
    return tmp_path / "ledger" / "ledger.db"


def reserve(ledger: SqliteLedger, name: str) -> str:
    """Id of a promise of one pod for a minute."""
    pods = pods_of(workers(name, 1), "n0")
    return ledger.reserve(asked(f"reserve {name}"), "site", f"default/{name}", pods, MINUTE_MS)[0].id


def beside(path: Path, part: str) -> Path:
    """One of the ledger's files."""
    return path.with_name(path.name + part)


def refused(path: Path) -> str:
    """The sentence with which a start is refused, twice alike."""
    sentences = []
    for _ in range(2):
        with pytest.raises(SourceUnavailable) as caught:
            SqliteLedger(path)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]
    return sentences[0]


def test_a_log_that_lost_its_end_is_refused(path: Path) -> None:
    """The last of five changes is cut off: the sentence counts them and says what can be done."""
    log = beside(path, "-wal")
    note = beside(path, ".note").read_bytes()
    os.truncate(log, log.stat().st_size - 1000)
    sentence = refused(path)
    assert "lacks changes that were confirmed: it has 4 of 5; restore the newest copy of all its files, " in sentence
    assert sentence.endswith("start once with --accept-ledger-at 4, which takes what is there for all there was")
    assert beside(path, ".note").read_bytes() == note


@pytest.mark.parametrize("part", ["", "-wal"])
def test_a_missing_file_is_refused(path: Path, part: str) -> None:
    """Without the database its log is worth nothing, without the log the database is empty; neither is begun anew."""
    beside(path, part).unlink()
    assert "lacks changes that were confirmed: it has 0 of 5" in refused(path)


def test_a_missing_note_is_refused(path: Path) -> None:
    """Without it nobody knows whether the log is complete; nor when it can not be read any more."""
    note = beside(path, ".note")
    kept = note.read_bytes()
    note.unlink()
    assert "cannot be checked: ledger.db.note, which tells its last change, is missing" in refused(path)
    note.write_bytes(bytes(len(kept)))
    assert "cannot be checked: ledger.db.note, which tells its last change, cannot be read" in refused(path)
    note.write_bytes(kept)
    SqliteLedger(path).close()


@pytest.mark.parametrize("kept", [0, 10, 5000])
def test_a_copy_of_database_and_log_alone_is_refused_if_the_log_is_damaged_too(path: Path, kept: int) -> None:
    """The database by itself tells that there has to be a note, from the first start on."""
    os.truncate(beside(path, "-wal"), kept)
    beside(path, ".note").unlink()
    assert "cannot be checked: ledger.db.note, which tells its last change, is missing" in refused(path)


def test_text_of_a_damaged_schema_is_told_in_one_line(path: Path) -> None:
    """SQLite quotes what it cannot read, line breaks included."""
    SqliteLedger(path).close()
    content = path.read_bytes()
    at = content.index(b"CREATE TABLE promises")
    path.write_bytes(content[:at] + b"CREATE\nTABLE\npromoses" + content[at + 21 :])
    assert "\n" not in refused(path)


def test_a_note_of_another_ledger_is_refused(path: Path, tmp_path: Path) -> None:
    """As after files were mixed up."""
    other = SqliteLedger(tmp_path / "other.db")
    reserve(other, "x")
    other.close()
    shutil.copy(tmp_path / "other.db.note", beside(path, ".note"))
    assert "is not the one that ledger.db.note belongs to" in refused(path)


def test_rows_that_were_changed_are_refused(path: Path) -> None:
    """One bit of a node's name, which SQLite cannot see in a closed database."""
    SqliteLedger(path).close()
    content = path.read_bytes()
    at = content.rindex(b"n0")
    path.write_bytes(content[:at] + b"n1" + content[at + 2 :])
    assert "is damaged: its rows are not what change 5 left" in refused(path)


def test_a_ledger_that_went_another_way_is_refused(path: Path, tmp_path: Path) -> None:
    """Two copies that each went on by one change are not mixed."""
    shutil.copytree(path.parent, tmp_path / "copy")
    for each, name in ((path, "x"), (tmp_path / "copy" / path.name, "y")):
        ledger = SqliteLedger(each, Time().source)
        reserve(ledger, name)
        ledger.close()
    shutil.copy(tmp_path / "copy" / "ledger.db.note", beside(path, ".note"))
    assert "is not as change 6 left it" in refused(path)


def test_a_note_that_is_behind_by_one_change_is_a_death_in_between(path: Path) -> None:
    """The change was on the disk and nobody had been told; it stays, and is noted."""
    note = NoteFile(beside(path, ".note"))
    latest = note.last
    assert latest is not None
    content = beside(path, ".note").read_bytes()
    slots = [content[:SLOT], content[SLOT:]]
    newest = max((0, 1), key=lambda at: f" {latest.changes} ".encode() in slots[at])
    slots[newest] = b"huddle-ledger 1 torn" + slots[newest][20:]
    note.close()
    beside(path, ".note").write_bytes(b"".join(slots))
    ledger = SqliteLedger(path, Time().source)
    assert [promise.gang for promise in ledger.holding("site")] == ["default/a", "default/c", "default/d"]
    ledger.close()
    again = NoteFile(beside(path, ".note"))
    assert again.last == latest
    again.close()


def test_an_operator_takes_what_is_there(path: Path) -> None:
    """Only with the right number; the log says so, no id is given twice, and the next start needs nothing."""
    log = beside(path, "-wal")
    os.truncate(log, log.stat().st_size - 1000)
    with pytest.raises(SourceUnavailable, match="--accept-ledger-at 4, not 5"):
        SqliteLedger(path, accept_at=5)
    with capture_logs() as lines:
        ledger = SqliteLedger(path, Time().source, accept_at=4)
    (line,) = lines
    assert (line["event"], line["log_level"], line["changes"], line["noted"]) == ("ledger_accepted", "warning", 4, 5)
    assert [promise.gang for promise in ledger.holding("site")] == ["default/a", "default/c"]
    assert int(reserve(ledger, "d").partition("-")[2]) > 10**9
    ledger.close()
    for _ in range(2):
        again = SqliteLedger(path, Time().source, accept_at=4)
        assert [promise.gang for promise in again.holding("site")] == ["default/a", "default/c", "default/d"]
        again.close()


@pytest.mark.parametrize("part", ["", "-wal", ".note"])
def test_an_operator_goes_on_without_a_file(path: Path, part: str) -> None:
    """Empty where the database or all of its log has gone, and with everything where only the note is missing."""
    beside(path, part).unlink()
    ledger = SqliteLedger(path, Time().source, accept_at=5 if part == ".note" else 0)
    assert len(ledger.holding("site")) == (3 if part == ".note" else 0)
    reserve(ledger, "x")
    ledger.close()
    SqliteLedger(path).close()


def test_an_older_ledger_gets_its_note(path: Path) -> None:
    """One of the version before starts once without; the log says so, and from then on the note is needed."""
    ledger = SqliteLedger(path, Time().source)
    held = ledger.holding("site")
    for statement in ("DROP COLUMN digest", "DROP COLUMN changes"):
        ledger._file.connection.execute(f"ALTER TABLE ledger {statement}")
    ledger._file.connection.execute("PRAGMA user_version = 1")
    ledger.close()
    beside(path, ".note").unlink()
    with capture_logs() as lines:
        again = SqliteLedger(path, Time().source)
    assert [line["event"] for line in lines] == ["ledger_noted"]
    assert again.holding("site") == held
    again.close()
    SqliteLedger(path).close()
    beside(path, ".note").unlink()
    assert "is missing" in refused(path)


def test_what_cannot_be_noted_is_noted_before_the_next_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change itself has happened; the next one is refused until the note can be written."""
    ledger = SqliteLedger(path, Time().source)

    def broken(self: NoteFile, note: Note) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(NoteFile, "note", broken)
        reserve(ledger, "x")
        with pytest.raises(Unavailable, match=r"the ledger cannot be used now: .*Input/output error"):
            reserve(ledger, "y")
    assert [line["event"] for line in lines] == ["ledger_change_not_noted"]
    assert [promise.gang for promise in ledger.holding("site")][-1] == "default/x"
    reserve(ledger, "y")
    ledger.close()
    SqliteLedger(path).close()
