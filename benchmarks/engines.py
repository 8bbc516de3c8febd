"""Evidence for the choice of engine: the same instances solved in five ways, with time and proof.

1. the tree alone, 2. the tree with CP-SAT's certificate, 3. CP-SAT alone on the pattern model, 4. a naive CP-SAT model
with a Boolean for each pod and node, which minimises one or two of the six terms only, 5. HiGHS on the pattern model.
Times run from the snapshot to the answer, building included.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from math import prod
from typing import Any

import numpy as np
from ortools.math_opt.python import mathopt
from ortools.sat.python import cp_model

from benchmarks.cases import CASES, TOPOLOGY, Site, build_site, fresh
from benchmarks.measure import warm_up
from benchmarks.output import machine, print_table, say, time_text, write_csv
from solver.compile.frame import build_frame
from solver.compile.problem import build_problem
from solver.compile.shapes import shapes_of
from solver.compile.structure import build_structure
from solver.domain.accelerators import KNOWN_ACCELERATORS
from solver.domain.gang import Gang, Pattern, Role
from solver.domain.resources import PODS
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from solver.search.stages import Stages
from solver.terms.registry import terms_of
from solver.topology.costs import engine_gpus, pair_ns
from solver.topology.tree import Tree, build_tree

GANGS = ("4p8d", "16p16d")
NODES = (128, 1_024)
#: Used share of the GPUs, low enough for both gangs on the smaller site.
USED = 0.3

Row = dict[str, Any]


@dataclass(frozen=True)
class Solved:
    """One engine's answer. transfer_us: of its plan, None without one; size: variables of its model, 0 = no model."""

    proven: bool
    transfer_us: float | None
    size: int = 0


Solver = Callable[[Snapshot, Gang, float], Solved]


def by_plan(engine: Engine) -> Solver:
    """Huddle with one of its engines."""

    def solve(snapshot: Snapshot, gang: Gang, limit_s: float) -> Solved:
        (answer,) = plan(snapshot, [gang], Options(engine, limit_s)).gangs
        transfer = next((float(term.value) for term in answer.objective if term.term == "transfer_us"), None)
        return Solved(answer.status in ("optimal", "infeasible"), transfer)

    return solve


def naive(*measures: str) -> Solver:
    """A Boolean for each pod and node, one for each pair of pods and domain both may be in; only some terms."""

    def solve(snapshot: Snapshot, gang: Gang, limit_s: float) -> Solved:
        deadline = time.monotonic() + limit_s
        model, tree = cp_model.CpModel(), build_tree(snapshot, TOPOLOGY)
        inside = _naive_pods(model, tree, snapshot, gang)
        costs = [_naive_costs(tree, gang, measure) for measure in measures]
        sums, scale = _naive_sums(model, gang, inside, costs)
        values: list[float] = []
        for total in sums:
            status, value = _naive_run(model, total, deadline)
            if status == cp_model.INFEASIBLE:
                return Solved(True, None, len(model.proto.variables))
            values += [] if value is None else [value]
            if status != cp_model.OPTIMAL:
                return Solved(False, values[0] / scale / 1000 if values else None, len(model.proto.variables))
            model.add(total <= round(values[-1]))
        return Solved(True, values[0] / scale / 1000, len(model.proto.variables))

    return solve


def _naive_run(model: cp_model.CpModel, total: Any, deadline: float) -> tuple[Any, float | None]:
    """CP-SAT's status and the least `total` it found."""
    model.clear_objective()
    model.minimize(total)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.linearization_level = 2
    solver.parameters.max_time_in_seconds = max(0.1, deadline - time.monotonic())
    status = solver.solve(model)
    return status, solver.objective_value if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None


Literals = list[dict[int, Any]]


def _naive_pods(model: cp_model.CpModel, tree: Tree, snapshot: Snapshot, gang: Gang) -> dict[str, Literals]:
    """Pod → its literals, with the capacity of every node as rows."""
    pods = [(role, pod) for role in gang.roles for pod in role.pods]
    inside = {pod: _pod_literals(model, tree, fits_on(snapshot, role)) for role, pod in pods}
    for node in range(len(snapshot.nodes)):
        here = [(role, inside[pod][-1][node]) for role, pod in pods if node in inside[pod][-1]]
        for resource, free in zip(snapshot.resources, snapshot.free[node].tolist(), strict=True):
            asked = [(1 if resource == PODS else role.requests[resource], literal) for role, literal in here]
            held = sum(amount * literal for amount, literal in asked if amount)
            if not isinstance(held, int):
                model.add(held <= free)
    return inside


