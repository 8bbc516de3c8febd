"""The brute force against values computed by hand, against a search without any pruning, and its instances' mix."""

import ast
import random
from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings

import support.oracle
from solver.domain.constraints import UNSCHEDULABLE, Taint, Toleration
from solver.domain.gang import Gang, Pattern
from solver.domain.levels import Tier
from solver.domain.snapshot import Snapshot
from support.brute.terms import Traffic, reach_level
from support.brute.world import World
from support.builders import (
    apart,
    bound,
    cluster,
    constraints,
    flow,
    gang,
    group,
    node,
    on_nodes,
    queue,
    reach,
    role,
    with_running,
)
from support.oracle import allowed, solve, terms_of, unsupported
from support.strategies import classify, random_instance, renamed, seeds

# One GB from one GPU to one GPU, in microseconds, over the default tiers.
NEAR, ZONE, FAR = 25_400, 100_600, 1_005_000


def racks(*gpus: int, **more: str) -> Snapshot:
    """One rack with one node for each number of GPUs, `n-0` in `r-0` and so on."""
    return cluster(*(node(f"n-{i}", each, rack=f"r-{i}", **more) for i, each in enumerate(gpus)))


def prefixed(**nodes: str) -> dict[str, str]:
    """Pods of namespace default on nodes: `p_0="n_1"` means default/p-0 on n-1."""
    return {f"default/{pod.replace('_', '-')}": at.replace("_", "-") for pod, at in nodes.items()}


