"""`huddle snapshot`: the state of a live cluster as a file for `--cluster`."""

import asyncio
from pathlib import Path

import click

from adapters.cli import later
from adapters.cli.extras import needs_extra
from adapters.cli.streams import CannotWrite, write_out
from adapters.kubernetes.objects import one_line

HELP = """Write what a live cluster holds as a file that --cluster takes: nodes, pods, topologies, queues.

It asks the API server, as kubectl would, and only reads. Kinds the server does not have are left out. Beside the
placement of pods the file holds what their containers run, environment variables included.

\b
Examples:
  huddle snapshot -o cluster.json
  huddle snapshot --context prod | huddle plan gang.yaml --cluster -
"""


@click.command("snapshot", cls=later.Command, help=HELP, short_help="A live cluster as a file.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Default: standard output.")
@click.option("--kubeconfig", metavar="FILE", help="Default: as for kubectl; inside a pod its service account.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; default: the current one.")
def snapshot_command(output: Path | None, kubeconfig: str | None, context: str | None) -> None:
    """Read, then write."""
    with needs_extra("huddle snapshot", "kubernetes"):
        import msgspec

        from adapters.kubernetes.api import Api
        from adapters.kubernetes.whole_cluster import read_cluster

    async def read() -> bytes:
        async with Api(kubeconfig, context) as api:
            return msgspec.json.encode(await read_cluster(api), order="deterministic") + b"\n"

    _write(asyncio.run(read()), output)


def _write(data: bytes, output: Path | None) -> None:
    if output is None or str(output) == "-":
        write_out(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise CannotWrite(one_line(f"{output}: {error.strerror}")) from error
