"""The image: its base is pinned, everything in it has a hash, and its lock holds what runs and nothing else."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
LOCK = "requirements-image.lock"
#: Tools that people who work on Huddle have, and its image does not.
TOOLS = {"pytest", "ruff", "mypy", "hypothesis", "grpcio-tools", "import-linter"}


def commands() -> list[str]:
    """What is run while the image is built, a line each."""
    joined = re.sub(r"\\\n", " ", DOCKERFILE)
    return [line.removeprefix("RUN ") for line in joined.splitlines() if line.startswith("RUN ")]


def locked(name: str) -> dict[str, set[str]]:
    """Name → versions of a lock file, some of them for other versions of Python."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if re.match(r"[a-z0-9]", line, re.IGNORECASE):
            requirement = Requirement(line.removesuffix("\\").strip())
            found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return found


def test_the_base_is_pinned() -> None:
    """By the digest of one image, which both stages begin with."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim@sha256:[0-9a-f]{64}", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_everything_that_is_installed_has_a_hash() -> None:
    """Pip takes hashes for what it fetches, and fetches nothing for Huddle itself."""
    installs = [command for command in commands() if "pip install" in command]
    fetched, own = installs
    assert f"--require-hashes -r {LOCK}" in fetched
    assert {"--no-deps", "--no-build-isolation", "."} <= set(own.split())
    text = (ROOT / LOCK).read_text("utf-8")
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-zA-Z0-9])", text))


def test_what_is_copied_exists() -> None:
    """Every file and folder."""
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line


def test_the_lock_is_what_runs() -> None:
    """Versions of the tests, everything that the extras need, and no tools."""
    image, tests = locked(LOCK), locked("requirements-dev.lock")
    assert all(versions <= tests[name] for name, versions in image.items())
    assert not TOOLS & set(image)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    needed = [
        *project["project"]["dependencies"],
        *extras["service"],
        *extras["kubernetes"],
        *project["build-system"]["requires"],
    ]
    assert {canonicalize_name(Requirement(text).name) for text in needed} <= set(image)
    assert project["dependency-groups"]["build"] == project["build-system"]["requires"]


@pytest.mark.soak
def test_it_installs(tmp_path: Path) -> None:
    """The lines of the image's build, in a fresh environment, which then has the command with both extras."""
    place = tmp_path / "huddle"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    for command in commands():
        if "pip install" in command:
            subprocess.run(command.replace("/opt/huddle", str(place)), shell=True, check=True, cwd=ROOT)
    for words in (["--version"], ["serve", "--help"], ["controller", "--help"]):
        subprocess.run([place / "bin" / "huddle", *words], check=True, cwd=tmp_path)
    loads = "import solver.service.server, adapters.apply.run, adapters.extender.server"
    subprocess.run([place / "bin" / "python", "-P", "-c", loads], check=True, cwd=tmp_path)
