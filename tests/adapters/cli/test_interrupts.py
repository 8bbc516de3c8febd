"""Ctrl-C and SIGTERM while a plan is made: the best verified plan so far is the answer."""

import json
import signal
from pathlib import Path

import pytest

from support.terminals import watched

DATASETS = Path(__file__).resolve().parents[3] / "datasets"
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]

#: The command with another `solve`: what it does stands at {body}, where `course` is at hand.
PROBE = """
import sys, time
import adapters.cli.interrupts as interrupts
from adapters.cli import plan as command
from adapters.cli.main import huddle
from solver.domain.plan import GangPlan, Plan, Status

def solve(inputs, wish, server, course):
    def tell(text): print(text, file=sys.stderr, flush=True)
    {body}

command.solve = solve
huddle.main(sys.argv[1:], prog_name="huddle")
"""
ENDS = "tell('ready')\n    while not course.is_set(): time.sleep(0.01)\n    return Plan(())"
GOES_ON = "tell('ready')\n    while True: time.sleep(0.01)"
#: Stuck, but a plan of one gang was verified before.
STUCK = f"interrupts.GRACE_S = 0.05\n    course.so_far = Plan((GangPlan('prod/g', Status.FEASIBLE),))\n    {GOES_ON}"


def asked(gang: str, cluster: str, *more: str) -> list[str]:
    """Arguments of a plan in JSON."""
    return ["plan", gang, "--cluster", cluster, "-o", "json", *more]


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_search_and_the_answer_is_printed(
    gang: str, cluster: str, number: signal.Signals, code: int
) -> None:
    """The exit code says which signal it was, and a warning says that the search was cut short."""
    with watched(["-c", PROBE.format(body=ENDS), *asked(gang, cluster)]) as process:
        process.until("ready")
        process.signalled(number)
        ended, out = process.ended()
    assert ended == code
    (warning,) = json.loads(out)["warnings"]
    assert warning["code"] == "interrupted"
    assert warning["message"].startswith(f"{number.name} ended the search early")


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_at_once(gang: str, cluster: str, number: signal.Signals, code: int) -> None:
    """Whatever the work does; nothing is printed then."""
    with watched(["-c", PROBE.format(body=GOES_ON), *asked(gang, cluster)]) as process:
        process.until("ready")
        process.signalled(signal.SIGINT)
        process.until("once more ends at once")
        process.signalled(number)
        assert process.ended() == (code, "")


def test_work_that_does_not_end_is_left_behind(gang: str, cluster: str) -> None:
    """What was verified before is the answer then."""
    with watched(["-c", PROBE.format(body=STUCK), *asked(gang, cluster)]) as process:
        process.until("ready")
        process.signalled(signal.SIGINT)
        ended, out = process.ended()
    assert ended == 130
    assert [(found["name"], found["status"]) for found in json.loads(out)["gangs"]] == [("prod/g", "feasible")]


def test_a_fault_of_the_work_is_told_as_before(gang: str, cluster: str) -> None:
    """Exit code 1 and one line."""
    with watched(["-c", PROBE.format(body="raise KeyError('x')"), *asked(gang, cluster)]) as process:
        assert process.ended() == (1, "")
        assert "huddle: KeyError: 'x'; this is a defect of huddle" in process.shown


def jobs(count: int) -> str:
    """Gangs whose places get in each other's way."""
    return "---".join(
        f"""
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {{name: g{at}, namespace: prod}}
spec:
  root:
    pack: {{preferred: rack}}
    roles:
    - {{name: p, kind: prefill, replicas: {1 + at % 3}, template: {{spec: {{containers: [{{name: main,
        resources: {{limits: {{nvidia.com/gpu: "{2 + at % 3}"}}}}}}]}}}}}}
    - {{name: d, kind: decode, replicas: {3 + at % 4}, template: {{spec: {{containers: [{{name: main,
        resources: {{limits: {{nvidia.com/gpu: "{4 - at % 4}"}}}}}}]}}}}}}
  flows: [{{from: p, to: d, bytes: 1310720000}}]
"""
        for at in range(count)
    )


