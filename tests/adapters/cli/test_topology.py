"""`huddle topology` from files to text."""

import json

import yaml

from tests.adapters.cli.conftest import CLUSTER, Run, Write


def test_table_shows_levels_and_free_gpus(run: Run, cluster: str) -> None:
    """Levels, domain counts, free GPUs."""
    result = run("topology", "--cluster", cluster)
    assert result.exit_code == 0, result.stderr
    assert "8 nodes (0 closed), 64 of 64 GPUs free" in result.stdout
    rack = next(line for line in result.stdout.splitlines() if line.startswith("rack"))
    assert rack.split()[:5] == ["rack", "2", "64/64", "32", "32"]


def test_json_and_yaml_agree(run: Run, cluster: str) -> None:
    """Both stable forms say the same."""
    document = json.loads(run("topology", "--cluster", cluster, "-o", "json").stdout)
    assert document == yaml.safe_load(run("topology", "--cluster", cluster, "-o", "yaml").stdout)
    assert [level["name"] for level in document["topologies"][0]["levels"]] == ["root", "zone", "rack", "host"]


def test_cluster_may_be_split_over_files_and_standard_input(run: Run, write: Write, cluster: str) -> None:
    """`--cluster` repeats, and one of them may be `-`."""
    extra = write(
        "extra.yaml",
        "kind: Node\nmetadata: {name: x1}\nstatus: {allocatable: {nvidia.com/gpu: 8, pods: 10},"
        " conditions: [{type: Ready, status: 'True'}]}\n",
    )
    text = CLUSTER.replace("\n    ", "\n")
    result = run("topology", "--cluster", "-", "--cluster", extra, text=text)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("9 nodes")
    assert "left out: 1 node without label topology.kubernetes.io/rack (level rack): x1" in result.stdout
