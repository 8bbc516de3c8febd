"""The standard health service, with its callbacks off the thread that serves every call."""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2  # type: ignore[import-untyped]


class HealthServicer(health.HealthServicer):  # type: ignore[misc]
    """The servicer of grpcio-health-checking, without its deadlock.

    It sends while it holds its lock, and a message is sent when the one thread that serves all calls has seen to it.
    When a watch ends, this thread takes the same lock; so a watch that ends while a status is told would stop the
    whole server. threads: run what follows the end of a watch.
    """

    def __init__(self, threads: Executor) -> None:
        super().__init__()
        self._threads = threads

    def Watch(  # noqa: N802  # the name in the service
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Callable[[Any], None] | None = None,
    ) -> Any:
        """Tell the status now and whenever it changes."""
        return super().Watch(request, _Watched(context, self._threads), send_response_callback)


class _Watched:
    """As much of a call's context as the health service asks for."""

    def __init__(self, context: grpc.ServicerContext, threads: Executor) -> None:
        self._context, self._threads = context, threads

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Run it when the call has ended, at once if it has: nobody asks whether it was added."""

        def ended() -> None:
            with suppress(RuntimeError):  # the threads are gone, and the server with them
                self._threads.submit(callback)

        if not self._context.add_callback(ended):
            ended()
        return True
