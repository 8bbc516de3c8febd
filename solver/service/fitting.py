"""Whether a plan still fits: the verifier's answer for the state as it is now."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from solver.bound.warm import MAX_TREES
from solver.compile.structure import check_levels
from solver.domain.gang import Gang
from solver.domain.holding import as_bound, holding_running
from solver.domain.levels import TopologySpec
from solver.domain.plan import Assignment
from solver.domain.snapshot import Column, Snapshot
from solver.ledger import PromisedPod
from solver.rules import reach
from solver.service.codec.fields import checking
from solver.service.errors import Conflict, InvalidField
from solver.service.state import HeldCluster
from solver.topology.choice import choose_topology
from solver.topology.tree import Tree, build_tree
from solver.verify.checker import verify


class TreeOf:
    """Trees of one cluster, the last few kept while its labels stay. Not for two threads at a time."""

    def __init__(self) -> None:
        self._labels: Mapping[str, Column] | None = None
        self._trees: OrderedDict[TopologySpec, Tree] = OrderedDict()

    def get(self, snapshot: Snapshot, spec: TopologySpec) -> Tree:
        """The tree of `spec` over the snapshot's nodes."""
        if self._labels is not snapshot.labels:
            self._labels = snapshot.labels
            self._trees.clear()
        if spec not in self._trees:
            self._trees[spec] = build_tree(snapshot, spec)
            while len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(spec)
        return self._trees[spec]


def check_fits(state: HeldCluster, gang: Gang, assignments: Sequence[Assignment], tree_of: TreeOf) -> None:
    """Raises Conflict unless all of a plan holds in the state as it is now, but for what the gang was promised.

    Running members count as in `plan()`. Raises InvalidField for a plan that no state would make valid.
    """
    _check_pods(gang, assignments)
    snapshot = state.view((gang.name,)).snapshot
    _check_nodes(snapshot, gang, assignments)
    for pod in state.bound(item.pod for item in assignments):
        raise _moved_on(gang, f"pod {pod.name} is bound to node {pod.node}")
    with checking("gang"):
        spec, _ = choose_topology(snapshot, gang)
        check_levels(gang, spec)
        reach.check(gang)
        snapshot = holding_running(snapshot, [gang])
    checked = verify(snapshot, gang, spec, assignments, tree_of.get(snapshot, spec))
    if checked.violations:
        raise _moved_on(gang, checked.violations[0])


def promised_pods(gang: Gang, assignments: Sequence[Assignment]) -> list[PromisedPod]:
    """What the pods of a plan are to hold."""
    return [PromisedPod(held, item.role) for held, item in zip(as_bound(gang, assignments), assignments, strict=True)]


def _check_pods(gang: Gang, assignments: Sequence[Assignment]) -> None:
    role_of = {pod: role.name for role in gang.roles for pod in role.pods}
    running = {member.pod for member in gang.running}
    before: set[str] = set()
    for at, item in enumerate(assignments):
        if role_of.get(item.pod) != item.role:
            raise InvalidField(f"assignments[{at}].pod", f"{item.pod!r} is no pod of role {item.role!r}")
        if item.pod in before:
            raise InvalidField(f"assignments[{at}].pod", f"{item.pod!r} is assigned twice")
        if item.pod in running:
            raise InvalidField(f"assignments[{at}].pod", f"{item.pod!r} is among the running members")
        before.add(item.pod)


def _check_nodes(snapshot: Snapshot, gang: Gang, assignments: Sequence[Assignment]) -> None:
    """Raises Conflict when a node has gone."""
    placed = [(member.pod, member.node) for member in gang.running] + [(item.pod, item.node) for item in assignments]
    for pod, node in placed:
        if node not in snapshot.node_idx:
            raise _moved_on(gang, f"node {node!r} of pod {pod} is gone")


def _moved_on(gang: Gang, what: object) -> Conflict:
    return Conflict(f"the plan of gang {gang.name} does not fit any more: {what}")
