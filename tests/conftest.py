"""Fixtures that tests of several folders use."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.answers import all_answers_checked

# How quick the machine is decides over no test.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = ["support.controlplane.fixtures"]


@pytest.fixture(scope="session", autouse=True)
def answers_keep_to_their_schema() -> Iterator[None]:
    """Every answer in JSON and YAML that any test asks a command of this process for is valid."""
    with all_answers_checked():
        yield
