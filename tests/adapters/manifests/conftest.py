"""How the tests of this folder read manifests."""

from collections.abc import Callable, Container

import pytest
import yaml

from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import GangInput, GangOptions, read_gangs


def _documents(text: str, source: str) -> list[Document]:
    return [Document(body, source) for body in yaml.safe_load_all(text) if body is not None]


@pytest.fixture
def read() -> Callable[..., GangInput]:
    """Reads the gangs of a YAML text; `cluster` is a second one, `nodes` are those there are, the rest are options."""

    def reader(text: str, *, cluster: str = "", nodes: Container[str] | None = None, **options: object) -> GangInput:
        return read_gangs(
            _documents(text, "gang.yaml"),
            GangOptions(**options),  # type: ignore[arg-type]
            _documents(cluster, "cluster.yaml"),
            nodes=nodes,
        )

    return reader
