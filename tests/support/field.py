"""Cases modelled on public reports of gang schedulers' users: which there are, and whether an answer is the right one.

The folder that the variable HUDDLE_FIELD names holds one folder a case: `gangs.yaml`, `cluster.yaml` and
`expect.json`. What is expected: `exit` allowed exit codes, `stderr` texts it has to name, `warning` texts that some
warning names, `count` gangs by status, `gangs` by name (`status` allowed, `code` one of its reasons', `on` pods by
node, `prefix` pods by start of the node's name, `placed` pods, `pods` pattern → allowed nodes, `objective` term →
value and tolerance), `any` alternatives of which one holds, `args` further arguments of `huddle plan`.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `huddle plan -o json` came to. answer: what it printed; empty without an answer."""

    exit_code: int
    answer: Json
    stderr: str


def cases() -> list[Any]:
    """One pytest parameter a case; a single one that is skipped where there are none."""
    root = os.environ.get("HUDDLE_FIELD")
    found = sorted(Path(root).glob("*/expect.json")) if root else []
    if not found:
        why = "HUDDLE_FIELD does not name the folder of the cases from the field"
        return [pytest.param(Path(), marks=pytest.mark.skip(reason=why), id="absent")]
    return [pytest.param(path.parent, id=path.parent.name) for path in found]


def arguments(case: Path) -> list[str]:
    """The arguments of `huddle plan` for a case."""
    files = [str(case / "gangs.yaml"), "--cluster", str(case / "cluster.yaml")]
    return [*files, "-o", "json", *map(str, expected(case).get("args", ()))]


def expected(case: Path) -> Json:
    """What a case expects."""
    found: Json = json.loads((case / "expect.json").read_text("utf-8"))
    return found


def outcome(exit_code: int, stdout: str, stderr: str) -> Outcome:
    """The outcome of a call from what it printed."""
    return Outcome(exit_code, json.loads(stdout) if stdout.strip() else {}, stderr)


def differences(expect: Json, found: Outcome) -> list[str]:
    """What is not as expected, one sentence each; none where all is."""
    if "any" in expect:
        alternatives = [differences(each, found) for each in expect["any"]]
        return [] if [] in alternatives else [" or ".join(each[0] for each in alternatives)]
    return list(_differences(expect, found))


def _differences(expect: Json, found: Outcome) -> Iterator[str]:
    if found.exit_code not in expect.get("exit", [found.exit_code]):
        yield f"exit {found.exit_code}, not {expect['exit']}: {found.stderr}"
    for text in expect.get("stderr", ()):
        if text.lower() not in found.stderr.lower():
            yield f"stderr does not name {text!r}: {found.stderr}"
    said = _warnings(found.answer)
    for text in expect.get("warning", ()):
        if not any(text in warning for warning in said):
            yield f"no warning names {text!r}: {said}"
    gangs = {gang["name"]: gang for gang in found.answer.get("gangs", ())}
    counted = Counter(gang["status"] for gang in gangs.values())
    for status, count in expect.get("count", {}).items():
        if counted[status] != count:
            yield f"{counted[status]} gangs are {status}, not {count}"
    for name, wanted in expect.get("gangs", {}).items():
        if name not in gangs:
            yield f"no gang {name}; there are {sorted(gangs)}"
        else:
            yield from (f"{name}: {each}" for each in _of_gang(wanted, gangs[name]))


def _warnings(answer: Json) -> list[str]:
    whole = [*answer.get("warnings", ()), *(each for gang in answer.get("gangs", ()) for each in gang["warnings"])]
    return [" ".join(map(str, each.values())) for each in whole]


def _of_gang(wanted: Json, gang: Json) -> Iterator[str]:
    nodes = {item["pod"]: item["node"] for item in gang["assignments"]}
    codes = [reason["code"] for reason in gang["reasons"]]
    if gang["status"] not in wanted.get("status", [gang["status"]]):
        yield f"{gang['status']}, not {wanted['status']}: {codes} {nodes}"
    allowed = wanted.get("code", [])
    if allowed and not set([allowed] if isinstance(allowed, str) else allowed) & set(codes):
        yield f"reasons {codes}, not {allowed}"
    if len(nodes) != wanted.get("placed", len(nodes)):
        yield f"{len(nodes)} pods placed, not {wanted['placed']}"
    for node, count in wanted.get("on", {}).items():
        if Counter(nodes.values())[node] != count:
            yield f"{Counter(nodes.values())[node]} pods on {node}, not {count}: {nodes}"
    for start, count in wanted.get("prefix", {}).items():
        here = sum(node.startswith(start) for node in nodes.values())
        if here != count:
            yield f"{here} pods on {start}*, not {count}: {nodes}"
    for pattern, places in wanted.get("pods", {}).items():
        matching = {pod: node for pod, node in nodes.items() if fnmatchcase(pod, pattern)}
        if not matching or not set(matching.values()) <= set(places):
            yield f"pods {pattern} on {matching}, not on {places}"
    values = {item["term"]: item["value"] for item in gang["objective"]}
    for term, (value, tolerance) in wanted.get("objective", {}).items():
        if term not in values or abs(values[term] - value) > tolerance:
            yield f"{term} is {values.get(term)}, not {value}"
