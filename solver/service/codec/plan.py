"""The answer on the wire."""

from fractions import Fraction

from solver.api.v1 import plan_pb2 as pb
from solver.domain.plan import (
    Admitted,
    Assignment,
    Batch,
    FlowReport,
    GangPlan,
    Notice,
    Plan,
    Proof,
    Reason,
    ReasonCode,
    Sense,
    Stats,
    Status,
    TermValue,
)
from solver.service.codec.fields import known, required
from solver.service.errors import InvalidField

_STATUSES: dict["pb.Status.ValueType", Status] = {
    pb.STATUS_OPTIMAL: Status.OPTIMAL,
    pb.STATUS_FEASIBLE: Status.FEASIBLE,
    pb.STATUS_INFEASIBLE: Status.INFEASIBLE,
    pb.STATUS_UNKNOWN: Status.UNKNOWN,
}
_SENSES: dict["pb.Sense.ValueType", Sense] = {pb.SENSE_MIN: Sense.MIN, pb.SENSE_MAX: Sense.MAX}
_CODES: dict["pb.ReasonCode.ValueType", ReasonCode] = {
    pb.ReasonCode.Value(f"REASON_CODE_{code.name}"): code for code in ReasonCode
}
_PROOFS: dict["pb.Proof.ValueType", Proof] = {
    pb.PROOF_UNSPECIFIED: Proof.NONE,
    pb.PROOF_TREE: Proof.TREE,
    pb.PROOF_CPSAT: Proof.CPSAT,
    pb.PROOF_TREE_AND_CPSAT: Proof.BOTH,
}
_ENGINES: dict["pb.Engine.ValueType", str] = {
    pb.ENGINE_UNSPECIFIED: "auto",
    pb.ENGINE_AUTO: "auto",
    pb.ENGINE_CPSAT: "cpsat",
    pb.ENGINE_TREE: "tree",
}
_STATUS_NUMBERS = {status: number for number, status in _STATUSES.items()}
_SENSE_NUMBERS = {sense: number for number, sense in _SENSES.items()}
_CODE_NUMBERS = {code: number for number, code in _CODES.items()}
_PROOF_NUMBERS = {proof: number for number, proof in _PROOFS.items()}
_ENGINE_NUMBERS = {name: number for number, name in _ENGINES.items()}


def encode_plan(plan: Plan) -> pb.Plan:
    """The answer to one call."""
    return pb.Plan(
        status=_STATUS_NUMBERS[plan.status],
        gangs=[encode_gang_plan(gang) for gang in plan.gangs],
        warnings=[_encode_notice(notice) for notice in plan.warnings],
        batch=None if plan.batch is None else _encode_batch(plan.batch),
    )


def decode_plan(message: pb.Plan, field: str = "plan") -> Plan:
    """The answer to one call. Raises InvalidField for what no service of this version sends."""
    gangs = tuple(_decode_gang_plan(gang, f"{field}.gangs[{at}]") for at, gang in enumerate(message.gangs))
    batch = _decode_batch(message.batch, f"{field}.batch") if message.HasField("batch") else None
    return Plan(gangs, tuple(_decode_notice(notice) for notice in message.warnings), batch)


def encode_gang_plan(plan: GangPlan) -> pb.GangPlan:
    """The answer for one gang."""
    return pb.GangPlan(
        name=plan.name,
        status=_STATUS_NUMBERS[plan.status],
        assignments=[encode_assignment(item) for item in plan.assignments],
        running=[encode_assignment(item) for item in plan.running],
        objective=[encode_term(term) for term in plan.objective],
        domains=[pb.LevelDomains(level=level, count=count) for level, count in plan.domains.items()],
        flows=[_encode_flow(flow) for flow in plan.flows],
        reasons=[encode_reason(reason) for reason in plan.reasons],
        warnings=[_encode_notice(notice) for notice in plan.warnings],
        stats=_encode_stats(plan.stats),
        handover_ms=plan.handover_ms,
    )


def encode_assignment(item: Assignment) -> pb.Assignment:
    """One pod on one node."""
    return pb.Assignment(pod=item.pod, role=item.role, node=item.node, gpu_devices=item.gpu_devices)


def decode_assignment(message: pb.Assignment, field: str) -> Assignment:
    """One pod on one node."""
    return Assignment(
        pod=required(message.pod, f"{field}.pod"),
        role=required(message.role, f"{field}.role"),
        node=required(message.node, f"{field}.node"),
        gpu_devices=tuple(message.gpu_devices),
    )


def encode_term(term: TermValue) -> pb.TermValue:
    """One objective term."""
    bound = None if term.bound is None else encode_number(term.bound)
    return pb.TermValue(term=term.term, sense=_SENSE_NUMBERS[term.sense], value=encode_number(term.value), bound=bound)


def decode_term(message: pb.TermValue, field: str) -> TermValue:
    """One objective term."""
    bound = decode_number(message.bound, f"{field}.bound") if message.HasField("bound") else None
    sense = known(_SENSES, message.sense, f"{field}.sense")
    return TermValue(message.term, sense, decode_number(message.value, f"{field}.value"), bound)


