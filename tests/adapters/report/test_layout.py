"""How an answer is laid out: the verdict first and last, a page for each gang, a line for each of several."""

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from adapters.report.consoles import rendered
from adapters.report.detail import PAGE_LINES
from adapters.report.plan_text import MOST_PAGES, print_plan
from adapters.report.scene import Scene
from solver.domain.gang import Flow, Gang, Group, Kind, Role
from solver.domain.plan import (
    Admitted,
    Assignment,
    Batch,
    FlowReport,
    GangPlan,
    Plan,
    Reason,
    ReasonCode,
    Sense,
    Stats,
    Status,
    TermValue,
)
from solver.domain.resources import CPU, GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord, build_snapshot
from solver.planner import plan
from tests.adapters.report.conftest import RACK, ZONE

Scenes = Callable[..., Scene]


def lines_of(scene: Scene, columns: int = 100, wide: bool = False) -> list[str]:
    """The answer as a file shows it."""
    return rendered(io.StringIO(), lambda console: print_plan(console, scene, wide), columns).splitlines()


def large(roles: int = 2, pods: int = 512, racks: int = 128, per_rack: int = 4, flows: int = 1) -> Scene:
    """A gang of so many pods of 8 GPUs, one on each node, in the order of the nodes."""
    capacity = Resources.of({GPU: 8000, CPU: 64_000, PODS: 110})
    nodes = [
        NodeRecord(f"h{at:04}", capacity, {ZONE: f"z{at // (racks * per_rack // 4)}", RACK: f"r{at // per_rack}"})
        for at in range(racks * per_rack)
    ]
    each, more = divmod(pods, roles)
    request = Resources.of({GPU: 8000, CPU: 1000})
    sizes = [each + (at < more) for at in range(roles)]
    kinds = (Kind.PREFILL, Kind.DECODE)
    made = tuple(Role(f"r{at}", size, size, kinds[at % 2], request) for at, size in enumerate(sizes))
    traffic = tuple(Flow((f"r{at}",), (f"r{at + 1}",), 10) for at in range(flows))
    gang = Gang("prod/large", Group("large", made), flows=traffic)
    names = [(role.name, pod) for role in gang.roles for pod in role.pods]
    placed = tuple(Assignment(pod, role, nodes[at].name) for at, (role, pod) in enumerate(names))
    terms = tuple(TermValue(name, Sense.MIN, Fraction(1), Fraction(1)) for name in "abcdef")
    reports = tuple(FlowReport(f"r{at}", f"r{at + 1}", {"zone": Fraction(1)}, Fraction(at)) for at in range(flows))
    answer = GangPlan("prod/large", Status.OPTIMAL, placed, objective=terms, flows=reports, stats=Stats(len(nodes)))
    return Scene(build_snapshot(nodes, []), [gang], Plan((answer,)))


def test_the_verdict_stands_first_and_last(scene_of: Scenes, answer: GangPlan, refusal: GangPlan) -> None:
    """A user who sees only the end of the output knows what came of it."""
    for found in (answer, refusal):
        for wide in (False, True):
            lines = lines_of(scene_of(found), wide=wide)
            assert lines[0] == lines[-1]
            assert lines[0].startswith(f"{found.name}  {found.status.name} (")


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize(
    "scene",
    [
        large(),
        large(racks=32, per_rack=16),
        large(roles=64, flows=63),
        large(roles=1, flows=0),
        large(racks=8, per_rack=64),
    ],
    ids=["racks of 4", "racks of 16", "64 roles", "one role", "racks of 64"],
)
def test_a_large_plan_fits_a_page(scene: Scene, columns: int) -> None:
    """However the 512 pods are spread over roles and racks; no line is longer than the page is wide but sentences."""
    lines = lines_of(scene, columns)
    assert len(lines) <= PAGE_LINES
    assert all(line.isascii() for line in lines)
    tables = [line for line in lines if not line.startswith(("prod/large", "took", "...", "all in"))]
    assert max(map(len, tables)) <= columns
    assert "... -o wide shows each node" in lines or any("more row" in line for line in lines)


def test_wide_shows_every_node() -> None:
    """All 512 rows, whatever the length."""
    lines = lines_of(large(flows=0), wide=True)
    assert sum(line.startswith(("r0 ", "r1 ")) for line in lines) == 512
    assert not any("-o wide" in line for line in lines)


