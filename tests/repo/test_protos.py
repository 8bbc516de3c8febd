"""The contract: generated code is fresh, protos are clean and documented, and what was released is never broken.

protos/contract.txt lists what is on the wire. Whoever changes the contract runs `make protos-listing` and commits the
listing with it, so that no change goes by unseen. While no version tag exists (`v…`, among the ancestors of this
checkout), anything may change that way. From the first one on, every line of the listing at that tag stays: fields,
values and methods may be added, and none may go or get another name, number or type.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from support import contract

ROOT = Path(__file__).parents[2]
SMALL = """enum a.E
  0 E_UNSPECIFIED
  1 E_ONE
message a.M
  1 name string
  2 sizes repeated int32
service a.S
  Ask(a.M) a.M
"""


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    """`make protos` into another folder gives what is committed, file by file."""
    command = [
        "make",
        "--old-file=.venv/.ready",
        "protos",
        f"PROTOS_OUT={tmp_path}",
        f"BIN={Path(sys.executable).parent}",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in (tmp_path / "solver").rglob("*.py*")}
    committed = {
        path.relative_to(ROOT): path.read_text()
        for path in (ROOT / "solver" / "api").rglob("*.py*")
        if path.name != "__init__.py" and path.suffix in (".py", ".pyi")
    }
    assert made.keys() == committed.keys()
    assert [str(path) for path in made if made[path] != committed[path]] == []


@pytest.mark.controlplane
def test_protos_are_clean(buf: Path) -> None:
    """`buf lint` finds nothing, comments on every field included; without a comment it would."""
    assert "COMMENTS" in (ROOT / "protos" / "buf.yaml").read_text()
    done = subprocess.run([buf, "lint", "protos"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


@pytest.mark.controlplane
def test_an_undocumented_field_is_found(buf: Path, tmp_path: Path) -> None:
    """So that the test before says something."""
    (tmp_path / "buf.yaml").write_text((ROOT / "protos" / "buf.yaml").read_text())
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.proto").write_text(
        'syntax = "proto3";\n\npackage x.v1;\n\n// M.\nmessage M {\n  bool b = 1;\n}\n'
    )
    done = subprocess.run([buf, "lint", tmp_path], capture_output=True, text=True)
    assert 'Field "b" should have a non-empty comment' in done.stdout
    assert done.returncode != 0


def test_the_listing_is_the_contract() -> None:
    """A change of the contract is committed with its listing: `make protos-listing`."""
    assert contract.LISTING.read_text(encoding="utf-8") == contract.listing()


def test_what_was_released_is_not_broken() -> None:
    """Nothing of any version that was tagged is missing."""
    now = contract.listing()
    assert {tag: contract.broken(before, now) for tag, before in contract.released().items()} == {
        tag: [] for tag in contract.released()
    }


@pytest.mark.parametrize(
    ("old", "new", "missed"),
    [
        ("  1 name string\n", "", "message a.M: 1 name string"),
        ("1 name string", "3 name string", "message a.M: 1 name string"),
        ("1 name string", "1 title string", "message a.M: 1 name string"),
        ("1 name string", "1 name bytes", "message a.M: 1 name string"),
        ("repeated int32", "int32", "message a.M: 2 sizes repeated int32"),
        ("  Ask(a.M) a.M\n", "", "service a.S: Ask(a.M) a.M"),
        ("Ask(a.M) a.M", "Ask(a.M) stream a.M", "service a.S: Ask(a.M) a.M"),
        ("  1 E_ONE\n", "", "enum a.E: 1 E_ONE"),
    ],
    ids=["removed", "renumbered", "renamed", "retyped", "one of many", "no method", "streams", "no value"],
)
def test_breaking_changes(old: str, new: str, missed: str) -> None:
    """Each kind is told by the line that is missed."""
    assert contract.broken(SMALL, SMALL.replace(old, new)) == [missed]


def test_a_thing_that_is_gone_is_missed_with_all_its_parts() -> None:
    """The heading and every line below it; a part of the same name elsewhere does not stand in for it."""
    moved = SMALL.replace("message a.M", "message a.N")
    assert contract.broken(SMALL, moved) == [
        "message a.M",
        "message a.M: 1 name string",
        "message a.M: 2 sizes repeated int32",
    ]


def test_additions_break_nothing() -> None:
    """A field, a value, a method, a message."""
    more = SMALL.replace("message a.M\n", "message a.L\n  1 a bool\nmessage a.M\n  7 flag bool\n") + "  Tell(a.M) a.L\n"
    assert contract.broken(SMALL, more) == []


def test_released_listings_come_from_tags(tmp_path: Path) -> None:
    """Of versions alone, and only those that this checkout comes from; without git there are none."""
    assert contract.released(tmp_path) == {}

    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    def commit(text: str, *tags: str) -> None:
        (tmp_path / "protos").mkdir(exist_ok=True)
        (tmp_path / "protos" / "contract.txt").write_text(text)
        git("add", "protos")
        git("commit", "-m", "x")
        for tag in tags:
            git("tag", tag)

    git("init", "-q", "-b", "main")
    commit("one\n", "v1.0.0", "vanity")
    git("checkout", "-q", "-b", "side")
    commit("side\n", "v2.0.0")
    git("checkout", "-q", "main")
    commit("two\n")
    assert contract.released(tmp_path) == {"v1.0.0": "one\n"}
