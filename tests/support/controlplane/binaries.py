"""The real programs the tests run: which there are, from which of our Go modules, and where they are once built."""

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parents[2] / "controlplane"
PROTOS = MODULES.parents[1] / "protos"
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
    from_protos: whether the module is ours and lacks the Go code of protos/, which is made when it is built.
    """

    name: str
    module: str
    package: str
    source: str
    stamps: tuple[str, ...] = ()
    from_protos: bool = False

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
_BUF, _GRPC, _PROTOBUF = "github.com/bufbuild/buf", "google.golang.org/grpc", "google.golang.org/protobuf"
_PLUGIN, _KUSTOMIZE = "cmd/protoc-gen-go", "sigs.k8s.io/kustomize/kustomize/v5"
#: In the order they are built: the quick ones first, and what others are made with before those.
PROGRAMS = (
    Program("grpcurl", "tools", f"{_GRPCURL}/cmd/grpcurl", _GRPCURL, ("main.version={version}",)),
    Program("ghz", "tools", f"{_GHZ}/cmd/ghz", _GHZ, ("main.version={version}",)),
    Program("kustomize", "kustomize", _KUSTOMIZE, _KUSTOMIZE),
    Program("etcd", "etcd", _ETCD, _ETCD),
    Program("kwok", "kwok", f"{_KWOK}/cmd/kwok", _KWOK, (f"{_KWOK}/pkg/consts.Version={{version}}",)),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-scheduler"),
    Program("protoc-gen-go", "goclient", f"{_PROTOBUF}/{_PLUGIN}", _PROTOBUF),
    Program("protoc-gen-go-grpc", "goclient", f"{_GRPC}/{_PLUGIN}-grpc", f"{_GRPC}/{_PLUGIN}-grpc"),
    Program("buf", "buf", f"{_BUF}/cmd/buf", _BUF),
    Program("goclient", "goclient", ".", _GRPC, from_protos=True),
)


def cache_folder() -> Path:
    """Where builds are kept, whether or not it exists."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "huddle" / "control-plane"


def place(program: Program) -> Path:
    """Where the program is once it is built as this checkout says; a change of one module leaves the others theirs."""
    return cache_folder() / f"{program.name}-{_fingerprint(program)}" / program.name


def find(name: str) -> Path:
    """The program, from $KUBEBUILDER_ASSETS or else from the cache; raises Missing."""
    (built,) = (place(program) for program in PROGRAMS if program.name == name)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for path in ([Path(assets) / name] if assets else []) + [built]:
        if os.access(path, os.X_OK):
            return path
    raise Missing(f"{name} is not there: {HOW_TO_GET}")


def _fingerprint(program: Program) -> str:
    """Changes with any version its module pins, linker flags, the kind of machine, and what it is generated from."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()} {program.linker_flags}".encode())
    module = MODULES / program.module
    sources = sorted([*module.glob("*.go"), *PROTOS.rglob("*.proto")]) if program.from_protos else []
    for path in [module / "go.mod", module / "go.sum", *sources]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
