"""The five ways to know which units failed and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import ValidationError

from grace.data.table.cells import to_numbers
from grace.data.table.issue_log import IssueLog, listed
from grace.data.table.sources import SUFFIXES, RawTable, is_frame
from grace.data.table.table_schema import Threshold

__all__ = ["CHOICES", "FateSpec", "Fates", "find_fates", "parse_fate"]

Kind = Literal["failed", "failure_time", "rul_at_end", "end_of_record", "threshold", "unknown"]
COLUMN_KINDS: tuple[Kind, ...] = ("failed", "failure_time", "rul_at_end")
CHOICES = (
    'fate="failed" (a column of 0 and 1: a flag of the unit, or 1 in the row of the failure; '
    'another name: fate={"failed": "event"}); '
    'fate={"failure_time": "failed_on"} (empty: still running); '
    'fate="end_of_record" (every unit failed at its last row); '
    'fate={"rul_at_end": "hours_left"} (known life left after the last row, empty: still running); '
    'fate={"threshold": {"channel": "vibration", "above": 20, "rows": 3}} (first sustained '
    "crossing); "
    'a table with one row per unit: fate=units or fate={"table": "units.csv", "failed": "event"}; '
    'or fate="unknown" for units to predict'
)


@dataclass(frozen=True, eq=False)
class FateSpec:
    """How failures are known. ``column`` is in the rows, or in ``table`` if there is one, whose
    units are in ``unit_column``.
    """

    kind: Kind
    column: str = ""
    table: Any = None
    unit_column: str = ""
    threshold: Threshold | None = None


@dataclass(frozen=True, eq=False)
class Fates:
    """``keep`` (n_rows,) marks rows up to the failure; ``rul_at_end`` (n_units,) is NaN for
    censored units and counts from the last kept row.
    """

    keep: npt.NDArray[np.bool_]
    rul_at_end: npt.NDArray[np.float64]


def parse_fate(
    fate: Any, columns: list[str], flags: Callable[[str], bool], unit: str, log: IssueLog
) -> FateSpec:
    """What the argument ``fate`` means.

    Args:
        fate: see :func:`~grace.data.table.read_table`.
        columns: columns of the rows.
        flags: whether a column of the rows holds only 0, 1, true and false.
        unit: name of the unit column.
        log: receives what is wrong.

    Raises:
        DataError: no fate is given (the choices are listed), or it has no known form.
    """
    if fate is None:
        raise log.error("it is not known which units failed: fate is not given.", f"{CHOICES}.")
    if isinstance(fate, str) and fate in ("end_of_record", "unknown"):
        return FateSpec("unknown" if fate == "unknown" else "end_of_record")
    if isinstance(fate, str) and fate in columns:
        known = next((k for k in COLUMN_KINDS if k == fate.casefold()), None)
        if known is None and flags(fate):
            known = "failed"
        if known is None:
            raise log.error(
                f"fate column {fate!r} is neither a flag nor named failure_time or rul_at_end.",
                f'say what it holds: fate={{"failure_time": "{fate}"}} or '
                f'fate={{"rul_at_end": "{fate}"}}.',
            )
        return FateSpec(known, fate)
    spec = isinstance(fate, Mapping) and (
        bool({"table", "threshold"} & set(fate)) or all(isinstance(v, str) for v in fate.values())
    )
    if spec:
        return _from_mapping(dict(fate), unit, log)
    if is_frame(fate):
        return FateSpec("unknown", table=fate, unit_column=unit)
    if isinstance(fate, Path) or (isinstance(fate, str) and fate.lower().endswith(SUFFIXES)):
        return FateSpec("unknown", table=fate, unit_column=unit)
    raise log.error(f"fate {fate!r} is no column of the table and no known choice.", f"{CHOICES}.")


def _from_mapping(fate: dict[str, Any], unit: str, log: IssueLog) -> FateSpec:
    if set(fate) == {"threshold"}:
        given = fate["threshold"]
        try:
            limit = given if isinstance(given, Threshold) else Threshold(**given)
        except (ValidationError, TypeError):
            raise log.error(
                f"the threshold {given!r} is not valid.",
                'give {"channel": name, "above": limit, "rows": count}, or below instead of above.',
            ) from None
        return FateSpec("threshold", limit.channel, threshold=limit)
    table, unit_column = fate.pop("table", None), fate.pop("unit", unit)
    kinds = [k for k in COLUMN_KINDS if k in fate]
    if len(kinds) > 1 or set(fate) - set(kinds) or not (kinds or table is not None):
        raise log.error(f"fate has the keys {listed(list(fate))}.", f"{CHOICES}.")
    if not kinds:
        return FateSpec("unknown", table=table, unit_column=unit_column)
    return FateSpec(kinds[0], str(fate[kinds[0]]), table, unit_column)


def kind_in_table(spec: FateSpec, table: RawTable, log: IssueLog) -> FateSpec:
    """Which column of a table of units holds the fate; kind ``"unknown"`` if it has none.

    A table with the columns ``failed`` and ``rul_at_end`` (such as ``Fleet.units``) is read by the
    latter.

    Raises:
        DataError: the named column is missing, or several columns qualify.
    """
    if spec.column:
        if spec.column not in table.columns:
            raise log.error(
                f"the table of units has no column {spec.column!r}; found {listed(table.columns)}.",
                "correct the name.",
            )
        return spec
    found = [k for k in COLUMN_KINDS if k in table.columns]
    if set(found) == {"failed", "rul_at_end"}:
        found = ["rul_at_end"]
    if len(found) != 1:
        text = f"it has {' and '.join(found)}" if found else f"found {listed(table.columns)}"
        raise log.error(
            f"the table of units must have one column of failed, failure_time, rul_at_end; {text}.",
            'rename the column, or name it: fate={"table": ..., "failed": "event"}.',
        )
    return FateSpec(found[0], found[0], spec.table, spec.unit_column)


def flag_values(column: pl.Series, where: str, log: IssueLog) -> npt.NDArray[np.bool_]:
    """A failed flag; missing counts as not failed.

    Raises:
        DataError: the column holds something else than 0, 1, true and false.
    """
    numbers = to_numbers(column)
    other = numbers.bad | ~numbers.values.is_in([0.0, 1.0]).fill_null(value=True)
    if other.any():
        row = int(other.arg_true()[0])
        raise log.error(
            f"failed flag {column.name!r} of {where} holds {column[row]!r} in {int(other.sum())} "
            "rows.",
            "use 1 or true for failed, 0, false or empty for still running.",
        )
    return np.asarray((numbers.values == 1.0).fill_null(value=False).to_numpy(), dtype=bool)


def find_fates(
    spec: FateSpec,
    unit: npt.NDArray[np.int64],
    time: npt.NDArray[np.float64],
    per_row: npt.NDArray[np.float64] | None,
    per_unit: npt.NDArray[np.float64] | None,
    names: list[Any],
    log: IssueLog,
) -> Fates:
    """Life left per unit, and the rows up to the failure.

    Args:
        spec: how failures are known.
        unit: index of the unit of each row, ascending, (n_rows,).
        time: ascending within each unit, (n_rows,).
        per_row: fate column of the rows as numbers (flag, failure time on the scale of ``time``,
            life left, or the threshold's channel), (n_rows,); None if it is not in the rows.
        per_unit: the same from the table of units, (n_units,).
        names: unit ids, for messages.
        log: receives what was noticed.

    Raises:
        DataError: a life left is negative or infinite.
    """
    n = len(names)
    starts = np.searchsorted(unit, np.arange(n))
    ends = np.searchsorted(unit, np.arange(n), side="right") - 1
    last = time[ends]
    if spec.kind in ("end_of_record", "unknown"):
        left = np.zeros(n) if spec.kind == "end_of_record" else np.full(n, np.nan)
        return Fates(np.ones(len(unit), dtype=bool), left)
    if spec.kind == "rul_at_end":
        given = per_row[ends] if per_row is not None else per_unit
        assert given is not None
        left = np.asarray(given, dtype=np.float64)
        bad = ~(np.isnan(left) | (left >= 0) & np.isfinite(left))
        if bad.any():
            i = int(np.argmax(bad))
            raise log.error(
                f"rul_at_end of unit {names[i]} is {left[i]:g} ({int(bad.sum())} units are "
                "negative or infinite).",
                "life left is zero or more; leave it empty where it is not known.",
            )
        return Fates(np.ones(len(unit), dtype=bool), left.astype(np.float64))
    failure: npt.NDArray[np.float64]
    if spec.kind == "failed":
        failure = _flagged(unit, time, last, per_row, per_unit)
    elif spec.kind == "threshold":
        assert per_row is not None
        assert spec.threshold is not None
        failure = _crossings(unit, time, per_row, spec.threshold, starts)
    else:
        failure = _first_known(unit, per_row, n) if per_unit is None else per_unit
    if spec.kind != "threshold" and not np.isfinite(failure).any():
        log.note(
            "no_failures",
            f"no unit failed: all {n} units are still running.",
            "check the fate column; without failures no life can be learned.",
        )
    keep = ~(time > failure[unit])  # not known (NaN) keeps every row
    kept = np.bincount(unit[keep], minlength=n)
    dropped = int((~keep).sum())
    if dropped:
        hit = [names[i] for i in np.unique(unit[~keep])]
        message = f"{dropped} rows after the failure in {len(hit)} units were dropped; first: unit "
        message += f"{hit[0]}."
        remedy = "nothing to do if the machines were run on or repaired."
        log.note("after_failure", message, remedy, severity="note", units=hit, count=dropped)
    gone = [names[i] for i in np.flatnonzero(kept == 0)]
    if gone:
        message = f"{len(gone)} units failed before their first row and were left out: "
        message += f"{listed(gone)}."
        log.note("failed_before_record", message, "check the failure times.", units=gone)
    end = np.array([starts[i] + max(int(kept[i]), 1) - 1 for i in range(n)])
    return Fates(keep, np.where(np.isfinite(failure), failure - time[end], np.nan))


def _flagged(
    unit: npt.NDArray[np.int64],
    time: npt.NDArray[np.float64],
    last: npt.NDArray[np.float64],
    per_row: npt.NDArray[np.float64] | None,
    per_unit: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.float64]:
    """Failure time by a flag: of the unit (failed at its last row) or of the failing row."""
    n = len(last)
    if per_unit is not None:
        return np.where(per_unit == 1.0, last, np.nan)
    assert per_row is not None
    on = np.bincount(unit, weights=per_row, minlength=n)
    rows = np.bincount(unit, minlength=n)
    if ((on == 0) | (on == rows)).all():
        return np.where(on > 0, last, np.nan)
    failure = np.full(n, np.nan)
    flagged = np.flatnonzero(per_row == 1.0)[::-1]
    failure[unit[flagged]] = time[flagged]  # the first flagged row is written last
    return failure


def _first_known(
    unit: npt.NDArray[np.int64], values: npt.NDArray[np.float64] | None, n: int
) -> npt.NDArray[np.float64]:
    assert values is not None
    out = np.full(n, np.nan)
    known = np.flatnonzero(np.isfinite(values))[::-1]
    out[unit[known]] = values[known]
    return out


def _crossings(
    unit: npt.NDArray[np.int64],
    time: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    limit: Threshold,
    starts: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Time of the first row of the first run of ``limit.rows`` rows beyond the limit."""
    with np.errstate(invalid="ignore"):
        low = -np.inf if limit.below is None else limit.below
        high = np.inf if limit.above is None else limit.above
        beyond = (values > high) | (values < low)
    begins = np.ones(len(unit), dtype=bool)
    begins[1:] = (unit[1:] != unit[:-1]) | (beyond[1:] != beyond[:-1])
    first = np.flatnonzero(begins)
    length = np.diff(np.append(first, len(unit)))
    runs = first[beyond[first] & (length >= limit.rows)][::-1]
    failure = np.full(len(starts), np.nan)
    failure[unit[runs]] = time[runs]
    return failure
