"""Watches the API server from beginning to end, every change of four kinds; it only reads."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import urllib3

from support.audit.judge import Findings, Outage, judged
from support.audit.sightings import PATHS, Key, Sighting, key_of, read
from support.controlplane.api import Api, Refused
from support.controlplane.waiting import eventually

Json = Mapping[str, Any]

#: Seconds of one watch; a thread that is to end waits so long at most.
WATCH_S = 5
#: Versions that are looked up one by one where a watch cannot be resumed; more of them are a gap.
MOST_LOOKUPS = 2000
_UNREACHABLE = (urllib3.exceptions.HTTPError, OSError, json.JSONDecodeError)


class Blind(AssertionError):
    """The auditor missed something, so it cannot say that nothing happened."""


class Witness:
    """Threads that watch, from `start` until `finish`.

    make_api: makes the calls of one thread, with rights to list and watch the kinds.
    """

    def __init__(self, make_api: Callable[[], Api], kinds: Iterable[str] = tuple(PATHS)) -> None:
        self._ends = threading.Event()
        self._streams = [_Stream(kind, make_api(), self._ends) for kind in kinds]

    def __enter__(self) -> "Witness":
        for stream in self._streams:
            stream.begin()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        for stream in self._streams:
            stream.join(60)

    def findings(self, grace_s: float, planned: bool = True, guarded: bool = False) -> Findings:
        """Everything until now, judged. Raises Blind if something was missed."""
        for stream in self._streams:
            eventually(stream.is_up_to_date, f"the auditor has seen all {stream.kind}")
        if missed := [stream.missed for stream in self._streams if stream.missed]:
            raise Blind("; ".join(missed))
        outages = tuple(self._streams[0].outages)
        return judged(self.sightings(), grace_s, time.monotonic(), outages, planned, guarded)

    def sightings(self) -> list[Sighting]:
        """Everything seen so far, kind by kind."""
        return [sighting for stream in self._streams for sighting in tuple(stream.sightings)]


class _Stream(threading.Thread):
    """Everything that happens to one kind."""

    def __init__(self, kind: str, api: Api, ends: threading.Event) -> None:
        super().__init__(name=f"audit-{kind}", daemon=True)
        self.kind, self.sightings, self.outages = kind, list[Sighting](), list[Outage]()
        self.missed = ""
        self._api, self._ends = api, ends
        self._known: dict[Key, str] = {}
        self._since = ""

    def begin(self) -> None:
        """See what is there, then follow."""
        answer = self._api.get(PATHS[self.kind])
        self._take_list(answer)
        self.start()

    def run(self) -> None:
        """Follow until it ends; what goes wrong is in `missed`."""
        while not self._ends.is_set():
            try:
                for event in self._api.watch(PATHS[self.kind], self._since, WATCH_S):
                    self._take(event)
            except _UNREACHABLE:
                self._wait_for_answers()
            except Refused as refused:
                self._recover(refused)
        self._api.close()

    def _wait_for_answers(self) -> None:
        """Wait until the server answers again, and note how long that took."""
        down_s = time.monotonic()
        while not self._ends.is_set():
            try:
                self._api.get(PATHS[self.kind], limit="1")
                break
            except (*_UNREACHABLE, Refused):
                time.sleep(0.05)
        self.outages.append(Outage(down_s, time.monotonic()))

    def is_up_to_date(self) -> bool:
        """Whether what is known is what there is; or that can no longer be."""
        if self.missed:
            return True
        there = {key_of(item): item["metadata"]["resourceVersion"] for item in self._api.items(PATHS[self.kind])}
        return there == dict(self._known)

    def _take(self, event: Json) -> None:
        body = event["object"]
        if event["type"] == "ERROR":
            raise Refused(body.get("code", 0), body.get("reason", ""), body.get("message", ""))
        self._since = body["metadata"]["resourceVersion"]
        if event["type"] != "BOOKMARK":
            self._note(body, gone=event["type"] == "DELETED")

    def _note(self, body: Json, gone: bool) -> None:
        key, version = key_of(body), body["metadata"]["resourceVersion"]
        seen = None if gone else read(self.kind, body)
        self.sightings.append(Sighting(int(version), time.monotonic(), self.kind, key, seen))
        if gone:
            self._known.pop(key, None)
        else:
            self._known[key] = version

    def _take_list(self, answer: Json) -> None:
        """Changes between what is known and a list."""
        version, there = answer["metadata"]["resourceVersion"], {key_of(item): item for item in answer["items"]}
        for key in set(self._known) - set(there):
            del self._known[key]
            self.sightings.append(Sighting(int(version), time.monotonic(), self.kind, key, None))
        for key, item in there.items():
            if self._known.get(key) != item["metadata"]["resourceVersion"]:
                self._note(item, gone=False)
        self._since = version

    def _recover(self, refused: Refused) -> None:
        """Where a watch cannot be resumed, every version since is listed as it was then."""
        if refused.status != 410:
            if refused.status not in (429, 500, 503, 504):
                self.missed = self.missed or f"{self.kind}: {refused}"
            time.sleep(0.1)
            return
        try:
            now = self._api.get(PATHS[self.kind], limit="1")["metadata"]["resourceVersion"]
            versions = range(int(self._since) + 1, int(now) + 1)
            if len(versions) > MOST_LOOKUPS:
                raise Refused(410, "Gap", f"{len(versions)} versions between {self._since} and {now}")
            for version in versions:
                query = {"resourceVersion": str(version), "resourceVersionMatch": "Exact"}
                self._take_list(self._api.get(PATHS[self.kind], **query))
        except _UNREACHABLE:
            time.sleep(0.05)
        except Refused as gap:
            if gap.status == 410:
                self.missed = f"{self.kind}: {gap}"
                self._take_list(self._api.get(PATHS[self.kind]))
