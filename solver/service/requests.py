"""What both clients say and hear: every call as its request, its deadline, and how its answer is read."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from solver.api.v1 import cluster_service_pb2 as cluster_pb
from solver.api.v1 import ledger_service_pb2 as ledger_pb
from solver.api.v1 import placement_service_pb2 as pb
from solver.domain.changes import Change
from solver.domain.gang import Gang
from solver.domain.plan import Assignment, Plan, Reason, Status, TermValue
from solver.domain.snapshot import Snapshot
from solver.ledger import Promise
from solver.search.options import Engine
from solver.service.codec.gang import encode_gang
from solver.service.codec.ledger import decode_event, decode_promise
from solver.service.codec.plan import decode_plan, decode_reason, decode_status, decode_term, encode_assignment
from solver.service.codec.question import encode_options
from solver.service.codec.snapshot import encode_change, encode_whole
from solver.service.codec.state import decode_description, decode_held
from solver.service.feed import Synced
from solver.service.held import ClusterDescription, Held

_Heard = TypeVar("_Heard")
_Request = TypeVar("_Request", pb.PlanRequest, pb.PlanStreamRequest, pb.ExplainRequest)

#: A call may take so much longer than its search, in seconds, for what has to travel.
TRAVEL_S = 2.0
#: Deadline of calls that search nothing, in seconds.
SHORT_S = 10.0


@dataclass(frozen=True, slots=True)
class Ask:
    """How to search.

    time_limit_s: budget of the search. batch: plan several gangs jointly. fair_before: with batch, gangs created before
    this moment come first in their priority. min_version: oldest state of a held cluster to answer from. plans: of a
    stream, whether it tells verified plans on the way.
    """

    engine: Engine = Engine.AUTO
    time_limit_s: float = 5.0
    batch: bool = False
    fair_before: datetime | None = None
    min_version: int = 0
    plans: bool = False

    @property
    def timeout_s(self) -> float:
        """Deadline of the call."""
        return self.time_limit_s + TRAVEL_S


@dataclass(frozen=True, slots=True)
class Planned:
    """An answer, and the version of the held state it was computed on (0 for a state that was sent along)."""

    plan: Plan
    state_version: int


@dataclass(frozen=True, slots=True)
class Improved:
    """A better placement of one gang is known, `elapsed_ms` after the search began.

    gang: empty when only `so_far` is new: the verified answer if the search ended now, gangs in any order.
    """

    gang: str
    objective: tuple[TermValue, ...]
    elapsed_ms: float
    so_far: Plan | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one gang cannot be placed; without reasons unless it is infeasible."""

    gang: str
    status: Status
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A promise, and the version of the state that holds it."""

    promise: Promise
    state_version: int


@dataclass(frozen=True, slots=True)
class Prepared(Generic[_Heard]):
    """A call to be made. service, method: names on the wire. timeout_s: its deadline, None = none.

    request: the message, or an iterator of them. read: turns each answer into domain values.
    """

    service: str
    method: str
    request: Any
    timeout_s: float | None
    read: Callable[[Any], _Heard]


def plan(cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None) -> Prepared[Planned]:
    """PlacementService.Plan."""
    ask = ask or Ask()
    request = _question(pb.PlanRequest, cluster, gangs, ask)
    return Prepared("PlacementService", "Plan", request, ask.timeout_s, _planned)


def plan_stream(cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None) -> Prepared[Improved | Planned]:
    """PlacementService.PlanStream."""
    ask = ask or Ask()
    request = _question(pb.PlanStreamRequest, cluster, gangs, ask)
    request.with_plans = ask.plans
    return Prepared("PlacementService", "PlanStream", request, ask.timeout_s, _news)


def explain(cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None) -> Prepared[list[Explained]]:
    """PlacementService.Explain."""
    ask = ask or Ask()
    request = _question(pb.ExplainRequest, cluster, gangs, ask)
    return Prepared("PlacementService", "Explain", request, ask.timeout_s, _explained)


def put_snapshot(pieces: Iterator[cluster_pb.PutSnapshotRequest], timeout_s: float) -> Prepared[Held]:
    """ClusterService.PutSnapshot."""
    return Prepared("ClusterService", "PutSnapshot", pieces, timeout_s, decode_held)


def drop_cluster(cluster: str, timeout_s: float) -> Prepared[None]:
    """ClusterService.DropCluster."""
    request = cluster_pb.DropClusterRequest(cluster=cluster)
    return Prepared("ClusterService", "DropCluster", request, timeout_s, lambda _: None)


def get_state(cluster: str) -> Prepared[list[ClusterDescription]]:
    """ClusterService.GetState."""
    request = cluster_pb.GetStateRequest(cluster=cluster)
    return Prepared("ClusterService", "GetState", request, SHORT_S, _described)


def reserve(
    cluster: str,
    gang: Gang,
    assignments: Sequence[Assignment],
    state_version: int,
    lease_s: float | None,
    request_id: str | None,
) -> Prepared[Reserved]:
    """LedgerService.Reserve; without an id the request gets one of its own."""
    request = ledger_pb.ReserveRequest(
        request_id=request_id or _fresh_id(),
        cluster=cluster,
        gang=encode_gang(gang),
        assignments=[encode_assignment(item) for item in assignments],
        state_version=state_version,
        lease_ms=0 if lease_s is None else max(1, round(lease_s * 1000)),
    )
    return Prepared("LedgerService", "Reserve", request, SHORT_S, _reserved)


def confirm(promise_id: str, request_id: str | None) -> Prepared[Promise]:
    """LedgerService.Confirm."""
    request = ledger_pb.ConfirmRequest(request_id=request_id or _fresh_id(), promise_id=promise_id)
    return Prepared("LedgerService", "Confirm", request, SHORT_S, _promise)


def release(promise_id: str, request_id: str | None) -> Prepared[Promise]:
    """LedgerService.Release."""
    request = ledger_pb.ReleaseRequest(request_id=request_id or _fresh_id(), promise_id=promise_id)
    return Prepared("LedgerService", "Release", request, SHORT_S, _promise)


def promises(cluster: str, gang: str, page_size: int, token: str) -> Prepared[tuple[list[Promise], str]]:
    """LedgerService.List: one page, and the token of the next one."""
    request = ledger_pb.ListRequest(cluster=cluster, gang=gang, page_size=page_size, page_token=token)
    return Prepared("LedgerService", "List", request, SHORT_S, _page)


def watch(cluster: str) -> Prepared[Promise | Synced]:
    """LedgerService.Watch."""
    return Prepared("LedgerService", "Watch", ledger_pb.WatchRequest(cluster=cluster), None, decode_event)


class DeltaNumbers:
    """Groups of changes of one cluster since one snapshot, numbered."""

    def __init__(self, cluster: str, base: str, last: int = 0) -> None:
        self._cluster, self._base = cluster, base
        self.last = last

    def next(self, changes: Sequence[Change]) -> cluster_pb.ApplyDeltasRequest:
        """The next group."""
        self.last += 1
        encoded = [encode_change(change) for change in changes]
        return cluster_pb.ApplyDeltasRequest(
            cluster=self._cluster, base=self._base, sequence=self.last, changes=encoded
        )


def _question(kind: type[_Request], cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask) -> _Request:
    """A request about a held cluster, by name, or a state sent along."""
    if isinstance(cluster, str):
        about = pb.ClusterRef(name=cluster, min_version=ask.min_version)
    else:
        about = pb.ClusterRef(inline=encode_whole(cluster))
    return kind(
        cluster=about,
        gangs=[encode_gang(gang) for gang in gangs],
        options=encode_options(ask.engine, ask.time_limit_s, ask.batch, ask.fair_before),
    )


def _planned(response: pb.PlanResponse) -> Planned:
    return Planned(decode_plan(response.plan), response.state_version)


def _news(response: pb.PlanStreamResponse) -> Improved | Planned:
    if response.WhichOneof("event") == "answer":
        return _planned(response.answer)
    found = response.incumbent
    terms = (decode_term(term, f"objective[{at}]") for at, term in enumerate(found.objective))
    so_far = decode_plan(found.so_far, "so_far") if found.HasField("so_far") else None
    return Improved(found.gang, tuple(terms), found.elapsed_ms, so_far)


def _explained(response: pb.ExplainResponse) -> list[Explained]:
    return [
        Explained(
            one.gang,
            decode_status(one.status, "status"),
            tuple(decode_reason(reason, f"reasons[{at}]") for at, reason in enumerate(one.reasons)),
        )
        for one in response.explanations
    ]


def _described(response: cluster_pb.GetStateResponse) -> list[ClusterDescription]:
    return [decode_description(state) for state in response.clusters]


def _reserved(response: ledger_pb.ReserveResponse) -> Reserved:
    return Reserved(decode_promise(response.promise), response.state_version)


def _promise(response: ledger_pb.ConfirmResponse | ledger_pb.ReleaseResponse) -> Promise:
    return decode_promise(response.promise)


def _page(response: ledger_pb.ListResponse) -> tuple[list[Promise], str]:
    return [decode_promise(promise) for promise in response.promises], response.next_page_token


def _fresh_id() -> str:
    """A request id that nobody used before."""
    return uuid.uuid4().hex
