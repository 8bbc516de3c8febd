"""The last confirmed change of a ledger, noted in a small file of its own beside it.

SQLite takes damage in its log for the log's end, so the ledger by itself cannot tell that confirmed changes are
missing. The note is written after a change is on the disk and before its call is answered: it is never ahead of a
sound ledger, and behind it by one change at most. Two slots are written in turns, each a line of text with a checksum,
so that a death in the middle of a write leaves the other one.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

#: Bytes from one slot to the next: more than what a disk writes at once.
SLOT = 4096
_HEAD = "huddle-ledger 1"


@dataclass(frozen=True, slots=True)
class Note:
    """What a ledger was like after a change. name, changes, digest: as in its file; changes counts them."""

    name: str
    changes: int
    digest: bytes


class NoteFile:
    """The notes of one ledger. path: of the file, which need not exist. Raises OSError where it cannot be used.

    last: the latest note that can be read, None without any. exists: whether there is a file, readable or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: Note | None = None
        self._handle = -1
        self._next = 0
        self.exists = path.exists()
        if self.exists:
            self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            self._read()

    def note(self, note: Note) -> None:
        """Note a change; on the disk when this returns."""
        if not self.exists:
            self._create(note)
        elif note != self.last:
            os.pwrite(self._handle, _line(note), self._next * SLOT)
            os.fdatasync(self._handle)
            self._next = 1 - self._next
        self.last = note

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _read(self) -> None:
        found = [_parsed(os.pread(self._handle, SLOT, slot * SLOT)) for slot in (0, 1)]
        counts = [-1 if note is None else note.changes for note in found]
        newest = counts.index(max(counts))
        self.last, self._next = found[newest], 1 - newest

    def _create(self, note: Note) -> None:
        """Both slots at once, under another name until they are on the disk."""
        draft = self.path.with_name(self.path.name + ".new")
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(handle, _line(note).ljust(SLOT, b"\n") * 2, 0)
            os.fsync(handle)
            os.replace(draft, self.path)
            _sync_folder(self.path.parent)
        except BaseException:
            os.close(handle)
            raise
        self._handle, self.exists = handle, True


def _line(note: Note) -> bytes:
    text = f"{_HEAD} {note.name} {note.changes} {note.digest.hex()}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _parsed(slot: bytes) -> Note | None:
    """The note of a slot, None when it was not written wholly or is damaged."""
    text, _, check = slot.partition(b"\n")[0].rpartition(b" ")
    if b"\n" not in slot or check != f"{zlib.crc32(text):08x}".encode():
        return None
    name, changes, digest = text.decode().split(" ")[2:]
    return Note(name, int(changes), bytes.fromhex(digest))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
