"""Placements to objects and back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.kubernetes.placement_objects import (
    exact_text,
    new_placement,
    placement_name,
    plan_patch,
    read_placement,
    status_patch,
)
from adapters.kubernetes.placements import Condition, Hand, Owner, Phase, PlacementRecord, Seat, Why
from solver.domain.errors import InvalidRequest
from solver.domain.plan import Sense, TermValue

Json = dict[str, Any]

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=12)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
MAYBE = st.none() | MOMENTS
NUMBERS = st.fractions(-(10**9), 10**9, max_denominator=10**6)
TERMS = st.builds(TermValue, TEXT, st.sampled_from(Sense), NUMBERS, st.none() | NUMBERS)
WHYS = st.builds(
    Why, TEXT, TEXT, st.lists(TEXT, max_size=2).map(tuple), st.dictionaries(TEXT, st.integers(-(2**62), 2**62))
)
CONDITIONS = st.builds(Condition, TEXT, st.booleans(), TEXT, TEXT, MOMENTS)
SEATS = st.builds(Seat, TEXT.map("ns/{}".format), TEXT, TEXT, TEXT)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Few of them."""
    return st.lists(of, max_size=3).map(tuple)


RECORDS = st.builds(
    PlacementRecord,
    namespace=st.just("ns"),
    name=st.just("llama"),
    gang=TEXT.map("ns/{}".format),
    uid=TEXT,
    resource_version=TEXT,
    owner=st.none() | st.builds(Owner, TEXT, TEXT, TEXT, TEXT),
    seats=lists(SEATS),
    left_out=lists(TEXT),
    hand=st.sampled_from(Hand),
    attempt=st.integers(0, 2**62),
    planned_from=st.integers(0, 2**62),
    avoid=lists(TEXT),
    objective=lists(TERMS),
    phase=st.sampled_from(Phase),
    since=MAYBE,
    released=MAYBE,
    partial_since=MAYBE,
    failures=st.integers(0, 2**31 - 1),
    not_before=MAYBE,
    reasons=lists(WHYS),
    conditions=lists(CONDITIONS),
)


def merged(body: Json, patch: Json) -> Json:
    """What a merge patch makes of an object."""
    made = dict(body)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key, {}), value) if isinstance(value, dict) else value
    return made


def stored(record: PlacementRecord) -> Json:
    """The object as the API server would keep it."""
    body = new_placement(record)
    body["metadata"]["uid"] = record.uid
    return merged(body, status_patch(record))


@settings(deadline=None)
@given(RECORDS)
def test_round_trip(record: PlacementRecord) -> None:
    """Every field comes back exactly."""
    assert read_placement(stored(record)) == record


@settings(deadline=None)
@given(RECORDS, RECORDS)
def test_patches_leave_nothing_behind(one: PlacementRecord, other: PlacementRecord) -> None:
    """What a record was patched over does not shine through."""
    body = merged(merged(stored(one), plan_patch(other)), status_patch(other))
    assert read_placement(body) == replace(other, uid=one.uid, owner=one.owner)


@settings(deadline=None)
@given(NUMBERS)
def test_numbers_are_exact(number: Fraction) -> None:
    """Text of a number is the number."""
    assert Fraction(exact_text(number)) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(825, 2), "412.5"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(-7), "-7"),
        (Fraction(1, 3), "1/3"),
        (Fraction(19_815_617, 1000), "19815.617"),
        (Fraction(1, 2**40), f"1/{2**40}"),
    ],
)
def test_numbers_read_well(number: Fraction, text: str) -> None:
    """Decimals where there are any of a sensible length, fractions elsewhere."""
    assert exact_text(number) == text


def test_a_new_plan_is_reserved() -> None:
    """A plan the status does not know is reserved, a spec without one pending, an older attempt is no news."""
    record = PlacementRecord("ns", "g", "ns/g", attempt=2, seats=(Seat("ns/p", "u", "r", "n"),))
    assert read_placement(new_placement(record)).phase is Phase.RESERVED
    assert read_placement(new_placement(replace(record, attempt=0))).phase is Phase.PENDING
    bound = stored(replace(record, phase=Phase.BOUND, since=datetime(2026, 1, 1, tzinfo=UTC)))
    assert read_placement(bound).phase is Phase.BOUND
    bound["spec"]["attempt"] = 3
    assert (read_placement(bound).phase, read_placement(bound).since) == (Phase.RESERVED, None)


