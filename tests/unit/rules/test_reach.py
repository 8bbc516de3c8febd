"""Rule `reach` alone: senders and receivers share every domain, with and without a ratio."""

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.planner import Engine, plan
from support.builders import cluster, constraints, flow, gang, group, node, reach, role, with_running
from tests.unit.planner.solving import each_engine, nodes_of, placed
from tests.unit.rules.tables import Fits, Refused, check_fits, check_refused, fitting, refusing
from tests.unit.rules.test_pack import racks


def _pd(prefill: int, decode: int, ratio: str = "0", level: str = "rack") -> Gang:
    return gang(role("p", prefill), role("d", decode), reach=[reach("p", "d", level, ratio)])


def _apart(level: str) -> Gang:
    """A sender of rack r0 and a receiver of rack r1."""
    sender, receiver = (role(name, where=constraints(rack=rack)) for name, rack in (("p", "r0"), ("d", "r1")))
    return gang(sender, receiver, reach=[reach("p", "d", level)])


FITS: dict[str, Fits] = {
    "one domain": (racks(2, 1), _pd(1, 1), 2),
    "both sides in both domains": (racks(2, 2), _pd(2, 2), 4),
    "one receiver for many senders": (racks(4, 2), _pd(4, 2), 6),
    "a coarser level is shared": (racks(8, 8, zones="aa"), _apart("zone"), 2),
    "ratio 1, exactly": (racks(3, 3), _pd(2, 4, "1"), 6),
    "ratio 1/2, exactly on the border": (racks(4, 2), _pd(2, 4, "1/2"), 6),
    "receivers beyond the ratio": (racks(2, 5), _pd(2, 5, "2/5"), 7),
    "elastic sides keep the ratio": (
        racks(3, 2), gang(role("p", 2, min=1), role("d", 4, min=1), reach=[reach("p", "d", "rack", "1")]), 4,
    ),
    "an elastic side may be empty with the other": (
        racks(1, 1), gang(role("r"), role("p", 1, min=0), role("d", 1, min=0, gpus=2), reach=[reach("p", "d", "rack")]),
        1,
    ),
    "several roles on a side": (
        racks(2, 2), gang(role("p", 1), role("q", 1), role("d", 2), reach=[reach("p+q", "d", "rack")]), 4,
    ),
}  # fmt: skip

SENTENCE = "every rack … p → d"
BOTH = {"senders": 2, "receivers": 2}

REFUSED: dict[str, Refused] = {
    "sides in different domains": (racks(8, 8), _apart("rack"), "reach", SENTENCE, {"senders": 1, "receivers": 1}),
    "a domain would hold one side only": (racks(2, 1), _pd(2, 1), "reach", SENTENCE, BOTH),
    "ratio 1, one pod away": (racks(4, 2), _pd(2, 4, "1"), "reach", SENTENCE, BOTH),
    "ratio just above the border": (racks(4, 2), _pd(2, 4, "51/100"), "reach", SENTENCE, BOTH),
}  # fmt: skip


@fitting(FITS)
@each_engine
def test_reaches_that_fit(case: Fits, engine: Engine) -> None:
    """Every domain with one side holds enough of the other."""
    check_fits(case, engine)


@refusing(REFUSED)
@each_engine
def test_reaches_that_do_not_fit(case: Refused, engine: Engine) -> None:
    """There is room for every pod, and only the reach forbids it."""
    check_refused(case, engine)


@each_engine
def test_running_members_count(engine: Engine) -> None:
    """A running sender draws its receiver into its rack."""
    snapshot, waiting = with_running(racks(2, 8), _pd(1, 1), {"default/p-0": "n0"})
    assert nodes_of(placed(snapshot, waiting, engine)) == {"d-0": "n0"}


@each_engine
def test_a_multinode_engine_is_cut_only_where_both_sides_are(engine: Engine) -> None:
    """Pods of one replica may lie in two racks when each of them holds a receiver."""
    snapshot = cluster(node("a", 2, rack="r"), node("b", 2, rack="s"))
    waiting = gang(group("g", role("p", 2), multinode=True), role("d", 2), reach=[reach("p", "d", "rack")])
    where = nodes_of(check_fits((snapshot, waiting, 4), engine))
    assert {where["p-0"], where["p-1"]} == {where["d-0"], where["d-1"]} == {"a", "b"}


@each_engine
def test_its_flow_never_crosses_the_level(engine: Engine) -> None:
    """The nearest flow under the rule is paid inside the racks alone."""
    waiting = gang(
        role("p", 2), role("d", 2), reach=[reach("p", "d", "rack", "1")], flows=[flow("p", "d", nearest=True)]
    )
    (report,) = check_fits((racks(2, 2), waiting, 4), engine).flows
    assert set(report.tier_share) <= {"rack", "host"}
    assert sum(report.tier_share.values()) == 1


def test_all_to_all_under_a_reach_rule_is_bad_input() -> None:
    """Everybody cannot talk to everybody when nothing may leave the rack."""
    waiting = gang(role("p"), role("d"), reach=[reach("p", "d", "rack")], flows=[flow("p", "d")])
    with pytest.raises(InvalidRequest, match="gang default/llama: flow p → d never leaves a rack"):
        plan(racks(8, 8), [waiting])
