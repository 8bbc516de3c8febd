"""Snapshots and changes survive the wire in pieces of any size; what is wrong is told with its path."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from solver.api.v1 import gang_pb2, snapshot_pb2
from solver.api.v1.snapshot_pb2 import SnapshotChunk
from solver.domain.changes import PodBound
from solver.domain.snapshot import Snapshot
from solver.planner import plan
from solver.service.codec.snapshot import (
    SnapshotAssembler,
    decode_change,
    encode_change,
    encode_snapshot,
    encode_whole,
    put_requests,
)
from solver.service.config import Limits
from solver.service.errors import InvalidField
from support.builders import amounts, bound, cluster, node
from support.clusters import meaning, random_change, random_objects, tidy
from support.strategies import random_instance, seeds


def assembled(chunks: Iterable[SnapshotChunk], limits: Limits | None = None) -> Snapshot:
    """Pieces, by way of their bytes, put together."""
    assembler = SnapshotAssembler(limits or Limits())
    for chunk in chunks:
        assembler.add(SnapshotChunk.FromString(chunk.SerializeToString()))
    return assembler.finish()


@settings(deadline=None)
@given(seeds())
def test_a_random_snapshot_comes_back(seed: int) -> None:
    """In one piece and in pieces of several sizes, in any order, it says what it said."""
    rng = random.Random(seed)
    snapshot = random_objects(rng).snapshot()
    for size in (1, 200, 1500, 10**6):
        pieces = list(encode_snapshot(snapshot, size))
        rng.shuffle(pieces)
        back = assembled(pieces)
        tidy(back)
        assert meaning(back) == meaning(snapshot)
    assert meaning(assembled([encode_whole(snapshot)])) == meaning(snapshot)


@settings(deadline=None)
@given(seeds())
def test_a_plan_on_what_came_back_is_the_same(seed: int) -> None:
    """Status, values, assignments and reasons do not depend on the way."""
    snapshot, gang = random_instance(random.Random(seed))
    here, there = plan(snapshot, [gang]), plan(assembled(encode_snapshot(snapshot, 300)), [gang])
    for one, other in zip(here.gangs, there.gangs, strict=True):
        assert (one.status, one.assignments, one.objective) == (other.status, other.assignments, other.objective)
        assert (one.reasons, one.warnings) == (other.reasons, other.warnings)


@pytest.mark.parametrize("priority", [None, 0, -(2**31), 2**31 - 1])
def test_nominated_pods_come_back(priority: int | None) -> None:
    """With their priority, of which 0 is one; among pods without traits, and alone."""
    one = replace(bound("a", "n", 1), nominated_priority=priority)
    snapshot = cluster(node("n"), pods=[one, bound("b", "n", 1)])
    back = assembled(encode_snapshot(snapshot, 10**6))
    assert list(back.pods) == list(snapshot.pods)
    assert back.nominated == ((one,) if priority is not None else ())
    assert decode_change(encode_change(PodBound(one)), "changes[0]") == PodBound(one)


@settings(deadline=None)
@given(seeds())
def test_random_changes_come_back(seed: int) -> None:
    """Every kind of change, as bytes and back."""
    rng = random.Random(seed)
    objects = random_objects(rng)
    for _ in range(8):
        change = random_change(rng, objects)
        sent = snapshot_pb2.Change.FromString(encode_change(change).SerializeToString())
        back = decode_change(sent, "changes[0]")
        assert back == change


def test_pieces_keep_to_the_size() -> None:
    """Every piece fits, and none is needlessly small once the first has told how large they get."""
    nodes = [node(f"node-{at}", rack=f"r{at // 16}", zone="z") for at in range(3000)]
    chunks = list(encode_snapshot(cluster(*nodes), 16_384))
    sizes = [chunk.ByteSize() for chunk in chunks if chunk.nodes.names]
    assert max(sizes) <= 16_384
    assert min(sizes[1:-1]) > 8_192
    assert max(chunk.ByteSize() for chunk in encode_snapshot(cluster(*nodes[:20]), 1)) < 200


def test_host_labels_travel_only_where_they_differ_from_names() -> None:
    """The label that says the node's own name is left away; another one is kept."""
    plain = cluster(node("a"), node("b"))
    assert not encode_whole(plain).nodes.labels
    named = cluster(node("a"), node("b", **{"kubernetes.io/hostname": "x"}))
    assert [column.key for column in encode_whole(named).nodes.labels] == ["kubernetes.io/hostname"]
    assert meaning(assembled([encode_whole(named)])) == meaning(named)


