"""``grace evaluate`` and ``grace report``: evaluate and describe a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grace.cli.shared import DataRoot, RunFolder, out, plain_errors, say, stop


def evaluate(folder: RunFolder, data_root: DataRoot = None) -> None:
    """Evaluate a saved model on the test set again.

    The results must equal those stored at training time. If they differ, the exit code is 1.

    \b
    Example:
      grace evaluate runs/first
    """
    with plain_errors():
        from grace.experiments import evaluate_run
        from grace.experiments.stacked_run import evaluate_stacked_run, is_stacked_run
        from grace.report.console import render_evaluation

        evaluate_again = evaluate_stacked_run if is_stacked_run(folder) else evaluate_run
        evaluation, differing = evaluate_again(folder, data_root=data_root)
        out.print(render_evaluation(evaluation))
        if differing:
            say(f"These results differ from those stored in the run: {', '.join(differing[:5])}")
            raise typer.Exit(1)
        out.print("[green]The results equal those stored in the run.[/green]")


def report(
    folder: RunFolder,
    output: Annotated[
        Path | None, typer.Option("--out", help="HTML file.", show_default="<folder>/report.html")
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(help="Unit to plot over time. May be repeated.", show_default=False),
    ] = None,
) -> None:
    """Write the report of a run as one HTML file.

    \b
    Examples:
      grace report runs/first
      grace report runs/first --unit 31 --unit 76 --out two-units.html
    """
    with plain_errors():
        from grace.experiments.stacked_run import is_stacked_run
        from grace.report import write_report

        if is_stacked_run(folder):
            from grace.cli.stacked import report_stacked

            if unit:
                stop("--unit has no effect for a run of a stacked preset")
            say(str(report_stacked(folder, output)))
            return
        say(str(write_report(folder, output, units=unit or None)))
