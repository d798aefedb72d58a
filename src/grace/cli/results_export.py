"""`grace results export`: scores and summaries as files for other programs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grace.cli.results_filters import (
    Datasets,
    Methods,
    Presets,
    Protocol,
    Seeds,
    Store,
    open_store,
    select,
)
from grace.cli.shared import plain_errors, say, stop

if TYPE_CHECKING:
    import polars as pl

__all__ = ["export"]


class Format(str, Enum):
    """File formats of an exported table."""

    csv = "csv"
    parquet = "parquet"
    markdown = "markdown"
    latex = "latex"


_SUFFIXES = {
    ".csv": Format.csv, ".parquet": Format.parquet, ".md": Format.markdown,
    ".markdown": Format.markdown, ".tex": Format.latex, ".latex": Format.latex,
}  # fmt: skip


def export(
    store: Store,
    output: Annotated[
        Path,
        typer.Option(
            "--out", help="File .csv, .parquet, .md or .tex; without a suffix, a new folder."
        ),
    ],
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"Format of the file: {', '.join(f.value for f in Format)}.",
            show_default="by the suffix of --out",
        ),
    ] = None,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary",
            help="One row per dataset, method and protocol: mean ± standard deviation over seeds "
            "and the number of seeds.",
        ),
    ] = False,
    protocol: Protocol = "both",
    dataset: Datasets = None,
    method: Methods = None,
    preset: Presets = None,
    seed: Seeds = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that exist already.")
    ] = False,
) -> None:
    """Write results to files that other programs read.

    A file gets one table: CSV and Parquet have all columns, Markdown and LaTeX (package booktabs)
    the main ones. A folder gets scores, predictions at the last row and task weights, which every
    command here reads.

    \b
    Examples:
      grace results export runs/grid --out scores.csv
      grace results export runs/grid --summary --out table.tex
      grace results export runs/grid --dataset FD001 --out results
    """
    with plain_errors():
        form = format_ or _by_suffix(output)
        if summary and form is None:
            stop("--summary gives one table. Remedy: give a file, e.g. --out summary.csv.")
        _check_target(output, is_folder=form is None, force=force)
        with open_store(store) as opened:
            table, _ = select(
                opened, store, protocol=protocol, dataset=dataset, method=method, preset=preset,
                seed=seed,
            )  # fmt: skip
            if form is None:
                with opened.subset(table) as part:
                    for path in part.export(output):
                        say(str(path))
                return
            from grace.files import write_bytes

            write_bytes(output, _encoded(table.drop("folder"), form, summary=summary))
            say(
                f"{output}: needs \\usepackage{{booktabs}}" if form is Format.latex else str(output)
            )


def _by_suffix(output: Path) -> Format | None:
    """Format of a file, None for a folder; ends the command for other suffixes."""
    if output.is_dir() or not output.suffix:
        return None
    form = _SUFFIXES.get(output.suffix.lower())
    if form is None:
        stop(
            f"--out {output}: unknown file type {output.suffix}. Remedy: use a name that ends in "
            f"{', '.join(_SUFFIXES)}, or give --format; the name of a new folder has no suffix."
        )
    return form


def _check_target(output: Path, *, is_folder: bool, force: bool) -> None:
    """End the command where the results cannot be written or would replace other files."""
    if not output.parent.is_dir():
        stop(
            f"--out {output}: the folder {output.parent} does not exist. Remedy: create it, or "
            "give another path."
        )
    if output.is_dir() and not is_folder:
        stop(f"--out {output}: is a folder. Remedy: give a file in it, or leave out --format.")
    if is_folder and output.exists() and not output.is_dir():
        stop(
            f"--out {output}: is a file, and without a suffix the results go into a folder. "
            "Remedy: give another name, or --format."
        )
    used = any(output.iterdir()) if output.is_dir() else output.exists()
    if used and not force:
        what = "the folder is not empty" if is_folder else "exists already"
        stop(
            f"--out {output}: {what}. Remedy: give another name, or --force to replace its content."
        )


def _encoded(table: pl.DataFrame, form: Format, *, summary: bool) -> bytes:
    import io

    from grace.report import run_tables

    if summary:
        table = run_tables.summary(table)
    buffer = io.BytesIO()
    if form is Format.csv:
        table.write_csv(buffer)
    elif form is Format.parquet:
        table.write_parquet(buffer)
    else:
        text = run_tables.document_table(table, latex=form is Format.latex)
        buffer.write(f"{text}\n".encode())
    return buffer.getvalue()
