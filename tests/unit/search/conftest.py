"""Each test sees only what it started itself."""

import os
from collections.abc import Iterator

import pytest

from solver.search import children
from solver.search.children import CHILDREN
from tests.unit.search import processes


@pytest.fixture(autouse=True)
def _nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No child of earlier searches and no memory of their faults; the same afterwards. Children may start slowly."""
    monkeypatch.setattr(children, "START_S", 300.0)
    _reset()
    processes.others.clear()
    processes.others.update(processes.children_of(os.getpid()))
    yield
    _reset()


def _reset() -> None:
    CHILDREN.close()
    CHILDREN.wary = CHILDREN.refusals = 0
