"""What people read: tables, pictures, reasons."""

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from rich.console import Console

from adapters.report.consoles import rendered
from adapters.report.picture import print_picture
from adapters.report.plan_text import print_plan
from adapters.report.scene import Scene
from adapters.report.tables import batch_line, name_ranges, notice_line
from solver.domain.plan import Admitted, Assignment, Batch, GangPlan, Notice, Plan, Sense, TermValue

Scenes = Callable[..., Scene]


def text_of(scene: Scene, columns: int | None = 80) -> str:
    """The whole report as a file shows it."""
    return rendered(io.StringIO(), lambda console: print_plan(console, scene), columns)


def picture_of(scene: Scene, columns: int = 100) -> list[str]:
    """The picture of the first gang, line by line."""

    def draw(console: Console) -> None:
        print_picture(console, scene, scene.plan.gangs[0])

    return rendered(io.StringIO(), draw, columns).splitlines()


def test_report_names_status_placement_terms_and_time(scene_of: Scenes, answer: GangPlan) -> None:
    """Everything a reader asks for is on the page."""
    text = text_of(scene_of(answer), 120)
    for part in (
        "prod/g  FEASIBLE (valid; something better may exist): 4 of 4 pods, 6 GPUs, 3 hosts, 2 racks, 1 zone",
        "all in zone z1",
        "transfer_us", "12.5", "proven", "gap 25 %", "not proven",
        "prefill -> decode", "rack 50 %, zone 50 %",
        "took 7 ms: compile 1.25 ms, bound 2.5 ms, search 3 ms, verify 0.25 ms | 8 nodes, 2 classes, 3 signatures",
        "engine auto, proof tree+cpsat",
    ):  # fmt: skip
        assert part in text


def test_report_in_a_file_has_no_control_codes_and_fits(scene_of: Scenes, answer: GangPlan) -> None:
    """A log file gets plain characters, tables of at most the width, and no trailing blanks."""
    text = text_of(scene_of(answer))
    assert text.isascii()
    assert all(character == "\n" or character.isprintable() for character in text)
    tables = [line for line in text.splitlines() if not line.startswith(("prod/g", "took"))]
    assert max(map(len, tables)) <= 80
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert "TTFT was not modelled" in text


def test_refusal_is_told_in_sentences(scene_of: Scenes, refusal: GangPlan) -> None:
    """No plan: status, reasons, time, and no empty table."""
    text = text_of(scene_of(refusal))
    assert "prod/big  INFEASIBLE (no placement exists, nothing is placed)" in text
    assert "because [pack] needs 16 GPUs in one rack; the fullest has 6 free" in text
    assert "TERM" not in text
    assert "ROLE" not in text


def test_rows_are_one_for_each_role_and_node(scene_of: Scenes, answer: GangPlan) -> None:
    """Roles stand in declared order and only differing levels have a column."""
    lines = text_of(scene_of(answer)).splitlines()
    at = lines.index(next(line for line in lines if line.startswith("ROLE")))
    assert lines[at].split() == ["ROLE", "RACK", "NODE", "PODS", "GPUS", "NAMES"]
    assert [line.split()[:3] for line in lines[at + 1 : at + 5]] == [
        ["router", "r1", "n2"], ["prefill", "r1", "n1"], ["decode", "r1", "n2"], ["decode", "r2", "n3"],
    ]  # fmt: skip


def test_picture_shows_every_gpu_as_one_letter(scene_of: Scenes, answer: GangPlan) -> None:
    """Used, own and free GPUs are told apart without colour, and the router is a mark."""
    lines = picture_of(scene_of(answer))
    assert lines[0].split() == ["RACK", "FREE", "GPUS", "BY", "NODE"]
    assert lines[1].split() == ["z1/r1", "2/8", "[##PP|DD..(R)]"]
    assert lines[2].split() == ["z1/r2", "6/8", "[DD..|....]"]
    assert "[....|xxxx]" in lines[4]
    assert lines[-1].startswith("legend: (R) router  P prefill  D decode  . free  # used by others  x free on a")


def test_picture_marks_running_members_and_other_gangs(scene_of: Scenes, answer: GangPlan) -> None:
    """Members that already run are small letters; another gang's pods are crosses."""
    mine = replace(answer, assignments=answer.assignments[:1], running=(Assignment("prod/prefill-0", "prefill", "n1"),))
    other = replace(answer, name="prod/h", assignments=(Assignment("prod/decode-0", "decode", "n3"),))
    scene = scene_of(mine)
    second = replace(scene.gangs[0], name="prod/h")
    scene = Scene(scene.snapshot, [*scene.gangs, second], Plan((mine, other)))
    text = "\n".join(picture_of(scene))
    assert "[pp..|....]" in text
    assert "[++DD|....]" in text
    assert "p prefill, already running" in text


@pytest.mark.parametrize("columns", [80, 120])
def test_long_bars_go_on_in_the_next_line(scene_of: Scenes, answer: GangPlan, columns: int) -> None:
    """No line of a picture is longer than the console."""
    assert max(map(len, picture_of(scene_of(answer), columns))) <= columns


def test_colours_come_only_on_a_terminal(scene_of: Scenes, answer: GangPlan) -> None:
    """A terminal gets colours around the same letters."""
    scene = scene_of(answer)
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard", markup=False)
    with console.capture() as captured:
        print_picture(console, scene, scene.plan.gangs[0])
    assert "\x1b[" in captured.get()


def test_names_are_drawn_together() -> None:
    """Runs of numbers become ranges; many odd names are counted."""
    assert name_ranges(["decode-2", "decode-0", "decode-1", "decode-10"]) == "decode-0..2,10"
    assert name_ranges(["a-x", "a-0"]) == "a-0 a-x"
    assert name_ranges([f"{letter}-x" for letter in "abcdefgh"]).endswith("+2 more")


def test_a_warning_is_one_line() -> None:
    """It names object, field, message and code."""
    line = notice_line(Notice("queue_unknown", "prod/g", "spec.queue", "no Queue describes it"))
    assert line == "warning: prod/g: spec.queue: no Queue describes it [queue_unknown]"


def test_a_batch_is_one_line() -> None:
    """Gangs by class and how many there can be, terms with their gap, and what is not proven."""
    values = {"replicas": (0, 0), "containment_domains": (2, 2), "transfer_us": (400, 300), "proximity": (7, None)}
    terms = [
        TermValue(term, Sense.MIN, Fraction(value), None if bound is None else Fraction(bound))
        for term, (value, bound) in values.items()
    ]
    batch = Batch((Admitted(5, 1, 1, waited=True), Admitted(0, 3, 4)), tuple(terms))
    assert batch_line(batch) == (
        "batch: 4 gangs placed: 1 of priority 5 that waited (no more can be), 3 of priority 0 (at most 4 can be); "
        "containment_domains 2 (proven); transfer_us 400 (gap 25 %, at best 300); not proven: proximity"
    )
