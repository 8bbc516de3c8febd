"""What is done to pods, on a real API server with a real scheduler: they go where they are told, or stay."""

import asyncio
from typing import Any

import pytest

from adapters.apply.gate import gates
from adapters.apply.hands import Hands
from adapters.apply.observed import Member
from adapters.apply.own_writes import OwnWrites
from adapters.kubernetes.api import Api as Calls
from adapters.kubernetes.api_errors import Busy
from adapters.kubernetes.placements import Hand, Seat
from support.controlplane.api import Api, Json
from support.controlplane.fleet import RACK, create_gpu_nodes, gpu_pod
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually

pytestmark = pytest.mark.controlplane

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
HAS_RACK = {"key": RACK, "operator": "Exists"}
NOT_THE_FIRST = {"key": "metadata.name", "operator": "NotIn", "values": ["gpu-000"]}
AFFINITIES: dict[str, Any] = {
    "plain": None,
    "of-pods": {"podAntiAffinity": {REQUIRED: [{"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": RACK}]}},
    "one-term": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [HAS_RACK]}]}}},
    "two-terms": {
        "nodeAffinity": {
            REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [HAS_RACK]}, {"matchFields": [NOT_THE_FIRST]}]}
        }
    },
}


class Doing:
    """Hands of the controller and pods that tests make for them."""

    def __init__(self, plane: ControlPlane, api: Api, namespace: str) -> None:
        self.plane, self.api, self.namespace = plane, api, namespace
        self.pods = f"/api/v1/namespaces/{namespace}/pods"

    def make(self, name: str, hand: Hand = Hand.GATE, **spec: Any) -> Json:
        """A pod that waits for its seat."""
        scheduler = "huddle" if hand is Hand.BIND else "default-scheduler"
        return self.api.create(self.pods, gpu_pod(name, 1, gated=hand is Hand.GATE, scheduler=scheduler, **spec))

    def look(self, name: str) -> Json:
        """The pod as it is now."""
        return self.api.get(f"{self.pods}/{name}")

    def node(self, name: str) -> str:
        """Where it is bound."""
        return str(self.look(name)["spec"].get("nodeName", ""))

    def let_go(self, nodes: dict[str, str], bodies: list[Json], hand: Hand = Hand.GATE) -> dict[str, str]:
        """Let pods go to these nodes, as they were seen in `bodies`."""
        members, seats = {}, []
        for body in bodies:
            name, uid = body["metadata"]["name"], body["metadata"]["uid"]
            members[uid] = Member(f"{self.namespace}/{name}", uid, "w", gated=bool(gates(body)), hand=hand)
            seats.append(Seat(f"{self.namespace}/{name}", uid, "w", nodes[name]))
        by_uid = {body["metadata"]["uid"]: body for body in bodies}
        return self._do(lambda hands: hands.let_go(seats, members, by_uid))

    def give_back(self, *bodies: Json, stranded: bool = False) -> dict[str, str]:
        """Make pods go, as they were seen."""
        members = [
            Member(
                f"{self.namespace}/{body['metadata']['name']}",
                body["metadata"]["uid"],
                "w",
                node=body["spec"].get("nodeName", ""),
                stranded=stranded,
            )
            for body in bodies
        ]
        return self._do(lambda hands: hands.give_back(members))

    def _do(self, work: Any) -> Any:
        async def done() -> Any:
            async with Calls(str(self.plane.kubeconfig())) as calls:
                return await work(Hands(calls, OwnWrites()))

        return asyncio.run(done())


@pytest.fixture
def doing(control_plane: ControlPlane, api: Api, namespace: str) -> Doing:
    """Hands at work beside a scheduler, and four nodes."""
    create_gpu_nodes(api, 4, per_rack=2)
    return Doing(control_plane, api, namespace)


def test_a_scheduler_binds_pods_to_their_seats(doing: Doing) -> None:
    """Whatever they asked for before stays: affinity of every kind, labels, and the gates of others."""
    bodies = [doing.make(name, **({"affinity": affinity} if affinity else {})) for name, affinity in AFFINITIES.items()]
    nodes = dict(zip(AFFINITIES, ("gpu-003", "gpu-002", "gpu-001", "gpu-003"), strict=True))
    assert doing.let_go(nodes, bodies) == {}
    eventually(lambda: {name: doing.node(name) for name in nodes} == nodes, "all are where they should be")
    pin = {"key": "metadata.name", "operator": "In", "values": ["gpu-003"]}
    terms = doing.look("two-terms")["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert terms == [
        {"matchExpressions": [HAS_RACK], "matchFields": [pin]},
        {"matchFields": [NOT_THE_FIRST, pin]},
    ]
    assert doing.look("of-pods")["spec"]["affinity"]["podAntiAffinity"] == AFFINITIES["of-pods"]["podAntiAffinity"]


