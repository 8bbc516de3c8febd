"""A service that plans for whoever plans again and again, and is kept in step with what it is asked about."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.cli.solving import ServerAddress, access_of
from solver.domain.budget import Budget, Stop
from solver.domain.difference import difference
from solver.domain.errors import HuddleError, InvalidRequest, SourceUnavailable
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Plan, Status
from solver.domain.pods import BoundPod, Pods
from solver.domain.snapshot import Snapshot
from solver.service.client import Client
from solver.service.errors import NotFound, NotReady
from solver.service.held import Needed
from solver.service.promised import PROMISED
from solver.service.replies import Cancelled
from solver.service.requests import TRAVEL_S, Ask, DeltaNumbers

#: More changes than this travel as a new snapshot, which is then smaller.
_MOST_CHANGES = 1000
#: A state that is lost again and again is put so often for one question.
_ATTEMPTS = 3
#: Waiting for the service to forget the state at the end, in seconds.
_DROP_S = 2.0
#: The service may forget the state of a controller that has asked nothing for so long, in seconds: it may be dead.
_IDLE_S = 900.0


class Lost(Exception):
    """The service does not hold what it is asked about."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What the service holds: this snapshot, as a state of this version. numbers: of the groups of changes so far."""

    snapshot: Snapshot
    version: int
    numbers: DeltaNumbers


class RemoteSolver:
    """Plans by asking a service. For one thread at a time.

    The service holds a cluster under a name that nobody else has; only what changed since the last question travels.
    Raises SourceUnavailable, which names the service, where it is away or refuses.
    """

    def __init__(self, server: ServerAddress, time_limit_s: float, instance: str) -> None:
        """instance: becomes part of the cluster's name; different for each process."""
        self.cluster = f"controller/{instance}"
        self._target, self._time_limit_s = server.target, time_limit_s
        self._client = Client(access_of(server))
        self._sent: _Sent | None = None

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Plan:
        """One after another."""
        return self._asked(snapshot, gangs, Ask(), stop)

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Plan:
        """All together."""
        return self._asked(snapshot, gangs, Ask(batch=True, fair_before=fair_before), stop)

    def close(self) -> None:
        """Have the service forget the cluster, if it can be reached, and end the connection."""
        try:
            self._client.drop_cluster(self.cluster, _DROP_S)
        except HuddleError:
            pass  # it is away, or older than the method: nothing that the end could wait for
        finally:
            self._client.close()

    def _asked(self, snapshot: Snapshot, gangs: Sequence[Gang], ask: Ask, stop: Stop) -> Plan:
        budget = Budget(time.monotonic() + self._time_limit_s, stop)
        for _ in range(_ATTEMPTS):
            try:
                return self._answered(snapshot, gangs, ask, budget, stop)
            except Cancelled:
                self._sent = None
                break
            except (Lost, NotFound, NotReady):
                self._sent = None
            except InvalidRequest:
                raise
            except HuddleError as error:
                self._sent = None
                raise self._away(str(error)) from error
            if not budget.left_s:
                break
        if stop.is_set():
            return Plan(tuple(GangPlan(gang.name, Status.UNKNOWN) for gang in gangs))
        raise self._away("it did not keep the state it was sent")

    def _answered(self, snapshot: Snapshot, gangs: Sequence[Gang], ask: Ask, budget: Budget, stop: Stop) -> Plan:
        version = self._in_step(snapshot, budget, stop)
        ask = replace(ask, time_limit_s=max(0.001, budget.left_s), min_version=version)
        planned = self._client.plan(self.cluster, gangs, ask, stop)
        if planned.state_version != version:
            raise Lost  # somebody else wrote under our name
        return planned.plan

    def _in_step(self, snapshot: Snapshot, budget: Budget, stop: Stop) -> int:
        """Bring the service to this snapshot; returns the version of the state. Raises Lost."""
        try:
            return self._brought(snapshot, budget.left_s + TRAVEL_S, stop)
        except InvalidRequest as error:
            # About what was sent, not about the gang that is asked about.
            self._sent = None
            raise self._away(str(error)) from error

    def _brought(self, snapshot: Snapshot, timeout_s: float, stop: Stop) -> int:
        sent = self._sent
        changes = difference(sent.snapshot, snapshot, named) if sent else None
        if sent is None or changes is None or len(changes) > _MOST_CHANGES:
            base = uuid.uuid4().hex
            version = self._client.put_snapshot(
                self.cluster, base, identified(snapshot), timeout_s, stop, idle_limit_s=_IDLE_S
            ).version
            self._sent = _Sent(snapshot, version, DeltaNumbers(self.cluster, base))
        elif changes:
            self._sent = None  # until it is known what became of them
            applied = self._client.apply(sent.numbers.next(changes), timeout_s, stop)
            if isinstance(applied, Needed):
                raise Lost
            self._sent = _Sent(snapshot, applied.version, sent.numbers)
        else:
            self._sent = _Sent(snapshot, sent.version, sent.numbers)
        return self._sent.version

    def _away(self, problem: str) -> SourceUnavailable:
        return SourceUnavailable(f"the service {self._target} gave no plan: {problem}")


def identified(snapshot: Snapshot) -> Snapshot:
    """The snapshot with `named` pods."""
    pods = Pods(map(named, snapshot.pods))
    repelling, nominated = (tuple(map(named, some)) for some in (snapshot.repelling, snapshot.nominated))
    return replace(snapshot, pods=pods, repelling=repelling, nominated=nominated)


def named(pod: BoundPod) -> BoundPod:
    """The pod with a uid that a service takes as one: those that begin as `PROMISED` it keeps for itself."""
    if pod.uid and not pod.uid.startswith(PROMISED):
        return pod
    return replace(pod, uid=f"held/{pod.uid or '|'.join((pod.name, pod.node, pod.gang))}")
