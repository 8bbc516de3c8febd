"""Rule `eligible` alone: for every cause one node that is out, one that is in, and the sentence that says why."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from solver.domain.constraints import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    NodeConstraints,
    NodeSelectorTerm,
    Operator,
    Requirement,
    Taint,
    Toleration,
    VolumeNodes,
)
from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.snapshot import NodeRecord
from solver.planner import Engine
from support.builders import apart, bound, cluster, constraints, gang, group, node, on_nodes, reach, role
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, refused


def _label(key: str, operator: Operator, *values: str) -> NodeSelectorTerm:
    return NodeSelectorTerm((Requirement(key, operator, values),))


def _only(*terms: NodeSelectorTerm) -> NodeConstraints:
    return constraints(affinity=terms)


def _mounting(*volumes: Sequence[NodeSelectorTerm]) -> NodeConstraints:
    """Mounts a volume for each list of terms."""
    return constraints(volumes=[VolumeNodes(f"default/c{at}", tuple(terms)) for at, terms in enumerate(volumes)])


GPU_TAINT = Taint("gpu", "reserved")
AFFINITY = "required node affinity"
ANYWHERE = NodeConstraints()

#: cause → (node that is out, node that is in, what the pod asks for, what the reason calls it)
ONE_NODE: dict[str, tuple[NodeRecord, NodeRecord, NodeConstraints, str]] = {
    "not ready": (node("out", ready=False), node("in"), ANYWHERE, "not being ready"),
    "cordoned": (node("out", schedulable=False), node("in"), ANYWHERE, "a cordon"),
    "selector, other value": (
        node("out", product="h100"), node("in", product="h200"),
        constraints(product="h200"), "nodeSelector product=h200",
    ),
    "selector, no label": (
        node("out"), node("in", product="h200"), constraints(product="h200"), "nodeSelector product=h200",
    ),
    "In": (
        node("out", disk="hdd"), node("in", disk="ssd"), _only(_label("disk", Operator.IN, "nvme", "ssd")), AFFINITY,
    ),
    "In, no label": (node("out"), node("in", disk="ssd"), _only(_label("disk", Operator.IN, "ssd")), AFFINITY),
    "NotIn": (node("out", disk="hdd"), node("in", disk="ssd"), _only(_label("disk", Operator.NOT_IN, "hdd")), AFFINITY),
    "NotIn, no label is fine": (
        node("out", disk="hdd"), node("in"), _only(_label("disk", Operator.NOT_IN, "hdd")), AFFINITY,
    ),
    "Exists": (node("out"), node("in", disk=""), _only(_label("disk", Operator.EXISTS)), AFFINITY),
    "DoesNotExist": (node("out", disk=""), node("in"), _only(_label("disk", Operator.DOES_NOT_EXIST)), AFFINITY),
    "Gt, on the border": (node("out", gen="8"), node("in", gen="9"), _only(_label("gen", Operator.GT, "8")), AFFINITY),
    "Gt, as numbers": (node("out", gen="8"), node("in", gen="10"), _only(_label("gen", Operator.GT, "9")), AFFINITY),
    "Gt, no number": (node("out", gen="x"), node("in", gen="9"), _only(_label("gen", Operator.GT, "8")), AFFINITY),
    "Lt, on the border": (node("out", gen="8"), node("in", gen="7"), _only(_label("gen", Operator.LT, "8")), AFFINITY),
    "Lt, no label": (node("out"), node("in", gen="7"), _only(_label("gen", Operator.LT, "8")), AFFINITY),
    "metadata.name": (node("out"), node("in"), _only(on_nodes("in", "elsewhere")), AFFINITY),
    "metadata.name NotIn": (
        node("out"), node("in"),
        _only(NodeSelectorTerm(names=(Requirement("metadata.name", Operator.NOT_IN, ("out",)),))), AFFINITY,
    ),
    "both parts of a term": (
        node("out", disk="ssd"), node("in", disk="ssd", gen="9"),
        _only(NodeSelectorTerm((Requirement("disk", Operator.IN, ("ssd",)), Requirement("gen", Operator.EXISTS)))),
        AFFINITY,
    ),
    "one of two terms": (
        node("out", disk="hdd"), node("in", gen="9"),
        _only(_label("disk", Operator.IN, "ssd"), _label("gen", Operator.EXISTS)), AFFINITY,
    ),
    "an empty term matches nothing": (
        node("out"), node("in", gen="9"), _only(NodeSelectorTerm(), _label("gen", Operator.EXISTS)), AFFINITY,
    ),
    "a volume of one node": (node("out"), node("in"), _mounting([on_nodes("in")]), "volume claim default/c0"),
    "a volume of another zone": (
        node("out", zone="y"), node("in", zone="z"), _mounting([_label("zone", Operator.IN, "z")]),
        "volume claim default/c0",
    ),
    "a volume with one of two terms": (
        node("out"), node("in", disk="ssd"), _mounting([on_nodes("elsewhere"), _label("disk", Operator.EXISTS)]),
        "volume claim default/c0",
    ),
    "two volumes": (
        node("out", zone="z"), node("in", zone="z", disk="ssd"),
        _mounting([_label("zone", Operator.IN, "z")], [_label("disk", Operator.EXISTS)]), "volume claim default/c1",
    ),
    "a volume beside the pod's own affinity": (
        node("out", zone="z"), node("in", zone="z", disk="ssd"),
        replace(_mounting([_label("zone", Operator.IN, "z")]), affinity=(_label("disk", Operator.EXISTS),)), AFFINITY,
    ),
    "taint": (node("out", taints=[GPU_TAINT]), node("in"), ANYWHERE, "taint gpu=reserved"),
    "taint without value": (node("out", taints=[Taint("gpu")]), node("in"), ANYWHERE, "taint gpu"),
    "NoExecute": (node("out", taints=[Taint("gpu", "x", "NoExecute")]), node("in"), ANYWHERE, "taint gpu=x"),
    "PreferNoSchedule keeps nobody away": (
        node("out", taints=[GPU_TAINT]), node("in", taints=[Taint("gpu", "reserved", "PreferNoSchedule")]),
        ANYWHERE, "taint gpu=reserved",
    ),
    "toleration of the value": (
        node("out", taints=[Taint("gpu", "other")]), node("in", taints=[GPU_TAINT]),
        constraints(tolerations=[Toleration("gpu", "reserved")]), "taint gpu=other",
    ),
    "toleration of the key": (
        node("out", taints=[Taint("disk")]), node("in", taints=[GPU_TAINT]),
        constraints(tolerations=[Toleration("gpu", exists=True)]), "taint disk",
    ),
    "toleration of one effect": (
        node("out", taints=[Taint("gpu", "reserved", "NoExecute")]), node("in", taints=[GPU_TAINT]),
        constraints(tolerations=[Toleration("gpu", "reserved", effect="NoSchedule")]), "taint gpu=reserved",
    ),
    "toleration of one of two taints": (
        node("out", taints=[GPU_TAINT, Taint("disk", "slow")]), node("in", taints=[GPU_TAINT]),
        constraints(tolerations=[Toleration("gpu", "reserved")]), "taint disk=slow",
    ),
    "toleration of one effect of not being ready": (
        node("out", ready=False), node("in"),
        constraints(tolerations=[Toleration(NOT_READY.key, exists=True, effect="NoExecute")]), "not being ready",
    ),
    "toleration of a cordon by its key": (
        node("out", ready=False), node("in", schedulable=False),
        constraints(tolerations=[Toleration(UNSCHEDULABLE.key, exists=True)]), "not being ready",
    ),
    "toleration of not being ready": (
        node("out", schedulable=False), node("in", ready=False),
        constraints(tolerations=[Toleration(NOT_READY.key, exists=True, effect="NoSchedule")]), "a cordon",
    ),
    "toleration of not being ready is none of silence": (
        node("out", ready=False, taints=[UNREACHABLE]), node("in", ready=False),
        constraints(tolerations=[Toleration(NOT_READY.key)]), "not being reachable",
    ),
    "toleration of silence": (
        node("out", ready=False), node("in", ready=False, taints=[UNREACHABLE]),
        constraints(tolerations=[Toleration(UNREACHABLE.key)]), "not being ready",
    ),
    "a cordon and not being ready have to be tolerated both": (
        node("out", ready=False, schedulable=False), node("in", ready=False),
        constraints(tolerations=[Toleration(NOT_READY.key)]), "a cordon",
    ),
    "toleration of everything": (
        node("out", taints=[GPU_TAINT], pool="b"),
        node("in", taints=[GPU_TAINT, UNSCHEDULABLE], ready=False, schedulable=False, pool="a"),
        constraints(tolerations=[Toleration(exists=True)], pool="a"), "nodeSelector pool=a",
    ),
    "the taint of a cordon counts without the cordon": (
        node("out", taints=[UNSCHEDULABLE]), node("in"), ANYWHERE, "a cordon",
    ),
}  # fmt: skip


@pytest.mark.parametrize("cause", ONE_NODE)
@each_engine
def test_one_node_is_out(cause: str, engine: Engine) -> None:
    """The pod goes to the other node; where there is none, the reason counts the node and names the cause."""
    out, inside, where, called = ONE_NODE[cause]
    waiting = gang(role("w", 1, where=where))
    answer = placed(cluster(out, inside), waiting, engine)
    assert nodes_of(answer) == {"w-0": "in"}
    assert brute_force_agrees(cluster(out, inside), waiting, answer)
    text = f"no node … role w … 1 node … {called}"
    answer = refused(cluster(out), waiting, engine, "eligible", text, nodes=1, eligible=0)
    assert brute_force_agrees(cluster(out), waiting, answer)


WEB = {"app": "web"}
MINE = constraints(anti_affinity=[apart("rack", **WEB)])
THEIRS = constraints(labels={"app": "llama"})

#: direction → (what the pod of the gang asks for, a running pod that keeps it away, one that does not)
ANTI_AFFINITY: dict[str, tuple[NodeConstraints, BoundPod, BoundPod]] = {
    "the pod's own": (MINE, bound("x", "a1", app="web"), bound("x", "a1", app="db")),
    "the running pod's": (
        THEIRS,
        bound("x", "a1", repels=[apart("rack", app="llama")]),
        bound("x", "a1", repels=[apart("rack", app="bert")]),
    ),
    "on the node alone": (
        constraints(anti_affinity=[apart("kubernetes.io/hostname", **WEB)]),
        bound("x", "a1", app="web"),
        bound("x", "b1", app="web"),
    ),
}


@pytest.mark.parametrize("direction", ANTI_AFFINITY)
@each_engine
def test_anti_affinity(direction: str, engine: Engine) -> None:
    """A running pod closes its domain, not more; one that is not selected closes nothing."""
    where, foe, friend = ANTI_AFFINITY[direction]
    a1, a2, b1 = node("a1", 1, rack="a"), node("a2", 1, rack="a"), node("b1", 1, rack="b")
    waiting = gang(role("w", 1, where=where))
    on_host = direction == "on the node alone"
    answer = placed(cluster(a1, a2, b1, pods=[foe]), waiting, engine)
    assert brute_force_agrees(cluster(a1, a2, b1, pods=[foe]), waiting, answer)
    assert nodes_of(answer)["w-0"] in (("a2", "b1") if on_host else ("b1",))
    alone = [a1] if on_host else [a1, a2]
    count = "1 node" if on_host else "2 nodes"
    text = f"no node … role w … {count} … anti-affinity"
    refused(cluster(*alone, pods=[foe]), waiting, engine, "eligible", text, nodes=len(alone), eligible=0)
    if not on_host:
        assert nodes_of(placed(cluster(a1, a2, pods=[friend]), waiting, engine))["w-0"] in ("a1", "a2")


@each_engine
def test_anti_affinity_without_the_topology_label(engine: Engine) -> None:
    """Nodes without the label share no domain, so nothing keeps the pod away."""
    snapshot = cluster(node("n"), pods=[bound("x", "n", app="web")])
    assert nodes_of(placed(snapshot, gang(role("w", 1, where=MINE)), engine)) == {"w-0": "n"}


@each_engine
def test_anti_affinity_inside_the_gang_is_no_rule(engine: Engine) -> None:
    """Anti-affinity counts against pods outside the gang only."""
    where = constraints(anti_affinity=[apart("rack", app="llama")], labels={"app": "llama"})
    assert len(placed(cluster(node("n", rack="a")), gang(role("w", 2, where=where)), engine).assignments) == 2


#: rule → a gang that needs the level `rack` through it
NEEDS_RACK: dict[str, Gang] = {
    "required": gang(role("w"), required="rack"),
    "preferred": gang(role("w"), preferred="rack"),
    "required of the group above": gang(group("g", role("w")), required="rack"),
    "spread of the role": gang(role("w", spread=[("rack", 1)])),
    "spread of the group": gang(group("g", role("w"), required="nvl", spread=[("rack", 1)])),
    "a finer level": gang(role("w"), required="nvl"),
}


@pytest.mark.parametrize("rule", NEEDS_RACK)
@each_engine
def test_a_missing_level_label(rule: str, engine: Engine) -> None:
    """A node without a level that a rule names, or a coarser one, is out for that rule's pods."""
    waiting = NEEDS_RACK[rule]
    out, inside = node("out", nvl="v1"), node("in", rack="r", nvl="v2")
    answer = placed(cluster(out, inside), waiting, engine)
    assert nodes_of(answer) == {"w-0": "in"}
    assert brute_force_agrees(cluster(out, inside), waiting, answer)
    text = "no node … role w … 1 node … missing … rack"
    snapshot = cluster(out, levels=["rack", "nvl"])
    refused(snapshot, waiting, engine, "eligible", text, nodes=1, eligible=0)


