"""Pods that exist, as members of a gang: without what being placed has added to them, and alike where they must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.apply.gate import GATE, gates, pinned_node
from adapters.apply.observing import SCHEDULER
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import PodShape
from adapters.manifests.members import Member, read_member
from adapters.manifests.reading import Reading
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.naming import natural_key

Body = Mapping[str, Any]

SOURCE = "cluster"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class LivePods:
    """Pods that a gang is made of.

    bodies: those that are members. fixed: `namespace/pod` → node of those of them that stay where they are. done:
    `namespace/pod` of those of them that have succeeded. others: pods of the gang that exist and are no members now.
    """

    bodies: Sequence[Body]
    fixed: Mapping[str, str]
    done: frozenset[str] = frozenset()
    others: Sequence[Body] = ()

    def count(self, label: str, value: str, default: str = "") -> int:
        """Pods that exist, members or not, with this value of a label; those without it have the default."""
        labels = [body["metadata"].get("labels") or {} for body in (*self.bodies, *self.others)]
        return sum((each.get(label) or default) == value for each in labels)


@dataclass(frozen=True, slots=True)
class _Read:
    """A pod that has been read. version: of its body. node: where it stays, if it does."""

    version: str
    node: str | None
    member: Member


@dataclass(frozen=True, slots=True)
class Joined:
    """A gang of pods that exist.

    gang: None while there is no pod. missing: role → pods that are declared and do not exist. is_open: nobody says how
    many pods there will be.
    """

    gang: Gang | None
    missing: Mapping[str, int]
    is_open: bool = False


def without_pin(pod: Body) -> Body:
    """The pod as it was before it was pinned to one node; itself if it is not."""
    node = pinned_node(pod)
    if not node:
        return pod
    affinity = pod["spec"]["affinity"]
    terms = [_without_node(term, node) for term in affinity["nodeAffinity"][_REQUIRED]["nodeSelectorTerms"]]
    required = {_REQUIRED: {"nodeSelectorTerms": terms}} if any(terms) else {}
    others = {key: value for key, value in affinity["nodeAffinity"].items() if key != _REQUIRED}
    return {**pod, "spec": {**pod["spec"], "affinity": {**affinity, "nodeAffinity": {**others, **required}}}}


class MemberReader:
    """Reads pods as members, each version of a pod once for the labels that selectors name."""

    def __init__(self) -> None:
        # By gang: the labels that selectors name, and its pods by uid.
        self._known: dict[str, tuple[frozenset[str], dict[str, _Read]]] = {}

    def read(self, key: str, reading: Reading, pods: LivePods) -> tuple[Member, ...]:
        """The pods of a gang, in natural name order. Raises InvalidRequest."""
        selected = reading.world.selected.of(key.partition("/")[0])
        before, known = self._known.get(key, (selected, {}))
        known = known if before == selected else {}
        found: dict[str, _Read] = {}
        for body in pods.bodies:
            metadata = body["metadata"]
            version, node = str(metadata.get("resourceVersion")), pods.fixed.get(pod_name(body))
            read = known.get(metadata["uid"])
            if read is None or (read.version, read.node) != (version, node):
                read = _Read(version, node, read_member(reading, _document(body, node)))
            found[metadata["uid"]] = read
        self._known[key] = selected, found
        return tuple(sorted((read.member for read in found.values()), key=lambda member: natural_key(member.name)))

    def forget(self, key: str) -> None:
        """A gang is gone."""
        self._known.pop(key, None)


def pod_name(body: Body) -> str:
    """`namespace/pod`."""
    return f"{body['metadata'].get('namespace') or 'default'}/{body['metadata']['name']}"


def common_shape(role: str, members: Sequence[Member], pods: LivePods) -> PodShape:
    """What every pod of a role asks for that has still to be placed; of the others, if none has.

    Raises InvalidRequest, in one sentence, when two of them differ.
    """
    settled = {*pods.fixed, *pods.done}
    first, *others = [member for member in members if member.name not in settled] or members[:1]
    for other in others:
        if (what := _difference(first.shape, other.shape)) is not None:
            raise InvalidRequest(f"pods {first.name} and {other.name} of role {role} differ in {what}")
    return first.shape


def oldest(bodies: Sequence[Body]) -> datetime | None:
    """When the first of some objects was made; None when none says so."""
    known = [_created(body) for body in bodies]
    return min((moment for moment in known if moment is not None), default=None)


def _document(body: Body, node: str | None) -> Document:
    """The pod as it was before anything was decided about it, on its node if it stays there."""
    before = body if _is_held(body) and node is None else without_pin(body)
    spec = {**before["spec"], "nodeName": node}
    return Document({"apiVersion": "v1", "kind": "Pod", "metadata": body["metadata"], "spec": spec}, SOURCE)


def _without_node(term: Body, node: str) -> Body:
    """A term without the last of its fields that names the node."""
    fields = list(term.get("matchFields") or ())
    pin = {"key": "metadata.name", "operator": "In", "values": [node]}
    if pin in fields:
        del fields[len(fields) - 1 - fields[::-1].index(pin)]
    rest = {key: value for key, value in term.items() if key != "matchFields"}
    return {**rest, "matchFields": fields} if fields else rest


def _is_held(pod: Body) -> bool:
    """Whether nobody but Huddle can bind it, so that nothing was pinned yet."""
    return GATE in gates(pod) or pod["spec"].get("schedulerName") == SCHEDULER


def _difference(one: PodShape, other: PodShape) -> str | None:
    parts = (
        ("what they request", one.requests, other.requests),
        ("their node selectors", one.constraints.selector, other.constraints.selector),
        ("their node affinity", one.constraints.affinity, other.constraints.affinity),
        ("their tolerations", one.constraints.tolerations, other.constraints.tolerations),
        ("their pod anti-affinity", one.constraints.anti_affinity, other.constraints.anti_affinity),
        ("their pod anti-affinity", one.spread, other.spread),
        ("their labels", one.constraints.labels, other.constraints.labels),
    )
    return next((what for what, mine, theirs in parts if mine != theirs), None)


def _created(body: Body) -> datetime | None:
    text = body["metadata"].get("creationTimestamp")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
