"""Published Dynamo manifests, read from the shared datasets; the expected numbers were counted by hand."""

import os
from pathlib import Path

import pytest
import yaml

from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import GangInput, read_gangs
from solver.domain.accelerators import KNOWN_ACCELERATORS
from solver.domain.gang import Gang

EXPECTED = {
    # file: gang, pods and GPUs by role, bytes of the KV cache of 4,000 tokens
    "vllm-disagg.yaml": (
        "vllm-disagg",
        {"Frontend": (1, 0), "VllmDecodeWorker": (1, 1), "VllmPrefillWorker": (1, 1)},
        458_752_000,
    ),
    "vllm-disagg-v1beta1.yaml": (
        "vllm-disagg",
        {"Frontend": (1, 0), "VllmDecodeWorker": (1, 1), "VllmPrefillWorker": (1, 1)},
        458_752_000,
    ),
    "vllm-disagg-multinode.yaml": (
        "vllm-disagg",
        {"Frontend": (1, 0), "decode": (2, 2), "prefill": (2, 2)},
        458_752_000,
    ),
    "sglang-disagg-multinode.yaml": (
        "sglang-disagg-multinode",
        {"Frontend": (1, 0), "decode": (2, 8), "prefill": (2, 8)},
        458_752_000,
    ),
    "trtllm-disagg-multinode.yaml": (
        "trtllm-disagg-tp8",
        {"Frontend": (1, 0), "decode": (2, 8), "prefill": (2, 8)},
        458_752_000,
    ),
    "llama-3-70b-disagg-single-node.yaml": (
        "llama3-70b-disagg-sn",
        {"Frontend": (1, 0), "VllmPrefillWorker": (2, 4), "VllmDecodeWorker": (1, 4)},
        1_310_720_000,
    ),
    "deepseek-r1-vllm-hopper-16gpu.yaml": (
        "vllm-dsr1",
        {"Frontend": (1, 0), "decode": (2, 16), "prefill": (2, 16)},
        281_088_000,
    ),
    "deepseek-r1-trtllm-wide-ep-gb200.yaml": (
        "trtllm-disagg-multinode",
        {"Frontend": (1, 0), "prefill": (1, 4), "decode": (8, 32)},
        281_088_000,
    ),
}


def _folder() -> Path:
    root = os.environ.get("HUDDLE_DATASETS")
    if not root:
        pytest.skip("HUDDLE_DATASETS is not set")
    folder = Path(root) / "manifests" / "dynamo"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder


def _read(path: Path) -> GangInput:
    text = path.read_text("utf-8")
    return read_gangs([Document(body, path.name) for body in yaml.safe_load_all(text) if body])


def _totals(gang: Gang) -> dict[str, tuple[int, int]]:
    """Role → pods and GPUs of all of them."""
    return {
        role.name: (len(role.pods), len(role.pods) * KNOWN_ACCELERATORS.devices(role.requests)) for role in gang.roles
    }


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_published_deployments(name: str) -> None:
    """Every published file gives one gang with the pods, GPUs and KV bytes it declares, all of them needed."""
    path = _folder() / name
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    expected_name, totals, kv_bytes = EXPECTED[name]
    found = _read(path)
    (gang,) = found.gangs
    assert gang.name == f"default/{expected_name}"
    assert _totals(gang) == totals
    assert gang.flows[0].bytes == kv_bytes
    assert [str(flow).split(" → ")[0].lower() for flow in gang.flows][1] == "frontend"
    assert all(role.min == role.replicas for role in gang.roles)
    expected = {"unsupported_soft", "volume_ignored"}  # the claims stand in no published file
    assert {notice.code for notice in found.all_notices} <= expected


def test_no_published_file_is_left_out() -> None:
    """Every file of the folder has its numbers here."""
    assert {path.name for path in _folder().glob("*.yaml")} == set(EXPECTED)
