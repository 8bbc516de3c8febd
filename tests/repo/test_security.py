"""SECURITY.md: every line of its tables is held by tests that exist and run, or says why it is accepted."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.render import objects

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
LEAST_ROWS = 30


def rows(text: str) -> list[tuple[str, str]]:
    """(what, held by) of every row of every table."""
    found = re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return [(what, held) for what, held in found if (what, held) != ("what", "held by")]


def wrong(held: str, root: Path = ROOT) -> list[str]:
    """What does not hold a row: tests that are missing or skipped, or nothing at all."""
    if held.startswith("accepted: "):
        return [] if len(held.split()) > 5 else ["no reason is given"]
    return [problem for name in held.split(", ") if (problem := _problem(name, root))]


def _problem(name: str, root: Path) -> str:
    path, _, function = name.partition("::")
    file = root / path
    if not re.fullmatch(r"tests/[\w/]+\.py", path) or not file.exists():
        return f"{name}: there is no such file"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(file.read_text("utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, functions) and node.name == function]
    if not found:
        return f"{name}: there is no such test"
    return f"{name}: it does not always run" if _is_idle(found[0], tree) else ""


def _is_idle(test: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> bool:
    """Whether it is left out by a mark of its own, of its module or behind a name, or by what it does itself.

    skipif is for what the platform lacks; marks of single parameters leave the others.
    """
    values = {
        target.id: assigned.value
        for assigned in module.body
        if isinstance(assigned, ast.Assign)
        for target in assigned.targets
        if isinstance(target, ast.Name)
    }
    marks: list[ast.expr] = [*test.decorator_list]
    if all_of_it := values.get("pytestmark"):
        marks += all_of_it.elts if isinstance(all_of_it, ast.List | ast.Tuple) else [all_of_it]
    named = [values.get(mark.id, mark) if isinstance(mark, ast.Name) else mark for mark in marks]
    bare = [mark.func if isinstance(mark, ast.Call) else mark for mark in named]
    idle = any(re.fullmatch(r"pytest\.mark\.(skip|xfail|soak)", ast.unparse(mark)) for mark in bare)
    calls = (ast.unparse(node.func) for node in ast.walk(test) if isinstance(node, ast.Call))
    return idle or any(re.fullmatch(r"pytest\.(skip|xfail)", call) for call in calls)


@pytest.mark.parametrize("what", [what for what, _ in rows(TEXT)])
def test_every_line_is_held(what: str) -> None:
    """By tests, or by a reason."""
    (held,) = [held for each, held in rows(TEXT) if each == what]
    assert wrong(held) == []


def test_the_tables_are_read() -> None:
    """All of them: no line has another form."""
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    heads = TEXT.count("| what | held by |")
    assert len(rows(TEXT)) == len(lines) - 2 * heads >= LEAST_ROWS


@pytest.mark.parametrize(
    ("held", "problem"),
    [
        ("", "no such file"),
        ("it is fine", "no such file"),
        ("accepted: so it is", "no reason"),
        ("tests/repo/test_security.py::test_that_is_not_there", "no such test"),
        ("tests/repo/test_gone.py::test_every_line_is_held", "no such file"),
        ("tests/repo/test_image.py::test_it_installs", "does not always run"),
    ],
)
def test_what_holds_nothing_is_found(held: str, problem: str) -> None:
    """Lines without a test, or with one that is missing or left out."""
    (found,) = wrong(held)
    assert problem in found


#: Tests of every kind, with the only ones of them that always run at the beginning.
MADE_UP = """
import pytest
no_disk = pytest.mark.skipif(False, reason="no disk")
soak = pytest.mark.soak
@pytest.mark.parametrize("at", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_runs(at): ...
@no_disk
async def test_runs_here(): ...
@pytest.mark.skip
def test_skipped(): ...
@pytest.mark.xfail(reason="broken")
def test_broken(): ...
@soak
def test_long(): ...
def test_leaves(): pytest.skip("no data")
"""


@pytest.mark.parametrize("top", ["", "pytestmark = pytest.mark.controlplane\n", "pytestmark = [pytest.mark.skip]\n"])
def test_what_does_not_always_run_is_found(tmp_path: Path, top: str) -> None:
    """In a made-up file, by marks wherever they stand."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(MADE_UP + top, encoding="utf-8")
    names = re.findall(r"def (test_\w+)", MADE_UP)
    running = [name for name in names if not wrong(f"tests/test_it.py::{name}", tmp_path)]
    assert running == ([] if "skip" in top else ["test_runs", "test_runs_here"])
    assert wrong("tests/test_it.py::test_runs, tests/test_it.py::test_gone", tmp_path) != []


def test_people_write_gangs_alone() -> None:
    """What the installation adds to the roles of people: they write Gangs, and read Placements."""
    roles = [body for body in objects() if body["kind"] == "ClusterRole" and _is_for_people(body)]
    assert {body["metadata"]["name"] for body in roles} == {"huddle-view", "huddle-edit"}
    rules = [rule for body in roles for rule in body["rules"]]
    written = {name for rule in rules if set(rule["verbs"]) - {"get", "list", "watch"} for name in rule["resources"]}
    assert written == {"gangs"}


def _is_for_people(role: dict[str, Any]) -> bool:
    return any("aggregate-to-" in label for label in role["metadata"]["labels"])
