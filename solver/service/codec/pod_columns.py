"""Pods on the wire: columns of many, records of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from solver.api.v1 import snapshot_pb2 as pb
from solver.domain.changes import PodGone
from solver.domain.constraints import AntiAffinity
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources
from solver.service.codec.constraints import (
    decode_anti_affinity,
    decode_resources,
    encode_anti_affinity,
    encode_resources,
)
from solver.service.codec.fields import required
from solver.service.codec.node_columns import decode_codes
from solver.service.errors import InvalidField
from solver.service.promised import PROMISED

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Traits:
    """What some pods have besides a request."""

    labels: Mapping[str, str]
    anti_affinity: tuple[AntiAffinity, ...] = ()
    queue: str = ""
    gang: str = ""
    nominated_priority: int | None = None


def decode_pods(message: pb.PodColumns, field: str) -> list[BoundPod]:
    """Pods in the order in which they are sent. Raises InvalidField."""
    names, uids = list(message.names), list(message.uids) or [""] * len(message.names)
    for at, name in enumerate(names):
        if "/" not in name:
            _refuse_name(name, f"{field}.names[{at}]")
    if len(uids) != len(names):
        raise InvalidField(f"{field}.uids", f"has {len(uids)} entries, not {len(names)}")
    for at, uid in enumerate(uids):
        if uid.startswith(PROMISED):
            _refuse_uid(f"{field}.uids[{at}]")
    if "" in message.nodes:
        raise InvalidField(f"{field}.nodes[{list(message.nodes).index('')}]", "must not be empty")
    requests = [decode_resources(each, f"{field}.requests[{at}]") for at, each in enumerate(message.requests)]
    traits = [_Traits({}), *(_decode_traits(each, f"{field}.traits[{at}]") for at, each in enumerate(message.traits))]
    trait_codes = decode_codes(message.trait_codes, len(names), len(message.traits), f"{field}.trait_codes").tolist()
    nodes = _decoded(list(message.nodes), message.node_codes, len(names), f"{field}.node_codes")
    held = _decoded(requests, message.request_codes, len(names), f"{field}.request_codes")
    return [
        _pod(name, node, request, trait, uid)
        for name, node, request, trait, uid in zip(
            names, nodes, held, map(traits.__getitem__, trait_codes), uids, strict=True
        )
    ]


def encode_pods(pods: Sequence[BoundPod]) -> pb.PodColumns:
    """All of them."""
    nodes: dict[str, int] = {}
    requests: dict[Resources, int] = {}
    traits: dict[object, int] = {}
    found = pb.PodColumns(names=[pod.name for pod in pods])
    if any(pod.uid for pod in pods):
        found.uids.extend(pod.uid for pod in pods)
    found.node_codes.extend(nodes.setdefault(pod.node, len(nodes)) for pod in pods)
    found.request_codes.extend(requests.setdefault(pod.requests, len(requests)) for pod in pods)
    found.nodes.extend(nodes)
    found.requests.extend(map(encode_resources, requests))
    codes = []
    for pod in pods:
        key = _traits_key(pod)
        code = traits.setdefault(key, len(traits) + 1) if key else 0
        if code > len(found.traits):
            found.traits.append(_encode_traits(pod))
        codes.append(code)
    if any(codes):
        found.trait_codes.extend(codes)
    return found


def decode_pod(message: pb.Pod, field: str) -> BoundPod:
    """One pod."""
    if message.uid.startswith(PROMISED):
        _refuse_uid(f"{field}.uid")
    if "/" not in message.name:
        _refuse_name(message.name, f"{field}.name")
    node = required(message.node, f"{field}.node")
    traits = _decode_traits(message.traits, f"{field}.traits")
    return _pod(message.name, node, decode_resources(message.requests, f"{field}.requests"), traits, message.uid)


def encode_pod(pod: BoundPod) -> pb.Pod:
    """One pod."""
    return pb.Pod(
        uid=pod.uid,
        name=pod.name,
        node=pod.node,
        requests=encode_resources(pod.requests),
        traits=_encode_traits(pod) if _traits_key(pod) else None,
    )


def decode_pod_key(message: pb.PodKey, field: str) -> PodGone:
    """Which pod is gone."""
    if message.uid.startswith(PROMISED):
        _refuse_uid(f"{field}.uid")
    return PodGone(message.uid, message.name if message.uid else required(message.name, f"{field}.name"))


def _pod(name: str, node: str, requests: Resources, traits: _Traits, uid: str) -> BoundPod:
    anti_affinity, priority = traits.anti_affinity, traits.nominated_priority
    return BoundPod(name, node, requests, traits.labels, anti_affinity, traits.queue, traits.gang, uid, priority)


def _refuse_uid(field: str) -> None:
    raise InvalidField(field, f"uids that begin with {PROMISED!r} are those of promised pods")


def _refuse_name(name: str, field: str) -> None:
    raise InvalidField(field, f"{name!r} is not namespace/name")


def _decoded(items: Sequence[_Item], codes: Sequence[int], count: int, field: str) -> Sequence[_Item]:
    """`items[code]` for each code."""
    if len(codes) != count:
        raise InvalidField(field, f"has {len(codes)} entries, not {count}")
    sent = decode_codes(codes, count, len(items) - 1, field)
    return [items[code] for code in sent.tolist()]


def _decode_traits(message: pb.PodTraits, field: str) -> _Traits:
    terms = tuple(
        decode_anti_affinity(term, f"{field}.anti_affinity[{at}]") for at, term in enumerate(message.anti_affinity)
    )
    priority = message.nominated_priority if message.HasField("nominated_priority") else None
    return _Traits(dict(message.labels), terms, message.queue, message.gang, priority)


def _traits_key(pod: BoundPod) -> object:
    """What makes its traits equal to those of another pod; None without any."""
    if not (pod.labels or pod.anti_affinity or pod.queue or pod.gang or pod.is_nominated):
        return None
    return frozenset(pod.labels.items()), pod.anti_affinity, pod.queue, pod.gang, pod.nominated_priority


def _encode_traits(pod: BoundPod) -> pb.PodTraits:
    return pb.PodTraits(
        labels=pod.labels,
        anti_affinity=[encode_anti_affinity(term) for term in pod.anti_affinity],
        queue=pod.queue,
        gang=pod.gang,
        nominated_priority=pod.nominated_priority,
    )
