"""`huddle topology`: what the cluster looks like to the solver."""

import sys

import click

from adapters.cli import later
from adapters.cli.inputs import cluster_option, output_option, refuse_double_stdin
from adapters.cli.outcome import warn, write_out
from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.report.consoles import rendered
from adapters.report.structured import formatted
from adapters.report.topology_view import print_topology, topology_document

HELP = """Show levels, domains, free GPUs and tiers, and which nodes lack which label.

\b
Example:
  kubectl get nodes,pods -A -o json | huddle topology --cluster -
"""


@click.command("topology", cls=later.Command, help=HELP, short_help="What the cluster looks like.")
@cluster_option
@output_option
def topology_command(clusters: tuple[str, ...], output: str) -> None:
    """Read, describe, show."""
    refuse_double_stdin(clusters)
    loaded = load_cluster(read_documents(clusters))
    document = topology_document(loaded.snapshot, loaded.notices)
    if output != "table":
        write_out(formatted(document, output))
        return
    warn(loaded.notices)
    write_out(rendered(sys.stdout, lambda console: print_topology(console, document)))
