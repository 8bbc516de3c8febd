"""Shapes of known models: how many bytes of KV cache one prompt token leaves behind, and what engines exchange.

Figures are those of the published model configurations. Layers with a window or with linear attention hold a
constant, not something per token, and are left out. An FP8 checkpoint says nothing about its KV cache: that stays
at two bytes unless the engine is told otherwise.
"""

import re
from dataclasses import dataclass

from solver.domain.errors import InvalidRequest

#: The model assumed where none is named.
DEFAULT_MODEL = "llama-3-70b"

#: Bytes of one cached element unless the engine's flags say otherwise (16-bit floats).
DEFAULT_DTYPE_BYTES = 2

#: Highest tensor parallelism that is believed; larger values are a mistake.
MAX_TP = 100_000


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the KV cache of a model looks like.

    layers: those whose cache grows with the prompt. kv_heads, head_dim: of grouped-query attention, both 0 with
    multi-head latent attention, which caches kv_lora_rank + rope_dim elements per layer instead. hidden: elements of
    one token's activation between layers. depth: all layers, 0 = as many as hold a cache.
    """

    name: str
    layers: int
    kv_heads: int = 0
    head_dim: int = 0
    kv_lora_rank: int = 0
    rope_dim: int = 0
    hidden: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """A shape and the expression that finds it in a normalised model name."""

    shape: ModelShape
    found_by: str


_ENTRIES = (
    _Entry(ModelShape("llama-3-8b", 32, 8, 128, hidden=4096), r"llama-?3(-1)?-8b|distill-llama-8b"),
    _Entry(ModelShape("llama-3-70b", 80, 8, 128, hidden=8192), r"llama-?3(-[13])?-70b|distill-llama-70b"),
    _Entry(ModelShape("llama-3-405b", 126, 8, 128, hidden=16384), r"llama-?3(-1)?-405b"),
    _Entry(ModelShape("qwen3-0.6b", 28, 8, 128, hidden=1024), r"qwen-?3-0-6b"),
    _Entry(ModelShape("qwen3-8b", 36, 8, 128, hidden=4096), r"qwen-?3-8b"),
    _Entry(ModelShape("qwen3-32b", 64, 8, 128, hidden=5120), r"qwen-?3-32b"),
    _Entry(ModelShape("qwen3-30b-a3b", 48, 4, 128, hidden=2048), r"qwen-?3-(coder-)?30b-a3b"),
    _Entry(ModelShape("qwen3-235b-a22b", 94, 4, 128, hidden=4096), r"qwen-?3-235b-a22b"),
    _Entry(ModelShape("qwen3-coder-480b", 62, 8, 128, hidden=6144), r"qwen-?3-coder-480b(-a35b)?"),
    _Entry(ModelShape("qwen3.5-397b", 15, 2, 256, hidden=4096, depth=60), r"qwen-?3-5-397b(-a17b)?"),
    _Entry(
        ModelShape("deepseek-r1", 61, kv_lora_rank=512, rope_dim=64, hidden=7168),
        r"deepseek-(r1|v3)(?!.*distill)|kimi-k2",
    ),
    _Entry(ModelShape("glm-5", 78, kv_lora_rank=512, rope_dim=64, hidden=6144), r"glm-5"),
    _Entry(
        ModelShape("gpt-oss-120b", 18, 8, 64, hidden=2880, depth=36), r"gpt-oss-120b"
    ),  # 18 of its 36 layers see a window only
    _Entry(ModelShape("mixtral-8x7b", 32, 8, 128, hidden=4096), r"mixtral-8x7b"),
    _Entry(ModelShape("minimax-m2.5", 62, 8, 128, hidden=3072), r"minimax-m2-5"),
)
_SHAPES = {entry.shape.name: entry.shape for entry in _ENTRIES}
_PATTERNS = [(re.compile(rf"(?:^|-)(?:{entry.found_by})(?:-|$)"), entry.shape) for entry in _ENTRIES]
_HUB_FOLDER = re.compile(r"models--(?:[^/]*--)?([^/]+)")


def known_models() -> tuple[str, ...]:
    """Names of the table, sorted."""
    return tuple(sorted(_SHAPES))


def find_model(name: str) -> ModelShape | None:
    """The shape of a model by its table name, its name on a hub or a path that ends in it; None if unknown.

    Case, organisation, separators and suffixes such as `-Instruct` or `-FP8` do not matter.
    """
    if name.lower() in _SHAPES:
        return _SHAPES[name.lower()]
    plain = _normalised(name)
    return next((shape for pattern, shape in _PATTERNS if pattern.search(plain)), None)


def named_model(name: str) -> ModelShape:
    """The shape of the model a user asks for; raises InvalidRequest with the known names if there is none."""
    shape = find_model(name)
    if shape is None:
        raise InvalidRequest(f"--model: {name!r} is not known; known are {', '.join(known_models())}")
    return shape


def kv_bytes_per_token(shape: ModelShape, tp: int = 1, dtype_bytes: int = DEFAULT_DTYPE_BYTES) -> int:
    """Bytes of KV cache of one token, over all `tp` tensor-parallel ranks of an engine.

    Above one rank per KV head the heads are replicated, tp / kv_heads times. A latent cache is counted once.
    """
    if shape.kv_lora_rank:
        return shape.layers * (shape.kv_lora_rank + shape.rope_dim) * dtype_bytes
    heads = max(shape.kv_heads, min(tp, MAX_TP))
    return 2 * shape.layers * heads * shape.head_dim * dtype_bytes


def collective_bytes_per_token(shape: ModelShape) -> int:
    """Bytes that each rank of an engine sends for one token: two reductions of its 16-bit activation in every layer.

    That is what tensor parallelism does after attention and after the feed-forward part; the exchange of experts that
    takes the place of the second one is of the same order.
    """
    return 2 * (shape.depth or shape.layers) * shape.hidden * DEFAULT_DTYPE_BYTES


def _normalised(name: str) -> str:
    """Lower case, the last part of a path (or the model of a hub cache folder), words joined by dashes."""
    folder = _HUB_FOLDER.search(name)
    last = folder.group(1) if folder else name.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")
