"""Gang and Placement on a real API server: what it keeps, what it refuses and in which words, how it prints them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
import urllib3
import yaml

from adapters.kubernetes.objects import Document
from adapters.kubernetes.placement_objects import (
    new_placement,
    plan_patch,
    read_placement,
    status_patch,
)
from adapters.kubernetes.placements import Condition, Hand, Owner, Phase, PlacementRecord, Seat, Why
from adapters.kubernetes.resources import GANGS, PLACEMENTS
from adapters.manifests.gangs import read_gangs
from solver.domain.plan import Sense, TermValue
from support.controlplane.api import Api, Json, Refused
from support.controlplane.definitions import install_definitions
from support.controlplane.leftovers import present, remove_new
from support.controlplane.plane import ControlPlane

pytestmark = pytest.mark.controlplane

DATASETS = Path(__file__).parents[2] / "datasets" / "gangs"
NOW = datetime(2026, 11, 22, 8, 30, 5, 250_000, tzinfo=UTC)
MERGE = "merge"


@pytest.fixture(scope="module")
def api(shared_control_plane: ControlPlane) -> Iterator[Api]:
    """The API server as admin, knowing Gang and Placement while this module is tested."""
    api = shared_control_plane.api()
    before = present(api)
    install_definitions(api)
    yield api
    remove_new(api, before)


def record(namespace: str) -> PlacementRecord:
    """A record that uses every field of the spec."""
    return PlacementRecord(
        namespace=namespace,
        name="llama",
        gang=f"{namespace}/llama",
        owner=Owner("v1", "ConfigMap", "owner", "11111111-2222-3333-4444-555555555555"),
        seats=(
            Seat(f"{namespace}/llama-prefill-0", "uid-0", "prefill", "gpu-000"),
            Seat(f"{namespace}/llama-decode-0", "uid-1", "decode", "gpu-001"),
        ),
        left_out=("uid-2",),
        hand=Hand.BIND,
        attempt=3,
        planned_from=12_345,
        avoid=("gpu-007",),
        objective=(
            TermValue("replicas", Sense.MAX, Fraction(2), Fraction(2)),
            TermValue("transfer_us", Sense.MIN, Fraction(825, 2), Fraction(1234, 3)),
            TermValue("proximity", Sense.MIN, Fraction(-1, 8), None),
        ),
    )


def with_status(found: PlacementRecord) -> PlacementRecord:
    """The record with every field of the status in use."""
    return replace(
        found,
        phase=Phase.REPAIRING,
        since=NOW,
        released=NOW - timedelta(seconds=3),
        partial_since=NOW - timedelta(seconds=2),
        failures=4,
        not_before=NOW + timedelta(minutes=1),
        reasons=(
            Why("pods_missing", "2 pods do not exist yet: 2 of decode", ("prod/p",), {"missing": 2, "there": -1}),
        ),
        conditions=(Condition("NeedsOwner", True, "BarePod", "nothing controls prod/p", NOW),),
    )


def test_placements_round_trip(api: Api, namespace: str) -> None:
    """Every field of a record comes back as it was written, first the spec, then the status, then both cleared."""
    path, written = PLACEMENTS.path(namespace), record(namespace)
    read = read_placement(api.create(path, new_placement(written), fieldValidation="Strict"))
    assert read.uid
    assert read.phase is Phase.RESERVED
    same = {"uid": read.uid, "resource_version": read.resource_version}
    assert read == replace(written, phase=Phase.RESERVED, **same)
    status = with_status(read)
    body = api.patch(f"{path}/llama/status", status_patch(status, bound=1), MERGE, fieldValidation="Strict")
    assert body["status"]["bound"] == "1/2"
    assert read_placement(body) == replace(status, resource_version=body["metadata"]["resourceVersion"])
    bare = replace(PlacementRecord(namespace, "llama", written.gang, attempt=3, owner=written.owner), **same)
    body = api.patch(f"{path}/llama", plan_patch(replace(bare, resource_version=_version(body))), MERGE)
    body = api.patch(f"{path}/llama/status", status_patch(replace(bare, resource_version=_version(body))), MERGE)
    assert read_placement(body) == replace(bare, resource_version=_version(body))
    assert "since" not in body["status"]


def test_a_new_attempt_is_reserved(api: Api, namespace: str) -> None:
    """A plan written over an older one is reserved until the status knows its attempt."""
    path = PLACEMENTS.path(namespace)
    read = read_placement(api.create(path, new_placement(record(namespace))))
    read = read_placement(api.patch(f"{path}/llama/status", status_patch(with_status(read)), MERGE))
    assert read.phase is Phase.REPAIRING
    read = read_placement(api.patch(f"{path}/llama", plan_patch(replace(read, attempt=4)), MERGE))
    assert (read.phase, read.since, read.failures) == (Phase.RESERVED, None, 4)


def test_stale_writes_conflict(api: Api, namespace: str) -> None:
    """A patch made from what has changed meanwhile, or for another object of the name, changes nothing."""
    path = PLACEMENTS.path(namespace)
    old = read_placement(api.create(path, new_placement(record(namespace))))
    new = read_placement(api.patch(f"{path}/llama", plan_patch(replace(old, attempt=4)), MERGE))
    api.create(path, new_placement(replace(old, name="other")))
    api.delete(f"{path}/other")
    other = read_placement(api.create(path, new_placement(replace(old, name="other"))))
    for stale in (old, replace(new, name="other")):
        for target, patch in ((f"{path}/{stale.name}", plan_patch), (f"{path}/{stale.name}/status", status_patch)):
            with pytest.raises(Refused) as refused:
                api.patch(target, patch(stale), MERGE)
            assert refused.value.status == 409
    assert read_placement(api.get(f"{path}/llama")) == new
    assert read_placement(api.get(f"{path}/other")) == other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gang": None}, "spec.gang: Required value"),
        ({"gang": "other"}, "a Placement stays with its gang"),
        ({"attempt": 0}, "assignments belong to an attempt: it is at least 1"),
        ({"attempt": "one"}, 'spec.attempt in body must be of type integer: "string"'),
        ({"hand": "both"}, 'Unsupported value: "both": supported values: "gate", "bind"'),
        ({"assignments": [{"pod": "p", "uid": "u", "role": "r"}]}, r"spec.assignments\[0\].node: Required value"),
        ({"objective": [{"term": "t", "sense": "min", "value": "1e9"}]}, r"objective\[0\].value in body should match"),
        ({"seats": []}, 'strict decoding error: unknown field "spec.seats"'),
    ],
)  # fmt: skip
def test_bad_placements(api: Api, namespace: str, change: Json, words: str) -> None:
    """Plans that make no sense are refused, in words that say which field and why."""
    path = PLACEMENTS.path(namespace)
    api.create(path, new_placement(record(namespace)))
    with pytest.raises(Refused, match=words) as refused:
        api.patch(f"{path}/llama", {"spec": change}, MERGE, fieldValidation="Strict")
    assert refused.value.status in (400, 422)


def test_bad_phase(api: Api, namespace: str) -> None:
    """Phases nobody knows, and a count that is none, are refused."""
    path = PLACEMENTS.path(namespace)
    api.create(path, new_placement(record(namespace)))
    for status, words in (
        ({"phase": "Done"}, '"Pending", "Reserved", "Releasing", "Bound", "Repairing", "Evicting"'),
        ({"bound": "some"}, "bound in body should match"),
        ({"since": "yesterday"}, "since in body must be of type date-time"),
    ):
        with pytest.raises(Refused, match=words):
            api.patch(f"{path}/llama/status", {"status": status}, MERGE)


def test_table(control_plane: ControlPlane, api: Api, namespace: str) -> None:
    """The table kubectl shows reads well: phase, how many are bound, since when, why it waits."""
    path, first = PLACEMENTS.path(namespace), record(namespace)
    waiting = PlacementRecord(namespace, "waits", f"{namespace}/waits")
    made = {one.name: read_placement(api.create(path, new_placement(one))) for one in (first, waiting)}
    why = Why("capacity", "no rack has 16 free GPUs; the fullest has 12")
    bound = replace(made["llama"], phase=Phase.BOUND, since=datetime.now(UTC))
    api.patch(f"{path}/llama/status", status_patch(bound), MERGE)
    api.patch(f"{path}/waits/status", status_patch(replace(made["waits"], reasons=(why,))), MERGE)
    columns, rows = _table(control_plane, path)
    usual = [name for name, priority in columns if not priority]
    assert usual == ["Name", "Phase", "Bound", "Since", "Why", "Age"]
    cells = [dict(zip([name for name, _ in columns], row, strict=True)) for row in rows]
    assert [(row["Name"], row["Phase"], row["Bound"], row["Why"]) for row in cells] == [
        ("llama", "Bound", "2/2", None),
        ("waits", "Pending", None, why.message),
    ]
    assert (cells[0]["Transfer-us"], cells[0]["Hand"], cells[0]["Attempt"]) == ("412.5", "bind", 3)
    assert cells[0]["Since"].endswith("s")


@pytest.mark.parametrize("file", sorted(DATASETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_gangs_round_trip(api: Api, namespace: str, file: Path) -> None:
    """Every Gang that comes along is accepted as written, and what is kept reads as the same gang."""
    for body in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if body["kind"] != "Gang":
            continue
        body["metadata"]["namespace"] = namespace
        kept = api.create(GANGS.path(namespace), body, fieldValidation="Strict")
        (written,) = read_gangs([Document(body, "file")]).gangs
        (read,) = read_gangs([Document(kept, "cluster")]).gangs
        assert read.created is not None
        assert replace(read, created=None) == written


def gang(**root: object) -> Json:
    """A Gang with this root."""
    return {
        "apiVersion": "huddle.scheduler/v1alpha1",
        "kind": "Gang",
        "metadata": {"name": "g"},
        "spec": {"root": root},
    }


ROLE: Json = {"name": "decode", "kind": "decode", "replicas": 2}


def nested(depth: int) -> Json:
    """Groups inside groups."""
    inner: Json = {"name": f"g{depth}", "replicas": 2, "min": 1}
    return inner | ({"groups": [nested(depth - 1)]} if depth > 1 else {"roles": [ROLE]})


def wide(*replicas: int) -> Json:
    """Groups inside groups, and one role in the innermost, with so many replicas each."""
    *groups, last = replicas
    inner: Json = {"roles": [{**ROLE, "replicas": last}]}
    for at, count in enumerate(reversed(groups)):
        inner = {**inner, "name": f"g{at}", "replicas": count, "min": 1}
        inner = inner if at == len(groups) - 1 else {"groups": [inner]}
    return inner


def many(count: int, of: int = 0) -> list[Json]:
    """Roles of one pod."""
    return [{"name": f"r{of}-{at}", "replicas": 1} for at in range(count)]


@pytest.mark.parametrize(
    "root",
    [
        {"groups": [wide(10, 10, 10, 10)]},
        {"groups": [{"name": f"g{at}", "roles": many(32, at)} for at in (1, 2)]},
        {"groups": [{"name": f"g{at}", "roles": many(2, at)} for at in range(32)]},
        {"roles": [{**ROLE, "name": "prefill", "replicas": 5_000}, {**ROLE, "replicas": 5_000}]},
    ],
    ids=["nested", "roles", "groups", "pods"],
)
def test_the_largest_gangs(api: Api, namespace: str, root: Json) -> None:
    """Gangs of as many pods and roles as may be are kept."""
    api.create(GANGS.path(namespace), gang(**root), fieldValidation="Strict")


def test_every_field_of_a_gang(api: Api, namespace: str) -> None:
    """Everything a Gang can say is kept."""
    body = gang(
        pack={"required": "zone", "preferred": "rack"},
        min=1,
        multinode=False,
        roles=[{**ROLE, "name": "prefill", "min": 1, "spread": [{"level": "host", "max": 1}]}],
        groups=[nested(3) | {"minChildren": 1, "spread": [{"level": "rack", "max": 2}], "multinode": False}],
    )
    body["spec"] |= {
        "priority": -5,
        "queue": "q",
        "topology": "t",
        "flows": [{"from": "prefill", "to": ["decode"], "bytes": 10**12, "perRequest": 0.5, "pattern": "nearest"}],
        "reach": [{"from": ["prefill"], "to": "decode", "level": "zone", "ratio": 0.25}],
    }
    kept = api.create(GANGS.path(namespace), body, fieldValidation="Strict")
    assert kept["spec"] == body["spec"]
    (read,) = read_gangs([Document(kept, "cluster")]).gangs
    assert read.priority == -5
    assert read.flows[0].per_request == Fraction(1, 2)


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ({}, "a group has roles or groups"),
        ({"roles": [{"name": "a"}]}, r"spec.root.roles\[0\].replicas: Required value"),
        ({"roles": [{**ROLE, "min": 3}]}, "min is at most replicas"),
        ({"roles": [{**ROLE, "replicas": -1}]}, "should be greater than or equal to 0"),
        ({"roles": [{**ROLE, "kind": "cook"}]}, 'Unsupported value: "cook": supported values: "router", "prefill"'),
        ({"roles": [{**ROLE, "name": "r" * 64}]}, "pods name their role in a label: at most 63 letters"),
        ({"roles": [ROLE, ROLE]}, r'spec.root.roles\[1\]: Duplicate value: {"name":"decode"}'),
        ({"roles": [ROLE], "pack": {}}, "names a level: required, preferred or both"),
        ({"roles": [ROLE], "spread": [{"level": "rack", "max": 0}]}, "should be greater than or equal to 1"),
        ({"groups": [{"name": "g", "replicas": 2, "min": 3, "roles": [ROLE]}]}, "min is at most replicas"),
        ({"groups": [{"name": "g"}]}, "a group has roles or groups"),
        ({"groups": [nested(4)]}, "groups nest at most 3 deep"),
        ({"roles": [ROLE], "packing": {}}, 'unknown field "spec.root.packing"'),
        ({"roles": [{**ROLE, "replicas": 10_001}]}, "a gang has at most 10000 pods"),
        ({"groups": [{"name": "g", "replicas": 100_000, "min": 1, "roles": [ROLE]}]}, "a gang has at most 10000 pods"),
        ({"groups": [wide(11, 10, 10, 10)]}, "a gang has at most 10000 pods"),
        ({"groups": [wide(100_000, 100_000, 100_000, 100_000)]}, "a gang has at most 10000 pods"),
        (
            {"roles": many(1), "groups": [{"name": f"g{at}", "roles": many(32, at)} for at in (1, 2)]},
            "at most 64 roles",
        ),
        ({"roles": many(33)}, "must have at most 32 items"),
    ],
)
def test_bad_gangs(api: Api, namespace: str, root: Json, words: str) -> None:
    """Gangs that make no sense are refused, in words that say what is wrong."""
    with pytest.raises(Refused, match=words) as refused:
        api.create(GANGS.path(namespace), gang(**root), fieldValidation="Strict")
    assert refused.value.status in (400, 422)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body["metadata"].update(name="g" * 64), "pods name their gang in a label: at most 63 letters"),
        (lambda body: body["spec"].update(priority=2**40), "spec.priority in body should be less than or equal to"),
        (lambda body: body.pop("spec"), "spec: Required value"),
        (lambda body: body["spec"].update(flows=[{"from": "a", "to": "b", "bytes": -1}]), r"spec.flows\[0\].bytes"),
        (lambda body: body["spec"].update(reach=[{"from": "a", "to": "b"}]), r"spec.reach\[0\].level: Required value"),
    ],
    ids=["name", "priority", "spec", "flow", "reach"],
)
def test_bad_gang_fields(api: Api, namespace: str, change: Callable[[Json], object], words: str) -> None:
    """So are wrong fields around the root."""
    body = gang(roles=[ROLE])
    change(body)
    with pytest.raises(Refused, match=words):
        api.create(GANGS.path(namespace), body, fieldValidation="Strict")


def _version(body: Json) -> str:
    return str(body["metadata"]["resourceVersion"])


def _table(control_plane: ControlPlane, path: str) -> tuple[list[tuple[str, int]], list[list[object]]]:
    """Columns with their priorities, and rows, of the table kubectl asks for."""
    headers = {
        "Authorization": f"Bearer {control_plane.token('admin')}",
        "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io",
    }
    with urllib3.PoolManager(ca_certs=str(control_plane.ca), retries=False, timeout=30.0) as pool:
        answer = json.loads(pool.request("GET", control_plane.url + path, headers=headers).data)
    assert answer["kind"] == "Table"
    columns = [(column["name"], column["priority"]) for column in answer["columnDefinitions"]]
    return columns, [row["cells"] for row in answer["rows"]]