class TestTransfer:
    def test_same_rack_is_cheaper_than_root(self) -> None:
        """One prefill and one decode of 8 GPUs go to the rack with two nodes and pay 400 + 3125 µs."""
        snapshot = cluster(node("n-0", rack="a"), node("n-1", rack="b"), node("n-2", rack="a"))
        answer = solve(
            snapshot, gang(role("prefill", gpus=8), role("decode", gpus=8), flows=[flow("prefill", "decode")])
        )
        assert answer is not None
        assert set(answer.placed.values()) == {"n-0", "n-2"}
        assert answer.values == (0, 0, 0, 3525, 1, 0)

    def test_racks_meet_at_the_root(self) -> None:
        """Pods in two racks pay the root's 5000 + 125000 µs and climb two levels."""
        pair = gang(role("prefill", gpus=8), role("decode", gpus=8), flows=[flow("prefill", "decode")])
        answer = solve(racks(8, 8), pair)
        assert answer is not None
        assert answer.values == (0, 0, 0, 130_000, 2, 0)

    def test_pays_the_cheapest_ancestor(self) -> None:
        """Two pods of one node pay the rack's tier where the host's is slower, yet climb nothing."""
        snapshot = cluster(node("n-0", rack="a"), tiers={"host": Tier(1, 5000)})
        pair = gang(role("prefill", gpus=4), role("decode", gpus=4), flows=[flow("prefill", "decode")])
        answer = solve(snapshot, pair)
        assert answer is not None
        assert (answer["transfer_us"], answer["proximity"]) == (400 + 6250, 0)

    @pytest.mark.parametrize(("size", "nanoseconds"), [(1, 0), (3, 2), (5, 2), (7, 4)])
    def test_rounds_half_to_even_nanoseconds(self, size: int, nanoseconds: int) -> None:
        """Half a transfer of an odd number of bytes over 1 GB/s rounds to the even nanosecond."""
        snapshot = cluster(node("n-0"), levels=[], tiers={"root": Tier(1, 0), "host": Tier(1, 0)})
        pair = gang(role("p"), role("d"), flows=[flow("p", "d", size=size, per_request="1/2")])
        answer = solve(snapshot, pair)
        assert answer is not None
        assert answer["transfer_us"] == Fraction(nanoseconds, 1000)

    def test_flows_add_up(self) -> None:
        """Two flows of one request add, the second with its own bytes and share."""
        both = gang(
            role("r", gpus=0), role("p"), role("d"),
            flows=[flow("r", "p", size=0, per_request=2), flow("p", "d")],
        )  # fmt: skip
        answer = solve(cluster(node("n-0", rack="a")), both)
        assert answer is not None
        assert answer["transfer_us"] == 2 * 400 + NEAR

    def test_a_multinode_engine_sends_with_all_ranks(self) -> None:
        """Two ranks of 4 GPUs and one pod of 8 transfer over 8 rails."""
        ranks = group("engine", role("d", 2, gpus=4), multinode=True)
        whole = gang(role("p", gpus=8), ranks, flows=[flow("p", "d")])
        answer = solve(cluster(node("n-0", rack="a"), node("n-1", rack="a")), whole)
        assert answer is not None
        assert answer["transfer_us"] == 400 + 3125

    def test_a_role_with_itself_counts_ordered_pairs_of_different_pods(self) -> None:
        """Two pods here and one there: one pair of three is near; a single pod has no pair."""
        ring = gang(role("w", 3), flows=[flow("w", "w")])
        answer = solve(racks(2, 1), ring)
        assert answer is not None
        assert answer["transfer_us"] == Fraction(NEAR + 2 * FAR, 3)
        assert answer["proximity"] == Fraction(4, 3)
        alone = solve(racks(2, 1), gang(role("w"), flows=[flow("w", "w")]))
        assert alone is not None
        assert alone["transfer_us"] == 0

    def test_nearest_matches_on_the_node_where_all_to_all_averages(self) -> None:
        """A pair on each of two nodes: nearest stays at home, all_to_all crosses with every second pair."""
        placed = prefixed(p_0="n_0", d_0="n_0", p_1="n_1", d_1="n_1")
        for near, expected, climbed in ((True, NEAR, 0), (False, Fraction(NEAR + FAR, 2), 1)):
            both = gang(role("p", 2), role("d", 2), flows=[flow("p", "d", nearest=near)])
            worth = terms_of(racks(2, 2), both, placed)
            assert (worth["transfer_us"], worth["proximity"]) == (expected, climbed)

    def test_nearest_sends_what_the_proportions_force(self) -> None:
        """One sender, one receiver beside it and one in another rack: half of the traffic has to cross."""
        three = gang(role("p"), role("d", 2), flows=[flow("p", "d", nearest=True)])
        worth = terms_of(racks(2, 1), three, prefixed(p_0="n_0", d_0="n_0", d_1="n_1"))
        assert worth["transfer_us"] == Fraction(NEAR + FAR, 2)
        assert worth["proximity"] == 1

    def test_two_sender_roles_are_one_side(self) -> None:
        """Roles joined in a flow share its traffic: one of two senders beside the receiver makes the mean."""
        three = gang(role("a"), role("b"), role("d"), flows=[flow("a+b", "d")])
        worth = terms_of(racks(2, 1), three, prefixed(a_0="n_0", d_0="n_0", b_0="n_1"))
        assert worth["transfer_us"] == Fraction(NEAR + FAR, 2)

    def test_proximity_without_flows_looks_at_pods_with_gpus(self) -> None:
        """A gang without flows is pulled together, its router without GPUs is not."""
        snapshot = cluster(node("n-0", 2, cpu=0, rack="a"), node("n-1", 0, cpu=8, rack="b"))
        answer = solve(snapshot, gang(role("w", 2), role("router", gpus=0, cpu=1)))
        assert answer is not None
        assert (answer["transfer_us"], answer["proximity"]) == (0, 0)


