"""Writes what is made from other files here: `controller/crds/` from their code, and `install.yaml` from all the rest.

    python deploy/render.py

`install.yaml` is what `kustomize build deploy/controller` gives, as far as kustomization.yaml uses what is known here.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
_BASE = HERE / "controller"
sys.path.insert(0, str(HERE.parent))  # a checkout needs no installation

from adapters.manifests.definitions import definitions  # noqa: E402  # after the path

Json = dict[str, Any]

_KNOWN = {"apiVersion", "kind", "sortOptions", "resources"}
_MADE = "# Made by `python deploy/render.py`: change what it is made from.\n"


def rendered() -> dict[str, str]:
    """Path below this folder → text."""
    crds = {f"crds/{_plural(body)}.yaml": _text([body]) for body in definitions()}
    return {**{f"{_BASE.name}/{name}": text for name, text in crds.items()}, "install.yaml": _text(objects(crds))}


def objects(made: dict[str, str] | None = None) -> list[Json]:
    """Everything that is installed, in order. made: texts that count instead of what is in their files."""
    kustomization = yaml.safe_load((_BASE / "kustomization.yaml").read_text("utf-8"))
    unknown = set(kustomization) - _KNOWN
    if unknown or kustomization["sortOptions"] != {"order": "fifo"}:
        raise SystemExit(f"kustomization.yaml asks for more than is rendered here: {sorted(unknown)}")
    texts = ((made or {}).get(name) or (_BASE / name).read_text("utf-8") for name in kustomization["resources"])
    return [body for text in texts for body in yaml.safe_load_all(text) if body is not None]


def _plural(definition: Json) -> str:
    return str(definition["spec"]["names"]["plural"])


def _text(bodies: list[Json]) -> str:
    return _MADE + yaml.dump_all(bodies, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out again each time: kubectl knows anchors, people do not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    for name, text in rendered().items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"deploy/{name}")
