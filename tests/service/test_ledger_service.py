"""LedgerService on a real server: promises made, kept and ended; who watches; what is refused and how."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from solver.api.v1 import cluster_service_pb2
from solver.api.v1 import ledger_service_pb2 as pb
from solver.domain.changes import Change, PodBound
from solver.domain.gang import Gang
from solver.domain.snapshot import Snapshot
from solver.service import feed as feed_module
from solver.service import ledger_servicer
from solver.service.codec.gang import encode_gang
from solver.service.codec.plan import encode_assignment
from solver.service.codec.snapshot import encode_change, put_requests
from solver.service.config import LedgerStore, Limits
from support.builders import bound, cluster, node
from support.promising import CLUSTER, nodes, placed, workers
from tests.service.conftest import Running, Serve, until
from tests.service.test_placement_service import unpooled

S = 20


def put(server: Running, snapshot: Snapshot | None = None) -> int:
    """Four nodes of eight GPUs; the version of the state."""
    requests = put_requests(CLUSTER, "7", snapshot or nodes(), 2**20)
    version: int = server.cluster.PutSnapshot(requests, timeout=S).version
    return version


def apply(server: Running, sequence: int, *changes: Change) -> None:
    """One group of changes."""
    request = cluster_service_pb2.ApplyDeltasRequest(
        cluster=CLUSTER, base="7", sequence=sequence, changes=[encode_change(change) for change in changes]
    )
    (answer,) = server.cluster.ApplyDeltas(iter([request]), timeout=S)
    assert answer.version, answer


def wanted(request_id: str, gang: Gang, *on: str, **more: int) -> pb.ReserveRequest:
    """A plan on these nodes to be promised."""
    assignments = [encode_assignment(item) for item in placed(gang, *on)]
    return pb.ReserveRequest(
        request_id=request_id, cluster=CLUSTER, gang=encode_gang(gang), assignments=assignments, **more
    )


def reserve(server: Running, request_id: str, gang: Gang | None = None, *on: str, **more: int) -> pb.ReserveResponse:
    """A promise."""
    response: pb.ReserveResponse = server.ledger.Reserve(
        wanted(request_id, gang or workers(), *(on or ("n0", "n1")), **more), timeout=S
    )
    return response


def confirm(server: Running, request_id: str, promise_id: str) -> pb.Promise:
    """It lasts."""
    request = pb.ConfirmRequest(request_id=request_id, promise_id=promise_id)
    promise: pb.Promise = server.ledger.Confirm(request, timeout=S).promise
    return promise


def release(server: Running, request_id: str, promise_id: str) -> pb.Promise:
    """It is over."""
    request = pb.ReleaseRequest(request_id=request_id, promise_id=promise_id)
    promise: pb.Promise = server.ledger.Release(request, timeout=S).promise
    return promise


def listed(server: Running, **more: str | int) -> pb.ListResponse:
    """One page."""
    response: pb.ListResponse = server.ledger.List(pb.ListRequest(cluster=CLUSTER, **more), timeout=S)  # type: ignore[arg-type]
    return response


def promised_pods(server: Running) -> int:
    """Pods that the state holds for promises."""
    request = cluster_service_pb2.GetStateRequest(cluster=CLUSTER)
    (state,) = server.cluster.GetState(request, timeout=S).clusters
    count: int = state.promised_pods
    return count


def refusal(caught: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, list[str]]:
    """Status and the paths of the fields that are wrong."""
    status = rpc_status.from_call(caught.value)
    fields = []
    for item in status.details if status else ():
        bad = error_details_pb2.BadRequest()
        if item.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
    return caught.value.code(), fields


def test_a_promise_from_its_reservation_to_its_fulfilment(server: Running) -> None:
    """Reserved with a lease, confirmed without one, seen pod by pod, and then over."""
    version = put(server)
    reserved = reserve(server, "a", workers(), state_version=version, lease_ms=30_000)
    promise = reserved.promise
    assert reserved.state_version > version
    assert (promise.cluster, promise.gang, promise.phase) == (CLUSTER, "default/g", pb.PROMISE_PHASE_RESERVED)
    assert promise.lease_until_unix_ms == promise.created_unix_ms + 30_000
    assert [(pod.pod, pod.role, pod.node, pod.requests.gpu_milli, pod.seen_on) for pod in promise.pods] == [
        ("default/g-0", "w", "n0", 2000, ""),
        ("default/g-1", "w", "n1", 2000, ""),
    ]
    assert promised_pods(server) == 2
    confirmed = confirm(server, "b", promise.id)
    assert (confirmed.phase, confirmed.lease_until_unix_ms) == (pb.PROMISE_PHASE_CONFIRMED, 0)
    apply(server, 1, PodBound(replace(bound("g-0", "n2", 2), uid="u0")))
    (half,) = listed(server).promises
    assert ([pod.seen_on for pod in half.pods], promised_pods(server)) == (["n2", ""], 1)
    apply(server, 2, PodBound(replace(bound("g-1", "n1", 2), uid="u1")))
    assert (list(listed(server).promises), promised_pods(server)) == ([], 0)
    assert release(server, "c", promise.id).phase == pb.PROMISE_PHASE_FULFILLED


def test_promises_outlive_the_state_they_are_about(server: Running) -> None:
    """A dropped cluster is not held any more; its promises are on top again once a snapshot is put anew."""
    put(server)
    promise = reserve(server, "a", workers()).promise
    for _ in range(2):
        server.cluster.DropCluster(cluster_service_pb2.DropClusterRequest(cluster=CLUSTER))
    assert list(server.cluster.GetState(cluster_service_pb2.GetStateRequest()).clusters) == []
    assert [held.id for held in listed(server).promises] == [promise.id]
    put(server)
    assert promised_pods(server) == 2
    assert release(server, "b", promise.id).phase == pb.PROMISE_PHASE_RELEASED
    assert promised_pods(server) == 0


def test_a_lease_that_ends_gives_its_capacity_back(server: Running) -> None:
    """By itself, and confirming comes too late then."""
    put(server)
    promise = reserve(server, "a", workers(gpus=8), lease_ms=50).promise
    until(lambda: promised_pods(server) == 0)
    with pytest.raises(grpc.RpcError) as caught:
        confirm(server, "b", promise.id)
    assert refusal(caught)[0] is grpc.StatusCode.ABORTED
    assert "its lease has ended" in str(caught.value.details())
    reserve(server, "c", workers("h", gpus=8))


def test_a_plan_that_no_longer_fits_is_aborted_with_the_first_violation(server: Running) -> None:
    """Whatever state it was computed on."""
    version = put(server)
    reserve(server, "a", workers(gpus=8))
    with pytest.raises(grpc.RpcError) as caught:
        reserve(server, "b", workers("h", gpus=1), "n2", "n1", state_version=version)
    assert refusal(caught)[0] is grpc.StatusCode.ABORTED
    sentence = "the plan of gang default/h does not fit any more: capacity: node n1: 1000 gpu asked of 0 free"
    assert caught.value.details() == sentence


def test_retries_give_the_same_answer_across_restarts(serve: Serve, tmp_path: Path) -> None:
    """The same id with the same content; the promise as it is now. Other content is refused."""
    store = LedgerStore(file=tmp_path / "ledger.db")
    first = serve(ledger=store)
    put(first)
    promise = reserve(first, "a").promise
    assert reserve(first, "a").promise == promise
    confirmed = confirm(first, "b", promise.id)
    first.server.stop(0)
    second = serve(ledger=store)
    again = reserve(second, "a")
    assert (again.promise, again.state_version) == (confirmed, 0)
    assert confirm(second, "b", promise.id) == confirmed
    assert list(listed(second).promises) == [confirmed]
    put(second)
    assert promised_pods(second) == 2
    for other in (
        lambda: reserve(second, "a", workers(), "n2"),
        lambda: reserve(second, "a", workers(gpus=1)),
        lambda: reserve(second, "a", lease_ms=1),
        lambda: confirm(second, "a", promise.id),
        lambda: release(second, "b", promise.id),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            other()
        assert refusal(caught) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
    released = release(second, "c", promise.id)
    assert (reserve(second, "a").promise, release(second, "c", promise.id)) == (released, released)


def test_two_servers_cannot_share_a_ledger(serve: Serve, tmp_path: Path) -> None:
    """The second does not start, and says why in one sentence."""
    store = LedgerStore(file=tmp_path / "ledger.db")
    serve(ledger=store)
    with pytest.raises(Exception, match="is in use by another service"):
        serve(ledger=store)


GOOD = wanted("x", workers(), "n0")


def changed(**fields: object) -> pb.ReserveRequest:
    """The good request with other fields; None leaves one out."""
    request = pb.ReserveRequest()
    request.CopyFrom(GOOD)
    for name, value in fields.items():
        request.ClearField(name)  # type: ignore[arg-type]
        if value is not None:
            setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("Reserve", changed(request_id=None), ["request_id"]),
        ("Reserve", changed(request_id="é" * 65), ["request_id"]),
        ("Reserve", changed(cluster=None), ["cluster"]),
        ("Reserve", changed(gang=None), ["gang"]),
        ("Reserve", changed(assignments=None), ["assignments"]),
        ("Reserve", changed(lease_ms=-1), ["lease_ms"]),
        ("Reserve", changed(lease_ms=2**62), ["lease_ms"]),
        ("Reserve", changed(state_version=2**62), ["state_version"]),
        ("Reserve", changed(state_version=-1), ["state_version"]),
        ("Reserve", wanted("y", workers(count=3), "n0"), ["gang"]),
        ("Confirm", pb.ConfirmRequest(request_id="y"), ["promise_id"]),
        ("Confirm", pb.ConfirmRequest(promise_id="y"), ["request_id"]),
        ("Release", pb.ReleaseRequest(request_id="y"), ["promise_id"]),
        ("Release", pb.ReleaseRequest(promise_id="y"), ["request_id"]),
        ("List", pb.ListRequest(), ["cluster"]),
        ("List", pb.ListRequest(cluster=CLUSTER, page_size=-1), ["page_size"]),
        ("List", pb.ListRequest(cluster=CLUSTER, page_token="7"), ["page_token"]),
    ],
)
def test_mistakes_are_invalid_arguments_with_their_field(
    serve: Serve, method: str, request_: object, fields: Sequence[str]
) -> None:
    """And nothing is promised."""
    server = serve(limits=Limits(max_pods=2))
    put(server)
    with pytest.raises(grpc.RpcError) as caught:
        getattr(server.ledger, method)(request_, timeout=S)
    assert refusal(caught) == (grpc.StatusCode.INVALID_ARGUMENT, fields)
    assert list(listed(server).promises) == []


def test_what_does_not_exist_is_not_found(server: Running) -> None:
    """Neither a cluster without a snapshot nor a promise that was never made."""
    for call in (lambda: reserve(server, "a"), lambda: confirm(server, "b", "x"), lambda: release(server, "c", "x")):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert refusal(caught)[0] is grpc.StatusCode.NOT_FOUND


def test_pages_end_by_number_and_by_size(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they tell every promise once, in the order in which they were made."""
    put(server)
    made = [reserve(server, f"r{at}", workers(f"g{at}", 2, 0.5), f"n{at % 4}").promise for at in range(7)]
    for most_bytes, size in ((2**20, 3), (1, 1000), (2**20, 0)):
        monkeypatch.setattr(ledger_servicer, "PAGE_BYTES", most_bytes)
        told, pages, token = [], 0, ""
        while token or not pages:
            page = listed(server, page_size=size, page_token=token)
            told += list(page.promises)
            pages, token = pages + 1, page.next_page_token
        assert (told, pages) == (made, {3: 3, 1000: 7, 0: 1}[size])
    for name in ("g3", "default/g3"):
        assert list(listed(server, gang=name).promises) == [made[3]]


