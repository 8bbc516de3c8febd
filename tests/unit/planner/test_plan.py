"""plan(): what it warns of, what it refuses, and that the same input gives the same output."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Gang
from solver.domain.plan import GangPlan, Plan, Proof, ReasonCode, Status, TermValue
from solver.domain.snapshot import NodeRecord, build_snapshot
from solver.planner import Engine, Options, Reporter, plan
from solver.search.cpsat import Answer
from solver.search.stages import Staged, solve_staged
from support import oracle
from support.builders import bound, cluster, flow, gang, group, node, queue, reach, role, topology, with_running
from tests.unit.planner.solving import each_engine, refused

RACKS = [node(f"{rack}{at}", 4, rack=rack) for rack in "abc" for at in range(2)]
SITE = cluster(*RACKS)


def _only(gangs: Sequence[GangPlan]) -> GangPlan:
    (answer,) = gangs
    return answer


def _codes(answer: GangPlan) -> list[tuple[str, str, str]]:
    return [(notice.code, notice.object, notice.field) for notice in answer.warnings]


# Topologies


def test_a_topology_that_is_absent_is_warned_of() -> None:
    """The levels then come from well-known labels, and the gang is planned with them."""
    key = "topology.kubernetes.io/rack"
    nodes = [replace(node(name, 4), labels={key: rack}) for name, rack in (("a", "r"), ("b", "r"), ("c", "s"))]
    snapshot = build_snapshot(nodes, (), [topology("zone", name="other")])
    waiting = replace(gang(role("w", 8), required="rack"), topology="fabric")
    answer = _only(plan(snapshot, [waiting]).gangs)
    assert _codes(answer) == [("topology_unknown", "fabric", "topology")]
    assert "fabric" in answer.warnings[0].message
    assert {item.node for item in answer.assignments} == {"a", "b"}
    assert answer.domains == {"rack": 1, "host": 2}


def test_the_named_topology_counts() -> None:
    """Of two topologies the gang's own gives the levels; the only one serves gangs that name none."""
    nodes = [node("a", 4, rack="r", row="x"), node("b", 4, rack="s", row="x")]
    both = build_snapshot(nodes, (), [topology("rack", name="racks"), topology("row", name="rows")])
    for name, code in (("rows", None), ("racks", ReasonCode.PACK)):
        waiting = replace(gang(role("w", 8), required="row" if name == "rows" else "rack"), topology=name)
        answer = _only(plan(both, [waiting]).gangs)
        assert [reason.code for reason in answer.reasons] == ([code] if code else [])
        assert answer.warnings == ()
    one = build_snapshot(nodes, (), [topology("row", name="rows")])
    assert plan(one, [gang(role("w", 8), required="row")]).status is Status.OPTIMAL


# Queues


def test_a_queue_is_unknown_where_no_queue_is_described() -> None:
    """Without any Queue object there is no limit, and a warning says so."""
    answer = _only(plan(SITE, [gang(role("w"), queue="team")]).gangs)
    assert answer.status is Status.OPTIMAL
    assert _codes(answer) == [("queue_unknown", "default/llama", "queue")]
    assert "team" in answer.warnings[0].message


def test_a_queue_that_is_missing_among_others_is_infeasible() -> None:
    """With other queues in the input the gang may hold nothing."""
    snapshot = cluster(*RACKS, queues=[queue("other")])
    answer = refused(snapshot, gang(role("w"), queue="team"), Engine.AUTO, "queue", "team")
    assert answer.warnings == ()


# Bad input and empty clusters


@each_engine
def test_a_cluster_without_nodes_is_infeasible(engine: Engine) -> None:
    """No node: infeasible, with a reason, not an error; the required level need not exist on any node."""
    for required in (None, "rack"):
        empty = cluster(levels=["rack"])
        waiting = gang(role("w", 2), required=required)
        refused(empty, waiting, engine, "eligible", "cluster has no nodes", nodes=0, eligible=0)


