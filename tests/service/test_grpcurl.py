"""grpcurl, which knows nothing of us but what reflection tells, lists, describes and calls everything there is."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from grpc_health.v1 import health_pb2

from solver.api.v1 import cluster_service_pb2, gang_pb2, ledger_service_pb2, placement_service_pb2, plan_pb2
from solver.api.v1 import snapshot_pb2 as snapshot_pb
from tests.service.conftest import CONFIG, TOKENS, Running, Serve, bearer

pytestmark = pytest.mark.controlplane

Json = dict[str, Any]

OURS = (gang_pb2, snapshot_pb, plan_pb2, placement_service_pb2, cluster_service_pb2, ledger_service_pb2)
SERVED = (placement_service_pb2, cluster_service_pb2, ledger_service_pb2, health_pb2)
METHODS = {
    f"{service.full_name}/{method.name}"
    for file in SERVED
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
CLUSTER = "site"
LATEST_S = "60"


class Grpcurl:
    """The program before one server, and the methods it has called."""

    def __init__(self, program: Path, address: str, *options: str) -> None:
        self._command = [str(program), "-plaintext", "-max-time", LATEST_S, *options]
        self._address = address
        self.called: set[str] = set()

    def say(self, *words: str) -> str:
        """What a command prints, which must succeed."""
        done = subprocess.run([*self._command, self._address, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, *messages: Json) -> list[Json]:
        """Answers of a call that succeeds."""
        done = self._run(method, messages)
        assert done.returncode == 0, done.stderr
        return list(_documents(done.stdout))

    def one(self, method: str, *messages: Json) -> Json:
        """The only answer of a call."""
        (answer,) = self.call(method, *messages)
        return answer

    def refused(self, method: str, *messages: Json) -> str:
        """What is told of a call that fails."""
        done = self._run(method, messages)
        assert done.returncode != 0, done.stdout
        return done.stderr

    @contextmanager
    def standing(self, method: str, message: Json) -> Iterator[Iterator[Json]]:
        """Answers of a call that goes on until the block ends."""
        self.called.add(_full(method))
        command = [*self._command, "-d", json.dumps(message), self._address, _full(method)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            try:
                yield _arriving(process.stdout.fileno())
            finally:
                process.terminate()

    def _run(self, method: str, messages: tuple[Json, ...]) -> subprocess.CompletedProcess[str]:
        self.called.add(_full(method))
        said = "\n".join(map(json.dumps, messages))
        command = [*self._command, "-d", "@", self._address, _full(method)]
        return subprocess.run(command, input=said, capture_output=True, text=True)


def _full(method: str) -> str:
    return method if "." in method else f"huddle.v1.{method}"


def _documents(text: str) -> Iterator[Json]:
    """JSON documents one after another."""
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].strip()


def _arriving(file: int) -> Iterator[Json]:
    """JSON documents as they come."""
    text = ""
    while read := os.read(file, 2**16):
        text = (text + read.decode()).lstrip()
        while text:
            try:
                document, end = json.JSONDecoder().raw_decode(text)
            except ValueError:  # the rest is on its way
                break
            yield document
            text = text[end:].lstrip()


@pytest.fixture
def curl(grpcurl: Path, server: Running) -> Grpcurl:
    """Before a server that is open to everybody here."""
    return Grpcurl(grpcurl, server.target)


def _everything() -> Iterator[Descriptor | EnumDescriptor]:
    """Every message and enumeration of the contract, nested ones too."""

    def inside(message: Descriptor) -> Iterator[Descriptor | EnumDescriptor]:
        yield message
        yield from message.enum_types
        for nested in message.nested_types:
            if not nested.GetOptions().map_entry:
                yield from inside(nested)

    for file in OURS:
        for message in file.DESCRIPTOR.message_types_by_name.values():
            yield from inside(message)
        yield from file.DESCRIPTOR.enum_types_by_name.values()


def test_all_services_and_methods_are_listed(curl: Grpcurl, server: Running) -> None:
    """By the newer reflection, which grpcurl asks first; the older one answers the same."""
    services = {method.partition("/")[0] for method in METHODS}
    assert set(curl.say("list").split()) == services | {REFLECTION}
    methods = {line.replace("/", ".") for service in services for line in curl.say("list", service).split()}
    assert methods == {method.replace("/", ".") for method in METHODS}
    newer = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert {line["method"] for line in server.logged("call")} == {newer}
    older = curl.one(f"{REFLECTION}/ServerReflectionInfo", {"list_services": ""})
    assert {each["name"] for each in older["list_services_response"]["service"]} == services | {REFLECTION}
    assert {line["method"] for line in server.logged("call")} == {newer, f"/{REFLECTION}/ServerReflectionInfo"}


def test_everything_is_described(curl: Grpcurl) -> None:
    """Each service with its methods, each message with its fields and numbers, each enumeration with its values."""
    for file in SERVED:
        for service in file.DESCRIPTOR.services_by_name.values():
            text = curl.say("describe", service.full_name)
            assert all(f"rpc {method.name} (" in text for method in service.methods)
    everything = list(_everything())
    with ThreadPoolExecutor(2) as threads:
        texts = list(threads.map(lambda each: curl.say("describe", each.full_name), everything))
    for each, text in zip(everything, texts, strict=True):
        parts = each.fields if isinstance(each, Descriptor) else each.values
        missing = [part.name for part in parts if f" {part.name} = {part.number};" not in text]
        assert missing == [], text


def test_every_method_is_called(curl: Grpcurl) -> None:
    """One cluster from its snapshot to kept promises, in JSON; a new method has to find its place in this story."""
    version = _a_state_is_held(curl)
    assignments = _a_gang_is_planned(curl, version)
    _promises_are_made_and_end(curl, version, assignments)
    _health_is_told(curl)
    _the_state_is_dropped(curl)
    assert curl.called == METHODS


GANG = {
    "name": "prod/llama",
    "root": {
        "pack": {"required": "rack"},
        "roles": [
            {"name": "prefill", "kind": "ROLE_KIND_PREFILL", "replicas": 1, "requests": {"gpu_milli": 4000}},
            {"name": "decode", "kind": "ROLE_KIND_DECODE", "replicas": 2, "requests": {"gpu_milli": 4000}},
        ],
    },
    "flows": [{"senders": ["prefill"], "receivers": ["decode"], "bytes": 1_000_000}],
}


def _a_state_is_held(curl: Grpcurl) -> int:
    """A snapshot in two messages, then changes; the version."""
    columns = {
        "names": ["n0", "n1", "n2"],
        "allocatable": [{"resource": "gpu", "amounts": [8000]}, {"resource": "pods", "amounts": [110]}],
        "labels": [{"key": "rack", "values": ["a", "b"], "codes": [1, 1, 2]}],
    }
    levels = [{"name": "rack", "label": "rack"}]
    held = curl.one(
        "ClusterService/PutSnapshot",
        {"cluster": CLUSTER, "base": "7", "chunk": {"nodes": columns}},
        {"last": True, "chunk": {"topologies": [{"name": "t", "levels": levels}]}},
    )
    assert (held["nodes"], held.get("pods", 0)) == (3, 0)
    pod = {"uid": "u1", "name": "jobs/a", "node": "n0", "requests": {"gpu_milli": 8000}}
    group: Json = {"cluster": CLUSTER, "base": "7"}
    bound, gone, late = curl.call(
        "ClusterService/ApplyDeltas",
        {**group, "sequence": 1, "changes": [{"pod_bound": pod}]},
        {**group, "sequence": 2, "changes": [{"pod_gone": {"uid": "u1"}}]},
        {**group, "sequence": 4},
    )
    assert int(held["version"]) < int(bound["version"]) < int(gone["version"])
    assert late["snapshot_needed"]["cause"] == "CAUSE_GAP"
    (state,) = curl.one("ClusterService/GetState", {"cluster": CLUSTER})["clusters"]
    assert (state["cluster"], state["base"], state["sequence"], state["nodes"]) == (CLUSTER, "7", "2", 3)
    assert (state["topologies"], state["version"]) == (["t"], gone["version"])
    return int(gone["version"])


def _a_gang_is_planned(curl: Grpcurl, version: int) -> list[Json]:
    """In one answer, with answers on the way, and not at all; where its pods go."""
    question: Json = {"cluster": {"name": CLUSTER, "min_version": version}, "gangs": [GANG]}
    answer = curl.one("PlacementService/Plan", question)
    (plan,) = answer["plan"]["gangs"]
    assert (answer["plan"]["status"], plan["name"]) == ("STATUS_OPTIMAL", "prod/llama")
    assert sorted({item["node"] for item in plan["assignments"]}) == ["n0", "n1"]
    assert all(term["value"] == term["bound"] for term in plan["objective"])
    *_, last = curl.call("PlacementService/PlanStream", {**question, "options": {"engine": "ENGINE_CPSAT"}})
    (streamed,) = last["answer"]["plan"]["gangs"]
    assert [term["value"] for term in streamed["objective"]] == [term["value"] for term in plan["objective"]]
    large = {
        **GANG,
        "root": {"roles": [{"name": "decode", "replicas": 1, "requests": {"gpu_milli": 9000}}]},
        "flows": [],
    }
    (explained,) = curl.one("PlacementService/Explain", {**question, "gangs": [large]})["explanations"]
    assert (explained["gang"], explained["status"]) == ("prod/llama", "STATUS_INFEASIBLE")
    assert explained["reasons"][0]["code"] == "REASON_CODE_CAPACITY"
    refusal = curl.refused("PlacementService/Plan", {"cluster": {"name": CLUSTER}})
    assert "Code: InvalidArgument" in refusal
    assert '"field": "gangs"' in refusal
    assignments: list[Json] = plan["assignments"]
    return assignments


def _promises_are_made_and_end(curl: Grpcurl, version: int, assignments: list[Json]) -> None:
    """Reserved, confirmed, listed, watched, released."""
    wish = {"cluster": CLUSTER, "gang": GANG, "assignments": assignments, "state_version": version, "lease_ms": 60_000}
    reserved = curl.one("LedgerService/Reserve", {"request_id": "r1", **wish})
    promise = reserved["promise"]
    assert (promise["gang"], promise["phase"]) == ("prod/llama", "PROMISE_PHASE_RESERVED")
    assert {pod["pod"]: pod["node"] for pod in promise["pods"]} == {item["pod"]: item["node"] for item in assignments}
    assert int(reserved["state_version"]) > version
    confirmed = curl.one("LedgerService/Confirm", {"request_id": "r2", "promise_id": promise["id"]})["promise"]
    assert confirmed["phase"] == "PROMISE_PHASE_CONFIRMED"
    elsewhere = [{**item, "pod": item["pod"].replace("prod/", "test/")} for item in assignments]
    other = {**wish, "gang": {**GANG, "name": "test/llama"}, "assignments": elsewhere}
    assert "Code: Aborted" in curl.refused("LedgerService/Reserve", {"request_id": "r3", **other})
    assert curl.one("LedgerService/List", {"cluster": CLUSTER})["promises"] == [confirmed]
    with curl.standing("LedgerService/Watch", {"cluster": CLUSTER}) as news:
        assert next(news) == {"promise": confirmed}
        assert int(next(news)["synced"]["revision"]) >= int(confirmed["revision"])
        released = curl.one("LedgerService/Release", {"request_id": "r4", "promise_id": promise["id"]})["promise"]
        assert released["phase"] == "PROMISE_PHASE_RELEASED"
        assert next(news) == {"promise": released}
    assert curl.one("LedgerService/List", {"cluster": CLUSTER}) == {}


def _the_state_is_dropped(curl: Grpcurl) -> None:
    """Nothing is held any more."""
    assert curl.one("ClusterService/DropCluster", {"cluster": CLUSTER}) == {}
    assert curl.one("ClusterService/GetState", {}) == {}


def _health_is_told(curl: Grpcurl) -> None:
    """Of the whole and of each service, once and as long as somebody listens."""
    for service in ("", *{method.partition("/")[0] for method in METHODS if method.startswith("huddle")}):
        assert curl.one("grpc.health.v1.Health/Check", {"service": service}) == {"status": "SERVING"}
    assert "Code: NotFound" in curl.refused("grpc.health.v1.Health/Check", {"service": "nobody"})
    with curl.standing("grpc.health.v1.Health/Watch", {}) as news:
        assert next(news) == {"status": "SERVING"}


def test_a_token_opens_reflection_and_calls(grpcurl: Path, serve: Serve, token_file: Path) -> None:
    """Without one nothing is told but health; with one that reads, everything is listed and states are shown."""
    server = serve(auth=replace(CONFIG.auth, token_file=token_file))
    nobody = Grpcurl(grpcurl, server.target)
    with pytest.raises(AssertionError, match="Unauthenticated"):
        nobody.say("list")
    ((key, value),) = bearer(TOKENS["read"])
    reader = Grpcurl(grpcurl, server.target, "-H", f"{key}: {value}")
    assert "huddle.v1.ClusterService" in reader.say("list")
    assert reader.one("ClusterService/GetState", {}) == {}
    assert "Code: PermissionDenied" in reader.refused("PlacementService/Plan", {})
