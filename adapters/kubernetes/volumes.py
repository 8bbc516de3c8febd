"""Where the volumes of a pod let it go, as the scheduler of Kubernetes sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from adapters.kubernetes.constraints import label_requirements
from adapters.kubernetes.objects import Document, Fields, Part
from adapters.kubernetes.quantity import Amount, QuantityError, parse_quantity
from adapters.kubernetes.storage import Storage
from adapters.kubernetes.volume_nodes import (
    Terms,
    allowed_terms,
    any_of,
    in_one,
    labels_match,
    on_node,
    volume_terms,
)
from solver.domain.constraints import VolumeNodes
from solver.domain.naming import natural_key

#: Of a claim that one pod alone may mount.
_ONE_POD = "ReadWriteOncePod"
_LATE = "WaitForFirstConsumer"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True, slots=True)
class Contest:
    """A claim about which pods may get into each other's way. claim: `namespace/name`. at: field of the volume.

    is_sole: one pod alone may mount it. choices: volumes that it may be bound to, each with the nodes that can mount
    it; None = all.
    """

    claim: str
    at: str
    is_sole: bool = False
    choices: Mapping[str, Terms | None] = field(default_factory=dict)


@dataclass
class Mounts:
    """What the volumes of one pod come to.

    nodes: where they can be mounted. problems: field and sentence of each volume of which nobody can tell where it is.
    notices: the same of what is not considered. contests: to be looked at for all pods together.
    """

    nodes: list[VolumeNodes] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notices: list[tuple[str, str]] = field(default_factory=list)
    contests: list[Contest] = field(default_factory=list)


def mounts(pod: Fields, namespace: str, name: str, storage: Storage) -> Mounts:
    """Where the volumes of a pod let it go. name: empty for a template.

    Raises InvalidRequest for malformed claims, volumes and classes.
    """
    reader = _Reader(storage, namespace, name, Mounts())
    for index, volume in enumerate(pod.parts("spec.volumes")):
        if volume.has("persistentVolumeClaim") or volume.has("ephemeral"):
            reader.read(f"spec.volumes[{index}]", volume)
    return reader.found


@dataclass
class _Reader:
    storage: Storage
    namespace: str
    pod: str
    found: Mounts

    def read(self, at: str, volume: Part) -> None:
        """One volume of the pod."""
        if volume.has("ephemeral"):
            short = f"{self.pod or '<pod>'}-{volume.text('name', '')}"
            claim = self.storage.claim(self.namespace, short)
            if claim is None:
                self.unbound(at, f"{self.namespace}/{short}", volume.part("ephemeral.volumeClaimTemplate"), None)
                return
        else:
            short = volume.text("persistentVolumeClaim.claimName")
            claim = self.storage.claim(self.namespace, short)
        label = f"{self.namespace}/{short}"
        if claim is None:
            self.refuse(at, f"claim {label} {self.storage.missing}: which nodes can mount its volume is not known")
        elif claim.has("metadata.deletionTimestamp"):
            self.refuse(at, f"claim {label} is being deleted, so nothing new can mount its volume")
        else:
            self.existing(at, label, claim)

    def existing(self, at: str, label: str, claim: Document) -> None:
        """A claim that is there."""
        if _ONE_POD in claim.words("spec.accessModes"):
            me = f"{self.namespace}/{self.pod}"
            user = next((one for one in self.storage.users((claim.namespace, claim.name)) if one != me), "")
            if user:
                self.keep(f"{label} that only pod {user} may mount as long as it runs", ())
            self.found.contests.append(Contest(label, at, is_sole=True))
        name = claim.text("spec.volumeName", "")
        if not name:
            self.unbound(at, label, claim, claim)
            return
        volume = self.storage.volume(name)
        if volume is None:
            self.refuse(at, f"volume {name} of claim {label} {self.storage.missing}: where it is is not known")
        elif _owner(volume) not in (("", ""), (claim.namespace, claim.name)):
            self.refuse(at, f"volume {name} of claim {label} is bound to another claim")
        else:
            for terms in volume_terms(volume):
                self.keep(label, terms)

    def unbound(self, at: str, label: str, spec: Fields, claim: Document | None) -> None:
        """A claim, or the template of one, that has no volume yet."""
        name = _class_of(spec, claim)
        name = self.default_class() if name is None else name
        kind = self.storage.storage_class(name) if name else None
        if name and kind is None:
            self.refuse(at, f"claim {label} is not bound, and its StorageClass {name} {self.storage.missing}")
            return
        if kind is None or kind.text("volumeBindingMode", "Immediate") != _LATE:
            why = f"its StorageClass {name} does not wait for the pod" if name else "it has no StorageClass"
            self.refuse(at, f"claim {label} is not bound to a volume, and {why}: where it will be is not known")
            return
        chosen = claim.annotations.get(_SELECTED_NODE) if claim else ""
        if chosen:
            self.keep(label, on_node(chosen))
            return
        self.late(at, label, spec, claim, kind)

    def late(self, at: str, label: str, spec: Fields, claim: Document | None, kind: Document) -> None:
        """A claim that is bound once its pod has a node: to a volume that is there already, or to a new one."""
        is_made = kind.text("provisioner", _NO_PROVISIONER) != _NO_PROVISIONER
        allowed = allowed_terms(kind)
        if is_made and claim is not None:
            text = f"claim {label} is not bound yet: the first pod that mounts it decides where its other pods may go"
            self.found.notices.append((at, text))
        if is_made and not allowed:
            return
        choices = self.choices(spec, claim, kind.name)
        if choices and claim is None and not self.pod:
            self.refuse(at, f"each pod has a claim {label}, and which gets which volume is not known")
        elif choices:
            self.found.contests.append(Contest(label, at, choices=choices))
        if any(terms is None for terms in choices.values()):
            return
        areas = [terms for terms in choices.values() if terms is not None]
        text = label if is_made or choices else f"{label} for which no volume is free"
        self.keep(text, any_of([*areas, *([allowed] if is_made else [])]))

    def choices(self, spec: Fields, claim: Document | None, kind: str) -> dict[str, Terms | None]:
        """Volumes that the claim may be bound to, by name; the one that waits for it alone, if there is any."""
        found: dict[str, Terms | None] = {}
        needs = label_requirements(spec.part("spec.selector"))
        for volume in sorted(self.storage.volumes(), key=lambda doc: natural_key(doc.name)):
            owner = _owner(volume)
            mine = claim is not None and owner == (claim.namespace, claim.name)
            if not (mine or owner == ("", "")) or not _satisfies(volume, spec, kind):
                continue
            terms = volume_terms(volume)
            area = in_one(terms) if terms else None
            if mine:
                return {volume.name: area}
            if labels_match(needs, volume.labels) and volume.text("status.phase", "Available") == "Available":
                found[volume.name] = area
        return found

    def default_class(self) -> str:
        """The StorageClass of claims that name none; empty if there is none."""
        names = [doc.name for doc in self.storage.storage_classes() if doc.annotations.get(_DEFAULT_CLASS) == "true"]
        return min(names, default="")

    def keep(self, label: str, terms: Terms) -> None:
        """One more thing that nodes have to match."""
        self.found.nodes.append(VolumeNodes(label, terms))

    def refuse(self, at: str, problem: str) -> None:
        """A volume of which nobody can tell where it is."""
        self.found.problems.append((at, problem))


def _class_of(spec: Fields, claim: Document | None) -> str | None:
    """The class that a claim names, empty for none at all; None where the default one counts."""
    old = claim.annotations.get(_OLD_CLASS) if claim else None
    return spec.text("spec.storageClassName", None) if old is None else old


def _owner(volume: Document) -> tuple[str, str]:
    """Namespace and name of the claim that a volume is bound to, or waits for."""
    name = volume.text("spec.claimRef.name", "")
    return (volume.text("spec.claimRef.namespace", "") or "default", name) if name else ("", "")


def _satisfies(volume: Document, spec: Fields, kind: str) -> bool:
    """Whether a volume is of a class, as large as a claim wants it, and can be mounted as it wants."""
    if (volume.annotations.get(_OLD_CLASS) or volume.text("spec.storageClassName", "")) != kind:
        return False
    if volume.has("metadata.deletionTimestamp"):
        return False
    if volume.text("spec.volumeMode", "Filesystem") != spec.text("spec.volumeMode", "Filesystem"):
        return False
    if not set(spec.words("spec.accessModes")) <= set(volume.words("spec.accessModes")):
        return False
    return _bytes(volume, "spec.capacity.storage") >= _bytes(spec, "spec.resources.requests.storage")


def _bytes(fields: Fields, path: str) -> Amount:
    value = fields.find(path)
    try:
        return 0 if value is None else parse_quantity(value)
    except QuantityError as error:
        raise fields.refuse(path, str(error)) from error
