"""The checker names exactly the rule that a plan breaks, and accepts the plan next to it."""

from dataclasses import replace
from fractions import Fraction

import pytest

from solver.domain.constraints import Taint, Toleration, VolumeNodes
from solver.domain.gang import Gang
from solver.domain.levels import Level, TopologySpec
from solver.domain.resources import EPHEMERAL_STORAGE
from solver.domain.snapshot import Snapshot
from solver.verify.rules import RULES
from support import oracle
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
from tests.unit.verify.verifying import assignments, broken, verdict

#: Two racks of two nodes in one zone, a third rack in another, and a node without labels.
SITE = cluster(
    node("a1", 4, 4, memory=4, pods=4, more={"rdma/ib": 4, EPHEMERAL_STORAGE: 4}, zone="z", rack="a"),
    node("a2", 4, zone="z", rack="a"),
    node("b1", 4, zone="z", rack="b"),
    node("c1", 4, zone="y", rack="c"),
    node("bare", 4),
)
RUNNING = with_running(SITE, gang(role("w", 2), required="rack"), {"default/w-0": "a1"})
REPLICAS = gang(group("g", role("w", 2), replicas=2, required="rack", spread=[("rack", 1)]))
NESTED = gang(group("g", role("x", 1), required="rack"), group("h", role("y", 2), required="rack"), required="zone")
OPTIONAL = gang(role("r", 1), group("g", role("w", 2), replicas=3, min_replicas=2), group("h", role("v")), min=2)
#: Two nodes in rack a and one in b, of 1 GB/s each; racks of 0.6 GB/s. Pairs of 1 GB, of which a part crosses.
LINKS = cluster(
    *(node(name, 4, rack=name[0]) for name in ("a1", "a2", "b1")),
    spec=TopologySpec("", (Level("rack", "rack", uplink_gbps=0.6),), node_gbps=1, max_link_share=1.0),
)
DOMAINS = cluster(
    *(node(name, 4, nvl=name[0]) for name in ("v1", "v2", "w1")),
    spec=TopologySpec("", (Level("nvl", "nvl"),), node_gbps=0.5, max_link_share=0.9),
)
SERVED = gang(role("p", 2), role("d", 2), flows=[flow("p", "d")], rps=1)
TWICE = replace(SERVED, requests_per_second=Fraction(3))
LIMITS = (queue("org", gpu=5000), queue("team", "org", gpu=3000), queue("other", "org"))


def _queues(*held: tuple[str, int]) -> Snapshot:
    pods = [bound(f"x{index}", "n", gpus, queue=name) for index, (name, gpus) in enumerate(held)]
    return cluster(node("n", 64), queues=LIMITS, pods=pods)


def _where(**words: object) -> Gang:
    return gang(role("w", 1, where=constraints(**words)))  # type: ignore[arg-type]


def _ratio(text: str) -> Gang:
    return gang(role("p", 2), role("d", 4), reach=[reach("p", "d", "rack", text)])


Case = tuple[str, Snapshot, Gang, str, str]