def test_put_requests_frame_the_pieces() -> None:
    """The first message names the cluster, only the last one ends the snapshot."""
    sent = list(put_requests("prod", "7", cluster(node("a")), 1000))
    assert (sent[0].cluster, sent[0].base) == ("prod", "7")
    assert [message.last for message in sent] == [False] * (len(sent) - 1) + [True]


def good() -> SnapshotChunk:
    """A small valid piece with something everywhere."""
    return encode_whole(
        cluster(
            node("a", rack="r"),
            node("b", rack="s", ready=False, schedulable=False, more={"x/y": 3}),
            levels=["rack"],
        )
    )


def pods(chunk: SnapshotChunk) -> snapshot_pb2.PodColumns:
    """Two pods, the second with traits, added to the piece."""
    request = gang_pb2.Resources(gpu_milli=1000)
    chunk.pods.MergeFrom(
        snapshot_pb2.PodColumns(
            uids=["u", "v"],
            names=["d/p", "d/q"],
            nodes=["a", "b"],
            node_codes=[0, 1],
            requests=[request],
            request_codes=[0, 0],
            traits=[snapshot_pb2.PodTraits(queue="q")],
            trait_codes=[0, 1],
        )
    )
    return chunk.pods


def test_the_valid_piece_is_valid() -> None:
    """What the following cases damage is fine as it is."""
    chunk = good()
    pods(chunk)
    found = assembled([chunk])
    assert found.nodes == ("a", "b")
    assert [(pod.uid, pod.queue) for pod in found.pods] == [("u", ""), ("v", "q")]
    assert np.array_equal(found.free[:, 0], [7000, 7000])


def set_codes(chunk: SnapshotChunk, *codes: int) -> None:
    """Codes of the rack label."""
    chunk.nodes.labels[0].codes[:] = codes


