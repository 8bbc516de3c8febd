"""Requests that are valid and hardly meant: what nobody asked for, the plan does not leave room for."""

from collections.abc import Collection

from solver.domain.accelerators import Accelerators
from solver.domain.gang import Flow, Gang, Group, Kind, Pattern
from solver.domain.plan import Notice


def doubtful_requests(gang: Gang, accelerators: Accelerators) -> list[Notice]:
    """A notice for each role with pods that ask for nothing, or for no accelerator although KV caches go there.

    KV caches travel by every flow that moves bytes between engines: not by requests, which a router sends, and not by
    the collective traffic inside of an engine. A rank without accelerators belongs to the engine of the others.
    """
    routers = {role.name for role in gang.roles if role.kind is Kind.ROUTER}
    flow_of = {name: flow for flow in reversed(gang.flows) if _moves_caches(flow, routers) for name in _ends(flow)}
    found = []
    for group in gang.root.walk():
        has_one = _has_accelerator(group, accelerators)
        for role in group.roles:
            if not role.pods:
                continue
            if not role.requests.items:
                text = "asks for nothing, so that its pods fit anywhere: are its requests missing?"
                found.append(Notice("requests_nothing", gang.name, f"role {role.name}", text))
            elif role.name in flow_of and not has_one[role.name]:
                text = (
                    f"asks for no accelerator, but KV caches travel by its flow {flow_of[role.name]}: "
                    "they are timed as if it had one"
                )
                found.append(Notice("no_accelerator", gang.name, f"role {role.name}", text))
    return found


def _moves_caches(flow: Flow, routers: Collection[str]) -> bool:
    sends = bool(flow.bytes and flow.per_request) and flow.pattern is not Pattern.COLLECTIVE
    return sends and not {*routers} & {*_ends(flow)}


def _ends(flow: Flow) -> tuple[str, ...]:
    return (*flow.senders, *flow.receivers)


def _has_accelerator(group: Group, accelerators: Accelerators) -> dict[str, bool]:
    """Role → whether its engine has one, or a part of one: that of its pod, or of all ranks of a replica."""
    own = {role.name: accelerators.any_of(role.requests) for role in group.roles}
    return dict.fromkeys(own, any(own.values())) if group.multinode else own