class TestDomains:
    def test_a_domain_is_its_path(self) -> None:
        """Rack r in zone a is not rack r in zone b: the pair pays the root."""
        snapshot = cluster(node("n-0", 1, zone="a", rack="r"), node("n-1", 1, zone="b", rack="r"))
        pair = gang(role("p"), role("d"), flows=[flow("p", "d")])
        answer = solve(snapshot, pair)
        assert answer is not None
        assert answer["transfer_us"] == FAR
        assert solve(snapshot, gang(role("p", 2), required="rack")) is None

    def test_a_missing_level_is_skipped_by_costs(self) -> None:
        """Two nodes of a zone without rack labels meet in the zone, two levels up."""
        snapshot = cluster(node("n-0", 1, zone="a"), node("n-1", 1, zone="a"), node("n-2", 0, zone="a", rack="r"))
        pair = gang(role("p"), role("d"), flows=[flow("p", "d")])
        answer = solve(snapshot, pair)
        assert answer is not None
        assert (answer["transfer_us"], answer["proximity"]) == (ZONE, 2)

    @pytest.mark.parametrize("rule", ["required", "preferred", "spread", "reach"])
    def test_a_named_level_must_be_there_with_every_coarser_one(self, rule: str) -> None:
        """A node with a rack but no zone is out as soon as a rule names the rack."""
        snapshot = cluster(node("n-0", 2, rack="r"), node("n-1", 0, zone="a", rack="r"))
        assert solve(snapshot, gang(role("p"), role("d"))) is not None
        waiting = {
            "required": gang(role("p"), role("d"), required="rack"),
            "preferred": gang(role("p"), role("d"), preferred="rack"),
            "spread": gang(role("p", spread=[("rack", 2)]), role("d")),
            "reach": gang(role("p"), role("d"), reach=[reach("p", "d", "rack")]),
        }[rule]
        assert solve(snapshot, waiting) is None
        assert "eligible" in allowed(snapshot, waiting, prefixed(p_0="n_0", d_0="n_0"))


