"""``grace predict``: predictions of a trained model for the units of a dataset or a table."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from grace.cli.shared import DataRoot, out, plain_errors, say

if TYPE_CHECKING:
    import polars as pl

    from grace.data import Fleet
    from grace.training import RunConfig

_SHOWN = 20  # rows printed when no file is asked for


class Part(str, Enum):
    """The part of a dataset to predict."""

    test = "test"
    train = "train"


class Engine(str, Enum):
    """Where the files of a table are predicted."""

    local = "local"
    ray = "ray"


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
    chunk_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --model: rows of the table held at a time. Results do not depend on it.",
            show_default="by memory",
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(
            help="With --model and a folder of Parquet files, each with whole units: predict file "
            "by file here, or on a Ray cluster. Files that are done are not repeated.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="With --engine: threads of each file.")
    ] = 1,
    data_root: DataRoot = None,
) -> None:
    """Predict remaining useful life and health class of each unit.

    The remaining useful life (column rul) is in the unit of time of the data. Tables larger than
    memory are read in parts. With --engine, --out is a folder, which gets one file for each file
    of the table, or a .parquet file that joins them.

    \b
    Examples:
      grace predict runs/first
      grace predict runs/first --out predictions.csv
      grace predict runs/first --every-row --out history.parquet
      grace predict today.csv --model runs/pumps --out predictions.parquet
      grace predict fleet/ --model runs/pumps --engine ray --out predictions/
    """
    with plain_errors():
        if engine is not None:
            from grace.cli.partitions import predict_partitions

            if model is None or output is None:
                raise typer.BadParameter("needs --model and --out", param_hint="--engine")
            predict_partitions(
                Path(source), model, output, engine=engine.value, every_row=every_row,
                chunk_rows=chunk_rows, threads=threads,
            )  # fmt: skip
            return
        _check_suffix(output)
        if model is not None:
            from grace.cli.table import predict_table

            first, count, time_unit = predict_table(
                source, model, output, every_row=every_row, chunk_rows=chunk_rows, shown=_SHOWN
            )
            _finish(first, count, time_unit, output)
            return
        folder = Path(source)
        from grace.experiments.stacked_run import is_stacked_run, load_stacked_run
        from grace.prediction import Predictor

        if is_stacked_run(folder):
            from grace.estimator.scoring import score_table

            loaded, config = load_stacked_run(folder)
            fleet = _named_fleet(config, folder, dataset, part, data_root)
            table = score_table(loaded, fleet, every_row=every_row)
        else:
            predictor = Predictor.load(folder)
            config = predictor.artifact.config
            fleet = _named_fleet(config, folder, dataset, part, data_root)
            table = predictor.predict(fleet, every_row=every_row)
        if output is not None:
            from grace.estimator.prediction_files import prediction_writer

            output.parent.mkdir(parents=True, exist_ok=True)
            with prediction_writer(output) as write:
                write(table)
        _finish(table, table.height, fleet.schema.time_unit, output)


def _finish(table: pl.DataFrame, count: int, time_unit: str, output: Path | None) -> None:
    """Print the shortest of ``count`` predictions, or say where they were written."""
    if output is None:
        _show(table, count, time_unit)
    else:
        say(f"{count} rows: {output}")


def _named_fleet(
    config: RunConfig, folder: Path, dataset: str | None, part: Part, data_root: Path | None
) -> Fleet:
    """The units to predict, from a dataset that grace knows by name."""
    from grace.data.readers import load_dataset
    from grace.experiments.training_data import load_stored_data

    if dataset is None:
        data = load_stored_data(config, folder, data_root)
    else:
        data = load_dataset(dataset, root=data_root)
    return data.test if part is Part.test else data.train


def _check_suffix(output: Path | None) -> None:
    """Refuse an unknown suffix before anything is computed."""
    from grace.estimator.prediction_files import SUFFIXES

    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(
            f"{output}: unknown file type. Use a name that ends in {', '.join(SUFFIXES)}.",
            param_hint="--out",
        )


def _show(predicted: pl.DataFrame, count: int, time_unit: str) -> None:
    """Print the units in order of remaining useful life, shortest first."""
    from grace.formatting import number, percent

    first = predicted.sort("rul", maintain_order=True).head(_SHOWN)
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
    if count > first.height:
        say(f"The {first.height} shortest of {count} predictions. --out FILE writes all of them.")