def test_pods_alike_are_folded_by_domain() -> None:
    """Rows of the finest level that fit: nodes and pods as ranges, with their numbers."""
    lines = lines_of(large(), 160)
    at = next(at for at, line in enumerate(lines) if line.startswith("ROLE"))
    assert lines[at].split() == ["ROLE", "ZONE", "NODES", "PODS", "GPUS", "ON", "NAMES"]
    assert [line.split() for line in lines[at + 1 : at + 5]] == [
        ["r0", "z0", "128", "128", "1024", "h0000..0127", "r0-0..127"],
        ["r0", "z1", "128", "128", "1024", "h0128..0255", "r0-128..255"],
        ["r1", "z2", "128", "128", "1024", "h0256..0383", "r1-0..127"],
        ["r1", "z3", "128", "128", "1024", "h0384..0511", "r1-128..255"],
    ]


def test_folded_rows_count_every_pod_once() -> None:
    """With more roles than rows, what is not shown is counted."""
    lines = lines_of(large(roles=64), 160)
    at = next(at for at, line in enumerate(lines) if line.startswith("ROLE"))
    end = next(at for at, line in enumerate(lines) if "more row" in line)
    shown = sum(int(line.split()[2]) for line in lines[at + 1 : end])
    hidden = int(lines[end].split(" of ")[1].split()[0])
    assert shown + hidden == 512


def test_small_plans_are_shown_as_they_are(scene_of: Scenes, answer: GangPlan) -> None:
    """What fits a page is not folded."""
    assert lines_of(scene_of(answer)) == lines_of(scene_of(answer), wide=True)


def several(scene: Scene, answer: GangPlan, count: int) -> Scene:
    """So many gangs: the placed one, one that gave way to it, and others that were refused."""
    taken = Reason(ReasonCode.TAKEN, "it would fit", tuple(f"prod/t{at}" for at in range(5)), {"gangs": 5})
    full = [Reason(ReasonCode.CAPACITY, "no room", ("x",)), Reason(ReasonCode.PACK, "no rack", ("y",))]
    others = [GangPlan("prod/late", Status.INFEASIBLE, reasons=(taken,)), GangPlan("prod/lost", Status.UNKNOWN)]
    others += [GangPlan(f"prod/n{at}", Status.INFEASIBLE, reasons=tuple(full)) for at in range(count - 3)]
    gangs = [replace(scene.gangs[0], name=each.name) for each in (answer, *others)]
    return Scene(scene.snapshot, gangs, Plan((answer, *others)))


def test_several_gangs_end_with_a_line_each_and_the_total(scene_of: Scenes, answer: GangPlan) -> None:
    """Also with the batch line of a joint plan before the total."""
    scene = several(scene_of(answer), answer, 4)
    expected = [
        "prod/g     FEASIBLE    4 of 4 pods, 6 GPUs, 3 hosts, 2 racks, 1 zone",
        "prod/late  INFEASIBLE  taken by prod/t0, prod/t1, prod/t2 and 2 more",
        "prod/lost  UNKNOWN     nothing is placed",
        "prod/n0    INFEASIBLE  [capacity] no room (and 1 more reason)",
    ]
    total = "total: 1 of 4 gangs planned, 4 of 16 pods, 6 GPUs: 1 FEASIBLE, 1 UNKNOWN, 2 INFEASIBLE"
    assert lines_of(scene)[-5:] == [*expected, total]
    assert "TERM" in "\n".join(lines_of(scene))
    batched = replace(scene, plan=replace(scene.plan, batch=Batch((Admitted(0, 1, 1),))))
    *lines, batch, last = lines_of(batched)[-6:]
    assert lines == expected
    assert batch.startswith("batch: 1 gang placed")
    assert last == total


def test_of_many_gangs_only_the_lines_are_shown(scene_of: Scenes, answer: GangPlan) -> None:
    """Beyond eight nobody reads a page each, unless that is asked for."""
    scene = several(scene_of(answer), answer, MOST_PAGES + 1)
    assert len(lines_of(scene)) == MOST_PAGES + 2
    assert "TERM" in "\n".join(lines_of(scene, wide=True))


def test_real_plans_fold_as_well() -> None:
    """A plan of the planner over 64 nodes, two pods a node."""
    scene = large(racks=16, pods=64)
    half = replace(scene.gangs[0], root=Group("large", (Role("w", 128, 128, Kind.WORKER, request_of()),)), flows=())
    scene = Scene(scene.snapshot, [half], plan(scene.snapshot, [half]))
    lines = lines_of(scene)
    assert len(lines) <= PAGE_LINES
    assert any(line.startswith("w ") and "w-0..31" in line for line in lines)


def request_of() -> Resources:
    """Half a node."""
    return Resources.of({GPU: 4000, CPU: 1000})
