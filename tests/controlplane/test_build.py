"""`make control-plane` without a real compiler: what it says, what it keeps, and how it ends."""

import os
import shutil
from pathlib import Path

import pytest

from support.controlplane import binaries, build
from support.controlplane.binaries import PROGRAMS, Missing, cache_folder, find, place

NAMES = [program.name for program in PROGRAMS]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test, which is empty, and a PATH with a folder of the test in front."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def _fake_go(folder: Path, script: str) -> None:
    """A `go` whose output file is $out and whose package is the last word."""
    go = folder / "bin" / "go"
    find_output = 'while [ "$#" -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done\n'
    go.write_text(f"#!/bin/sh\n{find_output}{script}\n", encoding="utf-8")
    go.chmod(0o755)


def _built() -> set[str]:
    """Names of all files of the cache but its lock; each is in the place of its program."""
    files = {path for path in cache_folder().rglob("*") if path.is_file() and path != cache_folder() / "lock"}
    assert files <= {place(program) for program in PROGRAMS}
    return {path.name for path in files}


def test_without_go(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, status 2."""
    monkeypatch.setenv("PATH", str(folder / "bin"))
    assert build.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "The control plane is built with Go 1.26 or newer, and there is no `go` on the PATH.\n"


def test_built_once(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every program is built, found, and not built again, for which Go is not even needed."""
    _fake_go(folder, 'printf "#!/bin/sh\n# %s\n" "$1" > "$out"; chmod +x "$out"')
    assert build.main([]) == 0
    assert _built() == set(NAMES)
    assert find("kwok").read_text(encoding="utf-8") == "#!/bin/sh\n# sigs.k8s.io/kwok/cmd/kwok\n"
    built = [line.split()[1] for line in capsys.readouterr().out.splitlines() if " built in " in line]
    assert built == NAMES
    monkeypatch.setenv("PATH", "/nowhere")
    assert build.main([]) == 0
    assert capsys.readouterr().out == f"control plane: all {len(NAMES)} programs are in {cache_folder()}\n"


def test_failure_keeps_what_was_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The compiler's words are shown; programs before the failed one stay, nothing half done does."""
    _fake_go(folder, 'echo x > "$out"; chmod +x "$out"; case $1 in *kwok*) echo no such package; exit 1;; esac')
    assert build.main([]) == 1
    assert capsys.readouterr().err == "control plane: kwok could not be built:\nno such package\n\n"
    assert _built() == {"grpcurl", "ghz", "kustomize", "etcd"}


@pytest.mark.parametrize("limit", ["--limit", "--total"])
def test_time_limit(folder: Path, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    """Too slow a build is ended with all it started, and says how to go on."""
    _fake_go(folder, f'echo $$ > {folder}/pid; sleep 100 & wait; touch "$out"')
    assert build.main([limit, "0.05"]) == 1
    assert "grpcurl was not built within 3 s;" in capsys.readouterr().err
    assert _built() == set()
    group = int((folder / "pid").read_text(encoding="utf-8"))
    with pytest.raises(ProcessLookupError):
        os.kill(group, 0)


def test_assets_come_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in $KUBEBUILDER_ASSETS is used, and without any the message says what to do."""
    with pytest.raises(Missing, match="kwok is not there: `make control-plane` builds it"):
        find("kwok")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder / "bin"))
    (folder / "bin" / "kwok").touch(mode=0o755)
    assert find("kwok") == folder / "bin" / "kwok"


def test_another_contract_is_another_client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed protos build the client anew, and nothing else."""
    before = {program.name: place(program) for program in PROGRAMS}
    shutil.copytree(binaries.PROTOS, folder / "protos")
    (proto,) = (folder / "protos").rglob("gang.proto")
    proto.write_text(proto.read_text(encoding="utf-8") + "// changed\n", encoding="utf-8")
    monkeypatch.setattr(binaries, "PROTOS", folder / "protos")
    assert {program.name for program in PROGRAMS if place(program) != before[program.name]} == {"goclient"}


def test_versions_are_those_of_go_mod() -> None:
    """Every program knows its pinned version and passes it to the linker."""
    for program in PROGRAMS:
        assert program.version.startswith("v")
        assert not program.stamps or program.version in program.linker_flags
