"""How the cells of a table larger than memory are read: decided once for all of its rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from grace.data.errors import DataError
from grace.data.table.cells import (
    CellCounts,
    choose_notation,
    clean_text,
    count_cells,
    count_plain,
    read_notation,
)
from grace.data.table.issue_log import IssueLog
from grace.data.table.parts import TableFiles
from grace.data.table.table_schema import TableSchema
from grace.data.table.timeline import YEAR_LAST, parse_stamps

__all__ = ["TableReader"]

_WHOLE = r"^(0|[1-9]\d{0,17})(\.0+)?$"
_TEXT = (pl.String, pl.Categorical, pl.Enum)
_DAY_FIRST = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})"


@dataclass
class _Dates:
    """What says whether day or month comes first in dates that end with the year."""

    dotted: bool = False
    first_large: bool = False
    second_large: bool = False

    def see(self, text: pl.Series) -> None:
        parts = text.to_frame("t").select(pl.col("t").str.extract_groups(YEAR_LAST)).unnest("t")
        self.dotted |= bool((parts["2"] == ".").any())
        self.first_large |= bool((parts["1"].cast(pl.Int32) > 12).any())
        self.second_large |= bool((parts["3"].cast(pl.Int32) > 12).any())

    @property
    def day_first(self) -> bool:
        return self.dotted or self.first_large or not self.second_large


@dataclass
class TableReader:
    """Reads a table in parts with the numbers that :func:`grace.read_table` gives for the whole.

    Notations of numbers, kinds of identifiers, the kind of the time column and the order of day
    and month depend on whole columns; they are found in a first pass over all rows, which also
    counts the rows of each unit (``counts``, in order of first appearance).

    Args:
        table: the files.
        schema: roles of the columns.
        channels: settings and sensors to read, further columns are dropped.
        static: attributes of the units that the table has.
    """

    table: TableFiles
    schema: TableSchema
    channels: tuple[str, ...]
    static: tuple[str, ...]
    counts: dict[Any, int] = field(default_factory=dict)
    rows: int = 0
    _cells: dict[str, CellCounts] = field(default_factory=dict)
    _notation: dict[str, str | None] = field(default_factory=dict)
    _dates: _Dates = field(default_factory=_Dates)
    _unit_types: set[pl.DataType] = field(default_factory=set)
    _whole_units: bool = True
    _time_text: bool = False

    @property
    def columns(self) -> list[str]:
        """Columns that are read."""
        named = (self.schema.unit, self.schema.time, *self.static, *self.channels)
        ignored = (c for c in self.schema.ignore if c in self.table.columns)
        return list(dict.fromkeys((*named, *ignored)))

    @property
    def unit_type(self) -> pl.DataType:
        """Type of the identifiers, once the table was scanned."""
        if len(self._unit_types) == 1 and (kind := next(iter(self._unit_types))).is_integer():
            return kind
        return pl.Int64() if self._whole_units else pl.String()

    def scan(self, chunk_rows: int) -> Iterator[int]:
        """Find the notations and count the rows of each unit; gives the rows seen so far.

        Raises:
            DataError: the table has no unit or time column, or a channel holds text.
        """
        for role in ("unit", "time"):
            if (name := getattr(self.schema, role)) not in self.table.columns:
                raise DataError(
                    f"there is no column {name!r}.",
                    source=self.table.source,
                    remedy="check the names of the columns, or the schema of the model.",
                )
        needed = [c for c in self.columns if c not in self.schema.ignore]
        for chunk in self.table.chunks(chunk_rows, needed):
            self._see(chunk)
            self.rows += chunk.height
            yield self.rows
        odd = [c for c, counts in self._cells.items() if self._is_odd(c, counts)]
        if odd:
            self._cells |= {c: CellCounts() for c in odd}
            for chunk in self.table.chunks(chunk_rows, odd):
                for column in odd:
                    if chunk.schema[column] in _TEXT:
                        self._cells[column] += count_cells(clean_text(chunk[column]))
                yield self.rows
        self._decide()
        if self._time_text:
            self.counts = {}
            time, unit = self.schema.time, self.schema.unit
            for chunk in self.table.chunks(chunk_rows, [unit, time]):
                self._count(chunk[unit], self._has_time(self._read_time(chunk[time])))
                yield self.rows
        self.counts = _unified(self.counts, self.unit_type)
        if not self.counts:
            raise DataError(
                "no row has both a unit and a time.",
                source=self.table.source,
                remedy="check the two columns.",
            )

    def chunks(self, chunk_rows: int) -> Iterator[pl.DataFrame]:
        """The rows with every cell read, for :func:`grace.read_table`."""
        needed = [c for c in self.columns if c not in self.schema.ignore]
        absent = [c for c in self.columns if c in self.schema.ignore]
        for chunk in self.table.chunks(chunk_rows, needed):
            times = self._read_time(chunk[self.schema.time])
            has_both = self._has_time(times) & chunk[self.schema.unit].is_not_null()
            known = chunk.filter(has_both)
            read = [self._read_unit(known[self.schema.unit]), times.filter(has_both)]
            read += [self._read_static(known[c]) for c in self.static]
            read += [
                self._read_channel(known[c])
                for c in self.channels
                if self._notation.get(c, "") is not None
            ]
            yield pl.DataFrame(read).with_columns(pl.lit(None).alias(c) for c in absent)

    def _is_odd(self, column: str, counts: CellCounts) -> bool:
        if column == self.schema.time and self.schema.time_format is not None:
            return False
        return self.schema.decimal == "," or not counts.all_plain

    def _see(self, chunk: pl.DataFrame) -> None:
        unit, time = self.schema.unit, self.schema.time
        for column in (time, *self.static, *self.channels):
            if chunk.schema[column] in _TEXT:
                text = clean_text(chunk[column])
                counts = count_plain(text)
                self._cells[column] = self._cells.get(column, CellCounts()) + counts
                if column == time and not counts.all_plain:
                    self._dates.see(text.filter(text.cast(pl.Float64, strict=False).is_null()))
        # Text that is no number counts as a time here; if there is any, rows are counted again.
        self._count(chunk[unit], self._has_time(chunk[time], parse=False))

    def _has_time(self, time: pl.Series, *, parse: bool = True) -> pl.Series:
        """Where there is a time that can be read."""
        known: pl.Series
        if time.dtype.is_numeric():
            known = time.cast(pl.Float64).is_finite().fill_null(value=False)
            return known
        if time.dtype not in _TEXT:
            return time.is_not_null()
        text = clean_text(time)
        number = text.cast(pl.Float64, strict=False)
        finite = number.is_finite().fill_null(value=False)
        if not parse:
            known = finite | (number.is_null() & text.is_not_null())
            return known
        stamps, _ = parse_stamps(text, time.name, self.schema.time_format, IssueLog("table"))
        return stamps.is_not_null()

    def _count(self, unit: pl.Series, has_time: pl.Series) -> None:
        """Count the rows of each unit that have a time."""
        ids = unit.filter(has_time & unit.is_not_null())
        if unit.dtype != pl.Null:
            self._unit_types.add(unit.dtype)
        if not ids.dtype.is_integer():
            ids = clean_text(ids).fill_null("")
            self._whole_units &= bool(ids.str.contains(_WHOLE).all())
        found = ids.to_frame("u").group_by("u", maintain_order=True).len()
        for name, count in found.rows():
            self.counts[name] = self.counts.get(name, 0) + count

    def _decide(self) -> None:
        named = (*self.schema.settings, *(self.schema.sensors or ()))
        for column, counts in self._cells.items():
            if column == self.schema.time:
                share, notation = self._share(counts)
                is_number = self.schema.time_format is None and share > 0.5 and counts.known > 0
                self._notation[column] = notation if is_number else None
                self._time_text = not (is_number and counts.all_plain)
                continue
            share, notation = self._share(counts)
            self._notation[column] = notation
            if column in self.static:
                self._notation[column] = notation if share == 1.0 else None
            elif share < 0.5:
                self._notation[column] = None
                if column in named:
                    raise DataError(
                        f"column {column!r} holds text.",
                        source=self.table.source,
                        remedy=f"list it under static or ignore: ignore=[{column!r}].",
                    )

    def _share(self, counts: CellCounts) -> tuple[float, str]:
        """Share of the cells that are numbers, and their notation."""
        notation, _ = choose_notation(counts, self.schema.decimal, self.table.comma_likely)
        number = {
            "plain": counts.plain, "spaced": counts.spaced, "truth": counts.truth,
            "decimal comma": counts.european, "thousands": counts.grouped,
        }[notation]  # fmt: skip
        known = counts.known - counts.infinite
        return ((number - counts.infinite) / known if known else 1.0), notation

    def _read_unit(self, unit: pl.Series) -> pl.Series:
        kind, ids = self.unit_type, unit
        if not unit.dtype.is_integer():
            ids = clean_text(unit).fill_null("")
            if kind != pl.String:
                ids = ids.str.replace(r"\.0+$", "")
        typed: pl.Series = ids.cast(kind)
        return typed

    def _read_time(self, time: pl.Series) -> pl.Series:
        notation = self._notation.get(time.name)
        if time.dtype.is_numeric():
            return _plain(time)
        if time.dtype not in _TEXT or (notation is None and self.schema.time_format is not None):
            return time
        text = clean_text(time)
        if notation is not None:
            return read_notation(text, notation)
        # With the year first every part of the table is read alike.
        swap = "${3}-${2}-${1}" if self._dates.day_first else "${3}-${1}-${2}"
        numbers = text.cast(pl.Float64, strict=False).is_not_null()
        stamps: pl.Series = text.str.replace(_DAY_FIRST, swap).set(numbers, None)
        return stamps.rename(time.name)

    def _read_channel(self, column: pl.Series) -> pl.Series:
        if column.dtype not in _TEXT:
            return _plain(column)
        return read_notation(clean_text(column), self._notation[column.name] or "plain")

    def _read_static(self, column: pl.Series) -> pl.Series:
        if column.dtype not in _TEXT:
            return _plain(column)
        text = clean_text(column)
        notation = self._notation[column.name]
        # A category stays text in a part where all of its values look like numbers.
        return text.cast(pl.Categorical) if notation is None else read_notation(text, notation)


def _plain(column: pl.Series) -> pl.Series:
    """Numbers and truth values as Float64, so that parts have one type; others as they are."""
    is_number = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
    return column.cast(pl.Float64) if is_number else column


def _unified(counts: dict[Any, int], kind: pl.DataType) -> dict[Any, int]:
    """Counts with identifiers of one type; whole numbers written in different ways are one."""
    found: dict[Any, int] = {}
    for name, count in counts.items():
        if kind == pl.String:
            key: Any = str(name)
        else:
            key = int(re.sub(r"\.0+$", "", name)) if isinstance(name, str) else name
        found[key] = found.get(key, 0) + count
    return found
