"""A controller from start to end: watches, waits for its turn, reconciles while it may, and leaves in good order.

It has two event loops: one for mirror, reconciler and their writes; and the front, in a thread of its own, for Lease,
pages and extender, so that no gang, however large, keeps those waiting.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import structlog

from adapters.apply.door import Door, Term
from adapters.apply.finishing import Finishing
from adapters.apply.first_of import first_of
from adapters.apply.lag import Lag
from adapters.apply.lease import Lease, LeaseTimes
from adapters.apply.loop_thread import LoopThread
from adapters.apply.metrics import Metrics
from adapters.apply.naming_node import NO_EXTENDER
from adapters.apply.observing import GangReader
from adapters.apply.pages import pages
from adapters.apply.reconciler import Reconciler
from adapters.apply.requirements import check_server
from adapters.apply.round import Solver
from adapters.apply.scope import Scoped
from adapters.apply.settings import Settings
from adapters.kubernetes.api import Api, Patience
from adapters.kubernetes.mirror import Mirror
from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators

#: Seconds that calls under way have to end in when the controller ends; less than a pod is given.
FINISH_S = 15.0

#: Makes the reader of gangs for a mirror.
ReaderFor = Callable[[Mirror], GangReader]

#: A controller whose loop does not turn for so long, in seconds, gives the Lease up and asks to be started anew.
STUCK_S = 120.0

_log = structlog.get_logger("huddle.controller")


@dataclass(frozen=True, slots=True)
class LeaseAt:
    """Where the Lease is for which controllers of a cluster compete."""

    namespace: str
    name: str
    times: LeaseTimes = field(default_factory=LeaseTimes)


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """How a controller runs.

    instance: its name among others, unique. kubeconfig, context: as for kubectl. namespaces: of the gangs it looks
    after; none = all. listen: host and port for health and metrics, None = nowhere. lease: None = it is the only one.
    accelerators: which resources of the cluster are devices.
    """

    instance: str
    kubeconfig: str | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    listen: tuple[str, int] | None = None
    lease: LeaseAt | None = None
    accelerators: Accelerators = KNOWN_ACCELERATORS


@dataclass(frozen=True, slots=True)
class Links:
    """What a controller writes with, in its own event loop and in that of the front."""

    calls: Finishing
    front: LoopThread
    front_calls: Finishing


class Controller:
    """One controller. Run it once."""

    def __init__(
        self,
        config: ControllerConfig,
        solver: Solver,
        reader_for: ReaderFor,
        door: Door | None = None,
        others: Sequence[Solver] = (),
    ) -> None:
        """solver, others: see `Planning`. door: what shows others the plans and promises while this one leads."""
        self._config, self._solver, self._reader_for, self._door = config, solver, reader_for, door
        self._others = others
        self.metrics = Metrics()
        self._lease: Lease | None = None
        self._mirror: Mirror | None = None
        self._works = False
        self._lags = {"work": Lag(), "front": Lag()}
        self.metrics.lags = {name: partial(_most, lag) for name, lag in self._lags.items()}
        self.metrics.leads = lambda: self._works
        self.metrics.everything = lambda resource: self._mirror.all(resource) if self._mirror else {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then end what was begun and give the Lease back.

        Raises SourceUnavailable, in one sentence, when it cannot start.
        """
        async with AsyncExitStack() as open_:
            api = await open_.enter_async_context(Api(self._config.kubeconfig, self._config.context))
            await check_server(api)
            front = await open_.enter_async_context(LoopThread("huddle-front"))
            port = await self._serve_pages(front, open_)
            door = self._door
            shown = await open_.enter_async_context(front.entered(door.served(self.metrics))) if door else None
            await self._compete(front, open_)
            _log.info("started", server=api.server, instance=self._config.instance, port=port, extender_port=shown)
            links = Links(
                Finishing(await open_.enter_async_context(self._writing())),
                front,
                Finishing(await open_.enter_async_context(front.entered(self._writing()))),
            )
            always = [self._lags["work"].run(), front.call(self._lags["front"].run())]
            if self._lease is not None:
                always.append(front.call(self._lease.run()))
            try:
                await first_of(stop.wait(), self._terms(api, links), *always)
            finally:
                ended = await asyncio.gather(
                    links.calls.finish(FINISH_S), front.call(links.front_calls.finish(FINISH_S))
                )
                if self._lease is not None:
                    await front.call(self._lease.release())
                _log.info("ended", all_calls_ended=all(ended))

    def obstacles(self) -> list[str]:
        """What keeps it from being ready."""
        if self._mirror is None or not self._mirror.is_synced:
            problems = self._mirror.problems if self._mirror else {}
            return ["not everything has been listed yet", *(f"{kind}: {text}" for kind, text in list(problems.items()))]
        return []

    def ailments(self) -> list[str]:
        """That it has stopped working: what runs in its loop does not end."""
        stuck_s = self._lags["work"].now_s
        return [f"the controller has done nothing for {stuck_s:.0f} s"] if stuck_s > STUCK_S else []

    async def _serve_pages(self, front: LoopThread, open_: AsyncExitStack) -> int | None:
        if self._config.listen is None:
            return None
        host, port = self._config.listen
        served = pages(host, port, self.metrics, self.obstacles, self.ailments)
        return await open_.enter_async_context(front.entered(served))

    async def _compete(self, front: LoopThread, open_: AsyncExitStack) -> None:
        """Become a candidate. Raises ApiError when the Lease cannot be read or written at all."""
        where = self._config.lease
        if where is None:
            return
        patience = Patience(request_s=where.times.retry_s, attempts=1)
        mine = Api(self._config.kubeconfig, self._config.context, patience)
        api = await open_.enter_async_context(front.entered(mine))
        self._lease = Lease(
            api,
            where.namespace,
            where.name,
            self._config.instance,
            where.times,
            is_well=lambda: not self.ailments(),
        )
        await front.call(self._lease.check())

    async def _terms(self, api: Api, links: Links) -> None:
        """One term after the other. Each begins with a mirror of its own: the reconciler is part of it."""
        while True:
            self._mirror = Mirror(api, accelerators=self._config.accelerators)
            await first_of(self._mirror.run(), self._term(self._mirror, links))
            _log.warning("lease_lost", instance=self._config.instance)

    async def _term(self, mirror: Mirror, links: Links) -> None:
        """Wait until everything is known and it is this controller's turn; reconcile until that is over."""
        await mirror.synced()
        _log.info("synced", nodes=len(mirror.held.view().snapshot.nodes))
        if self._lease is not None:
            await links.front.call(self._lease.won())
        config = self._config
        shown = Scoped(mirror, config.namespaces)
        reader = self._reader_for(mirror)
        extended = self._door.extended if self._door else NO_EXTENDER
        reconciler = Reconciler(
            shown,
            links.calls,
            reader,
            self._solver,
            config.settings,
            self.metrics,
            config.instance,
            extended=extended,
            others=self._others,
        )
        self._works = True
        term = Term(mirror, reconciler, links.front_calls, config.namespaces)
        _log.info("leading", instance=config.instance)
        try:
            doors = [links.front.call(self._door.opened(term))] if self._door else []
            await first_of(reconciler.run(), *doors, *([self._lease.lost()] if self._lease else []))
        finally:
            self._works = False

    def _writing(self) -> Api:
        """The calls of the reconciler. With a Lease, none is sent without it, and none is on its way when it ends."""
        config, lease = self._config, self._lease
        if lease is None or config.lease is None:
            return Api(config.kubeconfig, config.context)
        patience = Patience(request_s=config.lease.times.margin_s)
        return Api(config.kubeconfig, config.context, patience, lease.guard)


def _most(lag: Lag) -> float:
    return lag.most_s
