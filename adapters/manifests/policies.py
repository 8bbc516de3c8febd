"""PodGroups of every API group that is understood: what reads them, for files and live clusters alike."""

from collections.abc import Callable, Mapping, Sequence

from adapters.kubernetes.cluster import KAI_GROUP, NATIVE_GROUP
from adapters.kubernetes.objects import Document
from adapters.manifests.members import Member
from adapters.manifests.podgroups import coscheduling_group, kai_group, least_members, least_pods, native_group
from adapters.manifests.reading import FoundGang, Reading
from adapters.manifests.subgroups import read_tree
from adapters.manifests.volcano import VOLCANO_GROUP, volcano_group

COSCHEDULING_GROUPS = ("scheduling.x-k8s.io", "scheduling.sigs.k8s.io")

#: API group → the gang of its PodGroup and the pods that name it.
POLICIES: Mapping[str, Callable[[Reading, Sequence[Member]], FoundGang]] = {
    KAI_GROUP: kai_group,
    NATIVE_GROUP: native_group,
    **dict.fromkeys(COSCHEDULING_GROUPS, coscheduling_group),
    VOLCANO_GROUP: volcano_group,
}


def policy_of(doc: Document) -> str:
    """The API group of a PodGroup that can be read, empty for anything else."""
    if doc.kind != "PodGroup":
        return ""
    if not doc.api_group:
        return NATIVE_GROUP if doc.has("spec.schedulingPolicy") else KAI_GROUP
    return doc.api_group if doc.api_group in POLICIES else ""


def fewest_by_leaf(reading: Reading) -> dict[str, int]:
    """How many pods a PodGroup needs at least, by the subgroup they name; its own name where it has none."""
    policy = policy_of(reading.doc)
    if policy == KAI_GROUP:
        return {leaf.name: leaf.least or 0 for leaf in read_tree(reading).leaves()}
    return {reading.doc.name: least_pods(reading) if policy == NATIVE_GROUP else least_members(reading)}
