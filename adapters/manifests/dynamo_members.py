"""Pods of a DynamoGraphDeployment that exist: those that run are members, those that wait take a place too.

Pods are told by the labels of Dynamo's operator, else by those of Grove. Those of a multi-node replica belong together
by the replica index of their scaling group, or by their LeaderWorkerSet and group index.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adapters.kubernetes.gang_keys import COMPONENT_LABEL, deployment_name
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import pod_shape
from adapters.manifests.dynamo_components import Component
from adapters.manifests.reading import Reading, World
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Group
from solver.domain.naming import natural_key
from solver.domain.resources import Resources

_CLIQUE, _CLIQUE_INDEX = "grove.io/podclique", "grove.io/podclique-pod-index"
_SET_REPLICA = "grove.io/podcliqueset-replica-index"
_SCALING_GROUP = "grove.io/podcliquescalinggroup"
_GROUP_REPLICA = "grove.io/podcliquescalinggroup-replica-index"
_LWS, _LWS_GROUP = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/group-index"
_LWS_RANK = "leaderworkerset.sigs.k8s.io/worker-index"
_LEADER = "-ldr"


@dataclass(frozen=True, slots=True)
class ComponentPods:
    """The pods of one component.

    replicas: `namespace/pod` of each multi-node replica in rank order; of a single-node component all in one. An empty
    one stands for all that have no pod.
    running: those that are bound.
    """

    replicas: tuple[tuple[str, ...], ...]
    running: tuple[BoundMember, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether each replica has to be a group of its own, because some of several run or are not whole."""
        return len(self.replicas) > 1 and (bool(self.running) or len(set(map(len, self.replicas))) > 1)


def deployment_of(doc: Document) -> str:
    """`namespace/name` of the deployment an object was made for, by its labels; empty if they name none."""
    name = deployment_name(doc.namespace, doc.labels)
    return f"{doc.namespace}/{name}" if name else ""


def read_component_pods(reading: Reading, components: Sequence[Component], invent: bool) -> dict[str, ComponentPods]:
    """Component → its pods: those that exist, and with `invent` names made up for those still to be made.

    More pods that run than are declared are all members, which a notice says; so are pods of components that are not
    declared, which are none. Raises InvalidRequest for pods that do not say which multi-node replica they are in.
    """
    by_component = _by_component(reading, components)
    return {
        component.name: _pods_of_component(reading, component, by_component[component.name], invent)
        for component in components
    }


def missing_pods(reading: Reading, components: Sequence[Component], others: Sequence[Document]) -> dict[str, int]:
    """Component → pods that are declared and do not exist. others: pods that exist and are no members now."""
    there = Counter(_component_of(pod, reading.doc.name).lower() for pod in others)
    there.update(
        _component_of(pod, reading.doc.name).lower()
        for pod in reading.world.existing_by(deployment_of).get(reading.doc.full_name, ())
    )
    lacking = {each.name: each.replicas * each.nodes - there[each.name.lower()] for each in components}
    return {name: count for name, count in lacking.items() if count > 0}


def with_own_requests(reading: Reading, root: Group) -> Group:
    """The groups with what their pods that wait request themselves, where there are any: it may have been changed.

    Pods to come are taken to request the same. Raises InvalidRequest when two that wait in one role differ.
    """
    world, found = reading.world, {}
    for pod in world.existing_by(deployment_of).get(reading.doc.full_name, ()):
        if not world.node_of(pod):
            shape = pod_shape(pod, pod.body, "", reading.honours)
            found[pod.full_name] = reading.with_claims(shape, pod, doc=pod).requests
    return _with_requests(root, found) if found else root


def _with_requests(group: Group, found: Mapping[str, Resources]) -> Group:
    roles = []
    for role in group.roles:
        waiting = [pod for pod in role.pods if pod in found]
        for pod in waiting[1:]:
            if found[pod] != found[waiting[0]]:
                raise InvalidRequest(f"pods {waiting[0]} and {pod} of role {role.name} differ in what they request")
        roles.append(replace(role, requests=found[waiting[0]]) if waiting else role)
    children = tuple(_with_requests(child, found) for child in group.groups)
    return replace(group, roles=tuple(roles), groups=children)


@dataclass(slots=True)
class _Replica:
    """Pods of one replica: bound ones by rank or place, then those that wait."""

    bound: list[Document] = field(default_factory=list)
    waiting: list[Document] = field(default_factory=list)


