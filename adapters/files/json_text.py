"""JSON text → values, without what Kubernetes would not accept either: repeated keys, NaN, endless nesting."""

import json
import re
from typing import Any, NoReturn

from adapters.files.parsed import MAX_DEPTH, Parsed, TextError, as_float
from adapters.kubernetes.objects import shown

#: Between the values of a stream: white space and YAML's document separator.
_GAP = re.compile(r"(?:\s|^---(?=\s|$))*", re.MULTILINE)


def read_json(text: str) -> list[Parsed]:
    """The values of a stream of JSON texts.

    Raises TextError for a syntax error, a key repeated within one mapping, numbers that are not finite, and
    nesting deeper than `MAX_DEPTH`.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_mapping, parse_float=as_float, parse_constant=_not_finite)
    found: list[Parsed] = []
    position = _end_of_gap(text, 0)
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise TextError(f"is not JSON: {error.msg}", error.lineno, syntax=True) from error
        except RecursionError as error:
            raise TextError(f"is nested deeper than {MAX_DEPTH} levels", line) from error
        except TextError as error:
            raise TextError(error.problem, line) from error
        except ValueError as error:  # a number with thousands of digits
            raise TextError("holds a number with too many digits", line) from error
        _refuse_depth(value, line)
        found.append(Parsed(value, line))
        position = _end_of_gap(text, position)
    return found


def _end_of_gap(text: str, position: int) -> int:
    match = _GAP.match(text, position)
    return match.end() if match else position


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise TextError(f"key {shown(key)} appears twice in one mapping")
            seen.add(key)
    return found


def _not_finite(word: str) -> NoReturn:
    raise TextError(f"{word} is not a number")


def _refuse_depth(value: Any, line: int) -> None:
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            child
            for parent in layer
            for child in (parent.values() if type(parent) is dict else parent if type(parent) is list else ())
            if type(child) is dict or type(child) is list
        ]
        if not layer:
            return
    raise TextError(f"is nested deeper than {MAX_DEPTH} levels", line)
