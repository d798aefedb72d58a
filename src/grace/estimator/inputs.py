"""From the table of a prediction to a fleet with the columns of training, and its predictions."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.candidates import predict_each
from grace.candidates.life_table import ages
from grace.candidates.out_of_fold import CONDITION_COLUMN
from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.issues import DataWarning
from grace.data.preprocessing import Preprocessor
from grace.data.table import TableSchema, read_table
from grace.data.table.issue_log import IssueLog
from grace.data.table.sources import load_raw_table
from grace.estimator.saved_model import STACK, Learned

__all__ = [
    "fleet_like_training",
    "predict_rows",
    "wanted_rows",
    "warn_of_issues",
    "with_conditions",
]


def fleet_like_training(table: Any, learned: Learned, **keys: Any) -> Fleet:
    """The table as a fleet with the columns of training; fates are unknown unless given.

    Raises:
        DataError: the table cannot be used, or counts time in another unit than training.
    """
    if isinstance(table, Fleet):
        fleet = table
    elif learned.table_schema is None:
        raise DataError(
            "the model was fitted on a Fleet, so the roles of a table's columns are not known.",
            remedy="give a Fleet, e.g. grace.read_table(...).",
        )
    else:
        columns = set(_columns(table, learned.table_schema))
        given = learned.table_schema
        # A table of units in service has no label, and need not have what is ignored anyway.
        present = {
            name: [c for c in getattr(given, name) if c in columns] for name in ("static", "ignore")
        }
        keys = {"fate": "unknown", **present} | keys
        fleet = read_table(table, schema=learned.table_schema, **keys)
        schema = learned.fleet_schema
        used = {schema.unit, schema.time, *schema.settings, *schema.sensors, *schema.static}
        warn_of_issues(fleet, used=used, stacklevel=5)
    known = learned.fleet_schema.time_unit
    if fleet.schema.time_unit != known:
        raise DataError(
            f"time is counted in {fleet.schema.time_unit!r}, but the model was fitted on "
            f"{known!r}.",
            source=fleet.name,
            remedy="convert the time column, and set time_unit accordingly.",
        )
    return _with_static(fleet, learned)


def warn_of_issues(fleet: Fleet, *, stacklevel: int, used: Collection[str] | None = None) -> None:
    """One warning of all that was noticed while a table was read and may spoil results.

    With ``used``, nothing is said about other columns.
    """
    found = [
        issue.message
        for issue in fleet.issues
        if issue.severity == "warning"
        and (used is None or not issue.columns or not set(issue.columns).isdisjoint(used))
    ]
    if found:
        warnings.warn(f"{fleet.name}: {' '.join(found)}", DataWarning, stacklevel=stacklevel)


def _with_static(fleet: Fleet, learned: Learned) -> Fleet:
    """Static attributes that the table lacks, from the training units of the same name."""
    absent = [c for c in learned.fleet_schema.static if c not in fleet.units.columns]
    if not absent:
        return fleet
    known = learned.static.select(pl.col("unit").cast(pl.String).alias("__id"), *absent)
    units = (
        fleet.units.with_columns(pl.col("unit").cast(pl.String).alias("__id"))
        .join(known, on="__id", how="left", maintain_order="left")
        .drop("__id")
    )
    schema = fleet.schema.model_copy(update={"static": (*fleet.schema.static, *absent)})
    return Fleet.from_frame(fleet.frame, schema, units=units, name=fleet.name, source=fleet.source)


def wanted_rows(fleet: Fleet, every_row: bool) -> npt.NDArray[np.int64]:
    """Numbers of all rows, or of the last row of each unit."""
    if every_row:
        return np.arange(fleet.n_rows)
    return fleet.starts() + fleet.lengths() - 1


def predict_rows(fleet: Fleet, rows: npt.NDArray[np.int64], learned: Learned) -> pl.DataFrame:
    """Unit, time, age, each candidate and the stack at some rows.

    Raises:
        DataError: a prediction is not finite; the unit is named.
    """
    each = predict_each(learned.candidates, fleet, rows)
    age, stack = ages(fleet)[rows], learned.stack.predict(each)
    if learned.early is not None:
        stack = learned.early.predict(stack, age=age)
    wrong = ~np.isfinite(stack)
    column = fleet.frame.get_column(fleet.schema.unit)
    if wrong.any():
        raise DataError(
            f"the prediction for unit {column[int(rows[np.argmax(wrong)])]} is not finite.",
            source=fleet.name,
            remedy="check the values of this unit.",
        )
    return pl.DataFrame(
        {
            "unit": column.gather(rows),
            "time": fleet.times()[rows],
            "age": age,
            **each,
            STACK: stack,
        }
    )


def with_conditions(table: pl.DataFrame, fleet: Fleet, preprocessor: Preprocessor) -> pl.DataFrame:
    """A table of rows of a fleet with the operating condition of each, if there are several.

    Args:
        table: columns ``unit`` and ``time`` of rows of the fleet.
        fleet: the fleet.
        preprocessor: fitted on it.
    """
    found = preprocessor.conditions_
    if len(found.centers_) < 2:
        return table
    labels, _ = found.assign(fleet.values(fleet.schema.settings))
    every = pl.DataFrame(
        {
            "unit": fleet.frame.get_column(fleet.schema.unit),
            "time": fleet.times(),
            CONDITION_COLUMN: labels,
        }
    )
    return table.join(every, on=["unit", "time"], how="left", maintain_order="left")


def _columns(table: Any, schema: TableSchema) -> list[str]:
    """Column names of a table, without reading roles into them."""
    return load_raw_table(
        table, IssueLog("table"), encoding=schema.encoding, separator=schema.separator
    ).columns