@each_engine
def test_reach_needs_its_level_of_its_roles_only(engine: Engine) -> None:
    """Sender and receiver need the level of the rule, the router beside them does not."""
    waiting = gang(role("p"), role("d"), role("r", 1, 4), reach=[reach("p", "d", "rack")])
    snapshot = cluster(node("bare", 4), node("r1", 2, rack="a"))
    answer = placed(snapshot, waiting, engine)
    assert nodes_of(answer) == {"p-0": "r1", "d-0": "r1", "r-0": "bare"}
    assert brute_force_agrees(snapshot, waiting, answer)


@each_engine
def test_levels_of_costs_alone_exclude_nobody(engine: Engine) -> None:
    """Without a rule that names it, a missing label is no obstacle."""
    assert nodes_of(placed(cluster(node("n"), levels=["rack"]), gang(role("w")), engine)) == {"w-0": "n"}


@each_engine
def test_a_volume_that_no_node_can_mount(engine: Engine) -> None:
    """Without a term nothing matches; a claim counts once, however many rules its volume has."""
    snapshot = cluster(node("a", zone="y"), node("b", zone="z"))
    text = "no node … role w … 2 nodes excluded by volume claim default/c0"
    nowhere = gang(role("w", where=_mounting([])))
    answer = refused(snapshot, nowhere, engine, "eligible", text, nodes=2, eligible=0)
    assert brute_force_agrees(snapshot, nowhere, answer)
    both = [VolumeNodes("default/c0", (on_nodes(name),)) for name in "ab"]
    refused(snapshot, gang(role("w", where=constraints(volumes=both))), engine, "eligible", text, nodes=2, eligible=0)


def test_volumes_with_the_same_nodes_are_alike() -> None:
    """Whose claim it is makes no difference to the solver, only to the reader of a reason."""
    one, other = (constraints(volumes=[VolumeNodes(claim, (on_nodes("a"),))]) for claim in ("ns/c", "ns/d"))
    assert one == other
    assert hash(one) == hash(other)


@each_engine
def test_every_cause_is_counted(engine: Engine) -> None:
    """The reason lists causes by the nodes they exclude, most first, and a node counts for each of its causes."""
    where = constraints(pool="a")
    nodes = [
        *(node(f"t{index}", pool="a", taints=[GPU_TAINT]) for index in range(3)),
        node("cordoned", pool="b", schedulable=False),
        node("b", pool="b"),
        node("asleep", pool="a", ready=False),
    ]
    text = (
        "no node … role w … 3 nodes … taint gpu=reserved … 2 nodes … nodeSelector pool=a … "
        "1 node … cordon … 1 node … not being ready"
    )
    refused(cluster(*nodes), gang(role("w", 1, where=where)), engine, "eligible", text, nodes=6, eligible=0)
