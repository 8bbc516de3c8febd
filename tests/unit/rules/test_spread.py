"""Rule `spread` alone: pods of a role, replicas of a group."""

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, plan
from support.builders import cluster, gang, group, node, role, with_running
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, says, solved
from tests.unit.rules.tables import Fits, Refused, check_fits, check_refused, fitting, refusing
from tests.unit.rules.test_pack import racks


def _pods(count: int, most: int, level: str = "rack", least: int | None = None) -> Gang:
    return gang(role("w", count, min=least, spread=[(level, most)]))


def _replicas(count: int, most: int, level: str = "rack", least: int | None = None) -> Gang:
    inner = group("g", role("w", 2), replicas=count, min_replicas=least, required="rack", spread=[(level, most)])
    return gang(inner)


FITS: dict[str, Fits] = {
    "role: one each": (racks(8, 8, 8), _pods(3, 1), 3),
    "role: exactly the most in every domain": (racks(8, 8), _pods(4, 2), 4),
    "role: more allowed than asked": (racks(8, 1), _pods(3, 5), 3),
    "role: on hosts of one rack": (
        cluster(node("a", 8, rack="r"), node("b", 8, rack="r")), _pods(2, 1, "host"), 2,
    ),
    "role: elastic stops at the most": (racks(8, 8), _pods(9, 2, least=2), 4),
    "role: over all replicas": (
        racks(8, 8), gang(group("g", role("w", 1, spread=[("rack", 2)]), role("v", 1), replicas=4)), 8,
    ),
    "role: two levels": (
        racks(8, 8, 8, zones="aab"), gang(role("w", 3, spread=[("rack", 1), ("zone", 2)])), 3,
    ),
    "group: one replica each": (racks(8, 8), _replicas(2, 1), 4),
    "group: two replicas each": (racks(8, 8), _replicas(4, 2), 8),
    "group: on a coarser level": (racks(8, 8, 8, zones="aab"), _replicas(3, 2, "zone"), 6),
    "group: elastic stops at the most": (racks(8, 8), _replicas(4, 1, least=1), 4),
    "group and role: each its own": (
        racks(4, 4), gang(group("g", role("w", 2), required="rack", replicas=2, spread=[("rack", 1)]), role("v", 4)), 8,
    ),
}  # fmt: skip

ROLE = "role w … at most {} in one {}"

REFUSED: dict[str, Refused] = {
    "role: a domain short": (
        racks(8, 8), _pods(3, 1), "spread", ROLE.format(1, "rack"), {"max": 1, "domains": 2},
    ),
    "role: one pod beyond the most": (
        racks(8, 8), _pods(5, 2), "spread", ROLE.format(2, "rack"), {"max": 2, "domains": 2},
    ),
    "role: domains without room do not help": (
        racks(8, 0, 0), _pods(2, 1), "spread", ROLE.format(1, "rack"), {"max": 1, "domains": 1},
    ),
    "role: racks suffice, zones do not": (
        racks(8, 8, 8, zones="aaa"), _pods(3, 2, "zone"), "spread", ROLE.format(2, "zone"), {"max": 2, "domains": 1},
    ),
}  # fmt: skip


@fitting(FITS)
@each_engine
def test_spreads_that_fit(case: Fits, engine: Engine) -> None:
    """No domain holds more than the rule allows, and what is allowed is used."""
    check_fits(case, engine)


@refusing(REFUSED)
@each_engine
def test_spreads_that_do_not_fit(case: Refused, engine: Engine) -> None:
    """There is room for every pod, and only the spread forbids it."""
    check_refused(case, engine)


@pytest.mark.parametrize(
    ("snapshot", "waiting", "most"),
    [
        (racks(8, 8), _replicas(3, 1), "1 in one rack"),
        (racks(8, 8), _replicas(5, 2), "2 in one rack"),
        (racks(8, 8, 8, zones="aaa"), _replicas(3, 2, "zone"), "2 in one zone"),
    ],
)
@each_engine
def test_replicas_that_do_not_spread(snapshot: Snapshot, waiting: Gang, most: str, engine: Engine) -> None:
    """One replica of a group too many for the domains there are; the reason names group, level and the most."""
    answer = solved(snapshot, waiting, engine)
    assert answer.status is Status.INFEASIBLE
    assert brute_force_agrees(snapshot, waiting, answer)
    assert answer.reasons[0].code is ReasonCode.SPREAD
    assert says(answer.reasons[0], f"group g … at most {most}")


@each_engine
def test_running_members_count(engine: Engine) -> None:
    """A running pod takes one of the places in its rack."""
    snapshot, waiting = with_running(racks(8, 8), _pods(2, 1), {"default/w-0": "n0"})
    answer = placed(snapshot, waiting, engine)
    assert nodes_of(answer) == {"w-1": "n1"}
    snapshot, waiting = with_running(racks(8, 0), _pods(2, 1), {"default/w-0": "n0"})
    answer = solved(snapshot, waiting, engine)
    assert answer.status is Status.INFEASIBLE
    assert brute_force_agrees(snapshot, waiting, answer)


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (None, "spread of replicas needs a required pack level"),
        ("zone", "spread level 'rack' is finer than its required level"),
    ],
)
def test_a_group_spreads_over_its_required_level_or_a_coarser_one(pack: str | None, told: str) -> None:
    """A spread without a required level, or on a finer one, is bad input that names gang and group."""
    waiting = gang(group("g", role("w"), replicas=2, required=pack, spread=[("rack", 1)]))
    with pytest.raises(InvalidRequest) as caught:
        plan(racks(8, 8, zones="ab"), [waiting])
    assert str(caught.value) == f"gang default/llama: group g: {told}"
