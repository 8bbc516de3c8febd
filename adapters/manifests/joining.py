"""A `Gang` object joined with the pods that name it: the object says how they hang together, the pods what they need.

A live gang waits for the pods that do not exist yet. A plan from files makes them up: they ask for what the pods of
their role ask for, or its template where it has none.

Groups that replicate stay so while every pod of theirs is still to be placed. Otherwise each replica becomes a group of
its own, so that those that run stay what they are: `decode` with two replicas becomes a group `decode` of `decode#0`
and `decode#1`, and so do its roles. Replicas without a pod are only counted, however many are declared: a gang is as
large as the pods that exist.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

from adapters.kubernetes.gang_keys import ROLE_LABEL
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import PodShape
from adapters.kubernetes.running import has_ended
from adapters.manifests.compute_domains import keep_domains
from adapters.manifests.live_members import SOURCE, Joined, LivePods, common_shape, oldest
from adapters.manifests.members import Member, domains_by_role, read_members
from adapters.manifests.own import DeclaredGang, read_declared
from adapters.manifests.reading import FoundGang, Reading
from adapters.manifests.traffic import renamed_flow, renamed_reach
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Group, Role, count_pods
from solver.domain.naming import natural_key

#: Which replica of its group a pod belongs to, counted from 0 over all there are.
REPLICA_LABEL = "huddle.scheduler/replica"
_SET_INDEX = "leaderworkerset.sigs.k8s.io/group-index"
_WHILE_SPLIT = "which is not supported while some of them run or are missing"
_ORDINAL = re.compile(r"-([0-9]{1,6})$")

#: Role → members of each replica that has any, by the number of the replica.
Slots = Mapping[str, Mapping[int, list[Member]]]


def declared_gang(reading: Reading) -> DeclaredGang:
    """The gang as its object describes it, whatever its templates say. Raises InvalidRequest."""
    body = {**reading.doc.body, "spec": _without_templates(reading.doc.body.get("spec"))}
    return read_declared(replace(reading, doc=Document(body, SOURCE)))


def join(reading: Reading, declared: DeclaredGang, pods: LivePods, members: Sequence[Member]) -> Joined:
    """The declared gang with the pods in place of its own. Raises InvalidRequest in one sentence."""
    return _Joining(reading, declared, pods, members, invent=False).joined()


def join_files(reading: Reading, declared: DeclaredGang, pods: Sequence[Document]) -> FoundGang | None:
    """The declared gang with pods of the input in place of its own; those that do not exist yet are made up.

    pods: that name it, whether they wait, run or have ended. None when all have succeeded, so that nothing is left to
    place. Raises InvalidRequest in one sentence.
    """
    done = frozenset(pod.full_name for pod in pods if has_ended(pod))
    members = read_members(reading, pods)
    nodes = {member.name: member.node for member in members if member.node and member.name not in done}
    live = LivePods([pod.body for pod in pods], nodes, done)
    for member in members:
        reading.notices.extend(member.shape.notices)
    gang = _Joining(reading, declared, live, members, invent=True).joined().gang
    return None if gang is None else FoundGang(gang, tuple(dict.fromkeys(reading.notices)))


class _Joining:
    """One gang being joined. names: declared role → the roles it has become. invent: make up pods that do not exist."""

    def __init__(
        self, reading: Reading, declared: DeclaredGang, pods: LivePods, members: Sequence[Member], invent: bool
    ) -> None:
        self.reading, self.declared, self.pods, self.invent = reading, declared, pods, invent
        self.known = {member.name for member in members}
        self.by_role = _by_role(declared, members)
        self.shapes = {name: common_shape(name, found, pods) for name, found in self.by_role.items() if found}
        self.settled = {*pods.fixed, *pods.done}
        self.missing: dict[str, int] = {}
        self.existing = _existing(declared, pods)
        self.there: dict[str, list[int]] = {}  # group → its replicas, over all there are, that have pods
        self.names: dict[str, list[str]] = {role.name: [] for role in declared.roles}

    def joined(self) -> Joined:
        """The gang, and what is missing in it."""
        root = self.alone(self.declared.root)
        known = {pod for group in root.walk() for role in group.roles for pod in role.pods}
        if not known:
            return Joined(None, self.missing)
        running = [BoundMember(pod, node) for pod, node in self.pods.fixed.items() if pod in known]
        declared = domains_by_role(self.reading.world, self.by_role)
        domains = {name: found for role, found in declared.items() for name in self.names[role]}
        priority = self.priority()
        gang = self.declared.made_of(
            keep_domains(self.reading, root, self.declared.topology, domains),
            priority=priority,
            flows=tuple(renamed_flow(flow, self.names) for flow in self.declared.flows),
            reach=tuple(renamed_reach(reach, self.names) for reach in self.declared.reach),
            running=tuple(sorted(running, key=lambda member: natural_key(member.pod))),
            pod_priority=self.reading.pod_priority(self.waiting(), priority),
        )
        created = oldest([self.reading.doc.body, *self.pods.bodies])
        return Joined(replace(self.reading.found(gang).gang, created=created), self.missing)

    def priority(self) -> int:
        """What the object states, else the lowest priority that its pods have."""
        if self.reading.states_priority:
            return self.declared.priority
        pods = [member.doc for found in self.by_role.values() for member in found]
        return min(map(self.reading.world.priority_of, pods), default=self.declared.priority)

    def waiting(self) -> list[Document]:
        """Members that have a node to be found for."""
        members = (member for found in self.by_role.values() for member in found)
        return [member.doc for member in members if member.name not in self.settled]

    def alone(self, group: Group) -> Group:
        """A group of which there is one."""
        roles = tuple(self.role(role, self.slots(role, 1, False).get(0, ()), role.name) for role in group.roles)
        return replace(group, roles=roles, groups=tuple(self.child(child) for child in group.groups))

    def child(self, group: Group) -> Group:
        """A group inside one of which there is one: whole, or replica by replica."""
        if group.replicas == 1:
            return self.alone(group)
        slots = self.all_slots(group, group.replicas, _is_one_pod(group))
        if self.is_whole(group, group.replicas, slots):
            return self.whole(group, slots)
        self.refuse_spread(group)
        return self.several(group, group.name, 0, slots)

    def whole(self, group: Group, slots: Slots) -> Group:
        """The group as declared, all its pods to be placed."""
        roles = []
        for role in group.roles:
            pods = [pod for _, slot in sorted(slots[role.name].items()) for pod in slot]
            roles.append(replace(self.role(role, pods, role.name), replicas=role.replicas))
        found = replace(group, roles=tuple(roles), groups=tuple(self.whole(child, slots) for child in group.groups))
        # Replicas that no pod belongs to are all alike: one says the same as any number of them.
        return found if count_pods(group) else replace(found, replicas=1, min_replicas=1)

    def several(self, group: Group, name: str, first: int, slots: Slots) -> Group:
        """All replicas from the first on of one parent, each a group of its own.

        Of those without a pod one stands for all, where there are no others: they are kept or lack their pods,
        whatever is planned, and what the group needs of its replicas is less by those that are kept.
        """
        there, least = self.there_from(group, first), group.min_replicas
        counted = there or [first]
        if _needs_no_pod(group):
            least = max(0, least - (group.replicas - len(counted)))
        return Group(name, groups=tuple(self.replica(group, index, slots) for index in counted), min=least)

    def there_from(self, group: Group, first: int) -> list[int]:
        """Replicas of one parent that have pods; first: the number of the first of them, over all there are."""
        there = self.there[group.name]
        return there[bisect_left(there, first) : bisect_left(there, first + group.replicas)]

    def replica(self, group: Group, index: int, slots: Slots) -> Group:
        """One replica as a group of its own; index: over all there are."""
        name = f"{group.name}#{index}"
        roles = tuple(
            self.role(role, slots[role.name].get(index, ()), f"{role.name}#{index}") for role in group.roles
        )  # fmt: skip
        children = []
        for child in group.groups:
            if child.replicas == 1:
                children.append(self.replica(child, index, slots))
            else:
                children.append(self.several(child, f"{child.name} of {name}", index * child.replicas, slots))
        return replace(group, name=name, roles=roles, groups=tuple(children), replicas=1, min_replicas=1, spread=())

    def role(self, role: Role, members: Sequence[Member], name: str) -> Role:
        """A role of these members, of which some may have done their part."""
        done = sum(member.name in self.pods.done for member in members)
        live = tuple(member.name for member in members if member.name not in self.pods.done)
        self.names[role.name].append(name)
        shape = self.shapes.get(role.name)
        known = replace(role, name=name, replicas=len(live), min=max(0, role.min - done), pods=live)
        if shape is None:
            return known
        spread = tuple(dict.fromkeys((*role.spread, *shape.spread)))
        return replace(known, requests=shape.requests, constraints=shape.constraints, spread=spread)

    def all_slots(self, group: Group, copies: int, any_order: bool) -> Slots:
        """Role → members of each of the replicas there are, for a group and all below it."""
        found: dict[str, Mapping[int, list[Member]]] = {
            role.name: self.slots(role, copies, any_order) for role in group.roles
        }
        there = {index for slots in found.values() for index in slots}
        for child in group.groups:
            found |= self.all_slots(child, copies * child.replicas, any_order)
            there |= {index // child.replicas for index in self.there[child.name]}
        self.there[group.name] = sorted(there)
        return found

    def slots(self, role: Role, copies: int, any_order: bool) -> dict[int, list[Member]]:
        """Members of each of `copies` replicas that has any. any_order: it does not matter which pod is in which."""
        found = self.by_replica(role, copies, any_order)
        if self.invent and role.replicas:
            return {index: self.filled(role, found.get(index, ())) for index in range(copies)}
        lacking = role.replicas * copies - self.existing[role.name]
        if lacking > 0 and not self.invent:
            self.missing[role.name] = lacking
        return {index: slot for index, slot in found.items() if slot}

    def by_replica(self, role: Role, copies: int, any_order: bool) -> dict[int, list[Member]]:
        """Existing members of each of `copies` replicas, no more than are wanted there."""
        members = self.by_role[role.name]
        if copies == 1:
            return {0: self.most_wanted(members, role.replicas)}
        settled_first = sorted(members, key=lambda member: member.name not in self.settled)
        replica_of = _replicas(role, settled_first, copies, any_order)
        found: defaultdict[int, list[Member]] = defaultdict(list)
        for member in members:
            if (index := replica_of.get(member.name, copies)) < copies:
                found[index].append(member)
        return {index: self.most_wanted(slot, role.replicas) for index, slot in found.items()}

    def filled(self, role: Role, slot: Sequence[Member]) -> list[Member]:
        """Members of one replica with pods made up for those that are missing, by the lowest free numbers."""
        names = (f"{self.reading.doc.namespace}/{role.name}-{index}" for index in count())
        free = (name for name in names if name not in self.known)
        made_up = list(islice(free, max(0, role.replicas - len(slot))))
        self.known.update(made_up)
        shape = self.shapes.get(role.name) or PodShape(role.requests, role.constraints, role.spread, (), ())
        return [*slot, *(Member(_unmade(self.reading, name), shape, "") for name in made_up)]

    def most_wanted(self, members: Sequence[Member], count: int) -> list[Member]:
        """Members up to a count, but all that stay where they are: those come first, then the oldest."""
        kept = [member for member in members if member.name in self.settled]
        rest = [member for member in members if member.name not in self.settled]
        rest.sort(key=lambda member: (member.doc.text("metadata.creationTimestamp", ""), natural_key(member.name)))
        return sorted((*kept, *rest[: max(0, count - len(kept))]), key=lambda member: natural_key(member.name))

    def is_whole(self, group: Group, copies: int, slots: Slots) -> bool:
        """Whether every pod of so many replicas is there and still to be placed."""
        for role in group.roles:
            found = slots[role.name]
            if len(found) != (copies if role.replicas else 0):
                return False
            for slot in found.values():
                if len(slot) != role.replicas or any(member.name in self.settled for member in slot):
                    return False
        return all(self.is_whole(child, copies * child.replicas, slots) for child in group.groups)

    def refuse_spread(self, group: Group) -> None:
        """Raise InvalidRequest for a rule over all replicas, which the replicas alone cannot keep."""
        for each in group.walk():
            if each.spread or any(role.spread or self.has_spread(role) for role in each.roles):
                problem = (
                    "its pods or replicas are spread, which is not supported while some of them run or are missing"
                )
                raise InvalidRequest(f"group {each.name}: {problem}")

    def has_spread(self, role: Role) -> bool:
        """Whether the pods of a role keep away from each other."""
        return role.name in self.shapes and bool(self.shapes[role.name].spread)


def _unmade(reading: Reading, name: str) -> Document:
    """A pod that does not exist yet: nothing but its name, `namespace/pod`."""
    namespace, _, pod = name.partition("/")
    body = {"kind": "Pod", "metadata": {"namespace": namespace, "name": pod}}
    return Document(body, reading.doc.source)


def _existing(declared: DeclaredGang, pods: LivePods) -> Counter[str]:
    """How many pods of each role exist, members or not. A gang with one role needs no label."""
    names = [role.name for role in declared.roles]
    only = names[0] if len(names) == 1 else ""
    labels = (body["metadata"].get("labels") or {} for body in (*pods.bodies, *pods.others))
    return Counter(each.get(ROLE_LABEL) or only for each in labels)


def _needs_no_pod(group: Group) -> bool:
    """Whether a replica of the group is kept without a pod."""
    if any(role.min for role in group.roles):
        return False
    kept = sum(_needs_no_pod(child) for child in group.groups)
    return kept >= (len(group.groups) if group.min is None else group.min)


def _by_role(declared: DeclaredGang, members: Sequence[Member]) -> dict[str, list[Member]]:
    """Members by role. A gang with one role needs no label. Raises InvalidRequest for a role nobody declared."""
    names = [role.name for role in declared.roles]
    found: dict[str, list[Member]] = {name: [] for name in names}
    for member in members:
        name = member.doc.labels.get(ROLE_LABEL) or (names[0] if len(names) == 1 else "")
        if name not in found:
            what = f"{name!r} is no role of the Gang" if name else "is missing"
            raise member.doc.refuse(f"metadata.labels[{ROLE_LABEL}]", f"{what}; its roles are {', '.join(names)}")
        found[name].append(member)
    return found


def _replicas(role: Role, members: Sequence[Member], copies: int, any_order: bool) -> dict[str, int]:
    """Pod → the replica it is in, by label, else by the number at the end of its name.

    Raises InvalidRequest when neither tells and it matters.
    """
    for told in (_labelled(members), _numbered(members, role.replicas)):
        if told is not None:
            return told
    if any_order:
        return {member.name: index for index, member in enumerate(members)}
    first = members[0].doc
    problem = f"pods of role {role.name} do not say which of {copies} replicas they are in; number them from 0"
    raise first.refuse(f"metadata.labels[{REPLICA_LABEL}]", problem)


def _labelled(members: Sequence[Member]) -> dict[str, int] | None:
    for label in (REPLICA_LABEL, _SET_INDEX):
        words = {member.name: member.doc.labels.get(label, "") for member in members}
        if words and all(word.isascii() and word.isdigit() for word in words.values()):
            return {pod: int(word) for pod, word in words.items()}
    return None


def _numbered(members: Sequence[Member], each: int) -> dict[str, int] | None:
    """By names such as those of a StatefulSet, which differ in the number at their end only."""
    matches = {member.name: _ORDINAL.search(member.name) for member in members}
    numbers = {pod: int(match[1]) for pod, match in matches.items() if match}
    stems = {pod[: match.start()] for pod, match in matches.items() if match}
    if len(numbers) < len(members) or len(stems) > 1 or len(set(numbers.values())) < len(numbers):
        return None
    return {pod: number // max(1, each) for pod, number in numbers.items()}


def _is_one_pod(group: Group) -> bool:
    """Whether a replica of the group is a single pod."""
    return not group.groups and sum(role.replicas for role in group.roles) == 1


def _without_templates(value: Any) -> Any:
    """The spec of a Gang without pod templates: what pods ask for is read from the pods."""
    if isinstance(value, Mapping):
        return {key: _without_templates(inner) for key, inner in value.items() if key != "template"}
    return [_without_templates(inner) for inner in value] if isinstance(value, list) else value
