"""Which collectives a gang may have: those of whole multi-node groups."""

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Flow, Group, Pattern, Role
from support.builders import flow, gang, group, role

LEADER = group("e", role("lead"), role("rank", 3), replicas=2, multinode=True)


@pytest.mark.parametrize(
    ("children", "ends"),
    [
        ([LEADER], "lead+rank"),
        ([LEADER, group("f", role("w", 2), multinode=True)], "lead+rank"),
        ([LEADER, group("f", role("w", 2), multinode=True)], "w+lead+rank"),
        ([group("outer", LEADER, role("x"))], "rank+lead"),
        ([group("e", role("lead"), role("gone", 0), multinode=True)], "lead"),
    ],
)
def test_whole_groups_are_accepted(children: list[Role | Group], ends: str) -> None:
    """All roles with pods of one multi-node group or of several, in any order, at any depth."""
    each = flow(ends, ends, collective=True)
    assert gang(*children, flows=[each]).flows == (each,)


@pytest.mark.parametrize(
    ("children", "ends", "problem"),
    [
        ([group("e", role("w", 2))], "w", "a collective needs a multi-node group, and e is none"),
        ([role("w", 2)], "w", "a collective needs a multi-node group, and root is none"),
        ([LEADER], "rank", "a collective is of all roles of group e; lead is missing"),
        ([LEADER, role("x")], "lead+rank+x", "a collective needs a multi-node group, and root is none"),
        (
            [group("e", role("w", 2), group("in", role("x")), multinode=True)], "w",
            "a collective cannot run in group e, which has groups inside",
        ),
        ([LEADER], "lead+rank+ghost", "role 'ghost' of a flow or reach rule does not exist"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(children: list[Role | Group], ends: str, problem: str) -> None:
    """Other groups, parts of a group and groups with groups inside, each with what is wrong."""
    with pytest.raises(InvalidRequest, match=problem):
        gang(*children, flows=[flow(ends, ends, collective=True)])


def test_both_ends_are_the_same_roles() -> None:
    """A collective from one role to another is refused."""
    with pytest.raises(InvalidRequest, match="a collective runs among the same roles"):
        Flow(("a",), ("b",), 1, pattern=Pattern.COLLECTIVE)
