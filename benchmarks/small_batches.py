"""Small batches of large gangs: how many are proven in every term, and what is open where they are not.

Two to eight gangs of one to four roles, each with tens of pods, on 16 to 64 nodes of 4 or 8 GPUs in racks and zones.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

from benchmarks.cases import CPU_PER_GPU, GIB, MEMORY_PER_GPU, RACK, ZONE
from benchmarks.measure import warm_up
from benchmarks.output import machine, print_table, say, time_text, write_csv
from solver.batch.plan import plan_batch
from solver.domain.gang import Flow, Gang, Group, Kind, Pack, Pattern, Role
from solver.domain.levels import Level, TopologySpec
from solver.domain.plan import Batch
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, GPU, MEMORY, MILLI_GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot
from solver.planner import Options

TOPOLOGY = TopologySpec("", (Level("zone", ZONE), Level("rack", RACK)))
#: Batches measured unless told otherwise.
BATCHES = 30
#: Bytes that a flow moves for one request, in GB.
FLOW_GB = (1, 2, 4)
#: Kinds of a gang with one to four roles, in the order of their flows.
_KINDS = (
    (Kind.WORKER,),
    (Kind.PREFILL, Kind.DECODE),
    (Kind.ROUTER, Kind.PREFILL, Kind.DECODE),
    (Kind.ROUTER, Kind.WORKER, Kind.PREFILL, Kind.DECODE),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class SmallBatch:
    """One drawn batch."""

    snapshot: Snapshot
    gangs: list[Gang]


def draw(seed: int) -> SmallBatch:
    """The batch of a seed: its gangs ask for 40 to 100 % of the free GPUs together."""
    chance = Random(seed)
    snapshot = _site(chance)
    free = int(snapshot.free[:, snapshot.resources.index(GPU)].sum()) // MILLI_GPU
    count = chance.randint(2, 8)
    shares = [chance.uniform(0.5, 1.5) for _ in range(count)]
    wanted = free * chance.uniform(0.4, 1.0)
    gangs = [_gang(chance, at, max(2, round(wanted * share / sum(shares)))) for at, share in enumerate(shares)]
    return SmallBatch(snapshot, gangs)


def _site(chance: Random) -> Snapshot:
    """16 to 64 nodes: racks of 4 or 8, two to four in a zone; some GPUs are in use."""
    nodes, rack = chance.choice([16, 24, 32, 48, 64]), chance.choice([4, 8])
    zone = rack * chance.choice([2, 4])
    sizes = chance.choice([(8,), (8,), (4,), (4, 8)])
    used = chance.choice([0.0, 0.2, 0.4])
    records, pods = [], []
    by_rack = [chance.choice(sizes) for _ in range(-(-nodes // rack))]
    for at in range(nodes):
        name, gpus = f"n{at:02d}", by_rack[at // rack]
        held = _amounts(gpus)
        labels = {RACK: f"r{at // rack:02d}", ZONE: f"z{at // zone}"}
        records.append(NodeRecord(name, Resources.of({**held, CPU: 192_000, MEMORY: 2048 * GIB, PODS: 110}), labels))
        if chance.random() < used:
            pods.append(BoundPod(f"tenants/p{at}", name, Resources.of(_amounts(chance.randint(1, gpus))), gang=""))
    return build_snapshot(records, pods, [TOPOLOGY])


def _amounts(gpus: int) -> dict[str, int]:
    return {GPU: gpus * MILLI_GPU, CPU: gpus * CPU_PER_GPU, MEMORY: gpus * MEMORY_PER_GPU}


def _gang(chance: Random, number: int, gpus: int) -> Gang:
    """A gang of about so many GPUs; some are elastic, some require or prefer a domain."""
    kinds = chance.choice(_KINDS)
    size = chance.choice([1, 1, 2, 4])
    pods = max(1, gpus // size)
    roles, left = [], pods
    for at, kind in enumerate(kinds):
        if kind is Kind.ROUTER:
            roles.append(_role(f"r{at}", kind, chance.randint(1, 2), 0))
            continue
        last = at == len(kinds) - 1
        share = left if last else max(1, round(left * chance.uniform(0.2, 0.5)))
        roles.append(_role(f"r{at}", kind, max(1, share), size))
        left -= share
    if chance.random() < 0.25:
        most = roles[-1].replicas
        roles[-1] = replace(roles[-1], min=max(1, most - chance.randint(1, 4)))
    flows = [
        Flow((one.name,), (other.name,), chance.choice(FLOW_GB) * 10**9, Fraction(1), _pattern(chance))
        for one, other in pairwise(roles)
    ]
    packs = [Pack(), Pack(preferred="rack"), Pack(required="zone"), Pack(required="rack")]
    (pack,) = chance.choices(packs, [5, 3, 2, 1])
    root = Group("g", tuple(roles), pack=pack)
    return Gang(f"b{number}/g", root, priority=chance.choice([0, 0, 0, 1]), flows=tuple(flows))


def _pattern(chance: Random) -> Pattern:
    return Pattern.NEAREST if chance.random() < 0.2 else Pattern.ALL_TO_ALL


def _role(name: str, kind: Kind, replicas: int, gpus: int) -> Role:
    asked = _amounts(gpus) if gpus else {CPU: 4_000, MEMORY: 8 * GIB}
    return Role(name, replicas, replicas, kind, Resources.of(asked))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write small_batches.csv."""
    parser = argparse.ArgumentParser(description="How many small batches of large gangs are proven in every term.")
    parser.add_argument("--count", type=int, default=BATCHES, help="seeds 1 to this are drawn")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--limit", type=float, default=10.0, help="time limit in seconds")
    parser.add_argument("--quick", action="store_true", help="one batch, two seconds")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.count, chosen.limit = 1, 2.0
    warm_up()
    rows = [_measured(seed, chosen.limit) for seed in range(chosen.first, chosen.first + chosen.count)]
    write_csv("small_batches.csv", rows)
    headers = ("seed", "nodes", "gangs", "pods", "admitted", "open", "value", "bound", "spent")
    title = f"small batches, limit {chosen.limit:g} s"
    print_table(title, headers, [[str(row[key]) for key in headers] for row in rows], texts=9)
    proven = sum(not row["open"] for row in rows)
    print(f"{proven} of {len(rows)} proven in every term; {machine()}")


