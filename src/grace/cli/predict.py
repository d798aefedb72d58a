"""``grace predict``: predictions of a trained model for the units of a dataset or a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from grace.cli.shared import DataRoot, out, plain_errors, say

if TYPE_CHECKING:
    import polars as pl

    from grace.data import Fleet
    from grace.prediction import Predictor

_SHOWN = 20  # rows printed when no file is asked for


class Part(str, Enum):
    """The part of a dataset to predict."""

    test = "test"
    train = "train"


def predict(
    source: Annotated[
        str,
        typer.Argument(help="Folder of a run; with --model, a table of the units in service."),
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a model trained with --data.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="A name of `grace data list`.", show_default="the dataset of the run"),
    ] = None,
    part: Annotated[Part, typer.Option(help="Units to predict.")] = Part.test,
    every_row: Annotated[
        bool, typer.Option("--every-row", help="Predict at every row, not only at the last.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write: .csv, .json or .parquet. Without it, a table is printed.",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Predict remaining useful life and health class of each unit.

    The remaining useful life (column rul) is in the unit of time of the data.

    \b
    Examples:
      grace predict runs/first
      grace predict runs/first --out predictions.csv
      grace predict runs/first --every-row --out history.parquet
      grace predict today.csv --model runs/pumps --out predictions.parquet
    """
    with plain_errors():
        write = _writer(output)
        if model is not None:
            from grace.cli.table import predict_table

            table, time_unit = predict_table(source, model, every_row=every_row)
            _finish(table, time_unit, output, write)
            return
        folder = Path(source)
        from grace.prediction import Predictor

        predictor = Predictor.load(folder)
        fleet = _named_fleet(predictor, dataset, part, data_root)
        table = predictor.predict(fleet, every_row=every_row)
        _finish(table, fleet.schema.time_unit, output, write)


def _finish(
    table: pl.DataFrame,
    time_unit: str,
    output: Path | None,
    write: Callable[[pl.DataFrame], bytes] | None,
) -> None:
    """Print the predictions, or write them."""
    if output is None or write is None:
        _show(table, time_unit)
        return
    from grace.files import write_bytes

    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, write(table))
    say(f"{table.height} rows: {output}")


def _named_fleet(
    predictor: Predictor, dataset: str | None, part: Part, data_root: Path | None
) -> Fleet:
    """The units to predict, from a dataset that grace knows by name."""
    from grace.data.readers import load_dataset
    from grace.experiments.training_data import load_stored_data

    if dataset is None:
        folder = Path(predictor.source).parent
        data = load_stored_data(predictor.artifact.config, folder, data_root)
    else:
        data = load_dataset(dataset, root=data_root)
    return data.test if part is Part.test else data.train


def _csv(table: pl.DataFrame) -> bytes:
    """Lists (of channels) become one cell, separated by semicolons."""
    import polars as pl

    flat = table.with_columns(
        pl.col(name).list.join("; ")
        for name, kind in table.schema.items()
        if isinstance(kind, pl.List)
    )
    return flat.write_csv().encode()


def _json(table: pl.DataFrame) -> bytes:
    """A list of objects; JSON has no NaN, so null is written."""
    rows = table.fill_nan(None).to_dicts()
    return (json.dumps(rows, indent=1, allow_nan=False, default=str) + "\n").encode()


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
}


def _writer(output: Path | None) -> Callable[[pl.DataFrame], bytes] | None:
    """The writer for the suffix of ``output``, checked before anything is computed."""
    if output is None:
        return None
    if output.suffix.lower() not in _WRITERS:
        raise typer.BadParameter(
            f"{output}: unknown file type. Use a name that ends in {', '.join(_WRITERS)}.",
            param_hint="--out",
        )
    return _WRITERS[output.suffix.lower()]


def _show(predicted: pl.DataFrame, time_unit: str) -> None:
    """Print the units in order of remaining useful life, shortest first."""
    from grace.formatting import number, percent

    first = predicted.sort("rul").head(_SHOWN)
    with_interval = "lower" in first.columns
    last = "90% interval" if with_interval else "probability"
    table = Table("unit", "time", f"RUL ({escape(time_unit)})", "health class", last)
    for row in first.iter_rows(named=True):
        health = row["health"]
        detail = (
            f"{number(row['lower'])} to {number(row['upper'])}"
            if with_interval
            else percent(row[f"p_health_{health}"])
        )
        table.add_row(
            escape(str(row["unit"])), f"{row['time']:g}", number(row["rul"]), str(health), detail
        )
    out.print(table)
    if predicted.height > first.height:
        say(
            f"The {first.height} shortest of {predicted.height} predictions. "
            "--out FILE writes all of them."
        )
