"""What a frame must fulfil to become a fleet."""

from __future__ import annotations

import math

import polars as pl

from grace.data.errors import DataError
from grace.data.schema import FleetSchema

__all__ = ["EXTREME", "EXTREME_TIME", "TEXT_TYPES", "check_frame"]

EXTREME = 1e15
"""No channel reads more than this in any unit; such a value is a defect of the recording."""
EXTREME_TIME = 1e20
"""No time or life does either: nanoseconds since 1970 are below 1e19."""

TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum)


def check_frame(frame: pl.DataFrame, schema: FleetSchema, *, source: object) -> pl.DataFrame:
    """Check the rows of a fleet and bring them into their one form.

    Args:
        frame: rows in any order, with at least the columns of ``schema``. Text columns are read as
            numbers where every cell is one; units may be whole numbers or text.
        schema: the meaning of the columns.
        source: file, folder or name for messages.

    Returns:
        The columns unit, time, settings, sensors in this order; rows sorted by unit (in order of
        first appearance) and time; time Int64 or Float64, channels Float64, missing values NaN.

    Raises:
        DataError: no rows; a column is missing; a cell is not a number, infinite, or of
            ``EXTREME`` or more in size (times: ``EXTREME_TIME``); a time is missing, a date, or
            given twice for one unit; a unit is neither text nor a whole number below 2⁶³;
            ``frame`` is not a polars DataFrame. Rows are counted from 0.

    Example:
        >>> import polars as pl
        >>> from grace.data import FleetSchema
        >>> raw = pl.DataFrame({"day": [2, 1, 1], "unit": ["b", "b", "a"], "temp": ["5", "4", "3"]})
        >>> check_frame(raw, FleetSchema(time="day", sensors=("temp",)), source="demo").rows()
        [('b', 1, 4.0), ('b', 2, 5.0), ('a', 1, 3.0)]
    """
    if not isinstance(frame, pl.DataFrame):
        kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}"
        remedy = "wrap it in pl.from_pandas(...) if it is a pandas frame, in pl.DataFrame(...) if "
        remedy += "it is a dict; call .collect() if it is lazy."
        problem = f"the rows are a {kind.removeprefix('builtins.')}, not a polars DataFrame."
        raise DataError(problem, source=source, remedy=remedy)
    names = [schema.unit, schema.time, *schema.channels]
    missing = [n for n in names if n not in frame.columns]
    if missing:
        problem = f"column {missing[0]!r} is missing"
        problem += f" (and {', '.join(missing[1:])})" if missing[1:] else ""
        problem += f"; found {', '.join(frame.columns) or 'no columns'}."
        remedy = "rename the column or name it in the schema."
        raise DataError(problem, source=source, remedy=remedy)
    if frame.is_empty():
        remedy = "check the file or the filter before it."
        raise DataError("there are no rows.", source=source, remedy=remedy)
    raw = frame.select(names)
    unit = _unit_column(raw, schema, source)
    time = _number_column(raw, schema.time, schema, source, limit=EXTREME_TIME)
    channels = [_channel(raw, c, schema, source) for c in schema.channels]
    # Sorted outside the frame: no helper column can then clash with a channel's name.
    keys = pl.DataFrame({"unit": unit, "time": time}).with_row_index()
    rank = keys.select(pl.arg_sort_by(pl.col("index").first().over("unit"), "time")).to_series()
    twice = keys.select("unit", "time")[rank].is_duplicated()
    if twice.any():
        first = rank[int(twice.arg_true()[0])]
        rows = ((unit == unit[first]) & (time == time[first])).arg_true().to_list()
        problem = f"unit {unit[first]} has two rows at {schema.time} {time[first]}"
        problem += f" (rows {rows[0]} and {rows[1]}, counted from 0)."
        remedy = f"keep one row per unit and {schema.time}, or average them."
        raise DataError(problem, source=source, remedy=remedy)
    return raw.with_columns(unit, time, *channels)[rank]


def _place(raw: pl.DataFrame, bad: pl.Series, column: str, schema: FleetSchema) -> tuple[str, int]:
    """The first bad cell in words (column, row, unit, time), and its row."""
    row = int(bad.arg_true()[0])
    known = [f"{c} {raw[row, c]}" for c in (schema.unit, schema.time) if c != column]
    return f"column {column!r}, row {row} (counted from 0), {', '.join(known)}", row


