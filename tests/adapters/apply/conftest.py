"""How the tests of this folder read gangs from what they wrote down."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from adapters.apply.gangs import LiveGangs
from adapters.apply.observed import LiveGang
from support.made_up_mirror import MadeUpMirror


@pytest.fixture
def live() -> Callable[..., LiveGang]:
    """Reads one gang, by default ns/g, of a YAML text with all its pods as members; bound ones stay where they are."""

    def read(text: str, key: str = "ns/g", *, without: Sequence[str] = (), **options: Any) -> LiveGang:
        mirror = MadeUpMirror(text)
        pods = [pod for pod in mirror.pods_of(key) if pod["metadata"]["name"] not in without]
        done = [pod for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"]
        there = [pod for pod in pods if pod not in done and not pod["metadata"].get("deletionTimestamp")]
        fixed = {
            f"ns/{pod['metadata']['name']}": pod["spec"]["nodeName"] for pod in there if pod["spec"].get("nodeName")
        }
        return LiveGangs(mirror, **options)(key, there, fixed, done)

    return read
