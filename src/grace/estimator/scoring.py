"""Predictions of a table of any size: in memory, or read and written in parts of whole units."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grace.data.errors import DataError
from grace.data.input_flags import InputWarning
from grace.data.labels import health_class
from grace.data.memory import available_memory
from grace.data.table.notations import TableReader
from grace.data.table.parts import TableFiles, UnitParts
from grace.estimator.inputs import predict_rows, wanted_rows
from grace.estimator.prediction_files import prediction_writer
from grace.estimator.rul_model import RULModel
from grace.estimator.saved_model import STACK

__all__ = ["Progress", "StreamSummary", "predict_file", "score_parts", "score_table"]

Progress = Callable[[str, int, int], None]
"""Called with what is done ("reading", "predicting"), how many rows are done, and how many of how
many there are (0: not known yet)."""
_BUDGET = 512e6  # bytes of a part with all that is computed from it
_PER_CELL = 400.0  # bytes that a cell takes with its features
_FLAGS = ("rows_outside", "rows_unseen_condition")


@dataclass(frozen=True)
class StreamSummary:
    """What was predicted: rows written, units, units with unusual inputs (None with every row),
    parts, and files in which rows waited for the rest of their units."""

    rows: int
    units: int
    flagged: int | None
    parts: int
    spilled: int


def score_table(
    model: RULModel, table: Any, *, every_row: bool = False, coverage: float = 0.9
) -> pl.DataFrame:
    """Predictions with intervals, as ``predict`` and ``predict_interval`` give them, at once.

    Args:
        model: a fitted model.
        table: a fleet, or a table in the format of training.
        every_row: one prediction per row instead of per unit.
        coverage: of the intervals.

    Returns:
        ``unit``, ``time``, ``rul``, ``lower``, ``upper``, ``health``, and with one row per unit
        the flags of :meth:`RULModel.predict`.

    Raises:
        DataError: as :meth:`RULModel.predict`.
    """
    learned = model._learned
    fleet = model._fleet(table)
    frame = predict_rows(fleet, wanted_rows(fleet, every_row), learned)
    half = (1.0 - coverage) / 2.0
    limits = learned.distribution.predict(frame).quantiles([half, 1.0 - half])
    found = frame.select("unit", "time", rul=pl.col(STACK)).with_columns(
        lower=limits[:, 0],
        upper=limits[:, 1],
        health=health_class(frame[STACK].to_numpy(), learned.labels.health_thresholds),
    )
    if every_row:
        return found
    flags = learned.input_check.transform(fleet).flags
    assert flags is not None
    return pl.concat([found, flags.drop("unit")], how="horizontal")


def score_parts(
    model: RULModel,
    source: Any,
    folder: Path,
    *,
    every_row: bool = False,
    coverage: float = 0.9,
    chunk_rows: int | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[pl.DataFrame, int]]:
    """Predictions as :func:`score_table` makes them, part by part, and the files that were needed.

    Memory grows with ``chunk_rows``, the longest unit and the number of units, not with the rows.

    Args:
        model: fitted on a table.
        source: path, folder, pattern or list of paths.
        folder: for rows that wait for the rest of their unit.
        every_row: one prediction per row instead of per unit.
        coverage: of the intervals.
        chunk_rows: rows read and predicted at once; None chooses by memory. Results do not
            depend on it.
        root: folder of the whole table, of which ``source`` is one file.
        progress: called after every chunk and part.

    Raises:
        DataError: the table cannot be used.
    """
    learned = model._learned
    if learned.table_schema is None:
        raise DataError(
            "the model was fitted on a Fleet, so the roles of a table's columns are not known.",
            remedy="give a Fleet, e.g. grace.read_table(...).",
        )
    schema, trained = learned.table_schema, learned.fleet_schema
    table = TableFiles.open(source, schema, root=root)
    named = (*schema.settings, *(schema.sensors or ()), *trained.settings, *trained.sensors)
    channels = tuple(dict.fromkeys(c for c in named if c in table.columns))
    static = tuple(c for c in schema.static if c in table.columns)
    if chunk_rows is None:
        budget = min(_BUDGET, available_memory() / 4)
        chunk_rows = max(2_000, int(budget / (_PER_CELL * (2 + len(channels)))))
    reader = TableReader(table, schema, channels, static)
    for rows in reader.scan(chunk_rows):
        if progress:
            progress("reading", rows, 0)
    total, done = sum(reader.counts.values()), 0
    parts = UnitParts(
        reader.counts,
        rows=chunk_rows,
        unit=schema.unit,
        unit_type=reader.unit_type,
        hold=2 * chunk_rows,
        folder=folder,
    )
    for part in parts(reader.chunks(chunk_rows)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # the flags say it for every unit
            scored = score_table(model, part, every_row=every_row, coverage=coverage)
        done += part.height
        if progress:
            progress("predicting", done, total)
        yield scored.with_columns(pl.col("unit").cast(reader.unit_type)), parts.spilled


def predict_file(
    model: RULModel,
    source: Any,
    output: Path,
    *,
    every_row: bool = False,
    coverage: float = 0.9,
    chunk_rows: int | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> StreamSummary:
    """Predict a table that need not fit in memory into a file, which appears when it is complete.

    Rows of a unit need not be together: a table sorted by unit is read twice and never held; of
    another, rows wait in temporary files next to the output. Predictions are those of
    :meth:`RULModel.predict` bit for bit, in the same order; where a network takes part, up to
    float32 rounding.

    Args:
        model: fitted on a table.
        source: CSV, Parquet or Arrow file, a folder of them, a pattern or a list of paths.
        output: ``.csv``, ``.json`` or ``.parquet``.
        every_row: one prediction per row instead of per unit.
        coverage: of the intervals.
        chunk_rows: rows held at a time; None chooses by memory.
        root: folder of the whole table, of which ``source`` is one file.
        progress: called with what is being done, rows done, and rows in all.

    Raises:
        DataError: the table cannot be used; no file is written.
        ValueError: the suffix of ``output`` is unknown.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    rows = units = flagged = parts = spilled = 0
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.rows-") as folder,
        prediction_writer(output) as write,
    ):
        for frame, files in score_parts(
            model, source, Path(folder), every_row=every_row, coverage=coverage,
            chunk_rows=chunk_rows, root=root, progress=progress,
        ):  # fmt: skip
            write(frame)
            rows, parts, spilled = rows + frame.height, parts + 1, files
            units += frame["unit"].n_unique()
            if not every_row:
                flagged += count_flagged(frame)
    return StreamSummary(rows, units, None if every_row else flagged, parts, spilled)


def count_flagged(frame: pl.DataFrame) -> int:
    """Units whose inputs lie outside what training has seen."""
    outside = pl.any_horizontal(pl.col(c) > 0 for c in _FLAGS)
    unknown = pl.col("attributes_unknown").list.len() > 0
    return int(frame.select((outside | unknown).sum()).item())
