"""JSON patches applied as the API server applies them, as far as they are used here."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any


def json_patched(body: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The object after `test`, `add` and `remove`; raises AssertionError when a test fails."""
    later = copy.deepcopy(dict(body))
    for operation in operations:
        parts = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        *parents, last = parts
        here: Any = later
        for part in parents:
            here = here[int(part)] if isinstance(here, list) else here[part]
        if operation["op"] == "test":
            assert here.get(last) == operation["value"], f"the test of {operation['path']} failed"
        elif operation["op"] == "remove":
            del here[int(last) if isinstance(here, list) else last]
        elif isinstance(here, list):
            here.insert(len(here) if last == "-" else int(last), copy.deepcopy(operation["value"]))
        else:
            here[last] = copy.deepcopy(operation["value"])
    return later


def merge_patched(body: Any, patch: Any) -> Any:
    """The object after a merge patch."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    found = dict(body) if isinstance(body, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge_patched(found.get(key), value)
    return found
