"""Training and prediction from tables, behind `grace train --data` and `grace predict --model`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from grace.cli.shared import out, say, stop

__all__ = ["predict_table", "train_table"]


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


def predict_table(table: str, model: Path, *, every_row: bool):  # type: ignore[no-untyped-def]
    """Predictions with a 90% interval for the units of a table, and the unit of time."""
    from grace.estimator import RULModel

    loaded = RULModel.load(model)
    frame = loaded.predict(table, every_row=every_row)
    limits = loaded.predict_interval(table, 0.9, every_row=every_row)
    found = frame.with_columns(lower=limits["lower"], upper=limits["upper"])
    first = ["unit", "time", "rul", "lower", "upper", "health"]
    return found.select(*first, *(c for c in found.columns if c not in first)), (
        loaded.fleet_schema_.time_unit
    )
