"""Requests made wrong at random: answered or refused, never a crash, never INTERNAL."""

import random
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import DecodeError, Message

from solver.api.v1 import cluster_service_pb2 as cluster_pb
from solver.api.v1 import ledger_service_pb2 as ledger_pb
from solver.api.v1 import placement_service_pb2 as pb
from solver.domain.changes import NodeSet, PodBound, PodGone, QueueSet, TopologySet
from solver.domain.constraints import Taint, Toleration
from solver.domain.plan import Assignment
from solver.service.codec.gang import encode_gang
from solver.service.codec.plan import encode_assignment
from solver.service.codec.snapshot import encode_change, encode_whole
from solver.service.config import Limits
from support.builders import apart, bound, cluster, constraints, flow, gang, group, node, on_nodes, queue, reach, role
from support.mutations import mutated_bytes, mutated_fields
from tests.service.conftest import Running, Serve

IN_CI, IN_SOAK = 5_000, 100_000
#: What a wrong request may be answered with.
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

SITE = cluster(
    *(node(f"n{at}", zone="z", rack=f"r{at // 2}", taints=[Taint("gpu")] if at else []) for at in range(4)),
    pods=[bound("x", "n0", 1, app="x"), bound("y", "n3", 2, queue="team", repels=[apart("zone", app="y")])],
    queues=[queue("team", gpu=20_000)],
)
WHERE = constraints(tolerations=[Toleration("gpu", exists=True)], affinity=[on_nodes("n0", "n1", "n2")])
GANG = gang(
    role("router", gpus=0, cpu=1),
    group("workers", role("prefill", 2, gpus=1, where=WHERE), replicas=2, min_replicas=1, required="rack"),
    role("decode", 2, min=1, spread=[("rack", 1)]),
    flows=[flow("prefill", "decode", 1, nearest=True)],
    reach=[reach("prefill", "decode", "zone")],
    queue="team",
    preferred="rack",
)


def requests() -> dict[str, list[Message]]:
    """Full method name → good requests, with something in every field that matters."""
    wish = pb.PlanOptions(time_limit_ms=200)
    asked = [encode_gang(GANG)]
    by_name, inline = pb.ClusterRef(name="prod"), pb.ClusterRef(inline=encode_whole(SITE))
    item = encode_assignment(Assignment("default/decode-0", "decode", "n0"))
    first = SITE.topologies[""] if "" in SITE.topologies else next(iter(SITE.topologies.values()))
    changes = [
        PodBound(bound("z", "n1", 1)),
        PodGone("", "default/x"),
        NodeSet(node("n9", zone="z", rack="r9")),
        QueueSet(queue("other", gpu=5)),
        TopologySet(first),
    ]
    encoded = [encode_change(change) for change in changes]
    return {
        "/huddle.v1.PlacementService/Plan": [
            pb.PlanRequest(cluster=ref, gangs=asked, options=wish) for ref in (by_name, inline)
        ],
        "/huddle.v1.PlacementService/PlanStream": [pb.PlanStreamRequest(cluster=by_name, gangs=asked, options=wish)],
        "/huddle.v1.PlacementService/Explain": [pb.ExplainRequest(cluster=inline, gangs=asked, options=wish)],
        "/huddle.v1.ClusterService/PutSnapshot": [
            cluster_pb.PutSnapshotRequest(cluster="other", base="b", chunk=encode_whole(SITE), last=True)
        ],
        "/huddle.v1.ClusterService/ApplyDeltas": [
            cluster_pb.ApplyDeltasRequest(cluster="prod", base="base", sequence=at, changes=encoded) for at in (1, 2, 3)
        ],
        "/huddle.v1.ClusterService/GetState": [cluster_pb.GetStateRequest(cluster="prod")],
        "/huddle.v1.LedgerService/Reserve": [
            ledger_pb.ReserveRequest(request_id="r", cluster="prod", gang=asked[0], assignments=[item], lease_ms=10)
        ],
        "/huddle.v1.LedgerService/Confirm": [ledger_pb.ConfirmRequest(request_id="c", promise_id="p")],
        "/huddle.v1.LedgerService/Release": [ledger_pb.ReleaseRequest(request_id="d", promise_id="p")],
        "/huddle.v1.LedgerService/List": [ledger_pb.ListRequest(cluster="prod", page_size=5, page_token="x")],
    }


def wrong(rng: random.Random) -> Iterator[tuple[str, bytes, bool]]:
    """(method, bytes, whether they decode), without end."""
    good = requests()
    while True:
        method = rng.choice(sorted(good))
        message = rng.choice(good[method])
        if rng.random() < 0.6:
            yield method, mutated_fields(message, rng), True
            continue
        data = mutated_bytes(message.SerializeToString(), rng)
        try:
            type(message).FromString(data)
        except DecodeError:
            yield method, data, False
        else:
            yield method, data, True


def sent(running: Running, method: str, data: bytes) -> grpc.StatusCode:
    """Status of a call with these bytes as its one message."""
    call = running.channel.stream_stream(method)(iter([data]), timeout=30)
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass
    code: grpc.StatusCode = call.code()
    return code


def campaign(running: Running, count: int, seed: int) -> None:
    """Send `count` wrong requests; the service outlives them and answers each by the book."""
    codes: Counter[grpc.StatusCode] = Counter()
    decoded = 0
    source = wrong(random.Random(seed))
    held = cluster_pb.PutSnapshotRequest(cluster="prod", base="base", chunk=encode_whole(SITE), last=True)
    for at in range(count):
        if at % 500 == 0:  # changes that happen to be good ones have altered it
            running.cluster.PutSnapshot(iter([held]))
        method, data, decodes = next(source)
        code = sent(running, method, data)
        assert code in EXPECTED, f"{method} answered {code} to {data!r} (request {at} of seed {seed})"
        decoded += decodes
        codes[code] += 1
    assert running.logged("internal_error") == []
    assert decoded >= count / 2
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > count / 20
    assert codes[grpc.StatusCode.OK] > count / 20
    running.cluster.PutSnapshot(iter([held]))
    question = requests()["/huddle.v1.PlacementService/Plan"][0]
    assert running.placement.Plan(question).plan.gangs[0].name == GANG.name


@pytest.mark.parametrize("seed", range(2))
def test_wrong_requests(serve: Serve, seed: int) -> None:
    """Half of them here, half in the other process."""
    campaign(serve(limits=Limits(max_budget_s=0.2, max_nodes=10_000)), IN_CI // 2, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_wrong_requests(serve: Serve, seed: int) -> None:
    """The long campaign."""
    campaign(serve(limits=Limits(max_budget_s=0.2, max_nodes=10_000)), IN_SOAK // 10, seed)