def encode_number(value: Fraction) -> pb.Number:
    """A number, for reading and exact."""
    return pb.Number(approximate=float(value), exact=str(value))


def decode_number(message: pb.Number, field: str) -> Fraction:
    """The exact number."""
    try:
        return Fraction(message.exact)
    except (ValueError, ZeroDivisionError):
        raise InvalidField(f"{field}.exact", f"{message.exact[:40]!r} is no rational number") from None


def encode_reason(reason: Reason) -> pb.Reason:
    """One cause."""
    return pb.Reason(
        code=_CODE_NUMBERS[reason.code], message=reason.message, objects=reason.objects, numbers=reason.numbers
    )


def decode_reason(message: pb.Reason, field: str) -> Reason:
    """One cause."""
    code = known(_CODES, message.code, f"{field}.code")
    return Reason(code, message.message, tuple(message.objects), dict(message.numbers))


def decode_status(number: "pb.Status.ValueType", field: str) -> Status:
    """What is known about a plan."""
    return known(_STATUSES, number, field)


def encode_status(status: Status) -> "pb.Status.ValueType":
    """What is known about a plan."""
    return _STATUS_NUMBERS[status]


def decode_engine(number: "pb.Engine.ValueType", field: str) -> str:
    """Name of an engine."""
    return known(_ENGINES, number, field)


def encode_engine(name: str) -> "pb.Engine.ValueType":
    """Number of an engine."""
    return _ENGINE_NUMBERS[name]


def _decode_gang_plan(message: pb.GangPlan, field: str) -> GangPlan:
    return GangPlan(
        name=message.name,
        status=known(_STATUSES, message.status, f"{field}.status"),
        assignments=tuple(
            decode_assignment(item, f"{field}.assignments[{at}]") for at, item in enumerate(message.assignments)
        ),
        running=tuple(decode_assignment(item, f"{field}.running[{at}]") for at, item in enumerate(message.running)),
        objective=tuple(decode_term(term, f"{field}.objective[{at}]") for at, term in enumerate(message.objective)),
        domains={item.level: item.count for item in message.domains},
        flows=tuple(_decode_flow(flow, f"{field}.flows[{at}]") for at, flow in enumerate(message.flows)),
        reasons=tuple(decode_reason(reason, f"{field}.reasons[{at}]") for at, reason in enumerate(message.reasons)),
        warnings=tuple(_decode_notice(notice) for notice in message.warnings),
        stats=_decode_stats(message.stats, f"{field}.stats"),
        handover_ms=message.handover_ms if message.HasField("handover_ms") else None,
    )


def _encode_batch(batch: Batch) -> pb.Batch:
    admitted = [
        pb.Admitted(priority=one.priority, waited=one.waited, value=one.value, bound=one.bound)
        for one in batch.admitted
    ]
    return pb.Batch(admitted=admitted, objective=[encode_term(term) for term in batch.objective])


def _decode_batch(message: pb.Batch, field: str) -> Batch:
    admitted = tuple(Admitted(one.priority, one.value, one.bound, one.waited) for one in message.admitted)
    terms = (decode_term(term, f"{field}.objective[{at}]") for at, term in enumerate(message.objective))
    return Batch(admitted, tuple(terms))


def _encode_flow(flow: FlowReport) -> pb.FlowReport:
    return pb.FlowReport(
        source=flow.source,
        target=flow.target,
        tier_share=[pb.LevelShare(level=level, share=encode_number(share)) for level, share in flow.tier_share.items()],
        transfer_us=encode_number(flow.transfer_us),
    )


def _decode_flow(message: pb.FlowReport, field: str) -> FlowReport:
    shares = {item.level: decode_number(item.share, f"{field}.tier_share") for item in message.tier_share}
    return FlowReport(
        message.source, message.target, shares, decode_number(message.transfer_us, f"{field}.transfer_us")
    )


def _encode_notice(notice: Notice) -> pb.Notice:
    return pb.Notice(code=notice.code, object=notice.object, field=notice.field, message=notice.message)


def _decode_notice(message: pb.Notice) -> Notice:
    return Notice(message.code, message.object, message.field, message.message)


def _encode_stats(stats: Stats) -> pb.Stats:
    return pb.Stats(
        nodes=stats.nodes,
        classes=stats.classes,
        signatures=stats.signatures,
        domains_recomputed=stats.domains_recomputed,
        compile_ms=stats.compile_ms,
        bound_ms=stats.bound_ms,
        search_ms=stats.search_ms,
        verify_ms=stats.verify_ms,
        engine=_ENGINE_NUMBERS[stats.engine],
        proof=_PROOF_NUMBERS[stats.proof],
        widened=stats.widened,
    )


def _decode_stats(message: pb.Stats, field: str) -> Stats:
    return Stats(
        nodes=message.nodes,
        classes=message.classes,
        signatures=message.signatures,
        domains_recomputed=message.domains_recomputed,
        compile_ms=message.compile_ms,
        bound_ms=message.bound_ms,
        search_ms=message.search_ms,
        verify_ms=message.verify_ms,
        engine=known(_ENGINES, message.engine, f"{field}.engine"),
        proof=known(_PROOFS, message.proof, f"{field}.proof"),
        widened=message.widened,
    )
