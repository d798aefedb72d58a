"""Checks of what is known per unit: the remaining life at its end, and its static attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from grace.data.errors import DataError
from grace.data.schema import FleetSchema
from grace.data.validation import EXTREME, EXTREME_TIME, TEXT_TYPES

__all__ = ["check_static", "check_units"]


def check_units(
    units: pl.DataFrame, order: pl.Series, *, named: Sequence[Any] | None = None, source: object
) -> None:
    """Check the table of units against the units that have rows.

    Args:
        units: table with the columns ``unit`` and ``rul_at_end``.
        order: the units that have rows, each once.
        named: the units whose fate the user gave, if that is not ``units["unit"]``.
        source: file, folder or name for messages.

    Raises:
        DataError: a column is missing, a unit is named twice, has no rows, is missing from the
            table, or its life left is negative or not a finite number.
    """
    for column in ("unit", "rul_at_end"):
        if column not in units.columns:
            problem = f"the table of units has no column {column!r}."
            remedy = "give it the columns 'unit' and 'rul_at_end' (empty: not known)."
            raise DataError(problem, source=source, remedy=remedy)
    table, present = units.get_column("unit").to_list(), order.to_list()
    named = table if named is None else named
    twice = [u for u in named if named.count(u) > 1] if len(set(named)) < len(named) else []
    if twice:
        problem = f"unit {twice[0]!r} is named twice in the table of units."
        raise DataError(problem, source=source, remedy="keep one line per unit.")
    strange = [u for u in named if u not in set(present)]
    if strange:
        similar = [p for p in present if str(p) == str(strange[0])]
        problem = f"unit {strange[0]!r} is in the table of units but has no rows"
        problem += f" (the rows call it {similar[0]!r})." if similar else "."
        remedy = "use the same identifiers in both." if similar else "add its rows or leave it out."
        raise DataError(problem, source=source, remedy=remedy)
    absent = [u for u in present if u not in set(table)]
    if absent:
        problem = f"unit {absent[0]!r} has rows but is missing from the table of units"
        problem += f" ({len(absent)} units are)." if absent[1:] else "."
        remedy = "add it; leave rul_at_end empty if its life left is not known."
        raise DataError(problem, source=source, remedy=remedy)
    left = units.get_column("rul_at_end")
    if not (left.dtype.is_numeric() or left.dtype == pl.Null):
        problem = f"column 'rul_at_end' of the table of units is not numeric but {left.dtype}."
        remedy = "cast it to numbers, empty where the life left is not known."
        raise DataError(problem, source=source, remedy=remedy)
    for unit, value in zip(table, left.to_list(), strict=True):
        if value is not None and not 0.0 <= value < math.inf:  # false for NaN as well
            problem = f"rul_at_end of unit {unit} is {value}."
            remedy = "life left is zero or more; use None (an empty cell) where it is not known."
            raise DataError(problem, source=source, remedy=remedy)
        if value is not None and value >= EXTREME_TIME:
            problem = f"rul_at_end of unit {unit} is out of any range: {value:g}."
            remedy = "correct it, or use None (an empty cell) where it is not known."
            raise DataError(problem, source=source, remedy=remedy)


def check_static(
    units: pl.DataFrame, frame: pl.DataFrame, schema: FleetSchema, *, source: object
) -> pl.DataFrame:
    """The table of units with the static attributes of ``schema`` in their one form.

    Args:
        units: one row per unit, with the column ``unit``.
        frame: raw rows. Attributes that ``units`` lacks are taken from here, where they have to be
            constant within each unit (missing cells aside).
        schema: names the attributes.
        source: file, folder or name for messages.

    Returns:
        ``units`` with every static column as Float64 (numbers, truth values) or String, null where
        missing.

    Raises:
        DataError: an attribute is in neither table, changes within a unit, is infinite, or is
            neither numeric nor text.
    """
    for name in schema.static:
        if name not in units.columns:
            units = units.with_columns(_constant_per_unit(units, frame, schema, name, source))
        column = units.get_column(name)
        if column.dtype in TEXT_TYPES:
            units = units.with_columns(column.cast(pl.String))
        elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
            number = column.cast(pl.Float64).fill_nan(None)
            if number.is_infinite().any():
                row = int(number.is_infinite().arg_true()[0])
                problem = f"static attribute {name!r} of unit {units['unit'][row]} is infinite."
                raise DataError(problem, source=source, remedy="correct it or leave it empty.")
            extreme = (number.abs() >= EXTREME).fill_null(value=False)
            if extreme.any():
                row = int(extreme.arg_true()[0])
                problem = f"static attribute {name!r} of unit {units['unit'][row]} is out of any "
                problem += f"range: {number[row]:g} ({EXTREME:g} or more in size)."
                raise DataError(problem, source=source, remedy="correct it or leave it empty.")
            units = units.with_columns(number)
        else:
            problem = f"static attribute {name!r} is {column.dtype}, neither number nor text."
            raise DataError(problem, source=source, remedy="cast the column, or leave it out.")
    return units


def _constant_per_unit(
    units: pl.DataFrame, frame: pl.DataFrame, schema: FleetSchema, name: str, source: object
) -> pl.Series:
    """A column of the rows that does not change within a unit, one value per unit of ``units``."""
    if name not in frame.columns:
        problem = f"static attribute {name!r} is a column of neither the rows nor the units."
        raise DataError(problem, source=source, remedy="rename the column or leave it out.")
    values = frame.get_column(name)
    values = values.fill_nan(None) if values.dtype.is_float() else values
    pairs = pl.DataFrame(
        {"unit": frame.get_column(schema.unit).cast(pl.String), "value": values}
    ).drop_nulls("value")
    pairs = pairs.unique(maintain_order=True)
    twice = pairs.filter(pl.col("unit").is_duplicated())
    if twice.height:
        unit = twice["unit"][0]
        seen = twice.filter(pl.col("unit") == unit)["value"].to_list()
        problem = f"static attribute {name!r} changes within unit {unit}: {seen[0]!r}, {seen[1]!r}."
        remedy = "make it a setting or a sensor, or correct the rows."
        raise DataError(problem, source=source, remedy=remedy)
    row_of = {u: i for i, u in enumerate(pairs["unit"].to_list())}
    ids = units.get_column("unit").cast(frame.get_column(schema.unit).dtype, strict=False)
    rows = [row_of.get(u) for u in ids.cast(pl.String).to_list()]
    return pairs["value"].gather(pl.Series(rows, dtype=pl.UInt32)).alias(name)
