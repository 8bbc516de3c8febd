"""Inputs modelled on public reports of gang schedulers' users come out as they should, through the command."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.cli.main import huddle
from support.field import arguments, cases, differences, expected, outcome


@pytest.mark.parametrize("case", cases())
def test_the_right_answer(case: Path) -> None:
    """The answer, the refusal or the warning that the case expects."""
    found = CliRunner().invoke(huddle, ["plan", *arguments(case)], prog_name="huddle")
    assert differences(expected(case), outcome(found.exit_code, found.stdout, found.stderr)) == []
