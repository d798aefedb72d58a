"""Predictions of a partitioned table, behind `grace predict --engine`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from grace.cli.shared import PlainConsole, out, say
from grace.experiments.partitions import PartitionEvent
from grace.experiments.partitions import predict_partitions as run_partitions

__all__ = ["predict_partitions"]


def predict_partitions(
    source: Path,
    model: Path,
    output: Path,
    *,
    engine: str,
    every_row: bool,
    chunk_rows: int | None,
    threads: int,
) -> None:
    """Predict file by file, show what happens, and exit with code 1 if a file failed."""
    if output.suffix not in ("", ".parquet"):
        raise typer.BadParameter(
            f"{output}: with --engine, give a folder or a name that ends in .parquet.",
            param_hint="--out",
        )
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        bar = progress.add_task("", total=None)

        def show(event: PartitionEvent) -> None:
            if event.kind in ("again", "failed"):
                PlainConsole(stderr=True).print(
                    f"[bold red]{event.kind}:[/bold red] {escape(f'{event.name}: {event.text}')}",
                    soft_wrap=True,
                )
            if event.kind != "again":
                progress.advance(bar)

        ended = run_partitions(
            model, source, output, engine=engine, every_row=every_row, chunk_rows=chunk_rows,
            threads=threads, on_event=show,
        )  # fmt: skip
    count = {kind: sum(e.kind == kind for e in ended) for kind in ("already finished", "failed")}
    say(
        f"{sum(e.rows for e in ended)} rows of {len(ended)} files: {output} "
        f"({count['already finished']} already finished, {count['failed']} failed)"
    )
    if count["failed"]:
        say("The same command predicts the failed files again, and no other.")
        raise typer.Exit(1)
