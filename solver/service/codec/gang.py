"""The gang on the wire."""

from collections.abc import Sequence
from fractions import Fraction

from solver.api.v1 import gang_pb2 as pb
from solver.domain.errors import InvalidRequest
from solver.domain.gang import (
    MAX_PODS,
    BoundMember,
    Flow,
    Gang,
    Group,
    Kind,
    Pack,
    Pattern,
    Reach,
    Role,
    Spread,
)
from solver.service.codec.constraints import (
    decode_constraints,
    decode_resources,
    encode_constraints,
    encode_resources,
)
from solver.service.codec.fields import (
    checking,
    decode_moment,
    decode_rational,
    encode_moment,
    encode_rational,
    known,
    required,
    within,
)
from solver.service.errors import InvalidField

#: Groups inside groups, at most.
MAX_DEPTH = 32

_KINDS: dict["pb.RoleKind.ValueType", Kind] = {
    pb.ROLE_KIND_UNSPECIFIED: Kind.OTHER,
    pb.ROLE_KIND_ROUTER: Kind.ROUTER,
    pb.ROLE_KIND_PREFILL: Kind.PREFILL,
    pb.ROLE_KIND_DECODE: Kind.DECODE,
    pb.ROLE_KIND_WORKER: Kind.WORKER,
    pb.ROLE_KIND_OTHER: Kind.OTHER,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_PATTERNS: dict["pb.FlowPattern.ValueType", Pattern] = {
    pb.FLOW_PATTERN_UNSPECIFIED: Pattern.ALL_TO_ALL,
    pb.FLOW_PATTERN_ALL_TO_ALL: Pattern.ALL_TO_ALL,
    pb.FLOW_PATTERN_NEAREST: Pattern.NEAREST,
    pb.FLOW_PATTERN_COLLECTIVE: Pattern.COLLECTIVE,
}
_PATTERN_NUMBERS = {pattern: number for number, pattern in _PATTERNS.items()}


def decode_gang(message: pb.Gang, field: str) -> Gang:
    """A gang. Raises InvalidField with the path of what is wrong, which begins with `field`."""
    name = required(message.name, f"{field}.name")
    namespace = name.rpartition("/")[0] or "default"
    if not message.HasField("root"):
        raise InvalidField(f"{field}.root", "is missing")
    root = _decode_group(message.root, namespace, f"{field}.root", 0)
    flows = tuple(_decode_flow(flow, f"{field}.flows[{at}]") for at, flow in enumerate(message.flows))
    reach = tuple(_decode_reach(rule, f"{field}.reach[{at}]") for at, rule in enumerate(message.reach))
    running = tuple(
        BoundMember(required(pod.pod, f"{field}.running[{at}].pod"), required(pod.node, f"{field}.running[{at}].node"))
        for at, pod in enumerate(message.running)
    )
    created = None
    if message.HasField("created_unix_ms"):
        created = decode_moment(message.created_unix_ms, f"{field}.created_unix_ms")
    rate = None
    if message.HasField("requests_per_second"):
        rate = decode_rational(message.requests_per_second, f"{field}.requests_per_second")
    with checking(field):
        return Gang(
            name=name,
            root=root,
            priority=message.priority,
            queue=message.queue,
            topology=message.topology,
            flows=flows,
            reach=reach,
            running=running,
            created=created,
            pod_priority=message.pod_priority if message.HasField("pod_priority") else None,
            requests_per_second=rate,
        )


def encode_gang(gang: Gang) -> pb.Gang:
    """A gang with the names of all its pods. Raises InvalidRequest where a number does not fit a message."""
    try:
        return _encoded(gang)
    except (InvalidRequest, ValueError) as error:
        raise InvalidRequest(f"gang {gang.name} cannot be sent: {error}") from error


def _encoded(gang: Gang) -> pb.Gang:
    message = pb.Gang(
        name=gang.name,
        root=_encode_group(gang.root),
        priority=gang.priority,
        queue=gang.queue,
        topology=gang.topology,
        flows=[_encode_flow(flow) for flow in gang.flows],
        reach=[
            pb.Reach(
                senders=rule.senders, receivers=rule.receivers, level=rule.level, ratio=encode_rational(rule.ratio)
            )
            for rule in gang.reach
        ],
        running=[pb.RunningPod(pod=member.pod, node=member.node) for member in gang.running],
        pod_priority=gang.pod_priority,
    )
    if gang.created is not None:
        message.created_unix_ms = encode_moment(gang.created)
    if gang.requests_per_second is not None:
        message.requests_per_second.CopyFrom(encode_rational(gang.requests_per_second))
    return message


def _decode_group(message: pb.Group, namespace: str, field: str, depth: int) -> Group:
    if depth > MAX_DEPTH:
        raise InvalidField(field, f"more than {MAX_DEPTH} groups inside each other")
    roles = tuple(_decode_role(role, namespace, f"{field}.roles[{at}]") for at, role in enumerate(message.roles))
    groups = tuple(
        _decode_group(child, namespace, f"{field}.groups[{at}]", depth + 1) for at, child in enumerate(message.groups)
    )
    replicas = message.replicas if message.HasField("replicas") else 1
    if depth:
        required(message.name, f"{field}.name")
    with checking(field):
        return Group(
            name=message.name,
            roles=roles,
            groups=groups,
            replicas=replicas,
            min_replicas=message.min_replicas if message.HasField("min_replicas") else replicas,
            min=message.min if message.HasField("min") else None,
            pack=Pack(message.pack.required or None, message.pack.preferred or None),
            spread=_decode_spread(message.spread, field),
            multinode=message.multinode,
        )


def _encode_group(group: Group) -> pb.Group:
    message = pb.Group(
        name=group.name,
        roles=[_encode_role(role) for role in group.roles],
        groups=[_encode_group(child) for child in group.groups],
        replicas=group.replicas,
        min_replicas=group.min_replicas,
        pack=pb.Pack(required=group.pack.required or "", preferred=group.pack.preferred or ""),
        spread=_encode_spread(group.spread),
        multinode=group.multinode,
    )
    if group.min is not None:
        message.min = group.min
    return message


def _decode_role(message: pb.Role, namespace: str, field: str) -> Role:
    spread = _decode_spread(message.spread, field)
    with checking(field):
        return Role(
            name=required(message.name, f"{field}.name"),
            replicas=within(message.replicas, 0, MAX_PODS, f"{field}.replicas"),
            min=message.min if message.HasField("min") else message.replicas,
            kind=known(_KINDS, message.kind, f"{field}.kind"),
            requests=decode_resources(message.requests, f"{field}.requests"),
            constraints=decode_constraints(message.constraints, namespace, f"{field}.constraints"),
            spread=spread,
            pods=tuple(required(pod, f"{field}.pods[{at}]") for at, pod in enumerate(message.pods)),
        )


def _encode_role(role: Role) -> pb.Role:
    return pb.Role(
        name=role.name,
        replicas=role.replicas,
        min=role.min,
        kind=_KIND_NUMBERS[role.kind],
        requests=encode_resources(role.requests),
        constraints=encode_constraints(role.constraints),
        spread=_encode_spread(role.spread),
        pods=role.pods,
    )


def _decode_spread(messages: Sequence[pb.Spread], field: str) -> tuple[Spread, ...]:
    found = []
    for at, message in enumerate(messages):
        path = f"{field}.spread[{at}]"
        with checking(path):
            found.append(Spread(required(message.level, f"{path}.level"), message.max))
    return tuple(found)


def _encode_spread(spread: Sequence[Spread]) -> list[pb.Spread]:
    return [pb.Spread(level=rule.level, max=rule.max) for rule in spread]


def _decode_flow(message: pb.Flow, field: str) -> Flow:
    if not message.senders or not message.receivers:
        raise InvalidField(field, "senders and receivers must not be empty")
    per_request = Fraction(1)
    if message.HasField("per_request"):
        per_request = decode_rational(message.per_request, f"{field}.per_request")
    with checking(field):
        return Flow(
            senders=tuple(message.senders),
            receivers=tuple(message.receivers),
            bytes=message.bytes,
            per_request=per_request,
            pattern=known(_PATTERNS, message.pattern, f"{field}.pattern"),
            sender_name=message.sender_name,
            receiver_name=message.receiver_name,
        )


def _encode_flow(flow: Flow) -> pb.Flow:
    return pb.Flow(
        senders=flow.senders,
        receivers=flow.receivers,
        bytes=flow.bytes,
        per_request=encode_rational(flow.per_request),
        pattern=_PATTERN_NUMBERS[flow.pattern],
        sender_name=flow.sender_name,
        receiver_name=flow.receiver_name,
    )


def _decode_reach(message: pb.Reach, field: str) -> Reach:
    ratio = decode_rational(message.ratio, f"{field}.ratio")
    with checking(field):
        level = required(message.level, f"{field}.level")
        return Reach(tuple(message.senders), tuple(message.receivers), level, ratio)
