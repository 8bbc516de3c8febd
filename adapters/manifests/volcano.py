"""PodGroups of Volcano: fewest pods in all and of each task, and how many tiers of its network they may span."""

from collections.abc import Sequence
from dataclasses import replace

from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import Finding
from adapters.kubernetes.topologies import read_topologies
from adapters.manifests.members import Likes, Member, alike
from adapters.manifests.packing import Packing, annotated, packing
from adapters.manifests.podgroups import check_members, finished, leaf_roles, least_members
from adapters.manifests.podsets import inside
from adapters.manifests.reading import FoundGang, Reading, located
from solver.domain.gang import MAX_PODS, Group
from solver.domain.levels import NARROWEST, Level

VOLCANO_GROUP = "scheduling.volcano.sh"
_TASK = "volcano.sh/task-spec"
_NETWORK = "spec.networkTopology"
_DEFAULT_QUEUE = "default"
_TOPOLOGIES = frozenset({"Topology", "ClusterTopology", "ClusterTopologyBinding"})


def volcano_group(reading: Reading, members: Sequence[Member]) -> FoundGang:
    """The gang of a `scheduling.volcano.sh` PodGroup and the pods that name it.

    As in Volcano the minimums of tasks count only if they are no more than the minimum over all pods. The queue
    `default` is none.
    """
    doc = reading.doc
    check_members(reading, members)
    reading.refuse_foreign()
    if doc.items("spec.subGroupPolicy"):
        reading.unsupported(Finding("spec.subGroupPolicy", "subgroups of Volcano are not supported"))
    rule = annotated(doc.annotations)
    root, everyone = _root(reading, members)
    with located(doc):
        for pack in (rule, network_rule(reading, rule.topology)):
            root = inside(root, pack.pack) if pack.packs else root
    queue = doc.text("spec.queue", "")
    found = finished(reading, everyone, root, reading.priority(), rule.topology, queue)
    return replace(found, gang=replace(found.gang, queue="")) if queue == _DEFAULT_QUEUE else found


def _root(reading: Reading, members: Sequence[Member]) -> tuple[Group, list[Likes]]:
    doc = reading.doc
    least = least_members(reading)
    of_task = _task_minimums(doc)
    if sum(of_task.values()) > least:
        message = f"minimums of tasks come to more than minMember {least}, so Volcano does not look at them"
        reading.note("unsupported_soft", "spec.minTaskMember", message)
        of_task = {}
    if not of_task:
        likes = alike(reading, doc.name, members)
        with located(doc):
            roles, fewest = leaf_roles(doc.name, likes, least)
            return Group(doc.full_name, roles, min=fewest), list(likes)
    return _by_task(reading, members, of_task, least)


def _task_minimums(doc: Document) -> dict[str, int]:
    part = doc.part("spec.minTaskMember")
    found = {}
    for task, count in part.body.items():
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_PODS:
            raise part.refuse(str(task), f"{count!r} is no number of pods (0 to {MAX_PODS})")
        found[str(task)] = count
    return found


def _by_task(
    reading: Reading, members: Sequence[Member], of_task: dict[str, int], least: int
) -> tuple[Group, list[Likes]]:
    """Roles by task, each with its minimum; pods of a task that are not alike have a group of their own."""
    doc = reading.doc
    tasks: dict[str, list[Member]] = {task: [] for task in of_task}
    for member in members:
        tasks.setdefault(task_of(member.doc), []).append(member)
    likes = {task: alike(reading, task or doc.name, found, tasks) for task, found in tasks.items()}
    parted = [task for task, found in likes.items() if len(found) > 1 and of_task.get(task)]
    rest = least - sum(of_task.values())
    if parted and rest > 0:
        problem = f"minMember {least} above those of the tasks is not supported while pods of task {parted[0]} differ"
        reading.unsupported(Finding("spec.minMember", problem))
    roles, groups = [], []
    with located(doc):
        for task, found in likes.items():
            own, fewest = leaf_roles(task or doc.name, found, of_task.get(task, 0))
            if task in parted:
                groups.append(Group(f"{doc.full_name}: task {task}", own, min=fewest))
            elif len(own) > 1:
                roles += [replace(role, min=0) for role in own]
            else:
                roles += own
        least = least if not parted else sum(of_task[task] for task in of_task if task not in parted) + len(groups)
        root = Group(doc.full_name, tuple(roles), tuple(groups), min=least)
    return root, [like for found in likes.values() for like in found]


def task_of(pod: Document) -> str:
    """The task of a Volcano Job that a pod belongs to, or empty."""
    return pod.annotations.get(_TASK) or pod.labels.get(_TASK, "")


def network_rule(reading: Reading, topology: str = "") -> Packing:
    """The pack rule of `spec.networkTopology` in levels of a topology: hard = required, soft = preferred."""
    doc = reading.doc
    if not doc.has(_NETWORK):
        return Packing()
    mode = doc.text(f"{_NETWORK}.mode", "hard")
    name = doc.text(f"{_NETWORK}.highestTierName", "")
    tier = doc.whole(f"{_NETWORK}.highestTierAllowed", None)
    if mode not in ("hard", "soft"):
        raise doc.refuse(f"{_NETWORK}.mode", f"must be hard or soft, not {mode!r}")
    if mode == "soft":
        return packing(preferred=name or NARROWEST)
    if name:
        return packing(required=name)
    if tier is None:
        raise doc.refuse(f"{_NETWORK}.highestTierAllowed", "is missing: without it mode hard allows every tier")
    return packing(required=_level_of_tier(reading, topology, tier))


def _level_of_tier(reading: Reading, topology: str, tier: int) -> str:
    """The level that a tier stands for: what its HyperNodes are called, else the tier-th level above the hosts.

    A tier above every level is the whole cluster, which needs no rule.
    """
    place = f"{_NETWORK}.highestTierAllowed"
    nodes = [node for node in reading.world.of_kind("HyperNode") if node.whole("spec.tier", -1, minimum=-1) == tier]
    if nodes:
        names = {node.text("spec.tierName", "") for node in nodes}
        if len(names) == 1 and (name := names.pop()):
            return name
        problem = f"HyperNodes of tier {tier} share no tierName, so the level they stand for is not known"
        reading.unsupported(Finding(place, problem))
        return ""
    levels = _levels(reading, topology)
    if levels is None:
        reading.unsupported(
            Finding(place, "which level of which topology a tier means is not known; highestTierName says it")
        )
        return ""
    return levels[-tier].label if 0 < tier <= len(levels) else _beyond(reading, place, tier)


def _beyond(reading: Reading, place: str, tier: int) -> str:
    if tier < 1:
        raise reading.doc.refuse(place, f"{tier} is below tier 1, the domains just above the hosts")
    reading.note("unsupported_soft", place, f"tier {tier} lies above every level: the whole cluster is allowed")
    return ""


def _levels(reading: Reading, topology: str) -> tuple[Level, ...] | None:
    """Levels above the hosts, coarse to fine; None when several topologies are declared and nobody knows the nodes."""
    if reading.world.topology_of is not None:
        return reading.world.topology_of(topology).levels[:-1]
    declared, _ = read_topologies([doc for kind in sorted(_TOPOLOGIES) for doc in reading.world.of_kind(kind)])
    named = [spec for spec in declared if spec.name == topology or not topology]
    return named[0].levels[:-1] if len(named) == 1 else None
