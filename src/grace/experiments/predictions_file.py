"""``predictions.parquet`` and ``validation_predictions.parquet``: their writer and their reader."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import polars as pl

from grace.files import write_bytes
from grace.prediction.artifact import ArtifactError

__all__ = ["read_predictions", "write_predictions"]

# What every reader needs. Except unit and health, all columns are numbers.
_FLOATS = ("time", "rul", "rul_true", "rul_true_capped")
_FINITE = ("time", "rul")  # the truth is NaN where it is unknown
_MAX_CLASSES = 1000
_LARGEST = 1e15  # times and RULs of data stay far below; larger ones overflow in figures


def write_predictions(path: Path, frame: pl.DataFrame) -> None:
    """Write predictions atomically and durably.

    Raises:
        OSError: the file cannot be written; it is named.
    """
    buffer = BytesIO()  # an error of the disk must come from our own write, which names the file
    frame.write_parquet(buffer)
    write_bytes(path, buffer.getvalue())


def read_predictions(path: Path) -> pl.DataFrame:
    """Read and check predictions with their true values.

    The path is taken literally: ``*`` and ``[`` in it are no patterns.

    Returns:
        The rows of each unit together and in order of time, with ``unit``, ``time``, ``rul``,
        ``rul_true``, ``rul_true_capped`` and what else the run wrote. ``time`` and ``rul`` are
        finite.

    Raises:
        ArtifactError: the file is missing, is not Parquet, lacks a column, or holds values that no
            run writes; file, column and unit are named.
    """
    try:
        frame = pl.read_parquet(BytesIO(path.read_bytes()))
    except FileNotFoundError:
        raise _unusable(path, "no such file") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as error:
        raise _unusable(path, f"cannot be read ({_first_line(error)})") from error
    missing = [name for name in ("unit", *_FLOATS) if name not in frame.columns]
    if missing:
        raise _unusable(path, f"lacks the column {', '.join(missing)}")
    if frame.is_empty():
        raise _unusable(path, "holds no prediction")
    kind = frame.schema["unit"]
    if not (kind.is_integer() or kind == pl.String) or frame.get_column("unit").null_count():
        raise _unusable(path, f"column unit: {kind} with nulls or of a type that is no unit name")
    for name in frame.columns:
        if name not in ("unit", "health"):
            _check_numbers(path, frame, name)
    if "health" in frame.columns:
        _check_health(path, frame.get_column("health"))
    starts = frame.select(pl.col("unit").rle_id().max() + 1).item()
    if starts != frame.get_column("unit").n_unique():
        raise _unusable(path, "column unit: the rows of a unit are not together")
    late = frame.filter((pl.col("time").diff() <= 0).over("unit").fill_null(False))
    if late.height:
        unit = late.get_column("unit")[0]
        raise _unusable(path, f"column time, unit {unit}: times do not increase")
    return frame


def _check_numbers(path: Path, frame: pl.DataFrame, name: str) -> None:
    column = frame.get_column(name)
    if not column.dtype.is_numeric():
        raise _unusable(path, f"column {name}: {column.dtype} instead of numbers")
    wrong = column.is_null()
    if name in _FINITE and column.dtype.is_float():
        wrong |= ~column.is_finite()
    if column.dtype.is_float():
        wrong |= ~column.is_nan() & (column.abs() > _LARGEST)
    if wrong.any():
        unit = frame.get_column("unit").filter(wrong)[0]
        value = column.filter(wrong)[0]
        raise _unusable(path, f"column {name}, unit {unit}: the value is {value}")


def _check_health(path: Path, column: pl.Series) -> None:
    integers = column.dtype.is_integer() and not column.null_count()
    if not integers or not column.cast(pl.Float64).is_between(0, _MAX_CLASSES).all():
        raise _unusable(path, "column health: holds values that are no class index")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _unusable(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path}: {why}. Remedy: run `grace train --force` for this folder again.")
