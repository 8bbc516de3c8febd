"""Ports that nobody else takes, also not while the server on one of them is being restarted."""

import fcntl
import os
import random
import socket
import tempfile
from io import TextIOWrapper
from pathlib import Path

#: Below the range from which the kernel gives ports to clients.
RANGE = range(20_000, 32_000)


class Port:
    """A port of 127.0.0.1, locked among the test processes of this user until it is released."""

    def __init__(self, number: int, lock: TextIOWrapper) -> None:
        self.number, self._lock = number, lock

    def release(self) -> None:
        """Let others have it."""
        self._lock.close()

    def __str__(self) -> str:
        return str(self.number)


def claim_port() -> Port:
    """A port that is neither locked nor in use."""
    folder = Path(tempfile.gettempdir()) / f"huddle-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in random.SystemRandom().sample(RANGE, len(RANGE)):
        lock = (folder / str(number)).open("w", encoding="utf-8")
        if _locks(lock) and _is_free(number):
            return Port(number, lock)
        lock.close()
    raise OSError(f"no port of {RANGE.start} to {RANGE.stop - 1} is free")


def _locks(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
