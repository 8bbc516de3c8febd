"""What the rows of a ledger add up to: one number that every lost, changed or foreign row changes.

The sum of a hash of every row, so that a change adds and takes away what it writes and never looks at the rest. The
digest of a ledger seals this sum together with its name, counts and time.
"""

import hashlib
from collections.abc import Iterable

from solver.ledger import Promise
from solver.service.ledger_rows import PodRow

#: Sums are kept below this.
MODULUS = 1 << 128


def of_promise(number: int, promise: Promise, ended_ms: int) -> int:
    """Of the row of a promise, apart from what its pods hold."""
    lease = promise.lease_until_ms, promise.created_ms, ended_ms, promise.revision
    return of_head(number, promise.cluster, promise.gang, promise.phase.value, *lease)


def of_head(
    number: int, cluster: str, gang: str, phase: str, lease_until_ms: int, created_ms: int, ended_ms: int, revision: int
) -> int:
    """Of the columns of a promise, apart from its shapes."""
    return _hash("promise", number, cluster, gang, phase, lease_until_ms, created_ms, ended_ms, revision)


def of_pods(number: int, shapes: str, rows: Iterable[PodRow]) -> int:
    """Of the shapes of a promise and its rows of pods, in order."""
    kept, seen = [], 0
    for row in rows:
        kept.append(row[:5])
        if row[5]:
            seen += of_seen(number, row[0], row[5])
    return _hash("pods", number, shapes, kept) + seen


def of_seen(number: int, position: int, node: str) -> int:
    """Of where a pod of a promise was seen, which is no part of `of_pods` while it is empty."""
    return _hash("seen", number, position, node)


def of_request(request_id: str, content: bytes, number: int, asked_ms: int) -> int:
    """Of a request that was answered."""
    return _hash("request", request_id, content, number, asked_ms)


def sealed(name: str, changes: int, revision: int, noted_ms: int, last_number: int, total: int) -> bytes:
    """The digest of a ledger. last_number: of the newest promise there ever was. total: over all rows."""
    return _hash("ledger", name, changes, revision, noted_ms, last_number, total % MODULUS).to_bytes(16, "big")


def _hash(*values: object) -> int:
    text = repr(values).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
