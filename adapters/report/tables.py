"""A plan as text tables: where every role goes, what it costs, how sure that is, or why there is none."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich.console import Console

from adapters.report.consoles import Line, Rows
from adapters.report.numbers import counted, gap, percent, short
from adapters.report.scene import Scene
from adapters.report.structured import sorted_reasons
from solver.domain.accelerators import device_unit
from solver.domain.gang import Role
from solver.domain.naming import natural_key
from solver.domain.plan import Admitted, Batch, FlowReport, GangPlan, Notice, ReasonCode, Stats, Status, TermValue
from solver.topology.tree import Tree

STATUS_WORDS = {
    Status.OPTIMAL: ("OPTIMAL", "nothing better exists", "bold green"),
    Status.FEASIBLE: ("FEASIBLE", "valid; something better may exist", "bold yellow"),
    Status.INFEASIBLE: ("INFEASIBLE", "no placement exists, nothing is placed", "bold red"),
    Status.UNKNOWN: ("UNKNOWN", "time ran out before an answer, nothing is placed", "bold magenta"),
}

#: What `unknown` means where the question was too large and time was left.
_TOO_LARGE = "too large for an answer, nothing is placed"

TERM_MEANINGS = {
    "replicas": "pods above the minimum",
    "containment_steps": "levels wider than asked",
    "containment_domains": "preferred domains used",
    "transfer_us": "KV transfer per request",
    "proximity": "mean levels of a pair",
    "fragmentation": "free GPUs left beside it",
}

_MOST_NAMES = 6


def print_status(console: Console, scene: Scene, plan: GangPlan) -> None:
    """One line: the gang, its status in words, and its size where it has a plan."""
    word, meaning, style = STATUS_WORDS[plan.status]
    if plan.status is Status.UNKNOWN and any(reason.code is ReasonCode.TOO_LARGE for reason in plan.reasons):
        meaning = _TOO_LARGE
    line = Line(f"{plan.name}  ").append(word, style)
    line.append(f" ({meaning})" if not plan.assignments else f" ({meaning}): {size(scene, plan)}")
    console.print(line, soft_wrap=True)


def print_assignments(console: Console, scene: Scene, plan: GangPlan) -> None:
    """A row for each role and node, with the domains in which rows differ; common ones on a line above."""
    tree, roles = scene.tree_of(plan), scene.roles_of(plan)
    rows = scene.placed_on_nodes(plan)
    common, columns = split_levels(tree, sorted({node for _, node, _ in rows}))
    if common:
        console.print("all in " + ", ".join(common), soft_wrap=True)
    table = plain_table("ROLE", *(tree.level_names[level].upper() for level in columns), "NODE")
    for header in ("PODS", "GPUS"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("NAMES", overflow="fold")
    for (role, node, note), pods in rows.items():
        domains = [domain_label(tree, level, node) for level in columns]
        names = [pod.pod.partition("/")[2] or pod.pod for pod in pods]
        gpus = short(len(pods) * gpu_need(scene, roles.get(role)))
        table.add_row(role + note, *domains, scene.snapshot.nodes[node], str(len(pods)), gpus, name_ranges(names))
    console.print(table)


def print_objective(console: Console, terms: Sequence[TermValue]) -> None:
    """The terms in order of importance, each with its value, its bound and what that proves."""
    table = plain_table("TERM", numbers=("VALUE", "BOUND"))
    for header in ("PROOF", "MEANING"):
        table.add_column(header, overflow="fold")
    for term in terms:
        proof = gap(term.value, term.bound)
        bound = "-" if term.bound is None else short(term.bound)
        style = "green" if proof == "proven" else "yellow"
        meaning = TERM_MEANINGS.get(term.term, "")
        table.add_row(term.term, short(term.value), bound, Line(proof, style), meaning)
    console.print(table)


def print_flows(console: Console, tree: Tree, flows: Sequence[FlowReport], most: int | None = None) -> None:
    """A row for each flow: its mean time and on which levels its traffic meets; the longest ones if these are many."""
    ordered = sorted(flows, key=lambda flow: (flow.source, flow.target))
    if most is not None and len(ordered) > most:
        longest = sorted(ordered, key=lambda flow: -flow.transfer_us)[:most]
        ordered = [flow for flow in ordered if flow in longest][:most]
    table = plain_table("FLOW", numbers=("TIME",))
    table.add_column("MEETS IN", overflow="fold")
    finest_first = {name: -position for position, name in enumerate(tree.level_names)}
    for flow in ordered:
        levels = sorted(flow.tier_share, key=lambda level: finest_first.get(level, 0))
        shares = ", ".join(f"{level} {percent(flow.tier_share[level])}" for level in levels if flow.tier_share[level])
        table.add_row(f"{flow.source} -> {flow.target}", milliseconds(float(flow.transfer_us) / 1000), shares or "-")
    console.print(table)
    if len(ordered) < len(flows):
        console.print(f"... {counted(len(flows) - len(ordered), 'shorter flow')}", soft_wrap=True)


def transfer_line() -> str:
    """What the transfer times are, and what they are not."""
    return "transfer times are of one request alone on its paths; TTFT was not modelled"


def handover_line(handover_ms: float) -> str:
    """What a hand-over takes beside the transfer."""
    return (
        f"hand-over by the connector: {milliseconds(handover_ms)} on top of each transfer, the same for every placement"
    )


def print_reasons(console: Console, plan: GangPlan, most: int | None = None) -> None:
    """Why there is no plan, a sentence for each cause."""
    reasons = sorted_reasons(plan.reasons)
    for reason in reasons[:most]:
        console.print(Line("  because ", "bold").append(f"[{reason.code}] {reason.message}", ""), soft_wrap=True)
    if most is not None and len(reasons) > most:
        console.print(f"  ... and {counted(len(reasons) - most, 'more reason')}", soft_wrap=True)


def batch_line(batch: Batch) -> str:
    """What gangs planned jointly are worth, and what is proven of it."""
    placed = counted(sum(each.value for each in batch.admitted), "gang")
    parts = [f"batch: {placed} placed: " + ", ".join(_of_class(each) for each in batch.admitted)]
    parts += [_bounded(term) for term in batch.objective if term.bound is not None and (term.value or term.bound)]
    unproven = [term.term for term in batch.objective if term.bound is None]
    return "; ".join([*parts, *([f"not proven: {', '.join(unproven)}"] if unproven else [])])


def _of_class(admitted: Admitted) -> str:
    waited = " that waited" if admitted.waited else ""
    most = "no more can be" if admitted.value == admitted.bound else f"at most {admitted.bound} can be"
    return f"{admitted.value} of priority {admitted.priority}{waited} ({most})"


def _bounded(term: TermValue) -> str:
    best = "" if term.bound in (None, term.value) else f", at best {short(term.bound or 0)}"
    return f"{term.term} {short(term.value)} ({gap(term.value, term.bound)}{best})"


def notice_line(notice: Notice) -> str:
    """A warning on one line: object, field, what is the matter, and its code."""
    where = ": ".join(part for part in (notice.object, notice.field) if part)
    return f"warning: {where + ': ' if where else ''}{notice.message} [{notice.code}]"


def stats_line(stats: Stats) -> str:
    """Where the time went and what was solved."""
    times = {
        "compile": stats.compile_ms,
        "bound": stats.bound_ms,
        "search": stats.search_ms,
        "verify": stats.verify_ms,
    }
    spent = ", ".join(f"{name} {milliseconds(value)}" for name, value in times.items())
    sizes = ", ".join(
        (counted(stats.nodes, "node"), counted(stats.classes, "class"), counted(stats.signatures, "signature"))
    )
    total = milliseconds(sum(times.values()))
    return f"took {total}: {spent} | {sizes} | engine {stats.engine}, proof {stats.proof}"


def milliseconds(value: float) -> str:
    """A time in milliseconds with as many digits as matter."""
    number = float(value)
    return f"{short(number, 3 if number < 10 else 1)} ms"


def plain_table(*texts: str, numbers: Iterable[str] = ()) -> Rows:
    """A table with text columns, then right-aligned ones."""
    table = Rows()
    for header in texts:
        table.add_column(header, overflow="fold")
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def domain_label(tree: Tree, level: int, node: int) -> str:
    """The label value of a node's domain, `-` where it has none."""
    domain = int(tree.domain_of[level][node])
    return tree.names[level][domain].rpartition("/")[2] if tree.real[level][domain] else "-"


