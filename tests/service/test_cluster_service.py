"""ClusterService on a real server: snapshots, changes, what is held; and streams that break."""

import queue
import random
import threading
import time
from collections.abc import Iterable, Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from solver.api.v1 import cluster_service_pb2 as pb
from solver.api.v1 import snapshot_pb2
from solver.domain.changes import Change, NodeGone, PodBound
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from solver.service.codec.snapshot import encode_change, encode_whole, put_requests
from solver.service.config import Limits
from support.builders import amounts, cluster, node
from support.clusters import random_change, random_objects
from tests.service.conftest import Running, Serve, until

S = 20


def site(count: int = 3) -> Snapshot:
    """Nodes `n0`, `n1`, … of 8 GPUs."""
    return cluster(*(node(f"n{at}", rack="r") for at in range(count)))


def put(server: Running, name: str = "prod", base: str = "7", snapshot: Snapshot | None = None) -> int:
    """Send a snapshot; its version."""
    requests = put_requests(name, base, snapshot or site(), 4096)
    response: pb.PutSnapshotResponse = server.cluster.PutSnapshot(requests, timeout=S)
    return response.version


def group(sequence: int, *changes: Change, base: str = "7", name: str = "prod") -> pb.ApplyDeltasRequest:
    """One group of changes."""
    return pb.ApplyDeltasRequest(
        cluster=name, base=base, sequence=sequence, changes=[encode_change(change) for change in changes]
    )


def pod(name: str, at: str) -> PodBound:
    """A pod of one GPU appears."""
    return PodBound(BoundPod(f"prod/{name}", at, amounts(1), uid=f"uid-{name}"))


def state(server: Running, name: str = "prod") -> pb.ClusterState:
    """What is held of one cluster."""
    (found,) = server.cluster.GetState(pb.GetStateRequest(cluster=name), timeout=S).clusters
    return found


def code_and_field(caught: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, list[str]]:
    """Status and the paths of the fields that are wrong."""
    fields = []
    status = rpc_status.from_call(caught.value)
    for item in status.details if status else ():
        bad = error_details_pb2.BadRequest()
        if item.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
    return caught.value.code(), fields


class Talk:
    """An open stream of ApplyDeltas: say one thing, hear one answer."""

    def __init__(self, server: Running) -> None:
        self._said: queue.SimpleQueue[pb.ApplyDeltasRequest | None] = queue.SimpleQueue()
        self._answers = server.cluster.ApplyDeltas(iter(self._said.get, None), timeout=S)

    def say(self, request: pb.ApplyDeltasRequest) -> pb.ApplyDeltasResponse:
        """The answer to this group."""
        self._said.put(request)
        answer: pb.ApplyDeltasResponse = next(self._answers)
        return answer

    def end(self) -> list[pb.ApplyDeltasResponse]:
        """Nothing more to say; answers that were not waited for."""
        self._said.put(None)
        return list(self._answers)


def test_a_snapshot_is_held_once_it_is_complete(server: Running) -> None:
    """Its counts are told, and a second one replaces it under a higher version."""
    first = put(server)
    found = state(server)
    assert (found.base, found.sequence, found.version, found.nodes, found.pods) == ("7", 0, first, 3, 0)
    assert (list(found.topologies), found.queues, found.promised_pods) == ([""], 0, 0)
    assert put(server, base="9", snapshot=site(5)) == first + 1
    assert (state(server).base, state(server).nodes) == ("9", 5)
    found = state(server)
    assert found.snapshot_age_ms >= found.age_ms >= 0


def test_all_clusters_are_told_by_name(server: Running) -> None:
    """Several clusters do not know each other; one that is not held is not found."""
    assert list(server.cluster.GetState(pb.GetStateRequest(), timeout=S).clusters) == []
    put(server, "west")
    put(server, "east", snapshot=site(2))
    told = server.cluster.GetState(pb.GetStateRequest(), timeout=S).clusters
    assert [(found.cluster, found.nodes) for found in told] == [("east", 2), ("west", 3)]
    with pytest.raises(grpc.RpcError) as caught:
        state(server, "north")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_groups_are_acknowledged_in_order(server: Running) -> None:
    """Each with the version that holds it; one seen before again, without effect."""
    first = put(server)
    answers = list(
        server.cluster.ApplyDeltas(
            iter([group(1, pod("a", "n0"), pod("b", "n1")), group(2, NodeGone("n1")), group(1, pod("x", "n0"))]),
            timeout=S,
        )
    )
    assert [(found.cluster, found.sequence, found.version) for found in answers] == [
        ("prod", 1, first + 1),
        ("prod", 2, first + 2),
        ("prod", 1, first + 2),
    ]
    assert (state(server).nodes, state(server).pods, state(server).sequence) == (2, 1, 2)


