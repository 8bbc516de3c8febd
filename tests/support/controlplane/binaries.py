"""The real programs the tests run: which there are, from which of our Go modules, and where they are once built."""

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parents[2] / "controlplane"
HOW_TO_GET = "`make control-plane` builds it"


class Missing(Exception):
    """A program is in neither of the two places; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Program:
    """One binary.

    module: folder of its go.mod under tests/controlplane.
    package: the main package.
    source: the Go module that go.mod pins and whose version the binary states.
    stamps: string variables the linker sets; `{version}`, `{major}` and `{minor}` are filled in.
    """

    name: str
    module: str
    package: str
    source: str
    stamps: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version go.mod pins, such as v1.37.1."""
        text = (MODULES / self.module / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^(?:require)?\s+{re.escape(self.source)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.module}/go.mod does not require {self.source}")
        return found[1]

    @property
    def linker_flags(self) -> str:
        """Neither symbols nor debug information, and the version."""
        major, minor = self.version.lstrip("v").split(".")[:2]
        stamps = (stamp.format(version=self.version, major=major, minor=minor) for stamp in self.stamps)
        return " ".join(["-s", "-w", *(f"-X {stamp}" for stamp in stamps)])


def _kubernetes(name: str) -> Program:
    base = "k8s.io/component-base/version"
    stamps = (f"{base}.gitVersion={{version}}", f"{base}.gitMajor={{major}}", f"{base}.gitMinor={{minor}}")
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes", stamps)


_GRPCURL, _GHZ = "github.com/fullstorydev/grpcurl", "github.com/bojand/ghz"
_ETCD, _KWOK = "go.etcd.io/etcd/server/v3", "sigs.k8s.io/kwok"
#: In the order they are built: the quick ones first.
PROGRAMS = (
    Program("grpcurl", "tools", f"{_GRPCURL}/cmd/grpcurl", _GRPCURL, ("main.version={version}",)),
    Program("ghz", "tools", f"{_GHZ}/cmd/ghz", _GHZ, ("main.version={version}",)),
    Program("etcd", "etcd", _ETCD, _ETCD),
    Program("kwok", "kwok", f"{_KWOK}/cmd/kwok", _KWOK, (f"{_KWOK}/pkg/consts.Version={{version}}",)),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-scheduler"),
)


def cache_folder() -> Path:
    """Where the builds of this checkout's go.mod and go.sum files are kept, whether or not it exists."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "huddle" / "control-plane" / _fingerprint() / "bin"


def find(name: str) -> Path:
    """The program, from $KUBEBUILDER_ASSETS or else from the cache; raises Missing."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in ([Path(assets)] if assets else []) + [cache_folder()]:
        if os.access(folder / name, os.X_OK):
            return folder / name
    raise Missing(f"{name} is not there: {HOW_TO_GET}")


def _fingerprint() -> str:
    """Changes with any pinned version, any linker flag, and the kind of machine."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for module in sorted({program.module for program in PROGRAMS}):
        for file in ("go.mod", "go.sum"):
            digest.update((MODULES / module / file).read_bytes())
    for program in PROGRAMS:
        digest.update(f"{program.name} {program.package} {program.linker_flags}".encode())
    return digest.hexdigest()[:16]
