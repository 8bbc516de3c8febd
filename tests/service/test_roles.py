"""Who may call what, over every method there is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from solver.api.v1 import cluster_service_pb2, ledger_service_pb2, placement_service_pb2
from solver.service.roles import NEEDED, REFLECTION, Role
from tests.service.conftest import CONFIG, TOKENS, Running, Serve, bearer, until

FILES = (placement_service_pb2, cluster_service_pb2, ledger_service_pb2, health_pb2, reflection_pb2)
METHODS = sorted(
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
HEALTH = [method for method in METHODS if "Health" in method]
REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def called(channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
    """Status of a call with one empty message, whatever the method takes; OK as soon as it answers anything."""
    requests: Iterator[bytes] = iter([b""])
    call = channel.stream_stream(method)(requests, timeout=20, metadata=metadata)
    try:
        next(call)
    except StopIteration:
        return grpc.StatusCode.OK
    except grpc.RpcError:
        return call.code()
    call.cancel()
    return grpc.StatusCode.OK


@pytest.fixture
def guarded(serve: Serve, token_file: Path) -> Running:
    """A server that knows a token for each role and lets nobody else in."""
    return serve(auth=replace(CONFIG.auth, token_file=token_file))


def test_every_method_needs_a_role() -> None:
    """A method that is added without a role fails here; so does a role without its method."""
    newer = {f"/{REFLECTION[0]}/ServerReflectionInfo"}
    assert set(NEEDED) == set(METHODS) | newer


def test_roles_are_those_of_the_contract() -> None:
    """What reads, what plans, what writes."""
    by_role = {
        role: {method.rpartition("/")[2] for method, needed in NEEDED.items() if needed is role} for role in Role
    }
    assert by_role[Role.WRITE] == {"PutSnapshot", "ApplyDeltas", "DropCluster", "Reserve", "Confirm", "Release"}
    assert by_role[Role.PLAN] == {"Plan", "PlanStream", "Explain"}
    assert by_role[Role.READ] == {"GetState", "List", "Watch", "Check", "ServerReflectionInfo"}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_what_it_may(guarded: Running, role: Role) -> None:
    """PERMISSION_DENIED exactly where the role is not enough; the log tells who tried."""
    metadata = bearer(TOKENS[role])
    denied = {
        method
        for method in NEEDED
        if method not in HEALTH and called(guarded.channel, method, metadata) is grpc.StatusCode.PERMISSION_DENIED
    }
    assert denied == {method for method, needed in NEEDED.items() if method not in HEALTH and not role.may(needed)}
    until(lambda: len(tried(guarded)) == len(denied))
    assert set(tried(guarded)) <= {role}


def tried(server: Running) -> list[str]:
    """Callers who were denied, from the log."""
    return [line["caller"] for line in server.logged("call") if line["code"] == "PERMISSION_DENIED"]


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer("wrong-0123456789abcdef"),
        bearer(TOKENS["write"] + "x"),
        bearer(TOKENS["write"][:-1]),
        (("authorization", TOKENS["write"]),),
        (("authorization", f"Basic {TOKENS['write']}"),),
        (("authorization", "Bearer "),),
        bearer(TOKENS["write"]) + bearer(TOKENS["read"]),
    ],
    ids=["none", "unknown", "longer", "shorter", "no scheme", "other scheme", "empty", "two"],
)
def test_nobody_else_is_let_in(guarded: Running, metadata: tuple[tuple[str, str], ...]) -> None:
    """Without a token that is right every method is UNAUTHENTICATED, but for health."""
    codes = {method: called(guarded.channel, method, metadata) for method in NEEDED}
    assert {method for method, code in codes.items() if code is not grpc.StatusCode.UNAUTHENTICATED} == set(HEALTH)


def test_health_may_be_closed_too(serve: Serve, token_file: Path) -> None:
    """With `open_health` off a probe needs a token that reads."""
    server = serve(auth=replace(CONFIG.auth, token_file=token_file, open_health=False))
    stub = health_pb2_grpc.HealthStub(server.channel)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=20, metadata=bearer(TOKENS["read"]))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_anonymous_callers_get_the_role_they_are_given(serve: Serve, token_file: Path) -> None:
    """With `anonymous = "read"` everybody reads, and a token is still needed for more."""
    server = serve(auth=replace(CONFIG.auth, token_file=token_file, anonymous=Role.READ))
    assert called(server.channel, "/huddle.v1.ClusterService/GetState") not in REFUSALS
    assert called(server.channel, "/huddle.v1.PlacementService/Plan") is grpc.StatusCode.PERMISSION_DENIED
    admitted = called(server.channel, "/huddle.v1.PlacementService/Plan", bearer(TOKENS["plan"]))
    assert admitted is grpc.StatusCode.INVALID_ARGUMENT


def test_without_any_credentials_everybody_may_everything(server: Running) -> None:
    """On loopback with nothing configured no method is refused."""
    assert [method for method in NEEDED if called(server.channel, method) in REFUSALS] == []


def test_a_token_means_nothing_to_a_server_that_knows_none(server: Running) -> None:
    """What is shown must be right, even where nothing has to be shown."""
    code = called(server.channel, "/huddle.v1.ClusterService/GetState", bearer(TOKENS["read"]))
    assert code is grpc.StatusCode.UNAUTHENTICATED


def test_changed_tokens_count_at_once(guarded: Running, token_file: Path) -> None:
    """A new token is let in and an old one is not; a broken file changes nothing and is told without its content."""
    fresh = "fresh-0123456789abcdef-secret"
    method = "/huddle.v1.ClusterService/GetState"
    assert called(guarded.channel, method, bearer(TOKENS["read"])) is grpc.StatusCode.OK
    token_file.write_text(f"fresh read {fresh}\n")
    assert called(guarded.channel, method, bearer(fresh)) is grpc.StatusCode.OK
    assert called(guarded.channel, method, bearer(TOKENS["read"])) is grpc.StatusCode.UNAUTHENTICATED
    token_file.write_text(f"fresh {fresh} read extra\n")
    assert called(guarded.channel, method, bearer(fresh)) is grpc.StatusCode.OK
    (problem,) = (line["problem"] for line in guarded.logged("tokens_not_reloaded"))
    assert "line 1" in problem
    assert fresh not in guarded.log_text.getvalue()


def test_unknown_methods_do_not_exist(guarded: Running) -> None:
    """A method nobody serves is UNIMPLEMENTED."""
    assert called(guarded.channel, "/huddle.v1.ClusterService/Nothing") is grpc.StatusCode.UNIMPLEMENTED
