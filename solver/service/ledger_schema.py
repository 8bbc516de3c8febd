"""Tables of the ledger's file, and the steps from one version of them to the next."""

import os
import sqlite3

from solver.domain.errors import SourceUnavailable
from solver.service.failpoints import failpoint

#: `HUDL`: how `file` and others know the format.
APPLICATION_ID = 0x4855444C

#: Step n leads from version n to n + 1, which `PRAGMA user_version` bears. Never change one that was released; add one.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        # name: part of every id, so that ids of another or a lost file are never taken for ids of this one.
        # noted_ms: the latest time that was noted.
        """CREATE TABLE ledger (
          one INTEGER PRIMARY KEY CHECK (one = 1),
          name TEXT NOT NULL,
          revision INTEGER NOT NULL,
          noted_ms INTEGER NOT NULL
        )""",
        # shapes: what pods hold, as a JSON list. lease_until_ms: 0 = none. ended_ms: 0 = it holds capacity.
        """CREATE TABLE promises (
          number INTEGER PRIMARY KEY AUTOINCREMENT,
          cluster TEXT NOT NULL,
          gang TEXT NOT NULL,
          phase TEXT NOT NULL,
          shapes TEXT NOT NULL,
          lease_until_ms INTEGER NOT NULL,
          created_ms INTEGER NOT NULL,
          ended_ms INTEGER NOT NULL,
          revision INTEGER NOT NULL
        )""",
        "CREATE INDEX held_promises ON promises (number) WHERE ended_ms = 0",
        "CREATE INDEX ended_promises ON promises (ended_ms) WHERE ended_ms > 0",
        # shape: position in the shapes of the promise. seen_on: empty = not yet.
        """CREATE TABLE pods (
          number INTEGER NOT NULL,
          position INTEGER NOT NULL,
          pod TEXT NOT NULL,
          role TEXT NOT NULL,
          node TEXT NOT NULL,
          shape INTEGER NOT NULL,
          seen_on TEXT NOT NULL,
          PRIMARY KEY (number, position)
        ) WITHOUT ROWID""",
        """CREATE TABLE requests (
          id TEXT PRIMARY KEY,
          content BLOB NOT NULL,
          number INTEGER NOT NULL,
          asked_ms INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX old_requests ON requests (asked_ms)",
        "CREATE INDEX requests_of_promises ON requests (number)",
    ),
    (
        # changes: how many were written. digest: what all rows come to, see ledger_digest; empty until first written.
        "ALTER TABLE ledger ADD COLUMN changes INTEGER NOT NULL DEFAULT 0",
        "UPDATE ledger SET changes = revision",
        "ALTER TABLE ledger ADD COLUMN digest BLOB NOT NULL DEFAULT x''",
    ),
)


def migrate(connection: sqlite3.Connection, where: str) -> None:
    """Bring the tables to the latest version, step by step, each wholly or not at all.

    where: how errors call the ledger. Raises SourceUnavailable for a database of others and for a version that is newer
    than this program.
    """
    version, application = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS)
    if application != APPLICATION_ID and (version or application or _has_tables(connection)):
        raise SourceUnavailable(f"{where} is a database of something else; name another file")
    if version > len(STEPS):
        raise SourceUnavailable(
            f"{where} was written by a newer version of Huddle (schema {version}, this one knows {len(STEPS)}); "
            "start that version, or name another file"
        )
    for step in range(version, len(STEPS)):
        _take(connection, step)


_MARKS = ("user_version", "application_id")


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _take(connection: sqlite3.Connection, step: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in STEPS[step]:
            connection.execute(statement)
        if step == 0:
            connection.execute(
                "INSERT INTO ledger (one, name, revision, noted_ms) VALUES (1, ?, 0, 0)", (os.urandom(4).hex(),)
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {step + 1}")
        failpoint("ledger.open.before_commit")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoint("ledger.open.after_commit")
