"""`huddle calibrate`: tiers from measured transfers."""

import json

import pytest
import yaml

from adapters.files.cluster import load_cluster
from adapters.kubernetes.objects import Document
from tests.adapters.cli.conftest import Run, Write

MEASURED = "level,bytes,ms,gpus\n" + "".join(
    f"{level},{size},{setup + size / (gbps * 4 * 1e6)},4\n"
    for level, gbps, setup in (("rack", 18, 0.4), ("zone", 9, 0.7))
    for size in (10**7, 10**8, 10**9)
)


def test_what_it_writes_is_a_topology(run: Run, write: Write) -> None:
    """The levels of the answer stand in a Cluster as they are, and are its tiers there."""
    result = run("calibrate", "--transfers", write("m.csv", MEASURED), "-o", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert [fit["points"] for fit in document["fits"]] == [3, 3]
    levels = document["levels"][::-1]
    spec = {"topology": {"levels": levels}, "nodes": [{"prefix": "h", "count": 2, "gpus": 8}]}
    loaded = load_cluster(
        [
            Document(
                {
                    "apiVersion": "huddle.scheduler/v1alpha1",
                    "kind": "Cluster",
                    "metadata": {"name": "site"},
                    "spec": spec,
                },
                "site",
            )
        ]
    )
    (topology,) = loaded.snapshot.topologies.values()
    tiers = {level.name: level.tier for level in topology.levels if level.tier}
    assert {name: (tier.gbps, tier.setup_us) for name, tier in tiers.items()} == {
        "zone": (pytest.approx(9), pytest.approx(700)),
        "rack": (pytest.approx(18), pytest.approx(400)),
    }


def test_the_table_ends_with_what_to_paste(run: Run, write: Write) -> None:
    """Errors first, then YAML."""
    result = run("calibrate", "--transfers", write("m.csv", MEASURED))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == [
        "LEVEL", "POINTS", "SET-UP", "US", "GB/S", "A", "GPU", "MEAN", "ERROR", "LARGEST",
    ]  # fmt: skip
    pasted = result.stdout.partition("of a Cluster:\n")[2]
    assert [level["name"] for level in yaml.safe_load(pasted)] == ["rack", "zone"]


def test_refusals_are_one_line(run: Run, write: Write) -> None:
    """Too few points, and what is not built yet."""
    short = run("calibrate", "--transfers", write("m.csv", "level,bytes,ms\nrack,1000,1\n"))
    assert (short.exit_code, short.stdout) == (2, "")
    assert short.stderr.count("\n") == 1
    assert "level rack" in short.stderr
    later = run("calibrate", "--transfers", "x", "--ttft", "y")
    assert (later.exit_code, later.stderr) == (2, "huddle: --ttft is not available yet\n")
