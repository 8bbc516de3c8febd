"""Whether seats still hold in the state as it is now."""

from collections.abc import Iterable, Mapping, Sequence

from solver.domain.constraints import Toleration
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
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


class Fits:
    """Asks one held cluster. In one thread."""

    def __init__(self, held: HeldCluster) -> None:
        self._held = held
        self._tree_of = TreeOf()

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
