"""`huddle topology`: what the cluster looks like to the solver."""

import sys
from collections.abc import Sequence

import click

from adapters.cli import later
from adapters.cli.inputs import cluster_option, output_option, refuse_double_stdin, schema_option
from adapters.cli.outcome import warn
from adapters.cli.streams import write_out
from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.kubernetes.objects import Document
from adapters.kubernetes.spelling import suggestion
from adapters.report.answers import AnswerKind
from adapters.report.consoles import rendered
from adapters.report.structured import formatted
from adapters.report.topology_view import print_topology, topology_document
from solver.domain.errors import InvalidRequest

#: Kinds that hold nodes, and how many others are named where there are none.
NODE_KINDS, MOST_KINDS = ("Node", "Cluster"), 4

HELP = """Show levels, domains, free GPUs and tiers, and which nodes lack which label.

\b
Example:
  kubectl get nodes,pods -A -o json | huddle topology --cluster -
"""


@click.command("topology", cls=later.Command, help=HELP, short_help="What the cluster looks like.")
@cluster_option
@output_option
@schema_option(AnswerKind.TOPOLOGY)
def topology_command(clusters: tuple[str, ...], output: str) -> None:
    """Read, describe, show."""
    refuse_double_stdin(clusters)
    documents = read_documents(clusters)
    loaded = load_cluster(documents)
    if not loaded.snapshot.nodes:
        raise _without_nodes(documents)
    document = topology_document(loaded.snapshot, loaded.notices)
    if output != "table":
        write_out(formatted(document, output))
        return
    warn(loaded.notices)
    write_out(rendered(sys.stdout, lambda console: print_topology(console, document)))


def _without_nodes(documents: Sequence[Document]) -> InvalidRequest:
    """What there is instead of nodes."""
    sources = ", ".join(dict.fromkeys(doc.source for doc in documents))
    kinds = dict.fromkeys(doc.kind for doc in documents)
    found = ", ".join(f"{kind or 'nothing'}{suggestion(kind, NODE_KINDS)}" for kind in list(kinds)[:MOST_KINDS])
    more = f" and {len(kinds) - MOST_KINDS} other kinds" if len(kinds) > MOST_KINDS else ""
    return InvalidRequest(f"{sources}: no nodes in here, only {found}{more}")