def test_what_cannot_be_applied_asks_for_a_snapshot_and_the_stream_goes_on(server: Running) -> None:
    """Unknown cluster, unknown base, a gap, a contradiction; then a snapshot on the side, and all is well."""
    talk, causes = Talk(server), pb.SnapshotNeeded

    def cause(request: pb.ApplyDeltasRequest) -> tuple["pb.SnapshotNeeded.Cause.ValueType", int]:
        answer = talk.say(request)
        assert answer.WhichOneof("outcome") == "snapshot_needed"
        assert answer.snapshot_needed.message
        return answer.snapshot_needed.cause, answer.snapshot_needed.last_sequence

    assert cause(group(1)) == (causes.CAUSE_UNKNOWN_CLUSTER, 0)
    first = put(server)
    assert cause(group(1, base="8")) == (causes.CAUSE_UNKNOWN_BASE, 0)
    assert talk.say(group(1, pod("a", "n0"))).version == first + 1
    assert cause(group(3)) == (causes.CAUSE_GAP, 1)
    assert cause(group(2, pod("b", "n0"), pod("c", "n9"))) == (causes.CAUSE_CONTRADICTION, 1)
    assert state(server).pods == 1
    put(server, base="8")
    assert talk.say(group(1, pod("b", "n0"), base="8")).version == first + 3
    assert talk.end() == []


def test_several_streams_change_one_cluster_one_after_the_other(server: Running) -> None:
    """Whoever comes second with a group is acknowledged; no group is there twice and none is lost."""
    first = put(server)
    versions: list[list[int]] = [[], []]

    def talk(to: list[int]) -> None:
        line = Talk(server)
        for sequence in range(1, 51):
            while not (version := line.say(group(sequence, pod(f"p{sequence}", "n0"))).version):
                pass
            to.append(version)
        line.end()

    threads = [threading.Thread(target=talk, args=(found,)) for found in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found == sorted(found) and len(found) == 50 for found in versions)
    assert (state(server).version, state(server).pods, state(server).sequence) == (first + 50, 50, 50)


SAYS_NOTHING = group(1, NodeGone("n0"))
SAYS_NOTHING.changes.add()
WRONG_GROUPS = [
    ("cluster", group(1, name="")),
    ("cluster", group(1, name="a\nb")),
    ("cluster", group(1, name="x" * 254)),
    ("base", group(1, base="")),
    ("sequence", group(0)),
    ("changes[1]", SAYS_NOTHING),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG_GROUPS, ids=[f"{at}" for at in range(len(WRONG_GROUPS))])
def test_a_wrong_group_ends_the_stream(server: Running, field: str, wrong: pb.ApplyDeltasRequest) -> None:
    """INVALID_ARGUMENT with the path; what was acknowledged before stays, the rest is not seen."""
    first = put(server)
    talk = Talk(server)
    assert talk.say(group(1, pod("a", "n0"))).version == first + 1
    with pytest.raises(grpc.RpcError) as caught:
        talk.say(wrong)
    assert code_and_field(caught) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert (state(server).version, state(server).nodes) == (first + 1, 3)


def sent(*messages: pb.PutSnapshotRequest) -> Iterable[pb.PutSnapshotRequest]:
    """Messages of one stream."""
    return iter(messages)


FIRST = pb.PutSnapshotRequest(cluster="prod", base="8", chunk=encode_whole(site(1)))
LAST = pb.PutSnapshotRequest(last=True)
WRONG_SNAPSHOTS = {
    "nothing": ("last", ()),
    "no_end": ("last", (FIRST,)),
    "no_cluster": ("cluster", (pb.PutSnapshotRequest(base="8"), LAST)),
    "no_base": ("base", (pb.PutSnapshotRequest(cluster="prod"), LAST)),
    "idle_for_less": ("idle_limit_ms", (pb.PutSnapshotRequest(cluster="prod", base="8", idle_limit_ms=-1), LAST)),
    "two_clusters": ("cluster", (FIRST, pb.PutSnapshotRequest(cluster="other", last=True))),
    "two_bases": ("base", (FIRST, pb.PutSnapshotRequest(base="9", last=True))),
    "twice": ("chunk.nodes.names", (FIRST, pb.PutSnapshotRequest(chunk=encode_whole(site(1)), last=True))),
    "lost_pod": (
        "chunk.pods.nodes",
        (
            FIRST,
            pb.PutSnapshotRequest(
                chunk=snapshot_pb2.SnapshotChunk(
                    pods=snapshot_pb2.PodColumns(
                        names=["d/p"], nodes=["n9"], node_codes=[0], request_codes=[0], requests=[{}]
                    )
                ),
                last=True,
            ),
        ),
    ),
}


