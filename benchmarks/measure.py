"""The measuring process: one JSON job on stdin, one JSON answer on stdout.

It is a process of its own so that memory is that of one engine process with one size of site, and nothing else.
"""

import importlib
import inspect
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from benchmarks import yardsticks
from benchmarks.cases import CASES, TOPOLOGY, Case, Site, as_bound, batch_gangs, build_site, fresh, renamed
from benchmarks.output import resident_mb
from solver.batch.plan import plan_batch
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Plan, Proof
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from solver.planner import Options, plan
from solver.verify.checker import verify

YARDSTICKS: dict[str, Callable[..., yardsticks.Answer | None]] = {
    "first fit": yardsticks.first_fit,
    "greedy by transfer": yardsticks.greedy,
    "lowest domain, fullest first": yardsticks.lowest_domain,
}
#: Gangs that stay at the same time in the warm sequence before the oldest leaves.
STAYING = 4
#: Every so many warm decisions one is repeated cold, outside the clock, to compare.
COMPARED = 10
#: Gangs of one joint batch.
BATCH = 50

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What to measure. part: a name in PARTS; budget_s: of each case; limit_s: of each call of plan()."""

    part: str
    nodes: int
    cases: tuple[str, ...]
    repeat: int
    budget_s: float
    limit_s: float


@dataclass
class Purse:
    """Wall-clock time and samples that a case may still use."""

    seconds: float
    samples: int

    @property
    def empty(self) -> bool:
        """Whether either is used up."""
        return self.seconds <= 0 or self.samples <= 0

    def pay(self, spent_ms: float) -> None:
        """Take one sample off."""
        self.seconds -= spent_ms / 1000
        self.samples -= 1


def sites(nodes: int, case: Case, repeat: int) -> Iterator[Site]:
    """Sites of a case: uneven and fragmented, racks of 16 and of 4, seed after seed."""
    for seed in range(1, repeat + 1):
        for load in case.loads:
            for rack in (16, 4):
                yield Site(nodes, load, rack, seed, case.used)


def timed_plan(snapshot: Snapshot, gang: Gang, limit_s: float, **more: Any) -> tuple[GangPlan, Row]:
    """One call of plan() and where its time went, in milliseconds."""
    started = time.perf_counter()
    (answer,) = plan(snapshot, [gang], Options(time_limit_s=limit_s), **more).gangs
    total = (time.perf_counter() - started) * 1000
    stats = answer.stats
    parts = {
        "compile_ms": stats.compile_ms,
        "bound_ms": stats.bound_ms,
        "search_ms": stats.search_ms,
        "verify_ms": stats.verify_ms,
    }
    transfer = next((float(term.value) for term in answer.objective if term.term == "transfer_us"), None)
    found = {
        "status": answer.status.value,
        "proof": stats.proof.value,
        "widened": stats.widened,
        "total_ms": total,
        **parts,
        "rest_ms": max(0.0, total - sum(parts.values())),
        "without_certificate_ms": total - stats.search_ms if stats.proof is Proof.BOTH else total,
        "classes": stats.classes,
        "signatures": stats.signatures,
        "transfer_us": transfer,
    }
    return answer, found


def by_first_model(row: Row) -> bool:
    """Whether CP-SAT closed the gap with its first model, which is restricted to the plan's own domains."""
    return row["status"] == "optimal" and row["proof"] in ("tree+cpsat", "cpsat") and not row["widened"]


def cold(job: Job) -> list[Row]:
    """Every case on site after site, each call without anything remembered, until repeats or budget end."""
    purses = {name: Purse(job.budget_s, job.repeat) for name in job.cases}
    rows: list[Row] = []
    for site, cases in _shared_sites(job):
        wanted = [case for case in cases if not purses[case.name].empty]
        snapshot = build_site(site) if wanted else None
        for case in wanted:
            assert snapshot is not None
            _, found = timed_plan(fresh(snapshot), case.make(), job.limit_s)
            purses[case.name].pay(found["total_ms"])
            rows.append({"case": case.name, **asdict(site), **found})
    return rows


def _shared_sites(job: Job) -> list[tuple[Site, list[Case]]]:
    """Sites in turn with the cases that are measured on them, so that each is built once."""
    found: dict[Site, list[Case]] = {}
    for name in job.cases:
        for site in sites(job.nodes, CASES[name], job.repeat):
            found.setdefault(site, []).append(CASES[name])
    return sorted(found.items(), key=lambda entry: entry[0].seed)


def warm_tables() -> Any | None:
    """A new memory for plan(..., warm=…), or None where the engine has none."""
    if "warm" not in inspect.signature(plan).parameters:
        return None
    return importlib.import_module("solver.bound.warm").WarmTables()


def warm(job: Job) -> list[Row]:
    """Gangs of each case arriving and leaving on one site, with the tables kept from call to call."""
    rows: list[Row] = []
    for name in job.cases if warm_tables() is not None else ():
        site = Site(job.nodes, "loaded", 16, 1, CASES[name].used)
        rows += [{"case": name, **asdict(site), **row} for row in _warm_sequence(build_site(site), CASES[name], job)]
    return rows