NAN = float("nan")
Damage = Callable[[SnapshotChunk], object]
DAMAGES: list[tuple[str, Damage]] = [
    ("chunk.nodes.names", lambda c: c.nodes.names.__setitem__(1, "a")),
    ("chunk.nodes.names[1]", lambda c: c.nodes.names.__setitem__(1, "")),
    ("chunk.nodes.labels[0].codes[1]", lambda c: set_codes(c, 1, 3)),
    ("chunk.nodes.labels[0].codes[0]", lambda c: set_codes(c, -1, 1)),
    ("chunk.nodes.labels[0].codes", lambda c: set_codes(c, 1, 1, 1)),
    ("chunk.nodes.labels[0].values", lambda c: c.nodes.labels[0].values.pop()),
    ("chunk.nodes.labels[1].key", lambda c: c.nodes.labels.add(key="rack", values=["x", "y"])),
    ("chunk.nodes.labels[1].key", lambda c: c.nodes.labels.add(values=["x", "y"])),
    ("chunk.nodes.allocatable[0].amounts", lambda c: c.nodes.allocatable[0].amounts.extend([1, 2])),
    ("chunk.nodes.allocatable[0].amounts[0]", lambda c: c.nodes.allocatable[0].amounts.__setitem__(0, -1)),
    ("chunk.nodes.allocatable[0].amounts[0]", lambda c: c.nodes.allocatable[0].amounts.__setitem__(0, 2**63 - 1)),
    ("chunk.nodes.allocatable[1].resource", lambda c: setattr(c.nodes.allocatable[1], "resource", "gpu")),
    ("chunk.nodes.allocatable[0].resource", lambda c: setattr(c.nodes.allocatable[0], "resource", "")),
    ("chunk.nodes.taint_codes[0]", lambda c: c.nodes.taint_codes.extend([1, 0])),
    ("chunk.nodes.taint_codes", lambda c: c.nodes.taint_codes.extend([0])),
    ("chunk.nodes.taint_sets[0].taints[0].key", lambda c: c.nodes.taint_sets.add().taints.add(effect=1)),
    ("chunk.nodes.taint_sets[0].taints[0].effect", lambda c: c.nodes.taint_sets.add().taints.add(key="k")),
    ("chunk.nodes.not_ready[1]", lambda c: c.nodes.not_ready.append(2)),
    ("chunk.nodes.cordoned[1]", lambda c: c.nodes.cordoned.append(-1)),
    ("chunk.pods.uids", lambda c: pods(c).uids.pop()),
    ("chunk.pods.uids", lambda c: pods(c).uids.__setitem__(1, "u")),
    ("chunk.pods.uids[1]", lambda c: pods(c).uids.__setitem__(1, "promise/1/d/q")),
    ("chunk.pods.names", lambda c: (pods(c).ClearField("uids"), c.pods.names.__setitem__(1, "d/p"))),
    ("chunk.pods.names[1]", lambda c: pods(c).names.__setitem__(1, "q")),
    ("chunk.pods.nodes", lambda c: pods(c).nodes.__setitem__(1, "c")),
    ("chunk.pods.nodes[1]", lambda c: pods(c).nodes.__setitem__(1, "")),
    ("chunk.pods.node_codes[1]", lambda c: pods(c).node_codes.__setitem__(1, 2)),
    ("chunk.pods.node_codes[1]", lambda c: pods(c).node_codes.__setitem__(1, -1)),
    ("chunk.pods.node_codes", lambda c: pods(c).node_codes.pop()),
    ("chunk.pods.node_codes", lambda c: pods(c).ClearField("node_codes")),
    ("chunk.pods.request_codes[0]", lambda c: pods(c).request_codes.__setitem__(0, 1)),
    ("chunk.pods.request_codes", lambda c: pods(c).ClearField("request_codes")),
    ("chunk.pods.requests[0].gpu_milli", lambda c: setattr(pods(c).requests[0], "gpu_milli", -5)),
    ("chunk.pods.requests[0].extended[x]", lambda c: pods(c).requests[0].extended.__setitem__("x", -1)),
    ("chunk.pods.trait_codes[1]", lambda c: pods(c).trait_codes.__setitem__(1, 2)),
    ("chunk.pods.trait_codes", lambda c: pods(c).trait_codes.pop()),
    ("chunk.pods.traits[0].anti_affinity[0].topology_key", lambda c: pods(c).traits[0].anti_affinity.add()),
    ("chunk.topologies[1].name", lambda c: c.topologies.add()),
    ("chunk.topologies[0].levels[0].name", lambda c: setattr(c.topologies[0].levels[0], "name", "")),
    ("chunk.topologies[0].levels[0].label", lambda c: setattr(c.topologies[0].levels[0], "label", "")),
    ("chunk.topologies[0].levels", lambda c: c.topologies[0].levels.add(name="rack", label="rack")),
    ("chunk.topologies[0].levels[0].tier", lambda c: setattr(c.topologies[0].levels[0].tier, "gbps", NAN)),
    ("chunk.topologies[0].levels[0].tier", lambda c: setattr(c.topologies[0].levels[0].tier, "node_gbps", NAN)),
    ("chunk.topologies[0].levels", lambda c: setattr(c.topologies[0], "node_gbps", -1)),
    ("chunk.topologies[0].levels", lambda c: setattr(c.topologies[0], "max_link_share", 1.5)),
    ("chunk.topologies[0].levels", lambda c: setattr(c.topologies[0].levels[0], "oversubscription", 2)),
    ("chunk.topologies[0].levels[0]", lambda c: setattr(c.topologies[0].levels[0], "uplink_gbps", NAN)),
    ("chunk.topologies[0].levels[0]", lambda c: setattr(c.topologies[0].levels[0], "used_gbps", -1)),
    ("chunk.topologies[0].levels", lambda c: setattr(c.topologies[0], "handover_ms", NAN)),
    ("chunk.topologies[0].root_tier", lambda c: setattr(c.topologies[0].root_tier, "setup_us", NAN)),
    ("chunk.queues[0].name", lambda c: c.queues.add()),
    ("chunk.queues[1].name", lambda c: (c.queues.add(name="q"), c.queues.add(name="q"))),
    ("chunk.queues[0].limits[gpu]", lambda c: c.queues.add(name="q").limits.__setitem__("gpu", -1)),
]