def gpu_need(scene: Scene, role: Role | None) -> float:
    """Devices of one pod of the role, parts of one included."""
    if role is None:
        return 0.0
    devices = ((name, amount) for name, amount in role.requests if scene.snapshot.accelerators.counts(name))
    return sum(amount / device_unit(name) for name, amount in devices)


def name_ranges(names: Sequence[str], most_runs: int | None = None) -> str:
    """Names with runs of numbers drawn together: `decode-0..3,7`; of each stem at most so many runs."""
    parts = []
    numbered = [re.fullmatch(r"(.*?)(\d{1,9})", name, re.DOTALL) for name in sorted(names, key=natural_key)]
    plain = [name for name, match in zip(sorted(names, key=natural_key), numbered, strict=True) if not match]
    for stem, group in groupby((match for match in numbered if match), key=lambda match: match.group(1)):
        parts.append(stem + _runs([match.group(2) for match in group], most_runs))
    parts += plain
    most = _MOST_NAMES if most_runs is None else most_runs
    hidden = len(parts) - most
    return " ".join(parts[:most]) + (f" +{hidden} more" if hidden > 0 else "")


def _runs(numbers: Sequence[str], most: int | None) -> str:
    """Numbers as written, consecutive ones drawn together."""
    runs: list[list[str]] = []
    for number in numbers:
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs[:most]]
    return ",".join(shown) + (f",+{len(runs) - len(shown)}" if len(runs) > len(shown) else "")


def size(scene: Scene, plan: GangPlan) -> str:
    """What a plan places, and how many domains of each level it uses."""
    roles = scene.roles_of(plan)
    total = sum(len(role.pods) for role in roles.values())
    placed = len(plan.assignments)
    gpus = sum(gpu_need(scene, roles.get(pod.role)) for pod in plan.assignments)
    running = f", {len(plan.running)} running" if plan.running else ""
    parts = [f"{placed} of {counted(total, 'pod')}{running}", f"{short(gpus)} GPUs"]
    return ", ".join([*parts, *_domain_counts(scene.tree_of(plan), plan.domains)])


def _domain_counts(tree: Tree, domains: Mapping[str, int]) -> list[str]:
    """Domains in use, fine to coarse."""
    order = {name: -position for position, name in enumerate(tree.level_names)}
    return [counted(domains[level], level) for level in sorted(domains, key=lambda level: order.get(level, 1))]


def split_levels(tree: Tree, nodes: Sequence[int]) -> tuple[list[str], list[int]]:
    """What all nodes share as `rack r1` words, and the levels between root and host at which they differ."""
    common: list[str] = []
    columns: list[int] = []
    for level in range(1, tree.height):
        labels = {domain_label(tree, level, node) for node in nodes}
        if labels == {"-"}:
            continue
        if len(labels) == 1 and not columns:
            common.append(f"{tree.level_names[level]} {labels.pop()}")
        else:
            columns.append(level)
    return common, columns
