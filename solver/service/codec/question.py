"""What is asked of the planner, read from a request and checked against the limits of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from solver.api.v1 import gang_pb2, plan_pb2
from solver.api.v1 import placement_service_pb2 as pb
from solver.domain.gang import Gang
from solver.search.options import Engine
from solver.service.codec.fields import decode_moment, encode_moment, within
from solver.service.codec.gang import decode_gang
from solver.service.codec.plan import decode_engine
from solver.service.config import Limits
from solver.service.errors import InvalidField

AnyRequest = pb.PlanRequest | pb.PlanStreamRequest | pb.ExplainRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """A question without the cluster state.

    fair_before: see plan_batch(). limit_s: how long it may take; None = as long as the call.
    """

    gangs: tuple[Gang, ...]
    engine: Engine
    batch: bool
    fair_before: datetime | None
    limit_s: float | None


def decode_question(request: AnyRequest, limits: Limits) -> Asked:
    """Gangs and options. Raises InvalidField."""
    wanted = request.options
    own_ms = within(wanted.time_limit_ms, 0, 86_400_000, "options.time_limit_ms")
    fair_before = None
    if wanted.HasField("fair_before_unix_ms"):
        if not wanted.batch:
            raise InvalidField("options.fair_before_unix_ms", "needs batch")
        fair_before = decode_moment(wanted.fair_before_unix_ms, "options.fair_before_unix_ms")
    engine = Engine(decode_engine(wanted.engine, "options.engine"))
    if wanted.batch and engine is Engine.TREE:
        raise InvalidField("options.engine", "a batch is placed jointly by CP-SAT, which engine tree leaves out")
    return Asked(_decode_gangs(request.gangs, limits), engine, wanted.batch, fair_before, own_ms / 1000 or None)


def encode_options(engine: Engine, time_limit_s: float, batch: bool, fair_before: datetime | None) -> pb.PlanOptions:
    """Options of a request."""
    message = pb.PlanOptions(
        engine=plan_pb2.Engine.Value(f"ENGINE_{engine.name}"),
        batch=batch,
        time_limit_ms=max(1, round(time_limit_s * 1000)),
    )
    if fair_before is not None:
        message.fair_before_unix_ms = encode_moment(fair_before)
    return message


def _decode_gangs(messages: Sequence[gang_pb2.Gang], limits: Limits) -> tuple[Gang, ...]:
    if not messages:
        raise InvalidField("gangs", "must not be empty")
    if len(messages) > limits.max_gangs:
        raise InvalidField("gangs", f"{len(messages)} gangs are more than the limit of {limits.max_gangs}")
    found: dict[str, Gang] = {}
    pods = 0
    for at, message in enumerate(messages):
        gang = decode_gang(message, f"gangs[{at}]")
        pods += sum(len(role.pods) for role in gang.roles)
        if gang.name in found:
            raise InvalidField(f"gangs[{at}].name", f"{gang.name!r} appears twice")
        if len(gang.roles) > limits.max_roles:
            raise InvalidField(f"gangs[{at}]", f"{len(gang.roles)} roles are more than the limit of {limits.max_roles}")
        if pods > limits.max_pods:
            raise InvalidField(f"gangs[{at}]", f"more than {limits.max_pods} pods in one call, which is the limit")
        found[gang.name] = gang
    return tuple(found.values())
