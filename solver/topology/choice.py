"""Which topology a gang is planned in."""

from solver.domain.levels import TopologySpec, discovered_topology
from solver.domain.plan import Notice
from solver.domain.snapshot import Snapshot


def choose_topology(snapshot: Snapshot, name: str) -> tuple[TopologySpec, Notice | None]:
    """The topology a gang asks for: the named one, the only one, else what well-known labels tell."""
    declared = snapshot.topologies
    if name in declared:
        return declared[name], None
    if name:
        message = f"topology {name} is not in the input; the levels are taken from well-known node labels"
        return discovered_topology(snapshot.labels), Notice("topology_unknown", name, "topology", message)
    if len(declared) == 1:
        return next(iter(declared.values())), None
    return discovered_topology(snapshot.labels), None
