"""Gangs and plans survive the wire unchanged; what is wrong is told with its path."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings

from solver.api.v1 import gang_pb2 as pb
from solver.api.v1 import plan_pb2
from solver.batch.plan import plan_batch
from solver.domain.constraints import VolumeNodes
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.planner import plan
from solver.service.codec.gang import MAX_DEPTH, decode_gang, encode_gang
from solver.service.codec.plan import decode_number, decode_plan, encode_plan
from solver.service.errors import InvalidField
from support.builders import constraints, gang, on_nodes, role
from support.strategies import random_instance, seeds


@settings(deadline=None)
@given(seeds())
def test_a_random_gang_comes_back(seed: int) -> None:
    """Every part of a gang, as bytes and back."""
    _, gang = random_instance(random.Random(seed))
    gang = replace(gang, created=datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC) if seed % 2 else None)
    assert decode_gang(pb.Gang.FromString(encode_gang(gang).SerializeToString()), "gang") == gang


@settings(deadline=None)
@given(seeds())
def test_a_random_plan_comes_back(seed: int) -> None:
    """Every part of an answer, placed or not, exact to the last digit."""
    snapshot, gang = random_instance(random.Random(seed))
    answer = plan(snapshot, [gang])
    assert decode_plan(plan_pb2.Plan.FromString(encode_plan(answer).SerializeToString())) == answer


def test_the_claims_of_volumes_come_back() -> None:
    """Their names, which make no difference to equality, and volumes that no node can mount."""
    volumes = (VolumeNodes("prod/weights", (on_nodes("n1"),)), VolumeNodes("prod/cache", ()))
    waiting = gang(role("w", where=constraints(volumes=volumes)))
    found = decode_gang(pb.Gang.FromString(encode_gang(waiting).SerializeToString()), "gang")
    assert found == waiting
    assert [volume.claim for volume in found.roles[0].constraints.volumes] == ["prod/weights", "prod/cache"]


@pytest.mark.parametrize(
    ("large", "words"),
    [
        (replace(gang(role("w")), requests_per_second=Fraction(1, 2 * 10**19)), "more digits than can be sent"),
        (replace(gang(role("w")), requests_per_second=Fraction(2**63 + 1, 2**62)), "more digits than can be sent"),
        (replace(gang(role("w")), priority=2**31), "gang default/llama cannot be sent"),
    ],
)
def test_numbers_that_no_message_holds_are_refused(large: Gang, words: str) -> None:
    """In one sentence that names the gang."""
    with pytest.raises(InvalidRequest, match=words):
        encode_gang(large)
    fits = replace(gang(role("w")), requests_per_second=Fraction(2**63 - 1, 2**62))
    assert decode_gang(encode_gang(fits), "gang") == fits


def message() -> pb.Gang:
    """A small valid gang."""
    roles = [pb.Role(name="prefill", replicas=2), pb.Role(name="decode", replicas=4)]
    flow = pb.Flow(senders=["prefill"], receivers=["decode"], bytes=10)
    return pb.Gang(name="prod/llama", root=pb.Group(roles=roles), flows=[flow])


def test_absent_fields_have_their_defaults() -> None:
    """Everything optional left away."""
    gang = decode_gang(message(), "gang")
    assert [(role.name, role.replicas, role.min) for role in gang.roles] == [("prefill", 2, 2), ("decode", 4, 4)]
    assert (gang.root.replicas, gang.root.min, gang.flows[0].per_request) == (1, None, Fraction(1))
    assert gang.roles[0].pods == ("prod/prefill-0", "prod/prefill-1")
    assert gang.created is None


def deep(found: pb.Gang) -> None:
    """Groups inside groups beyond the limit."""
    group = found.root
    for at in range(MAX_DEPTH + 1):
        group = group.groups.add(name=f"g{at}")


WRONG: dict[str, tuple[Callable[[pb.Gang], object], str]] = {
    "no name": (lambda m: m.ClearField("name"), "gangs[0].name"),
    "no root": (lambda m: m.ClearField("root"), "gangs[0].root"),
    "no pods": (lambda m: m.root.ClearField("roles"), "gangs[0].root"),
    "negative replicas": (lambda m: setattr(m.root.roles[1], "replicas", -1), "gangs[0].root.roles[1].replicas"),
    "too many replicas": (lambda m: setattr(m.root.roles[1], "replicas", 2**30), "gangs[0].root.roles[1].replicas"),
    "unknown kind": (lambda m: setattr(m.root.roles[0], "kind", 77), "gangs[0].root.roles[0].kind"),
    "nameless group": (lambda m: m.root.groups.add(), "gangs[0].root.groups[0].name"),
    "too deep": (deep, "gangs[0].root" + "".join(".groups[0]" for _ in range(MAX_DEPTH + 1))),
    "negative amount": (
        lambda m: setattr(m.root.roles[0].requests, "gpu_milli", -5),
        "gangs[0].root.roles[0].requests.gpu_milli",
    ),
    "amount with a field of its own": (
        lambda m: m.root.roles[0].requests.extended.update({"cpu": 1}),
        "gangs[0].root.roles[0].requests.extended[cpu]",
    ),
    "spread of none": (
        lambda m: m.root.roles[0].spread.add(level="rack"),
        "gangs[0].root.roles[0].spread[0]",
    ),
    "operator": (
        lambda m: m.root.roles[0].constraints.affinity.add().match_labels.add(key="zone"),
        "gangs[0].root.roles[0].constraints.affinity[0].match_labels[0].operator",
    ),
    "matchFields": (
        lambda m: m.root.roles[0].constraints.affinity.add().match_names.add(key="x", operator=pb.OPERATOR_IN),
        "gangs[0].root.roles[0].constraints.affinity[0].match_names[0].key",
    ),
    "bytes": (lambda m: setattr(m.flows[0], "bytes", -1), "gangs[0].flows[0]"),
    "denominator": (
        lambda m: m.flows[0].per_request.MergeFrom(pb.Rational(numerator=1, denominator=-1)),
        "gangs[0].flows[0].per_request.denominator",
    ),
    "pattern": (lambda m: setattr(m.flows[0], "pattern", 9), "gangs[0].flows[0].pattern"),
    "flow without receivers": (lambda m: m.flows[0].ClearField("receivers"), "gangs[0].flows[0]"),
    "reach without senders": (lambda m: m.reach.add(receivers=["decode"], level="rack"), "gangs[0].reach[0]"),
    "unknown role": (lambda m: m.flows[0].senders.append("router"), "gangs[0]"),
    "reach without level": (
        lambda m: m.reach.add(senders=["prefill"], receivers=["decode"]),
        "gangs[0].reach[0].level",
    ),
    "running pod without node": (lambda m: m.running.add(pod="prod/decode-0"), "gangs[0].running[0].node"),
    "requests a second": (
        lambda m: m.requests_per_second.MergeFrom(pb.Rational(numerator=-1, denominator=2)),
        "gangs[0]",
    ),
    "denominator of requests": (
        lambda m: m.requests_per_second.MergeFrom(pb.Rational(numerator=1, denominator=-1)),
        "gangs[0].requests_per_second.denominator",
    ),
    "time": (lambda m: setattr(m, "created_unix_ms", 2**62), "gangs[0].created_unix_ms"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_fields_are_named(case: str) -> None:
    """One thing wrong at a time; the path says where."""
    spoil, path = WRONG[case]
    found = message()
    spoil(found)
    with pytest.raises(InvalidField) as caught:
        decode_gang(found, "gangs[0]")
    assert caught.value.field == path
    assert caught.value.problem


@pytest.mark.parametrize("text", ["", "x", "1/0", "nan", "inf"])
def test_numbers_must_be_rational(text: str) -> None:
    """What is no rational number is refused."""
    with pytest.raises(InvalidField, match=r"value\.exact"):
        decode_number(plan_pb2.Number(exact=text), "value")


def test_pods_keep_their_names() -> None:
    """Names given are the names used."""
    found = message()
    found.root.roles[0].pods.extend(["prod/a", "prod/b"])
    gang: Gang = decode_gang(found, "gang")
    assert gang.roles[0].pods == ("prod/a", "prod/b")


@settings(deadline=None, max_examples=30)
@given(seeds())
def test_a_batch_comes_back(seed: int) -> None:
    """What a batch is worth, with and without classes that waited."""
    snapshot, gang = random_instance(random.Random(seed))
    other = replace(gang, name="default/other", running=())
    answer = plan_batch(snapshot, [replace(gang, running=()), other], fair_before=datetime(2026, 1, 1, tzinfo=UTC))
    assert answer.batch is not None
    assert decode_plan(plan_pb2.Plan.FromString(encode_plan(answer).SerializeToString())) == answer