def test_gates_of_others_hold(doing: Doing) -> None:
    """The pod is pinned, and waits for whoever holds it too."""
    pod = gpu_pod("p", gated=True)
    pod["spec"]["schedulingGates"].insert(0, {"name": "example.com/quota"})
    body = doing.api.create(doing.pods, pod)
    assert doing.let_go({"p": "gpu-002"}, [body]) == {}
    assert gates(doing.look("p")) == ("example.com/quota",)
    doing.api.patch(f"{doing.pods}/p", {"spec": {"schedulingGates": []}})
    eventually(lambda: doing.node("p") == "gpu-002", "it is bound once nobody holds it")


def test_a_pod_that_changed_meanwhile_is_let_go_all_the_same(doing: Doing) -> None:
    """Its labels changed after it was seen; its successor of the same name is another pod, though."""
    body = doing.make("p")
    doing.api.patch(f"{doing.pods}/p", {"metadata": {"labels": {"new": "label"}}})
    assert doing.let_go({"p": "gpu-001"}, [body]) == {}
    eventually(lambda: doing.node("p") == "gpu-001", "it is bound")
    gone = doing.make("q")
    doing.api.delete(f"{doing.pods}/q")
    assert list(doing.let_go({"q": "gpu-001"}, [gone])) == [f"{doing.namespace}/q"]
    doing.make("q")
    doing.let_go({"q": "gpu-001"}, [gone])
    assert gates(doing.look("q"))


def test_binding_twice_is_binding(doing: Doing) -> None:
    """To the same node it is success, to another one a problem of the pod."""
    bodies = [doing.make(f"p{at}", Hand.BIND) for at in range(40)]
    nodes = {f"p{at}": f"gpu-00{at % 4}" for at in range(40)}
    assert doing.let_go(nodes, bodies, Hand.BIND) == {}
    assert {name: doing.node(name) for name in nodes} == nodes
    assert doing.let_go(nodes, bodies, Hand.BIND) == {}
    elsewhere = dict.fromkeys(nodes, "gpu-000")
    wrong = doing.let_go(elsewhere, bodies, Hand.BIND)
    assert sorted(wrong) == sorted(f"{doing.namespace}/p{at}" for at in range(40) if at % 4)


def test_gated_pods_that_huddle_binds(doing: Doing) -> None:
    """The gate comes off first."""
    pod = gpu_pod("p", gated=True, scheduler="huddle")
    body = doing.api.create(doing.pods, pod)
    assert doing.let_go({"p": "gpu-003"}, [body], Hand.BIND) == {}
    assert doing.node("p") == "gpu-003"


def test_pods_are_given_back_once(doing: Doing) -> None:
    """Bound ones are evicted, others deleted; nothing happens to a successor of the same name."""
    bound, held = doing.make("bound", Hand.BIND), doing.make("held")
    doing.let_go({"bound": "gpu-000"}, [bound], Hand.BIND)
    seen = doing.look("bound")
    assert doing.give_back(seen, held) == {}
    eventually(lambda: not doing.api.items(doing.pods), "both are gone")
    new = doing.make("held")
    assert doing.give_back(seen, held) == {}
    assert doing.look("held")["metadata"]["uid"] == new["metadata"]["uid"]


def test_a_pod_on_a_node_that_is_gone_goes_at_once(doing: Doing) -> None:
    """Nobody is there who could end it."""
    body = doing.make("p", Hand.BIND)
    doing.let_go({"p": "gpu-000"}, [body], Hand.BIND)
    doing.api.delete("/api/v1/nodes/gpu-000")
    assert doing.give_back(doing.look("p"), stranded=True) == {}
    assert doing.api.items(doing.pods) == []


def test_a_disruption_budget_is_respected(doing: Doing) -> None:
    """The pod stays, and who asked is told to ask again."""
    body = doing.make("p", Hand.BIND, labels={"app": "p"})
    doing.let_go({"p": "gpu-000"}, [body], Hand.BIND)
    path = f"/apis/policy/v1/namespaces/{doing.namespace}/poddisruptionbudgets"
    budget = {"metadata": {"name": "p"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}
    doing.api.create(path, budget)
    with pytest.raises(Busy):
        doing.give_back(doing.look("p"))
    assert doing.node("p") == "gpu-000"
