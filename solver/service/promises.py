"""Promises kept: the ledger and the held states, together.

Every change goes to the ledger first, then to the state and to those who watch, one change after the other. Reserving
checks the plan against the state and takes its capacity while no other plan can, cluster by cluster.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.ledger import Asked, Ledger, Phase, Promise
from solver.service.codec.fields import checking
from solver.service.config import ServiceConfig
from solver.service.errors import Conflict, Full, InvalidField, NotFound, Unavailable
from solver.service.failpoints import failpoint
from solver.service.feed import Feed, Watch
from solver.service.fitting import TreeOf, check_fits, promised_pods
from solver.service.ledger_clock import NOTE_PERIOD_S
from solver.service.recorder import Recorder
from solver.service.state import Clusters, HeldCluster

#: So often leases are looked at, in seconds.
PERIOD_S = 0.25

_log = structlog.get_logger("huddle.ledger")


@dataclass(frozen=True, slots=True)
class PromiseLimits:
    """Limits of promises.

    default_lease_ms: of reservations that ask for nothing. max_lease_ms: longest lease. max_backlog: changes a watcher
    may fall behind. max_pods: pods that may be held for at a time, over all clusters.
    """

    default_lease_ms: int = 60_000
    max_lease_ms: int = 3_600_000
    max_backlog: int = 1000
    max_pods: int = 2_000_000

    @classmethod
    def of(cls, config: ServiceConfig) -> "PromiseLimits":
        """As the service is configured."""
        default_ms, most_ms = (
            round(1000 * lease_s) for lease_s in (config.ledger.default_lease_s, config.ledger.max_lease_s)
        )
        return cls(default_ms, most_ms, config.limits.max_watch_backlog, config.limits.max_bound_pods)


@dataclass(frozen=True, slots=True)
class Wish:
    """A plan to be promised. state_version: of the state it was computed on, 0 = unknown. lease_ms: 0 = the default."""

    asked: Asked
    cluster: str
    gang: Gang
    assignments: tuple[Assignment, ...]
    state_version: int = 0
    lease_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reserved:
    """A promise, and the version of a state that holds it; 0 when no state of the cluster is held."""

    promise: Promise
    state_version: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some promises. more: whether others follow."""

    promises: tuple[Promise, ...]
    more: bool


