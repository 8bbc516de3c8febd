"""The table of model shapes and the names it answers to."""

import pytest

from adapters.manifests.models import (
    collective_bytes_per_token,
    find_model,
    known_models,
    kv_bytes_per_token,
    named_model,
)
from solver.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("llama-3-70b", "llama-3-70b"),
        ("LLAMA-3-70B", "llama-3-70b"),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3-70b"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3-70b"),
        (
            "/opt/models/hub/models--RedHatAI--Llama-3.3-70B-Instruct-FP8-dynamic/snapshots/ddb41285",
            "llama-3-70b",
        ),
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama-3-8b"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama-3-405b"),
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("Qwen/Qwen3-32B-FP8", "qwen3-32b"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "qwen3-coder-480b"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseek-r1"),
        ("/model-cache/deepseek-r1-fp4/", "deepseek-r1"),
        ("moonshotai/Kimi-K2-Instruct", "deepseek-r1"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5"),
    ],
)
def test_names_are_found_whatever_surrounds_them(written: str, key: str) -> None:
    """Organisation, case, path and suffix do not hide a model."""
    shape = find_model(written)
    assert shape is not None
    assert shape.name == key


@pytest.mark.parametrize(
    "written",
    [
        "",
        "my-model",
        "llama-3-170b",
        "Qwen/Qwen2.5-32B",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "meta-llama/Llama-3.2-3B",
    ],
)
def test_other_models_are_not_taken_for_known_ones(written: str) -> None:
    """A name that merely resembles a known one finds nothing."""
    assert find_model(written) is None


def test_a_model_asked_for_must_be_known() -> None:
    """An unknown --model is refused with the names that are known."""
    with pytest.raises(InvalidRequest, match=r"^--model: 'gpt-9' is not known; known are deepseek-r1, .*qwen3-8b"):
        named_model("gpt-9")
    assert all(named_model(name).name == name for name in known_models())


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("llama-3-8b", 65_536),
        ("llama-3-70b", 163_840),
        ("llama-3-405b", 258_048),
        ("qwen3-0.6b", 57_344),
        ("qwen3-8b", 73_728),
        ("qwen3-32b", 131_072),
        ("qwen3-30b-a3b", 49_152),
        ("qwen3-235b-a22b", 96_256),
        ("qwen3-coder-480b", 126_976),
        ("qwen3.5-397b", 15_360),
        ("deepseek-r1", 35_136),
        ("glm-5", 44_928),
        ("mixtral-8x7b", 65_536),
        ("minimax-m2.5", 126_976),
    ],
)
def test_elements_per_token(name: str, elements: int) -> None:
    """Elements per token agree with the published configurations; one byte each makes them visible."""
    assert kv_bytes_per_token(named_model(name), dtype_bytes=1) == elements


def test_heads_are_replicated_above_one_rank_per_head() -> None:
    """More ranks than KV heads multiply the bytes; fewer ranks and latent caches do not."""
    qwen, deepseek = named_model("qwen3-235b-a22b"), named_model("deepseek-r1")
    assert kv_bytes_per_token(qwen, tp=4) == 192_512
    assert kv_bytes_per_token(qwen, tp=8) == 2 * 192_512
    assert kv_bytes_per_token(deepseek, tp=32) == kv_bytes_per_token(deepseek) == 70_272


def test_what_ranks_send_for_a_token() -> None:
    """Two reductions of a 16-bit activation in every layer, also in those that hold no cache."""
    assert collective_bytes_per_token(named_model("llama-3-70b")) == 2 * 80 * 8192 * 2
    assert collective_bytes_per_token(named_model("qwen3.5-397b")) == 2 * 60 * 4096 * 2
    assert all(collective_bytes_per_token(named_model(name)) > 0 for name in known_models())
