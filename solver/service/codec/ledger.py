"""Promises on the wire."""

import hashlib

from google.protobuf.message import Message

from solver.api.v1 import gang_pb2
from solver.api.v1 import ledger_service_pb2 as pb
from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.ledger import Asked, Phase, Promise, PromisedPod
from solver.service.codec.constraints import decode_resources, encode_resources
from solver.service.codec.fields import known, required, within
from solver.service.codec.gang import decode_gang
from solver.service.codec.plan import decode_assignment
from solver.service.config import Limits
from solver.service.errors import InvalidField
from solver.service.feed import Synced
from solver.service.promises import Wish

#: Longest request id, in bytes.
MAX_REQUEST_ID = 128
#: Most promises on one page.
MAX_PAGE = 1000

_PHASES: dict[Phase, "pb.PromisePhase.ValueType"] = {
    Phase.RESERVED: pb.PROMISE_PHASE_RESERVED,
    Phase.CONFIRMED: pb.PROMISE_PHASE_CONFIRMED,
    Phase.FULFILLED: pb.PROMISE_PHASE_FULFILLED,
    Phase.RELEASED: pb.PROMISE_PHASE_RELEASED,
    Phase.EXPIRED: pb.PROMISE_PHASE_EXPIRED,
}
_PHASE_OF = {number: phase for phase, number in _PHASES.items()}


def decode_wish(message: pb.ReserveRequest, limits: Limits) -> Wish:
    """A plan to be promised. Raises InvalidField."""
    asked = decode_asked(message)
    cluster = required(message.cluster, "cluster")
    if not message.HasField("gang"):
        raise InvalidField("gang", "it is missing")
    if not message.assignments:
        raise InvalidField("assignments", "there are none")
    return Wish(
        asked=asked,
        cluster=cluster,
        gang=_decode_gang(message.gang, limits),
        assignments=tuple(decode_assignment(item, f"assignments[{at}]") for at, item in enumerate(message.assignments)),
        state_version=message.state_version,
        lease_ms=message.lease_ms,
    )


def decode_asked(message: pb.ReserveRequest | pb.ConfirmRequest | pb.ReleaseRequest) -> Asked:
    """Which request it is, and a digest of all it asks for."""
    request_id = required(message.request_id, "request_id")
    if len(request_id.encode()) > MAX_REQUEST_ID:
        raise InvalidField("request_id", f"it is longer than {MAX_REQUEST_ID} bytes")
    return Asked(request_id, _digest(message))


def decode_page_size(message: pb.ListRequest) -> int:
    """Most promises of the answer."""
    return min(within(message.page_size, 0, 2**31 - 1, "page_size") or MAX_PAGE, MAX_PAGE)


def decode_gang_filter(message: pb.ListRequest) -> str:
    """Name of the only gang to be told, or empty."""
    return message.gang if "/" in message.gang or not message.gang else f"default/{message.gang}"


def encode_promise(promise: Promise) -> pb.Promise:
    """One promise as it is now."""
    return pb.Promise(
        id=promise.id,
        cluster=promise.cluster,
        gang=promise.gang,
        phase=_PHASES[promise.phase],
        pods=[_encode_pod(pod) for pod in promise.pods],
        lease_until_unix_ms=promise.lease_until_ms,
        created_unix_ms=promise.created_ms,
        revision=promise.revision,
    )


def decode_promise(message: pb.Promise, field: str = "promise") -> Promise:
    """One promise as it was when it was sent."""
    return Promise(
        id=message.id,
        cluster=message.cluster,
        gang=message.gang,
        phase=known(_PHASE_OF, message.phase, f"{field}.phase"),
        pods=tuple(_decode_pod(pod, message.gang, f"{field}.pods[{at}]") for at, pod in enumerate(message.pods)),
        lease_until_ms=message.lease_until_unix_ms,
        created_ms=message.created_unix_ms,
        revision=message.revision,
    )


def encode_event(event: Promise | Synced) -> pb.WatchResponse:
    """One event of a watch."""
    if isinstance(event, Synced):
        return pb.WatchResponse(synced=pb.Synced(revision=event.revision))
    return pb.WatchResponse(promise=encode_promise(event))


def decode_event(message: pb.WatchResponse) -> Promise | Synced:
    """One event of a watch."""
    if message.WhichOneof("event") == "synced":
        return Synced(message.synced.revision)
    return decode_promise(message.promise)


def _decode_gang(message: gang_pb2.Gang, limits: Limits) -> Gang:
    gang = decode_gang(message, "gang")
    if len(gang.roles) > limits.max_roles:
        raise InvalidField("gang", f"{len(gang.roles)} roles are more than the limit of {limits.max_roles}")
    if (pods := sum(len(role.pods) for role in gang.roles)) > limits.max_pods:
        raise InvalidField("gang", f"{pods} pods are more than the limit of {limits.max_pods}")
    return gang


def _encode_pod(pod: PromisedPod) -> pb.PromisedPod:
    return pb.PromisedPod(
        pod=pod.holds.name,
        role=pod.role,
        node=pod.holds.node,
        requests=encode_resources(pod.holds.requests),
        seen_on=pod.seen_on,
    )


def _decode_pod(message: pb.PromisedPod, gang: str, field: str) -> PromisedPod:
    requests = decode_resources(message.requests, f"{field}.requests")
    return PromisedPod(BoundPod(message.pod, message.node, requests, gang=gang), message.role, message.seen_on)


def _digest(message: Message) -> bytes:
    """The same for equal messages of one kind, whatever wrote them."""
    kind = message.DESCRIPTOR.full_name.encode()
    return hashlib.sha256(kind + b"\0" + message.SerializeToString(deterministic=True)).digest()
