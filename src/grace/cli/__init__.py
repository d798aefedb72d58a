"""The command ``grace``: parses, calls, prints. Everything it does can be done from Python."""

from __future__ import annotations

from typing import Annotated

import typer

from grace._version import __version__
from grace.cli.data import data_app
from grace.cli.grid import grid
from grace.cli.methods import methods
from grace.cli.run_folder import evaluate, report
from grace.cli.shared import out
from grace.cli.train import train

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Remaining useful life and health state of machines from sensor histories.\n\n"
        "Start with [bold]grace train[/bold] (trains on a built-in simulated fleet), then "
        "[bold]grace report[/bold] on the folder it prints."
    ),
)
for command in (train, grid, evaluate, report, methods):
    app.command()(command)
app.add_typer(data_app, name="data")


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
    """Parse what belongs to no command."""
