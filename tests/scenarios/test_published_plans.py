"""Every published Dynamo manifest plans on a cluster that is big enough, with the pods and GPUs it declares."""

import os
from collections import Counter
from pathlib import Path

import pytest

from adapters.files.documents import read_documents
from adapters.manifests.gangs import read_gangs
from solver.domain.accelerators import KNOWN_ACCELERATORS
from solver.domain.resources import EPHEMERAL_STORAGE
from solver.domain.snapshot import Snapshot
from solver.planner import Engine
from support.builders import GIB, cluster, node
from tests.adapters.manifests.test_published_files import EXPECTED
from tests.unit.planner.solving import each_engine, placed

GB200 = "deepseek-r1-trtllm-wide-ep-gb200.yaml"
MORE = {"rdma/ib": 8, EPHEMERAL_STORAGE: 1024 * GIB}


def _folder() -> Path:
    root = os.environ.get("HUDDLE_DATASETS")
    folder = Path(root or "") / "manifests" / "dynamo"
    if not root or not folder.is_dir():
        pytest.skip("the published manifests are not here; HUDDLE_DATASETS names the folder that has them")
    return folder


def _h100() -> Snapshot:
    """Eight racks of four 8-GPU nodes, four racks in a zone."""
    return cluster(
        *(
            node(f"h{rack}-{at}", 8, 192, memory=2048, more=MORE, zone=f"z{rack // 4}", rack=f"r{rack}")
            for rack in range(8)
            for at in range(4)
        )
    )


def _gb200() -> Snapshot:
    """Four NVLink domains of 18 four-GPU nodes, each in a rack of its own."""
    return cluster(
        *(
            node(f"g{domain}-{at}", 4, 144, memory=960, more=MORE, rack=f"r{domain}", nvl=f"v{domain}")
            for domain in range(4)
            for at in range(18)
        )
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
@each_engine
def test_published_manifests_plan(name: str, engine: Engine) -> None:
    """The plan is proven optimal and holds every pod with its GPUs; what fits one domain stays there."""
    path = _folder() / name
    if not path.is_file():
        pytest.skip(f"{name} is not among the published manifests")
    gang_name, totals, _ = EXPECTED[name]
    (gang,) = read_gangs(read_documents([str(path)])).gangs
    snapshot = _gb200() if name == GB200 else _h100()
    answer = placed(snapshot, gang, engine)
    assert answer.name == f"default/{gang_name}"
    gpus = {role.name: KNOWN_ACCELERATORS.devices(role.requests) for role in gang.roles}
    pods = Counter(item.role for item in answer.assignments)
    assert {role: (count, count * gpus[role]) for role, count in pods.items()} == totals
    assert {item.pod for item in answer.assignments} == {pod for role in gang.roles for pod in role.pods}
    assert all(count == 1 for level, count in answer.domains.items() if level != "host")
    assert all(flow.transfer_us > 0 for flow in answer.flows)


def test_every_published_manifest_is_planned() -> None:
    """No file of the folder is left out above."""
    assert {path.name for path in _folder().glob("*.yaml")} <= set(EXPECTED)
