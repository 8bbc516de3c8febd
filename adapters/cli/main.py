"""`huddle`: the group of commands and the one place where a run ends."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from adapters.cli import later
from adapters.cli.calibrate import calibrate_command
from adapters.cli.controller import controller_command
from adapters.cli.outcome import guarded
from adapters.cli.plan import plan_command
from adapters.cli.serve import serve_command
from adapters.cli.snapshot import snapshot_command
from adapters.cli.streams import end_streams, open_streams, reader_may_go, write_out
from adapters.cli.topology import topology_command

HELP = """Place gangs of GPU pods: all of a gang or nothing, KV caches on the shortest paths, proven.

\b
Example:
  kubectl get nodes,pods,pvc,pv,storageclasses -A -o json > cluster.json
  huddle topology --cluster cluster.json
  huddle plan deployment.yaml --cluster cluster.json
"""
HELP_NAMES = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Huddle(later.Group):
    """The group; it ends the process with a documented exit code."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Click's, which prints help and version itself and ends with 1 when nobody reads them."""
        with reader_may_go():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """The same of the commands."""
        with reader_may_go():
            return super().invoke(ctx)

    def main(self, args: Sequence[str] | None = None, *extra: Any, **settings: Any) -> NoReturn:
        """Run one command line and exit."""
        settings["standalone_mode"] = False
        open_streams()
        try:
            sys.exit(int(guarded(lambda: super(Huddle, self).main(args, *extra, **settings) or 0)))
        finally:
            end_streams()


@click.group(cls=Huddle, help=HELP, context_settings=HELP_NAMES, invoke_without_command=True)
@click.version_option(package_name="huddle-scheduler", prog_name="huddle", message="%(prog)s %(version)s")
@click.pass_context
def huddle(context: click.Context) -> None:
    """Without a command: the help."""
    if context.invoked_subcommand is None:
        write_out(f"{context.get_help()}\n")


huddle.add_command(plan_command)
huddle.add_command(topology_command)
huddle.add_command(calibrate_command)
huddle.add_command(serve_command)
huddle.add_command(controller_command)
huddle.add_command(snapshot_command)


def main() -> NoReturn:
    """The console script."""
    huddle.main(prog_name="huddle")
