"""What the extender says: gangs go to their nodes together, and others do not take what is promised."""

import asyncio
from dataclasses import replace

import pytest

from adapters.apply.gate import gates
from adapters.kubernetes.gang_keys import NODE_ANNOTATION
from adapters.kubernetes.resources import PODS
from support.apply_world import NAMESPACE, Wish, World, later
from tests.adapters.extender.conftest import NODES, Asking

PAIR = Wish({"worker": (2, 2)}, gpus=4, required="rack", extended=True)


def test_a_gang_comes_to_its_nodes(asking: Asking) -> None:
    """Refused until it is planned; then each pod may go to one node, whoever asks and however often."""
    asking.gang("llm", PAIR)
    why = "gang test/llm: being planned"
    assert asking.filter("llm-worker-0") == ([], dict.fromkeys(NODES, why))
    asking.turn()
    nodes = [asking.named(f"llm-worker-{at}") for at in range(2)]
    assert sorted(nodes) in (["n0", "n1"], ["n2", "n3"])
    for _ in range(2):
        assert [asking.filter(f"llm-worker-{at}") for at in range(2)] == [([node], {}) for node in nodes]
    assert [asking.bind(f"llm-worker-{at}", node) for at, node in enumerate(nodes)] == ["", ""]
    asking.turn()
    placement = asking.world.placement("llm")
    assert placement is not None
    assert placement["status"]["phase"] == "Bound"
    assert placement["spec"]["hand"] == "extender"


def test_reasons_of_a_gang_that_waits(asking: Asking) -> None:
    """What is missing, or why there is no room, as the Placement has it."""
    asking.gang("big", Wish({"worker": (3, 3)}, gpus=4, required="rack", extended=True))
    asking.turn()
    placement = asking.world.placement("big")
    assert placement is not None
    message = placement["status"]["reasons"][0]["message"]
    assert asking.filter("big-worker-0") == ([], dict.fromkeys(NODES, f"gang test/big: {message}"))
    asking.world.drop_pod("big-worker-2")
    asking.turn()
    assert asking.filter("big-worker-0")[1]["n0"] == "gang test/big: 2 of 3 pods exist"


