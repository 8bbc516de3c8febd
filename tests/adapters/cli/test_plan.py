"""`huddle plan` from files to an answer."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from adapters.cli.plan import fair_before
from solver.domain.errors import InternalError
from solver.domain.plan import GangPlan, Notice, Plan, Status
from tests.adapters.cli.conftest import CLUSTER, GANG, Run, Write

Answer = Callable[[Plan], None]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Make the engine answer a given plan."""

    def given(plan: Plan) -> None:
        monkeypatch.setattr("adapters.cli.plan.solve", lambda *_: plan)

    return given


def test_json_answer_is_a_complete_plan(run: Run, gang: str, cluster: str) -> None:
    """All pods are placed in one rack, the answer is proven, nothing goes to stderr."""
    result = run("plan", gang, "--cluster", cluster, "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert document["status"] == "optimal"
    found = document["gangs"][0]
    assert found["name"] == "prod/g"
    assert [item["pod"] for item in found["assignments"]] == ["prod/decode-0", "prod/decode-1", "prod/prefill-0"]
    assert found["domains"]["rack"] == 1
    assert all(term["bound"] == term["value"] for term in found["objective"])


COMPUTE_DOMAIN = """
apiVersion: resource.nvidia.com/v1beta1
kind: ComputeDomain
metadata: {name: fabric}
spec: {numNodes: 2, channel: {resourceClaimTemplate: {name: channel}}}
---
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: wide}
spec:
  components:
  - name: decode
    type: decode
    replicas: 2
    podTemplate:
      spec:
        containers: [{name: main, resources: {limits: {nvidia.com/gpu: 8}}}]
        resourceClaims: [{name: c, resourceClaimTemplateName: channel}]
"""


def test_a_compute_domain_needs_nvlink_domains(run: Run, write: Write, cluster: str) -> None:
    """On a cluster without them it is refused by name; two options turn that into a warning."""
    wide = write("wide.yaml", COMPUTE_DOMAIN)
    refused = run("plan", wide, "--cluster", cluster)
    assert refused.exit_code == 2
    assert "ComputeDomain fabric: promises NVLink among its pods, but the topology has no level nvl" in refused.stderr
    for option in (("--ignore-unsupported",), ("--compute-domain", "preferred")):
        warned = run("plan", wide, "--cluster", cluster, *option)
        assert warned.exit_code in (0, 3)
        assert "warning: DynamoGraphDeployment default/wide: ComputeDomain fabric: promises NVLink" in warned.stderr


def test_requests_per_second_keep_traffic_within_the_nics(run: Run, write: Write, gang: str) -> None:
    """Two engines fill a node, so the third is elsewhere: half of the traffic crosses, or the gang does not fit."""
    site = write(
        "nics.yaml", CLUSTER.replace("topology:", "topology:\n        nodeGbps: 10\n        handoverMs: 170", 1)
    )
    fits = run("plan", gang, "--cluster", site, "--rps", "9.1", "-o", "json")
    assert fits.exit_code == 0, fits.stderr
    assert json.loads(fits.stdout)["gangs"][0]["handover_ms"] == 170
    full = run("plan", gang, "--cluster", site, "--rps", "9.2", "-o", "json")
    assert full.exit_code == 3
    (reason,) = json.loads(full.stdout)["gangs"][0]["reasons"]
    assert reason["code"] == "bandwidth"
    assert reason["numbers"] == {"allowed_mbps": 6000, "needed_mbps": 6030}


def test_requests_per_second_without_links_are_warned_about(run: Run, gang: str, cluster: str) -> None:
    """A rule that has nothing to check is said, not passed over."""
    result = run("plan", gang, "--cluster", cluster, "--rps", "5")
    assert result.exit_code == 0
    assert "bandwidth_unchecked" in result.stderr


def test_yaml_and_json_agree(run: Run, gang: str, cluster: str) -> None:
    """The two forms hold the same gangs."""
    as_json = json.loads(run("plan", gang, "--cluster", cluster, "-o", "json").stdout)
    as_yaml = yaml.safe_load(run("plan", gang, "--cluster", cluster, "-o", "yaml").stdout)
    assert [_untimed(found) for found in as_json["gangs"]] == [_untimed(found) for found in as_yaml["gangs"]]


def _untimed(found: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in found.items() if key != "stats"}


def test_table_answer_reads_without_colour(run: Run, gang: str, cluster: str) -> None:
    """Status, placement, picture, terms and time are there, without control codes."""
    result = run("plan", gang, "--cluster", cluster)
    assert result.exit_code == 0, result.stderr
    for part in ("prod/g  OPTIMAL", "prefill-0", "legend:", "transfer_us", "proven", "took "):
        assert part in result.stdout
    assert "\x1b" not in result.stdout


def test_gang_and_cluster_may_come_from_standard_input(run: Run, gang: str, cluster: str) -> None:
    """Either of them, not both."""
    assert run("plan", "-", "--cluster", cluster, text=_dedent(GANG)).exit_code == 0
    assert run("plan", gang, "--cluster", "-", text=_dedent(CLUSTER)).exit_code == 0


def _dedent(text: str) -> str:
    return text.replace("\n    ", "\n")


def test_infeasible_exits_3_with_reasons(run: Run, write: Write, cluster: str) -> None:
    """Nothing is placed, and the reasons are told in both forms."""
    big = write("big.yaml", GANG.replace("replicas: 2", "replicas: 20").replace("min: 2", "min: 20"))
    result = run("plan", big, "--cluster", cluster, "-o", "json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)["gangs"][0]
    assert found["status"] == "infeasible"
    assert found["assignments"] == []
    assert found["reasons"]
    table = run("plan", big, "--cluster", cluster)
    assert table.exit_code == 3
    assert "INFEASIBLE" in table.stdout
    assert "because [" in table.stdout


def test_several_gangs_are_answered_in_input_order(run: Run, write: Write, cluster: str) -> None:
    """The later gang has the higher priority and is still listed last."""
    first = GANG.replace("name: g,", "name: low,")
    second = GANG.replace("name: g,", "name: high,").replace(
        "spec:\n      root", "spec:\n      priority: 9\n      root"
    )
    result = run("plan", write("two.yaml", first + "    ---" + second), "--cluster", cluster, "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert [found["name"] for found in json.loads(result.stdout)["gangs"]] == ["prod/low", "prod/high"]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.OPTIMAL, Status.FEASIBLE], 0),
        ([Status.OPTIMAL, Status.UNKNOWN], 4),
        ([Status.UNKNOWN, Status.INFEASIBLE], 3),
    ],
)
def test_exit_codes_follow_the_worst_gang(
    run: Run, gang: str, cluster: str, answered: Answer, statuses: list[Status], code: int
) -> None:
    """Infeasible beats unknown beats planned, in every output form."""
    answered(Plan(tuple(GangPlan(f"a/g{i}", status) for i, status in enumerate(statuses))))
    for form in ("table", "json", "yaml"):
        assert run("plan", gang, "--cluster", cluster, "-o", form).exit_code == code


def test_warnings_go_to_stderr_only_in_table_form(run: Run, gang: str, cluster: str, answered: Answer) -> None:
    """The JSON carries them instead; each is said once."""
    notice = Notice("queue_unknown", "prod/g", "queue", "no Queue describes it")
    answered(Plan((GangPlan("prod/g", Status.OPTIMAL, warnings=(notice,)),), (notice,)))
    table = run("plan", gang, "--cluster", cluster)
    assert table.stderr == "warning: prod/g: queue: no Queue describes it [queue_unknown]\n"
    document = run("plan", gang, "--cluster", cluster, "-o", "json")
    assert document.stderr == ""
    assert json.loads(document.stdout)["warnings"][0]["code"] == "queue_unknown"


@pytest.mark.parametrize(
    ("error", "told"), [(InternalError("the verifier rejects it"), "the verifier"), (KeyError("x"), "KeyError")]
)
def test_our_own_faults_exit_1_in_one_line(
    run: Run, gang: str, cluster: str, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    """The line says that it is our defect and how to see more; the traceback comes only on request."""

    def fails(*_: object) -> Plan:
        raise error

    monkeypatch.setattr("adapters.cli.plan.solve", fails)
    monkeypatch.delenv("HUDDLE_TRACEBACK", raising=False)
    result = run("plan", gang, "--cluster", cluster)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert told in result.stderr
    assert "this is a defect of huddle; run with HUDDLE_TRACEBACK=1 for details" in result.stderr
    monkeypatch.setenv("HUDDLE_TRACEBACK", "1")
    assert "Traceback" in run("plan", gang, "--cluster", cluster).stderr


def test_interrupting_exits_130(run: Run, gang: str, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no defect."""

    def interrupted(*_: object) -> Plan:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapters.cli.plan.solve", interrupted)
    assert run("plan", gang, "--cluster", cluster).exit_code == 130


def test_every_engine_gives_the_same_values(run: Run, gang: str, cluster: str) -> None:
    """The engine is a way to the answer, not part of it."""
    found = [
        json.loads(run("plan", gang, "--cluster", cluster, "--engine", engine, "-o", "json").stdout)["gangs"][0]
        for engine in ("auto", "cpsat", "tree")
    ]
    assert found[0]["objective"] == found[1]["objective"] == found[2]["objective"]


def test_the_shipped_gangs_can_be_planned(run: Run) -> None:
    """The README's first command works on the shipped files."""
    shipped = Path(__file__).resolve().parents[3] / "datasets"
    result = run("plan", str(shipped / "gangs/4p8d-block.yaml"), "--cluster", str(shipped / "clusters/h100-64.yaml"))
    assert result.exit_code == 0, result.stderr


THREE_GANGS = "".join(
    f"""
---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {{name: g{at}}}
spec:
  root:
    pack: {{required: rack}}
    roles:
      - name: w{at}
        replicas: {size}
        template: {{spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: "1"}}}}}}]}}}}
"""
    for at, size in enumerate((2, 3, 3))
)
FIVE_AND_THREE = """
    apiVersion: huddle.scheduler/v1alpha1
    kind: Cluster
    metadata: {name: c}
    spec:
      topology: {levels: [{name: rack, label: topology.kubernetes.io/rack}]}
      nodes: [{prefix: a, count: 1, per: {rack: 1}, gpus: 5}, {prefix: b, count: 1, per: {rack: 1}, gpus: 3}]
"""


def test_batch_places_what_one_after_another_cannot(run: Run, write: Write) -> None:
    """Racks of 5 and 3 and gangs of 2, 3 and 3: all three with --batch, two without; engine tree is refused."""
    files = ["plan", write("gangs.yaml", THREE_GANGS), "--cluster", write("c.yaml", FIVE_AND_THREE), "-o", "json"]
    alone, together = run(*files), run(*files, "--batch")
    assert (alone.exit_code, together.exit_code) == (3, 0)
    assert [gang["status"] for gang in json.loads(together.stdout)["gangs"]] == ["optimal"] * 3
    refused = run(*files, "--batch", "--engine", "tree")
    assert refused.exit_code == 2
    assert refused.stderr == "huddle: a batch is placed jointly by CP-SAT, which engine tree leaves out\n"


def test_batch_tells_what_it_is_worth(run: Run, write: Write) -> None:
    """Admitted gangs by class and summed terms with bounds in JSON, one line of it in the table; without, neither."""
    files = ["plan", write("gangs.yaml", THREE_GANGS), "--cluster", write("c.yaml", FIVE_AND_THREE)]
    batch = json.loads(run(*files, "--batch", "-o", "json").stdout)["batch"]
    assert batch["admitted"] == [{"priority": 0, "waited": False, "value": 3, "bound": 3}]
    assert batch["objective"][0]["term"] == "replicas"
    assert all(term["value"] == term["bound"] for term in batch["objective"])
    assert "\nbatch: 3 gangs placed: 3 of priority 0 (no more can be)\n" in run(*files, "--batch").stdout
    assert "batch" not in json.loads(run(*files, "-o", "json").stdout)
    assert "batch:" not in run(*files).stdout


CHEAP_AND_DEAR = "".join(
    f"""
---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {{name: {name}, creationTimestamp: {created}}}
spec:
  root:
    roles:
      - name: prefill
        replicas: 1
        template: &GPUS {{spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: "1"}}}}}}]}}}}
      - {{name: decode, replicas: 1, template: *GPUS}}
  flows: [{{from: prefill, to: decode, bytes: {size}}}]
"""
    for name, size, created in (("cheap", 10**9, "2999-01-01T00:00:00Z"), ("dear", 2 * 10**9, "2020-01-01T00:00:00Z"))
)
ONE_ROOM = FIVE_AND_THREE.replace("gpus: 5", "gpus: 2").replace("gpus: 3", "gpus: 0")


@pytest.mark.parametrize(
    ("more", "winner"),
    [([], "cheap"), (["--fair-after", "0s"], "cheap"), (["--fair-after", "1h"], "dear")],
    ids=["without", "off", "on"],
)
def test_the_gang_that_waited_longer_comes_first(run: Run, write: Write, more: list[str], winner: str) -> None:
    """Room for one: the cheaper one by default, the older one with --fair-after."""
    files = ["plan", write("gangs.yaml", CHEAP_AND_DEAR), "--cluster", write("c.yaml", ONE_ROOM)]
    document = json.loads(run(*files, "--batch", "-o", "json", *more).stdout)
    assert [gang["name"] for gang in document["gangs"] if gang["assignments"]] == [f"default/{winner}"]
    assert [each["value"] for each in document["batch"]["admitted"]] == ([1, 0] if winner == "dear" else [1])
    waited = [each["waited"] for each in document["batch"]["admitted"]]
    assert waited == ([True, False] if winner == "dear" else [False])


def test_fairness_counts_from_now() -> None:
    """Nothing is fair by default; else whoever was created before `now` minus the duration."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert fair_before(now, 0) is None
    assert fair_before(now, 90) == now - timedelta(seconds=90)


def test_wide_is_a_form_of_the_plan_alone(run: Run, gang: str, cluster: str) -> None:
    """`-o wide` shows every node of a plan; a topology has no such form."""
    result = run("plan", gang, "--cluster", cluster, "-o", "wide")
    assert result.exit_code == 0, result.stderr
    assert "prod/g  OPTIMAL" in result.stdout
    assert run("topology", "--cluster", cluster, "-o", "wide").exit_code == 2


def test_warnings_of_many_objects_are_one_line(run: Run, gang: str, cluster: str, answered: Answer) -> None:
    """Fifty gangs without their queue are not fifty lines."""
    notices = [Notice("queue_unknown", f"prod/g{at}", "queue", "no Queue describes it") for at in range(50)]
    answered(Plan((), tuple(notices)))
    (line,) = run("plan", gang, "--cluster", cluster).stderr.splitlines()
    assert line.startswith("warning: prod/g0, prod/g1, prod/g2 and 47 more: queue: ")