WORDS: dict[str, Gang] = {
    "required": gang(role("w"), required="row"),
    "preferred": gang(role("w"), preferred="row"),
    "nested": gang(group("g", role("w"), required="row")),
    "spread": gang(role("w", spread=[("row", 1)])),
    "reach": gang(role("p"), role("d"), reach=[reach("p", "d", "row")]),
}


@pytest.mark.parametrize("where", WORDS)
def test_an_unknown_level_is_bad_input(where: str) -> None:
    """The message names the gang, the word and the levels there are; nothing is planned."""
    with pytest.raises(InvalidRequest) as caught:
        plan(SITE, [gang(role("w"), name="ns/fine"), WORDS[where]])
    told = str(caught.value)
    assert told.startswith("gang default/llama: ")
    assert told.endswith("level 'row' is unknown; the topology has rack, host")


def test_a_running_member_on_an_unknown_node_is_lost() -> None:
    """It is named, its place is planned anew, and neither the others of its gang nor other gangs mind."""
    members = BoundMember("default/w-0", "gone"), BoundMember("default/w-1", SITE.nodes[0])
    waiting = replace(gang(role("w", 2)), running=members)
    found = plan(SITE, [waiting, gang(role("w"), name="ns/fine")])
    assert [each.status.placed for each in found.gangs] == [True, True]
    first = found.gangs[0]
    assert [item.pod for item in first.running] == ["default/w-1"]
    assert [item.pod for item in first.assignments] == ["default/w-0"]
    assert [(notice.code, notice.object) for notice in first.warnings] == [("member_lost", "default/w-0")]
    assert "node gone is gone" in first.warnings[0].message


@pytest.mark.parametrize("waiting", [
    gang(group("g", role("w", 2, min=1), replicas=2, preferred="rack")),
    gang(group("g", role("w", 2, min=1), replicas=2, required="rack", spread=[("rack", 1)])),
    gang(group("g", group("h", role("w", 1), preferred="rack"), role("v", 2, min=0), replicas=2)),
])  # fmt: skip
def test_replicas_that_may_differ_under_preferred_or_spread_are_refused(waiting: Gang) -> None:
    """What the reference does not support is bad input that names gang and group, never a plan that ignores it."""
    with pytest.raises(InvalidRequest, match="gang default/llama: group g"):
        plan(SITE, [waiting])


def test_nearest_between_unequal_engines_is_refused() -> None:
    """One cost for every pair is what a nearest flow needs."""
    waiting = gang(role("p", 1, 2), role("q", 1, 1), role("d", 2, 4), flows=[flow("p+q", "d", nearest=True)])
    with pytest.raises(InvalidRequest, match=r"flow p\+q → d: a nearest flow needs engines of one size"):
        plan(SITE, [waiting])


# Sameness


def _busy() -> Gang:
    """Roles, nested groups, flows and elastic pods that leave many equal plans."""
    return gang(
        role("router", 1, 0, 1),
        group("prefill", role("prefill", 2, 1), replicas=2, preferred="rack"),
        group("decode", role("decode", 2, 2), replicas=2, min_replicas=1, required="rack", multinode=True),
        role("extra", 3, 1, min=0),
        flows=[flow("prefill", "decode"), flow("router", "prefill", size=65_536)],
    )


@each_engine
def test_the_same_input_gives_the_same_plan(engine: Engine) -> None:
    """Twice the same call: equal assignments, values and reports."""
    snapshot = cluster(*RACKS, pods=[bound("x", "a0", 1), bound("y", "c1", 3)])
    first, second = (_only(plan(snapshot, [_busy()], Options(engine, 60.0)).gangs) for _ in range(2))
    assert first.status is Status.OPTIMAL
    assert (first.assignments, first.objective, first.flows) == (second.assignments, second.objective, second.flows)