def _by_component(reading: Reading, components: Sequence[Component]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {component.name: [] for component in components}
    names = {name.lower(): name for name in found}
    strangers = []
    for pod in reading.world.existing_by(deployment_of).get(reading.doc.full_name, ()):
        name = names.get(_component_of(pod, reading.doc.name).lower())
        if name is None:
            strangers.append(pod.full_name)
        else:
            found[name].append(pod)
    if strangers:
        shown = f"{strangers[0]} and {len(strangers) - 1} more pods" if len(strangers) > 1 else f"pod {strangers[0]}"
        message = (
            f"{shown} of this deployment belong to no component that has replicas; they are not counted as members"
        )
        reading.note("member_unknown", "spec", message)
    return found


def _component_of(pod: Document, deployment: str) -> str:
    """The component a pod serves: by Dynamo's label, else by the name Grove made of it."""
    named = pod.labels.get(COMPONENT_LABEL, "")
    if named:
        return named
    whole = pod.labels.get(_SCALING_GROUP) or pod.labels.get(_CLIQUE, "")
    return whole.removeprefix(f"{deployment}-{pod.labels.get(_SET_REPLICA, '0')}-")


def _pods_of_component(reading: Reading, component: Component, pods: Sequence[Document], invent: bool) -> ComponentPods:
    replicas = _replicas(reading.world, component, pods)
    each = (component.nodes if component.nodes > 1 else component.replicas) if invent else 0
    count = component.replicas if component.nodes > 1 else 1
    running = [replica for replica in replicas if replica.bound]
    kept = (running + [replica for replica in replicas if not replica.bound])[: max(count, len(running))]
    # What is not made up needs no object: one empty replica says that some are missing.
    kept += [_Replica() for _ in range(count - len(kept) if invent else min(1, count - len(kept)))]
    taken = {pod.full_name for pod in pods}
    names = tuple(_names(reading.doc, component, index, replica, each, taken) for index, replica in enumerate(kept))
    _tell_surplus(reading, component, names)
    bound = [BoundMember(pod.full_name, reading.world.node_of(pod)) for replica in running for pod in replica.bound]
    return ComponentPods(names, tuple(sorted(bound, key=lambda member: natural_key(member.pod))))


def _replicas(world: World, component: Component, pods: Sequence[Document]) -> list[_Replica]:
    """The replicas that exist, in natural order; all pods of a single-node component are one."""
    found: dict[tuple[str, str], _Replica] = {}
    for pod in sorted(pods, key=lambda pod: (natural_key(":".join(_key(component, pod))), natural_key(pod.full_name))):
        replica = found.setdefault(_key(component, pod), _Replica())
        (replica.bound if world.node_of(pod) else replica.waiting).append(pod)
    return list(found.values())


def _key(component: Component, pod: Document) -> tuple[str, str]:
    """What pods of one multi-node replica have in common."""
    labels = pod.labels
    if component.nodes == 1:
        return "", ""
    if labels.get(_GROUP_REPLICA):
        return labels.get(_SCALING_GROUP, ""), labels[_GROUP_REPLICA]
    if labels.get(_LWS_GROUP):
        return labels.get(_LWS, ""), labels[_LWS_GROUP]
    if component.replicas > 1:
        problem = (
            f"a pod of component {component.name} does not say which of its {component.replicas} replicas it is in"
        )
        raise pod.refuse(f"metadata.labels[{_GROUP_REPLICA}]", problem)
    return "", ""


def _names(
    doc: Document, component: Component, index: int, replica: _Replica, each: int, taken: set[str]
) -> tuple[str, ...]:
    """Names of one replica's pods: all that are bound, then those that wait, then made up ones up to `each`."""
    most = component.nodes if component.nodes > 1 else component.replicas
    chosen = [*replica.bound, *replica.waiting[: max(0, most - len(replica.bound))]]
    names = [pod.full_name for pod in chosen]
    stem = f"{doc.namespace}/{component.name.lower()}"
    if component.nodes > 1:
        known = {_rank(pod) for pod in chosen}
        stem, free = f"{stem}-{index}", [rank for rank in range(each) if rank not in known]
    else:
        free = list(range(len(names), each))
    names += _made_up(stem, free, each - len(names), taken)
    return tuple(names)


def _made_up(stem: str, free: Iterable[int], count: int, taken: set[str]) -> list[str]:
    """So many names of pods to come, numbered as in `free` and then on, none of them taken."""
    numbers = list(free)[: max(count, 0)]
    following = max(numbers, default=-1)
    names: list[str] = []
    while len(names) < count:
        if numbers:
            number = numbers.pop(0)
        else:
            following += 1
            number = following
        name = f"{stem}-{number}"
        if name not in taken and name not in names:
            names.append(name)
    return names


def _rank(pod: Document) -> int | None:
    """The rank of a pod in its replica, None where nothing says it."""
    if pod.labels.get(_CLIQUE, "").endswith(_LEADER):
        return 0
    if (after_leader := _number(pod.labels, _CLIQUE_INDEX)) is not None:
        return after_leader + 1
    return _number(pod.labels, _LWS_RANK)


def _number(labels: Mapping[str, str], key: str) -> int | None:
    text = labels.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def _tell_surplus(reading: Reading, component: Component, names: Sequence[Sequence[str]]) -> None:
    declared, found = component.replicas * component.nodes, sum(map(len, names))
    if found > declared:
        message = f"{found} pods of component {component.name} count, {declared} are declared: those that run stay"
        reading.note("members_surplus", component.at, message)