def test_large_gangs_need_gates(asking: Asking) -> None:
    """More pods than are bound together are not let go without."""
    asking.gang("huge", Wish({"worker": (33, 33)}, gpus=0, extended=True))
    for pod in asking.world.pods("huge"):
        pod["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "0"
    asking.turn()
    text = "gang test/huge: so many pods need the scheduling gate huddle.scheduler/gang"
    assert asking.filter("huge-worker-0")[1]["n0"] == text


def test_gated_pods_pass_once_they_are_let_go(asking: Asking) -> None:
    """Their affinity names the node."""
    asking.gang("llm", replace(PAIR, extended=False))
    asking.turn()
    asking.turn()
    pod = asking.pod("llm-worker-0")
    assert not gates(pod)
    (node,) = asking.filter("llm-worker-0")[0]
    assert asking.named("llm-worker-0") == ""
    asking.filter("llm-worker-1")
    assert asking.bind("llm-worker-0", node) == ""


def test_a_node_somebody_else_wrote_down_counts_for_nothing(asking: Asking) -> None:
    """Only a seat does."""
    asking.gang("llm", PAIR)
    asking.pod("llm-worker-0")["metadata"]["annotations"] = {NODE_ANNOTATION: "n0"}
    asking.runner.mirror.catch_up()
    assert asking.filter("llm-worker-0")[0] == []
    assert asking.bind("llm-worker-0", "n0") == "gang test/llm: being planned"
    asking.turn()
    assert asking.filter("llm-worker-0")[0] == [asking.named("llm-worker-0")]


@pytest.mark.parametrize("controlled", [True, False], ids=["owned", "bare"])
def test_a_pod_that_is_refused_gets_another_node(asking: Asking, world: World, controlled: bool) -> None:
    """Its annotation changes, it stays the pod it is, and it cannot be bound to the node it had."""
    asking.gang("one", Wish({"worker": (1, 1)}, gpus=4, controlled=controlled, extended=True))
    asking.turn()
    first, uid = asking.named("one-worker-0"), asking.pod("one-worker-0")["metadata"]["uid"]
    world.refusing.add(first)
    later(world, 10)
    asking.turn()
    asking.turn()
    second = asking.named("one-worker-0")
    assert second not in ("", first)
    assert asking.pod("one-worker-0")["metadata"]["uid"] == uid
    assert asking.filter("one-worker-0") == ([second], {})
    assert asking.bind("one-worker-0", first) == f"it is planned on {second}"
    assert asking.bind("one-worker-0", second) == ""


def test_what_is_promised_is_nobody_elses(asking: Asking) -> None:
    """Neither when nodes are filtered nor when a pod that passed earlier is bound."""
    early = asking.single("early", 1)
    assert asking.filter("early") == (list(NODES), {})
    asking.gang("llm", PAIR)
    asking.turn()
    taken = {asking.named(f"llm-worker-{at}") for at in range(2)}
    passed, refused = asking.filter("early")
    assert set(passed) == set(NODES) - taken
    assert refused == dict.fromkeys(sorted(taken), "free gpu is promised to gang test/llm")
    assert asking.bind("early", min(taken)) == "free gpu is promised to gang test/llm"
    assert "nodeName" not in early["spec"]
    assert asking.bind("early", passed[0]) == ""
    assert asking.bind("early", passed[0]) == ""
    assert asking.bind("early", passed[1]) == f"the pod is bound to {passed[0]}"


def test_a_single_pod_is_bound_only_as_its_scheduler_could(asking: Asking, world: World) -> None:
    """Another scheduler's pods are not bound, and no pod goes to a node that is closed to it."""
    for node in ("tainted", "cordoned"):
        world.add_node(node, 4, "r2")
        world.change_node(node, node)
    asking.runner.mirror.catch_up()
    pod = asking.single("single", 1)
    assert asking.bind("single", "tainted") == "taint maintenance is not tolerated"
    assert asking.bind("single", "cordoned") == "it is cordoned"
    assert asking.bind("single", "nowhere") == "node nowhere is not known"
    for spec, problem in (
        ({"nodeSelector": {"disk": "fast"}}, "it does not match nodeSelector disk=fast"),
        ({"schedulerName": "another"}, "the pod names scheduler another, for which nothing is bound here"),
        ({"schedulerName": "default-scheduler"}, ""),
    ):
        changed = {**pod, "spec": {**pod["spec"], **spec}}
        world.objects[PODS][NAMESPACE, "single"] = changed
        world._renew(changed)
        asking.runner.mirror.catch_up()
        assert asking.bind("single", "n0") == problem


def test_what_is_being_bound_is_taken_for_plans(asking: Asking) -> None:
    """The mirror does not show the pods yet; the plan goes elsewhere, and nothing is taken twice later."""
    for at, node in enumerate(("n0", "n2")):
        asking.single(f"s{at}", 1)
        asking.world.objects[PODS][NAMESPACE, f"s{at}"]["metadata"]["labels"] = {}
        assert asking.bind(f"s{at}", node) == ""
    free = asking.term.mirror.held.view().snapshot.whole_free_gpus.tolist()
    assert free == [3, 4, 3, 4]
    asking.runner.mirror.catch_up()
    assert asking.term.mirror.held.view().snapshot.whole_free_gpus.tolist() == [3, 4, 3, 4]
    asking.gang("llm", PAIR)
    asking.turn()
    assert asking.named("llm-worker-0") == ""


def test_the_first_bind_waits_for_the_others(world: World) -> None:
    """Until all have passed the filter; in vain if one does not."""
    asking = Asking(world, wait_s=30.0)
    asking.gang("llm", PAIR)
    asking.turn()
    (first,), (second,) = asking.filter("llm-worker-0")[0], [asking.named("llm-worker-1")]

    async def story() -> list[str]:
        binding = asyncio.create_task(asking.desk._binding.bind(_asked(asking, "llm-worker-0", first)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not binding.done()
        uid = asking.pod("llm-worker-1")["metadata"]["uid"]
        asking.desk._binding.note_passed("test/llm", uid, second)
        return [await binding]

    assert asking.do(story()) == [""]
    asking.close()
    impatient = Asking(world, wait_s=0.0)
    impatient.gang("other", replace(PAIR, gpus=2))
    impatient.turn()
    (node,) = impatient.filter("other-worker-0")[0]
    assert impatient.bind("other-worker-0", node) == "gang test/other: 1 of its pods have not passed the filter yet"
    impatient.filter("other-worker-1")
    assert impatient.bind("other-worker-0", node) == ""
    impatient.close()


def test_pods_that_are_not_there(asking: Asking) -> None:
    """Gone, or another one of the same name."""
    asking.single("single", 1)
    body = {**asking.binding("single", "n0"), "PodUID": "another"}
    assert asking.ask("bind", body) == {"Error": "pod test/single is gone"}
    assert asking.ask("bind", {**body, "PodName": "none"}) == {"Error": "pod test/none is gone"}


def test_scores(asking: Asking, world: World) -> None:
    """Single pods fill what is open; a member's node is the best."""
    world.foreign("there", "n2", 2)
    asking.single("single", 1)
    asked = {"Pod": asking.pod("single"), "Nodes": None, "NodeNames": list(NODES)}
    scores = {each["Host"]: each["Score"] for each in asking.ask("prioritize", asked)}
    assert scores["n2"] > scores["n3"] > scores["n0"] == scores["n1"] == 0
    asking.gang("llm", PAIR)
    asking.turn()
    asked["Pod"] = asking.pod("llm-worker-0")
    scores = {each["Host"]: each["Score"] for each in asking.ask("prioritize", asked)}
    assert [node for node, score in scores.items() if score] == [asking.named("llm-worker-0")]


def test_victims(asking: Asking) -> None:
    """Of a member's node only, if there are any; else as they were; by uid in both forms."""
    asking.gang("llm", PAIR)
    asking.turn()
    node = asking.named("llm-worker-0")
    meta = {name: {"Pods": [{"UID": f"on-{name}"}], "NumPDBViolations": 1} for name in NODES}
    asked = {"Pod": asking.pod("llm-worker-0"), "NodeNameToVictims": None, "NodeNameToMetaVictims": meta}
    assert asking.ask("preempt", asked) == {"NodeNameToMetaVictims": {node: meta[node]}}
    del meta[node]
    assert asking.ask("preempt", asked) == {"NodeNameToMetaVictims": meta}
    asking.single("single", 1)
    whole = {"n1": {"Pods": [{"metadata": {"uid": "on-n1"}}], "NumPDBViolations": 0}}
    asked = {"Pod": asking.pod("single"), "NodeNameToVictims": whole, "NodeNameToMetaVictims": None}
    assert asking.ask("preempt", asked)["NodeNameToMetaVictims"]["n1"]["Pods"] == [{"UID": "on-n1"}]


def _asked(asking: Asking, name: str, node: str):  # type: ignore[no-untyped-def]
    from adapters.extender.wire import ToBind

    return ToBind(NAMESPACE, name, asking.pod(name)["metadata"]["uid"], node)