@each_engine
def test_the_order_of_the_input_does_not_matter(engine: Engine) -> None:
    """Nodes, pods, roles and groups in another order: the same pods on the same nodes."""
    pods = [bound("x", "a0", 1), bound("y", "c1", 3), bound("z", "b1", 1)]
    answers = []
    for seed in range(4):
        rng = random.Random(seed)
        nodes: list[NodeRecord] = rng.sample(RACKS, len(RACKS)) if seed else RACKS
        snapshot = cluster(*nodes, pods=rng.sample(pods, len(pods)))
        answers.append(_only(plan(snapshot, [_busy()], Options(engine, 60.0)).gangs))
    assert {answer.status for answer in answers} == {Status.OPTIMAL}
    for answer in answers[1:]:
        assert answer.assignments == answers[0].assignments
        assert answer.objective == answers[0].objective


def test_assignments_are_sorted_in_natural_order_of_pods() -> None:
    """`w-2` stands before `w-10`."""
    answer = _only(plan(SITE, [gang(role("w", 12))]).gangs)
    assert [item.pod for item in answer.assignments] == [f"default/w-{at}" for at in range(12)]


def test_the_snapshot_is_not_changed() -> None:
    """Planning several gangs leaves the caller's snapshot as it was."""
    snapshot, waiting = with_running(SITE, gang(role("w", 3)), {"default/w-0": "a0"})
    before, pods = snapshot.free.copy(), snapshot.pods
    plan(snapshot, [waiting, gang(role("w", 3), name="ns/other")])
    assert np.array_equal(snapshot.free, before)
    assert snapshot.pods == pods


# Options and reports


@pytest.mark.parametrize("seconds", [0.001, 0.5, 86_400])
def test_time_limits_in_range(seconds: float) -> None:
    """A millisecond to a day."""
    assert Options(time_limit_s=seconds).time_limit_s == seconds


@pytest.mark.parametrize("seconds", [0.0, 0.0009, -1.0, 86_401, float("inf"), float("nan")])
def test_time_limits_out_of_range(seconds: float) -> None:
    """Anything else is bad input that says the range."""
    with pytest.raises(InvalidRequest, match=r"time limit .* is out of range \(0\.001 s to 24 h\)"):
        Options(time_limit_s=seconds)


def test_default_options() -> None:
    """The default engine, and five seconds."""
    assert (Options().engine, Options().time_limit_s) == (Engine.AUTO, 5.0)


def test_without_a_certificate_the_tree_stands_alone() -> None:
    """The same plan, by a proof of the tree; a no as well."""
    for waiting in (gang(role("w", 3)), gang(role("w", 3, 9))):
        certified, quick = (
            _only(plan(SITE, [waiting], Options(certificate=certificate)).gangs) for certificate in (True, False)
        )
        assert (certified.stats.proof, quick.stats.proof) == (Proof.BOTH, Proof.TREE)
        assert (certified.status, certified.assignments, certified.objective) == (
            quick.status,
            quick.assignments,
            quick.objective,
        )


@pytest.mark.parametrize(
    ("engine", "proof"), [(Engine.AUTO, Proof.BOTH), (Engine.CPSAT, Proof.CPSAT), (Engine.TREE, Proof.TREE)]
)
def test_statistics_say_who_proved_what(engine: Engine, proof: Proof) -> None:
    """The engine asked for, the proof it gave, and the size of the cluster."""
    stats = _only(plan(SITE, [gang(role("w", 5))], Options(engine, 60.0)).gangs).stats
    assert (stats.engine, stats.proof, stats.nodes) == (engine.value, proof, 6)
    assert stats.classes > 0


class _Listener(Reporter):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def stage(self, gang: str, text: str) -> None:
        self.heard.append((gang, text))


def test_the_reporter_hears_every_gang() -> None:
    """Stages come for each gang in the order in which gangs are planned."""
    listener = _Listener()
    plan(SITE, [gang(role("w"), name="ns/x"), replace(gang(role("w"), name="ns/y"), priority=1)], None, listener)
    assert list(dict.fromkeys(name for name, _ in listener.heard)) == ["ns/y", "ns/x"]
    assert all(text for _, text in listener.heard)


