"""A plan laid over the cluster it was made for: which tree to show it on, and who sits on which node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from solver.domain.gang import Gang, Role
from solver.domain.levels import TopologySpec
from solver.domain.plan import Assignment, GangPlan, Plan
from solver.domain.snapshot import Snapshot
from solver.topology.choice import choose_topology, cluster_topology, joint_words
from solver.topology.tree import Tree, build_tree


@dataclass(frozen=True)
class Scene:
    """Everything the pictures and tables read: the snapshot before the call, the gangs, and the answer."""

    snapshot: Snapshot
    gangs: Sequence[Gang]
    plan: Plan

    @cached_property
    def gang_of(self) -> Mapping[str, Gang]:
        """Gang name → gang."""
        return {gang.name: gang for gang in self.gangs}

    @cached_property
    def _trees(self) -> dict[TopologySpec, Tree]:
        return {}

    @cached_property
    def _words(self) -> Sequence[str]:
        """Levels that every gang has: of a batch, what any of them names."""
        return joint_words(self.snapshot, self.gangs)[0] if self.plan.batch else ()

    def tree_of(self, gang_plan: GangPlan) -> Tree:
        """The tree a gang was planned on."""
        gang = self.gang_of.get(gang_plan.name)
        spec = choose_topology(self.snapshot, gang, self._words)[0] if gang else cluster_topology(self.snapshot)
        if spec not in self._trees:
            self._trees[spec] = build_tree(self.snapshot, spec)
        return self._trees[spec]

    def roles_of(self, gang_plan: GangPlan) -> dict[str, Role]:
        """Role name → role, in declared order; empty for a gang that is not part of the scene."""
        gang = self.gang_of.get(gang_plan.name)
        return {role.name: role for role in gang.roles} if gang else {}

    def pods_on_nodes(self, gang_plan: GangPlan) -> dict[tuple[str, int], list[Assignment]]:
        """(role, node index) → its new pods there, roles in declared order and nodes in natural order."""
        return _grouped(gang_plan.assignments, self.roles_of(gang_plan), self.snapshot)

    def running_on_nodes(self, gang_plan: GangPlan) -> dict[tuple[str, int], list[Assignment]]:
        """(role, node index) → its pods that already run there."""
        return _grouped(gang_plan.running, self.roles_of(gang_plan), self.snapshot)

    def placed_on_nodes(self, gang_plan: GangPlan) -> dict[tuple[str, int, str], list[Assignment]]:
        """(role, node index, what is to be said of the role) → its pods there, new ones first."""
        found = {(*key, ""): pods for key, pods in self.pods_on_nodes(gang_plan).items()}
        return found | {(*key, " (running)"): pods for key, pods in self.running_on_nodes(gang_plan).items()}


def _grouped(
    assignments: Sequence[Assignment], roles: Mapping[str, Role], snapshot: Snapshot
) -> dict[tuple[str, int], list[Assignment]]:
    order = {name: position for position, name in enumerate(roles)}
    found: dict[tuple[str, int], list[Assignment]] = {}
    for assignment in assignments:
        found.setdefault((assignment.role, snapshot.node_idx[assignment.node]), []).append(assignment)
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])))