def _pod_literals(model: cp_model.CpModel, tree: Tree, nodes: Sequence[int]) -> Literals:
    """[level][domain] the literal that the pod is in the domain; hosts last."""
    found: Literals = [{node: model.new_bool_var("") for node in nodes}]
    model.add_exactly_one(found[0].values())
    for level in range(tree.height, 1, -1):
        above: dict[int, list[Any]] = {}
        for domain, literal in found[0].items():
            above.setdefault(int(tree.parent[level][domain]), []).append(literal)
        found.insert(0, {domain: model.new_bool_var("") for domain in above})
        for domain, literals in above.items():
            model.add(sum(literals) == found[0][domain])
    return found


def fits_on(snapshot: Snapshot, role: Role) -> list[int]:
    """Nodes with room for one pod of the role."""
    asked = [1 if name == PODS else role.requests[name] for name in snapshot.resources]
    return [int(node) for node in np.flatnonzero((snapshot.free >= asked).all(axis=1))]


def _naive_costs(tree: Tree, gang: Gang, measure: str) -> list[list[int]]:
    """By flow, what a pair pays at each level: nanoseconds, or levels climbed."""
    if any(flow.pattern is not Pattern.ALL_TO_ALL for flow in gang.flows):
        raise ValueError("the naive model knows pairs of pods only")
    gpus = engine_gpus(gang, KNOWN_ACCELERATORS)
    found = []
    for flow in gang.flows:
        tiers = pair_ns(tree, flow, min(gpus[flow.senders[0]], gpus[flow.receivers[0]]))
        levels = range(len(tiers))
        found.append([min(tiers[: at + 1]) if measure == "transfer" else tree.height - at for at in levels])
    return found