def test_a_batch_gives_what_it_has(tmp_path: Path) -> None:
    """While twelve gangs are improved together, all of them are planned already, and the terminal tells so."""
    path = tmp_path / "jobs.yaml"
    path.write_text(jobs(12))
    arguments = asked(str(path), str(DATASETS / "clusters/h100-64.yaml"), "--batch", "--time-limit", "10m")
    with watched(["-m", "adapters.cli", *arguments]) as process:
        process.until("12 of 12 gangs planned | best ")
        process.signalled(signal.SIGINT)
        ended, out = process.ended()
    assert ended == 130
    document = json.loads(out)
    assert {found["status"] for found in document["gangs"]} <= {"feasible", "optimal"}
    assert all(found["assignments"] for found in document["gangs"])
    assert "600 s gone" in process.shown


COMPILING = """
import sys, time
from solver import planner
real = planner.build_structure

def slow(*arguments, **options):
    print('compiling', file=sys.stderr, flush=True)
    while not stop[0].is_set(): time.sleep(0.01)
    return real(*arguments, **options)

stop = []
solve = planner.plan

def plan(*arguments, **options):
    stop.append(options['stop'])
    return solve(*arguments, **options)

planner.build_structure, planner.plan = slow, plan
from adapters.cli.main import huddle
huddle.main(sys.argv[1:], prog_name="huddle")
"""


def test_a_signal_while_compiling(gang: str, cluster: str) -> None:
    """Nothing is known yet, and that is the answer."""
    with watched(["-c", COMPILING, *asked(gang, cluster)]) as process:
        process.until("compiling")
        process.signalled(signal.SIGINT)
        ended, out = process.ended()
    assert ended == 130
    assert [found["status"] for found in json.loads(out)["gangs"]] == ["unknown"]


def test_a_large_gang_gives_the_plan_it_has(tmp_path: Path) -> None:
    """While bounds and placements of a gang too large for exact tables get better, the terminal shows both."""
    path, site = tmp_path / "large.yaml", tmp_path / "site.yaml"
    roles = "".join(
        f"""
    - {{name: r{at}, kind: {kind}, replicas: {count}, template: {{spec: {{containers: [{{name: main,
        resources: {{limits: {{nvidia.com/gpu: "{gpus}"}}}}}}]}}}}}}"""
        for at, (kind, count, gpus) in enumerate((("prefill", 40, 3), ("decode", 60, 2), ("worker", 50, 1)))
    )
    path.write_text(
        "apiVersion: huddle.scheduler/v1alpha1\nkind: Gang\nmetadata: {name: large, namespace: prod}\n"
        f"spec:\n  root:\n    pack: {{preferred: rack}}\n    roles:{roles}\n"
        "  flows: [{from: r0, to: r1, bytes: 1310720000}, {from: r1, to: r2, bytes: 99}]\n"
    )
    nodes = "\n".join(
        f"    - {{prefix: n{at}-, count: 5, per: {{rack: 1}}, gpus: {4 + at * 7 % 5}}}" for at in range(16)
    )
    site.write_text(
        "apiVersion: huddle.scheduler/v1alpha1\nkind: Cluster\nmetadata: {name: c}\nspec:\n"
        f"  topology: {{levels: [{{name: rack, label: rack}}]}}\n  nodes:\n{nodes}\n"
    )
    with watched(["-m", "adapters.cli", *asked(str(path), str(site), "--time-limit", "10m")]) as process:
        process.until(", bound ")
        process.signalled(signal.SIGTERM)
        ended, out = process.ended()
    assert ended == 143
    (found,) = json.loads(out)["gangs"]
    assert found["status"] == "feasible"
    assert len(found["assignments"]) == 150
