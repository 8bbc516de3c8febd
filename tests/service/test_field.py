"""Inputs modelled on public reports of gang schedulers' users come out as they should, through the service."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.cli.main import huddle
from support.field import arguments, cases, differences, expected, outcome
from tests.service.conftest import Running


@pytest.mark.parametrize("case", cases())
def test_the_right_answer(case: Path, server: Running) -> None:
    """The answer, the refusal or the warning that the case expects."""
    asked = ["plan", *arguments(case), "--server", server.target]
    found = CliRunner().invoke(huddle, asked, prog_name="huddle")
    assert differences(expected(case), outcome(found.exit_code, found.stdout, found.stderr)) == []
