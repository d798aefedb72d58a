"""Training and prediction from tables, behind `grace train --data` and `grace predict --model`."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from grace.cli.shared import out, say, stop

__all__ = ["least", "predict_table", "progress_bar", "train_table"]

_IN_MEMORY = 32 << 20  # bytes of files that are read at once


def train_table(
    data: str,
    schema: Path | None,
    folder: Path | None,
    *,
    force: bool,
    report: bool,
    **params: Any,
) -> None:
    """Fit a model on a table and save it with its page; ``params`` are those of ``RULModel``.

    Raises:
        DataError: the table or the schema cannot be used.
        ArtifactError: the folder holds something else.
    """
    from grace.data.issues import DataWarning
    from grace.estimator import RULModel

    if schema is None:
        stop(
            f"--data {data}: the roles of its columns are not known. Remedy: `grace data describe "
            f"{data} --suggest` proposes a schema; check it and give it by --schema"
        )
    target = folder or Path("runs") / Path(data).stem
    if target.exists() and any(target.iterdir()) and not force:
        stop(
            f"{target}: holds files already. Remedy: give another folder by --out, or --force to "
            "replace a model"
        )
    kept = target.with_name(f".{target.name}.fit")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("reading the table")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # the summary below lists the same
            model = RULModel(**params).fit(
                data,
                schema=schema,
                store=kept,
                progress=lambda name, fold: progress.update(
                    task, description=f"candidate {name}, fold {fold + 1}"
                ),
            )
        model.save(target)
    shutil.rmtree(kept, ignore_errors=True)
    out.print(model.summary(), highlight=False, markup=False)
    say(f"model:  {target}")
    if report:
        from grace.files import write_text
        from grace.report.model_page import model_page

        page = target / "report.html"
        write_text(page, model_page(model, name=target.name))
        say(f"report: {page}")


def predict_table(
    source: str,
    model: Path,
    output: Path | None,
    *,
    every_row: bool,
    chunk_rows: int | None,
    shown: int,
) -> tuple[pl.DataFrame, int, str]:
    """Predict the units of a table with a 90% interval, and write them to ``output``.

    A table of more than 32 MB, and any with ``chunk_rows``, is read in parts.

    Returns:
        The ``shown`` predictions of least RUL, the number of all, and the unit of time.
    """
    from grace.data.table.issue_log import IssueLog
    from grace.data.table.sources import find_files
    from grace.estimator import RULModel
    from grace.estimator.prediction_files import prediction_writer
    from grace.estimator.scoring import predict_file, score_parts, score_table

    loaded = RULModel.load(model)
    size = sum(f.stat().st_size for f in find_files(source, IssueLog(source)))
    time_unit = loaded.fleet_schema_.time_unit
    if chunk_rows is None and size <= _IN_MEMORY:
        table = score_table(loaded, source, every_row=every_row)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            with prediction_writer(output) as write:
                write(table)
        return least(table, shown), table.height, time_unit
    with progress_bar() as report:
        if output is not None:
            done = predict_file(
                loaded, source, output, every_row=every_row, chunk_rows=chunk_rows, progress=report
            )
            if done.flagged:
                say(
                    f"{done.flagged} of {done.units} units have inputs outside what training has "
                    "seen; the columns rows_outside, rows_unseen_condition and attributes_unknown "
                    "say which"
                )
            return pl.DataFrame(), done.rows, time_unit
        kept, count = list[pl.DataFrame](), 0
        with tempfile.TemporaryDirectory(prefix="grace-") as folder:
            parts = score_parts(
                loaded, source, Path(folder), every_row=every_row, chunk_rows=chunk_rows,
                progress=report,
            )  # fmt: skip
            for frame, _ in parts:
                kept = [least(pl.concat([*kept, frame]), shown)]
                count += frame.height
        return kept[0], count, time_unit


def least(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """The rows of least RUL, shortest first."""
    return table.sort("rul", maintain_order=True).head(count)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that shows what is done, and with how many rows."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        yield report
