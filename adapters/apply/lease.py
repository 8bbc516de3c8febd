"""Who of several controllers may write: the one that holds a Lease, for as long as it can prove to itself that it does.

Clocks of different machines are never compared: another holder counts as gone when its record has not changed here for
as long as it said. The holder itself stops earlier, and that is decided by looking at the clock before every write, so
that neither a busy event loop nor a machine that slept can be late.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from adapters.kubernetes.api_errors import ApiError, Conflict, NotFound, Refused
from adapters.kubernetes.resources import Resource
from solver.domain.errors import InvalidRequest

Json = dict[str, Any]

LEASES = Resource("coordination.k8s.io", ("v1",), "leases", "Lease")

_log = structlog.get_logger("huddle.lease")


def awake_s() -> float:
    """Seconds on a clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Calls(Protocol):
    """The calls of `adapters.kubernetes.api.Api` that are made here."""

    async def get(self, path: str) -> Json:
        """An object."""

    async def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """POST."""

    async def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT; Conflict if the object has changed since."""


class LeaseLost(ApiError):
    """Another controller may be at work by now: nothing may be written."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """In seconds. Raises InvalidRequest unless retry_s < renew_s < duration_s.

    duration_s: others wait so long after they last saw the Lease renewed. renew_s: the holder stops writing so long
    after it last asked for a renewal that was granted; a write sent in the last moment has the difference to arrive.
    retry_s: between two attempts.
    """

    duration_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_s < self.duration_s:
            raise InvalidRequest("lease: it takes 0 < retry < renew < duration")

    @property
    def margin_s(self) -> float:
        """Seconds in which a write sent in the last moment has to end, before others begin."""
        return self.duration_s - self.renew_s


class Lease:
    """One candidate for one Lease. calls: those that no lease guards, each tried once.

    Everything that waits belongs into one event loop, but `lost`; whether it holds, any thread may ask.
    """

    def __init__(
        self,
        calls: Calls,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = awake_s,
        is_well: Callable[[], bool] = lambda: True,
    ) -> None:
        """is_well: whether who holds it still works: otherwise it is not renewed, and others take over."""
        self.identity = identity
        self._is_well = is_well
        self._calls, self._namespace, self._name = calls, namespace, name
        self._times, self._clock = times or LeaseTimes(), clock
        self._held_until_s = 0.0
        self._known: Json | None = None  # as it was last seen
        self._seen_s = 0.0  # since when it has looked like that
        self._changed = asyncio.Event()

    @property
    def holds(self) -> bool:
        """Whether this candidate may write."""
        return self._clock() < self._held_until_s

    @property
    def holder(self) -> str:
        """Identity of the holder as last seen, or empty."""
        return _holder(self._known)

    def guard(self) -> None:
        """Raise LeaseLost unless this candidate may write."""
        if not self.holds:
            raise LeaseLost(0, "LeaseLost", f"{self.identity} does not hold the lease {self._namespace}/{self._name}")

    async def check(self) -> None:
        """Raise Refused when the Lease may not be read; whatever else goes wrong may be over soon."""
        try:
            await self._look()
        except Refused:
            raise
        except ApiError as error:
            _log.warning("lease_not_read", problem=str(error))

    async def run(self) -> None:
        """Try to get the Lease and to keep it, until cancelled."""
        while True:
            before = self.holds
            try:
                async with asyncio.timeout(self._times.retry_s * 2):
                    if self._is_well():
                        await self.attempt()
                    else:
                        _log.error("lease_not_renewed", problem="the controller has stopped working")
            except (ApiError, TimeoutError) as error:
                _log.warning("lease_attempt_failed", problem=str(error) or "no answer in time")
            if before != self.holds:
                self._changed.set()
            pause_s = self._times.retry_s * (1.0 if self.holds else random.uniform(1.0, 1.2))
            await asyncio.sleep(pause_s)

    async def won(self) -> None:
        """Wait until this candidate may write."""
        while not self.holds:
            self._changed.clear()
            await self._changed.wait()

    async def lost(self) -> None:
        """Wait until it may not any more."""
        while self.holds:
            await asyncio.sleep(max(0.01, min(self._held_until_s - self._clock(), 0.5)))

    async def release(self) -> None:
        """Stop writing at once and let others have it without waiting. `run` must have ended."""
        held, self._held_until_s = self.holds, 0.0
        if not held or self._known is None:
            return
        try:
            async with asyncio.timeout(self._times.retry_s * 2):
                await self._write({"holderIdentity": "", "leaseDurationSeconds": 1})
        except (ApiError, TimeoutError) as error:
            _log.warning("lease_not_given_back", problem=str(error) or "no answer in time")

    async def attempt(self) -> None:
        """Renew it, or take it if nobody holds it. Raises ApiError."""
        if not self.holds:
            await self._look()
        asked_s = self._clock()
        if self._known is not None and self.holder != self.identity and not self._is_free(asked_s):
            return
        try:
            await self._take()
        except (Conflict, NotFound):  # somebody was faster, or deleted it; the next attempt goes by what is there then
            await self._look()
            if self.holder != self.identity:
                self._held_until_s = 0.0
            return
        self._held_until_s = asked_s + self._times.renew_s

    async def _look(self) -> None:
        """See the Lease as it is."""
        try:
            found = await self._calls.get(LEASES.path(self._namespace, self._name))
        except NotFound:
            self._known = None
            return
        if self._known is None or _version(found) != _version(self._known):
            self._known, self._seen_s = found, self._clock()

    def _is_free(self, now_s: float) -> bool:
        """Whether nobody holds it any more."""
        spec = (self._known or {}).get("spec") or {}
        silent_s = spec.get("leaseDurationSeconds") or 0
        return not spec.get("holderIdentity") or now_s >= self._seen_s + silent_s

    async def _take(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        duration_s = max(1, round(self._times.duration_s))
        mine = {"holderIdentity": self.identity, "leaseDurationSeconds": duration_s, "renewTime": now}
        if self._known is None:
            metadata = {"namespace": self._namespace, "name": self._name}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            spec = {**mine, "acquireTime": now, "leaseTransitions": 0}
            self._known = await self._calls.create(LEASES.path(self._namespace), {**body, "spec": spec})
        elif self.holder == self.identity:
            await self._write(mine)
        else:
            changes = (self._known.get("spec") or {}).get("leaseTransitions") or 0
            await self._write({**mine, "acquireTime": now, "leaseTransitions": changes + 1})
        self._seen_s = self._clock()

    async def _write(self, fields: Json) -> None:
        """Change what is known, and only that: Conflict if it has changed meanwhile."""
        assert self._known is not None
        body = {**self._known, "spec": {**(self._known.get("spec") or {}), **fields}}
        self._known = await self._calls.replace(LEASES.path(self._namespace, self._name), body)


def _holder(lease: Json | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")


def _version(lease: Json) -> tuple[str, str]:
    return lease["metadata"]["uid"], lease["metadata"]["resourceVersion"]