def _unit_column(raw: pl.DataFrame, schema: FleetSchema, source: object) -> pl.Series:
    column: pl.Series = raw.get_column(schema.unit)
    if column.null_count():
        problem = f"{_place(raw, column.is_null(), schema.unit, schema)[0]} is empty."
        remedy = "give every row the unit it belongs to, or drop it."
        raise DataError(problem, source=source, remedy=remedy)
    if column.dtype in TEXT_TYPES:
        column = column.cast(pl.String)
        return column
    remedy = "units are named by whole numbers or text; cast the column."
    if not (column.dtype.is_integer() or column.dtype.is_float()):
        problem = f"column {schema.unit!r} of units is {column.dtype}, for example {column[0]!r}."
        raise DataError(problem, source=source, remedy=remedy)
    if column.dtype.is_float():  # 1.0, 2.0 is what pandas makes of whole numbers
        bad = ~(column.is_finite() & (column % 1 == 0))
        if bad.any():
            place, row = _place(raw, bad, schema.unit, schema)
            problem = f"{place} is not a whole number: {column[row]}."
            remedy = "correct the cell, or name units by whole numbers or text."
            raise DataError(problem, source=source, remedy=remedy)
    whole: pl.Series = column.cast(pl.Int64, strict=False)
    if whole.null_count():
        place, row = _place(raw, whole.is_null(), schema.unit, schema)
        problem = f"{place} is outside the whole numbers of 64 bits: {column[row]}."
        remedy = "cast the column to text: pl.col(...).cast(pl.String)."
        raise DataError(problem, source=source, remedy=remedy)
    return whole


def _channel(raw: pl.DataFrame, name: str, schema: FleetSchema, source: object) -> pl.Series:
    """A setting or sensor as Float64; null, empty text and NaN become one NaN."""
    column = raw.get_column(name)
    if column.dtype in TEXT_TYPES:
        column = column.cast(pl.String).str.strip_chars().replace("", None)
    missing = column.is_null()
    if missing.all():
        return pl.repeat(math.nan, raw.height, dtype=pl.Float64, eager=True).alias(name)
    present = raw.select(schema.unit, schema.time).with_columns(column)
    if missing.any():  # the first known value stands in for the missing ones while checking
        present = present.with_columns(column.fill_null(column.drop_nulls()[0]))
    number: pl.Series = _number_column(present, name, schema, source, nan_allowed=True)
    number = number.cast(pl.Float64)
    number = number.set(missing, math.nan) if missing.any() else number
    # One bit pattern for all missing values: the content hash must not see how they were written.
    if number.is_nan().any():
        number = number.fill_nan(None).fill_null(math.nan)
    return number


def _number_column(
    raw: pl.DataFrame,
    name: str,
    schema: FleetSchema,
    source: object,
    *,
    nan_allowed: bool = False,
    limit: float = EXTREME,
) -> pl.Series:
    """The named column without null or infinity, as Int64 (integers) or Float64."""
    number: pl.Series
    column: pl.Series = raw.get_column(name)
    if column.dtype.is_temporal():
        problem = f"column {name!r} holds dates or times ({column.dtype})."
        remedy = "convert it to numbers, e.g. hours since the unit's first row; name the time_unit."
        raise DataError(problem, source=source, remedy=remedy)
    if column.null_count():
        problem = f"{_place(raw, column.is_null(), name, schema)[0]} is empty."
        remedy = "fill the gap (for example with the unit's last value) or drop the row."
        raise DataError(problem, source=source, remedy=remedy)
    if column.dtype in TEXT_TYPES:
        text = column.cast(pl.String).str.strip_chars()
        number = text.cast(pl.Int64, strict=False)
        number = text.cast(pl.Float64, strict=False) if number.null_count() else number
        if number.null_count():
            place, row = _place(raw, number.is_null(), name, schema)
            problem = f"{place} is not a number: {column[row]!r}."
            remedy = "correct the cell, or leave the column out of the schema."
            raise DataError(problem, source=source, remedy=remedy)
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        number = column.cast(pl.Int64 if column.dtype.is_integer() else pl.Float64, strict=False)
        number = column.cast(pl.Float64) if number.null_count() else number  # 2⁶³ and beyond
    else:
        problem = f"column {name!r} is not numeric but {column.dtype}."
        remedy = "cast it to numbers, or leave it out of the schema."
        raise DataError(problem, source=source, remedy=remedy)
    bad = number.is_infinite() if nan_allowed else ~number.is_finite()
    if bad.any():
        place, row = _place(raw, bad, name, schema)
        remedy = "replace it (for example by the unit's last value) or drop the row."
        raise DataError(f"{place} is not finite: {number[row]}.", source=source, remedy=remedy)
    bad = (number.cast(pl.Float64).abs() >= limit).fill_null(value=False)
    bad &= ~number.cast(pl.Float64).is_nan()  # polars orders NaN above every number
    if bad.any():
        place, row = _place(raw, bad, name, schema)
        problem = f"{place} is out of any range: {number[row]:g} ({limit:g} or more in size)."
        remedy = "correct the cell, or leave it empty where the value is not known."
        raise DataError(problem, source=source, remedy=remedy)
    return number
