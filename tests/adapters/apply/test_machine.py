"""Whatever happens around the reconciler, and wherever its process dies: gangs are placed whole or not at all."""

import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from adapters.apply.settings import Settings
from adapters.kubernetes.resources import NODES
from solver.domain.plan import Status
from support.apply_world import (
    NAMESPACE,
    Fault,
    InProcess,
    Runner,
    Wish,
    WishReader,
    World,
    asked,
    gang_of,
    later,
    snapshot_of,
    target,
)
from support.controlplane.fleet import RACK

GRACE_S = 60.0
TIMES = Settings(
    grace_s=GRACE_S,
    last_chance_s=5,
    refused_s=10,
    unheard_s=30,
    silent_node_s=30,
    gather_s=0,
    back_off_s=5,
    most_back_off_s=40,
)


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    """Gangs of one or two roles."""
    roles = {}
    for role in draw(st.sampled_from((("p",), ("p", "d")))):
        count = draw(st.integers(1, 3))
        roles[role] = (count, draw(st.integers(1, count)) if draw(st.booleans()) else count)
    required = draw(st.sampled_from((None, None, RACK)))
    binds, priority = draw(st.booleans()), draw(st.integers(0, 1))
    return Wish(roles, draw(st.sampled_from((1, 2, 4))), required, priority, binds)


class Cluster(RuleBasedStateMachine):
    """Everything that may happen."""

    gangs = Bundle("gangs")

    @initialize(nodes=st.integers(2, 5))
    def begin(self, nodes: int) -> None:
        self.world = World()
        self.number = 0
        for at in range(nodes):
            self.world.add_node(f"n{at}", 4, f"r{at // 2}")
        self.runner = Runner(self.world, TIMES, joint_s=0.5)
        self.lost: set[str] = set()

    @rule(target=gangs, wish=wishes())
    def arrive(self, wish: Wish) -> str:
        self.number += 1
        name = f"g{self.number}"
        self.world.add_gang(name, wish)
        self.world.controllers()
        return name

    @rule(name=consumes(gangs))
    def delete(self, name: str) -> None:
        self.world.drop_gang(name)

    @rule()
    def make_pods(self) -> None:
        self.world.controllers()

    @rule(after=st.integers(0, 12), kills=st.booleans(), done=st.booleans())
    def fail(self, after: int, kills: bool, done: bool) -> None:
        self.world.fault = Fault(after, kills, done)

    @rule()
    def reconcile(self) -> None:
        self.runner.turn()

    @rule(name=gangs)
    def reconcile_one(self, name: str) -> None:
        self.runner.turn(name)

    @rule()
    def restart(self) -> None:
        self.runner.restart()

    @rule(most=st.integers(1, 3))
    def bind_some(self, most: int) -> None:
        self.world.scheduler(most)

    @rule()
    def bind_all(self) -> None:
        self.world.scheduler()

    @rule(data=st.data(), gpus=st.integers(1, 4))
    def take(self, data: st.DataObject, gpus: int) -> None:
        self.number += 1
        names = sorted(name for _, name in self.world.objects[NODES])
        if names:
            self.world.foreign(f"foreign-{self.number}", data.draw(st.sampled_from(names)), gpus)

    @rule()
    def give_room(self) -> None:
        self.world.drop_foreign()

    @rule(data=st.data())
    def kill_pod(self, data: st.DataObject) -> None:
        pods = sorted(pod["metadata"]["name"] for pod in self.world.pods() if pod["metadata"].get("labels"))
        if pods:
            self.world.drop_pod(data.draw(st.sampled_from(pods)))

    @rule(data=st.data())
    def lose_node(self, data: st.DataObject) -> None:
        names = sorted(name for _, name in self.world.objects[NODES])
        if len(names) > 1:
            name = data.draw(st.sampled_from(names))
            self.world.drop_node(name)
            self.lost.add(name)

    @rule()
    def mend_nodes(self) -> None:
        for name in sorted(self.lost):
            self.world.drop_pods_on(name)
            self.world.add_node(name, 4, f"r{int(name[1:]) // 2}")
        self.lost = set()

    @rule(seconds=st.sampled_from((1, 12, 31, 70)))
    def wait(self, seconds: int) -> None:
        later(self.world, seconds)

    @invariant()
    def nothing_is_let_go_twice(self) -> None:
        """What our gangs hold and were let go to never exceeds a node."""
        if not hasattr(self, "world"):
            return
        for (_, name), node in self.world.objects[NODES].items():
            there = sum(asked(pod) for pod in self.world.pods() if gang_of(pod) and target(pod) == name)
            assert there <= int(node["status"]["allocatable"]["nvidia.com/gpu"]), (name, there)

    @invariant()
    def seats_come_first(self) -> None:
        """A pod that was let go has a Placement that says so."""
        for name in getattr(self, "world", World()).gangs:
            if self.world.freed(name):
                placement = self.world.placement(name)
                assert placement is not None, name
                assert placement["spec"]["attempt"] > 0, name

    def teardown(self) -> None:
        """In quiet times every gang becomes whole or gives back what it has, and is placed if there is room."""
        if hasattr(self, "runner"):
            try:
                self.quieten()
            finally:
                self.runner.close()

    def quieten(self) -> None:
        self.world.fault = None
        partial_since: dict[str, float] = {}
        for at in range(120):
            self.world.controllers()
            self.runner.turn()
            self.world.scheduler()
            self.runner.turn()
            for name in self.world.gangs:
                if not self.world.is_partial(name):
                    partial_since.pop(name, None)
                since = partial_since.setdefault(name, at) if self.world.is_partial(name) else at
                assert (at - since) * 5.0 <= GRACE_S + 10, f"{name} is partial for too long"
            later(self.world, 5)
        for name in self.world.gangs:
            assert not self.world.is_partial(name), name
            assert self.world.bound(name) or not self.world.freed(name), name
        self.nobody_waits_in_vain()

    def nobody_waits_in_vain(self) -> None:
        snapshot, read = snapshot_of(self.world.objects), WishReader(self.world)
        for name in self.world.gangs:
            pods = self.world.pods(name)
            if not self.world.bound(name) and pods:
                gang = read(f"{NAMESPACE}/{name}", pods, {}, ()).gang
                assert gang is not None
                found = InProcess().plan(snapshot, [gang], threading.Event()).gangs[0]
                assert found.status is Status.INFEASIBLE, f"{name} waits though there is room"


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.soak
def test_for_long() -> None:
    """The same, many more times and for longer."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Cluster,
        settings=settings(
            max_examples=1000, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
