"""What both clients say and hear: requests from domain values, and values from answers."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

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
from solver.service.codec.ledger import decode_promise
from solver.service.codec.plan import decode_plan, decode_reason, decode_status, decode_term, encode_assignment
from solver.service.codec.question import encode_options
from solver.service.codec.snapshot import encode_change, encode_whole

_Request = TypeVar("_Request", pb.PlanRequest, pb.PlanStreamRequest, pb.ExplainRequest)

#: A call may take so much longer than its search, in seconds, for what has to travel.
TRAVEL_S = 2.0


@dataclass(frozen=True, slots=True)
class Ask:
    """How to search.

    time_limit_s: budget of the search. batch: plan several gangs jointly. fair_before: with batch, gangs created before
    this moment come first in their priority. min_version: oldest state of a held cluster to answer from.
    """

    engine: Engine = Engine.AUTO
    time_limit_s: float = 5.0
    batch: bool = False
    fair_before: datetime | None = None
    min_version: int = 0

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
    """A better placement of one gang is known, `elapsed_ms` after the search began."""

    gang: str
    objective: tuple[TermValue, ...]
    elapsed_ms: float


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one gang cannot be placed; without reasons unless it is infeasible."""

    gang: str
    status: Status
    reasons: tuple[Reason, ...]


def question(kind: type[_Request], cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask) -> _Request:
    """A request of PlacementService about a held cluster, by name, or a state sent along."""
    if isinstance(cluster, str):
        about = pb.ClusterRef(name=cluster, min_version=ask.min_version)
    else:
        about = pb.ClusterRef(inline=encode_whole(cluster))
    return kind(
        cluster=about,
        gangs=[encode_gang(gang) for gang in gangs],
        options=encode_options(ask.engine, ask.time_limit_s, ask.batch, ask.fair_before),
    )


def planned(response: pb.PlanResponse) -> Planned:
    """The answer of Plan."""
    return Planned(decode_plan(response.plan), response.state_version)


def news(response: pb.PlanStreamResponse) -> Improved | Planned:
    """One message of PlanStream."""
    if response.WhichOneof("event") == "answer":
        return planned(response.answer)
    found = response.incumbent
    terms = (decode_term(term, f"objective[{at}]") for at, term in enumerate(found.objective))
    return Improved(found.gang, tuple(terms), found.elapsed_ms)


def explained(response: pb.ExplainResponse) -> list[Explained]:
    """The answer of Explain."""
    return [
        Explained(
            one.gang,
            decode_status(one.status, "status"),
            tuple(decode_reason(reason, f"reasons[{at}]") for at, reason in enumerate(one.reasons)),
        )
        for one in response.explanations
    ]


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


@dataclass(frozen=True, slots=True)
class Reserved:
    """A promise, and the version of the state that holds it."""

    promise: Promise
    state_version: int


def reserve_request(
    cluster: str,
    gang: Gang,
    assignments: Sequence[Assignment],
    state_version: int,
    lease_s: float | None,
    request_id: str | None,
) -> ledger_pb.ReserveRequest:
    """A plan to be promised; without an id it gets one of its own."""
    return ledger_pb.ReserveRequest(
        request_id=request_id or fresh_id(),
        cluster=cluster,
        gang=encode_gang(gang),
        assignments=[encode_assignment(item) for item in assignments],
        state_version=state_version,
        lease_ms=0 if lease_s is None else max(1, round(lease_s * 1000)),
    )


def reserved(response: ledger_pb.ReserveResponse) -> Reserved:
    """The answer of Reserve."""
    return Reserved(decode_promise(response.promise), response.state_version)


def fresh_id() -> str:
    """A request id that nobody used before."""
    return uuid.uuid4().hex
