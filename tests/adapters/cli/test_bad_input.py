"""Whatever is in the files: exit 2 and one line that says where, never a traceback."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.adapters.cli.conftest import GANG, Run, Write

KAI_CYCLE = """
    apiVersion: scheduling.run.ai/v2alpha2
    kind: PodGroup
    metadata: {name: g, namespace: prod}
    spec:
      minMember: 1
      subGroups:
        - {name: a, parent: b}
        - {name: b, parent: a}
    ---
    apiVersion: v1
    kind: Pod
    metadata:
      name: p
      namespace: prod
      annotations: {pod-group-name: g}
      labels: {kai.scheduler/subgroup-name: a}
    spec: {containers: [{name: main}]}
"""
YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

OWN = "apiVersion: huddle.scheduler/v1alpha1\nkind: Cluster\nmetadata: {name: c}\nspec:\n"

#: name → (text of the gang file, words that the line must hold)
GANGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown kind": ("apiVersion: v9\nkind: Spaceship\nmetadata: {name: x}\n", ("Spaceship",)),
    "missing field": ("apiVersion: huddle.scheduler/v1alpha1\nkind: Gang\nmetadata: {name: g}\nspec: {}\n", ("root",)),
    "no kind": ("metadata: {name: g}\n", ("kind",)),
    "negative quantity": (GANG.replace('"4"', '"-4"'), ("nvidia.com/gpu",)),
    "absurd quantity": (GANG.replace('"4"', '"1e30"'), ("nvidia.com/gpu",)),
    "not a number": (GANG.replace("bytes: 1310720000", "bytes: .nan"), (".nan",)),
    "infinite": (GANG.replace("bytes: 1310720000", "bytes: .inf"), (".inf",)),
    "huge number": (GANG.replace("replicas: 2", "replicas: 1" + "0" * 400), ("digits",)),
    "negative replicas": (GANG.replace("replicas: 2", "replicas: -2"), ("replicas",)),
    "unknown level": (GANG.replace("required: rack", "required: galaxy"), ("galaxy",)),
    "unknown role in a flow": (GANG.replace("from: prefill", "from: nobody"), ("nobody",)),
    "duplicate roles": (GANG.replace("name: decode", "name: prefill"), ("prefill", "twice")),
    "duplicate gangs": (GANG + "    ---" + GANG, ("prod/g",)),
    "no pods": (GANG.replace("replicas: 1", "replicas: 0").replace("replicas: 2", "replicas: 0")
                .replace("min: 1", "min: 0").replace("min: 2", "min: 0"), ("no pods",)),
    "empty file": ("", ("no objects",)),
    "only comments": ("# nothing\n---\n# here\n", ("no objects",)),
    "a scalar": ("hello\n", ("mapping",)),
    "broken yaml": ("kind: [Gang\n", ()),
    "broken json": ('{"kind": "Gang",\n', ()),
    "yaml bomb": (YAML_BOMB, ()),
    "deep nesting": ("[" * 100_000, ()),
    "cyclic subgroups": (KAI_CYCLE, ("parents",)),
    "python object": ("!!python/object/apply:os.system ['true']\n", ()),
}  # fmt: skip

#: name → (text of the cluster file, words that the line must hold)
CLUSTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "empty file": ("", ("no objects",)),
    "negative GPUs": ("kind: Node\nmetadata: {name: n}\nstatus: {allocatable: {nvidia.com/gpu: '-1'}}\n", ("n",)),
    "1e30 GPUs": ("kind: Node\nmetadata: {name: n}\nstatus: {allocatable: {nvidia.com/gpu: 1e30}}\n", ("n",)),
    "NaN memory": ("kind: Node\nmetadata: {name: n}\nstatus: {allocatable: {memory: .nan}}\n", (".nan",)),
    "duplicate nodes": (
        "kind: Node\nmetadata: {name: n, uid: a}\n---\nkind: Node\nmetadata: {name: n, uid: b}\n",
        ("n",),
    ),
    "zero bandwidth": (
        OWN + "  topology: {levels: [{name: z, label: z, gbps: 0, setupUs: 1}]}\n  nodes: [{prefix: h, count: 1}]\n",
        ("gbps",),
    ),
    "absurd count": (OWN + "  nodes: [{prefix: h, count: 1e30}]\n", ("count",)),
    "absurd GPUs": (OWN + "  nodes: [{prefix: h, count: 1, gpus: 1e30}]\n", ("gpus",)),
}


def refused(result: Result) -> str:
    """The one line of a refusal."""
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("huddle: ")
    assert result.stdout == ""
    return lines[0]


@pytest.mark.parametrize("case", GANGS)
def test_bad_gangs_are_refused_in_one_line(run: Run, write: Write, cluster: str, case: str) -> None:
    """The line names the file and what is wrong."""
    text, words = GANGS[case]
    line = refused(run("plan", write("bad.yaml", text), "--cluster", cluster))
    for word in words:
        assert word in line
    assert "bad.yaml" in line or case == "unknown level"  # known only with the topology, gang by gang


@pytest.mark.parametrize("case", CLUSTERS)
@pytest.mark.parametrize("command", ["plan", "topology"])
def test_bad_clusters_are_refused_in_one_line(run: Run, write: Write, gang: str, case: str, command: str) -> None:
    """The line names the file and what is wrong, for both commands."""
    text, words = CLUSTERS[case]
    files = [gang] if command == "plan" else []
    line = refused(run(command, *files, "--cluster", write("bad.yaml", text)))
    for word in words:
        assert word in line


def test_paths_that_hold_no_text_are_refused(run: Run, tmp_path: Path, cluster: str) -> None:
    """Binary garbage, a missing file, a directory, a name with a null byte."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(bytes(range(256)) * 64)
    nulls = tmp_path / "nulls"
    nulls.write_bytes(b"\0" * 4096)
    for path in (garbage, nulls, tmp_path / "absent", tmp_path):
        assert str(path) in refused(run("plan", str(path), "--cluster", cluster))
        assert str(path) in refused(run("topology", "--cluster", str(path)))


def test_a_file_without_gangs_is_refused(run: Run, cluster: str) -> None:
    """A cluster is no gang: nothing to plan is bad input, not success."""
    assert "gang" in refused(run("plan", cluster, "--cluster", cluster))


def test_an_error_on_standard_input_names_it(run: Run, cluster: str) -> None:
    """`-` is called by its name."""
    assert "<stdin>" in refused(run("plan", "-", "--cluster", cluster, text="kind: [\n"))


def test_json_output_of_bad_input_is_no_json(run: Run, cluster: str) -> None:
    """A refusal prints nothing on stdout in any form."""
    for form in ("json", "yaml"):
        refused(run("plan", "absent.json", "--cluster", cluster, "-o", form))


def test_a_hostile_name_cannot_break_the_line(run: Run, write: Write, cluster: str) -> None:
    """Line breaks and control characters inside values stay inside one line."""
    body = {"kind": "Gang", "metadata": {"name": "a\nb\u001b[2J"}, "spec": {}}
    line = refused(run("plan", write("bad.json", json.dumps(body)), "--cluster", cluster))
    assert "\x1b" not in line
