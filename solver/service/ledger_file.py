"""The ledger's files: opened by one process at a time, every commit on the disk before it is confirmed."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from solver.domain.errors import InvalidRequest, SourceUnavailable
from solver.service.ledger_note import NoteFile
from solver.service.ledger_schema import migrate
from solver.service.ledger_vouching import Contents, emptied, refusal, vouched

#: How long a commit waits for another program that looks into the file, in milliseconds.
BUSY_MS = 5000


class LedgerFile:
    """An open ledger file, or one in memory.

    path: None = in memory. max_bytes: the file grows no further; None = as the disk allows. accept_at: so many changes
    are taken for all there were, if the file has so many and something speaks against it. Beside the file lie
    `<file>.lock`, which is locked as long as this process lives, and `<file>.note`, see NoteFile. contents: what the
    file held when it was opened. Raises SourceUnavailable with one sentence.
    """

    def __init__(self, path: Path | None = None, max_bytes: int | None = None, accept_at: int | None = None) -> None:
        self.where = "the ledger in memory" if path is None else f"ledger {path}"
        self.notes: NoteFile | None = None
        self._accepted = accept_at
        self._open = ExitStack()
        try:
            if path is not None:
                self._open.callback(os.close, _locked(path, self.where))
                self.notes = self._noted(path)
            with self.readable():
                name = ":memory:" if path is None else path
                self.connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
                self._open.callback(self.connection.close)
                self.contents = self._prepare(max_bytes)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and let others open it."""
        self._open.close()

    def _noted(self, path: Path) -> NoteFile:
        """What is noted of the ledger; an empty file in its place is refused before SQLite throws its log away."""
        real = path.resolve()
        try:
            notes = NoteFile(real.with_name(real.name + ".note"))
            self._open.callback(notes.close)
            is_empty = not real.exists() or not real.stat().st_size
        except OSError as error:
            raise SourceUnavailable(f"{self.where} cannot be opened: {error.strerror}: {error.filename}") from error
        if is_empty:
            self._refuse_emptied(notes)
        return notes

    def _refuse_emptied(self, notes: NoteFile | None) -> None:
        problem = emptied(notes) if notes is not None else ""
        if problem and self._accepted != 0:
            raise refusal(self.where, problem, 0, self._accepted)

    def _prepare(self, max_bytes: int | None) -> Contents:
        run = self.connection.execute
        run(f"PRAGMA busy_timeout = {BUSY_MS}")
        mode = run("PRAGMA journal_mode = WAL").fetchone()[0]
        if self.notes is not None and mode != "wal":
            raise SourceUnavailable(f"{self.where} lies on a file system without shared memory; use a local disk")
        run("PRAGMA synchronous = FULL")
        problem = run("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise SourceUnavailable(f"{self.where} is damaged: {problem.splitlines()[-1]}; {_ADVICE}")
        if max_bytes is not None:
            run(f"PRAGMA max_page_count = {max(1, max_bytes // run('PRAGMA page_size').fetchone()[0])}")
        if not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._refuse_emptied(self.notes)
        migrate(self.connection, self.where)
        contents = vouched(self.connection, self.notes, self.where, self._accepted)
        with suppress(sqlite3.OperationalError):  # where there is no room the log has it all the same
            run("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the file itself tells that it has a note
        return contents

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Turns errors of the database, and of what is read from it, into one sentence."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise SourceUnavailable(f"{self.where} cannot be opened: {_in_one_line(error)}") from error
        except (sqlite3.DatabaseError, InvalidRequest, ValueError, LookupError, TypeError) as error:
            raise SourceUnavailable(f"{self.where} is damaged: {_in_one_line(error)}; {_ADVICE}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_ADVICE = "restore it, or move all its files away to begin with an empty one, which forgets every promise"


def _locked(path: Path, where: str) -> int:
    """The lock of the file, held until it is closed, which the end of the process does too."""
    lock = path.resolve().with_name(path.resolve().name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SourceUnavailable(f"{where} cannot be opened: {error.strerror}: {lock}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        by = f" (process {owner})" if owner else ""
        raise SourceUnavailable(f"{where} is in use by another service{by}") from error
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle
