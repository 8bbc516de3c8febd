"""`huddle plan`: where the pods of gangs go, all of a gang or nothing."""

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import Any, NoReturn

import click

from adapters.cli import later
from adapters.cli.course import interrupted
from adapters.cli.durations import duration_option, duration_or_none_option
from adapters.cli.inputs import (
    WIDE,
    cluster_option,
    compute_domain_option,
    plan_output_option,
    refuse_double_stdin,
    schema_option,
)
from adapters.cli.interrupts import interruptible
from adapters.cli.memory import memory_limit_option, memory_mib
from adapters.cli.outcome import exit_for, warn
from adapters.cli.rates import rate_or_none_option
from adapters.cli.server_options import server_address, server_options
from adapters.cli.solving import Inputs, Wish, solve
from adapters.cli.streams import write_out
from adapters.cli.token_counts import tokens_option
from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.manifests.gangs import GangOptions, read_gangs
from adapters.report.answers import AnswerKind
from adapters.report.consoles import rendered
from adapters.report.plan_text import plan_notices, print_plan
from adapters.report.scene import Scene
from adapters.report.structured import formatted, plan_document
from solver.domain.plan import Plan
from solver.topology.choice import cluster_topology

#: Names of `solver.planner.Engine`, spelt out so that --help need not load the engine.
ENGINES = ("auto", "cpsat", "tree")

HELP = """Plan the gangs in FILE... on the cluster: every pod of a gang, or none of it.

FILE holds Gang, DynamoGraphDeployment, PodGroup and pods, or LeaderWorkerSet objects; - is standard input.

\b
Examples:
  huddle plan deployment.yaml --cluster cluster.json
  kubectl get nodes,pods,pvc,pv,sc -A -o json | huddle plan gang.yaml --cluster - -o json

\b
Exit codes: 0 every gang planned, 2 bad input or no place for the answer, 3 a gang is infeasible,
4 none infeasible but one unknown, 1 a defect of huddle, 130 or 143 ended by
Ctrl-C or SIGTERM, with the best plan so far printed; a second one ends at once.
"""


@click.command("plan", cls=later.Command, help=HELP, short_help="Where the pods of gangs go.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@cluster_option
@plan_output_option
@schema_option(AnswerKind.PLAN)
@click.option(
    "--time-limit",
    metavar="DURATION",
    callback=duration_option,
    default="5s",
    show_default=True,
    help="Budget of the whole call: 5s, 500ms, 1m30s.",
)
@memory_limit_option
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="auto: tree bound, CP-SAT certificate. cpsat: CP-SAT alone. tree: no CP-SAT.",
)
@click.option(
    "--batch",
    is_flag=True,
    help="Place several gangs jointly: as many as possible, higher priority strictly first, then the terms summed.",
)
@click.option(
    "--fair-after",
    metavar="DURATION",
    callback=duration_or_none_option,
    default="0s",
    show_default=True,
    help="With --batch: who waited longer comes first in its priority; 0s: off.",
)
@server_options
@click.option("--model", metavar="NAME", help="Model whose KV cache travels; default: what the manifest says.")
@click.option(
    "--prompt-tokens",
    metavar="N",
    callback=tokens_option,
    default="4000",
    show_default=True,
    help="Tokens of one prompt, as 4000 or 4k: with the model they give the bytes of one KV transfer.",
)
@click.option(
    "--rps",
    metavar="N",
    callback=rate_or_none_option,
    help="Requests a second of a gang that does not say: keeps its traffic within NICs and uplinks.",
)
@click.option(
    "--ignore-unsupported",
    is_flag=True,
    help="Warn about hard constraints that cannot be honoured instead of refusing them.",
)
@compute_domain_option
def plan_command(
    files: tuple[str, ...],
    clusters: tuple[str, ...],
    output: str,
    time_limit: float,
    memory_limit: int | None,
    engine: str,
    batch: bool,
    fair_after: float,
    model: str | None,
    prompt_tokens: int,
    rps: Fraction | None,
    ignore_unsupported: bool,
    compute_domain: str,
    **server: Any,
) -> NoReturn:
    """Read, plan, show, and exit with the worst status."""
    refuse_double_stdin([*files, *clusters])
    if fair_after and not batch:
        raise click.UsageError("--fair-after needs --batch: one after another, gangs go by priority and creation time")
    options = GangOptions(model, prompt_tokens, ignore_unsupported, compute_domain, requests_per_second=rps)
    address = server_address(**server)
    memory = memory_mib(memory_limit, address)
    inputs = read_inputs(files, clusters, options)
    wish = Wish(engine, time_limit, batch, fair_before(datetime.now(UTC), fair_after), memory)
    plan, number = interruptible(
        lambda course: solve(inputs, wish, address, course),
        lambda course: inputs.add_notices(course.known(inputs.names)),
    )
    _show(inputs, interrupted(plan, signal.Signals(number).name) if number else plan, output)
    sys.exit(128 + number if number else exit_for(plan.status))


def read_inputs(files: Sequence[str], clusters: Sequence[str], options: GangOptions) -> Inputs:
    """Read everything before the engine is loaded, so that bad input fails at once.

    Gangs come from `files` only; nodes, bound pods, topologies and queues from both.
    """
    file_documents, cluster_documents = read_documents(files), read_documents(clusters)
    loaded = load_cluster([*cluster_documents, *file_documents])
    options = replace(options, accelerators=loaded.snapshot.accelerators)
    spec_of, nodes = partial(cluster_topology, loaded.snapshot), loaded.snapshot.node_idx
    found = read_gangs(file_documents, options, cluster_documents, spec_of, nodes)
    return Inputs(loaded.snapshot, found.gangs, (*loaded.notices, *found.general), found.notices, found.sources)


def fair_before(now: datetime, fair_after_s: float) -> datetime | None:
    """Gangs created before this moment have waited longer than `fair_after_s` by `now`; None when that is 0."""
    return now - timedelta(seconds=fair_after_s) if fair_after_s else None


def _show(inputs: Inputs, plan: Plan, output: str) -> None:
    if output not in ("table", WIDE):
        write_out(formatted(plan_document(plan), output))
        return
    scene = Scene(inputs.snapshot, inputs.gangs, plan)
    warn(plan_notices(plan))
    write_out(rendered(sys.stdout, lambda console: print_plan(console, scene, output == WIDE)))
