"""SECURITY.md: every line of its tables is held by tests that exist and run, or says why it is accepted."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
LEAST_ROWS = 30


def rows(text: str) -> list[tuple[str, str]]:
    """(what, held by) of every row of every table."""
    found = re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return [(what, held) for what, held in found if (what, held) != ("what", "held by")]


def wrong(held: str) -> list[str]:
    """What does not hold a row: tests that are missing or skipped, or nothing at all."""
    if held.startswith("accepted: "):
        return [] if len(held.split()) > 5 else ["no reason is given"]
    return [problem for name in held.split(", ") if (problem := _problem(name))]


def _problem(name: str) -> str:
    path, _, function = name.partition("::")
    file = ROOT / path
    if not re.fullmatch(r"tests/[\w/]+\.py", path) or not file.exists():
        return f"{name}: there is no such file"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(file.read_text("utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, functions) and node.name == function]
    if not found:
        return f"{name}: there is no such test"
    marks = " ".join(ast.unparse(mark) for mark in found[0].decorator_list)
    return f"{name}: it does not always run" if re.search(r"mark\.(skip|xfail|soak)", marks) else ""


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