def test_a_watch_tells_the_beginning_and_then_every_change(server: Running) -> None:
    """Up to the end of the promise."""
    put(server)
    first = reserve(server, "a").promise
    watch = server.ledger.Watch(pb.WatchRequest(cluster=CLUSTER), timeout=S)
    assert next(watch).promise == first
    assert next(watch).synced.revision == first.revision
    second = reserve(server, "b", workers("h")).promise
    confirmed, released = confirm(server, "c", second.id), release(server, "d", first.id)
    assert [next(watch).promise for _ in range(3)] == [second, confirmed, released]
    watch.cancel()


def test_a_hundred_cancelled_watches_leave_nothing_behind(serve: Serve) -> None:
    """No thread, no place among the streams: with room for four only, each finds one again."""
    server = serve(limits=Limits(max_streams=4, max_workers=12))
    put(server)
    reserve(server, "a")

    def watch() -> grpc.Call:
        call = server.ledger.Watch(pb.WatchRequest(cluster=CLUSTER))
        assert next(call).HasField("promise")
        return call

    threads = unpooled()
    for _ in range(25):
        calls = [watch() for _ in range(4)]
        for call in calls:
            call.cancel()
        until(lambda: server.server.gate.streams == 0)
    until(lambda: unpooled() <= threads)


