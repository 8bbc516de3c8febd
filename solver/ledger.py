"""Promises: plans whose capacity is taken although their pods are not yet seen. The port that stores implement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from solver.domain.pods import BoundPod


class Phase(StrEnum):
    """Phases of a promise; the first two hold capacity, the others are final."""

    RESERVED = "reserved"  # until the lease ends
    CONFIRMED = "confirmed"  # until its pods are seen
    FULFILLED = "fulfilled"  # all pods were seen bound
    RELEASED = "released"  # given back
    EXPIRED = "expired"  # the lease ended

    @property
    def holds(self) -> bool:
        """Whether capacity is taken."""
        return self in (Phase.RESERVED, Phase.CONFIRMED)


@dataclass(frozen=True, slots=True)
class PromisedPod:
    """One pod of a promise. holds: what it takes until it is seen. seen_on: node it was seen bound to, or empty."""

    holds: BoundPod
    role: str
    seen_on: str = ""


@dataclass(frozen=True, slots=True)
class Promise:
    """The promised capacity of one gang.

    id: given by the store, never used again. gang: `namespace/name`. lease_until_ms: end of a reservation in
    milliseconds since the Unix epoch, 0 once confirmed. revision: grows with every change of the store.
    """

    id: str
    cluster: str
    gang: str
    phase: Phase
    pods: tuple[PromisedPod, ...]
    lease_until_ms: int
    created_ms: int
    revision: int

    def held(self) -> tuple[BoundPod, ...]:
        """What it takes now, pod by pod."""
        if not self.phase.holds:
            return ()
        return tuple(pod.holds for pod in self.pods if not pod.seen_on)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request by its identity. id: chosen by who asks, unique. content: digest of everything it asks for."""

    id: str
    content: bytes


class Ledger(Protocol):
    """A store of promises. Every change is durable when its call returns, and happens once however often it is asked.

    Every method that changes something returns the promises that changed, as they are now; what was asked before gives
    the promise as it is now and changes nothing. Time is the store's own: it never runs backwards, whatever the
    machine's clock does.
    """

    def reserve(
        self, asked: Asked, cluster: str, gang: str, pods: Sequence[PromisedPod], lease_ms: int
    ) -> list[Promise]:
        """A new promise, first in the answer; earlier promises of the gang that still hold capacity are released."""

    def confirm(self, asked: Asked, promise_id: str) -> list[Promise]:
        """The promise, which from now on lasts until its pods are seen."""

    def release(self, asked: Asked, promise_id: str) -> list[Promise]:
        """The promise, ended; one that had ended before stays as it is."""

    def seen(self, cluster: str, where: Mapping[str, str]) -> list[Promise]:
        """Promises of which pods were now seen bound. where: `namespace/pod` → node."""

    def expire(self) -> list[Promise]:
        """Reservations whose lease has ended by now."""

    def tidy(self) -> None:
        """Forget requests and ended promises of long ago, and note the time."""

    def answered(self, asked: Asked) -> Promise | None:
        """The promise that was the answer to this request, as it is now; None when it was not asked before."""

    def get(self, promise_id: str) -> Promise | None:
        """One promise, whatever its phase."""

    def holding(self, cluster: str, after: str = "") -> Sequence[Promise]:
        """Promises that hold capacity, in the order in which they were made.

        after: id of a promise, which may have ended: only those made after it. Raises InvalidRequest when it never was
        one of this store.
        """

    def clusters(self) -> Sequence[str]:
        """Clusters with promises that hold capacity, by name."""

    @property
    def held_pods(self) -> int:
        """Pods that capacity is held for, over all clusters."""

    @property
    def revision(self) -> int:
        """Revision of the latest change."""

    def close(self) -> None:
        """Give back what the store uses; it must not be called afterwards."""
