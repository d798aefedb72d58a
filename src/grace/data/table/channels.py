"""Settings and sensors of a table as numbers, with what was missing or unreadable counted."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import polars as pl

from grace.data.schema import RESERVED_UNIT_COLUMNS
from grace.data.table.cells import to_numbers
from grace.data.table.issue_log import IssueLog
from grace.data.table.sources import RawTable
from grace.data.table.table_schema import TableSchema
from grace.data.validation import EXTREME

__all__ = ["EXTREME", "SENTINELS", "read_channels"]

SENTINELS = (-999.0, -9999.0, 9999.0, 99999.0, 65535.0, 2147483647.0, 4294967295.0)
"""Numbers that recorders write in place of a missing value; reported, not removed."""


def read_channels(
    frame: pl.DataFrame, wanted: TableSchema, raw: RawTable, taken: Set[str], log: IssueLog
) -> tuple[pl.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Settings and sensors as Float64 with NaN where missing.

    Args:
        frame: rows of the table.
        wanted: roles; ``sensors=None`` takes every column without another role.
        raw: the table they come from.
        taken: columns with another role.
        log: receives what was changed.

    Returns:
        The channels, the names of the settings, and those of the sensors.
    """
    settings = wanted.settings
    free = [c for c in raw.columns if c not in taken and c not in settings]
    named = wanted.sensors is not None
    sensors, columns = [], {}
    for column in (*settings, *(wanted.sensors or free)):
        if column in RESERVED_UNIT_COLUMNS:
            _leave_out(column, named or column in settings, log)
            continue
        numbers = to_numbers(
            frame[column], decimal=wanted.decimal, decimal_comma_likely=raw.comma_likely
        )
        bad = int(numbers.bad.sum())
        if bad and numbers.share < 0.5:
            example = frame[column].filter(numbers.bad)[0]
            if named or column in settings:
                log.fatal(
                    f"column {column!r} holds text, for example {example!r}.",
                    f"list it under static or ignore: ignore=[{column!r}].",
                )
            else:
                log.note(
                    "text_column", f"column {column!r} holds text ({example!r}) and was left out.",
                    "list it under static if it describes the unit.", columns=[column],
                )  # fmt: skip
            continue
        columns[column] = _clean(column, numbers.values, frame, wanted, log)
        _report(column, frame[column], numbers.bad, bad, numbers.infinite, log)
        if numbers.ambiguous:
            log.note(
                "number_format", f"column {column!r}: commas were read with {numbers.style}.",
                "give decimal='.' or ','.", columns=[column],
            )  # fmt: skip
        if column not in settings:
            sensors.append(column)
    if not sensors:
        log.fatal("no column is left as a sensor.", "name the sensors: sensors=[...].")
    return pl.DataFrame(columns), settings, tuple(sensors)


def _leave_out(column: str, named: bool, log: IssueLog) -> None:
    """A column whose name says that it is the unit or its fate is no input."""
    problem = f"column {column!r} has the name of the unit or its fate"
    remedy = "rename the column if it is measured."
    if named:
        log.fatal(f"{problem} and cannot be a setting or sensor.", remedy)
    else:
        log.note("fate_column", f"{problem} and was left out.", remedy, columns=[column])


def _clean(
    column: str, values: pl.Series, frame: pl.DataFrame, wanted: TableSchema, log: IssueLog
) -> pl.Series:
    if wanted.missing_values:
        marked = values.is_in(list(wanted.missing_values)).fill_null(value=False)
        if marked.any():
            values = values.set(marked, None)
            log.note(
                "missing_marker", f"column {column!r}: {int(marked.sum())} values were given as "
                "missing.", "nothing to do.", severity="note", columns=[column],
                count=int(marked.sum()),
            )  # fmt: skip
    array = values.cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
    extreme = np.abs(array) >= EXTREME
    if extreme.any():
        row = int(np.flatnonzero(extreme)[0])
        log.note(
            "extreme", f"column {column!r}: {int(extreme.sum())} values of {EXTREME:g} or more "
            f"were taken as missing; first: {array[row]:g} of unit {frame[wanted.unit][row]} at "
            f"{wanted.time} {frame[wanted.time][row]}.", "check the recorder.",
            units=frame[wanted.unit].filter(pl.Series(extreme)).unique(maintain_order=True),
            columns=[column], count=int(extreme.sum()),
        )  # fmt: skip
        array[extreme] = np.nan
    for sentinel in SENTINELS:
        hits = int((array == sentinel).sum())
        known = array[np.isfinite(array) & (array != sentinel)]
        if hits > 1 and known.size and not known.min() <= sentinel <= known.max():
            log.note(
                "sentinel", f"column {column!r}: {hits} values of {sentinel:g} lie outside all "
                "others and may stand for missing ones.",
                f"if so: missing_values=[{sentinel:g}].", columns=[column], count=hits,
            )  # fmt: skip
    missing = int(np.isnan(array).sum())
    if missing:
        log.note(
            "missing", f"column {column!r}: {missing} of {array.size} values are missing.",
            "they are filled from the unit's past, else with the training median.",
            columns=[column], count=missing,
        )  # fmt: skip
    return pl.Series(column, array)


def _report(
    column: str, given: pl.Series, bad: pl.Series, count: int, infinite: int, log: IssueLog
) -> None:
    if count:
        log.note(
            "unreadable", f"column {column!r}: {count} cells are no numbers, for example "
            f"{given.filter(bad)[0]!r}, and were taken as missing.", "correct them.",
            columns=[column], count=count,
        )  # fmt: skip
    if infinite:
        log.note(
            "infinite", f"column {column!r}: {infinite} infinite values were taken as missing.",
            "check the recorder.", columns=[column], count=infinite,
        )  # fmt: skip
