"""Prometheus metrics of a controller."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from adapters.apply.reporter import Reporter
from adapters.kubernetes.placements import Phase
from adapters.kubernetes.resources import PLACEMENTS, Resource

#: Upper ends of buckets in seconds: solves take from milliseconds to the time limit, gangs wait for up to hours.
_SOLVE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CALL_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 2.5, 5)
_WAIT_S = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

#: Every object of a kind.
Everything = Callable[[Resource], Mapping[Any, Mapping[str, Any]]]


class Metrics(Reporter):
    """Counts in a registry of its own, so that several controllers of one process do not mix.

    everything: asked whenever the metrics are read. leads: whether this controller may write. lags: event loop → how
    late it was at most in the last minute, in seconds. Any thread may call anything.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.leads: Callable[[], bool] = lambda: False
        self.everything: Everything = lambda _: {}
        self._phases = self._counter("placement_phases_total", "Phases that Placements came into.", "phase")
        self._solves = self._histogram("solve_seconds", "Solves, of one or several gangs.", _SOLVE_S)
        self._planned = self._counter("gangs_planned_total", "Gangs that were planned, by outcome.", "outcome")
        self._bound = self._counter("gangs_bound_total", "Gangs of which all pods were seen bound.")
        self._waited = self._histogram("gang_wait_seconds", "From a gang's creation until all is bound.", _WAIT_S)
        self._given_back = self._counter("pods_given_back_total", "Pods that were deleted or evicted.")
        self._failed = self._counter("failures_total", "Actions that failed and are tried again.")
        self._asked = self._histogram("extender_seconds", "Calls of the extender.", _CALL_S, "verb", "outcome")
        self._overcommitted = self._gauge("overcommitted_nodes", "Nodes to which more is bound than they have.")
        leads = self._gauge("leads", "Whether this controller may write.")
        leads.set_function(lambda: float(self.leads()))
        self.registry.register(_Phases(lambda: self.everything(PLACEMENTS)))
        self.lags: Mapping[str, Callable[[], float]] = {}
        self.registry.register(_Lags(lambda: self.lags))

    def page(self) -> bytes:
        """All of them, as text."""
        return generate_latest(self.registry)

    def phase(self, gang: str, before: Phase | None, now: Phase | None) -> None:
        """See Reporter."""
        if now is not None and now is not before:
            self._phases.labels(now.value).inc()

    def solved(self, gangs: int, placed: int, seconds: float) -> None:
        """See Reporter."""
        self._solves.observe(seconds)
        self._planned.labels("placed").inc(placed)
        self._planned.labels("not_placed").inc(gangs - placed)

    def bound(self, gang: str, pods: int, waited_s: float | None) -> None:
        """See Reporter."""
        self._bound.inc()
        if waited_s is not None:
            self._waited.observe(max(0.0, waited_s))

    def given_back(self, gang: str, pods: int) -> None:
        """See Reporter."""
        self._given_back.inc(pods)

    def overcommitted(self, nodes: int) -> None:
        """See Reporter."""
        self._overcommitted.set(nodes)

    def failed(self, gang: str, problem: str) -> None:
        """See Reporter."""
        self._failed.inc()

    def extender(self, verb: str, outcome: str, seconds: float) -> None:
        """A scheduler asked, and was answered like this."""
        self._asked.labels(verb, outcome).observe(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"huddle_controller_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"huddle_controller_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"huddle_controller_{name}", text, labels, registry=self.registry, buckets=buckets)


class _Phases:
    """Placements there are, by phase."""

    def __init__(self, placements: Callable[[], Mapping[Any, Mapping[str, Any]]]) -> None:
        self._placements = placements

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Counted when somebody asks."""
        family = GaugeMetricFamily("huddle_controller_placements", "Placements by phase.", labels=["phase"])
        found = Tally(
            (body.get("status") or {}).get("phase") or "Pending" for body in list(self._placements().values())
        )
        for phase in Phase:
            family.add_metric([phase.value], found[phase.value])
        yield family


class _Lags:
    """Lateness of event loops."""

    def __init__(self, lags: Callable[[], Mapping[str, Callable[[], float]]]) -> None:
        self._lags = lags

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """As it is when the metrics are read."""
        text = "Longest that an event loop was late in the last minute: `work` reconciles, `front` answers others."
        family = GaugeMetricFamily("huddle_controller_loop_lag_seconds", text, labels=["loop"])
        for loop, lag_s in self._lags().items():
            family.add_metric([loop], lag_s())
        yield family
