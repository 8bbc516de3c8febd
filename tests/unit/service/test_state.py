"""What the service holds of a cluster equals what its objects come to, whatever changed and in whichever groups."""

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings

from solver.bound.warm import WarmTables
from solver.domain.changes import Change, NodeGone, NodeSet, PodBound, PodGone, QueueSet, TopologySet
from solver.domain.levels import TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.snapshot import QueueSpec
from solver.service.config import Limits
from solver.service.errors import Full, InvalidField, NotFound
from solver.service.held import Applied, Cause, Needed
from solver.service.recorder import Recorder
from solver.service.state import Clusters, HeldCluster
from support.builders import amounts, apart, bound, cluster, node, topology
from support.clusters import meaning, random_change, random_objects, tidy
from support.strategies import seeds


def held(*pods: BoundPod, nodes: int = 4, limits: Limits | None = None) -> HeldCluster:
    """A cluster of some nodes in two racks, base `7`."""
    found = HeldCluster("prod", limits)
    found.put("7", cluster(*(node(f"n{at}", rack=f"r{at // 2}") for at in range(nodes)), pods=pods))
    return found


def pod(name: str, at: str, uid: str = "", gpus: float = 1) -> BoundPod:
    """A pod with an identity."""
    return BoundPod(f"default/{name}", at, amounts(gpus), uid=uid)


