"""The service in one process: builds every piece, starts it, and lets it end well. Nothing else wires."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]

from solver.api.v1 import (
    cluster_service_pb2,
    cluster_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    placement_service_pb2,
    placement_service_pb2_grpc,
)
from solver.domain.errors import SourceUnavailable
from solver.service import logs
from solver.service.auth import Authority
from solver.service.cluster_servicer import ClusterServicer
from solver.service.config import ServiceConfig, split_address
from solver.service.gate import Gate
from solver.service.health_servicer import HealthServicer
from solver.service.interceptors import Calls, Passage
from solver.service.ledger_servicer import LedgerServicer
from solver.service.metrics import Metrics, metrics_page
from solver.service.patience import Patience
from solver.service.placement_servicer import PlacementServicer
from solver.service.promises import PromiseLimits, Promises
from solver.service.recorder import told_to
from solver.service.roles import HEALTH, REFLECTION
from solver.service.solves import Solves
from solver.service.sqlite_ledger import SqliteLedger
from solver.service.state import Clusters
from solver.service.tls import server_credentials
from solver.service.traces import traces_for

#: Threads that answer nothing but health.
_HEALTH_THREADS = 4
_SERVICES = (
    placement_service_pb2.DESCRIPTOR.services_by_name["PlacementService"],
    cluster_service_pb2.DESCRIPTOR.services_by_name["ClusterService"],
    ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"],
)
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

_log = structlog.get_logger("huddle.service")


class Server:
    """The service. Started once, stopped once; several of them may live in one process.

    Raises InvalidRequest for settings that cannot be met (certificates, tokens, a missing extra), SourceUnavailable for
    what the machine refuses (an address in use, a ledger file that cannot be opened). gate: who is inside.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self.gate = Gate(config.limits.max_streams, config.limits.max_streams_per_caller)
        self._open = ExitStack()
        self._health_threads = self._pool(_HEALTH_THREADS, "health")
        self._health = HealthServicer(self._health_threads)
        self._server: grpc.Server | None = None

    def start(self) -> int:
        """Listen, and tell the port. Logs one line `ready`, whatever the level."""
        try:
            port = self._started()
        except BaseException:
            self._open.close()
            raise
        return port

    def hurry(self) -> None:
        """End a drain that is under way, or will be, without waiting for anybody."""
        self.gate.hurry()

    def stop(self, grace_s: float | None = None) -> None:
        """Drain and end: health says NOT_SERVING, nobody is let in, running calls get some seconds, then are cancelled.

        grace_s: seconds; None = as configured. Standing calls (watches, deltas) are cancelled when the others have
        ended. Does nothing the second time.
        """
        server, self._server = self._server, None
        if server is None:
            return
        drain = self.config.drain
        _log.info("draining")
        self._health.enter_graceful_shutdown()
        self.gate.close()
        ended = self.gate.wait_empty(drain.grace_s if grace_s is None else grace_s)
        server.stop(0).wait(drain.stop_s)
        self._open.close()
        _log.info("stopped", all_calls_ended=ended)

    def _started(self) -> int:
        config = self.config
        authority = Authority(config)
        traces = traces_for(config.tracing)
        self._open.callback(traces.close)
        page = None
        if config.metrics.listen is not None:
            page = self._open.enter_context(metrics_page(self.metrics, config.metrics.listen, config.tls))
        patience = Patience(config.connections.request_s)
        self._open.callback(patience.close)
        patience.start()
        passage = Passage(authority, self.gate, patience, self.metrics, traces, config.logs.calls)
        server = grpc.server(
            self._pool(config.limits.workers, "call"),
            interceptors=[Calls(passage, self._health_threads)],
            options=_options(config),
        )
        self._add_services(server, told_to(self.metrics, traces))
        port = _listen(server, config)
        server.start()
        self._server = server
        self._tell(port, page)
        return port

    def _add_services(self, server: grpc.Server, recorder: Any) -> None:
        limits = self.config.limits
        clusters = Clusters(limits, recorder)
        ledger = SqliteLedger(self.config.ledger.file, accept_at=self.config.ledger.accept_at)
        promises = Promises(ledger, clusters, PromiseLimits.of(self.config), recorder)
        self._open.callback(promises.close)
        solves = Solves(limits, recorder)
        self._open.callback(solves.close)
        promises.start()
        placement = PlacementServicer(clusters, solves, limits)
        placement_service_pb2_grpc.add_PlacementServiceServicer_to_server(placement, server)
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(ClusterServicer(clusters, limits), server)
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(promises, limits), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [service.full_name for service in _SERVICES]
        for name in names:
            self._health.set(name, _SERVING)
        if self.config.reflection:
            _add_reflection(server, [*names, HEALTH, reflection.SERVICE_NAME])

    def _pool(self, threads: int, name: str) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._open.callback(pool.shutdown, wait=False)
        return pool

    def _tell(self, port: int, page: int | None) -> None:
        """What whoever starts the service waits for, and what they should know."""
        config = self.config
        host, _ = split_address(config.listen)
        logs.always("ready", host=host, port=port, metrics_port=page, tls=config.tls.cert_file is not None)
        if config.ledger.file is None:
            _log.warning("ledger_in_memory", meaning="a restart forgets every promise; give --ledger FILE to keep them")
        if config.insecure and config.tls.cert_file is None:
            _log.warning("plaintext", meaning="whoever shares the network reads everything, tokens too")


def _add_reflection(server: grpc.Server, names: Sequence[str]) -> None:
    """Both versions of it: grpcio knows the older one, and the messages of the newer are the same on the wire."""
    reflection.enable_server_reflection(names, server)
    servicer = reflection.ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    newer = grpc.method_handlers_generic_handler(REFLECTION[0], {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((newer,))


def _listen(server: grpc.Server, config: ServiceConfig) -> int:
    """Bind the address; the port."""
    credentials = server_credentials(config.tls)
    try:
        if credentials is None:
            return server.add_insecure_port(config.listen)
        return server.add_secure_port(config.listen, credentials)
    except RuntimeError as error:
        raise SourceUnavailable(f"listen: {config.listen}: {_why_not(config.listen)}") from error


def _why_not(listen: str) -> str:
    """Why an address cannot be bound, which gRPC does not tell."""
    host, port = split_address(listen)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.bind(address)
            trial.listen()
    except OSError as error:
        return error.strerror or "it cannot be bound"
    return "it cannot be bound, or not with these certificates"


def _options(config: ServiceConfig) -> list[tuple[str, int]]:
    connections = config.connections
    return [
        ("grpc.max_receive_message_length", config.limits.max_message_bytes),
        ("grpc.max_concurrent_streams", connections.max_calls),
        # Without it a second service on the same port would start, and take every other connection.
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", round(connections.max_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", round(connections.max_age_grace_s * 1000)),
        ("grpc.max_connection_idle_ms", round(connections.max_idle_s * 1000)),
        ("grpc.keepalive_time_ms", round(connections.ping_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(connections.ping_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(connections.least_ping_s * 1000)),
        ("grpc.server_handshake_timeout_ms", round(connections.handshake_s * 1000)),
    ]
