"""Gangs of pods without a `Gang`: those of a PodGroup, of one replica of a LeaderWorkerSet, or of a shared name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from adapters.kubernetes.foreign_rules import LWS_EXCLUSIVE
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.compute_domains import keep_domains, refuse_sharing
from adapters.manifests.kinds import kind_of
from adapters.manifests.live_members import Joined, LivePods, common_shape, oldest
from adapters.manifests.loose_pods import Bond, loose_gang, told_size
from adapters.manifests.lws import EXCLUSIVE
from adapters.manifests.members import Member, bound_members, domains_by_role, first_label, packed
from adapters.manifests.packing import annotated, kept_together
from adapters.manifests.podgroups import SUBGROUP_LABEL
from adapters.manifests.policies import POLICIES, fewest_by_leaf, policy_of
from adapters.manifests.reading import Reading, located
from solver.domain.gang import MAX_PODS, Gang, Group, Role

#: How many pods a gang has that only its pods tell of: an annotation of theirs.
SIZE_ANNOTATION = "huddle.scheduler/size"
_SET_SIZE = "leaderworkerset.sigs.k8s.io/size"
_WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
_TEMPLATE = "spec.leaderWorkerTemplate"


def join_pod_group(reading: Reading, pods: LivePods, members: Sequence[Member]) -> Joined:
    """A PodGroup of any kind with its pods: missing are those that its minimums lack."""
    leaves = fewest_by_leaf(reading)
    only = next(iter(leaves)) if len(leaves) == 1 else ""
    lacking = {name: least - pods.count(SUBGROUP_LABEL, name, only) for name, least in leaves.items()}
    missing = {name: count for name, count in lacking.items() if count > 0}
    if not members:
        return Joined(None, missing)
    found = POLICIES[policy_of(reading.doc)](reading, members)
    return as_joined(found.gang, reading, pods, missing)


def join_shared_name(reading: Reading, key: str, pods: LivePods, members: Sequence[Member]) -> Joined:
    """Pods that name a PodGroup which does not exist: as many as they say, or as there are."""
    size = told_size(key, members)
    if size is None:
        return as_joined(loose_gang(reading, Bond(key, "group"), members).gang, reading, pods, {}, is_open=True)
    gang = loose_gang(reading, Bond(key, "group"), members, size).gang
    lacking = size - len(pods.bodies) - len(pods.others)
    missing = {key.partition("/")[2]: lacking} if lacking > 0 else {}
    return as_joined(gang, reading, pods, missing)


def join_replica(reading: Reading, key: str, pods: LivePods, members: Sequence[Member]) -> Joined:
    """One replica of a LeaderWorkerSet: every pod of it is needed. Without the set its pods say how many there are."""
    size = _size(reading, members)
    missing = size - len(pods.bodies) - len(pods.others)
    if missing > 0:
        _refuse_late_workers(reading)
    lacking = {"worker": missing} if missing > 0 else {}
    if not members:
        return Joined(None, lacking)
    return as_joined(_engine(reading, key, members, size, pods), reading, pods, lacking)


def _refuse_late_workers(reading: Reading) -> None:
    """Raise InvalidRequest for a set that makes workers only once their leader is placed: no gang comes of it."""
    doc = reading.doc
    if doc.text("spec.startupPolicy", "") == "LeaderReady":
        problem = "LeaderReady makes workers only once their leader is ready, so the gang would never be complete"
        raise doc.refuse("spec.startupPolicy", problem)
    if doc.annotations.get(LWS_EXCLUSIVE):
        problem = "workers are made only once their leader has its domain, so the gang would never be complete"
        raise doc.refuse(f"metadata.annotations[{LWS_EXCLUSIVE}]", problem)


def _engine(reading: Reading, key: str, members: Sequence[Member], size: int, pods: LivePods) -> Gang:
    """The gang of one replica: leader and workers, or workers alone where the leader is like them."""
    labels = {label: value for member in members for label, value in member.doc.labels.items()}
    kind = kind_of({**reading.doc.labels, **labels}, key)
    rule = annotated(reading.doc.annotations, *(member.doc.annotations for member in members))
    if reading.doc.kind != "Pod":
        reading.refuse_foreign(EXCLUSIVE)
    roles, ranks = [], _ranks(reading, members, size)
    for name, found, count in ranks:
        if found:
            shape = common_shape(name, found, pods)
            names = tuple(member.name for member in found)
            roles.append(
                Role(name, len(found), count, kind, shape.requests, shape.constraints, shape.spread, names)
            )  # fmt: skip
        elif count:
            roles.append(Role(name, 0, count, kind))
    priority = members[0].doc.whole("spec.priority", None, minimum=-(2**31))
    with located(reading.doc):
        root = Group(key, tuple(roles), pack=rule.pack, multinode=True)
    root = packed(reading, root, {name: found for name, found, _ in ranks})
    root = kept_together(root, *(member.doc.annotations for member in members))
    domains = domains_by_role(reading.world, {name: found for name, found, _ in ranks})
    if reading.doc.kind == "LeaderWorkerSet":
        refuse_sharing(reading, domains, reading.doc.whole("spec.replicas", 1))
    root = keep_domains(reading, root, rule.topology, domains)
    with located(reading.doc):
        return Gang(
            key,
            root,
            reading.priority() if priority is None else priority,
            reading.doc.labels.get(QUEUE_LABEL) or first_label(members, QUEUE_LABEL),
            rule.topology,
            running=bound_members(members),
        )


def _ranks(reading: Reading, members: Sequence[Member], size: int) -> tuple[tuple[str, Sequence[Member], int], ...]:
    """Roles of an engine: name, members, pods needed."""
    leads = [member for member in members if member.doc.labels.get(_WORKER_INDEX) == "0"]
    others = [member for member in members if member not in leads]
    known = reading.doc.kind == "LeaderWorkerSet"
    alike = not leads or not others or leads[0].shape == others[0].shape
    if not reading.doc.has(f"{_TEMPLATE}.leaderTemplate") and (known or alike):
        return (("worker", members, size),)
    return (("leader", leads, 1), ("worker", others, size - 1))


def _size(reading: Reading, members: Sequence[Member]) -> int:
    if reading.doc.kind == "LeaderWorkerSet":
        return reading.doc.whole(f"{_TEMPLATE}.size", 1, minimum=1, maximum=MAX_PODS)
    told = next((text for member in members if (text := member.doc.annotations.get(_SET_SIZE))), "")
    return _number(reading, told) if told else len(members)


def _number(reading: Reading, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PODS):
        raise reading.doc.refuse("metadata.annotations", f"{text!r} is no number of pods (1 to {MAX_PODS})")
    return int(text)


def as_joined(
    gang: Gang, reading: Reading, pods: LivePods, missing: Mapping[str, int], is_open: bool = False
) -> Joined:
    """The gang without the pods that have succeeded; it waits since the first of its objects was made."""
    gang = replace(gang, created=oldest([reading.doc.body, *pods.bodies]))
    if pods.done:
        root = _without(gang.root, pods.done)
        if not any(role.pods for group in root.walk() for role in group.roles):
            return Joined(None, missing, is_open)
        gang = replace(gang, root=root)
    return Joined(gang, missing, is_open)


def _without(group: Group, done: Collection[str]) -> Group:
    """The group without pods that have done their part: it needs so many less."""
    roles, spared = [], 0
    for role in group.roles:
        left = tuple(pod for pod in role.pods if pod not in done)
        gone = len(role.pods) - len(left)
        spared += gone
        roles.append(replace(role, replicas=len(left), min=max(0, role.min - gone), pods=left))
    least = None if group.min is None else max(0, group.min - spared)
    children = tuple(_without(child, done) for child in group.groups)
    return replace(group, roles=tuple(roles), groups=children, min=least)