def free_gpus(found: HeldCluster) -> dict[str, int]:
    """Free GPUs by node."""
    snapshot = found.view().snapshot
    return dict(zip(snapshot.nodes, (snapshot.free[:, 0] // 1000).tolist(), strict=True))


def names(found: HeldCluster) -> list[tuple[str, str]]:
    """Pods and their nodes."""
    return sorted((each.name.removeprefix("default/"), each.node) for each in found.view().snapshot.pods)


@settings(deadline=None)
@given(seeds())
def test_random_groups_equal_the_objects_they_come_to(seed: int) -> None:
    """Nodes, pods, topologies and queues, set, changed and gone, in groups of any size; versions only grow."""
    rng = random.Random(seed)
    objects = random_objects(rng)
    found = HeldCluster("prod")
    version = found.put("b", objects.snapshot()).version
    for sequence in range(1, 8):
        group: list[Change] = []
        for _ in range(rng.randint(0, 6)):
            group.append(random_change(rng, objects))
            objects.apply(group[-1])
        before = found.view().snapshot
        shown = meaning(before)
        applied = found.apply("b", sequence, group)
        assert isinstance(applied, Applied)
        view = found.view()
        tidy(view.snapshot)
        assert meaning(view.snapshot) == meaning(objects.snapshot())
        assert meaning(before) == shown, "earlier versions stay as they were"
        assert applied.version == view.version == view.snapshot.version >= version
        assert view.version > version or view.snapshot is before
        version = view.version
    told = found.describe()
    assert (told.nodes, told.pods, told.queues) == (len(objects.nodes), len(objects.pods), len(objects.queues))
    assert told.topologies == tuple(sorted(objects.topologies))


@settings(deadline=None)
@given(seeds())
def test_a_contradiction_changes_nothing(seed: int) -> None:
    """A group with a pod on a node that is not there is refused as a whole, wherever it stands in the group."""
    rng = random.Random(seed)
    objects = random_objects(rng)
    found = HeldCluster("prod")
    found.put("b", objects.snapshot())
    before, shown = found.view(), meaning(found.view().snapshot)
    copy = replace(
        objects,
        nodes=dict(objects.nodes),
        pods=dict(objects.pods),
        topologies=dict(objects.topologies),
        queues=dict(objects.queues),
    )
    group: list[Change] = []
    for _ in range(rng.randint(0, 4)):
        group.append(random_change(rng, copy))
        copy.apply(group[-1])
    at = len(group)
    group.append(PodBound(pod("lost", "nowhere")))
    group.append(NodeSet(node("nowhere")))
    answer = found.apply("b", 1, group)
    assert answer == Needed(
        Cause.CONTRADICTION, f"changes[{at}]: Pod default/lost: node 'nowhere' is not among the nodes", 0
    )
    assert found.view() == before
    assert meaning(found.view().snapshot) == shown
    assert isinstance(found.apply("b", 1, group[:-2]), Applied)
    assert meaning(found.view().snapshot) == meaning(copy.snapshot())


def test_sequences_are_seen_once_and_without_gaps() -> None:
    """Seen before: acknowledged. Missing in between, another base: a new snapshot is needed."""
    found = held()
    first = found.apply("7", 1, [PodBound(pod("a", "n0", "u1"))])
    assert first == Applied(2)
    assert found.apply("7", 1, [PodBound(pod("b", "n0", "u2"))]) == first
    assert names(found) == [("a", "n0")]
    gap = found.apply("7", 3, [])
    assert isinstance(gap, Needed)
    assert (gap.cause, gap.last_sequence) == (Cause.GAP, 1)
    stranger = found.apply("8", 2, [])
    assert isinstance(stranger, Needed)
    assert (stranger.cause, stranger.last_sequence) == (Cause.UNKNOWN_BASE, 0)
    with pytest.raises(InvalidField, match="at least 1"):
        found.apply("7", 0, [])
    assert found.apply("7", 2, []) == Applied(2)
    assert found.describe().sequence == 2
    found.put("8", cluster(node("m")))
    assert (found.describe().base, found.describe().sequence) == ("8", 0)
    empty = HeldCluster("later").apply("7", 1, [])
    assert isinstance(empty, Needed)
    assert empty.cause is Cause.UNKNOWN_CLUSTER


def test_pods_are_told_apart_by_uid_and_without_one_by_name() -> None:
    """A known uid moves, another uid is another pod, no uid is the one pod of the name."""
    found = held()
    groups: list[tuple[Change, list[tuple[str, str]]]] = [
        (PodBound(pod("a", "n0", "u1")), [("a", "n0")]),
        (PodBound(pod("a", "n1", "u1")), [("a", "n1")]),
        (PodBound(pod("a", "n2", "u2")), [("a", "n1"), ("a", "n2")]),
        (PodBound(pod("b", "n0")), [("a", "n1"), ("a", "n2"), ("b", "n0")]),
        (PodBound(pod("b", "n3")), [("a", "n1"), ("a", "n2"), ("b", "n3")]),
        (PodGone("u9", "default/a"), [("a", "n1"), ("a", "n2"), ("b", "n3")]),
        (PodGone("u2", ""), [("a", "n1"), ("b", "n3")]),
        (PodBound(pod("c", "n1", "u1")), [("b", "n3"), ("c", "n1")]),
        (PodGone("", "default/a"), [("b", "n3"), ("c", "n1")]),
        (PodGone("", "default/c"), [("b", "n3")]),
        (PodGone("", "default/b"), []),
    ]
    for sequence, (change, expected) in enumerate(groups, start=1):
        assert isinstance(found.apply("7", sequence, [change]), Applied)
        assert names(found) == expected
    assert free_gpus(found) == {"n0": 8, "n1": 8, "n2": 8, "n3": 8}


def test_unchanged_labels_stay_the_same_object() -> None:
    """Trees are found again after changes of other columns, and after a snapshot that says the same of labels."""
    found, warm = held(), WarmTables()
    spec = topology("rack")
    before = found.view().snapshot
    tree = warm.tree(before, spec)
    found.apply("7", 1, [NodeSet(node("n1", gpus=4, rack="r0", ready=False)), PodBound(pod("a", "n2", "u"))])
    after = found.view().snapshot
    assert after.labels is before.labels
    assert after.nodes is before.nodes
    assert warm.tree(after, spec) is tree
    assert free_gpus(found) == {"n0": 8, "n1": 4, "n2": 7, "n3": 8}
    found.put("8", cluster(*(node(f"n{at}", rack=f"r{at // 2}") for at in (3, 1, 0, 2))))
    assert warm.tree(found.view().snapshot, spec) is tree
    found.apply("8", 1, [NodeSet(node("n1", rack="r1"))])
    assert warm.tree(found.view().snapshot, spec) is not tree
    assert found.view().snapshot.labels["kubernetes.io/hostname"] is before.labels["kubernetes.io/hostname"]
    assert before.labels["rack"].codes.tolist() == [0, 0, 1, 1]


def test_nodes_come_and_go_in_natural_order() -> None:
    """New nodes stand where their names belong; what a node held goes with it; new resources are new columns."""
    found = held(pod("a", "n1", "u1", 2), pod("b", "n3", "u2", 3))
    found.apply("7", 1, [NodeGone("n1"), NodeSet(node("n10", more={"x/y": 2})), NodeSet(node("n2-b", rack="r9"))])
    snapshot = found.view().snapshot
    assert snapshot.nodes == ("n0", "n2", "n2-b", "n3", "n10")
    assert free_gpus(found) == {"n0": 8, "n2": 8, "n2-b": 8, "n3": 5, "n10": 8}
    assert snapshot.free[:, snapshot.resources.index("x/y")].tolist() == [0, 0, 0, 0, 2]
    assert names(found) == [("b", "n3")]
    found.apply("7", 2, [NodeGone("n3"), NodeSet(node("n3")), PodBound(pod("c", "n3", "u3"))])
    assert free_gpus(found)["n3"] == 7
    assert names(found) == [("c", "n3")]
    found.apply("7", 3, [NodeGone(name) for name in snapshot.nodes])
    assert len(found.view().snapshot.nodes) == 0
    assert found.view().snapshot.labels == {}


def test_departures_find_repelling_pods() -> None:
    """Anti-affinity of a pod ends with it, also when it only changes."""
    repelling = bound("a", "n0", repels=[apart("rack", app="x")])
    found = held(repelling)
    assert len(found.view().snapshot.repelling) == 1
    found.apply("7", 1, [PodBound(bound("a", "n0"))])
    assert found.view().snapshot.repelling == ()


def test_nominated_pods_hold_nothing_until_they_are_bound() -> None:
    """They are kept apart, and are no pods that somebody is waiting to see bound."""
    waiting = replace(pod("a", "n0", "u", gpus=3), nominated_priority=5)
    found = held(waiting)
    assert found.view().snapshot.nominated == (waiting,)
    assert free_gpus(found)["n0"] == 8
    assert found.bound(["default/a"]) == []
    moved = replace(waiting, node="n1", nominated_priority=6)
    found.apply("7", 1, [PodBound(moved)])
    assert found.view().snapshot.nominated == (moved,)
    there = replace(moved, nominated_priority=None)
    found.apply("7", 2, [PodBound(there)])
    assert found.view().snapshot.nominated == ()
    assert (free_gpus(found)["n1"], found.bound(["default/a"])) == (5, [there])
    found.apply("7", 3, [PodBound(moved), NodeGone("n1")])
    assert found.view().snapshot.nominated == ()


def test_topologies_and_queues_change_without_touching_columns() -> None:
    """Rules are replaced by name; labels, pods and capacity are shared."""
    found = held()
    before = found.view().snapshot
    found.apply("7", 1, [TopologySet(TopologySpec("other", ())), QueueSet(QueueSpec("q", {"gpu": 1}))])
    after = found.view().snapshot
    assert set(after.topologies) == {"", "other"}
    assert after.queues["q"].limits == {"gpu": 1}
    assert (after.labels is before.labels, after.free is before.free) == (True, True)


def test_a_state_beyond_the_limits_is_refused() -> None:
    """Changes cannot grow a cluster past what a snapshot may bring; what is there may still change."""
    found = held(pod("a", "n0", "u1"), limits=Limits(max_nodes=4, max_bound_pods=1))
    before = found.view()
    with pytest.raises(InvalidField, match="5 nodes are more than the limit of 4"):
        found.apply("7", 1, [NodeSet(node("n4"))])
    with pytest.raises(InvalidField, match="2 pods are more than the limit of 1"):
        found.apply("7", 1, [PodBound(pod("b", "n0", "u2"))])
    assert found.view() == before
    assert isinstance(found.apply("7", 1, [NodeGone("n3"), NodeSet(node("n4"))]), Applied)


def test_sums_beyond_64_bits_are_a_contradiction() -> None:
    """Pods that hold more than can be counted never turn into free capacity."""
    found = held()
    group: list[Change] = [
        PodBound(BoundPod(f"default/p{at}", "n0", amounts(more={"memory": 2**42 * 1000}), uid=f"u{at}"))
        for at in range(600)
    ]
    answer = found.apply("7", 1, group)
    assert isinstance(answer, Needed)
    assert "more than can be counted" in answer.message


def test_ages_follow_the_clock_given() -> None:
    """A snapshot and every group renew the age; the age of the snapshot counts from the snapshot."""
    now_s = [100.0]
    found = HeldCluster("prod", clock=lambda: now_s[0])
    found.put("7", cluster(node("a")))
    now_s[0] = 103.0
    found.apply("7", 1, [])
    now_s[0] = 107.5
    told = found.describe()
    assert (told.snapshot_age_s, told.age_s) == (7.5, 4.5)
    now_s[0] = 99.0
    assert found.describe().age_s == 0


def test_a_state_is_idle_when_nobody_used_it_for_as_long_as_it_is_to_be_kept() -> None:
    """Changes and views are uses; without a limit it is never idle."""
    now_s = [100.0]
    found = HeldCluster("prod", clock=lambda: now_s[0])
    found.put("7", cluster(node("a")), idle_limit_s=10.0)
    for use in (lambda: found.apply("7", 1, []), found.view, lambda: found.put("8", cluster(node("a")), 10.0)):
        now_s[0] += 10.0
        assert not found.is_idle
        use()
    now_s[0] += 10.5
    assert found.is_idle
    found.put("9", cluster(node("a")))
    now_s[0] += 1e9
    assert not found.is_idle


def test_idle_states_make_room_for_others() -> None:
    """Not before another cluster comes, and those that are kept stay."""
    clusters = Clusters(Limits(max_clusters=2))
    gone: list[str] = []
    clusters.on_drop(lambda found: gone.append(found.name))
    clusters.of("kept").put("1", cluster(node("x")))
    clusters.of("dead").put("1", cluster(node("x")), idle_limit_s=1e-9)
    assert clusters.names() == ["dead", "kept"]
    clusters.of("kept").put("2", cluster(node("x")))
    assert gone == []
    clusters.of("new").put("1", cluster(node("x")))
    assert (clusters.names(), gone) == (["kept", "new"], ["dead"])


def test_clusters_are_found_by_name() -> None:
    """A cluster can be found once it holds a snapshot; more than the limit are refused."""
    states: list[tuple[str, int]] = []

    class Seen(Recorder):
        def state(self, cluster: str, version: int) -> None:
            states.append((cluster, version))

    clusters = Clusters(Limits(max_clusters=2), Seen(), lambda: 1000)
    with pytest.raises(NotFound):
        clusters.get("a")
    found = clusters.of("a")
    assert clusters.of("a") is found
    with pytest.raises(NotFound):
        clusters.get("a")
    with pytest.raises(NotFound):
        found.view()
    assert clusters.names() == []
    clusters.of("b").put("1", cluster(node("x")))
    found.put("1", cluster(node("x")))
    assert clusters.get("a") is found
    assert clusters.names() == ["a", "b"]
    with pytest.raises(Full):
        clusters.of("c")
    assert states == [("b", 1001), ("a", 1001)]


def test_versions_go_on_growing_over_restarts() -> None:
    """What a client remembers from before a restart is older than whatever comes after it."""
    before = Clusters().of("a").put("1", cluster(node("x"))).version
    after = Clusters().of("a").put("1", cluster(node("x"))).version
    assert 0 < before <= after
    assert time.time_ns() // 10**6 >= before - 1


def test_bound_pods_are_found_by_name() -> None:
    """All of a name, as of now; names that no pod has give nothing."""
    found = held(pod("a", "n0", "u1"), pod("a", "n1", "u2"), pod("b", "n2"))
    assert sorted(each.uid for each in found.bound(["default/a", "default/x"])) == ["u1", "u2"]
    found.apply("7", 1, [PodGone("u1", "")])
    assert [each.uid for each in found.bound(["default/a"])] == ["u2"]
    with pytest.raises(NotFound):
        HeldCluster("later").bound([])


def test_a_new_cluster_is_shown_to_hooks_first() -> None:
    """Nobody finds a cluster before its hooks have run, and it is not made when one of them fails."""
    clusters, made = Clusters(), []

    def hook(found: HeldCluster) -> None:
        made.append(found.name)
        if len(made) == 1:
            raise OSError("disk")

    clusters.on_new(hook)
    with pytest.raises(OSError, match="disk"):
        clusters.of("a")
    assert clusters.of("a") is clusters.of("a")
    assert made == ["a", "a"]


def test_writers_are_serialised_and_readers_see_whole_versions() -> None:
    """Several streams change one cluster: every group is there once, and each view is consistent in itself."""
    found, broken = held(nodes=8), []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            view = found.view()
            taken = sum(8000 - free for free in view.snapshot.free[:, 0].tolist())
            if taken != 1000 * len(view.snapshot.pods) or view.version != view.snapshot.version:
                broken.append(view.version)

    def write(offset: int) -> None:
        for sequence in range(1, 201):
            at = sequence % 8
            group = [PodBound(pod(f"p{sequence}", f"n{at}", f"u{sequence}"))] * (1 + offset)
            while isinstance(found.apply("7", sequence, group), Needed):
                pass

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(offset,)) for offset in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not broken
    assert len(found.view().snapshot.pods) == 200
    assert found.view().version == 201


def test_hooks_hear_nothing_without_promises() -> None:
    """Bound pods that nobody was promised are nobody's news."""
    heard: list[tuple[str, Mapping[str, str]]] = []
    found = HeldCluster("prod", on_seen=lambda name, where: heard.append((name, where)))
    found.put("7", cluster(node("a"), pods=[pod("p", "a", "u")]))
    found.apply("7", 1, [PodBound(pod("q", "a", "v"))])
    assert heard == []
