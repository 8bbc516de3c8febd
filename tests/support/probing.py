"""Asks a URL again and again, in a process of its own, so that nothing else delays the answers that are measured."""

import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Pause between two questions, and longest time for an answer, in seconds.
PAUSE_S, ANSWER_S = 0.1, 10.0


class Prober:
    """Asks while the block runs. took_s: of each answer; bad: what was not 200, or no answer."""

    def __init__(self, url: str, body: bytes | None = None) -> None:
        self._url, self._body = url, body
        self.took_s: list[float] = []
        self.bad: list[str] = []

    def __enter__(self) -> "Prober":
        command = [sys.executable, str(Path(__file__)), self._url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps((self._body or b"").decode()).encode() + b"\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, *error: object) -> None:
        out, _ = self._process.communicate(timeout=60)  # the end of its input ends it
        found = json.loads(out)
        self.took_s, self.bad = found["took_s"], found["bad"]

    def share(self, part: float) -> float:
        """So much of all answers took no longer than this, in seconds."""
        return sorted(self.took_s)[min(len(self.took_s) - 1, int(part * len(self.took_s)))]


def main(url: str) -> None:
    """Ask until standard input ends; print what was found as JSON."""
    body, over = json.loads(sys.stdin.readline()).encode(), threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    found: dict[str, list[Any]] = {"took_s": [], "bad": []}
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=ANSWER_S)
    while not over.wait(PAUSE_S):
        began = time.perf_counter()
        try:
            connection.request("POST" if body else "GET", parts.path, body or None)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            found["bad"].append(repr(error))
            connection.close()
            continue
        found["took_s"].append(time.perf_counter() - began)
        if answer.status != 200:
            found["bad"].append(f"{answer.status} {text.decode()}")
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
