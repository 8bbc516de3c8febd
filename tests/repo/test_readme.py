"""What the README shows is what the commands print, block after block, as a user who follows it would run it."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support.serving import served

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEPLOYMENT, SITE = ROOT / "datasets/gangs/4p8d-block.yaml", ROOT / "datasets/clusters/h100-64.yaml"

#: Blocks that no test can run as they stand, by how they begin, and what is tested instead.
NOT_RUN = {
    "make demo": "what runs the tests cannot be run by one; that the targets exist is tested below",
    "docker build": "needs a registry and a cluster; tests/repo/test_deploy.py renders, control-plane tests install",
    "$ kubectl get placements": "needs a cluster; control-plane tests read Placements",
}
#: Blocks that tests below run, by how they begin.
RUN = ("kubectl get nodes", "huddle serve", "from adapters", 'listen = "', "apiVersion: huddle")


@dataclass(frozen=True)
class Block:
    """A fenced block. language: behind the fence, or empty."""

    language: str
    text: str

    @property
    def begins(self) -> str:
        """Its first line."""
        return self.text.partition("\n")[0]


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)]
SHOWN = [block.text[2:].partition("\n")[::2] for block in BLOCKS if block.language == "console"]


def block(begins: str) -> str:
    """The one block that begins so."""
    (found,) = (each.text for each in BLOCKS if each.begins.startswith(begins) and each.language != "console")
    return found


def shown(text: str) -> list[str]:
    """Lines without the one that tells times."""
    return [line.rstrip() for line in text.strip().splitlines() if not line.startswith("took ")]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a deployment, and with `huddle` and a kubectl that prints a cluster in `bin`."""
    folder = tmp_path_factory.mktemp("fresh")
    shutil.copy(DEPLOYMENT, folder / "deployment.yaml")
    (folder / "bin").mkdir()
    for name, command in (
        ("huddle", f'exec "{sys.executable}" -m adapters.cli "$@"'),
        ("kubectl", f'case "$1" in get) cat "{SITE}";; *) exit 1;; esac'),
    ):
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{command}\n")
        (folder / "bin" / name).chmod(0o755)
    return folder


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what stands in a block, each line after the one before."""
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin", "COLUMNS": "100", "HOME": str(folder), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = ["/bin/sh", "-e", "-c", text]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_block_is_run_or_named() -> None:
    """A new block is shown as a console, run by a test of its own, or stands here with the reason."""
    assert len(SHOWN) >= 2
    others = [each.begins for each in BLOCKS if each.language != "console"]
    known = (*RUN, *NOT_RUN)
    assert [begins for begins in others if not begins.startswith(known)] == []
    assert [begins for begins in known if not any(each.startswith(begins) for each in others)] == []


def test_from_a_cluster_to_a_plan(fresh: Path) -> None:
    """Kubectl writes the cluster, which is looked at and planned on; the file stays for the blocks that follow."""
    done = shell(block("kubectl get nodes"), fresh)
    assert done.returncode == 0, done.stderr
    assert (fresh / "cluster.json").stat().st_size
    assert done.stdout.startswith("64 nodes")
    assert done.stdout.splitlines()[-1].startswith("prod/4p8d-block  OPTIMAL")


@pytest.mark.parametrize(("command", "printed"), SHOWN, ids=[command for command, _ in SHOWN])
def test_console_blocks(fresh: Path, command: str, printed: str) -> None:
    """Each block, run beside the data sets, prints what stands there."""
    if not (fresh / "datasets").exists():
        (fresh / "datasets").symlink_to(ROOT / "datasets")
    done = shell(command, fresh)
    assert shown(done.stdout) == shown(printed), done.stderr


def test_a_service_and_its_client(fresh: Path) -> None:
    """The service with its ledger, then the client's lines with the files of above; only the port is another.

    grpcurl is not everywhere: the tests of the service, which need the control plane's programs, run it.
    """
    serve, _, grpcurl = block("huddle serve").partition("\n")
    assert grpcurl.startswith("grpcurl -plaintext 127.0.0.1:50551 ")
    shutil.copy(SITE, fresh / "cluster.json")
    with served(fresh, *[word.replace("promises.db", str(fresh / "promises.db")) for word in serve.split()[2:]]) as up:
        lines = block("from adapters").replace("127.0.0.1:50551", up.address)
        assert up.address in lines
        (fresh / "client.py").write_text(lines)
        done = shell(f'"{sys.executable}" client.py', fresh)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("optimal [('prod/decode-0', 'h")
    assert (fresh / "promises.db").exists()


def test_the_settings_of_the_service(fresh: Path) -> None:
    """They are read, and stand in what is in force."""
    (fresh / "serve.toml").write_text(block('listen = "'))
    done = shell("huddle serve --config serve.toml --print-config", fresh)
    assert done.returncode == 0, done.stderr
    for line in ('listen = "0.0.0.0:50551"', "max_solves = 2", 'file = "/var/lib/huddle/promises.db"'):
        assert line in done.stdout


def test_the_gang_of_the_cluster_is_whole(fresh: Path) -> None:
    """Pasted as it stands, every pod it wants is there, has the gate, and finds a node on any cluster with GPUs."""
    text = block("apiVersion: huddle")
    (fresh / "gang.yaml").write_text(text)
    (fresh / "bare.yaml").write_text(BARE)
    done = shell("huddle plan gang.yaml --cluster bare.yaml -o json", fresh)
    assert done.returncode == 0, done.stderr
    placed = yaml.safe_load(done.stdout)["gangs"][0]["assignments"]
    gang, *pods = yaml.safe_load_all(text)
    assert {item["pod"] for item in placed} == {f"default/{pod['metadata']['name']}" for pod in pods}
    assert len(pods) == sum(role["replicas"] for role in gang["spec"]["root"]["roles"])
    assert all(pod["spec"]["schedulingGates"] == [{"name": "huddle.scheduler/gang"}] for pod in pods)


#: One node as a small cluster has it: no labels but its own name.
BARE = """
apiVersion: v1
kind: Node
metadata: {name: n, labels: {kubernetes.io/hostname: n}}
status:
  allocatable: {cpu: "8", memory: 32Gi, pods: "110", nvidia.com/gpu: "8"}
  conditions: [{type: Ready, status: "True"}]
"""


def test_make_targets_exist() -> None:
    """Every make target the README names is in the Makefile."""
    named = set(re.findall(r"make ([a-z]+(?:-[a-z]+)*)", README))
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= made


def test_rooms_exist() -> None:
    """Every folder of the rooms table is there."""
    table = README.split("## Rooms")[1]
    rooms = re.findall(r"`((?:solver|adapters)/[a-z_.]+)`", table)
    assert rooms
    assert all((ROOT / room).exists() for room in rooms)
