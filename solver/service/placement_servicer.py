"""PlacementService: read the question, solve it within its deadline, write the answer."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import grpc

from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1 import placement_service_pb2_grpc as rpc
from solver.domain.plan import Plan, TermValue
from solver.planner import Options, Reporter
from solver.service import callers
from solver.service.codec.plan import encode_plan, encode_reason, encode_status, encode_term
from solver.service.codec.question import AnyRequest, decode_question
from solver.service.codec.snapshot import SnapshotAssembler
from solver.service.config import Limits
from solver.service.errors import InvalidField, NotReady
from solver.service.held import View
from solver.service.solves import Solves, Solving
from solver.service.state import Clusters
from solver.service.status import answering
from solver.workers.question import Question

#: Kept back from a call's deadline to encode and send the answer: this share, and no more than so many seconds.
RESERVE_SHARE, RESERVE_MOST_S = 0.05, 0.1
#: A call without a deadline has more than this left, in seconds: grpcio counts down from the end of time.
NO_DEADLINE_S = 1e9


@dataclass(frozen=True, slots=True)
class _Started:
    """A question in line, and the version of the state it is answered from."""

    solving: Solving
    version: int


class PlacementServicer(rpc.PlacementServiceServicer):
    """Answers PlacementService."""

    def __init__(self, clusters: Clusters, solves: Solves, limits: Limits) -> None:
        self._clusters, self._solves, self._limits = clusters, solves, limits

    def Plan(self, request: pb.PlanRequest, context: grpc.ServicerContext) -> pb.PlanResponse:  # noqa: N802
        """Plan one gang or several."""
        with answering(context):
            started = self._start(request, context, Reporter())
            return _response(started.solving.answer(), started.version)

    def PlanStream(  # noqa: N802
        self, request: pb.PlanStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.PlanStreamResponse]:
        """Plan, and tell better and better placements on the way."""
        with answering(context):
            news = _News(request.with_plans)
            started = self._start(request, context, news)
            started.solving.on_done(news.end)
            for incumbent in news:
                yield pb.PlanStreamResponse(incumbent=incumbent)
            yield pb.PlanStreamResponse(answer=_response(started.solving.answer(), started.version))

    def Explain(self, request: pb.ExplainRequest, context: grpc.ServicerContext) -> pb.ExplainResponse:  # noqa: N802
        """Say why gangs cannot be placed."""
        with answering(context):
            started = self._start(request, context, Reporter())
            explanations = [
                pb.Explanation(
                    gang=found.name,
                    status=encode_status(found.status),
                    reasons=[encode_reason(reason) for reason in found.reasons],
                )
                for found in started.solving.answer().gangs
            ]
            return pb.ExplainResponse(explanations=explanations, state_version=started.version)

    def _start(self, request: AnyRequest, context: grpc.ServicerContext, reporter: Reporter) -> _Started:
        """Read the question and put it in line; a cancelled or expired call stops it."""
        now = time.monotonic()
        asked = decode_question(request, self._limits)
        until = now + self._budget_s(asked.limit_s, context.time_remaining())
        options = Options(asked.engine, max(0.001, until - now), self._limits.search_memory_mib)
        view, cluster = self._view(request, [gang.name for gang in asked.gangs])
        question = Question(asked.gangs, options, until, asked.batch, asked.fair_before, cluster)
        solving = Solving()
        self._solves.begin(view.snapshot, question, solving, reporter, callers.current.get())
        if not context.add_callback(solving.cancel):
            solving.cancel()
        return _Started(solving, view.version)

    def _budget_s(self, own_s: float | None, remaining_s: float | None) -> float:
        """Seconds the answer may take: the wish, else the call's deadline, else the default."""
        found = own_s
        if remaining_s is not None and remaining_s < NO_DEADLINE_S:
            until_deadline = remaining_s - min(RESERVE_MOST_S, RESERVE_SHARE * remaining_s)
            found = until_deadline if found is None else min(found, until_deadline)
        return min(self._limits.default_budget_s if found is None else found, self._limits.max_budget_s)

    def _view(self, request: AnyRequest, gangs: Sequence[str]) -> tuple[View, str]:
        """The state the question is about, and the name of the cluster when it is a held one."""
        source = request.cluster.WhichOneof("source")
        if source == "inline":
            if request.cluster.min_version:
                raise InvalidField("cluster.min_version", "an inline state has no version")
            assembler = SnapshotAssembler(self._limits, "cluster.inline")
            assembler.add(request.cluster.inline)
            return View(0, replace(assembler.finish(), version=0)), ""
        if source is None or not request.cluster.name:
            raise InvalidField("cluster", "name a held cluster or send a state inline")
        view = self._clusters.get(request.cluster.name).view(gangs)
        if view.version < request.cluster.min_version:
            wanted = request.cluster.min_version
            raise NotReady(f"cluster {request.cluster.name} is at version {view.version}, not yet at {wanted}")
        return view, request.cluster.name


class _News(Reporter):
    """The newest placement of each gang, until the search ends. A slow reader only misses older ones."""

    def __init__(self, wants_plans: bool) -> None:
        self.wants_plans = wants_plans
        self._began = time.monotonic()
        self._newest: dict[str, pb.Incumbent] = {}
        self._so_far: Plan | None = None
        self._ended = False
        self._changed = threading.Condition()

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        terms = [encode_term(term) for term in objective]
        with self._changed:
            self._newest[gang] = pb.Incumbent(gang=gang, objective=terms, elapsed_ms=self._elapsed_ms)
            self._changed.notify()

    def planned(self, so_far: Plan) -> None:
        with self._changed:
            self._so_far = so_far
            self._changed.notify()

    @property
    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._began) * 1000

    def end(self) -> None:
        """No more to come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def __iter__(self) -> Iterator[pb.Incumbent]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._so_far or self._ended)
                fresh, self._newest = list(self._newest.values()), {}
                so_far, self._so_far = self._so_far, None
                ended = self._ended
            if so_far is not None and not ended:
                fresh = fresh or [pb.Incumbent(elapsed_ms=self._elapsed_ms)]
                fresh[-1].so_far.CopyFrom(encode_plan(so_far))
            yield from fresh
            if ended:
                return


def _response(plan: Plan, version: int) -> pb.PlanResponse:
    return pb.PlanResponse(plan=encode_plan(plan), state_version=version)
