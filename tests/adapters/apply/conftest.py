"""A made-up mirror, and how the tests of this folder read gangs from it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import yaml

from adapters.apply.gangs import LiveGangs
from adapters.apply.observed import LiveGang
from adapters.kubernetes.gang_keys import gang_key
from adapters.kubernetes.resources import MIRRORED, PODS, Resource

Body = dict[str, Any]


class MadeUpMirror:
    """Shows the objects of a YAML text; pods without uid have one like their name."""

    def __init__(self, text: str) -> None:
        self.objects: dict[Resource, dict[tuple[str, str], Body]] = {resource: {} for resource in MIRRORED}
        for body in yaml.safe_load_all(text):
            if body is None:
                continue
            group = body.get("apiVersion", "v1").rpartition("/")[0]
            resource = next(one for one in MIRRORED if (one.kind, one.group) == (body["kind"], group))
            meta = body["metadata"]
            meta.setdefault("uid", f"uid-of-{meta['name']}")
            meta.setdefault("resourceVersion", "1")
            if resource.namespaced:
                meta.setdefault("namespace", "ns")
            self.objects[resource][meta.get("namespace", ""), meta["name"]] = body

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        return self.objects[resource].get((namespace if resource.namespaced else "", name))

    def all(self, resource: Resource) -> Mapping[tuple[str, str], Body]:
        return self.objects[resource]

    def pods_of(self, key: str) -> Sequence[Body]:
        return [body for body in self.objects[PODS].values() if gang_key(body) == key]

    def version_of(self, resource: Resource) -> str | None:
        return resource.versions[0]


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
