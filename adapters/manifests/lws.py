"""LeaderWorkerSet: one gang per replica, all its pods ranks of one engine.

The labels and the exclusive domains that its controller gives to pods are added to what the templates say.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.kubernetes.exclusive import Together, with_exclusive
from adapters.kubernetes.foreign_rules import (
    LWS_EXCLUSIVE,
    LWS_GROUP_KEY,
    LWS_SUBGROUP_EXCLUSIVE,
    LWS_SUBGROUP_KEY,
    PODSET_RULES,
)
from adapters.kubernetes.objects import Part
from adapters.kubernetes.pods import Finding, PodShape
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.added_labels import LEADER_WORKER_SET_KEYS, leader_worker_set_labels
from adapters.manifests.compute_domains import domains_of, keep_domains, refuse_sharing
from adapters.manifests.kinds import kind_of
from adapters.manifests.own_claims import with_own_claims
from adapters.manifests.packing import annotated, kept_together
from adapters.manifests.podsets import Family, PodsetRule, podset_rule
from adapters.manifests.reading import FoundGang, Reading, located
from solver.domain.constraints import AntiAffinity, Operator, PodSelector, Requirement
from solver.domain.gang import MAX_PODS, BoundMember, Gang, Group, Kind, Pack, Role, Spread

_TEMPLATE = "spec.leaderWorkerTemplate"
_SUBGROUPS = f"{_TEMPLATE}.subGroupPolicy"
#: Annotations that want whole domains for one replica, or for a part of it.
EXCLUSIVE = frozenset({LWS_EXCLUSIVE, LWS_SUBGROUP_EXCLUSIVE})
#: Rules of other schedulers that are honoured on the object or its templates.
HONOURED = PODSET_RULES | EXCLUSIVE


def read_leader_worker_set(reading: Reading) -> Iterator[FoundGang]:
    """One gang `namespace/name-<i>` per replica: roles `leader` and `worker`, or `worker` alone without a leader.

    Pods are named as the controller names them; those already bound are running members.
    """
    doc = reading.doc
    if not doc.name:
        raise doc.refuse("metadata.name", "is missing")
    replicas = doc.whole("spec.replicas", 1, maximum=MAX_PODS)
    size = doc.whole(f"{_TEMPLATE}.size", 1, minimum=1, maximum=MAX_PODS)
    if replicas * size > MAX_PODS:
        raise doc.refuse("spec.replicas", f"{replicas} replicas of {size} pods are more than {MAX_PODS} pods")
    reading.refuse_foreign(EXCLUSIVE)
    common = _read_set(reading, size)
    refuse_sharing(reading, common.domains, replicas)
    for index in range(replicas):
        yield _gang(common, index)


class _Shapes:
    """Shapes of the pods of a set. templates: role → path of its pod template, the leader first if there is one."""

    def __init__(self, reading: Reading) -> None:
        doc = reading.doc
        if not doc.has(f"{_TEMPLATE}.workerTemplate"):
            raise doc.refuse(f"{_TEMPLATE}.workerTemplate", "is missing")
        paths = {role: f"{_TEMPLATE}.{role}Template" for role in ("leader", "worker")}
        self.templates = {role: at for role, at in paths.items() if doc.has(at)}
        self._reading = reading
        self._selected = reading.world.selected.of(doc.namespace)
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], PodShape] = {}

    def of(self, index: int, size: int) -> Iterator[tuple[str, str, PodShape, list[int]]]:
        """Roles of a replica: name, template, shape and ranks.

        Ranks with labels of their own that matter are roles of their own: `worker`, `worker-2`, … by first rank.
        """
        split = 1 if "leader" in self.templates else 0
        for role, ranks in (("leader", range(split)), ("worker", range(split, size))):
            alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
            for rank in ranks:
                alike.setdefault(self._added(index, rank), []).append(rank)
            for number, (labels, found) in enumerate(alike.items(), start=1):
                name = role if number == 1 else f"{role}-{number}"
                yield name, role, self._shape(role, labels), found

    def _added(self, index: int, rank: int) -> tuple[tuple[str, str], ...]:
        """Labels that the pod gets from its controller, as far as a selector names them."""
        if self._selected.isdisjoint(LEADER_WORKER_SET_KEYS):
            return ()
        labels = leader_worker_set_labels(self._reading.doc.namespace, self._reading.doc.name, index, rank)
        return tuple((key, value) for key, value in labels.items() if key in self._selected)

    def _shape(self, role: str, labels: tuple[tuple[str, str], ...]) -> PodShape:
        shape = self._known.get((role, labels))
        if shape is None:
            at = self.templates[role]
            shape = self._known[role, labels] = self._reading.shape(self._reading.doc.mapping(at), at, dict(labels))
        return shape


@dataclass(frozen=True, slots=True)
class _Set:
    """What all replicas have in common.

    rules: of Kueue, by template. exclusive: annotation → node label. domains: ComputeDomains, by template.
    """

    reading: Reading
    size: int
    shapes: _Shapes
    rules: Mapping[str, PodsetRule]
    exclusive: Mapping[str, str]
    domains: Mapping[str, tuple[str, ...]]


def _read_set(reading: Reading, size: int) -> _Set:
    shapes = _Shapes(reading)
    templates = {role: reading.doc.part(at) for role, at in shapes.templates.items()}
    annotations = [reading.doc.annotations, *(part.texts("metadata.annotations") for part in templates.values())]
    asked = {key: next((found[key] for found in annotations if found.get(key)), "") for key in sorted(EXCLUSIVE)}
    rules = {role: podset_rule(part) for role, part in templates.items()}
    exclusive = {key: label for key, label in asked.items() if label}
    domains = {
        role: domains_of(reading.world, part, reading.doc.namespace, has_gpus=False) for role, part in templates.items()
    }
    return _Set(reading, size, shapes, rules, exclusive, domains)


def _gang(common: _Set, index: int) -> FoundGang:
    reading, doc = common.reading, common.reading.doc
    name = f"{doc.full_name}-{index}"
    pods = (name, *(f"{name}-{rank}" for rank in range(1, common.size)))
    templates = [doc.part(at) for at in common.shapes.templates.values()]
    rule = annotated(doc.annotations, *(part.texts("metadata.annotations") for part in templates))
    kind = _kind(reading, templates)
    running = _running(reading, pods)
    there = {member.pod for member in running}
    found = [
        (role, template, _with_claims(reading, shape, [pods[rank] for rank in ranks if pods[rank] not in there]), ranks)
        for role, template, shape, ranks in common.shapes.of(index, common.size)
    ]
    key = leader_worker_set_labels(doc.namespace, doc.name, index, 0)[LWS_GROUP_KEY]
    with located(doc):
        roles = tuple(
            _role(role, kind, _exclusive(common, shape, key), tuple(pods[rank] for rank in ranks))
            for role, _, shape, ranks in found
        )
        root = Group(name, roles, pack=rule.pack, multinode=True)
    root = _in_domains(common, root, {role: template for role, template, *_ in found}, running)
    root = kept_together(root, *(part.texts("metadata.annotations") for part in templates))
    root = keep_domains(reading, root, rule.topology, _domains_by_role(common, root))
    with located(doc):
        gang = Gang(
            name,
            root,
            priority=_priority(reading),
            queue=_queue(reading, templates),
            topology=rule.topology,
            running=running,
        )
    return reading.found(gang)


def _with_claims(reading: Reading, shape: PodShape, waiting: Sequence[str]) -> PodShape:
    """The shape with where the claims of each pod are."""
    return with_own_claims(reading, shape, f"{_TEMPLATE}.volumeClaimTemplates", waiting)


def _domains_by_role(common: _Set, root: Group) -> dict[str, tuple[str, ...]]:
    """ComputeDomains by the role that has claims in them; roles are called after their template."""
    names = [role.name for group in root.walk() for role in group.roles]
    return {name: common.domains["leader" if name == "leader" else "worker"] for name in names}


def _exclusive(common: _Set, shape: PodShape, key: str) -> PodShape:
    """The shape with the terms that the controller adds for a domain of its own."""
    level = common.exclusive.get(LWS_EXCLUSIVE)
    if level is None:
        return shape
    return replace(shape, constraints=with_exclusive(shape.constraints, [Together(level, LWS_GROUP_KEY, key)]))


def _in_domains(common: _Set, root: Group, templates: Mapping[str, str], running: tuple[BoundMember, ...]) -> Group:
    """The replica with Kueue's rules and its exclusive domains. templates: by role."""
    pods = [member.pod for member in running]
    families = []
    if LWS_EXCLUSIVE in common.exclusive:
        families.append(Family("exclusive topology", frozenset(templates), Pack(common.exclusive[LWS_EXCLUSIVE])))
    rules = {role: common.rules[template].of_template(template) for role, template in templates.items()}
    if any(common.rules[template].slice_size for template in templates.values()) and len(templates) > len(common.rules):
        problem = "slices of pods that are told apart by their labels are not supported"
        common.reading.unsupported(Finding(f"{_TEMPLATE}.workerTemplate.metadata.annotations", problem))
        rules = {role: rule.without_slices for role, rule in rules.items()}
    if LWS_SUBGROUP_EXCLUSIVE in common.exclusive:
        root = _in_subgroups(common, root, pods)
    return common.reading.packed(root, rules, lambda: families, pods)