def big_changes(server: Running) -> Iterator[int]:
    """A promise of 2,000 pods that changes 80 times, each a big event: more than any buffer on the way takes."""
    put(server, cluster(node("n0", pods=100_000)))
    yield reserve(server, "a", workers(count=2000, gpus=0.001), "n0").promise.revision
    for at in range(80):
        apply(server, at + 1, PodBound(replace(bound(f"g-{at}", "n0"), uid=f"u{at}")))
        yield listed(server).promises[0].revision


def test_a_slow_reader_is_cut_and_holds_up_nobody(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not read hears RESOURCE_EXHAUSTED once they do; all others go on meanwhile."""
    monkeypatch.setattr(feed_module, "STUCK_S", 1000.0)
    server = serve(limits=Limits(max_watch_backlog=6))
    slow, quick = (server.ledger.Watch(pb.WatchRequest(cluster=CLUSTER), timeout=600) for _ in range(2))
    assert next(slow).HasField("synced")
    assert next(quick).HasField("synced")
    for revision in big_changes(server):
        assert next(quick).promise.revision == revision
    quick.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        deque(slow, maxlen=0)
    assert refusal(caught)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "changes behind; watch anew" in str(caught.value.details())


def test_a_reader_that_never_reads_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread and its place among the streams are free again, although nobody hears of it."""
    monkeypatch.setattr(feed_module, "STUCK_S", 0.0)
    server = serve(limits=Limits(max_watch_backlog=6))
    slow = server.ledger.Watch(pb.WatchRequest(cluster=CLUSTER), timeout=600)
    assert next(slow).HasField("synced")
    (*_, revision) = big_changes(server)
    until(lambda: server.server.gate.streams == 0)
    assert [promise.revision for promise in listed(server).promises] == [revision]
    slow.cancel()
