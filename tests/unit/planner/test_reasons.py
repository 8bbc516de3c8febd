"""Reasons are true and readable: what runs is not asked for again, shortages are named where they are."""

from fractions import Fraction

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Reason, Status
from solver.domain.snapshot import Snapshot
from solver.planner import plan
from solver.verify.checker import verify
from support.builders import (
    apart,
    cluster,
    constraints,
    flow,
    gang,
    group,
    node,
    queue,
    reach,
    role,
    with_running,
)

GIB = 2**30


def racks(*gpus: int) -> Snapshot:
    """One rack a node."""
    return cluster(*(node(f"n{at}", free, rack=f"r{at}") for at, free in enumerate(gpus)))


def reasons(snapshot: Snapshot, waiting: Gang) -> tuple[Reason, ...]:
    """Why nothing is placed."""
    (answer,) = plan(snapshot, [waiting]).gangs
    assert answer.status is Status.INFEASIBLE
    return answer.reasons


def test_a_minimum_of_all_children_counts_all_of_them() -> None:
    """Three of three subgroups need nine GPUs; eight are free."""
    waiting = gang(group("a", role("x", 5)), group("b", role("y", 2)), group("c", role("z", 2)), min=3)
    (why,) = reasons(cluster(node("m", 4), node("n", 4)), waiting)
    assert dict(why.numbers) == {"needed": 9, "free": 8}


def test_a_spread_of_replicas_does_not_blame_the_pack_level() -> None:
    """Three replicas, one to a rack, in two racks: only the spread is in the way."""
    waiting = gang(group("g", role("w", 2), replicas=3, required="rack", spread=[("rack", 1)]))
    (why,) = reasons(racks(8, 8), waiting)
    assert why.code == "spread"


def test_the_rack_of_running_members_is_the_one_that_counts() -> None:
    """Six of eight pods run in a rack of seven: two more are needed there, and one fits."""
    running = {f"default/w-{at}": "n0" for at in range(6)}
    (why,) = reasons(*with_running(racks(7, 3), gang(role("w", 8), required="rack"), running))
    assert dict(why.numbers) == {"needed": 2, "largest": 1}
    assert why.message == "the gang needs 2 GPUs more in the rack it runs in, which has 1 free"


def test_running_members_in_two_racks_cannot_share_one() -> None:
    """Members that already run apart are named as such."""
    running = {"default/w-0": "n0", "default/w-1": "n1"}
    (why,) = reasons(*with_running(racks(8, 8), gang(role("w", 3), required="rack"), running))
    assert (why.code, dict(why.numbers)) == ("pack", {"domains": 2})


def test_a_role_that_runs_needs_no_node() -> None:
    """The role on the cordoned node runs already; the other one is short."""
    site = cluster(node("old", 1, schedulable=False, pool="old"), node("new", 1))
    waiting = gang(role("r", 1, where=constraints(pool="old")), role("w", 2))
    found = reasons(*with_running(site, waiting, {"default/r-0": "old"}))
    assert [(why.code, why.objects) for why in found] == [("capacity", ("default/llama",))]


def test_a_role_that_runs_needs_no_room() -> None:
    """The big pod runs already; what is missing is a GPU for the small ones."""
    site = cluster(node("old", 4), node("new", 1))
    (why,) = reasons(*with_running(site, gang(role("r", 1, 4), role("w", 2)), {"default/r-0": "old"}))
    assert dict(why.numbers) == {"needed": 2, "free": 1}


def test_queue_numbers_are_whole_gpus() -> None:
    """As in every other reason."""
    (why,) = reasons(cluster(node("n", 64), queues=[queue("q", gpu=3000)]), gang(role("w", 4), queue="q"))
    assert dict(why.numbers) == {"needed": 4, "left": 3, "limit": 3}


def test_large_and_odd_amounts_are_readable() -> None:
    """No powers of ten, and a byte too many shows."""
    big = cluster(*(node(f"n{at}", memory=1500) for at in range(16)))
    (why,) = reasons(big, gang(role("w", 17, 0, memory=1500)))
    assert "needs 25,500 GiB memory" in why.message
    (why,) = reasons(cluster(node("n", memory=4)), gang(role("w", 1, 0, more={"memory": 4 * GIB + 1})))
    assert "needs 4,294,967,297 bytes memory" in why.message


def test_equal_pod_names_do_not_escape_the_queue() -> None:
    """Two gangs of one namespace whose pods have the same names share their queue's limit."""
    site = cluster(node("a", 64), queues=[queue("q", gpu=5000)])
    found = plan(site, [gang(role("w", 3), name=f"ns/{name}", queue="q") for name in "xy"])
    assert [answer.status for answer in found.gangs] == ["optimal", "infeasible"]


def test_equal_pod_names_do_not_escape_anti_affinity() -> None:
    """The second gang keeps off the nodes of the first, and the checker would notice if it did not."""
    where = constraints(anti_affinity=[apart("kubernetes.io/hostname", app="x")], labels={"app": "x"})
    waiting = [gang(role("w", 2, where=where), name=f"ns/{name}") for name in "xy"]
    first, second = plan(cluster(node("a", 4), node("b", 4)), waiting).gangs
    assert {item.node for item in first.assignments}.isdisjoint(item.node for item in second.assignments)


def test_a_nearest_flow_between_unequal_engines_names_the_gang() -> None:
    """The closed form needs one engine size; the refusal says whose flow it is."""
    waiting = gang(role("p", 1, 2), role("q", 1, 1), role("d", 2, 4), flows=[flow("p+q", "d", nearest=True)])
    with pytest.raises(InvalidRequest, match=r"^gang default/llama: flow .* engines of one size"):
        plan(racks(8, 8), [waiting])


def test_traffic_kept_inside_a_rack_is_said_to_meet_there() -> None:
    """Under a reach rule no share of the flow is shown above its level."""
    site = cluster(node("a1", 4, zone="y", rack="a"), node("b1", 2, zone="y", rack="b"))
    rule = reach("p", "d", "rack", "1/2")
    waiting = gang(role("p", 2), role("d", 4), flows=[flow("p", "d", nearest=True)], reach=[rule])
    (answer,) = plan(site, [waiting]).gangs
    (spec,) = site.topologies.values()
    assert answer.flows == verify(site, waiting, spec, answer.assignments).flows
    assert dict(answer.flows[0].tier_share) == {"host": Fraction(3, 4), "rack": Fraction(1, 4)}
