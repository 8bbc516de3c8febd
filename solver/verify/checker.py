"""The independent checker: every plan passes here before it leaves.

It sees the snapshot, the gang and the assignment, nothing of how the plan was found, and recomputes everything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np

from solver.domain.budget import UNLIMITED, Budget
from solver.domain.gang import Gang
from solver.domain.levels import TopologySpec
from solver.domain.plan import Assignment, FlowReport
from solver.domain.snapshot import Snapshot
from solver.topology.tree import Tree, build_tree
from solver.verify import terms
from solver.verify.placement import Placement, place
from solver.verify.rules import RULES

#: Term names in lexicographic order; `replicas` is maximised, the others minimised.
TERMS = ("replicas", "containment_steps", "containment_domains", "transfer_us", "proximity", "fragmentation")


@dataclass(frozen=True)
class Verification:
    """What the checker found.

    violations: sentences `rule: what`, empty for a valid plan. objective: term → value. kept_replicas: the second
    part of `replicas`. domains: level name → distinct domains holding a pod.
    """

    violations: tuple[str, ...]
    objective: Mapping[str, Fraction]
    kept_replicas: int
    flows: tuple[FlowReport, ...]
    domains: Mapping[str, int]


def verify(
    snapshot: Snapshot,
    gang: Gang,
    spec: TopologySpec,
    assignments: Sequence[Assignment],
    tree: Tree | None = None,
    budget: Budget = UNLIMITED,
) -> Verification:
    """Check every hard rule and recompute every term of a plan for `gang`.

    assignments: the new pods only; running members are taken from the gang. tree: of `spec`, built when missing.
    Raises OutOfTime.
    """
    broken = list(_malformed(snapshot, gang, assignments))
    if broken:
        return Verification(tuple(broken), {}, 0, (), {})
    tree = tree or build_tree(snapshot, spec)
    placement = place(gang, snapshot, tree, {item.pod: item.node for item in assignments}, budget)
    violations = tuple(f"{rule}: {text}" for rule, check in RULES.items() for text in check(placement))
    above, kept = terms.replicas(placement)
    traffic = terms.all_traffic(placement, terms.proximity_flows(gang, snapshot.accelerators))
    flows = tuple(  # without any, the traffic is what proximity alone counts
        terms.flow_report(placement, flow, parts) for flow, parts in zip(gang.flows, traffic, strict=bool(gang.flows))
    )
    values = (
        Fraction(above),
        Fraction(terms.containment_steps(placement)),
        Fraction(terms.containment_domains(placement)),
        sum((flow.transfer_us for flow in flows), Fraction(0)),
        terms.proximity(placement, chain.from_iterable(traffic)),
        Fraction(terms.fragmentation(placement)),
    )
    return Verification(violations, dict(zip(TERMS, values, strict=True)), kept, flows, _domains(placement))


def _malformed(snapshot: Snapshot, gang: Gang, assignments: Sequence[Assignment]) -> Iterator[str]:
    """Assignments that name what does not exist, twice, or what already runs."""
    role_of = {pod: role.name for role in gang.roles for pod in role.pods}
    running = {member.pod for member in gang.running}
    seen: set[str] = set()
    for item in assignments:
        if role_of.get(item.pod) != item.role:
            yield f"assignment: pod {item.pod} is no pod of role {item.role}"
        if item.node not in snapshot.node_idx:
            yield f"assignment: node {item.node} does not exist"
        if item.pod in seen or item.pod in running:
            yield f"assignment: pod {item.pod} is placed twice"
        seen.add(item.pod)


def _domains(placement: Placement) -> dict[str, int]:
    found = {}
    for level in range(1, placement.tree.height + 1):
        domains = np.unique(placement.domains(level))
        found[placement.tree.level_names[level]] = int(placement.tree.real[level][domains].sum())
    return found
