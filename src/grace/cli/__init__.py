"""The command ``grace``: parses, calls, prints. Everything it does is available from Python."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from grace._version import __version__
from grace.cli.data import data_app
from grace.cli.diagnose import diagnose
from grace.cli.explain import explain
from grace.cli.export import export
from grace.cli.grid import grid
from grace.cli.methods import methods
from grace.cli.plan import plan
from grace.cli.predict import predict
from grace.cli.results import results_app
from grace.cli.run_folder import evaluate, report
from grace.cli.shared import CommandGroup, out
from grace.cli.train import train

__all__ = ["app"]

START, DATA, EVALUATE, REFERENCE = "Start here", "Your own data", "Evaluate", "Reference"


class _Command(CommandGroup):
    """The command as a program: what the terminal cannot show is written as an escape."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().__call__(*args, **kwargs)


app = _Command(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Remaining useful life and health state of machines from sensor histories.\n\n"
        "Quick start (a few minutes on a laptop, no data needed):\n\n"
        "  grace train --out runs/first      train on a simulated fleet\n\n"
        "  grace predict runs/first          show the remaining useful life of each unit\n\n"
        "  grace report runs/first           write the report as one HTML file"
    ),
)
app.command(rich_help_panel=START)(train)
app.command(rich_help_panel=START)(predict)
app.command(rich_help_panel=START)(report)
app.add_typer(data_app, name="data", rich_help_panel=DATA)
app.command(rich_help_panel=DATA)(plan)
app.command(rich_help_panel=DATA)(explain)
app.command(rich_help_panel=DATA)(export)
app.command(rich_help_panel=EVALUATE)(evaluate)
app.command(rich_help_panel=EVALUATE)(diagnose)
app.command(rich_help_panel=EVALUATE)(grid)
app.add_typer(results_app, name="results", rich_help_panel=EVALUATE)
app.command(rich_help_panel=REFERENCE)(methods)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"grace {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that belong to no command."""
