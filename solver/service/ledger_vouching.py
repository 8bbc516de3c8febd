"""Whether a ledger's file holds everything that was confirmed, and nothing else.

Its digest tells whether its rows belong together; the note beside it tells whether it is the latest that was confirmed.
What nothing can tell from a sound ledger is an old copy of all its files together.
"""

import sqlite3
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import structlog

from solver.domain.errors import SourceUnavailable
from solver.service.ledger_digest import MODULUS, of_head, of_pods, of_request, sealed
from solver.service.ledger_note import Note, NoteFile

#: Added to revisions and numbers of promises where some may be missing: more than anybody was ever given.
UNKNOWN_GAP = 10**9

_log = structlog.get_logger("huddle.ledger")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ledger's file says of itself, and what its rows come to.

    changes: how many were written. revision: the latest that a promise shows. last_number: of the newest promise.
    digest: as written, empty before the first. total: over the rows that are there.
    """

    name: str
    changes: int
    revision: int
    noted_ms: int
    last_number: int
    digest: bytes
    total: int

    def seal(self) -> bytes:
        """The digest that the rows come to."""
        return sealed(self.name, self.changes, self.revision, self.noted_ms, self.last_number, self.total)

    def note(self) -> Note:
        """What is noted of it beside the file."""
        return Note(self.name, self.changes, self.seal())


def contents_of(connection: sqlite3.Connection) -> Contents:
    """Every row of the ledger, summed up; no index is believed."""
    run = connection.execute
    name, changes, revision, noted_ms, digest = run(
        "SELECT name, changes, revision, noted_ms, digest FROM ledger"
    ).fetchone()
    last = run("SELECT seq FROM sqlite_sequence WHERE name = 'promises'").fetchone()
    total = 0
    shapes: dict[int, str] = {}
    head = "number, cluster, gang, phase, lease_until_ms, created_ms, ended_ms, revision"
    for row in run(f"SELECT {head}, shapes FROM promises NOT INDEXED ORDER BY number"):
        total += of_head(*row[:8])
        shapes[row[0]] = row[8]
    pods = run("SELECT number, position, pod, role, node, shape, seen_on FROM pods ORDER BY number, position")
    for number, rows in groupby(pods, key=itemgetter(0)):
        total += of_pods(number, shapes.pop(number, ""), (row[1:] for row in rows))
    total += sum(of_pods(number, text, ()) for number, text in shapes.items())
    for row in run("SELECT id, content, number, asked_ms FROM requests NOT INDEXED"):
        total += of_request(*row)
    return Contents(name, changes, revision, noted_ms, last[0] if last else 0, digest, total % MODULUS)


def vouched(connection: sqlite3.Connection, notes: NoteFile | None, where: str, accept_at: int | None) -> Contents:
    """The contents of a ledger in which nothing is missing; its digest and its note are written where they were not.

    notes: None for a ledger in memory. where: how errors call the ledger. accept_at: the number of changes that an
    operator takes for all there were. Raises SourceUnavailable with one sentence.
    """
    found = contents_of(connection)
    if notes is None:
        return found
    problem = _problem(found, notes)
    if problem and accept_at != found.changes:
        raise refusal(where, problem, found.changes, accept_at)
    if problem:
        found = _accepted(connection, found, notes, problem)
    elif not notes.exists and found.last_number:
        _log.info("ledger_noted", meaning=f"from now on {notes.path} tells whether the ledger is complete")
    notes.note(found.note())
    if found.digest != found.seal():
        found = replace(found, digest=found.seal())
        connection.execute("UPDATE ledger SET digest = ?", (found.digest,))
    return found


def refusal(where: str, problem: str, changes: int, accept_at: int | None) -> SourceUnavailable:
    """The sentence for the operator. problem: a phrase that goes on from the ledger's name."""
    other = "" if accept_at is None else f", not {accept_at}"
    return SourceUnavailable(
        f"{where} {problem}; restore the newest copy of all its files, or start once with --accept-ledger-at "
        f"{changes}{other}, which takes what is there for all there was"
    )


def emptied(notes: NoteFile) -> str:
    """What is wrong with a ledger's file that holds nothing at all; empty when nothing was noted of it either."""
    return _lacking(0, notes.last) if notes.last is not None and notes.last.changes else ""


def _lacking(changes: int, last: Note) -> str:
    return f"lacks changes that were confirmed: it has {changes} of {last.changes}"


def _problem(found: Contents, notes: NoteFile) -> str:
    """What speaks against the ledger; empty when nothing does."""
    last = notes.last
    if found.digest and found.digest != found.seal():
        return f"is damaged: its rows are not what change {found.changes} left"
    if last is None:
        state = "cannot be read" if notes.exists else "is missing"
        is_older = not found.digest and not notes.exists
        return "" if is_older else f"cannot be checked: {notes.path.name}, which tells its last change, {state}"
    if last.name != found.name:
        return f"is not the one that {notes.path.name} belongs to" if last.changes else ""
    if last.changes > found.changes:
        return _lacking(found.changes, last)
    if (last.changes == found.changes or not found.digest) and last.digest != found.seal():
        return f"is not as change {last.changes} left it"
    return ""


def _accepted(connection: sqlite3.Connection, found: Contents, notes: NoteFile, problem: str) -> Contents:
    """The ledger as it is, told to the log; what counts goes on after all that may have been given out."""
    last = notes.last
    _log.warning("ledger_accepted", problem=problem, changes=found.changes, noted=last.changes if last else None)
    later = replace(
        found,
        changes=max(found.changes, last.changes if last else 0) + 1,
        revision=found.revision + UNKNOWN_GAP,
        last_number=found.last_number + UNKNOWN_GAP,
    )
    later = replace(later, digest=later.seal())
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'promises'")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('promises', ?)", (later.last_number,))
    values = later.changes, later.revision, later.digest
    connection.execute("UPDATE ledger SET changes = ?, revision = ?, digest = ?", values)
    connection.execute("COMMIT")
    return later
