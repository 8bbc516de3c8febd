"""The ledger of the stand-alone service: promises in an SQLite file.

Every change is one transaction, on the disk before its call returns: `kill -9` at any moment loses nothing that was
confirmed and brings nothing back that had ended. Each change also notes the count of changes and the digest in a file
of its own, so that damage which SQLite does not see is reported at the next start. What holds capacity is kept in
memory too, so looking costs no disk.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from solver.domain.errors import InvalidRequest
from solver.ledger import Asked, Phase, Promise, PromisedPod
from solver.service.errors import InvalidField, NotFound, Unavailable
from solver.service.failpoints import failpoint
from solver.service.held_promises import HeldPromises
from solver.service.ledger_clock import LedgerClock, TimeSource
from solver.service.ledger_digest import MODULUS, of_head, of_pods, of_promise, of_request, of_seen, sealed
from solver.service.ledger_file import LedgerFile
from solver.service.ledger_note import Note
from solver.service.ledger_rows import PodRow, from_rows, to_rows
from solver.service.ledger_vouching import Contents

#: Requests are known again, and ended promises told, for so long; a day outlasts any sensible retry.
KEEP_MS = 24 * 3600 * 1000
#: Most that one call of `tidy` deletes of each kind, so that no other change waits for long.
TIDY_ROWS = 200

_COLUMNS = "number, cluster, gang, phase, shapes, lease_until_ms, created_ms, revision"
_HEAD = "number, cluster, gang, phase, lease_until_ms, created_ms, ended_ms, revision"

_log = structlog.get_logger("huddle.ledger")


@dataclass
class _Change:
    """One transaction: the time it happens at, the latest revision, and what it changes.

    last_number: of the newest promise. total: what the rows come to.
    """

    now_ms: int
    revision: int
    last_number: int
    total: int
    changed: list[Promise] = field(default_factory=list)
    written: bool = False


class SqliteLedger:
    """See `solver.ledger.Ledger`; any thread may call anything.

    path: None keeps everything in memory. max_bytes, accept_at: see `LedgerFile`. Raises SourceUnavailable when
    the file cannot be used; later Unavailable when something cannot be written, after which everything is as before,
    InvalidField for a request id used for something else, NotFound for an unknown promise.
    """

    def __init__(
        self,
        path: Path | None = None,
        time: TimeSource | None = None,
        max_bytes: int | None = None,
        accept_at: int | None = None,
    ) -> None:
        self._file = LedgerFile(path, max_bytes, accept_at)
        self._lock = threading.RLock()
        self._held = HeldPromises()
        self._state = self._file.contents
        try:
            with self._file.readable():
                self._load()
            self._clock = LedgerClock(self._state.noted_ms, time or TimeSource())
        except BaseException:
            self._file.close()
            raise

    @property
    def revision(self) -> int:
        """Revision of the latest change."""
        return self._state.revision

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def reserve(
        self, asked: Asked, cluster: str, gang: str, pods: Sequence[PromisedPod], lease_ms: int
    ) -> list[Promise]:
        """A new promise, first in the answer; earlier promises of the gang that still hold capacity are released."""
        with self._lock:
            if (known := self.answered(asked)) is not None:
                return [known]
            earlier = self._held.of_gang(cluster, gang)
            with self._changing("reserve") as change:
                promise = self._write_new(change, cluster, gang, pods, lease_ms)
                self._write_request(change, asked, promise)
                failpoint("ledger.reserve.half_written")
                for replaced in earlier:
                    self._write_phase(change, replaced, Phase.RELEASED)
            return change.changed

    def confirm(self, asked: Asked, promise_id: str) -> list[Promise]:
        """The promise, confirmed; one that has ended stays as it is, and one whose lease has ended expires."""

        def confirmed(change: _Change, promise: Promise) -> None:
            if promise.phase is Phase.RESERVED:
                late = promise.lease_until_ms <= change.now_ms
                promise = self._write_phase(change, promise, Phase.EXPIRED if late else Phase.CONFIRMED)
            if promise.phase in (Phase.CONFIRMED, Phase.FULFILLED):
                self._write_request(change, asked, promise)

        return self._once("confirm", asked, promise_id, confirmed)

    def release(self, asked: Asked, promise_id: str) -> list[Promise]:
        """The promise, ended; one that had ended before stays as it is."""

        def released(change: _Change, promise: Promise) -> None:
            if promise.phase.holds:
                self._write_phase(change, promise, Phase.RELEASED)
            self._write_request(change, asked, promise)

        return self._once("release", asked, promise_id, released)

    def seen(self, cluster: str, where: Mapping[str, str]) -> list[Promise]:
        """Promises of which pods were now seen bound. where: `namespace/pod` → node."""
        with self._lock:
            concerned = self._held.of_pods(cluster, where)
            if not concerned:
                return []
            with self._changing("seen") as change:
                for promise in concerned:
                    self._write_seen(change, promise, where)
            return change.changed

    def expire(self) -> list[Promise]:
        """Reservations whose lease has ended by now."""
        with self._lock:
            if not self._held.has_due(self._clock.now_ms()):
                return []
            with self._changing("expire") as change:
                for promise in self._held.due(change.now_ms):
                    self._write_phase(change, promise, Phase.EXPIRED)
            return change.changed

    def tidy(self) -> None:
        """Forget requests and ended promises of more than a day ago, and note the time while a lease runs."""
        with self._lock, self._changing("tidy") as change:
            before = change.now_ms - KEEP_MS
            old = f"SELECT id, content, number, asked_ms FROM requests WHERE asked_ms < ? LIMIT {TIDY_ROWS}"
            forgotten = self._run(old, before).fetchall()
            change.total -= sum(of_request(*row) for row in forgotten)
            self._file.connection.executemany("DELETE FROM requests WHERE id = ?", (row[:1] for row in forgotten))
            ended = "ended_ms > 0 AND ended_ms < ? AND number NOT IN (SELECT number FROM requests)"
            columns = f"{_HEAD}, shapes"
            found = self._run(f"SELECT {columns} FROM promises WHERE {ended} LIMIT {TIDY_ROWS}", before).fetchall()
            for *head, shapes in found:
                change.total -= of_head(*head) + of_pods(head[0], shapes, self._pods(head[0]))
            for table in ("pods", "promises"):
                self._file.connection.executemany(f"DELETE FROM {table} WHERE number = ?", (row[:1] for row in found))
            change.written = bool(forgotten or found or self._held.has_leases)

    def answered(self, asked: Asked) -> Promise | None:
        """The promise that was the answer to this request, as it is now; None when it was not asked before."""
        with self._lock, self._usable():
            row = self._run("SELECT content, number FROM requests WHERE id = ?", asked.id).fetchone()
        if row is None:
            return None
        if row[0] != asked.content:
            raise InvalidField("request_id", "it was used before, for something else")
        return self.get(self._id(row[1]))

    def get(self, promise_id: str) -> Promise | None:
        """One promise, whatever its phase; None once it is forgotten."""
        number = self._number(promise_id)
        with self._lock, self._usable():
            if (held := self._held.get(promise_id)) is not None:
                return held
            row = self._run(f"SELECT {_COLUMNS} FROM promises WHERE number = ?", number).fetchone()
            return None if row is None else self._promise(row)

    def holding(self, cluster: str, after: str = "") -> tuple[Promise, ...]:
        """Promises that hold capacity, in the order in which they were made; after: only those made after this one."""
        least = self._number(after)
        if after and not least:
            raise InvalidRequest(f"{after[:64]!r} is no promise of this ledger")
        with self._lock:
            held = self._held.of_cluster(cluster)
        return tuple(promise for promise in held if self._number(promise.id) > least) if least else held

    def clusters(self) -> list[str]:
        """Clusters with promises that hold capacity, by name."""
        with self._lock:
            return self._held.clusters()

    @property
    def held_pods(self) -> int:
        """Pods that capacity is held for."""
        return self._held.pods

    def _load(self) -> None:
        """Take what holds capacity into memory."""
        rows = self._run(f"SELECT {_COLUMNS} FROM promises WHERE ended_ms = 0 ORDER BY number").fetchall()
        self._held.take(self._promise(row) for row in rows)

    def _once(
        self, operation: str, asked: Asked, promise_id: str, change_it: Callable[[_Change, Promise], None]
    ) -> list[Promise]:
        """Do something to a promise, unless this very request was answered before; the promise as it is then."""
        with self._lock:
            promise = self.answered(asked)
            if promise is not None:
                return [promise]
            promise = self.get(promise_id)
            if promise is None:
                raise NotFound(f"there is no promise {promise_id[:64]!r}")
            with self._changing(operation) as change:
                change_it(change, promise)
            return change.changed or [promise]

    @contextmanager
    def _changing(self, operation: str) -> Iterator[_Change]:
        """One transaction; what it changed is known to others after it is on the disk, and only then."""
        change = _Change(self._clock.now_ms(), self._state.revision, self._state.last_number, self._state.total)
        with self._usable():
            self._note()
            self._run("BEGIN IMMEDIATE")
            try:
                yield change
                if not change.written:
                    self._run("ROLLBACK")
                    return
                later = self._later(change)
                values = later.changes, later.revision, later.noted_ms, later.digest
                self._run("UPDATE ledger SET changes = ?, revision = ?, noted_ms = ?, digest = ?", *values)
                failpoint(f"ledger.{operation}.before_commit")
                self._run("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if self._file.connection.in_transaction:
                        self._run("ROLLBACK")
                raise
        failpoint(f"ledger.{operation}.after_commit")
        self._state = later
        self._held.take(change.changed)
        try:
            self._note()
        except OSError as error:  # it has happened; before the next change this is tried again
            _log.error("ledger_change_not_noted", change=later.changes, problem=str(error))

    def _later(self, change: _Change) -> Contents:
        """What the ledger is after a change."""
        before, total = self._state, change.total % MODULUS
        head = before.name, before.changes + 1, change.revision, change.now_ms, change.last_number
        return Contents(*head, sealed(*head, total), total)

    def _note(self) -> None:
        """Note the latest change beside the file, unless it is."""
        notes, state = self._file.notes, self._state
        if notes is not None and (notes.last is None or notes.last.changes != state.changes):
            failpoint("ledger.note.before_write")
            notes.note(Note(state.name, state.changes, state.digest))
            failpoint("ledger.note.after_write")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Turns errors of the database into Unavailable."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"the ledger cannot be used now: {error}") from error

    def _write_new(
        self, change: _Change, cluster: str, gang: str, pods: Sequence[PromisedPod], lease_ms: int
    ) -> Promise:
        shapes, rows = to_rows(pods)
        now_ms, change.revision, change.written = change.now_ms, change.revision + 1, True
        until_ms = now_ms + lease_ms
        values = (cluster, gang, Phase.RESERVED.value, shapes, until_ms, now_ms, change.revision)
        number = self._run(
            "INSERT INTO promises (cluster, gang, phase, shapes, lease_until_ms, created_ms, revision, ended_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            *values,
        ).lastrowid
        assert number is not None
        change.last_number = number
        self._file.connection.executemany(
            "INSERT INTO pods VALUES (?, ?, ?, ?, ?, ?, ?)", ((number, *row) for row in rows)
        )
        promise_id = self._id(number)
        kept = from_rows(promise_id, gang, shapes, rows)
        promise = Promise(promise_id, cluster, gang, Phase.RESERVED, kept, until_ms, now_ms, change.revision)
        change.total += of_promise(number, promise, ended_ms=0) + of_pods(number, shapes, rows)
        change.changed.append(promise)
        return promise

    def _write_request(self, change: _Change, asked: Asked, promise: Promise) -> None:
        values = (asked.id, asked.content, self._number(promise.id), change.now_ms)
        self._run("INSERT INTO requests VALUES (?, ?, ?, ?)", *values)
        change.total += of_request(*values)
        change.written = True

    def _write_phase(self, change: _Change, promise: Promise, phase: Phase) -> Promise:
        """The promise, which has not ended, in another phase."""
        change.revision, change.written = change.revision + 1, True
        until_ms = 0 if phase is Phase.CONFIRMED else promise.lease_until_ms
        later = replace(promise, phase=phase, lease_until_ms=until_ms, revision=change.revision)
        ended_ms = 0 if phase.holds else change.now_ms
        number = self._number(promise.id)
        self._run(
            "UPDATE promises SET phase = ?, lease_until_ms = ?, ended_ms = ?, revision = ? WHERE number = ?",
            *(phase.value, until_ms, ended_ms, change.revision, number),
        )
        change.total += of_promise(number, later, ended_ms) - of_promise(number, promise, ended_ms=0)
        change.changed.append(later)
        return later

    def _write_seen(self, change: _Change, promise: Promise, where: Mapping[str, str]) -> None:
        number, pods = self._number(promise.id), list(promise.pods)
        for position, pod in enumerate(pods):
            if not pod.seen_on and (node := where.get(pod.holds.name)):
                pods[position] = replace(pod, seen_on=node)
                self._run("UPDATE pods SET seen_on = ? WHERE number = ? AND position = ?", node, number, position)
                change.total += of_seen(number, position, node)
        complete = all(pod.seen_on for pod in pods)
        self._write_phase(change, replace(promise, pods=tuple(pods)), Phase.FULFILLED if complete else promise.phase)

    def _promise(self, row: Any) -> Promise:
        """The promise of a row of `promises`, with its pods."""
        number, cluster, gang, phase, shapes, lease_until_ms, created_ms, revision = row
        pods = from_rows(self._id(number), gang, shapes, self._pods(number))
        return Promise(self._id(number), cluster, gang, Phase(phase), pods, lease_until_ms, created_ms, revision)

    def _pods(self, number: int) -> list[PodRow]:
        query = "SELECT position, pod, role, node, shape, seen_on FROM pods WHERE number = ? ORDER BY position"
        return self._run(query, number).fetchall()

    def _id(self, number: int) -> str:
        return f"{self._state.name}-{number}"

    def _number(self, promise_id: str) -> int:
        """The number in an id of ours; 0, which no promise has, for any other text."""
        text = promise_id.partition("-")[2]
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
        return number if promise_id == self._id(number) else 0

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._file.connection.execute(statement, values)