def _in_subgroups(common: _Set, root: Group, running: Sequence[str]) -> Group:
    """The replica in subgroups each of which has a domain for itself; only those that are alike can be told apart."""
    doc, level = common.reading.doc, common.exclusive[LWS_SUBGROUP_EXCLUSIVE]
    place = f"metadata.annotations[{LWS_SUBGROUP_EXCLUSIVE}]"
    size = doc.whole(f"{_SUBGROUPS}.subGroupSize", None, minimum=1, maximum=MAX_PODS)
    if size is None:
        return root  # without a size there are no subgroups, and the controller adds nothing
    excluded = doc.text(f"{_SUBGROUPS}.type", "LeaderWorker") == "LeaderExcluded"
    inside = [role for role in root.roles if role.name != "leader" or not excluded]
    pods = sum(role.replicas for role in inside)
    if pods <= size or (not excluded and pods - 1 == size):
        groups = 1
    elif len(inside) == 1 and pods % size == 0:
        groups = pods // size
    else:
        problem = "exclusive subgroups that are not alike are not supported"
        common.reading.unsupported(Finding(place, problem))
        return root
    if groups > 1 and running:
        common.reading.unsupported(Finding(place, "exclusive subgroups are not supported while some of their pods run"))
        return root
    keys = tuple(_digest(f"{root.name.partition('/')[2]}/{at}") for at in range(groups))
    roles = tuple(_in_subgroup(role, level, keys, pods // groups if groups > 1 else role.replicas) for role in inside)
    alone = tuple(role for role in root.roles if role not in inside)
    spread = (Spread(level, 1),) if groups > 1 else ()
    child = Group(
        f"{root.name} subgroups", roles, (), groups, groups, pack=Pack(level), spread=spread, multinode=root.multinode
    )
    return replace(root, roles=alone, groups=(child,))


def _in_subgroup(role: Role, level: str, keys: tuple[str, ...], each: int) -> Role:
    """A role of one subgroup: pods with the key of none of them stay out of its domain."""
    needs = (
        Requirement(LWS_SUBGROUP_KEY, Operator.EXISTS),
        Requirement(LWS_SUBGROUP_KEY, Operator.NOT_IN, keys),
    )
    term = AntiAffinity(level, PodSelector(needs, (role.constraints.namespace,)))
    labels = tuple(sorted({**dict(role.constraints.labels), LWS_SUBGROUP_KEY: keys[0]}.items()))
    constraints = replace(role.constraints, labels=labels, anti_affinity=(*role.constraints.anti_affinity, term))
    return replace(role, replicas=each, min=each, constraints=constraints)


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _role(name: str, kind: Kind, shape: PodShape, pods: tuple[str, ...]) -> Role:
    count = len(pods)
    return Role(name, count, count, kind, shape.requests, shape.constraints, shape.spread, pods)


def _kind(reading: Reading, templates: list[Part]) -> Kind:
    """One kind for the whole engine, by the labels of its templates, else by the name of the set."""
    labels = {key: value for part in templates for key, value in part.texts("metadata.labels").items()}
    return kind_of({**reading.doc.labels, **labels}, reading.doc.name)


def _queue(reading: Reading, templates: list[Part]) -> str:
    sources = (reading.doc.labels, *(part.texts("metadata.labels") for part in templates))
    return next((labels[QUEUE_LABEL] for labels in sources if labels.get(QUEUE_LABEL)), "")


def _priority(reading: Reading) -> int:
    return reading.priority(path=f"{_TEMPLATE}.workerTemplate.spec.priorityClassName")


def _running(reading: Reading, pods: tuple[str, ...]) -> tuple[BoundMember, ...]:
    known = reading.world.members
    bound = ((pod, reading.world.node_of(known[pod])) for pod in pods if pod in known)
    return tuple(BoundMember(pod, node) for pod, node in bound if node)
