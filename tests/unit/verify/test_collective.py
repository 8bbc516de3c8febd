"""Collectives of multi-node engines in plans written by hand; the working stands beside each number."""

from collections.abc import Mapping
from fractions import Fraction

import pytest

from solver.domain.gang import Gang
from solver.domain.levels import Tier
from solver.domain.snapshot import Snapshot
from support import oracle
from support.builders import cluster, flow, gang, group, node, role
from tests.unit.verify.verifying import assignments, verdict

#: For one GB from one GPU; the sums stand beside the tiers.
TIERS = {
    "host": Tier(10, 10),  # 100,000 µs for 1 GB and 10 to set up
    "rack": Tier(5, 20),  # 200,000 + 20
    "zone": Tier(1, 50),  # 1,000,000 + 50
    "root": Tier(0.5, 100),  # 2,000,000 + 100
}
HOST, RACK, ZONE, ROOT = 100_010, 200_020, 1_000_050, 2_000_100
#: zone y: rack a (a1, a2), rack b (b1) and v without a rack; zone z: rack c (c1).
SITE = cluster(
    node("a1", zone="y", rack="a"),
    node("a2", zone="y", rack="a"),
    node("b1", zone="y", rack="b"),
    node("v", zone="y"),
    node("c1", zone="z", rack="c"),
    tiers=TIERS,
)


def _engines(ranks: int, replicas: int = 1, least: int | None = None) -> Gang:
    engine = group("e", role("w", ranks), replicas=replicas, min_replicas=least, multinode=True)
    return gang(engine, flows=[flow("w", "w", collective=True)])


def _checked(snapshot: Snapshot, waiting: Gang, text: str) -> tuple[Fraction, Fraction, Mapping[str, Fraction]]:
    """Time, levels climbed and shares of the first flow, by the checker; the brute force values the plan alike."""
    found = verdict(snapshot, waiting, text)
    assert found.violations == ()
    placed = {item.pod: item.node for item in assignments(waiting, text)}
    by_brute_force = oracle.terms_of(snapshot, waiting, placed)
    assert dict(found.objective) == dict(zip(oracle.TERMS, by_brute_force.values, strict=True))
    return found.objective["transfer_us"], found.objective["proximity"], dict(found.flows[0].tier_share)


@pytest.mark.parametrize(
    ("plan", "paid", "climbed", "level"),
    [
        ("w-0@a1 w-1@a1 w-2@a1", HOST, 0, "host"),
        ("w-0@a1 w-1@a1 w-2@a2", RACK, 1, "rack"),
        ("w-0@a1 w-1@a2 w-2@b1", ZONE, 2, "zone"),  # one far rank slows all of them
        ("w-0@a1 w-1@a1 w-2@v", ZONE, 2, "zone"),  # a node without a rack meets nobody in one
        ("w-0@v w-1@v w-2@v", HOST, 0, "host"),
        ("w-0@a1 w-1@a1 w-2@c1", ROOT, 3, "root"),
    ],
)
def test_an_engine_pays_its_slowest_link(plan: str, paid: int, climbed: int, level: str) -> None:
    """One replica pays what the lowest domain around all its pods costs, wherever most of them are."""
    assert _checked(SITE, _engines(3), plan) == (paid, climbed, {level: 1})


def test_replicas_pay_their_mean() -> None:
    """Replicas count alike, each by itself; what lies between two of them costs nothing."""
    time, climbed, shares = _checked(SITE, _engines(2, 3), "w-0@a1 w-1@a1 w-2@a1 w-3@b1 w-4@c1 w-5@c1")
    assert time == Fraction(2 * HOST + ZONE, 3)
    assert climbed == Fraction(2, 3)
    assert shares == {"host": Fraction(2, 3), "zone": Fraction(1, 3)}


def test_only_kept_replicas_count() -> None:
    """Of two replicas that may be three the mean is over two."""
    assert _checked(SITE, _engines(2, 3, 1), "w-0@a1 w-1@a1 w-2@a1 w-3@a2")[0] == Fraction(HOST + RACK, 2)


def test_single_pods_have_nobody_to_talk_to() -> None:
    """Replicas of one pod pay nothing, climb nothing and have no share; among others they count in the mean."""
    assert _checked(SITE, _engines(1, 2), "w-0@a1 w-1@c1") == (0, 0, {})
    two = gang(
        group("e", role("w", 2), multinode=True), group("s", role("x"), multinode=True),
        flows=[flow("w+x", "x+w", collective=True)],
    )  # fmt: skip
    half = Fraction(1, 2)
    assert _checked(SITE, two, "w-0@a1 w-1@a2 x-0@c1") == (RACK * half, half, {"rack": half})


def test_bytes_are_of_one_rank() -> None:
    """Each rank drives its own rails: the rank with the fewest GPUs sets the pace, and one without GPUs is none."""
    each = group("e", role("lead", 1, 0), role("w", 1, 2), role("x", 1, 4), multinode=True)
    waiting = gang(each, flows=[flow("lead+w+x", "lead+w+x", collective=True)])
    assert _checked(SITE, waiting, "lead-0@a1 w-0@a1 x-0@a2")[0] == 20 + 100_000
    bare = gang(group("e", role("w", 2, 0), multinode=True), flows=[flow("w", "w", collective=True)])
    assert _checked(SITE, bare, "w-0@a1 w-1@a2")[0] == RACK


def test_several_roles_are_one_engine() -> None:
    """A leader far from its ranks is as slow as a rank far from the others; requests and sums count as in any flow."""
    each = group("e", role("lead"), role("w", 2), replicas=2, multinode=True)
    flows = [flow("lead+w", "lead+w", collective=True, per_request=3), flow("lead", "w", size=0)]
    waiting = gang(each, flows=flows)
    time, climbed, _ = _checked(SITE, waiting, "lead-0@b1 w-0@a1 w-1@a1 lead-1@a1 w-2@a1 w-3@a1")
    assert time == Fraction(3 * (ZONE + HOST), 2) + Fraction(4 * 10 + 4 * 50, 8)
    assert climbed == Fraction(2, 2) + Fraction(4 * 0 + 4 * 2, 8)


def test_a_rank_has_the_nics_of_one_node() -> None:
    """Four GPUs of a rank share the NICs of its node, 8 GB/s; the whole engine's would be faster."""
    waiting = gang(group("e", role("w", 2, 4), multinode=True), flows=[flow("w", "w", collective=True)])
    # the tier says of itself 5 GB/s a GPU, and 4 · 5 > 8
    snapshot = cluster(node("a", rack="r"), node("b", rack="r"), tiers={**TIERS, "rack": Tier(5, 20, 8)})
    assert _checked(snapshot, waiting, "w-0@a w-1@b")[0] == 20 + 125_000
