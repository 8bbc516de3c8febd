"""A mirror of objects that a test wrote down."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from adapters.kubernetes.gang_keys import gang_key, owner_key
from adapters.kubernetes.resources import MIRRORED, PODS, Resource
from adapters.kubernetes.selected_labels import SelectedKeys, named_by_pod
from adapters.kubernetes.storage import claims_of

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
        return [body for body in self.objects[PODS].values() if (gang_key(body) or owner_key(body)) == key]

    def pods_mounting(self, claim: tuple[str, str]) -> Sequence[Body]:
        return [
            body
            for (namespace, _), body in self.objects[PODS].items()
            if namespace == claim[0] and claim[1] in claims_of(body)
        ]

    @property
    def selected(self) -> SelectedKeys:
        found = SelectedKeys()
        for body in self.objects[PODS].values():
            found.add(named_by_pod(body, body["metadata"]["namespace"]))
        return found

    def version_of(self, resource: Resource) -> str | None:
        return resource.versions[0]
