"""Claims, volumes and storage classes as a mirror shows them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from adapters.kubernetes.objects import Document
from adapters.kubernetes.resources import CLAIMS, STORAGE_CLASSES, VOLUMES, Resource
from adapters.kubernetes.storage import ClaimKey

Body = Mapping[str, Any]

_SOURCE = "cluster"
_ENDED = ("Succeeded", "Failed")


class Source(Protocol):
    """What is read of a mirror."""

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object, or None."""

    def all(self, resource: Resource) -> Mapping[tuple[str, str], Body]:
        """Every object of a kind."""

    def pods_mounting(self, claim: ClaimKey) -> Sequence[Body]:
        """Pods that mount a claim, those that have ended or are leaving too."""


class LiveStorage:
    """The storage of one cluster (`adapters.kubernetes.storage.Storage`)."""

    missing = "does not exist"

    def __init__(self, source: Source) -> None:
        self._source = source

    def claim(self, namespace: str, name: str) -> Document | None:
        """A PersistentVolumeClaim."""
        return self._get(CLAIMS, namespace, name)

    def volume(self, name: str) -> Document | None:
        """A PersistentVolume."""
        return self._get(VOLUMES, "", name)

    def storage_class(self, name: str) -> Document | None:
        """A StorageClass."""
        return self._get(STORAGE_CLASSES, "", name)

    def volumes(self) -> Iterable[Document]:
        """Every PersistentVolume."""
        return [_document(VOLUMES, body) for body in self._source.all(VOLUMES).values()]

    def storage_classes(self) -> Iterable[Document]:
        """Every StorageClass."""
        return [_document(STORAGE_CLASSES, body) for body in self._source.all(STORAGE_CLASSES).values()]

    def users(self, claim: ClaimKey) -> Iterable[str]:
        """Pods that mount a claim and have a node, as `namespace/name`."""
        for body in self._source.pods_mounting(claim):
            phase = (body.get("status") or {}).get("phase")
            if (body.get("spec") or {}).get("nodeName") and phase not in _ENDED:
                yield f"{claim[0]}/{body['metadata']['name']}"

    def _get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        body = self._source.get(resource, namespace, name)
        return None if body is None else _document(resource, body)


def _document(resource: Resource, body: Body) -> Document:
    return Document({"kind": resource.kind, **body}, _SOURCE)
