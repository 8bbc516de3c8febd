"""The check of cases from the field tells right answers from wrong ones."""

from typing import Any

import pytest

from support.field import Outcome, differences

PLACED: dict[str, Any] = {
    "warnings": [{"code": "kind_ignored", "object": "Service a", "field": "kind", "message": "says nothing"}],
    "gangs": [
        {
            "name": "serve/g",
            "status": "optimal",
            "warnings": [],
            "reasons": [],
            "assignments": [{"pod": "serve/g-0", "node": "r1-a"}, {"pod": "serve/g-1", "node": "r1-b"}],
            "objective": [{"term": "proximity", "value": 1.0}],
        }
    ],
}
RIGHT = Outcome(0, PLACED, "")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"exit": [3]}, {"exit": [0, 3]}),
        ({"stderr": ["volume"]}, {"stderr": []}),
        ({"warning": ["queue"]}, {"warning": ["says nothing"]}),
        ({"count": {"infeasible": 1}}, {"count": {"optimal": 1}}),
        ({"gangs": {"serve/h": {}}}, {"gangs": {"serve/g": {}}}),
        ({"gangs": {"serve/g": {"status": ["infeasible"]}}}, {"gangs": {"serve/g": {"status": ["optimal"]}}}),
        ({"gangs": {"serve/g": {"code": ["pack"]}}}, {"gangs": {"serve/g": {}}}),
        ({"gangs": {"serve/g": {"on": {"r1-a": 2}}}}, {"gangs": {"serve/g": {"on": {"r1-a": 1}}}}),
        ({"gangs": {"serve/g": {"prefix": {"r1": 1}}}}, {"gangs": {"serve/g": {"prefix": {"r1": 2, "r2": 0}}}}),
        ({"gangs": {"serve/g": {"placed": 3}}}, {"gangs": {"serve/g": {"placed": 2}}}),
        ({"gangs": {"serve/g": {"pods": {"*-1": ["r1-a"]}}}}, {"gangs": {"serve/g": {"pods": {"*-1": ["r1-b"]}}}}),
        (
            {"gangs": {"serve/g": {"pods": {"*-7": ["r1-a"]}}}},
            {"gangs": {"serve/g": {"pods": {"*": ["r1-a", "r1-b"]}}}},
        ),
        (
            {"gangs": {"serve/g": {"objective": {"proximity": [0.5, 0.1]}}}},
            {"gangs": {"serve/g": {"objective": {"proximity": [0.95, 0.1]}}}},
        ),
        ({"any": [{"exit": [3]}, {"exit": [2]}]}, {"any": [{"exit": [3]}, {"exit": [0]}]}),
    ],
)
def test_each_kind_of_expectation(wrong: dict[str, Any], right: dict[str, Any]) -> None:
    """What does not hold is told in one sentence, what holds in none."""
    assert len(differences(wrong, RIGHT)) == 1
    assert differences(right, RIGHT) == []
