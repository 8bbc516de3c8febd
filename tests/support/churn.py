"""What happens in a busy cluster, at random: gangs come, grow and go, nodes are lost, foreign pods take GPUs."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

import urllib3

from support.controlplane.api import Api, Json, Refused
from support.controlplane.fleet import RACK, ZONE, gpu_pod
from support.workloads import Keeper, Role, Workload

#: Roles of gangs: prefill and decode pods, and GPUs of each.
SHAPES = ((1, 1, 8), (1, 1, 4), (2, 2, 4), (4, 8, 2), (2, 4, 8), (1, 3, 8), (4, 8, 8), (2, 10, 4), (6, 6, 8))
PACKS = ({}, {"preferred": RACK}, {"required": RACK}, {"required": ZONE, "preferred": RACK}, {"required": ZONE})


class Churn:
    """Random changes of one namespace and its nodes. done: how often each kind of change was made.

    gangs: most there are at a time. foreign: whether pods that are not Huddle's come, too; with hand `bind` nobody
    could keep them from taking a GPU in the same moment as Huddle.
    """

    def __init__(
        self,
        api: Api,
        keeper: Keeper,
        namespace: str,
        rng: random.Random,
        gangs: int = 20,
        hands: Sequence[str] = ("gate",),
        foreign: bool = True,
    ) -> None:
        self.done = Counter[str]()
        self.alive: dict[str, Workload] = {}
        self._api, self._keeper, self._namespace, self._rng = api, keeper, namespace, rng
        self._gangs, self._hands = gangs, hands
        self._made = 0
        self._lost: list[Json] = []
        self._foreign: list[str] = []
        changes: list[tuple[Callable[[], bool], int]] = [
            (self._arrive, 10),
            (self._leave, 4),
            (self._grow, 3),
            (self._lose_node, 3),
            (self._give_node_back, 3),
        ]
        changes += [(self._foreign_comes, 6), (self._foreign_goes, 4)] if foreign else []
        self._changes = [change for change, _ in changes]
        self._weights = [weight for _, weight in changes]

    def run(self, seconds: float, pause_s: float = 0.3) -> None:
        """Changes at random moments for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
            time.sleep(self._rng.random() * 2 * pause_s)

    def step(self) -> None:
        """One change; an API server that is away is left alone."""
        (change,) = self._rng.choices(self._changes, self._weights)
        try:
            self.done[change.__name__.strip("_")] += change()
        except (Refused, urllib3.exceptions.HTTPError):
            time.sleep(0.1)

    def settle(self) -> None:
        """Give back every node that was lost."""
        while self._lost:
            self._give_node_back()

    def _arrive(self) -> bool:
        if len(self.alive) >= self._gangs:
            return False
        prefill, decode, gpus = self._rng.choice(SHAPES)
        roles = Role("prefill", prefill, gpus), Role("decode", decode, gpus, least=self._rng.choice([None, 1]))
        hand, pack, priority = self._rng.choice(self._hands), self._rng.choice(PACKS), self._rng.randrange(3)
        self._made += 1
        workload = Workload(self._namespace, f"g{self._made:03}", roles, pack, priority, hand)
        self.alive[workload.key] = workload
        self._keeper.keep(workload)
        return True

    def _leave(self) -> bool:
        if len(self.alive) < self._gangs // 2:
            return False
        workload = self._rng.choice(list(self.alive.values()))
        self._keeper.drop(workload)
        del self.alive[workload.key]
        return True

    def _grow(self) -> bool:
        """One more decode pod, which the gang can do without."""
        known = self._rng.choice(list(self.alive.values())) if self.alive else None
        if known is None or known.roles[1].replicas > 10:
            return False
        prefill, decode = known.roles
        least = decode.replicas if decode.least is None else decode.least
        more = Role(decode.name, decode.replicas + 1, decode.gpus, decode.kind, least)
        workload = Workload(known.namespace, known.name, (prefill, more), known.pack, known.priority, known.hand)
        self._keeper.keep(workload)
        self.alive[workload.key] = workload
        return True

    def _lose_node(self) -> bool:
        nodes = self._api.items("/api/v1/nodes")
        if len(self._lost) >= max(1, len(nodes) // 20):
            return False
        node = self._rng.choice(nodes)
        self._api.delete(f"/api/v1/nodes/{node['metadata']['name']}")
        self._lost.append(node)
        return True

    def _give_node_back(self) -> bool:
        if not self._lost:
            return False
        node = self._lost[0]
        metadata = {key: node["metadata"][key] for key in ("name", "labels", "annotations")}
        self._api.create("/api/v1/nodes", {**node, "metadata": metadata})
        self._lost.pop(0)
        return True

    def _foreign_comes(self) -> bool:
        if len(self._foreign) >= 3 * self._gangs:
            return False
        self._made += 1
        name = f"foreign-{self._made:03}"
        self._api.create(self._pods, gpu_pod(name, self._rng.choice([1, 2, 4, 8])))
        self._foreign.append(name)
        return True

    def _foreign_goes(self) -> bool:
        if not self._foreign:
            return False
        name = self._rng.choice(self._foreign)
        self._foreign.remove(name)
        self._api.delete(f"{self._pods}/{name}")
        return True

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods"
