"""Pods of the API server as members of a gang: without what being placed has added to them, each version read once."""

from collections.abc import Collection
from dataclasses import dataclass

from adapters.apply.gate import GATE, gates, pinned_node
from adapters.kubernetes.gang_keys import SCHEDULER
from adapters.kubernetes.objects import Document
from adapters.manifests.live_members import SOURCE, Body, LivePods, pod_name
from adapters.manifests.members import Member, read_without_volumes, with_volumes
from adapters.manifests.reading import Reading
from solver.domain.naming import natural_key

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class _Read:
    """A pod that has been read. version: of its body. node: where it stays, if it does. honours: of its reader."""

    version: str
    node: str | None
    honours: Collection[str]
    member: Member


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
    """Reads pods as members, each version of a pod once for the labels that selectors name.

    Where volumes are is looked up every time: that changes while the pods stay as they are.
    """

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
            if read is None or (read.version, read.node, read.honours) != (version, node, reading.honours):
                member = read_without_volumes(reading, _document(body, node))
                read = _Read(version, node, reading.honours, member)
            found[metadata["uid"]] = read
        self._known[key] = selected, found
        members = sorted((read.member for read in found.values()), key=lambda member: natural_key(member.name))
        return tuple(with_volumes(reading, member) for member in members)

    def forget(self, key: str) -> None:
        """A gang is gone."""
        self._known.pop(key, None)


def live_documents(pods: LivePods) -> list[Document]:
    """The members as they were before anything was decided about them, on their nodes where they stay."""
    return [_document(body, pods.fixed.get(pod_name(body))) for body in pods.bodies]


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
