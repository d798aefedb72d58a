"""What is known of each unit, from the rows or a table of units: ids, fates, static attributes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.table.cells import clean_text, to_numbers
from grace.data.table.fate import FateSpec, flag_values
from grace.data.table.issue_log import IssueLog, listed
from grace.data.table.sources import RawTable
from grace.data.table.table_schema import TableSchema
from grace.data.table.timeline import Timeline, read_times

__all__ = ["fate_of_rows", "fate_of_units", "static_attributes", "unit_ids"]

Index = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


def unit_ids(column: pl.Series) -> tuple[pl.Series, Index]:
    """Identifiers in order of first appearance, numbers where all are whole, and row indices."""
    ids = column
    if column.dtype == pl.String or not column.dtype.is_integer():
        text = clean_text(column).fill_null("")
        whole = text.str.contains(r"^(0|[1-9]\d{0,17})(\.0+)?$").all()
        ids = text.str.replace(r"\.0+$", "").cast(pl.Int64) if whole else text
    distinct = ids.unique(maintain_order=True)
    number = {value: i for i, value in enumerate(distinct.to_list())}
    codes = np.fromiter((number[v] for v in ids.to_list()), dtype=np.int64, count=len(ids))
    return distinct.alias("unit"), codes


def fate_of_rows(
    spec: FateSpec, units: RawTable | None, frame: pl.DataFrame, first: Array, unit: Index,
    time: Timeline, wanted: TableSchema, log: IssueLog,
) -> Array | None:  # fmt: skip
    """Fate of each row, from a column of the rows; None if it is not there."""
    if units is not None or not spec.column:
        return None
    if spec.column not in frame.columns:
        raise log.error(f"there is no column {spec.column!r}.", f"found {listed(frame.columns)}.")
    kind = "rul_at_end" if spec.kind == "threshold" else spec.kind
    ids = frame[wanted.unit].cast(pl.String)
    return _as_fate(frame[spec.column], kind, ids, first, unit, time, wanted, "the rows", log)


def fate_of_units(
    spec: FateSpec, units: RawTable | None, ids: pl.Series, first: Array, time: Timeline,
    wanted: TableSchema, log: IssueLog,
) -> Array | None:  # fmt: skip
    """Fate of each unit, from the table of units; None without one."""
    if units is None:
        return None
    at = _rows_of_units(units, spec.unit_column, ids, log)
    chosen = units.frame[spec.column].gather(np.where(at < 0, 0, at))
    values = _as_fate(
        chosen, spec.kind, ids.cast(pl.String), first, np.arange(len(ids)), time, wanted,
        "the table of units", log,
    )  # fmt: skip
    missing = 0.0 if spec.kind == "failed" else np.nan
    return np.where(at < 0, missing, values)


def static_attributes(
    wanted: TableSchema, frame: pl.DataFrame, unit: Index, units: RawTable | None, spec: FateSpec,
    ids: pl.Series,
) -> dict[str, pl.Series]:  # fmt: skip
    """Static attributes per unit: Float64 where all values are numbers, else text."""
    found = {}
    for column in wanted.static:
        if units is not None and column in units.columns:
            at = _rows_of_units(units, spec.unit_column, ids, IssueLog("units"))
            values = units.frame[column].gather(np.where(at < 0, 0, at))
            values = values.to_frame().select(pl.when(pl.Series(at >= 0)).then(pl.col(column)))[
                column
            ]
        else:
            held = frame.select(pl.col(column)).with_columns(__unit=pl.Series(unit))
            first = held.drop_nulls().group_by("__unit").agg(pl.col(column).first())
            values = (
                pl.DataFrame({"__unit": np.arange(len(ids), dtype=np.int64)})
                .join(first, on="__unit", how="left", maintain_order="left")
                .get_column(column)
            )
        numbers = to_numbers(values)
        text = numbers.bad.any() or values.dtype in (pl.Categorical, pl.Enum)
        found[column] = clean_text(values) if text else numbers.values
    return found


def _as_fate(
    column: pl.Series, kind: str, ids: pl.Series, first: Array, at: Index, time: Timeline,
    wanted: TableSchema, where: str, log: IssueLog,
) -> Array:  # fmt: skip
    """A fate column as numbers: flag, failure time on the scale of the rows, or life left."""
    if kind == "failed":
        return flag_values(column, where, log).astype(np.float64)
    if kind == "failure_time":
        if column.null_count() == len(column):
            return np.full(len(column), np.nan)
        line = read_times(
            column, ids, wanted.time_unit, log, timezone=wanted.timezone,
            time_format=wanted.time_format, decimal=wanted.decimal,
        )  # fmt: skip
        if line.timestamps != time.timestamps:
            raise log.error(
                f"failure times {column.name!r} and times {wanted.time!r} are not of one kind: one "
                "holds timestamps, the other numbers.",
                "use the same kind in both.",
            )
        values = line.values.fill_null(np.nan).to_numpy()
        return (values - first[at]) / line.scale if line.timestamps else values
    numbers = to_numbers(column, decimal=wanted.decimal)
    if numbers.bad.any():
        row = int(numbers.bad.arg_true()[0])
        raise log.error(
            f"{where}: {column.name!r} holds {column[row]!r}, which is no number.", "correct it."
        )
    return numbers.values.fill_null(np.nan).to_numpy()


def _rows_of_units(units: RawTable, column: str, ids: pl.Series, log: IssueLog) -> Index:
    """Row of each unit in the table of units; −1 for those that are not in it."""
    listed_ids, codes = unit_ids(units.frame[column])
    if len(listed_ids) < len(codes):
        repeated = [listed_ids[int(i)] for i in np.flatnonzero(np.bincount(codes) > 1)]
        raise log.error(
            f"the table of units names {listed(repeated)} more than once.", "keep one row each."
        )
    row = {str(u): i for i, u in enumerate(listed_ids.to_list())}
    at = np.array([row.get(str(u), -1) for u in ids.to_list()], dtype=np.int64)
    absent = [u for u, i in zip(ids.to_list(), at, strict=True) if i < 0]
    if len(absent) == len(ids):
        raise log.error(
            f"no unit of the histories ({listed(ids.to_list())}) is in the table of units "
            f"({listed(listed_ids.to_list())}).",
            "check that both use the same identifiers.",
        )
    if absent:
        log.note(
            "unit_without_fate", f"{len(absent)} units are not in the table of units and count as "
            f"still running: {listed(absent)}.", "add their rows.", units=absent,
        )  # fmt: skip
    return at