@pytest.mark.parametrize(("field", "messages"), WRONG_SNAPSHOTS.values(), ids=list(WRONG_SNAPSHOTS))
def test_a_wrong_snapshot_changes_nothing(
    server: Running, field: str, messages: tuple[pb.PutSnapshotRequest, ...]
) -> None:
    """INVALID_ARGUMENT with the path, and the state is as it was; a cluster that was not held is not held now."""
    first = put(server)
    with pytest.raises(grpc.RpcError) as caught:
        server.cluster.PutSnapshot(sent(*messages), timeout=S)
    assert code_and_field(caught) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    told = server.cluster.GetState(pb.GetStateRequest(), timeout=S).clusters
    assert [(found.cluster, found.base, found.version) for found in told] == [("prod", "7", first)]


def test_a_stream_that_breaks_changes_nothing(server: Running) -> None:
    """The client goes away in the middle of a snapshot: at no moment is half of it the state."""
    first = put(server)
    begun, over = threading.Event(), threading.Event()

    def messages() -> Iterator[pb.PutSnapshotRequest]:
        yield FIRST
        begun.set()
        over.wait(S)

    call = server.cluster.PutSnapshot.future(messages(), timeout=S)
    assert begun.wait(S)
    call.cancel()
    over.set()
    until(lambda: [line for line in server.logged("call") if line["method"].endswith("PutSnapshot")][1:])
    assert (state(server).base, state(server).version) == ("7", first)
    assert put(server) == first + 1


def test_what_follows_the_last_message_is_not_read(server: Running) -> None:
    """The snapshot is complete with the message that says so."""
    wrong = pb.PutSnapshotRequest(cluster="other")
    server.cluster.PutSnapshot(sent(FIRST, LAST, wrong), timeout=S)
    assert (state(server).base, state(server).nodes) == ("8", 1)


def test_a_state_that_nobody_uses_makes_room(serve: Serve) -> None:
    """If its sender said so in the first message."""
    server = serve(limits=Limits(max_clusters=1))
    for name in ("dead", "dead too", "kept"):
        idle_limit_ms = 0 if name == "kept" else 1
        first = pb.PutSnapshotRequest(cluster=name, base="7", idle_limit_ms=idle_limit_ms)
        server.cluster.PutSnapshot(sent(first, LAST), timeout=S)
        time.sleep(0.01)
    with pytest.raises(grpc.RpcError) as caught:
        put(server)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert state(server, "kept").base == "7"


def test_limits_of_clusters_and_nodes_hold(serve: Serve) -> None:
    """One cluster more is RESOURCE_EXHAUSTED; one node more is a wrong field, in a snapshot as in changes."""
    server = serve(limits=Limits(max_clusters=1, max_nodes=3))
    put(server)
    with pytest.raises(grpc.RpcError) as caught:
        put(server, "other")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as caught:
        put(server, snapshot=site(4))
    assert code_and_field(caught) == (grpc.StatusCode.INVALID_ARGUMENT, ["chunk.nodes.names"])
    extra = pb.ApplyDeltasRequest(
        cluster="prod", base="7", sequence=1, changes=[snapshot_pb2.Change(node_set=snapshot_pb2.Node(name="n9"))]
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(server.cluster.ApplyDeltas(iter([extra]), timeout=S))
    assert code_and_field(caught) == (grpc.StatusCode.INVALID_ARGUMENT, ["changes"])


def test_a_long_random_history_arrives(server: Running) -> None:
    """Hundreds of random changes in random groups leave the counts of the objects they come to."""
    rng = random.Random(11)
    objects = random_objects(rng)
    put(server, snapshot=objects.snapshot())
    groups = []
    for sequence in range(1, 101):
        changes = []
        for _ in range(rng.randint(0, 5)):
            changes.append(random_change(rng, objects))
            objects.apply(changes[-1])
        groups.append(group(sequence, *changes))
    answers = list(server.cluster.ApplyDeltas(iter(groups), timeout=S))
    assert all(found.WhichOneof("outcome") == "version" for found in answers)
    found = state(server)
    assert (found.nodes, found.pods, found.sequence) == (len(objects.nodes), len(objects.pods), 100)
    assert (found.queues, list(found.topologies)) == (len(objects.queues), sorted(objects.topologies))
