"""Token files: two forms, what is refused, that nothing of a token is told or kept."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from solver.domain.errors import InvalidRequest
from solver.service import logs
from solver.service.config import Logs
from solver.service.roles import Role
from solver.service.tokens import Caller, Tokens, read_tokens

SECRET = "0123456789abcdef-secret"


@pytest.fixture
def log_text() -> Iterator[io.StringIO]:
    """What is logged."""
    text = io.StringIO()
    logs.configure(Logs(), text)
    yield text
    logs.reset()


def written(folder: Path, text: str, name: str = "tokens", mode: int = 0o600) -> Path:
    """A token file."""
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def test_lines_and_toml_say_the_same(tmp_path: Path) -> None:
    """Names and roles by the hash of their token, which is not kept."""
    lines = written(tmp_path, f"# remark\n\na read {SECRET}\n  b   write\t{SECRET}2 \n")
    toml = written(
        tmp_path,
        f"[[tokens]]\nname='a'\nrole='read'\ntoken='{SECRET}'\n[[tokens]]\nname='b'\nrole='write'\ntoken='{SECRET}2'\n",
        "tokens.toml",
    )
    found = read_tokens(lines)
    assert found == read_tokens(toml)
    assert set(found.values()) == {Caller("a", Role.READ), Caller("b", Role.WRITE)}
    assert all(len(digest) == 32 and SECRET.encode() not in digest for digest in found)


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    """No tokens are tokens too: so all of them can be taken back."""
    assert read_tokens(written(tmp_path, "")) == {}
    assert read_tokens(written(tmp_path, "", "tokens.toml")) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"a {SECRET}", "line 1: expected name, role and token"),
        (f"a read {SECRET} more", "line 1: expected name, role and token"),
        (f"\na {SECRET} read", "line 2: the role is none of read, plan, write"),
        ("a read short", "line 1: the token needs 16 or more plain characters"),
        (f"a read {SECRET}é", "line 1: the token needs 16 or more plain characters"),
        (f"a read {SECRET}\na plan {SECRET}2", "line 2: name or token of a is there twice"),
        (f"a read {SECRET}\nb plan {SECRET}", "line 2: name or token of b is there twice"),
    ],
)
def test_wrong_lines(tmp_path: Path, text: str, told: str) -> None:
    """File, line, what is wrong, and nothing of the token."""
    _refused(written(tmp_path, text), told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"[[tokens]]\nname='a'\nrole='read'\ntoken='{SECRET}", "not valid TOML"),
        (f"token='{SECRET}'", "expected nothing but [[tokens]] tables"),
        (f"[tokens]\ntoken='{SECRET}'", "expected nothing but [[tokens]] tables"),
        (f"tokens=['{SECRET}']", "table 1: expected name, role and token, each a string"),
        (f"[[tokens]]\nname='a'\ntoken='{SECRET}'", "table 1: expected name, role and token, each a string"),
        (f"[[tokens]]\nname=1\nrole='read'\ntoken='{SECRET}'", "table 1: expected name, role and token, each a string"),
        (f"[[tokens]]\nname=''\nrole='read'\ntoken='{SECRET}'", "table 1: the name is empty"),
        (f"[[tokens]]\nname='a'\nrole='{SECRET}'\ntoken='read'", "table 1: the role is none of"),
    ],
)
def test_wrong_toml(tmp_path: Path, text: str, told: str) -> None:
    """File, table, what is wrong, and nothing of the token."""
    _refused(written(tmp_path, text, "tokens.toml"), told)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Not there, or no text."""
    _refused(tmp_path / "absent", "No such file")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" + SECRET.encode())
    _refused(binary, "not UTF-8")


def test_what_is_found(tmp_path: Path) -> None:
    """The whole token, nothing less, whatever else is in it."""
    tokens = Tokens(written(tmp_path, f"a read {SECRET}\n"), 0)
    assert tokens.find(SECRET) == Caller("a", Role.READ)
    assert [tokens.find(other) for other in ("", SECRET[:-1], SECRET + "x", SECRET.upper(), "\udcff", "é")] == [
        None
    ] * 6


def test_changes_are_seen(tmp_path: Path, log_text: io.StringIO) -> None:
    """In place, through a replaced file, through a link that points elsewhere; a file that is gone changes nothing."""
    path = written(tmp_path, f"a read {SECRET}\n")
    tokens = Tokens(path, 0)
    path.write_text(f"a write {SECRET}\n")
    assert tokens.find(SECRET) == Caller("a", Role.WRITE)
    os.replace(written(tmp_path, f"b write {SECRET}\n", "new"), path)
    assert tokens.find(SECRET) == Caller("b", Role.WRITE)
    path.unlink()
    assert tokens.find(SECRET) == Caller("b", Role.WRITE)
    path.symlink_to(written(tmp_path, f"c plan {SECRET}\n", "target"))
    assert tokens.find(SECRET) == Caller("c", Role.PLAN)
    path.write_text("")
    assert tokens.find(SECRET) is None
    assert SECRET not in log_text.getvalue()


def test_changes_are_not_looked_for_all_the_time(tmp_path: Path) -> None:
    """Within `every_s` the file is left alone."""
    path = written(tmp_path, f"a read {SECRET}\n")
    tokens = Tokens(path, 3600)
    path.write_text("")
    assert tokens.find(SECRET) == Caller("a", Role.READ)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o620, 0o666])
def test_a_file_that_others_reach(tmp_path: Path, mode: int) -> None:
    """Is refused, and the sentence says which command helps; afterwards it is read."""
    path = written(tmp_path, f"a read {SECRET}\n", mode=mode)
    with pytest.raises(InvalidRequest, match=rf"mode {mode:04o}\); run: chmod 600 {path}$"):
        read_tokens(path)
    path.chmod(0o600)
    assert len(read_tokens(path)) == 1


def test_a_mounted_secret_may_be_readable_by_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of root that the service's group reads is what a cluster mounts; everybody may not read that either."""
    path = written(tmp_path, f"a read {SECRET}\n", mode=0o440)
    real = os.stat(path)

    def owned(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat_result((mode, *real[1:4], 0, *real[5:]))

    monkeypatch.setattr(Path, "stat", owned)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    mode = 0o100440
    assert len(read_tokens(path)) == 1
    mode = 0o100444
    with pytest.raises(InvalidRequest, match="chmod 600"):
        read_tokens(path)


def test_a_file_that_opens_to_others_later_changes_nothing(tmp_path: Path, log_text: io.StringIO) -> None:
    """What was read before stays in force, and the log says why."""
    path = written(tmp_path, f"a read {SECRET}\n")
    tokens = Tokens(path, 0)
    path.write_text("")
    path.chmod(0o644)
    assert tokens.find(SECRET) == Caller("a", Role.READ)
    assert "chmod 600" in log_text.getvalue()


def _refused(path: Path, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_tokens(path)
    message = str(refused.value)
    assert message.startswith(f"tokens {path}")
    assert told in message
    assert SECRET not in message
    assert "\n" not in message
