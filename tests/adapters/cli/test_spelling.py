"""Words that are nearly right are named together with the right ones."""

import pytest

from adapters.kubernetes.spelling import differs_in_case, suggestion
from tests.adapters.cli.conftest import CLUSTER, GANG, Run, Write


@pytest.mark.parametrize(
    ("word", "told"),
    [("gang", "Gang"), ("GANG", "Gang"), ("Gagn", "Gang"), ("Gangs", "Gang"), ("LeaderWorkerset", "LeaderWorkerSet")],
)
def test_a_near_miss_is_named(word: str, told: str) -> None:
    """Case, a letter too many, two swapped."""
    assert suggestion(word, ("Gang", "Pod", "LeaderWorkerSet")) == f" (did you mean {told}?)"


@pytest.mark.parametrize("word", ["Gang", "Widget", "", "x", "g" * 100_000])
def test_what_is_right_far_off_or_endless_is_not(word: str) -> None:
    """No suggestion is better than a silly one."""
    assert suggestion(word, ("Gang", "Pod")) == ""
    assert not differs_in_case(word, ("Gang", "Pod"))


def test_a_gang_in_small_letters(run: Run, write: Write, cluster: str, gang: str) -> None:
    """Refused with the right word, alone and beside a gang that is spelt well."""
    wrong = write("wrong.yaml", GANG.replace("kind: Gang", "kind: gang"))
    for files in ([wrong], [gang, wrong]):
        result = run("plan", *files, "--cluster", cluster)
        assert result.exit_code == 2
        assert "kind: gang is not understood (did you mean Gang?)" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_field_of_a_gang_and_of_a_cluster(run: Run, write: Write, cluster: str, gang: str) -> None:
    """The field that was meant is named."""
    wrong = write("wrong.yaml", GANG.replace("replicas: 2", "replica: 2"))
    result = run("plan", wrong, "--cluster", cluster)
    assert result.exit_code == 2
    assert "replica: is not a known field (did you mean replicas?)" in result.stderr
    site = write("site.yaml", CLUSTER.replace("gpus: 8", "gpu: 8"))
    result = run("plan", gang, "--cluster", site)
    assert result.exit_code == 2
    assert "gpu: is not a known field (did you mean gpus?)" in result.stderr


@pytest.mark.parametrize("command", ["plan", "topology"])
def test_a_cluster_in_small_letters(run: Run, write: Write, gang: str, command: str) -> None:
    """It would count for nothing."""
    site = write("site.yaml", CLUSTER.replace("kind: Cluster", "kind: cluster"))
    result = run(command, *([gang] if command == "plan" else []), "--cluster", site)
    assert result.exit_code == 2
    assert "kind: cluster is not understood (did you mean Cluster?)" in result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: n}}", "only Pod"),
        ("{apiVersion: v1, kind: Nodes, metadata: {name: p}}", "only Nodes (did you mean Node?)"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: p}}", "only Namespace"),
    ],
)
def test_a_topology_without_nodes(run: Run, write: Write, text: str, told: str) -> None:
    """There is nothing to show, and one line says what there is instead."""
    result = run("topology", "--cluster", write("c.yaml", text))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1
