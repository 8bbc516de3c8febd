"""`huddle calibrate`: what measured transfers say of the tiers of a site."""

import sys
from collections.abc import Sequence

import click
from rich.console import Console

from adapters.calibrate.fitting import Fitted, as_levels, fit
from adapters.calibrate.transfers import read_transfers
from adapters.cli import later
from adapters.cli.inputs import output_option, schema_option
from adapters.cli.streams import write_out
from adapters.files.documents import read_text
from adapters.report.answers import AnswerKind, heading
from adapters.report.consoles import rendered
from adapters.report.numbers import percent, short
from adapters.report.structured import as_yaml, formatted
from adapters.report.tables import plain_table

HELP = """Fit set-up time and bandwidth of each level to measured transfers.

FILE is CSV with the header level,bytes,ms or JSON with a list of such objects; - is standard input. A further column
gpus says how many GPUs the smaller engine has, each of which sends its share (default 1). Levels with fewer than three
different sizes, and fits that are more than 25 % off at any point, are refused.

\b
Example:
  huddle calibrate --transfers measured.csv
"""


@click.command("calibrate", cls=later.Command, help=HELP, short_help="Fit tiers to measured transfers.")
@click.option("--transfers", metavar="FILE", required=True, help="Measured transfers, CSV or JSON.")
@output_option
@schema_option(AnswerKind.CALIBRATION)
def calibrate_command(transfers: str, output: str) -> None:
    """Read, fit, show."""
    fitted = fit(read_transfers(*read_text(transfers)))
    if output == "table":
        write_out(rendered(sys.stdout, lambda console: _print(console, fitted)))
    else:
        write_out(formatted(_document(fitted), output))


def _document(fitted: Sequence[Fitted]) -> dict[str, object]:
    """levels: for `spec.topology.levels` of a Cluster. fits: how good they are; errors are shares, 0.1 = 10 %."""
    fits = [
        {
            "level": each.level,
            "points": each.points,
            "mean_error": round(each.mean_error, 4),
            "largest_error": round(each.largest_error, 4),
        }
        for each in fitted
    ]
    return {**heading(AnswerKind.CALIBRATION), "levels": as_levels(fitted), "fits": fits}


def _print(console: Console, fitted: Sequence[Fitted]) -> None:
    table = plain_table("LEVEL", numbers=("POINTS", "SET-UP US", "GB/S A GPU", "MEAN ERROR", "LARGEST"))
    for each in fitted:
        tier = (short(each.tier.setup_us), short(each.tier.gbps))
        table.add_row(each.level, str(each.points), *tier, percent(each.mean_error), percent(each.largest_error))
    console.print(table)
    console.print()
    console.print("for spec.topology.levels of a Cluster:")
    for line in as_yaml(as_levels(fitted)).splitlines():
        console.print(line, soft_wrap=True)
