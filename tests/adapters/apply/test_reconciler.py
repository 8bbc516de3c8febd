"""The reconciler from start to end against a made-up API server, one story after another."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from adapters.apply.gate import pinned_node
from adapters.apply.settings import Settings
from adapters.kubernetes.api_errors import NotFound
from adapters.kubernetes.resources import NODES, PLACEMENTS, PODS
from solver.domain.budget import Stop
from solver.domain.constraints import UNSCHEDULABLE, Toleration
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Notice, Plan, Status
from solver.domain.snapshot import Snapshot
from support.apply_world import Fault, Runner, Wish, World, four_nodes, gang_of, later, target
from support.controlplane.fleet import RACK

TIMES = Settings(grace_s=60, last_chance_s=5, refused_s=10, unheard_s=30, silent_node_s=30, gather_s=0, back_off_s=5)
PAIR = Wish({"w": (2, 2)}, gpus=4)


@pytest.fixture
def world() -> World:
    """Four nodes of four GPUs in two racks."""
    return four_nodes()


@pytest.fixture
def runner(world: World) -> Iterator[Runner]:
    """A reconciler in it."""
    runner = Runner(world, TIMES)
    yield runner
    runner.close()


def status(world: World, gang: str) -> dict[str, Any]:
    """The status of a Placement."""
    placement = world.placement(gang)
    assert placement is not None
    found: dict[str, Any] = placement["status"]
    return found


def phase(world: World, gang: str) -> str:
    """The phase of a Placement."""
    return str(status(world, gang)["phase"])


def codes(world: World, gang: str) -> list[str]:
    """Why a gang waits."""
    return [why["code"] for why in status(world, gang)["reasons"]]


def arrive(world: World, runner: Runner, **gangs: Wish) -> None:
    """Gangs come one after another, and are looked at together."""
    for name, wish in gangs.items():
        world.add_gang(name, wish)
        world.controllers()
        later(world, 1)
    runner.turn()


def test_the_placement_comes_first(world: World, runner: Runner) -> None:
    """Then its status, then the pods, then the confirmation."""
    arrive(world, runner, a=PAIR)
    world.scheduler()
    runner.turn()
    assert world.calls == [
        "create test/placements",
        "patch merge test/placements/a/status",
        "patch merge test/pods/a-w-0/status",
        "patch merge test/pods/a-w-1/status",
        "patch json test/pods/a-w-0",
        "patch json test/pods/a-w-1",
        "patch merge test/placements/a/status",
    ]
    assert phase(world, "a") == "Bound"
    before = len(world.calls)
    runner.turn()
    assert len(world.calls) == before


def test_a_gang_that_waits_says_so_once(world: World, runner: Runner) -> None:
    """Nothing is written again before the reason changes."""
    arrive(world, runner, big=Wish({"w": (5, 5)}, gpus=4))
    written = len(world.calls)
    assert (phase(world, "big"), codes(world, "big")) == ("Pending", ["capacity"])
    for _ in range(5):
        later(world, 40)
        runner.turn()
    assert len(world.calls) == written
    assert world.bound("big") == {}
    world.add_node("n4", 4)
    runner.gain_room()
    runner.turn()
    world.scheduler()
    assert len(world.bound("big")) == 5


def test_higher_priority_first_then_the_older(world: World, runner: Runner) -> None:
    """Three gangs, each of which wants half of everything."""
    arrive(world, runner, old=PAIR, young=PAIR, urgent=replace(PAIR, priority=5))
    assert [phase(world, gang) for gang in ("old", "young", "urgent")] == ["Releasing", "Pending", "Releasing"]


def test_gangs_that_only_fit_together_are_planned_together(world: World, runner: Runner) -> None:
    """Racks with 5 and 3 free GPUs; of gangs of 2, 3 and 3 in one rack each, the tightest fit would leave one out."""
    for name in ("n0", "n1", "n2", "n3"):
        world.drop_node(name)
    world.add_node("x", 5, "five")
    world.add_node("y", 3, "three")
    gangs = {f"g{at}": Wish({"w": (gpus, gpus)}, 1, RACK) for at, gpus in enumerate((2, 3, 3))}
    arrive(world, runner, **gangs)
    assert [phase(world, gang) for gang in gangs] == ["Releasing"] * 3


def test_a_foreign_pod_that_came_first_moves_the_plan(world: World, runner: Runner) -> None:
    """The process dies once the plan is written; meanwhile somebody takes the node: nobody is let go to it."""
    world.add_gang("a", PAIR)
    world.controllers()
    world.fault = Fault(after=0, kills=True, done=True)
    runner.turn()
    assert "status" not in (world.placement("a") or {})
    taken = (world.placement("a") or {})["spec"]["assignments"][0]["node"]
    assert world.foreign("thief", taken, 4)
    runner.turn()
    world.scheduler()
    runner.turn()
    assert phase(world, "a") == "Bound"
    assert taken not in world.bound("a").values()


@pytest.mark.parametrize("what", ["tainted", "cordoned", "in another rack", "gone", "not ready"])
def test_a_node_that_changed_before_anything_was_let_go_moves_the_plan(world: World, runner: Runner, what: str) -> None:
    """Whatever rule its change breaks: the gang is planned again as a whole."""
    world.add_gang("a", Wish({"w": (2, 2)}, 4, RACK))
    world.controllers()
    world.fault = Fault(after=0, kills=True, done=True)
    runner.turn()
    changed = (world.placement("a") or {})["spec"]["assignments"][0]["node"]
    world.change_node(changed, what)
    runner.turn()
    world.scheduler()
    runner.turn()
    assert phase(world, "a") == "Bound"
    assert changed not in world.bound("a").values()


def test_a_cordon_that_is_tolerated_moves_nothing(world: World, runner: Runner) -> None:
    """Neither before a pod was let go nor after: the seats hold, and the pods are bound there."""
    world.add_gang("a", Wish({"w": (2, 2)}, 4, RACK, tolerations=(Toleration(UNSCHEDULABLE.key, exists=True),)))
    world.controllers()
    world.fault = Fault(after=0, kills=True, done=True)
    runner.turn()
    seats = {item["node"] for item in (world.placement("a") or {})["spec"]["assignments"]}
    for node in sorted(seats)[:1]:
        world.change_node(node, "cordoned")
    runner.turn()
    for node in sorted(seats)[1:]:
        world.change_node(node, "cordoned")
    runner.turn()
    assert {pinned_node(pod) for pod in world.freed("a")} == seats
    world.scheduler()
    runner.turn()
    assert set(world.bound("a").values()) == seats


def test_a_foreign_pod_that_came_later_moves_one_pod(world: World, runner: Runner) -> None:
    """The pod that was let go to the node is replaced; the bound one stays."""
    arrive(world, runner, a=PAIR)
    world.scheduler(1)
    (free,) = world.freed("a")
    kept = world.bound("a")
    assert world.foreign("thief", pinned_node(free), 4)
    runner.turn()
    runner.turn()
    assert free["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in world.pods("a")}
    runner.settle()
    assert phase(world, "a") == "Bound"
    assert kept.items() <= world.bound("a").items()


def test_a_pod_that_its_scheduler_refuses_gets_another_node(world: World, runner: Runner) -> None:
    """For a reason nobody sees here; the node is kept away from."""
    wish = Wish({"w": (1, 1)}, gpus=2)
    arrive(world, runner, a=wish)
    (pod,) = world.freed("a")
    first = pinned_node(pod)
    world.refusing.add(first)
    world.scheduler()
    for _ in range(4):
        later(world, 6)
        runner.turn()
        world.controllers()
        runner.turn()
        world.scheduler()
    assert set(world.bound("a").values()) not in ({first}, set())


def test_a_seat_stays_promised_until_another_is_written(
    world: World, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the write of a new plan arrives, the seats of both plans are taken; afterwards those of the new one."""
    arrive(world, runner, a=Wish({"w": (1, 1)}, gpus=2))
    (pod,) = world.freed("a")
    first, patched, seen = pinned_node(pod), world._patched, []

    def taken() -> set[str]:
        snapshot = runner.mirror.held.view().snapshot
        return {name for name, free in zip(snapshot.nodes, snapshot.whole_free_gpus.tolist(), strict=True) if free < 4}

    def looked_at(path: str, patch: Any, kind: str) -> dict[str, Any]:
        if "spec" in patch and path == PLACEMENTS.path("test", "a"):
            seen.append(taken())
        return patched(path, patch, kind)

    monkeypatch.setattr(world, "_patched", looked_at)
    world.refusing.add(first)
    world.scheduler()
    later(world, 11)
    runner.turn()
    placement = world.placement("a")
    assert placement is not None
    (seat,) = placement["spec"]["assignments"]
    assert seat["node"] != first
    assert seen == [{first, seat["node"]}]
    assert taken() == {seat["node"]}


