"""The wheel holds the two packages, their schemas and types, and nothing else; light doors stay light."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = (
    "solver.domain.snapshot",
    "solver.topology.tree",
    "solver.verify.checker",
    "adapters.cli.main",
    "adapters.files.cluster",
    "adapters.manifests.gangs",
    "adapters.report.structured",
)


def test_the_wheel(tmp_path: Path) -> None:
    """Top level: solver, adapters and the metadata; schemas, py.typed and the console script are in."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("huddle_scheduler-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        scripts = archive.read(entry).decode()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"solver", "adapters"}
    assert {"solver/py.typed", "adapters/py.typed", "solver/bound/kernel.c"} <= names
    assert {
        "adapters/files/schemas/cluster.schema.json",
        "adapters/manifests/schemas/gang.schema.json",
        "adapters/report/schemas/calibration.schema.json",
        "adapters/report/schemas/plan.schema.json",
        "adapters/report/schemas/topology.schema.json",
    } <= names
    assert "huddle = adapters.cli.main:main" in scripts


def test_the_source_archive(tmp_path: Path) -> None:
    """What the README names and the Makefile needs is in it, so that `make test` and `make bench` work from it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("huddle_scheduler-*.tar.gz")
    with tarfile.open(archive) as found:
        names = {name.partition("/")[2] for name in found.getnames()}
    readme = (ROOT / "README.md").read_text()
    assert {name for name in re.findall(r"\]\(([\w./-]+)\)", readme) if (ROOT / name).is_file()} <= names
    locks = {"requirements.lock", "requirements-dev.lock", "requirements-image.lock"}
    assert {"Makefile", "pyproject.toml", "CHANGELOG.md", "SECURITY.md", "LICENSE", *locks} <= names
    folders = {"solver", "adapters", "protos", "datasets", "tests", "benchmarks", "deploy", "docs"}
    assert folders <= {name.partition("/")[0] for name in names}


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_load_the_engine(module: str) -> None:
    """Importing it in a fresh interpreter leaves OR-Tools alone, which costs more than half a second."""
    code = f"import {module}, sys; print(sorted(name for name in sys.modules if name.split('.')[0] == 'ortools'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_have_empty_inits() -> None:
    """A re-export in an __init__ would load what nobody asked for."""
    inits = [path for top in ("solver", "adapters") for path in (ROOT / top).rglob("__init__.py")]
    assert inits
    assert [str(path) for path in inits if path.read_text().strip()] == []