class _Turn:
    """One plan at a time is checked and promised in a cluster."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tree_of = TreeOf()


class Promises:
    """Any thread may call anything. The methods raise what `solver.service.errors` lists."""

    def __init__(
        self,
        ledger: Ledger,
        clusters: Clusters,
        limits: PromiseLimits | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._ledger, self._clusters = ledger, clusters
        self._limits, self._recorder = limits or PromiseLimits(), recorder or Recorder()
        self._feed = Feed(self._limits.max_backlog)
        self._order = threading.RLock()
        self._told = ledger.revision
        self._states: dict[str, HeldCluster] = {}
        self._turns: dict[str, _Turn] = {}
        self._unseen: dict[str, dict[str, str]] = {}
        self._stop = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="ledger", daemon=True)
        for name in ledger.clusters():
            self._recorder.promises(name, len(ledger.holding(name)))
        clusters.on_new(self._begin)
        clusters.on_drop(self._end)
        clusters.on_seen(self.seen)

    def start(self) -> None:
        """Let leases end by themselves."""
        self._tender.start()

    def close(self) -> None:
        """End watches and the thread, and close the ledger."""
        self._feed.end(Unavailable("the service is being stopped"))
        self._stop.set()
        if self._tender.is_alive():
            self._tender.join()
        self._ledger.close()

    def reserve(self, wish: Wish) -> Reserved:
        """Promise a plan, if it still fits. The gang's earlier promises are replaced by this one."""
        self._check_lease(wish.lease_ms)
        promise = self._ledger.answered(wish.asked)
        if promise is None:
            state = self._clusters.get(wish.cluster)
            turn = self._turns.setdefault(wish.cluster, _Turn())
            with turn.lock:
                promise = self._ledger.answered(wish.asked) or self._reserved(wish, state, turn.tree_of)
        return Reserved(promise, self._version(wish.cluster))

    def confirm(self, asked: Asked, promise_id: str) -> Promise:
        """Make a promise last until its pods are seen. Raises Conflict when it has ended otherwise."""
        promise = self._ledger.answered(asked)
        if promise is None:
            promise = self._changing(lambda: self._ledger.confirm(asked, promise_id))[0]
            if promise.phase in (Phase.RELEASED, Phase.EXPIRED):
                raise Conflict(f"promise {promise.id} of gang {promise.gang} has {_ENDED[promise.phase]}")
        return promise

    def release(self, asked: Asked, promise_id: str) -> Promise:
        """Give back what is left of a promise."""
        return self._changing(lambda: self._ledger.release(asked, promise_id))[0]

    def page(self, cluster: str, gang: str, after: str, count: int) -> Page:
        """Promises that hold capacity, in the order in which they were made: at most `count` of those after `after`.

        after: id of a promise, which may have ended; empty = from the first. Raises InvalidField when it is no id.
        """
        with checking("page_token"):
            held = self._ledger.holding(cluster, after)
        found = [promise for promise in held if not gang or promise.gang == gang][: count + 1]
        return Page(tuple(found[:count]), len(found) > count)

    def watch(self, cluster: str) -> Watch:
        """What holds capacity now, then every change. To be closed by the caller."""
        with self._order:
            return self._feed.open(cluster, self._ledger.holding(cluster), self._ledger.revision)

    def seen(self, cluster: str, where: Mapping[str, str]) -> None:
        """Pods were seen bound. where: `namespace/pod` → node. What cannot be written now is written later."""
        with self._order:
            self._unseen.setdefault(cluster, {}).update(where)
            try:
                self._write_seen()
            except Unavailable as error:
                _log.warning("seen_pods_noted_later", cluster=cluster, problem=str(error))

    @property
    def watches(self) -> int:
        """How many watch."""
        return len(self._feed)

    def settle(self) -> None:
        """Write what could not be written before, and end leases that are over."""
        with self._order:
            self._write_seen()
            self._changing(self._ledger.expire)

    def _begin(self, state: HeldCluster) -> None:
        """A cluster comes: it takes what is promised in it, and every change from then on."""
        with self._order:
            state.promise(self._ledger.holding(state.name))
            self._states[state.name] = state

    def _end(self, state: HeldCluster) -> None:
        """A cluster is forgotten: its state hears of no promises any more."""
        with self._order:
            if self._states.get(state.name) is state:
                del self._states[state.name]

    def _reserved(self, wish: Wish, state: HeldCluster, tree_of: TreeOf) -> Promise:
        self.settle()
        version = state.view().version
        if not 0 <= wish.state_version <= version:
            raise InvalidField(
                "state_version", f"{wish.state_version} is no version yet; the state is at version {version}"
            )
        check_fits(state, wish.gang, wish.assignments, tree_of)
        pods = promised_pods(wish.gang, wish.assignments)
        if self._ledger.held_pods + len(pods) > self._limits.max_pods:
            raise Full(f"more than {self._limits.max_pods} pods would be promised")
        lease_ms = wish.lease_ms or self._limits.default_lease_ms
        return self._changing(lambda: self._ledger.reserve(wish.asked, wish.cluster, wish.gang.name, pods, lease_ms))[0]

    def _check_lease(self, lease_ms: int) -> None:
        most = self._limits.max_lease_ms
        if not 0 <= lease_ms <= most:
            raise InvalidField("lease_ms", f"{lease_ms} is out of range (0 to {most})")

    def _version(self, cluster: str) -> int:
        """Version of the state of a cluster; 0 without one."""
        try:
            return self._clusters.get(cluster).view().version
        except NotFound:
            return 0

    def _write_seen(self) -> None:
        for cluster, where in list(self._unseen.items()):
            self._changing(partial(self._ledger.seen, cluster, where))
            del self._unseen[cluster]

    def _changing(self, change: Callable[[], list[Promise]]) -> list[Promise]:
        """Change the ledger, then tell the state and those who watch."""
        with self._order:
            changed = change()
            self._publish([promise for promise in changed if promise.revision > self._told])
            return changed

    def _publish(self, news: Sequence[Promise]) -> None:
        """Tell those who watch, then the states, which may see a pod at once: that is the next change."""
        if not news:
            return
        self._told = self._ledger.revision
        self._feed.tell(sorted(news, key=lambda promise: promise.revision))
        failpoint("promises.before_state")
        for name in {promise.cluster for promise in news}:
            self._recorder.promises(name, len(self._ledger.holding(name)))
            if (state := self._states.get(name)) is not None:
                state.promise([promise for promise in news if promise.cluster == name])
        failpoint("promises.after_state")

    def _tend(self) -> None:
        """Until the service stops: whatever fails is tried again in the next round."""
        rounds, problem = 0, ""
        while not self._stop.wait(PERIOD_S):
            rounds += 1
            before, problem = problem, self._round(rounds % round(NOTE_PERIOD_S / PERIOD_S) == 0)
            if problem and problem != before:
                _log.error("ledger_cannot_be_kept", problem=problem)

    def _round(self, tidying: bool) -> str:
        """One round; what went wrong, or nothing."""
        try:
            self._feed.give_up_stuck()
            self.settle()
            if tidying:
                self._ledger.tidy()
        except Exception as error:  # the thread must outlive it
            return f"{type(error).__name__}: {error}"
        return ""


_ENDED = {Phase.RELEASED: "been released", Phase.EXPIRED: "expired: its lease has ended"}
