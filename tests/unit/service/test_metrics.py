"""The gap of a plan, and what is told to several."""

from fractions import Fraction

import pytest

from solver.domain.plan import GangPlan, Plan, Sense, Status, TermValue
from solver.service.metrics import Metrics, gap
from solver.service.recorder import Recorder, told_to


def plan(*terms: tuple[int, int | None]) -> GangPlan:
    """A placed gang with these values and bounds."""
    objective = tuple(
        TermValue(f"t{at}", Sense.MIN, Fraction(value), None if bound is None else Fraction(bound))
        for at, (value, bound) in enumerate(terms)
    )
    return GangPlan("g", Status.FEASIBLE, objective=objective)


@pytest.mark.parametrize(
    ("terms", "share"),
    [
        ((), 0),
        (((5, 5), (0, 0)), 0),
        (((5, 5), (10, 8), (7, None)), 0.2),
        (((10, None), (5, 5)), 1),
        (((3, 0),), 1),
        (((8, 10),), 0.2),
        (((0, -3),), 1),
    ],
)
def test_the_gap_is_that_of_the_first_term_not_proven(terms: tuple[tuple[int, int | None], ...], share: float) -> None:
    """As a share of its value, 0 to 1; later terms mean nothing before it is closed."""
    assert gap(plan(*terms)) == pytest.approx(share)


def test_unplaced_gangs_have_no_gap() -> None:
    """They count by status only."""
    metrics = Metrics()
    metrics.solved(Plan((GangPlan("g", Status.UNKNOWN),)), 1.0)
    assert metrics.registry.get_sample_value("huddle_gang_gap_ratio_count") == 0
    assert metrics.registry.get_sample_value("huddle_gang_plans_total", {"status": "unknown"}) == 1


def test_state_and_ledger_by_cluster() -> None:
    """The latest counts; the age is that of the latest arrival."""
    metrics = Metrics()
    for version in (3, 4):
        metrics.state("prod", version)
    metrics.promises("prod", 7)
    metrics.promises("prod", 2)
    assert metrics.registry.get_sample_value("huddle_state_version", {"cluster": "prod"}) == 4
    assert metrics.registry.get_sample_value("huddle_ledger_promises", {"cluster": "prod"}) == 2
    age_s = metrics.registry.get_sample_value("huddle_state_age_seconds", {"cluster": "prod"})
    assert age_s is not None
    assert age_s >= 0
    metrics.dropped("prod")
    metrics.dropped("never there")
    assert metrics.registry.get_sample_value("huddle_state_version", {"cluster": "prod"}) is None
    assert metrics.registry.get_sample_value("huddle_state_age_seconds", {"cluster": "prod"}) is None
    assert metrics.registry.get_sample_value("huddle_ledger_promises", {"cluster": "prod"}) == 2


def test_each_of_several_is_told_everything() -> None:
    """Every method of a recorder reaches all of them; one that is added and forgotten fails here."""
    heard: list[str] = []

    class Ear(Recorder):
        def __getattribute__(self, name: str) -> object:
            return lambda *_: heard.append(name)

    several = told_to(Ear(), Ear())
    methods = [name for name in vars(Recorder) if not name.startswith("_")]
    for name, arguments in {
        "called": ("m", "OK", 1.0),
        "rejected": ("solves",),
        "line": (1, 2),
        "solved": (Plan(()), 1.0),
        "state": ("c", 1),
        "dropped": ("c",),
        "promises": ("c", 1),
    }.items():
        getattr(several, name)(*arguments)
    assert sorted(heard) == sorted(2 * methods)
