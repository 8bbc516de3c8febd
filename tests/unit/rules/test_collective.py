"""Plans of gangs with collectives: every engine keeps multi-node replicas together, and the brute force agrees."""

from dataclasses import replace

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.levels import Tier
from solver.domain.plan import Status
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot
from solver.planner import Engine, Options, plan
from support.builders import cluster, flow, gang, group, node, reach, role, with_running
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, values


def _racks(*gpus: int, zones: str = "") -> list[NodeRecord]:
    return [node(f"n{i}", each, rack=f"r{i}", zone=zones[i] if zones else None) for i, each in enumerate(gpus)]


def _engines(ranks: int, replicas: int = 1, least: int | None = None, required: str | None = None) -> Gang:
    each = group("e", role("w", ranks), replicas=replicas, min_replicas=least, required=required, multinode=True)
    return gang(each, flows=[flow("w", "w", collective=True)])


def _together(snapshot: Snapshot, waiting: Gang, engine: Engine) -> dict[str, set[str]]:
    """Nodes of each replica, which the checker and the brute force value alike."""
    answer = placed(snapshot, waiting, engine)
    assert brute_force_agrees(snapshot, waiting, answer)
    where = nodes_of(answer)
    (only,) = (each for each in waiting.roles if each.name == "w")
    size = only.replicas
    names = [pod.partition("/")[2] for pod in only.pods]
    return {
        names[at]: {where[name] for name in names[at : at + size]}
        for at in range(0, len(names), size)
        if names[at] in where
    }


@each_engine
def test_each_replica_lies_in_one_rack(engine: Engine) -> None:
    """Two engines of three ranks take the two racks that hold one each, not three racks with two ranks each."""
    snapshot = cluster(*_racks(2, 3, 2, 3, 2))
    assert sorted(map(sorted, _together(snapshot, _engines(3, 2), engine).values())) == [["n1"], ["n3"]]


@each_engine
def test_what_lies_between_replicas_costs_nothing(engine: Engine) -> None:
    """Two whole replicas in two zones are as good as two in one rack, and better than a torn one."""
    snapshot = cluster(*_racks(3, 1, 2, zones="yyz"))
    answer = placed(snapshot, _engines(2, 2), engine)
    assert values(answer)["proximity"] == 0
    assert set(nodes_of(answer).values()) == {"n0", "n2"}


@each_engine
def test_one_torn_replica_before_two(engine: Engine) -> None:
    """Where not all can be whole as many as possible are: [2, 1, 1] holds one whole pair and one of two racks."""
    snapshot = cluster(*_racks(2, 1, 1))
    assert sorted(map(len, _together(snapshot, _engines(2, 2), engine).values())) == [1, 2]


@each_engine
def test_the_collective_weighs_against_the_cache(engine: Engine) -> None:
    """A heavy collective keeps the ranks together and the partner apart, a light one lets them part."""
    snapshot = cluster(*_racks(2, 2))

    def split(gb: float) -> int:
        each = group("e", role("w", 2), multinode=True)
        flows = [flow("w", "w", gb, collective=True), flow("p", "w", 5)]
        answer = placed(snapshot, gang(each, role("p", 2), flows=flows), engine)
        where = nodes_of(answer)
        return len({where["w-0"], where["w-1"]})

    assert (split(20), split(0.1)) == (1, 2)


@each_engine
def test_elastic_replicas_and_ranks(engine: Engine) -> None:
    """More pods come before together; among as many the replicas are whole where they can be."""
    snapshot = cluster(*_racks(2, 2, 1))
    some = _engines(2, 3, least=1)
    assert len(_together(snapshot, some, engine)) == 2
    ranks = gang(group("e", role("w", 4, min=2), multinode=True), flows=[flow("w", "w", collective=True)])
    answer = placed(snapshot, ranks, engine)
    assert len(answer.assignments) == 4
    assert brute_force_agrees(snapshot, ranks, answer)


