"""``grace evaluate`` and ``grace report``: judge and describe a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grace.cli.shared import DataRoot, RunFolder, out, plain_errors, say


def evaluate(folder: RunFolder, data_root: DataRoot = None) -> None:
    """Predict the test set anew with a saved model and judge it.

    The figures must equal those stored when the model was trained; if they do not, this says so
    and exits with code 1.

    \b
    Example:
      grace evaluate runs/FD001-grace-fast-seed42
    """
    with plain_errors():
        from grace.experiments import evaluate_run
        from grace.report.console import render_evaluation

        evaluation, differing = evaluate_run(folder, data_root=data_root)
        out.print(render_evaluation(evaluation))
        if differing:
            say(f"These figures differ from those stored in the run: {', '.join(differing[:5])}")
            raise typer.Exit(1)
        out.print("[green]The figures equal those stored in the run.[/green]")


def report(
    folder: RunFolder,
    output: Annotated[
        Path | None, typer.Option("--out", help="HTML file.", show_default="<folder>/report.html")
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(help="Unit to draw over time; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Write the report of a run: one HTML file that needs no network to be read.

    \b
    Examples:
      grace report runs/FD001-grace-fast-seed42
      grace report runs/FD001-grace-fast-seed42 --unit 31 --unit 76 --out engines.html
    """
    with plain_errors():
        from grace.report import write_report

        say(str(write_report(folder, output, units=unit or None)))