def test_a_gang_that_cannot_be_whole_is_given_back(world: World, runner: Runner) -> None:
    """After the grace nothing of it is bound; it comes again after a pause, when there is room."""
    arrive(world, runner, a=PAIR)
    world.scheduler(1)
    (free,) = world.freed("a")
    world.foreign("thief", pinned_node(free), 4)
    for name in {"n0", "n1", "n2", "n3"} - set(world.bound("a").values()) - {pinned_node(free)}:
        world.foreign(f"thief-{name}", name, 4)
    for _ in range(16):
        runner.turn()
        world.controllers()
        world.scheduler()
        later(world, 5)
    assert world.bound("a") == {}
    assert world.freed("a") == []
    assert (phase(world, "a"), status(world, "a")["failures"]) == ("Pending", 1)
    world.drop_foreign()
    runner.gain_room()
    runner.settle()
    assert phase(world, "a") == "Bound"
    assert status(world, "a")["failures"] == 0


def test_a_bare_pod_is_never_deleted(world: World, runner: Runner) -> None:
    """The Placement says that it needs an owner."""
    arrive(world, runner, a=replace(PAIR, controlled=False))
    world.scheduler(1)
    (free,) = world.freed("a")
    world.foreign("thief", pinned_node(free), 4)
    for _ in range(40):
        runner.turn()
        world.controllers()
        later(world, 5)
    assert len(world.pods("a")) == 2
    assert not any(call.startswith(("delete", "evict")) for call in world.calls)
    conditions = {each["type"]: each["status"] for each in status(world, "a")["conditions"]}
    assert conditions == {"Placed": "False", "NeedsOwner": "True"}
    world.drop_foreign()
    world.scheduler()
    runner.turn()
    conditions = {each["type"]: each["status"] for each in status(world, "a")["conditions"]}
    assert conditions == {"Placed": "True", "NeedsOwner": "False"}


