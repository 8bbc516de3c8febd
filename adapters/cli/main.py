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

    def main(self, args: Sequence[str] | None = None, *extra: Any, **settings: Any) -> NoReturn:
        """Run one command line and exit."""
        settings["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        sys.exit(int(guarded(lambda: super(Huddle, self).main(args, *extra, **settings) or 0)))


@click.group(cls=Huddle, help=HELP, context_settings=HELP_NAMES, no_args_is_help=False)
@click.version_option(package_name="huddle-scheduler", prog_name="huddle", message="%(prog)s %(version)s")
def huddle() -> None:
    """The group itself does nothing."""


huddle.add_command(plan_command)
huddle.add_command(topology_command)
huddle.add_command(calibrate_command)
huddle.add_command(serve_command)
huddle.add_command(controller_command)
huddle.add_command(snapshot_command)


def main() -> NoReturn:
    """The console script."""
    huddle.main(prog_name="huddle")
