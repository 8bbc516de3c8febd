"""Fixtures that tests of several folders use."""

from collections.abc import Iterator

import pytest

from support.answers import all_answers_checked

pytest_plugins = ["support.controlplane.fixtures"]


@pytest.fixture(scope="session", autouse=True)
def answers_keep_to_their_schema() -> Iterator[None]:
    """Every answer in JSON and YAML that any test asks a command of this process for is valid."""
    with all_answers_checked():
        yield
