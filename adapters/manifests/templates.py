"""Which workloads of the files are gangs of their own, and pods of those whose templates say that they are in another.

A workload is a gang of its own if it is one by its nature (JobSet, RayCluster, Volcano Job), if its pods ask for an
accelerator, or if it or a template carries a topology rule that is honoured. Others accompany the gangs: a Deployment
without GPUs beside them is none. What a controller that is in the input made belongs to that. Where a template names a
group, its pods are members of that group, whether the group is in the input or not; and so where pods of it that exist
name one, as those of a Volcano Job do.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

from adapters.kubernetes.amounts import pod_requests
from adapters.kubernetes.foreign_rules import Treatment, treatment
from adapters.kubernetes.gang_keys import GANG_LABEL, GROUP_MARKS, group_name
from adapters.kubernetes.objects import Document, Part
from adapters.kubernetes.running import gang_of, own_gang_of
from adapters.manifests.dynamo_members import deployment_of
from adapters.manifests.packing import PREFERRED, REQUIRED
from adapters.manifests.reading import World
from adapters.manifests.workload_kinds import Podset, WorkloadKind, workload_of

_AT, _LABELS = "metadata.annotations", "metadata.labels"
_SCHEDULING_GROUP = "spec.schedulingGroup"


class Workloads:
    """The workloads of some files."""

    def __init__(self, world: World) -> None:
        self._world = world

    def kind_of(self, doc: Document) -> WorkloadKind | None:
        """How an object of the files is read that is a gang of its own; None for all others."""
        return self._own.get(id(doc))

    def owns(self, pod: Document) -> bool:
        """Whether a pod is of a workload that is a gang of its own."""
        return any(kind.owner(pod) in names for kind, names in self._names)

    def pods(self) -> Iterator[Document]:
        """Pods to come of templates that name a group, as many as their workloads lack."""
        for doc in self._world.files:
            kind = workload_of(doc)
            if kind is not None and not self._is_made(doc):
                yield from _pods_to_come(self._world, doc, kind)

    @cached_property
    def _own(self) -> Mapping[int, WorkloadKind]:
        found: dict[int, WorkloadKind] = {}
        for doc in self._world.files:
            kind = workload_of(doc)
            if kind is not None and not self._is_made(doc) and _is_gang(doc, kind) and not self._is_grouped(doc, kind):
                found[id(doc)] = kind
        return found

    @cached_property
    def _names(self) -> Sequence[tuple[WorkloadKind, set[str]]]:
        found: dict[int, tuple[WorkloadKind, set[str]]] = {}
        for doc in self._world.files:
            if kind := self._own.get(id(doc)):
                found.setdefault(id(kind), (kind, set()))[1].add(doc.full_name)
        return list(found.values())

    def _is_grouped(self, doc: Document, kind: WorkloadKind) -> bool:
        """Whether a pod of a workload names a gang by itself."""
        return any(
            own_gang_of(pod) or gang_of(pod) for pod in self._world.existing_by(kind.owner).get(doc.full_name, ())
        )

    def _is_made(self, doc: Document) -> bool:
        """Whether an object was made by a controller of the input, or for a deployment of Dynamo."""
        for reference in doc.parts("metadata.ownerReferences"):
            owner = (reference.text("kind", ""), doc.namespace, reference.text("name", ""))
            if reference.flag("controller", False) and owner in self._world.owners:
                return True
        return bool(deployment_of(doc))


def _is_gang(doc: Document, kind: WorkloadKind) -> bool:
    podsets = list(kind.podsets(doc))
    if any(_group_of(podset.template) for podset in podsets):
        return False
    if kind.is_gang or _has_rule(doc.annotations):
        return True
    return any(_has_rule(podset.template.texts(_AT)) or _asks(podset.template) for podset in podsets)


def _has_rule(annotations: Mapping[str, str]) -> bool:
    """Whether annotations say where pods have to be, in words of any scheduler that is known."""
    asked = [key for key, value in annotations.items() if value]
    return any(key in (REQUIRED, PREFERRED) or treatment(key) is not Treatment.HARMLESS for key in asked)


def _asks(template: Part) -> bool:
    """Whether the pods of a template ask for an accelerator: any device that a plug-in or a claim hands out."""
    requests = pod_requests(template)
    claims = template.items("spec.resourceClaims")
    return bool(claims) or requests.gpus > 0 or any("/" in name and amount for name, amount in requests.items)


def _group_of(template: Part) -> str:
    labels = template.texts(_LABELS)
    return labels.get(GANG_LABEL, "") or group_name(labels, template.texts(_AT), "")


def _pods_to_come(world: World, doc: Document, kind: WorkloadKind) -> Iterator[Document]:
    podsets = list(kind.podsets(doc))
    own = world.existing_by(kind.owner).get(doc.full_name, ())
    for podset in podsets:
        known = [pod for pod in own if len(podsets) == 1 or kind.podset_of(pod) == podset.name]
        like = next((pod for pod in known if own_gang_of(pod) or gang_of(pod)), None)
        if like is None and not _group_of(podset.template):
            continue
        names = {pod.full_name for pod in known}
        free = (name for name in podset.names if name not in names)
        for name in islice(free, max(0, len(podset.names) - len(names))):
            yield _pod(doc, podset, name, like)


def _pod(doc: Document, podset: Podset, name: str, like: Document | None) -> Document:
    """A pod that a controller will make of a template. like: one that names the same gang, if its template does not."""
    template = podset.template
    metadata = {
        **template.mapping("metadata"),
        "name": name.partition("/")[2],
        "namespace": doc.namespace,
        "labels": {**_marks(like.labels if like else {}), **template.texts(_LABELS), **podset.labels},
        "annotations": {**_marks(like.annotations if like else {}), **template.texts(_AT)},
        "ownerReferences": [{"controller": True, "kind": doc.kind, "name": doc.name}],
    }
    spec = template.mapping("spec")
    if like is not None and like.has(_SCHEDULING_GROUP):
        spec = {**spec, "schedulingGroup": like.mapping(_SCHEDULING_GROUP)}
    return Document({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, doc.source)


def _marks(texts: Mapping[str, str]) -> dict[str, str]:
    """Those of the labels or annotations of a pod by which it says which gang it is in."""
    return {key: value for key, value in texts.items() if key in GROUP_MARKS}