def _measured(seed: int, limit_s: float) -> Row:
    drawn = draw(seed)
    started = time.perf_counter()
    found = plan_batch(drawn.snapshot, drawn.gangs, Options(time_limit_s=limit_s))
    spent_s = time.perf_counter() - started
    assert found.batch is not None
    name, value, bound = _first_open(found.batch)
    row = {
        "seed": seed,
        "nodes": len(drawn.snapshot.nodes),
        "gangs": len(drawn.gangs),
        "pods": sum(len(role.pods) for gang in drawn.gangs for role in gang.roles),
        "admitted": sum(each.value for each in found.batch.admitted),
        "open": name,
        "value": value,
        "bound": bound,
        "spent": time_text(1000 * spent_s),
        "worth": " ".join(f"{float(term.value):g}" for term in found.batch.objective),
    }
    say(f"[seed {seed}] " + " ".join(f"{key}={value}" for key, value in row.items()))
    return row


def _first_open(batch: Batch) -> tuple[str, str, str]:
    """The first statement whose value is not its bound: its name, value and bound; empty when there is none."""
    for each in batch.admitted:
        if each.value != each.bound:
            return "admitted", str(each.value), str(each.bound)
    for term in batch.objective:
        if term.value != term.bound:
            return term.term, f"{float(term.value):g}", "-" if term.bound is None else f"{float(term.bound):g}"
    return "", "", ""


if __name__ == "__main__":
    main()