def _naive_sums(
    model: cp_model.CpModel, gang: Gang, inside: dict[str, Literals], costs: list[list[list[int]]]
) -> tuple[list[Any], int]:
    """[measure] the total times a common denominator, and that denominator: pairs pay the root less their gains."""
    pods = {role.name: role.pods for role in gang.roles}
    flows = [list(product(pods[flow.senders[0]], pods[flow.receivers[0]])) for flow in gang.flows]
    scale = prod(map(len, flows))
    gains: list[dict[Any, int]] = [{} for _ in costs]
    for at, pairs in enumerate(flows):
        for one, other in pairs:
            for level, (mine, theirs) in enumerate(zip(inside[one], inside[other], strict=True), start=1):
                gained = [(by_flow[at][level - 1] - by_flow[at][level]) * (scale // len(pairs)) for by_flow in costs]
                for domain in mine.keys() & theirs.keys() if any(gained) else ():
                    both = model.new_bool_var("")
                    model.add_implication(both, mine[domain])
                    model.add_implication(both, theirs[domain])
                    for each, gain in zip(gains, gained, strict=True):
                        each[both] = gain
    atmost = [scale * sum(flow[0] for flow in by_flow) for by_flow in costs]
    return [
        most - cp_model.LinearExpr.weighted_sum(list(each), list(each.values()))
        for most, each in zip(atmost, gains, strict=True)
    ], scale


def highs(snapshot: Snapshot, gang: Gang, limit_s: float) -> Solved:
    """HiGHS on the pattern model of the whole site, term after term, earlier ones fixed at their values."""
    deadline = time.monotonic() + limit_s
    structure = build_structure(gang, snapshot, build_tree(snapshot, TOPOLOGY))
    assert structure.root is not None
    problem = build_problem(build_frame(structure, shapes_of(structure.root)[0]))
    terms = terms_of(problem)
    stages = Stages(problem, terms, None, None)
    model, columns = exported(stages.cp_model)
    values: list[float] = []
    for objective in stages.objectives:
        left = deadline - time.monotonic()
        column = columns[objective.index]
        model.minimize(column)
        reason, found = _highs_run(model, left) if left > 0 else (None, None)
        if found is None:
            return Solved(reason is mathopt.TerminationReason.INFEASIBLE, None, len(columns))
        values.append(round(found))
        column.upper_bound = column.lower_bound = round(found)
    sums = dict(zip((term.name for term in terms), values, strict=True))
    transfer = next(term for term in terms if term.name == "transfer_us")
    return Solved(True, float((sums["transfer_us"] + transfer.constant) * transfer.unit), len(columns))


def _highs_run(model: mathopt.Model, limit_s: float) -> tuple[mathopt.TerminationReason, float | None]:
    """Why it stopped, and the proven minimum, None without proof."""
    parameters = mathopt.SolveParameters(
        time_limit=timedelta(seconds=limit_s), relative_gap_tolerance=0.0, absolute_gap_tolerance=0.5
    )
    result = mathopt.solve(model, mathopt.SolverType.HIGHS, params=parameters)
    reason = result.termination.reason
    return reason, result.objective_value() if reason is mathopt.TerminationReason.OPTIMAL else None


def exported(model: cp_model.CpModel) -> tuple[mathopt.Model, list[Any]]:
    """The same variables and rows for MathOpt; every constraint of the pattern model is linear."""
    target = mathopt.Model()
    columns = []
    for variable in model.proto.variables:
        low, high = list(variable.domain)
        columns.append(target.add_integer_variable(lb=low, ub=high))
    for constraint in model.proto.constraints:
        assert constraint.has_linear()
        assert not list(constraint.enforcement_literal)
        row = constraint.linear
        low, high = list(row.domain)
        total = mathopt.fast_sum(
            factor * columns[at] for at, factor in zip(list(row.vars), list(row.coeffs), strict=True)
        )
        target.add_linear_constraint(expr=total, lb=_finite(low), ub=_finite(high))
    return target, columns


def _finite(bound: int) -> float:
    return float(bound) if abs(bound) < 2**62 else float("inf") * (1 if bound > 0 else -1)


ENGINES: dict[str, Solver] = {
    "tree": by_plan(Engine.TREE),
    "tree + CP-SAT certificate": by_plan(Engine.AUTO),
    "CP-SAT alone, patterns": by_plan(Engine.CPSAT),
    "HiGHS, patterns": highs,
    "CP-SAT, a Boolean per pod and node: transfer": naive("transfer"),
    "CP-SAT, the same: transfer, then proximity": naive("transfer", "proximity"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Solve every instance with every engine and print who proved what in which time."""
    parser = argparse.ArgumentParser(description="Engines on the same instances.")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for one engine on one instance")
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES))
    parser.add_argument("--quick", action="store_true", help="one small instance, two seconds")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.nodes, chosen.limit = [32], 2.0
    gangs = GANGS[:1] if chosen.quick else GANGS
    warm_up()
    rows: list[Row] = []
    for nodes, load, gang in product(chosen.nodes, ("loaded", "fragmented"), gangs):
        rows += compared(Site(nodes, load, 16, 1, USED), gang, chosen.limit)
    write_csv("engines.csv", rows)
    headers = ("engine", "instance", "time", "proven", "transfer", "variables")
    shown = [[row[key] for key in headers] for row in rows]
    print_table(f"engines, {chosen.limit:g} s each ({machine()})", headers, shown, texts=2)


def compared(site: Site, gang_name: str, limit_s: float) -> list[Row]:
    """One row for each engine on one instance."""
    snapshot, gang = build_site(site), CASES[gang_name].make()
    rows: list[Row] = []
    best: float | None = None
    for name, engine in ENGINES.items():
        say(f"[engines: {name}, {gang_name}, {site.nodes} nodes, {site.load}]")
        started = time.perf_counter()
        found = engine(fresh(snapshot), gang, limit_s)
        spent = (time.perf_counter() - started) * 1000
        best = found.transfer_us if best is None else best
        rows.append(
            {
                "engine": name,
                "instance": f"{gang_name}, {site.nodes:,} nodes, {site.load}",
                "time": time_text(spent),
                "proven": "yes" if found.proven else "no",
                "transfer": _relative(found, best),
                "variables": f"{found.size:,}" if found.size else "-",
                "spent_ms": spent,
            }
        )
    return rows


def _relative(found: Solved, best: float | None) -> str:
    """The plan's transfer beside the tree's optimum."""
    if found.transfer_us is None or best is None:
        return "none exists" if found.proven else "no plan"
    above = found.transfer_us / best - 1
    return "optimum" if abs(above) < 1e-9 else f"{above:+.2%}"


if __name__ == "__main__":
    main()
