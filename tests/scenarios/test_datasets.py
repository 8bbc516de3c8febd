"""The shipped clusters, gangs and generators hold what their README says, and plan as they should."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from adapters.cli.plan import Inputs, read_inputs
from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.manifests.gangs import GangOptions
from datasets import generate
from solver import planner
from solver.domain.accelerators import KNOWN_ACCELERATORS
from solver.domain.plan import GangPlan, Status

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = ROOT / "datasets" / "clusters"
GANGS = ROOT / "datasets" / "gangs"
MIXED = "mixed-9-racks.json"

#: file → (nodes, GPUs, free GPUs)
SIZES = {
    "h100-64.yaml": (64, 512, 512),
    "nvl72-72.yaml": (72, 288, 288),
    "mixed-16.yaml": (16, 96, 70),
    MIXED: (34, 228, 89),
}
#: file → pods and GPUs by role
MEMBERS = {
    "1p1d": {"prefill": (1, 1), "decode": (1, 1)},
    "4p8d": {"router": (1, 0), "prefill": (4, 16), "decode": (8, 32)},
    "16p16d": {"prefill": (16, 128), "decode": (16, 128)},
    "wide-ep": {"prefill": (2, 8), "decode": (8, 32)},
    "dynamo-4p8d": {"Router": (1, 0), "Prefill": (4, 16), "Decode": (8, 32)},
    "dynamo-multinode": {"Frontend": (1, 0), "prefill": (2, 8), "decode": (4, 16)},
}
SAME = {"1p1d-rack": "1p1d", "4p8d-block": "4p8d", "16p16d-zone": "16p16d", "wide-ep-nvl": "wide-ep"}


def inputs_of(gang: str, cluster: str) -> Inputs:
    """A shipped gang and a shipped cluster, read as the command reads them."""
    return read_inputs([str(GANGS / f"{gang}.yaml")], [str(CLUSTERS / cluster)], GangOptions())


@pytest.mark.parametrize("file", sorted(path.name for path in CLUSTERS.iterdir()))
def test_clusters_have_the_stated_size(file: str) -> None:
    """Nodes, GPUs and free GPUs, in a small file."""
    snapshot = load_cluster(read_documents([str(CLUSTERS / file)])).snapshot
    gpus = int(snapshot.allocatable[:, snapshot.resources.index("gpu")].sum()) // 1000
    assert (len(snapshot.nodes), gpus, int(snapshot.whole_free_gpus.sum())) == SIZES[file]
    assert (CLUSTERS / file).stat().st_size < 100_000


@pytest.mark.parametrize("name", sorted(path.stem for path in GANGS.iterdir()))
def test_gangs_have_the_stated_members(name: str) -> None:
    """One gang in each file, with the pods and GPUs of each role."""
    found = inputs_of(name, "h100-64.yaml")
    assert len(found.gangs) == 1
    gang = found.gangs[0]
    members = {
        role.name: (len(role.pods), len(role.pods) * KNOWN_ACCELERATORS.devices(role.requests)) for role in gang.roles
    }
    assert members == MEMBERS[SAME.get(name, name)]
    assert gang.flows


def test_generators_give_the_same_site_for_the_same_seed() -> None:
    """Same arguments, same objects; another seed, another site."""
    assert generate.h100_fragmented(64, 0.6, 1) == generate.h100_fragmented(64, 0.6, 1)
    assert generate.h100_fragmented(64, 0.6, 1) != generate.h100_fragmented(64, 0.6, 2)
    assert generate.mixed_site(seed=3) == generate.mixed_site(seed=3)
    assert generate.nvl72_fragmented() == generate.nvl72_fragmented()


def test_the_shipped_list_is_what_the_generator_makes() -> None:
    """The committed file can be made again."""
    shipped = json.loads((CLUSTERS / MIXED).read_text(encoding="utf-8"))
    assert shipped == generate.as_list(generate.mixed_site(racks=9, used=0.5, seed=7))


@pytest.mark.parametrize("nodes", [1, 31, 32, 100, 1024])
def test_h100_sites_have_the_wanted_number_of_nodes(nodes: int) -> None:
    """Racks of at most four, blocks of at most 32 nodes."""
    found = [item for item in generate.h100_fragmented(nodes) if item["kind"] == "Node"]
    assert len({item["metadata"]["name"] for item in found}) == nodes
    labels = [item["metadata"]["labels"] for item in found]
    assert max(Counter(each[generate.RACK] for each in labels).values()) <= 4
    assert max(Counter(each[generate.BLOCK] for each in labels).values()) <= 32


@pytest.mark.parametrize("used", [0.3, 0.75])
def test_others_use_about_the_stated_share_and_never_more_than_there_is(used: float) -> None:
    """No node is overcommitted and the site is about as full as asked."""
    items = generate.h100_fragmented(1024, used)
    held: Counter[str] = Counter()
    for item in items:
        if item["kind"] == "Pod":
            requests = item["spec"]["containers"][0]["resources"]["requests"]
            held[item["spec"]["nodeName"]] += int(requests[generate.GPU])
    assert max(held.values()) <= 8
    assert abs(sum(held.values()) / 8192 - used) < 0.06


def test_nvl72_site_has_domains_of_72_gpus() -> None:
    """18 nodes of 4 GPUs in each NVLink domain."""
    nodes = generate.site_nodes(generate.NVL72_SITE)
    domains = Counter(item["metadata"]["labels"][generate.NVL] for item in nodes)
    assert set(domains.values()) == {18}
    assert len(domains) == 16


def plan_of(gang: str, cluster: str) -> GangPlan:
    """The planner's answer for a shipped pair."""
    found = inputs_of(gang, cluster)
    answer: GangPlan = planner.plan(found.snapshot, found.gangs).gangs[0]
    return answer


@pytest.mark.parametrize(
    ("gang", "cluster", "status", "domains"),
    [
        ("1p1d", "h100-64.yaml", Status.OPTIMAL, {"host": 1}),
        ("1p1d-rack", "mixed-16.yaml", Status.OPTIMAL, {"rack": 1}),
        ("4p8d-block", "h100-64.yaml", Status.OPTIMAL, {"block": 1, "rack": 2}),
        ("4p8d", "nvl72-72.yaml", Status.OPTIMAL, {"nvl": 1}),
        ("16p16d-zone", "h100-64.yaml", Status.OPTIMAL, {"block": 1}),
        ("16p16d", "nvl72-72.yaml", Status.INFEASIBLE, {}),
        ("wide-ep-nvl", "nvl72-72.yaml", Status.OPTIMAL, {"nvl": 1}),
        ("dynamo-4p8d", "h100-64.yaml", Status.OPTIMAL, {"block": 1, "rack": 2}),
        ("dynamo-multinode", "nvl72-72.yaml", Status.OPTIMAL, {"nvl": 1}),
    ],
)
def test_shipped_gangs_plan_as_they_should(gang: str, cluster: str, status: Status, domains: dict[str, int]) -> None:
    """Status, and the fewest domains that can hold the gang."""
    answer = plan_of(gang, cluster)
    assert answer.status is status
    assert {level: answer.domains[level] for level in domains} == domains


def test_the_demo_runs() -> None:
    """The demo prints a proven plan, the comparison, and the command to repeat it."""
    done = subprocess.run([sys.executable, "datasets/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for part in ("prod/llama-70b  OPTIMAL", "legend:", "first fit", "lowest domain, fullest first", "huddle plan"):
        assert part in done.stdout