@each_engine
def test_under_required_packs_and_inside_replicas(engine: Engine) -> None:
    """Groups that are counted whole, and groups inside those, have their collectives too."""
    snapshot = cluster(*_racks(2, 1, 1, 2, 2, zones="yyyzz"))
    inner = group("e", role("w", 2), multinode=True)
    waiting = gang(
        group("o", inner, role("x", 1, 0), replicas=2, required="zone"), flows=[flow("w", "w", collective=True)]
    )
    assert {len(nodes) for nodes in _together(snapshot, waiting, engine).values()} == {1}
    assert {len(nodes) for nodes in _together(snapshot, _engines(2, 3, required="rack"), engine).values()} == {1}


@each_engine
def test_alike_groups_with_one_collective_or_with_their_own(engine: Engine) -> None:
    """Whether two alike groups share a collective or have one each, both end up whole."""
    snapshot = cluster(*_racks(1, 2, 1, 2))
    pair = [group(f"g{i}", role(f"w{i}", 2), multinode=True) for i in range(2)]
    for flows in (
        [flow("w0+w1", "w0+w1", collective=True)],
        [flow("w0", "w0", 1, collective=True), flow("w1", "w1", 2, collective=True)],
    ):
        waiting = gang(*pair, flows=flows)
        answer = placed(snapshot, waiting, engine)
        where = nodes_of(answer)
        assert {where["w0-0"], where["w1-0"]} == {"n1", "n3"}
        assert where["w0-0"] == where["w0-1"]
        assert brute_force_agrees(snapshot, waiting, answer)


@each_engine
def test_a_running_rank_draws_the_others(engine: Engine) -> None:
    """New ranks go where the rest of their engine runs, also to a node without a rack."""
    site = cluster(node("a", 2, rack="r"), node("b", 4), node("c", 2, rack="r"))
    snapshot, waiting = with_running(site, _engines(3), {"default/w-1": "b"})
    answer = placed(snapshot, waiting, engine)
    assert set(nodes_of(answer).values()) == {"b"}
    assert brute_force_agrees(snapshot, waiting, answer)


@each_engine
def test_equal_tiers_are_told_apart_by_proximity(engine: Engine) -> None:
    """Where all levels cost the same a replica still keeps to one node."""
    same = Tier(10, 10)
    snapshot = cluster(*_racks(1, 1, 2), tiers={"host": same, "rack": same, "root": same})
    answer = placed(snapshot, _engines(2), engine)
    assert set(nodes_of(answer).values()) == {"n2"}
    assert values(answer)["proximity"] == 0


def test_several_gangs_planned_jointly() -> None:
    """Two gangs that compete for the racks that hold an engine whole share them, jointly proven."""
    snapshot = cluster(*_racks(2, 1, 2, 1))
    each = group("e", role("w", 2), multinode=True)
    gangs = [gang(each, name=f"default/g{i}", flows=[flow("w", "w", collective=True)]) for i in range(2)]
    answers = plan(snapshot, gangs, Options(time_limit_s=60)).gangs
    assert [answer.status for answer in answers] == [Status.OPTIMAL] * 2
    assert {frozenset(nodes_of(answer).values()) for answer in answers} == {frozenset({"n0"}), frozenset({"n2"})}


def test_a_collective_stays_in_no_reach_rule() -> None:
    """A reach rule of a role with itself does not go with a collective."""
    each = group("e", role("w", 2), multinode=True)
    waiting = gang(each, flows=[flow("w", "w", collective=True)], reach=[reach("w", "w", "rack")])
    with pytest.raises(InvalidRequest, match="so its pattern is nearest"):
        plan(cluster(*_racks(4)), [waiting])


def test_a_collective_is_no_hand_over() -> None:
    """What the connector takes for a hand-over is told only where one engine hands over to another."""
    site = cluster(*_racks(4))
    (spec,) = site.topologies.values()
    snapshot = build_snapshot(_racks(4), topologies=[replace(spec, handover_ms=3)])
    each = group("e", role("w", 2), multinode=True)
    ring = flow("w", "w", collective=True)
    told = [gang(each, role("p"), flows=flows) for flows in ([ring], [ring, flow("p", "w")])]
    assert [plan(snapshot, [one]).gangs[0].handover_ms for one in told] == [None, 3]
