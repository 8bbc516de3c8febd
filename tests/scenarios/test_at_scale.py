"""1,024 nodes, 8,192 GPUs: the standing gangs are proven optimal, by the tree and by CP-SAT."""

from pathlib import Path

import pytest

from adapters.cli.plan import read_inputs
from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.manifests.gangs import GangOptions
from datasets import generate
from solver.domain.plan import Proof, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Options, plan

GANGS = Path(__file__).resolve().parents[2] / "datasets" / "gangs"


@pytest.fixture(scope="module")
def worn_site(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A worn H100 site of 1,024 nodes, generated and read as kubectl prints it."""
    file = tmp_path_factory.mktemp("site") / "site.json"
    generate.write_list(generate.h100_fragmented(nodes=1024, used=0.4, seed=3), file)
    return load_cluster(read_documents([str(file)])).snapshot


@pytest.mark.parametrize("name", ["4p8d", "16p16d"])
def test_standing_gangs_are_proven_optimal(worn_site: Snapshot, name: str) -> None:
    """Every term has its bound, both engines agree, and the statistics say where the time went."""
    gang_file = str(GANGS / f"{name}.yaml")
    (gang,) = read_inputs([gang_file], [gang_file], GangOptions()).gangs
    (answer,) = plan(worn_site, [gang], Options(time_limit_s=120)).gangs
    assert answer.status is Status.OPTIMAL
    assert all(term.bound == term.value for term in answer.objective)
    stats = answer.stats
    assert (stats.nodes, stats.proof) == (1024, Proof.BOTH)
    assert min(stats.compile_ms, stats.bound_ms, stats.search_ms, stats.verify_ms) > 0
    assert 0 < stats.classes < 100
