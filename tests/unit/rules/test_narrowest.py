"""The preferred word `narrowest`: it pulls a replica into one narrow domain and keeps no node out."""

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.planner import Engine, Options, plan
from support.builders import cluster, gang, group, node, role, with_running
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, values


def _engine(pods: int, gpus: float = 4) -> Gang:
    return gang(group("e", role("w", pods, gpus), preferred="narrowest"))


@each_engine
def test_one_nvl_domain_before_one_rack(engine: Engine) -> None:
    """Where both would hold the replica whole, nvl decides, although the rack has a fuller fit elsewhere."""
    snapshot = cluster(
        node("a", 4, rack="r", nvl="x"), node("b", 4, rack="r", nvl="y"), node("c", 4, rack="s", nvl="z"),
        node("d", 4, rack="s", nvl="z"), node("e", 8, rack="s"),
    )  # fmt: skip
    answer = placed(snapshot, _engine(2), engine)
    assert set(nodes_of(answer).values()) == {"c", "d"}
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (0, 1)
    assert brute_force_agrees(snapshot, _engine(2), answer)


@each_engine
def test_without_nvl_the_finest_level_above_the_host(engine: Engine) -> None:
    """A topology without nvl prefers its racks."""
    snapshot = cluster(*(node(f"n{i}", 4, zone="z", rack="rsst"[i]) for i in range(4)))
    answer = placed(snapshot, _engine(2), engine)
    assert set(nodes_of(answer).values()) == {"n1", "n2"}
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (0, 1)


@each_engine
def test_nodes_without_the_level_may_be_used(engine: Engine) -> None:
    """A replica that fits outside every domain only is placed there and closed at the levels that it has."""
    snapshot = cluster(node("a", 4, rack="r", nvl="x"), node("b", 8, rack="r"), node("c", 4, rack="s", nvl="y"))
    answer = placed(snapshot, _engine(3), engine)
    assert set(nodes_of(answer).values()) == {"a", "b"}
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (1, 2)
    assert brute_force_agrees(snapshot, _engine(3), answer)


@each_engine
def test_a_node_outside_is_no_better_than_a_domain(engine: Engine) -> None:
    """A replica that no domain holds prefers two domains to four nodes outside: these count one by one."""
    snapshot = cluster(
        *(node(f"o{i}", 4, rack="r") for i in range(4)),
        *(node(f"d{i}", 4, rack="r", nvl="xyxy"[i]) for i in range(4)),
    )
    answer = placed(snapshot, _engine(4), engine)
    assert set(nodes_of(answer).values()) == {"d0", "d1", "d2", "d3"}
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (1, 2)
    assert brute_force_agrees(snapshot, _engine(4), answer)


@each_engine
def test_hosts_alone_give_no_preference(engine: Engine) -> None:
    """In a topology of hosts alone both terms of containment are 0."""
    snapshot = cluster(node("a", 4), node("b", 4), levels=())
    answer = placed(snapshot, _engine(2), engine)
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (0, 0)
    assert brute_force_agrees(snapshot, _engine(2), answer)


@each_engine
def test_a_level_keeps_nodes_out_and_the_word_does_not(engine: Engine) -> None:
    """The same instance, once with the level's name, fits only with the word."""
    snapshot = cluster(node("a", 4, rack="r", nvl="x"), node("b", 4, rack="r"))
    (named,) = plan(snapshot, [gang(group("e", role("w", 2, 4), preferred="nvl"))], Options(engine)).gangs
    assert named.status == "infeasible"
    placed(snapshot, _engine(2), engine)


@each_engine
def test_running_outside_a_named_level_counts_its_node(engine: Engine) -> None:
    """A member that runs on a node without the preferred level counts as a domain of its own."""
    snapshot, waiting = with_running(
        cluster(node("a", 8, rack="r", nvl="x"), node("b", 8, rack="r")),
        gang(role("w", 2, 4), preferred="nvl"),
        {"default/w-0": "b"},
    )
    answer = placed(snapshot, waiting, engine)
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (1, 2)
    assert brute_force_agrees(snapshot, waiting, answer)


@pytest.mark.parametrize(
    ("waiting", "field"),
    [
        (gang(role("w"), required="narrowest"), "group root: pack.required"),
        (gang(role("w", spread=[("narrowest", 1)])), "role w: spread"),
    ],
)
def test_only_preferred_packs_may_say_it(waiting: Gang, field: str) -> None:
    """Every other rule needs a level, and the refusal names the field."""
    with pytest.raises(InvalidRequest, match=f"{field}: 'narrowest' is a word of preferred packs only"):
        plan(cluster(node("a", rack="r")), [waiting])
