"""What the commands share: where input may come from and how answers are printed."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from adapters.cli.streams import write_out
from adapters.manifests.reading import COMPUTE_DOMAIN_PREFERRED, COMPUTE_DOMAIN_REQUIRED
from adapters.report.answers import AnswerKind, schema_text

_Body = TypeVar("_Body", bound=Callable[..., Any])

FORMATS = ("table", "json", "yaml")
#: A table with everything in it, however long.
WIDE = "wide"
STDIN = "-"


def cluster_option(body: _Body) -> _Body:
    """`--cluster FILE`, at least once."""
    return click.option(
        "--cluster",
        "clusters",
        metavar="FILE",
        multiple=True,
        required=True,
        help="Nodes, running pods and volumes: kubectl get nodes,pods,pvc,pv,sc -A -o json|yaml, Topology and Queue "
        "objects, or a Cluster file. Repeat it for several files; - is standard input.",
    )(body)


def output_option(body: _Body) -> _Body:
    """`-o table|json|yaml`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="Form of the answer on standard output; json and yaml are stable.",
    )(body)


def plan_output_option(body: _Body) -> _Body:
    """`-o table|wide|json|yaml`."""
    table, *others = FORMATS
    return click.option(
        "-o",
        "--output",
        type=click.Choice((table, WIDE, *others)),
        default=table,
        show_default=True,
        help="Form of the answer on standard output; table fits a page for each gang, wide shows every node, json and "
        "yaml are stable.",
    )(body)


def schema_option(kind: AnswerKind) -> Callable[[_Body], _Body]:
    """`--schema`, which prints the JSON Schema of the answer, whatever else is given, and ends."""

    def show(context: click.Context, _: click.Parameter, asked: bool) -> None:
        if asked:
            write_out(schema_text(kind))
            context.exit()

    return click.option(
        "--schema",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Print the JSON Schema of -o json and end.",
    )


def compute_domain_option(body: _Body) -> _Body:
    """`--compute-domain required|preferred`."""
    return click.option(
        "--compute-domain",
        type=click.Choice((COMPUTE_DOMAIN_REQUIRED, COMPUTE_DOMAIN_PREFERRED)),
        default=COMPUTE_DOMAIN_REQUIRED,
        show_default=True,
        help="Whether all pods of a ComputeDomain must lie in one NVLink domain (level nvl), or should.",
    )(body)


def refuse_double_stdin(paths: Sequence[str]) -> None:
    """Standard input can be read only once."""
    if paths.count(STDIN) > 1:
        raise click.UsageError("'-' (standard input) can be given only once", click.get_current_context())
