"""Claims, volumes and storage classes by name, and which pods mount a claim."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from adapters.kubernetes.objects import Document

#: Namespace and name of a claim.
ClaimKey = tuple[str, str]

CLAIM, VOLUME, STORAGE_CLASS = "PersistentVolumeClaim", "PersistentVolume", "StorageClass"


class Storage(Protocol):
    """What is known of the storage of one cluster."""

    @property
    def missing(self) -> str:
        """What is said of an object that is not known, such as `is not in the input`."""

    def claim(self, namespace: str, name: str) -> Document | None:
        """A PersistentVolumeClaim."""

    def volume(self, name: str) -> Document | None:
        """A PersistentVolume."""

    def storage_class(self, name: str) -> Document | None:
        """A StorageClass."""

    def volumes(self) -> Iterable[Document]:
        """Every PersistentVolume."""

    def storage_classes(self) -> Iterable[Document]:
        """Every StorageClass."""

    def users(self, claim: ClaimKey) -> Iterable[str]:
        """Pods, as `namespace/name`, that mount a claim and have a node."""


class KnownStorage:
    """Storage as some documents describe it (`Storage`). The first object of a name counts."""

    missing = "is not in the input"

    def __init__(self, documents: Iterable[Document], running: Callable[[], Iterable[Document]]) -> None:
        """running: pods that have a node and have not ended; asked for only if it matters."""
        self._running = running
        self._objects: dict[tuple[str, str, str], Document] = {}
        for doc in documents:
            if doc.kind in (CLAIM, VOLUME, STORAGE_CLASS):
                namespace = doc.namespace if doc.kind == CLAIM else ""
                self._objects.setdefault((doc.kind, namespace, doc.name), doc)
        self._users: Mapping[ClaimKey, Sequence[str]] | None = None

    def claim(self, namespace: str, name: str) -> Document | None:
        """A PersistentVolumeClaim."""
        return self._objects.get((CLAIM, namespace, name))

    def volume(self, name: str) -> Document | None:
        """A PersistentVolume."""
        return self._objects.get((VOLUME, "", name))

    def storage_class(self, name: str) -> Document | None:
        """A StorageClass."""
        return self._objects.get((STORAGE_CLASS, "", name))

    def volumes(self) -> Iterable[Document]:
        """Every PersistentVolume."""
        return [doc for doc in self._objects.values() if doc.kind == VOLUME]

    def storage_classes(self) -> Iterable[Document]:
        """Every StorageClass."""
        return [doc for doc in self._objects.values() if doc.kind == STORAGE_CLASS]

    def users(self, claim: ClaimKey) -> Iterable[str]:
        """Pods that mount a claim and have a node."""
        if self._users is None:
            found: dict[ClaimKey, list[str]] = {}
            for pod in self._running():
                for name in claims_of(pod.body):
                    found.setdefault((pod.namespace, name), []).append(pod.full_name)
            self._users = found
        return self._users.get(claim, ())


def claims_of(pod: Mapping[str, Any]) -> list[str]:
    """Names of the claims that a pod mounts, those of its ephemeral volumes included; malformed volumes have none."""
    volumes = (pod.get("spec") or {}).get("volumes")
    name, found = pod["metadata"]["name"], []
    for volume in volumes if isinstance(volumes, list) else ():
        if not isinstance(volume, Mapping):
            continue
        named = volume.get("persistentVolumeClaim")
        if volume.get("ephemeral") is not None:
            found.append(f"{name}-{volume.get('name')}")
        elif isinstance(named, Mapping) and isinstance(named.get("claimName"), str):
            found.append(named["claimName"])
    return found
