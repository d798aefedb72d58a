"""From a table of sensor histories to a fleet: roles, times, fates, defects."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.fleet import Fleet
from grace.data.quality import check_quality
from grace.data.schema import RESERVED_UNIT_COLUMNS, FleetSchema
from grace.data.table.cells import to_numbers
from grace.data.table.channels import read_channels
from grace.data.table.fate import FateSpec, find_fates, kind_in_table, parse_fate
from grace.data.table.issue_log import IssueLog, listed
from grace.data.table.leakage import refuse_leakage
from grace.data.table.sources import FILE_COLUMN, RawTable, load_raw_table
from grace.data.table.table_schema import TableSchema, load_table_schema
from grace.data.table.timeline import Timeline, read_times
from grace.data.table.unit_values import (
    fate_of_rows,
    fate_of_units,
    static_attributes,
    unit_ids,
)

__all__ = ["read_table"]

Index = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


def read_table(source: Any, *, schema: Any = None, name: str | None = None, **keys: Any) -> Fleet:
    """Read a table of sensor histories.

    Args:
        source: data frame (polars, pandas, pyarrow, mapping of columns); path of a CSV, Parquet
            or Arrow file; a folder with one file per unit; a pattern; or a list of paths.
        schema: YAML file, mapping or :class:`TableSchema` with the keys below.
        name: what the fleet is called in messages; default: the name of the source.
        **keys: the keys of :class:`TableSchema`, which replace those of ``schema``. Required are
            ``unit``, ``time``, ``time_unit`` and ``fate``. ``fate`` is one of: a column ``failed``,
            ``failure_time`` or ``rul_at_end``; ``{"failed": "event"}`` and the like for another
            name; a table with one row per unit; ``"end_of_record"``; ``{"threshold": {"channel":
            "vibration", "above": 20, "rows": 3}}``; or ``"unknown"`` for units to predict.

    Returns:
        The fleet. ``Fleet.issues`` lists what was repaired or is unusual, with counts: missing,
        infinite and unreadable values, duplicated and unsorted times, rows after the failure,
        constant channels, gaps.

    Raises:
        DataError: the table cannot be used; one message names file, column, unit and remedy.

    Example:
        >>> import grace.data
        >>> rows = {"pump": ["a", "a", "a", "b", "b"], "hour": [0, 1, 2, 0, 1],
        ...         "temp": [20.0, 21.0, 25.0, 19.0, 19.5], "failed": [0, 0, 1, 0, 0]}
        >>> fleet = grace.data.read_table(rows, unit="pump", time="hour", time_unit="hours",
        ...                               fate="failed")
        >>> fleet.rul()
        array([ 2.,  1.,  0., nan, nan])
    """
    wanted = load_table_schema(schema, keys, known=_label(source))
    log = IssueLog(_label(source))
    raw = load_raw_table(source, log, encoding=wanted.encoding, separator=wanted.separator)
    raw = _with_unit(raw, wanted)
    spec, units_raw = _fate_spec(wanted, raw, log)
    _check_columns(wanted, raw, units_raw, log)
    _refuse_fate_as_input(wanted, spec, log)

    frame = raw.frame
    time = _times(frame[wanted.time], frame[wanted.unit], wanted, raw, log)
    known = time.values.is_not_null() & frame[wanted.unit].is_not_null()
    if (lost := int((~known).sum())) > 0:
        row = int((~known).arg_true()[0])
        log.note(
            "no_time", f"{lost} rows without a unit or a readable time were left out; first: "
            f"{raw.place(row)}.", "complete them.", count=lost,
        )  # fmt: skip
        if lost == len(known):
            raise log.error("no row has both a unit and a time.", "check the two columns.")
    frame, values = frame.filter(known), time.values.filter(known).to_numpy()
    ids, unit = unit_ids(frame[wanted.unit])
    first = np.full(len(ids), np.inf)
    np.minimum.at(first, unit, values)
    if time.timestamps:
        values = (values - first[unit]) / time.scale
    order = _sorted_rows(unit, values, ids, log)
    frame, unit, values = frame[order], unit[order], values[order]

    fates = find_fates(
        spec,
        unit,
        values,
        fate_of_rows(spec, units_raw, frame, first, unit, time, wanted, log),
        fate_of_units(spec, units_raw, ids, first, time, wanted, log),
        ids.to_list(),
        log,
    )
    taken = {wanted.unit, wanted.time, *wanted.static, *wanted.ignore}
    if units_raw is None and spec.column and spec.kind != "threshold":
        taken.add(spec.column)
    channels, settings, sensors = read_channels(frame, wanted, raw, taken, log)
    static = static_attributes(wanted, frame, unit, units_raw, spec, ids)
    log.raise_if_fatal()

    keep = fates.keep
    present = np.bincount(unit[keep], minlength=len(ids)) > 0
    table = channels.with_columns(
        ids.gather(unit).alias(wanted.unit), pl.Series(wanted.time, values)
    ).filter(pl.Series(keep))
    units = pl.DataFrame(
        {"unit": ids, "rul_at_end": pl.Series(fates.rul_at_end).fill_nan(None), **static}
    ).filter(pl.Series(present))
    fleet = Fleet.from_frame(
        table,
        FleetSchema(
            unit=wanted.unit,
            time=wanted.time,
            settings=settings,
            sensors=sensors,
            static=wanted.static,
            time_unit=wanted.time_unit,
            descriptions=wanted.descriptions,
        ),
        units=units,
        name=name or Path(str(_label(source))).stem,
        source=raw.source,
        issues=log.issues,
    )
    refuse_leakage(fleet, wanted.confirm, log)
    return replace(fleet, issues=(*fleet.issues, *check_quality(fleet)))


def _label(source: Any) -> object:
    if isinstance(source, (str, Path)):
        return source
    is_list = isinstance(source, Sequence) and source and isinstance(source[0], (str, Path))
    return source[0] if is_list else "table"


def _with_unit(raw: RawTable, wanted: TableSchema) -> RawTable:
    """The table with the name of each file as its unit, if no file has the unit column."""
    if wanted.unit in raw.columns or len(raw.files) < 2:
        return raw
    stems = pl.Series([Path(f).stem for f in raw.files])
    return replace(
        raw,
        frame=raw.frame.with_columns(stems.gather(raw.frame[FILE_COLUMN]).alias(wanted.unit)),
    )


def _fate_spec(
    wanted: TableSchema, raw: RawTable, log: IssueLog
) -> tuple[FateSpec, RawTable | None]:
    def flags(column: str) -> bool:
        numbers = to_numbers(raw.frame[column])
        return bool(numbers.values.drop_nulls().is_in([0.0, 1.0]).all()) and not numbers.bad.any()

    spec = parse_fate(wanted.fate, raw.columns, flags, wanted.unit, log)
    if spec.table is None:
        if spec.column and spec.column not in raw.columns:
            raise log.error(
                f"fate column {spec.column!r} is not in the table; found {listed(raw.columns)}.",
                "correct the name.",
            )
        return spec, None
    table_log = IssueLog(_label(spec.table) if not hasattr(spec.table, "columns") else "units")
    units = load_raw_table(spec.table, table_log)
    log.issues += table_log.issues
    spec = kind_in_table(spec, units, log)
    if spec.unit_column not in units.columns:
        raise log.error(
            f"the table of units has no column {spec.unit_column!r}; found "
            f"{listed(units.columns)}.",
            'name it: fate={"table": ..., "unit": "machine"}.',
        )
    return spec, units


def _check_columns(
    wanted: TableSchema, raw: RawTable, units: RawTable | None, log: IssueLog
) -> None:
    """Refuse names that are in no table; all of them at once."""
    here = set(raw.columns) | (set(units.columns) if units is not None else set())
    named = (wanted.unit, wanted.time, *wanted.static, *wanted.settings, *(wanted.sensors or ()))
    for column in sorted(RESERVED_UNIT_COLUMNS & set(wanted.static)):
        problem = f"column {column!r} has the name of the unit or its fate and cannot be static."
        log.fatal(problem, "rename the column.")
    for column in (*named, *wanted.ignore):
        places = here if column in wanted.static else set(raw.columns)
        if column in wanted.ignore:
            places = here
        if column not in places:
            near = difflib.get_close_matches(column, raw.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"found {listed(raw.columns)}."
            log.fatal(f"there is no column {column!r}.", hint)
    log.raise_if_fatal()


def _refuse_fate_as_input(wanted: TableSchema, spec: FateSpec, log: IssueLog) -> None:
    """The column that says when a unit failed is the label, never an input."""
    if not spec.column or spec.kind == "threshold":  # a threshold is on a measured channel
        return
    roles = {"settings": wanted.settings, "sensors": wanted.sensors or (), "static": wanted.static}
    for role, names in roles.items():
        if spec.column in names:
            raise log.error(
                f"column {spec.column!r} is the fate of the units and is listed under {role}: it "
                "would give the label away.",
                f"take it out of {role}.",
            )


def _times(
    column: pl.Series, units: pl.Series, wanted: TableSchema, raw: RawTable, log: IssueLog
) -> Timeline:
    return read_times(
        column,
        units.cast(pl.String),
        wanted.time_unit,
        log,
        timezone=wanted.timezone,
        time_format=wanted.time_format,
        decimal=wanted.decimal,
        comma_likely=raw.comma_likely,
    )


def _sorted_rows(unit: Index, time: Array, ids: pl.Series, log: IssueLog) -> Index:
    """Row numbers sorted by unit and time, each time of a unit once."""
    order = np.lexsort((np.arange(len(time)), time, unit)).astype(np.int64)
    backward = np.zeros(len(ids), dtype=bool)
    by_unit = np.argsort(unit, kind="stable")
    steps = np.diff(time[by_unit]) < 0
    inside = unit[by_unit][1:] == unit[by_unit][:-1]
    backward[np.unique(unit[by_unit][1:][steps & inside])] = True
    if backward.any():
        hit = [ids[int(i)] for i in np.flatnonzero(backward)]
        log.note(
            "backward_time", f"times go backwards in {len(hit)} units ({listed(hit)}); their rows "
            "were sorted.", "check the clock.", units=hit, count=int((steps & inside).sum()),
        )  # fmt: skip
    u, t = unit[order], time[order]
    again = np.r_[False, (u[1:] == u[:-1]) & (t[1:] == t[:-1])]
    if again.any():
        hit = [ids[int(i)] for i in np.unique(u[again])]
        log.note(
            "duplicate_time", f"{int(again.sum())} rows repeat a time of their unit; the first row "
            f"of each was kept; units {listed(hit)}.", "remove the duplicates.", units=hit,
            count=int(again.sum()),
        )  # fmt: skip
    return np.asarray(order[~again], dtype=np.int64)