@pytest.mark.parametrize(("path", "damage"), DAMAGES, ids=[f"{at}-{path}" for at, (path, _) in enumerate(DAMAGES)])
def test_a_wrong_piece_is_refused_with_its_path(path: str, damage: Damage) -> None:
    """Lengths, codes, names, amounts, tiers: one sentence, and where."""
    chunk = good()
    damage(chunk)
    with pytest.raises(InvalidField) as caught:
        assembled([chunk])
    assert caught.value.field == path
    assert "\n" not in caught.value.problem


def test_repeats_in_different_pieces_are_refused() -> None:
    """Names are unique in the whole snapshot, not only in a piece."""
    chunk = good()
    pods(chunk)
    again = [
        SnapshotChunk(nodes=chunk.nodes),
        SnapshotChunk(pods=chunk.pods),
        SnapshotChunk(topologies=chunk.topologies),
    ]
    for piece in again:
        with pytest.raises(InvalidField, match="appears twice"):
            assembled([chunk, piece])


def test_wrong_names_of_accelerators_are_refused() -> None:
    """One that is no resource, and more than there may be, in one piece or in several."""
    with pytest.raises(InvalidField, match="no name like") as caught:
        assembled([SnapshotChunk(accelerators=["gpu"])])
    assert caught.value.field == "chunk"
    many = [SnapshotChunk(accelerators=[f"a/{at}"]) for at in range(65)]
    assert assembled(many[:64]).accelerators.added == tuple(f"a/{at}" for at in range(64))
    with pytest.raises(InvalidField, match="more than the limit of 64") as caught:
        assembled(many)
    assert caught.value.field == "chunk.accelerators"


LIMITS = [
    (Limits(max_nodes=1), "chunk.nodes.names"),
    (Limits(max_bound_pods=1), "chunk.pods.names"),
]


@pytest.mark.parametrize(("limits", "path"), LIMITS, ids=["nodes", "pods"])
def test_limits_hold(limits: Limits, path: str) -> None:
    """More than the service takes is refused before anything is made of it."""
    chunk = good()
    pods(chunk)
    with pytest.raises(InvalidField, match="more than the limit") as caught:
        assembled([chunk], limits)
    assert caught.value.field == path


def test_bytes_of_all_pieces_are_limited() -> None:
    """Pieces that say nothing new still count."""
    piece = SnapshotChunk(nodes=snapshot_pb2.NodeColumns(taint_sets=[snapshot_pb2.TaintSet()] * 400_000))
    assembler = SnapshotAssembler(Limits(max_snapshot_bytes=2**20), "cluster.inline")
    assembler.add(piece)
    with pytest.raises(InvalidField, match=r"^cluster.inline: the snapshot is larger than the limit"):
        assembler.add(piece)


