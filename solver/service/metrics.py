"""Prometheus metrics: what each is, and the page that shows them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from solver.domain.errors import SourceUnavailable
from solver.domain.plan import GangPlan, Plan, Proof
from solver.service.config import Tls, is_loopback, split_address
from solver.service.recorder import Recorder

#: Upper ends of buckets in seconds: warm plans of a small gang take 5 ms, the longest search a minute.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Upper ends of buckets of a gap: 0 is proven.
_GAPS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_STAGES = ("compile", "bound", "search", "verify")


class Metrics(Recorder):
    """Counts in a registry of its own, so that several servers of one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._calls = self._histogram("rpc_seconds", "Calls by method and status code.", ("method", "code"), _SECONDS)
        self._rejected = self._counter("rejected_total", "Calls turned away for lack of room, by reason.", "reason")
        self._running = self._gauge("solves_running", "Searches that run.")
        self._waiting = self._gauge("solves_waiting", "Calls that wait for a search.")
        self._solves = self._histogram("solve_seconds", "Searches, waiting not counted.", (), _SECONDS)
        self._stages = self._histogram("solve_stage_seconds", "Stages of planning one gang.", ("stage",), _SECONDS)
        self._plans = self._counter("gang_plans_total", "Answers for one gang, by status.", "status")
        self._proofs = self._counter("gang_proofs_total", "Answers for one gang, by who proved them.", "proof")
        self._gaps = self._histogram(
            "gang_gap_ratio", "How far a placed gang may be from its best; 0 = proven.", (), _GAPS
        )
        self._versions = self._gauge("state_version", "Version of the held state.", "cluster")
        self._ages = self._gauge("state_age_seconds", "Since a snapshot or changes arrived last.", "cluster")
        self._promises = self._gauge("ledger_promises", "Promises that hold capacity.", "cluster")
        for proof in Proof:
            self._proofs.labels(proof.value)

    def called(self, method: str, code: str, seconds: float) -> None:
        """See Recorder."""
        self._calls.labels(method, code).observe(seconds)

    def rejected(self, reason: str) -> None:
        """See Recorder."""
        self._rejected.labels(reason).inc()

    def line(self, running: int, waiting: int) -> None:
        """See Recorder."""
        self._running.set(running)
        self._waiting.set(waiting)

    def solved(self, plan: Plan, seconds: float) -> None:
        """See Recorder."""
        self._solves.observe(seconds)
        for gang in plan.gangs:
            self._plans.labels(gang.status.value).inc()
            self._proofs.labels(gang.stats.proof.value).inc()
            for stage in _STAGES:
                self._stages.labels(stage).observe(getattr(gang.stats, f"{stage}_ms") / 1000)
            if gang.status.placed:
                self._gaps.observe(gap(gang))

    def state(self, cluster: str, version: int) -> None:
        """See Recorder."""
        self._versions.labels(cluster).set(version)
        arrived = time.monotonic()
        self._ages.labels(cluster).set_function(lambda: time.monotonic() - arrived)

    def dropped(self, cluster: str) -> None:
        """See Recorder."""
        for gauge in (self._versions, self._ages):
            with suppress(KeyError):  # nothing ever arrived
                gauge.remove(cluster)

    def promises(self, cluster: str, holding: int) -> None:
        """See Recorder."""
        self._promises.labels(cluster).set(holding)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"huddle_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"huddle_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"huddle_{name}", text, labels, registry=self.registry)


def gap(gang: GangPlan) -> float:
    """Of the first term not proven to be best, the share of it that may still go; 1 when nothing is known, 0 = none."""
    for term in gang.objective:
        if term.bound is None:
            return 1.0
        if term.value != term.bound:
            return min(
                1.0, float(abs(term.value - term.bound) / max(abs(term.value), abs(term.bound), Fraction(1, 10**9)))
            )
    return 0.0


def _certificates(host: str, tls: Tls | None) -> dict[str, Any]:
    """Arguments that make the page HTTPS."""
    if tls is None or tls.cert_file is None or is_loopback(host):
        return {}
    found: dict[str, Any] = {"certfile": str(tls.cert_file), "keyfile": str(tls.key_file)}
    if tls.client_ca_file is not None:
        found |= {"client_cafile": str(tls.client_ca_file), "client_auth_required": True}
    return found


@contextmanager
def metrics_page(metrics: Metrics, listen: str, tls: Tls | None = None) -> Iterator[int]:
    """Serves the metrics over HTTP while the body runs; gives the port.

    tls: off loopback it is HTTPS with these certificates, if there are any. Raises SourceUnavailable when the port is
    taken or the certificates cannot be read.
    """
    host, port = split_address(listen)
    try:
        server, thread = start_http_server(port, host, metrics.registry, **_certificates(host, tls))
    except OSError as error:
        raise SourceUnavailable(f"metrics.listen: {listen}: {error.strerror}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