#: what → (rule, snapshot, gang, a plan that breaks it, a plan that keeps every rule)
CASES: dict[str, Case] = {
    "a role below its minimum": ("gang", SITE, gang(role("w", 3, min=2)), "w-0@a1", "w-0@a1 w-1@a1"),
    "nothing is placed": ("gang", SITE, gang(role("w")), "", "w-0@a1"),
    "a child group left out": (
        "gang", SITE, gang(group("g", role("x")), group("h", role("y"))), "x-0@a1", "x-0@a1 y-0@a1",
    ),
    "too few children": ("gang", SITE, OPTIONAL, "r-0@a1", "r-0@a1 v-0@a1"),
    "too few replicas": (
        "gang", SITE, OPTIONAL, "r-0@a1 v-0@a1 w-0@a2 w-1@a2", "r-0@a1 v-0@a1 w-0@a2 w-1@a2 w-2@a1 w-3@a1",
    ),
    "half a replica": (
        "gang", SITE, OPTIONAL, "r-0@a1 w-0@a2 w-1@a2 w-2@a2", "r-0@a1 w-0@a2 w-1@a2 w-2@a2 w-3@a2",
    ),
    "a group below its minimum over pods": (
        "gang", SITE, gang(role("w", 2, min=0), role("v", 2, min=0), min=2), "v-0@a1", "v-0@a1 w-0@a1",
    ),
    "GPUs": ("capacity", SITE, gang(role("w", 2, 3)), "w-0@a1 w-1@a1", "w-0@a1 w-1@a2"),
    "CPU": ("capacity", SITE, gang(role("w", 2, 0, 3)), "w-0@a1 w-1@a1", "w-0@a1 w-1@a2"),
    "memory": ("capacity", SITE, gang(role("w", 2, 0, memory=3)), "w-0@a1 w-1@a1", "w-0@a1 w-1@a2"),
    "pod slots": (
        "capacity", SITE, gang(role("w", 5, 0)), "w-0@a1 w-1@a1 w-2@a1 w-3@a1 w-4@a1",
        "w-0@a1 w-1@a1 w-2@a1 w-3@a1 w-4@a2",
    ),
    "ephemeral storage": (
        "capacity", SITE, gang(role("w", 1, 0, more={EPHEMERAL_STORAGE: 4})), "w-0@a2", "w-0@a1",
    ),
    "an extended resource": (
        "capacity", SITE, gang(role("w", 2, 0, more={"rdma/ib": 2}), role("v", 1, 0)), "w-0@a1 w-1@b1 v-0@a1",
        "w-0@a1 w-1@a1 v-0@b1",
    ),
    "several roles together": (
        "capacity", SITE, gang(role("w", 1, 3), role("v", 1, 2)), "w-0@a1 v-0@a1", "w-0@a1 v-0@a2",
    ),
    "room that others hold": (
        "capacity", cluster(node("a"), node("b"), pods=[bound("x", "a", 5)]), gang(role("w", 1, 4)), "w-0@a", "w-0@b",
    ),
    "a node that is not ready": (
        "eligible", cluster(node("a", ready=False), node("b")), gang(role("w")), "w-0@a", "w-0@b",
    ),
    "a cordoned node": (
        "eligible", cluster(node("a", schedulable=False), node("b")), gang(role("w")), "w-0@a", "w-0@b",
    ),
    "a cordon where only not being ready is tolerated": (
        "eligible", cluster(node("a", schedulable=False), node("b", ready=False)),
        _where(tolerations=[Toleration("node.kubernetes.io/not-ready", exists=True)]), "w-0@a", "w-0@b",
    ),
    "silence where only not being ready is tolerated": (
        "eligible",
        cluster(node("a", ready=False, taints=[Taint("node.kubernetes.io/unreachable")]), node("b", ready=False)),
        _where(tolerations=[Toleration("node.kubernetes.io/not-ready", exists=True)]), "w-0@a", "w-0@b",
    ),
    "nodeSelector": ("eligible", SITE, _where(rack="a"), "w-0@b1", "w-0@a2"),
    "affinity": ("eligible", SITE, _where(affinity=[on_nodes("a2")]), "w-0@a1", "w-0@a2"),
    "a volume": ("eligible", SITE, _where(volumes=[VolumeNodes("ns/c", (on_nodes("a2"),))]), "w-0@a1", "w-0@a2"),
    "one of two volumes": (
        "eligible", SITE,
        _where(volumes=[VolumeNodes("ns/c", (on_nodes("a1"), on_nodes("a2"))), VolumeNodes("ns/d", (on_nodes("a2"),))]),
        "w-0@a1", "w-0@a2",
    ),
    "a taint": (
        "eligible", cluster(node("a", taints=[Taint("gpu")]), node("b")), gang(role("w")), "w-0@a", "w-0@b",
    ),
    "own anti-affinity": (
        "eligible", SITE.with_pods([bound("x", "a1", app="web")]), _where(anti_affinity=[apart("rack", app="web")]),
        "w-0@a2", "w-0@b1",
    ),
    "anti-affinity of a running pod": (
        "eligible", SITE.with_pods([bound("x", "a1", repels=[apart("rack", app="me")])]), _where(labels={"app": "me"}),
        "w-0@a2", "w-0@b1",
    ),
    "a missing level of a preferred pack": ("eligible", SITE, gang(role("w"), preferred="rack"), "w-0@bare", "w-0@b1"),
    "a missing level of a spread": ("eligible", SITE, gang(role("w", spread=[("rack", 1)])), "w-0@bare", "w-0@b1"),
    "a group over two racks": ("pack", SITE, gang(role("w", 2), required="rack"), "w-0@a1 w-1@b1", "w-0@a1 w-1@a2"),
    "one replica over two racks": (
        "pack", SITE, gang(group("g", role("w", 2), replicas=2, required="rack")), "w-0@a1 w-1@b1 w-2@c1 w-3@c1",
        "w-0@a1 w-1@a2 w-2@c1 w-3@c1",
    ),
    "an inner group": ("pack", SITE, NESTED, "x-0@a1 y-0@a1 y-1@b1", "x-0@a1 y-0@b1 y-1@b1"),
    "an outer group": ("pack", SITE, NESTED, "x-0@a1 y-0@c1 y-1@c1", "x-0@a1 y-0@b1 y-1@b1"),
    "away from a running member": ("pack", *RUNNING, "w-1@b1", "w-1@a2"),
    "racks of one name in two zones": (
        "pack", cluster(node("a", zone="y", rack="r"), node("b", zone="z", rack="r")),
        gang(role("w", 2), required="rack"), "w-0@a w-1@b", "w-0@b w-1@b",
    ),
    "too many pods in a rack": (
        "spread", SITE, gang(role("w", 3, spread=[("rack", 1)])), "w-0@a1 w-1@a2 w-2@b1", "w-0@a1 w-1@c1 w-2@b1",
    ),
    "too many pods of all replicas": (
        "spread", SITE, gang(group("g", role("w", 1, spread=[("zone", 2)]), replicas=3)), "w-0@a1 w-1@a2 w-2@b1",
        "w-0@a1 w-1@a2 w-2@c1",
    ),
    "too many replicas in a rack": (
        "spread", SITE, REPLICAS, "w-0@a1 w-1@a1 w-2@a2 w-3@a2", "w-0@a1 w-1@a1 w-2@b1 w-3@b1",
    ),
    "senders alone": (
        "reach", SITE, gang(role("p", 2), role("d"), reach=[reach("p", "d", "rack")]), "p-0@a1 p-1@b1 d-0@a1",
        "p-0@a1 p-1@a2 d-0@a1",
    ),
    "receivers alone": (
        "reach", SITE, gang(role("p"), role("d", 2), reach=[reach("p", "d", "rack")]), "p-0@a1 d-1@b1 d-0@a1",
        "p-0@a1 d-1@a2 d-0@a1",
    ),
    "too few receivers for the ratio": (
        "reach", SITE, _ratio("51/100"), "p-0@a1 d-0@a1 d-1@a1 d-2@a1 p-1@b1 d-3@b1",
        "p-0@a1 d-0@a1 d-1@a1 p-1@b1 d-2@b1 d-3@b1",
    ),
    "the queue's own limit": (
        "queue", _queues(("team", 1)), gang(role("w", 3, min=2), queue="team"), "w-0@n w-1@n w-2@n", "w-0@n w-1@n",
    ),
    "an ancestor's limit": (
        "queue", _queues(("other", 2), ("org", 1)), gang(role("w", 3, min=2), queue="team"), "w-0@n w-1@n w-2@n",
        "w-0@n w-1@n",
    ),
    "a node's NICs": ("bandwidth", LINKS, TWICE, "p-0@a1 p-1@a1 d-0@a2 d-1@a2", "p-0@a1 d-0@a1 p-1@a2 d-1@a2"),
    "a rack's uplink": ("bandwidth", LINKS, TWICE, "p-0@a1 d-0@a1 p-1@b1 d-1@b1", "p-0@a1 d-0@a1 p-1@a2 d-1@a2"),
    "the NICs of an NVLink domain": (
        "bandwidth", DOMAINS, SERVED, "p-0@v1 p-1@v2 d-0@w1 d-1@w1", "p-0@v1 p-1@w1 d-0@v2 d-1@w1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_broken_rule_is_named(case: Case) -> None:
    """The bad plan breaks this rule and no other, the good plan none; the brute force's rules agree."""
    rule, snapshot, waiting, bad, good = case
    assert broken(snapshot, waiting, bad) == [rule]
    assert broken(snapshot, waiting, good) == []
    for text, found in ((bad, [rule]), (good, [])):
        assert oracle.allowed(snapshot, waiting, {item.pod: item.node for item in assignments(waiting, text)}) == found


def test_every_rule_has_a_bad_plan() -> None:
    """No rule of the checker is left without a plan that breaks it."""
    assert {rule for rule, *_ in CASES.values()} == set(RULES)


def test_an_unknown_queue_breaks_the_queue_rule() -> None:
    """With queues in the input, a gang of another queue may hold nothing; without any there is no rule."""
    waiting = gang(role("w"), queue="gone")
    assert broken(_queues(), waiting, "w-0@n") == ["queue"]
    assert broken(cluster(node("n")), waiting, "w-0@n") == []


def test_a_reach_member_without_the_level_breaks_its_rule() -> None:
    """A pod outside every domain of the level reaches nobody, and its node lacks the level."""
    waiting = gang(role("p"), role("d"), reach=[reach("p", "d", "rack")])
    assert broken(SITE, waiting, "p-0@bare d-0@bare") == ["eligible", "reach"]


def test_sentences_carry_the_numbers() -> None:
    """A violation says where and how much."""
    found = verdict(SITE, gang(role("w", 2, 3)), "w-0@a1 w-1@a1").violations
    assert found == ("capacity: node a1: 6000 gpu asked of 4000 free",)
    found = verdict(SITE, gang(role("w", 2), required="rack"), "w-0@a1").violations
    assert found == ("gang: group root replica 0: role w has 1 of at least 2 pods",)


def test_several_rules_are_all_named() -> None:
    """One plan may break more than one rule."""
    waiting = gang(role("w", 3, 3), required="rack")
    assert broken(SITE, waiting, "w-0@a1 w-1@a1") == ["gang", "capacity"]
    assert broken(SITE, waiting, "w-0@a1 w-1@a1 w-2@b1") == ["capacity", "pack"]


def test_running_members_are_exempt_from_new_capacity_and_eligibility() -> None:
    """A member that runs on a full, cordoned, tainted node stays there."""
    full = cluster(node("a", 2, schedulable=False, taints=[Taint("x")]), node("b", 2))
    snapshot, waiting = with_running(full, gang(role("w", 2, 2)), {"default/w-0": "a"})
    assert broken(snapshot, waiting, "w-1@b") == []
    assert broken(snapshot, waiting, "w-1@a") == ["capacity", "eligible"]