class TestRules:
    def test_pack_forbids_what_fits_in_pieces(self) -> None:
        """Four pods that must share a rack do not fit two racks of two GPUs."""
        waiting = gang(role("w", 4), required="rack")
        halves = prefixed(w_0="n_0", w_1="n_0", w_2="n_1", w_3="n_1")
        assert solve(racks(2, 2), waiting) is None
        assert allowed(racks(2, 2), waiting, halves) == ["pack"]
        assert solve(racks(2, 4), waiting) is not None

    def test_pack_holds_for_each_replica_alone(self) -> None:
        """Two replicas of two pods take a rack each; names go row by row."""
        waiting = gang(group("unit", role("w", 2), replicas=2, required="rack"))
        answer = solve(racks(2, 2), waiting)
        assert answer is not None
        assert answer.placed["default/w-0"] == answer.placed["default/w-1"]
        assert answer.placed["default/w-2"] == answer.placed["default/w-3"] != answer.placed["default/w-0"]
        crossed = prefixed(w_0="n_0", w_1="n_1", w_2="n_0", w_3="n_1")
        assert allowed(racks(2, 2), waiting, crossed) == ["pack"]

    def test_capacity_counts_every_resource_and_pod_slot(self) -> None:
        """A node with GPUs for three pods takes none more than its cores and pod slots allow."""
        three = gang(role("w", 3, gpus=1, cpu=2))
        assert solve(cluster(node("n-0", 3, cpu=6, pods=3)), three) is not None
        assert solve(cluster(node("n-0", 3, cpu=5.9, pods=3)), three) is None
        assert solve(cluster(node("n-0", 3, cpu=6, pods=2)), three) is None
        assert solve(cluster(node("n-0", 3, cpu=6)), gang(role("w", more={"rdma": 1}))) is None

    def test_an_overcommitted_node_has_no_room(self) -> None:
        """A pod that asks for no GPU still fits where GPUs are overcommitted."""
        snapshot = cluster(node("n-0", 1), pods=[bound("x", "n-0", 2)])
        assert solve(snapshot, gang(role("w"))) is None
        assert solve(snapshot, gang(role("router", gpus=0, cpu=1))) is not None

    def test_closed_tainted_and_unselected_nodes(self) -> None:
        """Cordoned, unready, tainted and unselected nodes take a pod only if it is allowed there."""
        plain = gang(role("w"))
        assert solve(cluster(node("n-0", schedulable=False)), plain) is None
        assert solve(cluster(node("n-0", ready=False)), plain) is None
        tainted = cluster(node("n-0", taints=[Taint("reserved")]))
        assert solve(tainted, plain) is None
        assert solve(cluster(node("n-0", taints=[Taint("soft", effect="PreferNoSchedule")])), plain) is not None
        tolerant = constraints(tolerations=[Toleration("reserved", exists=True)])
        assert solve(tainted, gang(role("w", where=tolerant))) is not None
        assert solve(cluster(node("n-0", pool="b")), gang(role("w", where=constraints(pool="a")))) is None
        named = solve(cluster(node("n-0"), node("n-1")), gang(role("w", where=constraints(affinity=[on_nodes("n-1")]))))
        assert named is not None
        assert named.placed == {"default/w-0": "n-1"}

    def test_anti_affinity_holds_both_ways(self) -> None:
        """Neither the pod's own rule nor one of a bound pod lets them share a rack."""
        shy = gang(role("w", where=constraints(anti_affinity=[apart("rack", app="x")])))
        nodes = node("n-0", rack="a"), node("n-1", rack="a")
        assert solve(cluster(*nodes, pods=[bound("o", "n-1", app="x")]), shy) is None
        assert solve(cluster(*nodes, pods=[bound("o", "n-1", app="y")]), shy) is not None
        liked = gang(role("w", where=constraints(labels={"team": "t"})))
        repelled = cluster(*nodes, pods=[bound("o", "n-1", repels=[apart("rack", team="t")])])
        assert solve(repelled, liked) is None
        assert solve(repelled, gang(role("w"))) is not None

    def test_role_spread_counts_the_whole_gang(self) -> None:
        """At most one pod of the role in a rack, whichever replica it is of."""
        waiting = gang(group("unit", role("w", spread=[("rack", 1)]), replicas=2))
        assert solve(racks(2), waiting) is None
        assert solve(racks(1, 1), waiting) is not None
        assert allowed(racks(2), waiting, prefixed(w_0="n_0", w_1="n_0")) == ["spread"]

    def test_group_spread_counts_replicas(self) -> None:
        """Three replicas of two pods, at most two in a zone, need a second zone."""
        waiting = gang(group("unit", role("w", 2), replicas=3, required="rack", spread=[("zone", 2)]))
        one = cluster(*(node(f"n-{i}", 2, zone="a", rack=f"r{i}") for i in range(3)))
        two = cluster(*(node(f"n-{i}", 2, zone="ab"[i // 2], rack=f"r{i}") for i in range(3)))
        assert solve(one, waiting) is None
        assert solve(two, waiting) is not None

    def test_reach_wants_both_sides_in_proportion(self) -> None:
        """Three receivers here and one there: ratio 1/2 holds, ratio 1 does not, and no side stands alone."""
        placed = prefixed(p_0="n_0", p_1="n_1", d_0="n_0", d_1="n_0", d_2="n_0", d_3="n_1")
        for ratio, broken in (("0", []), ("1/2", []), ("3/4", ["reach"]), ("1", ["reach"])):
            waiting = gang(role("p", 2), role("d", 4), reach=[reach("p", "d", "rack", ratio)])
            assert allowed(racks(4, 4), waiting, placed) == broken
        assert solve(racks(1, 1), gang(role("p"), role("d"), reach=[reach("p", "d", "rack")])) is None

    def test_a_member_outside_every_reach_domain_breaks_the_rule(self) -> None:
        """A sender that runs on a node without the level cannot keep its traffic inside one of its domains."""
        snapshot = cluster(node("n-0", 2), node("n-1", 2, rack="a"))
        waiting = gang(role("p", 2), role("d"), reach=[reach("p", "d", "rack")])
        assert solve(*with_running(snapshot, waiting, {"default/p-0": "n-1"})) is None
        assert solve(*with_running(snapshot, waiting, {"default/p-0": "n-0"})) is None
        roomy = cluster(node("n-0", 2), node("n-1", 3, rack="a"))
        assert solve(*with_running(roomy, waiting, {"default/p-0": "n-1"})) is not None
        assert allowed(*with_running(roomy, waiting, {"default/p-0": "n-0"}), prefixed(p_1="n_1", d_0="n_1")) == [
            "reach"
        ]

    def test_a_reached_flow_never_pays_more_than_its_level(self) -> None:
        """A quarter of the traffic has no receiver in its zone and pays the zone; without the rule it pays the root."""
        snapshot = cluster(node("n-0", 4, zone="a"), node("n-1", 4, zone="b"))
        placed = prefixed(p_0="n_0", p_1="n_1", d_0="n_0", d_1="n_0", d_2="n_0", d_3="n_1")
        near = flow("p", "d", nearest=True)
        capped = gang(role("p", 2), role("d", 4), flows=[near], reach=[reach("p", "d", "zone")])
        free = gang(role("p", 2), role("d", 4), flows=[near])
        assert terms_of(snapshot, capped, placed)["transfer_us"] == Fraction(3 * NEAR + ZONE, 4)
        assert terms_of(snapshot, free, placed)["transfer_us"] == Fraction(3 * NEAR + FAR, 4)
        assert terms_of(snapshot, capped, placed)["proximity"] == Fraction(1, 2)

    def test_queue_and_its_ancestors_limit(self) -> None:
        """The gang and all pods below an ancestor share the ancestor's limit; other queues do not count."""

        def snapshot(limit: int, top: int) -> Snapshot:
            others = [bound("a", "n-0", 1, queue="team"), bound("b", "n-0", 2, queue="sister"), bound("c", "n-0", 1)]
            queues = [queue("team", "top", gpu=limit * 1000), queue("sister", "top"), queue("top", gpu=top * 1000)]
            return cluster(node("n-0"), pods=others, queues=queues)  # fmt: skip

        waiting = gang(role("w", 2), queue="team")
        assert solve(snapshot(3, 5), waiting) is not None
        assert solve(snapshot(2, 5), waiting) is None
        assert solve(snapshot(3, 4), waiting) is None
        assert allowed(snapshot(3, 4), waiting, prefixed(w_0="n_0", w_1="n_0")) == ["queue"]

    def test_running_members_stay_and_count(self) -> None:
        """A running member on a cordoned node decides the rack, takes nothing new and needs no eligibility."""
        snapshot = cluster(
            node("n-0", 1, rack="a", schedulable=False), node("n-1", 1, rack="a"), node("n-2", 8, rack="b")
        )
        snapshot, waiting = with_running(
            snapshot, gang(role("w", 2), required="rack", queue="q"), {"default/w-1": "n-0"}
        )
        answer = solve(snapshot, waiting)
        assert answer is not None
        assert answer.placed == {"default/w-0": "n-1"}
        assert answer.values == (0, 0, 0, 0, 1, 0)
        assert allowed(snapshot, waiting, prefixed(w_0="n_2")) == ["pack"]
        assert allowed(snapshot, waiting, prefixed(w_0="n_1", w_1="n_0")) == []


class TestElastic:
    def test_as_many_pods_as_fit(self) -> None:
        """A role of 2 to 4 pods takes the three free GPUs: one above the fewest."""
        answer = solve(racks(2, 1), gang(role("w", 4, min=2)))
        assert answer is not None
        assert answer["replicas"] == 1
        assert sorted(answer.placed) == ["default/w-0", "default/w-1", "default/w-2"]

    def test_the_lowest_names_are_kept(self) -> None:
        """Placing w-1 and w-10 but not w-2 breaks the tree rules."""
        waiting = gang(role("w", 11, min=1))
        assert allowed(racks(8), waiting, prefixed(w_0="n_0", w_1="n_0")) == []
        assert allowed(racks(8), waiting, prefixed(w_1="n_0", w_10="n_0")) == ["gang"]

    def test_whole_replicas_only(self) -> None:
        """Of three replicas of two pods, five GPUs keep two; the key counts them."""
        waiting = gang(group("unit", role("w", 2), replicas=3, min_replicas=1))
        answer = solve(racks(3, 2), waiting)
        assert answer is not None
        assert answer.key[:2] == (-2, -2)
        assert sorted(answer.placed) == [f"default/w-{i}" for i in range(4)]

    def test_group_min_lets_a_child_go(self) -> None:
        """With min 1 of two child groups the one that fits is kept, whole or not at all."""
        waiting = gang(group("big", role("b", 2, gpus=2)), group("small", role("s", gpus=1)), min=1)
        answer = solve(racks(2), waiting)
        assert answer is not None
        assert answer.placed == {"default/s-0": "n-0"}
        assert answer.key[:2] == (0, -1)
        assert solve(racks(1), gang(*waiting.root.groups, min=2)) is None

    def test_more_pods_beat_more_groups(self) -> None:
        """Pods are counted before kept child groups."""
        waiting = gang(group("one", role("a", 3)), group("two", role("b")), group("three", role("c")), min=1)
        answer = solve(racks(3), waiting)
        assert answer is not None
        assert answer.key[:2] == (-2, -1)

    def test_missing_pods(self) -> None:
        """A role whose minimum is above its pods cannot be placed."""
        assert solve(racks(8), gang(role("w", 2, min=3))) is None

    def test_nothing_is_enough_when_everything_is_optional(self) -> None:
        """A gang of optional pods that fit nowhere is feasible and empty."""
        answer = solve(racks(0), gang(role("w", 2, min=0)))
        assert answer is not None
        assert answer.placed == {}
        assert answer.values == (0,) * 6

    def test_fewest_pods_ignore_the_cluster_and_what_runs(self) -> None:
        """Two running pods of a role with minimum one are one above the fewest."""
        snapshot, waiting = with_running(
            racks(2), gang(role("w", 3, min=1)), {"default/w-0": "n-0", "default/w-2": "n-0"}
        )
        answer = solve(snapshot, waiting)
        assert answer is not None
        assert (answer["replicas"], answer.placed) == (1, {})


class TestContainment:
    def test_a_split_replica_climbs_one_level(self) -> None:
        """Racks of 3 and 1 GPUs close one of two pairs; the other closes in the zone; two racks are touched."""
        snapshot = cluster(node("n-0", 3, zone="a", rack="x"), node("n-1", 1, zone="a", rack="y"))
        answer = solve(snapshot, gang(group("unit", role("w", 2), replicas=2, preferred="rack")))
        assert answer is not None
        assert (answer["containment_steps"], answer["containment_domains"]) == (1, 2)

    def test_every_level_up_to_the_coarsest_counts(self) -> None:
        """A pair over two zones is closed neither in a rack nor in a zone."""
        snapshot = cluster(node("n-0", 1, zone="a", rack="x"), node("n-1", 1, zone="b", rack="x"))
        answer = solve(snapshot, gang(role("p"), role("d"), preferred="rack"))
        assert answer is not None
        assert (answer["containment_steps"], answer["containment_domains"]) == (2, 2)

    def test_steps_come_before_transfer(self) -> None:
        """A preferred rack keeps a and b together although both would rather sit beside their partners."""
        flows = [flow("a", "c"), flow("b", "d")]
        for preferred, expected in ((None, 2 * NEAR), ("rack", 2 * FAR)):
            pair = group("pair", role("a"), role("b"), preferred=preferred)
            answer = solve(racks(2, 2), gang(pair, role("c"), role("d"), flows=flows))
            assert answer is not None
            assert (answer["containment_steps"], answer["transfer_us"]) == (0, expected)

    def test_an_elastic_group_is_one_replica(self) -> None:
        """Elastic content counts as one replica of what was placed: three pods over two racks are one step."""
        answer = solve(racks(2, 1), gang(role("w", 5, min=1), preferred="rack"))
        assert answer is not None
        assert (answer["replicas"], answer["containment_steps"], answer["containment_domains"]) == (2, 1, 2)

    def test_nested_replicas_count_over_the_whole_gang(self) -> None:
        """Two units of two inner groups are four replicas of the inner one; three close in their racks."""
        inner = group("inner", role("w", 2), replicas=2, preferred="rack")
        waiting = gang(group("unit", inner, replicas=2))
        placed = {f"default/w-{i}": at for i, at in enumerate(["n-0"] * 7 + ["n-1"])}
        worth = terms_of(racks(8, 8), waiting, placed)
        assert (worth["containment_steps"], worth["containment_domains"]) == (1, 2)
        assert worth.key[1] == -6


class TestFragmentation:
    def test_fills_what_is_open(self) -> None:
        """Two GPUs go to the node with two left: 8 stay free in the rack and none on the node."""
        snapshot = cluster(node("n-0", 8, rack="a"), node("n-1", 8, rack="a"), pods=[bound("x", "n-1", 6)])
        answer = solve(snapshot, gang(role("w", gpus=2)))
        assert answer is not None
        assert answer.placed == {"default/w-0": "n-1"}
        assert answer["fragmentation"] == 8

    def test_closed_nodes_have_no_free_gpus(self) -> None:
        """A cordoned neighbour adds nothing to its rack."""
        snapshot = cluster(node("n-0", 3, rack="a"), node("n-1", 8, rack="a", schedulable=False))
        answer = solve(snapshot, gang(role("w")))
        assert answer is not None
        assert answer["fragmentation"] == 4

    def test_closed_nodes_that_are_tolerated_have(self) -> None:
        """The same neighbour for a gang that may go there."""
        snapshot = cluster(node("n-0", 3, rack="a"), node("n-1", 8, rack="a", schedulable=False))
        where = constraints(tolerations=[Toleration(UNSCHEDULABLE.key, exists=True)])
        answer = solve(snapshot, gang(role("w", where=where)))
        assert answer is not None
        assert answer.placed == {"default/w-0": "n-0"}
        assert answer["fragmentation"] == 2 + 10


class TestUnsupported:
    @pytest.mark.parametrize(
        "bad",
        [
            gang(group("g", role("w", 2, min=1), replicas=2, preferred="rack")),
            gang(group("g", group("h", role("w"), replicas=2, min_replicas=1, preferred="rack"), replicas=2)),
            gang(group("g", role("w"), replicas=2, spread=[("rack", 1)])),
            gang(group("g", role("w"), replicas=2, required="rack", spread=[("host", 1)])),
            gang(role("p"), role("d"), flows=[flow("p", "d")], reach=[reach("p", "d", "rack")]),
            gang(role("p", gpus=2), role("q"), role("d", gpus=4), flows=[flow("p+q", "d", nearest=True)]),
            gang(role("w"), required="galaxy"),
            gang(group("g", role("w"), replicas=2), running={"default/w-0": "n-0"}),
        ],
    )
    def test_names_what_the_reference_refuses(self, bad: Gang) -> None:
        """Each kind of bad input is found."""
        assert unsupported(racks(8), bad)


class TestPruning:
    def test_finds_what_a_search_without_pruning_finds(self) -> None:
        """On tiny instances every map of every subset of pods, judged alone, has the same best key."""
        compared = 0
        for seed in range(400):
            snapshot, waiting = random_instance(random.Random(seed))
            pods = sorted(
                pod
                for each in waiting.roles
                for pod in each.pods
                if pod not in {member.pod for member in waiting.running}
            )
            if (len(snapshot.nodes) + 1) ** len(pods) > 700:
                continue
            compared += 1
            keys = []
            for nodes in product((None, *snapshot.nodes), repeat=len(pods)):
                placed = {pod: at for pod, at in zip(pods, nodes, strict=True) if at is not None}
                if not allowed(snapshot, waiting, placed):
                    keys.append(terms_of(snapshot, waiting, placed).key)
            answer = solve(snapshot, waiting)
            assert (answer and answer.key) == min(keys, default=None), f"seed {seed}"
        assert compared >= 30

    def test_the_closed_form_of_nearest_is_the_cheapest_transport(self) -> None:
        """The reference's formula over domains is the transport cost, in time (capped by reach too) and in levels."""
        compared = Counter[str]()
        for seed in range(700):
            snapshot, waiting = random_instance(random.Random(seed))
            if any(each.pattern is not Pattern.NEAREST for each in waiting.flows) or not waiting.flows:
                continue
            answer = solve(snapshot, waiting)
            if answer is not None:
                world = World(snapshot, waiting)
                where = {**world.running, **{pod: world.node_idx[at] for pod, at in answer.placed.items()}}
                assert answer["transfer_us"] * 1000 == sum(_closed_form(world, where, i, True) for i in _flows(world))
                assert answer["proximity"] == sum(_closed_form(world, where, i, False) for i in _flows(world))
                compared["capped" if any(reach_level(world, each) for each in waiting.flows) else "free"] += 1
        assert min(compared["capped"], compared["free"]) >= 10


def _flows(world: World) -> range:
    return range(len(world.gang.flows))


def _closed_form(world: World, where: dict[str, int], number: int, in_time: bool) -> Fraction:
    """Σ (δ/2)·|a − b| over domains but the root, plus ½·(a + b)·D on nodes."""
    each = world.gang.flows[number]
    senders = Counter(at for pod, at in where.items() if world.role_of[pod].name in each.senders)
    receivers = Counter(at for pod, at in where.items() if world.role_of[pod].name in each.receivers)
    if not senders or not receivers:
        return Fraction(0)
    traffic, capped = Traffic(world), reach_level(world, each)

    def cost(levels: tuple[int, ...]) -> int:
        if not in_time:
            return world.height - levels[-1]
        if capped is not None and levels[-1] < capped:
            levels = tuple(range(capped + 1))
        sender, receiver = each.senders[0], each.receivers[0]
        gpus = min(traffic._engine[sender], traffic._engine[receiver])
        nodes = min(traffic._spread[sender], traffic._spread[receiver])
        return min(traffic._time(each, level, gpus, nodes) for level in levels)

    total = Fraction(0)
    seen = set()
    for at in world.nodes:
        levels = world.common(at, at)
        for depth in range(1, len(levels)):
            domain = world.domain(at, levels[depth])
            if (levels[depth], domain) in seen:
                continue
            seen.add((levels[depth], domain))
            inside = [other for other in world.nodes if world.domain(other, levels[depth]) == domain]
            a = Fraction(sum(senders[other] for other in inside), senders.total())
            b = Fraction(sum(receivers[other] for other in inside), receivers.total())
            total += Fraction(cost(levels[:depth]) - cost(levels[: depth + 1]), 2) * abs(a - b)
            if levels[depth] == world.height:
                total += (a + b) / 2 * cost(levels)
    return total


class TestIndependence:
    def test_imports_only_domain_values_from_the_solver(self) -> None:
        """Nothing that the brute force judges is computed with the solver's own code."""
        folder = Path(support.oracle.__file__).parent
        for path in (folder / "oracle.py", *(folder / "brute").glob("*.py")):
            for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                assert not isinstance(each, ast.Import) or each.names[0].name == "networkx"
                if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("solver"):
                    assert (each.module or "").startswith("solver.domain.")


class TestInstances:
    def test_the_mix(self) -> None:
        """Among 300 instances every kind a campaign needs is there in its share."""
        tags = Counter[str]()
        for seed in range(300):
            snapshot, waiting = random_instance(random.Random(seed))
            tags.update(classify(snapshot, waiting, solve(snapshot, waiting)))
        shares = {tag: count / 300 for tag, count in tags.items()}
        least = {"transfer": 0.4, "tight": 0.15, "nested": 0.2, "elastic": 0.2, "two_resources": 0.2, "collective": 0.1}
        assert {tag: shares[tag] for tag, share in least.items() if shares[tag] < share} == {}
        rare = ["nearest", "capped", "self_flow", "two_senders", "running", "spread", "group_spread", "queue"]
        rare += ["multinode", "void", "deep", "both_packs", "steps", "above_fewest", "narrowest"]
        assert [tag for tag in rare if shares.get(tag, 0) < 0.02] == []

    def test_answers_keep_all_rules_and_are_worth_what_they_say(self) -> None:
        """The judges of given maps agree with the search, and a renamed instance has the same key."""
        for seed in range(80):
            rng = random.Random(seed)
            snapshot, waiting = random_instance(rng)
            answer = solve(snapshot, waiting)
            other = solve(*renamed(snapshot, waiting, rng))
            assert (answer and answer.key) == (other and other.key), f"seed {seed}"
            if answer is not None:
                assert allowed(snapshot, waiting, answer.placed) == []
                assert terms_of(snapshot, waiting, answer.placed).key == answer.key

    @settings(max_examples=25, deadline=None)
    @given(seed=seeds())
    def test_a_seed_is_an_instance(self, seed: int) -> None:
        """The same seed draws the same supported instance."""
        snapshot, waiting = random_instance(random.Random(seed))
        again, waiting_again = random_instance(random.Random(seed))
        assert waiting == waiting_again
        assert (snapshot.nodes, snapshot.pods, snapshot.free.tolist()) == (
            again.nodes, again.pods, again.free.tolist(),
        )  # fmt: skip
        assert unsupported(snapshot, waiting) == []