def test_lost_nodes_cost_only_their_members(world: World, runner: Runner) -> None:
    """Two nodes at once; the others stay where they are."""
    world.add_node("n4", 4, "r2")
    world.add_node("n5", 4, "r2")
    arrive(world, runner, a=Wish({"w": (4, 4)}, gpus=4))
    runner.settle()
    before = world.bound("a")
    lost = sorted(set(before.values()))[:2]
    for name in lost:
        world.drop_node(name)
    runner.settle()
    after = world.bound("a")
    assert phase(world, "a") == "Bound"
    assert {pod: node for pod, node in before.items() if node not in lost}.items() <= after.items()
    assert not set(lost) & set(after.values())


def test_a_silent_node_is_waited_for(world: World, runner: Runner) -> None:
    """Its pods are replaced when it was silent for too long, not before."""
    arrive(world, runner, a=PAIR)
    runner.settle(rounds=2, seconds=1)
    silent = sorted(world.bound("a").values())[0]
    world.silence(silent)
    later(world, 29)
    runner.turn()
    assert silent in world.bound("a").values()
    later(world, 2)
    runner.settle()
    assert silent not in world.bound("a").values()
    assert phase(world, "a") == "Bound"


def test_scaling_up_goes_next_to_what_runs(world: World, runner: Runner) -> None:
    """New pods come into the required domain of the old ones, or wait while the gang stays bound."""
    arrive(world, runner, a=Wish({"w": (2, 2)}, 2, RACK))
    runner.settle()
    before = world.bound("a")
    world.add_gang("a", Wish({"w": (3, 2)}, 2, RACK))
    runner.settle()
    after = world.bound("a")
    assert before.items() <= after.items()
    assert len({int(node[1]) // 2 for node in after.values()}) == 1
    assert len(after) == 3
    world.add_gang("a", Wish({"w": (6, 2)}, 2, RACK))
    runner.settle()
    assert len(world.bound("a")) == 4
    assert phase(world, "a") == "Bound"
    assert codes(world, "a") == ["no_room"]


def test_deletion_gives_everything_back(world: World, runner: Runner) -> None:
    """Before its pods were let go, and after: the Placement goes, and who waited is placed."""
    everything = Wish({"w": (4, 4)}, gpus=4)
    arrive(world, runner, first=everything)
    arrive(world, runner, second=everything)
    assert phase(world, "second") == "Pending"
    world.drop_gang("first")
    runner.turn()
    runner.gain_room()
    runner.turn()
    assert phase(world, "second") == "Releasing"
    assert [name for _, name in world.objects[PLACEMENTS]] == ["second"]


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kills", [False, True], ids=["no answer", "killed"])
@pytest.mark.parametrize("after", range(7))
@pytest.mark.parametrize("binds", [False, True], ids=["gate", "bind"])
def test_wherever_it_fails_it_goes_on(
    world: World, runner: Runner, binds: bool, after: int, kills: bool, done: bool
) -> None:
    """Any call of a gang's way may fail, or be the last of the process: the gang is placed once, as planned."""
    world.add_gang("a", Wish({"p": (1, 1), "d": (2, 2)}, gpus=2, required=RACK, binds=binds))
    world.controllers()
    world.fault = Fault(after, kills, done)
    runner.settle(rounds=8, seconds=2)
    assert phase(world, "a") == "Bound"
    assert len(world.bound("a")) == 3
    assert {pod["metadata"]["uid"] for pod in world.pods("a")} == world.first_uids
    placement = world.placement("a")
    assert placement is not None
    planned = {each["pod"]: each["node"] for each in placement["spec"]["assignments"]}
    assert planned == world.bound("a")


def test_what_is_promised_is_not_promised_twice(world: World, runner: Runner) -> None:
    """A process that starts anew knows what was let go before it plans anything."""
    arrive(world, runner, a=Wish({"w": (3, 3)}, gpus=4))
    assert len(world.freed("a")) == 3
    runner.restart()
    world.add_gang("b", PAIR)
    world.controllers()
    runner.turn("b")
    assert phase(world, "b") == "Pending"
    held = {target(pod) for pod in world.pods() if gang_of(pod) == "a"}
    assert len(held) == 3


def test_pods_are_not_acted_upon_while_others_hold_them(world: World, runner: Runner) -> None:
    """A gate of somebody else on one pod holds back the whole gang."""
    world.add_gang("a", PAIR)
    world.controllers()
    pod = world.objects[PODS]["test", "a-w-1"]
    pod["spec"]["schedulingGates"].append({"name": "example.com/quota"})
    runner.turn()
    assert codes(world, "a") == ["other_gates"]
    assert world.freed("a") == []
    pod["spec"]["schedulingGates"].pop()
    runner.turn()
    assert len(world.freed("a")) == 2


def test_a_cluster_without_nodes(runner: Runner, world: World) -> None:
    """The gang waits."""
    world.objects[NODES].clear()
    arrive(world, runner, a=PAIR)
    assert phase(world, "a") == "Pending"


class Exhausted:
    """A solver that never gets to an answer."""

    def __init__(self) -> None:
        self.asked = 0

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Plan:
        """Out of time."""
        self.asked += 1
        return Plan(tuple(GangPlan(gang.name, Status.UNKNOWN) for gang in gangs))

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: Any) -> Plan:
        """Never."""
        raise AssertionError


def test_a_gang_that_takes_too_much_backs_off(world: World, runner: Runner) -> None:
    """Each time for longer, whatever room comes and whatever becomes of the gang, and its Placement says so."""
    solver = Exhausted()
    runner.reconciler.planning._free[:] = [solver]
    arrive(world, runner, hard=PAIR)
    assert (phase(world, "hard"), codes(world, "hard")) == ("Pending", ["unknown", "backing_off"])
    pauses = []
    for _ in range(6):
        asked, waited_s = solver.asked, 0
        while solver.asked == asked:
            later(world, 5)
            waited_s += 5
            runner.gain_room()
            runner.turn()
        pauses.append(waited_s)
    assert pauses == [15, 30, 60, 120, 240, 300]
    assert "7 times in a row" in status(world, "hard")["reasons"][1]["message"]


def test_what_the_reader_notices_is_told_once(world: World, runner: Runner) -> None:
    """With the plan, in one event for each code; not again as long as the reader says the same."""
    said = tuple(Notice("unsupported_soft", "Gang a", f"spec.{field}", "is not considered") for field in "xy")
    arrive(world, runner, a=replace(PAIR, notices=said))
    world.scheduler()
    for _ in range(3):
        later(world, 60)
        runner.turn()
    notes = [event["note"] for event in world.events if event["reason"] == "UnsupportedSoft"]
    assert notes == ["Gang a: spec.x: is not considered; Gang a: spec.y: is not considered"]


def test_a_waiting_gang_says_how_many_pods_it_wants(world: World, runner: Runner) -> None:
    """Whether they exist or not; once they have nodes, how many of those are bound."""
    world.add_gang("big", Wish({"w": (5, 5)}, gpus=4))
    world.controllers()
    world.drop_pod("big-w-4")
    runner.turn()
    assert status(world, "big")["bound"] == "0/5"
    arrive(world, runner, a=PAIR)
    assert status(world, "a")["bound"] == "0/2"
    world.scheduler()
    runner.turn()
    assert status(world, "a")["bound"] == "2/2"


def test_a_placement_that_has_nowhere_to_be_is_not_tried_all_the_time(
    world: World, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The namespace is gone, or the kind: it is tried less and less often, whatever happens meanwhile."""
    tried = []

    async def gone(path: str, body: Any, query: Any = None) -> dict[str, Any]:
        tried.append(world.now)
        raise NotFound(404, "NotFound", "the server could not find the requested resource")

    monkeypatch.setattr(world, "create", gone)
    world.add_gang("a", Wish({"w": (5, 5)}, gpus=4))
    world.controllers()
    for _ in range(200):
        runner.try_one("a")
        later(world, 1)
    assert [round((two - one).total_seconds()) for one, two in itertools.pairwise(tried)] == [5, 10, 20, 40, 80]


def nominated(world: World, gang: str) -> set[str]:
    """Nodes named in the status of its pods."""
    return {pod.get("status", {}).get("nominatedNodeName", "") for pod in world.pods(gang)} - {""}


def test_promised_nodes_are_named_in_gated_pods(world: World, runner: Runner) -> None:
    """Before any of them is let go; other schedulers keep them free from then on."""
    arrive(world, runner, a=PAIR)
    assert nominated(world, "a") == {pinned_node(pod) for pod in world.freed("a")}
    first = [call for call in world.calls if "/pods/" in call][:2]
    assert all(call.endswith("/status") for call in first)


def test_nobody_keeps_a_node_for_a_gang_that_waits(world: World, runner: Runner) -> None:
    """Its pods name none any more once it has no seats."""
    world.add_gang("a", Wish({"w": (4, 4)}, gpus=4))
    world.controllers()
    world.foreign("thief", "n0", 4)
    for pod in world.pods("a"):
        pod["status"] = {"nominatedNodeName": "n1"}
    runner.turn()
    assert phase(world, "a") == "Pending"
    assert nominated(world, "a") == set()


def test_a_node_that_cannot_be_named_stops_nothing(
    world: World, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pods are let go nevertheless."""
    patched = world._patched

    def refuses(path: str, patch: Any, kind: str) -> dict[str, Any]:
        if path.endswith("/status") and "/pods/" in path:
            raise NotFound(403, "Forbidden", "no rights")
        return patched(path, patch, kind)

    monkeypatch.setattr(world, "_patched", refuses)
    arrive(world, runner, a=PAIR)
    world.scheduler()
    runner.turn()
    assert phase(world, "a") == "Bound"
