"""What the command line of an inference engine says: model, tensor parallelism, side of disaggregation.

Flags come as separate words or inside one shell string; variables are those of the container.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from adapters.kubernetes.objects import Fields
from adapters.manifests.models import DEFAULT_DTYPE_BYTES
from solver.domain.gang import Kind

_MODEL_FLAGS = ("--served-model-name", "--model", "--model-path")
_MODEL_VARIABLES = ("SERVED_MODEL_NAME", "MODEL_NAME", "MODEL", "MODEL_PATH", "MODEL_ID")
_TP_FLAGS = ("--tensor-parallel-size", "--tp-size", "--tp", "-tp")
_MODE_FLAGS = {"--is-prefill-worker": Kind.PREFILL, "--is-decode-worker": Kind.DECODE}
_MODES = {"prefill": Kind.PREFILL, "decode": Kind.DECODE}
_VARIABLE = re.compile(r"\$(?:\((\w+)\)|\{(\w+)\}|(\w+))")
_LONGEST_VALUE = 65_536


@dataclass(frozen=True, slots=True)
class Engine:
    """models: names the engine gives its model, best first. tp: None if not said. side: prefill, decode or None.

    dtype_bytes: of one element of its KV cache.
    """

    models: tuple[str, ...] = ()
    tp: int | None = None
    dtype_bytes: int = DEFAULT_DTYPE_BYTES
    side: Kind | None = None

    @property
    def is_stated(self) -> bool:
        """Whether the command line is one of an inference engine: it names a model, ranks or a side."""
        return bool(self.models or self.tp or self.side)


def read_engine(container: Fields, *outer_env: Sequence[Fields]) -> Engine:
    """The engine of a container (`command`, `args`, `env`); `outer_env` are variables it inherits, weakest first."""
    env = _variables([entry for entries in outer_env for entry in entries] + list(container.parts("env")))
    words = _words((*container.words("command"), *container.words("args")), env)
    flags = _flags(words)
    models = [flags[flag] for flag in _MODEL_FLAGS if flags.get(flag)]
    models += _served(words)
    models += [env[name] for name in _MODEL_VARIABLES if env.get(name)]
    return Engine(
        models=tuple(dict.fromkeys(models)),
        tp=_positive(next((flags[flag] for flag in _TP_FLAGS if flag in flags), "")),
        dtype_bytes=1 if flags.get("--kv-cache-dtype", "").startswith("fp8") else DEFAULT_DTYPE_BYTES,
        side=_side(flags),
    )


def _variables(entries: Iterable[Fields]) -> dict[str, str]:
    env: dict[str, str] = {}
    for entry in entries:
        value = entry.text("value", "")
        if value:
            env[entry.text("name")] = _expanded(value, env)
    return env


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """The text with known variables replaced; unknown ones stay."""

    def value(match: re.Match[str]) -> str:
        return env.get(match.group(1) or match.group(2) or match.group(3), match.group(0))

    return _VARIABLE.sub(value, text)[:_LONGEST_VALUE]


def _words(parts: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The words of a command line; a part with blanks in it is taken for a shell string."""
    words: list[str] = []
    for part in parts:
        text = _expanded(part, env)
        if len(text.split()) < 2:
            words.append(text.strip())
            continue
        text = text.replace("\\\n", " ")
        try:
            words += shlex.split(text)
        except ValueError:  # a quote that never closes
            words += text.split()
    return words


def _flags(words: Sequence[str]) -> dict[str, str]:
    """Flag → value; a flag without one has an empty value, the last mention counts."""
    found: dict[str, str] = {}
    for word, following in pairwise((*words, "")):
        if not word.startswith("-"):
            continue
        flag, equals, value = word.partition("=")
        found[flag] = value if equals else "" if following.startswith("-") else following
    return found


def _served(words: Sequence[str]) -> list[str]:
    """The model of `vllm serve <model>`."""
    return [model for word, model in pairwise(words) if word == "serve" and not model.startswith("-")][:1]


def _side(flags: Mapping[str, str]) -> Kind | None:
    for flag, kind in _MODE_FLAGS.items():
        if flag in flags:
            return kind
    return _MODES.get(flags.get("--disaggregation-mode", ""))


def _positive(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else None
