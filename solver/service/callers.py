"""Who calls, for limits that count by caller."""

from contextvars import ContextVar

import grpc

from solver.service.auth import ANONYMOUS
from solver.service.tokens import Caller

#: Who the call that this thread is answering comes from, as `told_apart` says; empty outside a call.
current: ContextVar[str] = ContextVar("huddle_caller", default="")


def told_apart(caller: Caller, context: grpc.ServicerContext) -> str:
    """Whose limits count for a call: by the name it showed, else by the address it comes from, without the port."""
    if caller.name != ANONYMOUS:
        return f"name:{caller.name}"
    peer = context.peer()
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