def test_a_feasible_answer_among_ties_claims_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where several choices of pods tie and none is proven, the bound of one of them bounds nothing."""

    def unproven(*arguments: object, **options: object) -> Staged:
        return replace(solve_staged(*arguments, **options), answer=Answer.FEASIBLE, bounds=(0, None, None, None, None))

    monkeypatch.setattr("solver.search.solve.solve_staged", unproven)
    waiting = gang(role("p", 2, min=0), role("d", 2, min=0), flows=[flow("p", "d")])
    (answer,) = plan(cluster(node("a", 2)), [waiting], Options(Engine.CPSAT)).gangs
    assert answer.status is Status.FEASIBLE
    assert answer.objective[0].bound == answer.objective[0].value
    assert [term.bound for term in answer.objective[1:]] == [None] * 5


class _Hearing(Reporter):
    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[TermValue, ...]]] = []

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        self.told.append((gang, objective))


@each_engine
def test_the_reporter_hears_of_better_plans(engine: Engine) -> None:
    """What is told gets better or better proven each time, and the answer comes last."""
    listener = _Hearing()
    waiting = gang(role("p", 3), role("d", 3), role("r", 2, min=0), flows=[flow("p", "d")], name="ns/x")
    (answer,) = plan(cluster(*(node(name, 3) for name in "abc")), [waiting], Options(engine), listener).gangs
    assert {name for name, _ in listener.told} == {"ns/x"}
    told = [terms for _, terms in listener.told]
    assert told[-1] == answer.objective
    worths = [(terms[0].value, *(-term.value for term in terms[1:])) for terms in told]
    assert worths == sorted(worths)
    for terms in told:
        assert all(term.bound is None or term.bound <= term.value for term in terms[1:])
    assert len(told) == (5 if engine is Engine.CPSAT else 1)


class _Following(Reporter):
    """Keeps every answer so far."""

    wants_plans = True

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def planned(self, so_far: Plan) -> None:
        self.plans.append(so_far)


def test_the_reporter_hears_verified_plans_of_the_whole_call() -> None:
    """Gangs that are done stay as they are, those to come are unknown, and the last one told is the answer.

    A plan that CP-SAT has still to certify is feasible for the time being.
    """
    listener = _Following()
    gangs = [gang(role("w", 2), name="ns/b"), gang(role("w", 9), name="ns/c"), gang(role("w"), name="ns/a")]
    found = plan(cluster(node("a", 4)), gangs, None, listener)
    assert [[answer.status for answer in told.gangs] for told in listener.plans] == [
        [Status.UNKNOWN, Status.UNKNOWN, Status.FEASIBLE],
        [Status.UNKNOWN, Status.UNKNOWN, Status.OPTIMAL],
        [Status.FEASIBLE, Status.UNKNOWN, Status.OPTIMAL],
        [Status.OPTIMAL, Status.UNKNOWN, Status.OPTIMAL],
        [Status.OPTIMAL, Status.INFEASIBLE, Status.OPTIMAL],
    ]
    assert listener.plans[-1] == found


def test_better_plans_of_a_large_gang_are_told_with_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged tables and placements in turn: each plan told is whole, valid, and none claims a bound it has not."""
    monkeypatch.setattr("solver.search.solve.LARGE_PAIRS", 0)
    listener = _Following()
    waiting = gang(role("p", 6), role("d", 6), role("r", 5), flows=[flow("p", "d"), flow("d", "r")], name="ns/x")
    site = cluster(*(node(f"{rack}{at}", 2 + at, rack=rack) for rack in "abc" for at in range(3)))
    (answer,) = plan(site, [waiting], Options(Engine.TREE), listener).gangs
    assert len(listener.plans) > 1
    for told in listener.plans:
        (found,) = told.gangs
        assert found.status.placed
        assert oracle.allowed(site, waiting, {item.pod: item.node for item in found.assignments}) == []
        for term, best in zip(found.objective[1:], answer.objective[1:], strict=True):
            assert term.bound is None or term.bound <= best.value
            if term.value != best.value:
                break
