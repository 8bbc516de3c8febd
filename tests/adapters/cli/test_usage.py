"""Options, help, and what is refused because it does not exist yet."""

import json
from collections.abc import Sequence
from typing import Any

import click
import pytest

from adapters.cli.durations import parse_duration
from adapters.cli.later import COMMANDS, OPTIONS
from adapters.cli.plan import ENGINES, plan_command
from adapters.cli.token_counts import tokens_option
from solver import planner
from solver.domain.gang import Gang
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.planner import Options
from tests.adapters.cli.conftest import Run


def one_line(stderr: str) -> str:
    """The only line on stderr, which begins as every complaint does."""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("huddle: ")
    assert "Traceback" not in stderr
    return lines[0]


def test_without_a_command_the_help_is_printed(run: Run) -> None:
    """A user who types the name alone wants to know what it is for."""
    result = run()
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == run("--help").stdout


@pytest.mark.parametrize(
    ("text", "tokens"), [("4000", 4000), ("4k", 4000), ("4K", 4000), ("0.5M", 500_000), ("1.5k", 1500)]
)
def test_tokens_may_be_counted_in_thousands(text: str, tokens: int) -> None:
    """As people write them."""
    context, option = click.Context(plan_command), plan_command.params[0]
    assert tokens_option(context, option, text) == tokens


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_later_commands_are_refused(run: Run, command: str) -> None:
    """A promised command is named and refused, with or without arguments."""
    for arguments in ([command], [command, "x.yaml", "--cluster", "y"], [command, "--help"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert one_line(result.stderr) == f"huddle: huddle {command} is not available yet"
        assert result.stdout == ""


@pytest.mark.parametrize("option", sorted(OPTIONS))
@pytest.mark.parametrize("form", ["{} x", "{}=x", "{}"])
def test_later_options_are_refused(run: Run, gang: str, cluster: str, option: str, form: str) -> None:
    """A promised option is named and refused, never ignored."""
    result = run("plan", gang, "--cluster", cluster, *form.format(option).split())
    assert result.exit_code == 2
    assert one_line(result.stderr) == f"huddle: {option} is not available yet"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["plan", "-h"], ["plan", "--help"], ["topology", "-h"]])
def test_help_is_short_and_lists_nothing_that_does_not_exist(run: Run, arguments: list[str]) -> None:
    """Help has an example and no promised option or command."""
    result = run(*arguments)
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "\\b" not in result.stdout
    assert any(
        line.startswith("  ") and "--cluster" in line and "huddle " in line for line in result.stdout.splitlines()
    )
    words = set(result.stdout.replace(",", " ").split())
    assert not words & (OPTIONS | COMMANDS)
    assert len(result.stdout.splitlines()) < 66  # plan has more than twenty options


def test_version(run: Run) -> None:
    """`--version` names the program."""
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("huddle ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "nonsense"),
        (["plan"], "FILE"),
        (["plan", "g.yaml"], "--cluster"),
        (["plan", "g.yaml", "--cluster", "c", "--nonsense"], "--nonsense"),
        (["plan", "-", "--cluster", "-"], "standard input"),
        (["topology", "--cluster", "-", "--cluster", "-"], "standard input"),
        (["plan", "g.yaml", "--cluster", "c", "-o", "xml"], "xml"),
        (["plan", "g.yaml", "--cluster", "c", "--engine", "magic"], "magic"),
        (["plan", "g.yaml", "--cluster", "c", "--time-limit", "5"], "duration"),
        (["plan", "g.yaml", "--cluster", "c", "--time-limit", "0s"], "range"),
        (["plan", "g.yaml", "--cluster", "c", "--time-limit", "-1s"], "duration"),
        (["plan", "g.yaml", "--cluster", "c", "--batch", "--fair-after", "5"], "duration"),
        (["plan", "g.yaml", "--cluster", "c", "--batch", "--fair-after", "-5s"], "duration"),
        (["plan", "g.yaml", "--cluster", "c", "--batch", "--fair-after", "25h"], "range"),
        (["plan", "g.yaml", "--cluster", "c", "--fair-after", "5s"], "--batch"),
        (["plan", "g.yaml", "--cluster", "c", "--prompt-tokens", "0"], "range"),
        (["plan", "g.yaml", "--cluster", "c", "--prompt-tokens", "nan"], "nan"),
        (["plan", "g.yaml", "--cluster", "c", "--prompt-tokens", "4kb"], "4kb"),
        (["plan", "g.yaml", "--cluster", "c", "--prompt-tokens", "0.5"], "whole"),
        (["plan", "g.yaml", "--cluster", "c", "--prompt-tokens", "11M"], "range"),
        (["plan", "g.yaml", "--cluster", "c", "--rps", "0"], "range"),
        (["plan", "g.yaml", "--cluster", "c", "--rps", "nan"], "nan"),
        (["plan", "g.yaml", "--cluster", "c", "--memory-limit", "1"], "range (64Mi to 1Ti)"),
        (["plan", "g.yaml", "--cluster", "c", "--memory-limit", "2Ti"], "range (64Mi to 1Ti)"),
        (["plan", "g.yaml", "--cluster", "c", "--memory-limit", "1 GB"], "such as 1Gi"),
        (["plan", "g.yaml", "--cluster", "c", "--memory-limit", "1Gi", "--server", "h:1"], "limits.search_memory_mib"),
        (["topology"], "--cluster"),
        (["topology", "extra", "--cluster", "c"], "extra"),
    ],
)
def test_bad_usage_is_one_line(run: Run, arguments: list[str], told: str) -> None:
    """Exit 2, one line that names what is wrong."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in one_line(result.stderr)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5s", 1.5), ("1h", 3600), ("250us", 0.00025), (".5s", 0.5)],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    """Units add up."""
    assert parse_duration(text) == seconds


def test_no_time_at_all_is_a_duration_where_it_makes_sense() -> None:
    """Off is written as `0s`."""
    assert parse_duration("0s", zero=True) == 0
    assert parse_duration("1s", zero=True) == 1


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "1e3s", "-5s", "5sx", "0s", "25h", "9" * 30 + "s", "٥s", "nan"])
def test_other_durations_are_refused(text: str) -> None:
    """No unit, no number, nothing, or absurdly long."""
    with pytest.raises(ValueError, match=r"duration|range"):
        parse_duration(text)


def test_memory_is_the_limit_of_the_question(
    run: Run, gang: str, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a quantity; 1 GiB unless told otherwise."""
    found: list[int] = []
    planned = planner.plan

    def noted(snapshot: Snapshot, gangs: Sequence[Gang], options: Options, *rest: Any, **more: Any) -> Plan:
        found.append(options.search_memory_mib)
        return planned(snapshot, gangs, options, *rest, **more)

    monkeypatch.setattr(planner, "plan", noted)
    for words in ((), ("--memory-limit", "2Gi"), ("--memory-limit", "64Mi")):
        assert run("plan", gang, "--cluster", cluster, *words).exit_code == 0
    assert found == [1024, 2048, 64]


def test_engine_names_are_those_of_the_planner() -> None:
    """The names are spelt out in the command so that help need not load the engine."""
    from solver import planner

    assert list(ENGINES) == [engine.value for engine in planner.Engine]


@pytest.mark.parametrize(
    ("command", "kind"), [("plan", "Plan"), ("topology", "TopologyReport"), ("calibrate", "Calibration")]
)
def test_the_schema_of_the_answer_is_printed(run: Run, command: str, kind: str) -> None:
    """Whatever else is missing on the command line."""
    result = run(command, "--schema")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["title"] == kind