def test_bound_is_shown() -> None:
    """How many are bound is written for people: as counted, all of them when the phase says so, else nothing."""
    seats = tuple(Seat(f"ns/p{at}", str(at), "r", "n") for at in range(3))
    record = PlacementRecord("ns", "g", "ns/g", seats=seats)
    assert status_patch(record)["status"]["bound"] is None
    assert status_patch(record, bound=1)["status"]["bound"] == "1/3"
    assert status_patch(replace(record, phase=Phase.BOUND))["status"]["bound"] == "3/3"


def test_times_are_told_in_one_zone() -> None:
    """Moments are written in UTC, whatever zone they were told in."""
    moment = datetime(2026, 1, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    record = PlacementRecord("ns", "g", "ns/g", since=moment)
    assert status_patch(record)["status"]["since"] == "2026-01-01T00:00:00Z"


def test_long_reasons_are_cut() -> None:
    """A reason has no more words and objects than the API server takes."""
    why = Why("gang", "x" * 9999, tuple(map(str, range(2000))))
    (written,) = status_patch(PlacementRecord("ns", "g", "ns/g", reasons=(why,)))["status"]["reasons"]
    assert (len(written["message"]), len(written["objects"])) == (4096, 1000)


@pytest.mark.parametrize("name", ["llama", "a.b-c", "0", "x" * 253])
def test_names_of_objects_stay(name: str) -> None:
    """A gang with the name of an object gives it to its Placement."""
    assert placement_name(f"ns/{name}") == name


def test_other_names_come_close() -> None:
    """What is no object's name becomes one, and different ones stay different."""
    names = ["Llama", "llama_", "LLAMA", "-", "x" * 300, "a/b", "ä", "a..b"]
    made = [placement_name(f"ns/{name}") for name in names]
    assert len(set(made)) == len(names)
    assert all(placement_name(f"ns/{name}") == name for name in made)
    assert made[0].startswith("llama-")
    assert made[3].startswith("gang-")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda body: body["spec"].pop("gang"), "spec.gang: is missing"),
        (lambda body: body["spec"].update(hand="foot"), "spec.hand: must be one of gate, bind, extender, not 'foot'"),
        (lambda body: body["spec"].update(attempt=-1), "spec.attempt: -1 is out of range"),
        (lambda body: body["spec"]["assignments"][0].pop("node"), "spec.assignments[0].node: is missing"),
        (
            lambda body: body["spec"].update(objective=[{"term": "t", "sense": "min", "value": "1/0"}]),
            "spec.objective[0].value: must be a decimal or a fraction, not '1/0'",
        ),
        (lambda body: body["status"].update(phase="Done"), "status.phase: must be one of Pending, "),
        (lambda body: body["status"].update(since="now"), "status.since: 'now' is not a time such as"),
        (lambda body: body["status"].update(notBefore="2026-01-01T00:00:00"), "status.notBefore: '2026-"),
        (
            lambda body: body["status"].update(reasons=[{"code": "c", "message": "", "numbers": {"a.b": "1"}}]),
            "status.reasons[0].numbers[a.b]: must be a whole number, not '1'",
        ),
        (
            lambda body: body["status"].update(conditions=[{"type": "T", "status": "True", "reason": "r"}]),
            "status.conditions[0].lastTransitionTime: is missing",
        ),
    ],
)
def test_malformed_objects(change: Callable[[Json], object], problem: str) -> None:
    """What the API server would not take is refused here too, in one line with the field."""
    body = stored(PlacementRecord("ns", "g", "ns/g", seats=(Seat("ns/p", "u", "r", "n"),)))
    change(body)
    with pytest.raises(InvalidRequest) as refused:
        read_placement(body)
    assert str(refused.value).startswith(f"cluster: Placement ns/g: {problem}")
