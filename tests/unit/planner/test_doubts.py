"""Requests that are hardly meant are warned of: once for each role, in every kind of answer."""

import pytest

from solver.batch.plan import plan_batch
from solver.domain.accelerators import Accelerators
from solver.domain.gang import Gang, Kind
from solver.domain.plan import Notice, Status
from solver.domain.resources import Resources
from solver.domain.snapshot import build_snapshot
from solver.explain.requests import doubtful_requests
from solver.planner import Options, plan
from support.builders import amounts, cluster, flow, gang, group, node, role, topology

SITE = cluster(*(node(f"n{at}", 8, rack="r") for at in range(3)))
CPU_ONLY = {"gpus": 0, "cpu": 4}


def doubts(waiting: Gang, *added: str) -> list[tuple[str, str]]:
    """Code and field of each notice."""
    return [(notice.code, notice.field) for notice in doubtful_requests(waiting, Accelerators(added))]


def test_engines_without_accelerators_are_warned_of() -> None:
    """Both ends of a KV flow, each once, however many flows it has; whoever has a device or a part of one is not."""
    roles = [role("prefill", 2, **CPU_ONLY), role("decode", 2, 0.5), role("encode", 1, 0, more={"amd.com/gpu": 1})]
    flows = [flow("prefill", "decode"), flow("encode", "prefill"), flow("prefill", "decode", 2)]
    assert doubts(gang(*roles, flows=flows)) == [("no_accelerator", "role prefill")]
    assert doubts(gang(*roles)) == []


def test_what_a_site_declares_is_an_accelerator() -> None:
    """The settings of the cluster count."""
    card = {"gpus": 0, "more": {"example.com/card": 8}}
    waiting = gang(role("prefill", 1, **card), role("decode", 1, **card), flows=[flow("prefill", "decode")])
    assert len(doubts(waiting)) == 2
    assert doubts(waiting, "example.com/card") == []


def test_routers_send_requests_not_caches() -> None:
    """Neither the router nor an engine that only hears from it; a flow of no bytes is none."""
    roles = [role("front", 1, kind=Kind.ROUTER, **CPU_ONLY), role("worker", 1, **CPU_ONLY), role("other", 1)]
    assert doubts(gang(*roles, flows=[flow("front", "worker")])) == []
    assert doubts(gang(*roles, flows=[flow("worker", "other", 0)])) == []


@pytest.mark.parametrize("multinode", [True, False])
def test_a_rank_belongs_to_the_engine_of_the_others(multinode: bool) -> None:
    """A leader without a device is no engine without one, unless it stands alone."""
    engine = group("engine", role("leader", 1, **CPU_ONLY), role("worker", 1, 8), multinode=multinode)
    waiting = gang(engine, role("decode", 1), flows=[flow("leader", "decode")])
    assert doubts(waiting) == ([] if multinode else [("no_accelerator", "role leader")])


def test_roles_that_ask_for_nothing_are_warned_of() -> None:
    """With flows or without, routers too; a role that has no pods asks for nothing rightly."""
    roles = [role(name, 1, 0, cpu=0, kind=kind) for name, kind in (("a", Kind.PREFILL), ("b", Kind.ROUTER))]
    expected = [("requests_nothing", "role a"), ("requests_nothing", "role b")]
    assert all(each.requests == Resources() for each in roles)
    assert doubts(gang(*roles)) == expected
    assert doubts(gang(*roles, flows=[flow("a", "b")])) == expected
    assert doubts(gang(role("w", 1), role("none", 0, 0, cpu=0))) == []


def test_every_answer_says_so() -> None:
    """Placed or not, out of time, alone or in a batch; each notice names the gang."""
    empty = role("w", 2, 0, cpu=0)
    waiting, other = gang(empty, name="ns/a"), gang(role("x", 1), name="ns/b")
    (notice,) = plan(SITE, [waiting]).gangs[0].warnings
    assert notice == Notice("requests_nothing", "ns/a", "role w", notice.message)
    assert (notice.field, notice.message[:16]) == ("role w", "asks for nothing")
    assert plan(SITE, [waiting], Options(time_limit_s=0.001)).gangs[0].warnings == (notice,)
    jointly = plan_batch(SITE, [waiting, other])
    assert [each.warnings for each in jointly.gangs] == [(notice,), ()]
    full = build_snapshot([node("n", 8, pods=1)], topologies=[topology("rack")])
    lost = plan(full, [waiting]).gangs[0]
    assert (lost.status, lost.warnings) == (Status.INFEASIBLE, (notice,))
    assert amounts() == Resources()