def test_columns_that_would_fill_the_memory_are_refused() -> None:
    """A small message may not stand for an enormous table."""
    wide = snapshot_pb2.NodeColumns(names=[f"n{at}" for at in range(50_000)])
    for at in range(1000):
        wide.allocatable.add(resource=f"r{at}", amounts=[1])
    with pytest.raises(InvalidField, match="more than") as caught:
        assembled([SnapshotChunk(nodes=wide)])
    assert caught.value.field == "chunk.nodes"
    labels = [snapshot_pb2.LabelColumn(key=f"k{at}", values=["v"]) for at in range(2000)]
    one = SnapshotChunk(nodes=snapshot_pb2.NodeColumns(names=["a"], labels=labels))
    many = SnapshotChunk(nodes=snapshot_pb2.NodeColumns(names=[f"n{at}" for at in range(20_000)]))
    assert len(assembled([one]).labels) == 2001
    with pytest.raises(InvalidField, match="2000 columns over 20001 nodes are more than"):
        assembled([one, many])


def test_pods_that_hold_more_than_can_be_counted_are_refused() -> None:
    """Sums that do not fit 64 bits never turn into free capacity."""
    chunk = encode_whole(cluster(node("a")))
    chunk.pods.requests.add(memory_bytes=2**42 * 1000)
    chunk.pods.nodes.append("a")
    chunk.pods.names.extend(f"d/p{at}" for at in range(2500))
    chunk.pods.node_codes.extend([0] * 2500)
    chunk.pods.request_codes.extend([0] * 2500)
    with pytest.raises(InvalidField, match="hold more than can be counted"):
        assembled([chunk])


CHANGES = [
    ("c", snapshot_pb2.Change()),
    ("c.pod_bound.name", snapshot_pb2.Change(pod_bound=snapshot_pb2.Pod(node="a"))),
    ("c.pod_bound.node", snapshot_pb2.Change(pod_bound=snapshot_pb2.Pod(name="d/p"))),
    ("c.pod_bound.uid", snapshot_pb2.Change(pod_bound=snapshot_pb2.Pod(name="d/p", node="a", uid="promise/1/d/p"))),
    (
        "c.pod_bound.requests.cpu_milli",
        snapshot_pb2.Change(
            pod_bound=snapshot_pb2.Pod(name="d/p", node="a", requests=gang_pb2.Resources(cpu_milli=-1))
        ),
    ),
    ("c.pod_gone.name", snapshot_pb2.Change(pod_gone=snapshot_pb2.PodKey())),
    ("c.pod_gone.uid", snapshot_pb2.Change(pod_gone=snapshot_pb2.PodKey(uid="promise/1/d/p"))),
    ("c.node_set.name", snapshot_pb2.Change(node_set=snapshot_pb2.Node())),
    ("c.node_set.allocatable[gpu]", snapshot_pb2.Change(node_set=snapshot_pb2.Node(name="a", allocatable={"gpu": -1}))),
    ("c.node_set.labels", snapshot_pb2.Change(node_set=snapshot_pb2.Node(name="a", labels={"": "x"}))),
    ("c.node_set.taints[0].key", snapshot_pb2.Change(node_set=snapshot_pb2.Node(name="a", taints=[gang_pb2.Taint()]))),
    ("c.node_gone", snapshot_pb2.Change(node_gone="")),
    ("c.queue_set.name", snapshot_pb2.Change(queue_set=snapshot_pb2.Queue())),
    ("c.queue_gone", snapshot_pb2.Change(queue_gone="")),
    (
        "c.topology_set.root_tier",
        snapshot_pb2.Change(topology_set=snapshot_pb2.Topology(root_tier=snapshot_pb2.Tier(gbps=0))),
    ),
]


@pytest.mark.parametrize(("path", "change"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_wrong_change_is_refused_with_its_path(path: str, change: snapshot_pb2.Change) -> None:
    """Every kind of change says where it is wrong."""
    with pytest.raises(InvalidField) as caught:
        decode_change(change, "c")
    assert caught.value.field == path


def test_a_resource_of_pods_alone_has_a_column() -> None:
    """What only pods hold is not lost, in the wire form either."""
    chunk = good()
    pods(chunk).requests[0].extended["z/z"] = 2
    found = assembled([chunk])
    assert found.free[:, found.resources.index("z/z")].tolist() == [-2, -2]
    assert next(iter(found.pods)).requests == amounts(1, more={"z/z": 2})