def _warm_sequence(snapshot: Snapshot, case: Case, job: Job) -> Iterator[Row]:
    """One row for each placement after the first, which fills the tables."""
    tables, purse = warm_tables(), Purse(job.budget_s, job.repeat + 1)
    staying: deque[list[BoundPod]] = deque()
    while not purse.empty:
        step = job.repeat + 1 - purse.samples
        gang = renamed(case.make(), f"bench/{case.name}-{step}")
        answer, found = timed_plan(snapshot, gang, job.limit_s, warm=tables)
        purse.pay(found["total_ms"])
        if step and answer.status.placed:
            equal = None if step % COMPARED else _same(answer, timed_plan(fresh(snapshot), gang, job.limit_s)[0])
            yield {"step": step, "equal": equal, **found}
        if answer.status.placed:
            staying.append(as_bound(gang, answer))
            snapshot = snapshot.with_pods(staying[-1])
        if len(staying) > STAYING or (staying and not answer.status.placed):
            snapshot = snapshot.with_changes((), staying.popleft())


def _same(one: GangPlan, other: GangPlan) -> bool:
    return (one.status, one.objective) == (other.status, other.objective)


def yardstick_rows(job: Job) -> list[Row]:
    """What the simple placers reach on the same sites; their answers pass the verifier."""
    purses = {name: Purse(job.budget_s, job.repeat) for name in job.cases}
    rows: list[Row] = []
    for site, cases in _shared_sites(job):
        wanted = [case for case in cases if not purses[case.name].empty]
        snapshot = build_site(site) if wanted else None
        for case in wanted:
            started = time.perf_counter()
            assert snapshot is not None
            rows += [{"case": case.name, **asdict(site), **row} for row in placed_simply(snapshot, case.make())]
            purses[case.name].pay((time.perf_counter() - started) * 1000)
    return rows


def placed_simply(snapshot: Snapshot, gang: Gang) -> Iterator[Row]:
    """One row for each yardstick: whether it admits the gang, and the transfer of its plan."""
    for name, placer in YARDSTICKS.items():
        started = time.perf_counter()
        answer = placer(snapshot, gang, TOPOLOGY)
        spent = (time.perf_counter() - started) * 1000
        transfer = None
        if answer is not None:
            checked = verify(snapshot, gang, TOPOLOGY, answer)
            assert not checked.violations, f"{name}: {checked.violations[0]}"
            transfer = float(checked.objective["transfer_us"])
        yield {"yardstick": name, "admitted": answer is not None, "transfer_us": transfer, "spent_ms": spent}


def batch(job: Job) -> list[Row]:
    """Fifty gangs of one call, one after another and jointly in the same budget."""
    rows: list[Row] = []
    for seed in range(1, job.repeat + 1):
        snapshot, gangs = build_site(Site(job.nodes, "loaded", 16, seed, 0.8)), batch_gangs(BATCH, seed)
        worths = {}
        for way, solve in (("sequential", plan), ("joint", plan_batch)):
            started = time.perf_counter()
            answer = solve(fresh(snapshot), gangs, Options(time_limit_s=job.limit_s))
            spent = (time.perf_counter() - started) * 1000
            worths[way] = _worth(gangs, answer)
            placed = sum(gang.status.placed for gang in answer.gangs)
            most = None if answer.batch is None else sum(each.bound for each in answer.batch.admitted)
            found = {"status": answer.status.value, "placed": placed, "at_most": most, "total_ms": spent}
            never_worse = worths[way] >= worths["sequential"]
            where = {"case": "batch", "nodes": job.nodes, "seed": seed, "way": way}
            rows.append({**where, **found, "never_worse": never_worse})
    return rows


def _worth(gangs: Sequence[Gang], answer: Plan) -> tuple[Fraction, ...]:
    """Gangs placed by priority, high first, then the terms summed; higher is better."""
    placed = [found for found in answer.gangs if found.status.placed]
    priorities = Counter(gang.priority for gang, found in zip(gangs, answer.gangs, strict=True) if found in placed)
    by_term = zip(*(found.objective for found in placed), strict=True)
    sums = [sum((term.value for term in terms), Fraction()) for terms in by_term]
    classes = sorted({gang.priority for gang in gangs}, reverse=True)
    counts = [Fraction(priorities[priority]) for priority in classes]
    return (*counts, *(value if at == 0 else -value for at, value in enumerate(sums)))


PARTS: dict[str, Callable[[Job], list[Row]]] = {
    "cold": cold,
    "warm": warm,
    "yardsticks": yardstick_rows,
    "batch": batch,
}


def warm_up() -> None:
    """One call on a tiny site, so that what a process does only once (loading libraries) is in no sample."""
    plan(build_site(Site(32, used=0.2)), [CASES["4p8d"].make()])


def main() -> None:
    """Do one job."""
    asked = json.load(sys.stdin)
    warm_up()
    job = Job(**{**asked, "cases": tuple(asked["cases"])})
    rows = PARTS[job.part](job)
    now, peak = resident_mb()
    json.dump({"rows": rows, "resident_mb": now, "peak_mb": peak, "warm": warm_tables() is not None}, sys.stdout)


if __name__ == "__main__":
    main()
