"""The flows of a deployment: the KV cache from prefill to decode, requests from router to prefill, and collectives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.manifests.engines import Engine
from adapters.manifests.models import (
    DEFAULT_MODEL,
    ModelShape,
    collective_bytes_per_token,
    find_model,
    kv_bytes_per_token,
    named_model,
)
from adapters.manifests.reading import Reading
from solver.domain.gang import Flow, Kind, Pattern, Reach

#: Bytes of one request from a router to a prefill engine.
REQUEST_BYTES = 65_536
#: Tokens that decode makes for one request, where nothing says it.
OUTPUT_TOKENS = 1000
#: Most bytes of one transfer.
MAX_BYTES = 10**15


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A role as the flows see it.

    gpus: of one engine, all ranks together. ranks: pods of one engine. is_dynamo: it is a component of a Dynamo
    deployment, or labelled as one.
    """

    role: str
    kind: Kind
    engine: Engine
    gpus: int
    ranks: int = 1
    is_dynamo: bool = False

    @property
    def is_engine(self) -> bool:
        """Whether more than its name says that it serves a language model: Dynamo, or the engine's command line."""
        return self.is_dynamo or self.engine.is_stated


def role_names(endpoints: Sequence[Endpoint], kind: Kind) -> tuple[str, ...]:
    """Names of the roles of a kind, in order."""
    return tuple(endpoint.role for endpoint in endpoints if endpoint.kind is kind)


def renamed_flow(flow: Flow, names: Mapping[str, Sequence[str]]) -> Flow:
    """The flow between what its roles have become; answers call both ends as before.

    names: role → the roles it has become; roles that are not in there stay as they are.
    """
    ends = replace(flow, senders=_renamed(flow.senders, names), receivers=_renamed(flow.receivers, names))
    return ends if ends == flow else replace(ends, sender_name=flow.source, receiver_name=flow.target)


def renamed_reach(reach: Reach, names: Mapping[str, Sequence[str]]) -> Reach:
    """The rule between what its roles have become; names as in `renamed_flow`."""
    return replace(reach, senders=_renamed(reach.senders, names), receivers=_renamed(reach.receivers, names))


def _renamed(roles: Sequence[str], names: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(name for role in roles for name in names.get(role, (role,)))


def deployment_flows(
    reading: Reading, endpoints: Sequence[Endpoint], pattern: Pattern = Pattern.ALL_TO_ALL
) -> tuple[Flow, ...]:
    """Prefill → decode with the KV cache of one prompt, router → prefill, and the collectives of multi-node engines.

    A side without roles has no flow. pattern: of the KV flow. Where a flow needs the model and it is not known, notes
    once `model_assumed`, or `flow_assumed` where nothing but the names of roles says that there is such a flow.
    """
    flows = []
    has_cache = bool(role_names(endpoints, Kind.PREFILL) and role_names(endpoints, Kind.DECODE))
    ends = [end for end in endpoints if has_cache and end.kind in (Kind.PREFILL, Kind.DECODE)]
    several = [end for end in endpoints if end.ranks > 1 and end.gpus]
    if has_cache or several:
        shape = _model(reading, [*ends, *several])
        size = _kv_bytes(shape, ends or several) * reading.options.prompt_tokens
    if has_cache:
        flows.append(_flow(endpoints, Kind.PREFILL, Kind.DECODE, size, pattern))
    if role_names(endpoints, Kind.ROUTER) and role_names(endpoints, Kind.PREFILL):
        flows.append(_flow(endpoints, Kind.ROUTER, Kind.PREFILL, REQUEST_BYTES, Pattern.ALL_TO_ALL))
    flows += [_collective(end, shape, reading.options.prompt_tokens, size) for end in several]
    return tuple(flows)


def _collective(end: Endpoint, shape: ModelShape, prompt_tokens: int, kv_bytes: int) -> Flow:
    """What each rank of a multi-node engine sends to its fellows for one request: all that its tokens cause.

    A prefill engine works on the tokens of the prompt, a decode engine on OUTPUT_TOKENS, any other one on both. The
    engine's own traffic outweighs the KV cache, which travels once: it is taken for at least twice its `kv_bytes`.
    """
    tokens = {Kind.PREFILL: prompt_tokens, Kind.DECODE: OUTPUT_TOKENS}.get(end.kind, prompt_tokens + OUTPUT_TOKENS)
    size = max(collective_bytes_per_token(shape) * tokens, 2 * kv_bytes)
    return Flow((end.role,), (end.role,), min(size, MAX_BYTES), pattern=Pattern.COLLECTIVE)


def _flow(endpoints: Sequence[Endpoint], source: Kind, target: Kind, size: int, pattern: Pattern) -> Flow:
    senders, receivers = role_names(endpoints, source), role_names(endpoints, target)
    return Flow(
        senders,
        receivers,
        size,
        pattern=pattern,
        sender_name=source.value if len(senders) > 1 else "",
        receiver_name=target.value if len(receivers) > 1 else "",
    )


def _kv_bytes(shape: ModelShape, ends: Sequence[Endpoint]) -> int:
    """Bytes per token: the most any of these engines holds."""
    return max(kv_bytes_per_token(shape, end.engine.tp or max(end.gpus, 1), end.engine.dtype_bytes) for end in ends)


def _model(reading: Reading, ends: Sequence[Endpoint]) -> ModelShape:
    """The model asked for, else the first one the engines name that is known, else the default with a notice."""
    if reading.options.model is not None:
        return named_model(reading.options.model)
    names = list(dict.fromkeys(name for end in ends for name in end.engine.models))
    known = [shape for name in names if (shape := find_model(name))]
    if known:
        return known[0]
    if any(end.is_engine for end in ends):
        why = f"model {names[0]!r} is not known" if names else "no model is named"
        reading.note("model_assumed", "spec", f"{why}; {DEFAULT_MODEL} is assumed, --model sets another")
    else:
        what = "by their names alone its roles are taken for prefill and decode"
        reading.note("flow_assumed", "spec", f"{what}, with the KV caches of {DEFAULT_MODEL}; a Gang states its flows")
    return named_model(DEFAULT_MODEL)
