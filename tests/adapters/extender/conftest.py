"""The extender in a made-up world, asked as kube-scheduler asks."""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

import pytest

from adapters.apply.door import Term
from adapters.apply.naming_node import Extended
from adapters.apply.settings import Settings
from adapters.extender.desk import Desk
from adapters.kubernetes.gang_keys import NODE_ANNOTATION
from adapters.kubernetes.resources import PODS
from support.apply_world import NAMESPACE, Json, Runner, Wish, World, four_nodes
from support.controlplane.fleet import gpu_pod

EXTENDED = Extended(frozenset({"default-scheduler"}))
NODES = ("n0", "n1", "n2", "n3")


class Asking:
    """A scheduler that asks one desk. Nothing here knows how answers come about."""

    def __init__(self, world: World, wait_s: float = 0.0) -> None:
        self.world = world
        self.runner = Runner(world, Settings(gather_s=0, refused_s=1, unheard_s=5), extended=EXTENDED)
        self.loop = asyncio.Runner()
        self.term = Term(self.runner.mirror, self.runner.reconciler, world)  # type: ignore[arg-type]
        self.desk = Desk(self.term, EXTENDED, wait_s)

    def close(self) -> None:
        self.loop.close()
        self.runner.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end."""
        return self.loop.run(work)

    def turn(self) -> None:
        """Let the reconciler work, and show what came of it."""
        self.runner.turn()
        self.runner.mirror.catch_up()

    def gang(self, name: str, wish: Wish) -> None:
        """Somebody wants a gang, and its pods are made."""
        self.world.add_gang(name, wish)
        self.world.controllers()
        self.runner.mirror.catch_up()

    def single(self, name: str, gpus: int) -> Json:
        """A pod of no gang, not bound."""
        pod = self.world._put(PODS, gpu_pod(name, gpus), NAMESPACE)
        self.runner.mirror.catch_up()
        return pod

    def pod(self, name: str) -> Json:
        """A pod as it is."""
        return self.world.objects[PODS][NAMESPACE, name]

    def named(self, name: str) -> str:
        """The node that a pod was let go to, or empty."""
        return str(self.pod(name)["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""))

    def ask(self, verb: str, body: Any) -> Any:
        """One call."""
        return json.loads(self.do(getattr(self.desk, verb)(json.dumps(body).encode()))[0])

    def filter(self, name: str, nodes: Sequence[str] = NODES) -> tuple[list[str], Mapping[str, str]]:
        """Nodes that were passed, and why others were not."""
        answer = self.ask("filter", {"Pod": self.pod(name), "Nodes": None, "NodeNames": list(nodes)})
        assert (answer["Error"], answer["Nodes"]) == ("", None)
        return answer["NodeNames"], answer["FailedAndUnresolvableNodes"]

    def bind(self, name: str, node: str) -> str:
        """Why a pod was not bound, or empty."""
        return str(self.ask("bind", self.binding(name, node))["Error"])

    def binding(self, name: str, node: str) -> Json:
        """The question of bind."""
        uid = self.pod(name)["metadata"]["uid"]
        return {"PodName": name, "PodNamespace": NAMESPACE, "PodUID": uid, "Node": node}


@pytest.fixture
def world() -> World:
    """Four nodes of four GPUs in two racks."""
    return four_nodes()


@pytest.fixture
def asking(world: World) -> Iterator[Asking]:
    """A scheduler that asks about it."""
    asking = Asking(world)
    yield asking
    asking.close()
