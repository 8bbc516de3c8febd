"""Whether seats still hold in the state as it is now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from adapters.manifests.own import DeclaredGang
from solver.compile.structure import check_levels
from solver.domain.constraints import Toleration
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Group
from solver.domain.holding import holding_running
from solver.domain.nominated import seen_by
from solver.domain.plan import Assignment
from solver.domain.pods import BoundPod
from solver.domain.resources import PODS, Resources
from solver.domain.snapshot import Snapshot
from solver.service.fitting import TreeOf
from solver.service.state import HeldCluster
from solver.topology.choice import choose_topology
from solver.verify.checker import verify

#: Gangs of which it is remembered whether their levels exist.
_MOST_REMEMBERED = 10_000


class Fits:
    """Asks one held cluster. In one thread."""

    def __init__(self, held: HeldCluster) -> None:
        self._held = held
        self._tree_of = TreeOf()
        self._levels: dict[str, tuple[tuple[object, ...], str]] = {}  # by gang: what was asked, and the answer

    def problem(self, gang: Gang, assignments: Sequence[Assignment]) -> str:
        """What is wrong with a plan now, whatever else is promised to the gang; empty when it holds."""
        snapshot = self._held.view((gang.name,)).snapshot
        placed = [(member.pod, member.node) for member in gang.running] + [
            (item.pod, item.node) for item in assignments
        ]
        for pod, node in placed:
            if node not in snapshot.node_idx:
                return f"node {node} of pod {pod} is gone"
        try:
            spec, _ = choose_topology(snapshot, gang)
            snapshot = holding_running(snapshot, [gang])
            tree = self._tree_of.get(snapshot, spec)
            checked = verify(snapshot, gang, spec, assignments, tree)
        except InvalidRequest as error:
            return str(error)
        return checked.violations[0] if checked.violations else ""

    def unknown_level(self, gang: DeclaredGang) -> str:
        """What is wrong with the levels that a gang names, whatever pods it has; empty when all of them exist.

        Looked at again only when the gang, the topologies or the labels of nodes are others.
        """
        snapshot = self._held.view().snapshot
        if not snapshot.nodes:
            return ""  # no node tells which levels there will be
        asked, known = (gang, snapshot.topologies, snapshot.labels), self._levels.get(gang.name)
        if known is not None and all(one is other for one, other in zip(known[0], asked, strict=True)):
            return known[1]
        small = Gang(gang.name, _smallest(gang.root), topology=gang.topology, reach=gang.reach)
        try:
            check_levels(small, choose_topology(snapshot, small)[0])
            problem = ""
        except InvalidRequest as error:
            problem = str(error)
        if len(self._levels) >= _MOST_REMEMBERED:
            self._levels.clear()
        self._levels[gang.name] = (asked, problem)
        return problem

    def unfit(self, key: str, waiting: Iterable[BoundPod], gang: Gang | None = None) -> frozenset[str]:
        """Uids of pods that wait for nodes which do not take them all, whatever is promised to the gang.

        key: the gang's; gang: what it is made of, if that is known. It tells which pods tolerate a closed node.
        """
        by_node: dict[str, list[BoundPod]] = {}
        for pod in waiting:
            by_node.setdefault(pod.node, []).append(pod)
        if not by_node:
            return frozenset()
        snapshot = self._held.view((key,)).snapshot
        tolerations = {pod: role.constraints.tolerations for role in gang.roles for pod in role.pods} if gang else {}
        if gang is not None:
            snapshot = seen_by(snapshot, gang)
        full = [node for node, pods in by_node.items() if not _takes(snapshot, node, pods, tolerations)]
        return frozenset(pod.uid for node in full for pod in by_node[node])


def _smallest(group: Group) -> Group:
    """The group with one pod of each role: what it says about levels, at no cost."""
    roles = tuple(replace(role, replicas=1, min=min(1, role.min), pods=()) for role in group.roles)
    groups = tuple(_smallest(child) for child in group.groups)
    return replace(group, roles=roles, groups=groups, replicas=1, min_replicas=min(1, group.min_replicas), min=None)


def _takes(
    snapshot: Snapshot, node: str, pods: Sequence[BoundPod], tolerations: Mapping[str, tuple[Toleration, ...]]
) -> bool:
    at = snapshot.node_idx.get(node)
    if at is None:
        return False
    if not all(snapshot.open_to([tolerations.get(pod.name, ())])[at] for pod in pods):
        return False
    asked: Mapping[str, int] = {**dict(Resources.total(pod.requests for pod in pods)), PODS: len(pods)}
    free = dict(zip(snapshot.resources, snapshot.free[at].tolist(), strict=True))
    return all(amount <= max(free.get(name, 0), 0) for name, amount in asked.items())
