"""What is allowed in a fleet but suspicious enough to be reported."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from grace.data.fleet import Fleet
from grace.data.issues import DataIssue

__all__ = ["QUALITY_KINDS", "DataIssue", "check_quality"]

QUALITY_KINDS = frozenset(
    {
        "gap",
        "late_start",
        "out_of_range",
        "constant",
        "constant_in_condition",
        "short",
        "duplicate_rows",
    }
)
"""Kinds of issues that :func:`check_quality` finds."""

# More groups of settings than this, or fewer rows in a group, are a continuum, not conditions.
_MAX_CONDITIONS, _MIN_ROWS = 20, 10
# A value this many times the range from 1% to 99% of the rows away from it is out of range.
_FAR = 1000.0


def check_quality(fleet: Fleet, *, window: int = 30) -> list[DataIssue]:
    """Look for what is legal but suspicious; at most one issue per kind, warnings first.

    Units with fewer than ``window`` rows are reported as short.

    Example:
        >>> import polars as pl
        >>> from grace.data import Fleet, FleetSchema
        >>> rows = pl.DataFrame({"unit": [1] * 4, "cycle": [1, 2, 3, 7], "temp": [1.0, 2, 3, 5]})
        >>> fleet = Fleet.from_frame(rows, FleetSchema(sensors=("temp",)))
        >>> issue, = check_quality(fleet, window=3)
        >>> issue.kind, issue.units, issue.message
        ('gap', (1,), 'gaps: 1 in 1 of 1 units; first: unit 1, from cycle 3 to 7 (usual step 1).')
    """
    if not fleet.n_units:
        return []
    parts = (_timing(fleet), _ranges(fleet), _lives(fleet), _constants(fleet), _rows(fleet, window))
    return sorted((f for part in parts for f in part), key=lambda f: f.severity != "warning")


def _timing(fleet: Fleet) -> list[DataIssue]:
    """Gaps, and units that do not start at 1."""
    found: list[DataIssue] = []
    times, starts, ids, name = fleet.times(), fleet.starts(), fleet.unit_ids, fleet.schema.time
    step = np.diff(times)
    inside = np.ones(step.size, dtype=bool)
    inside[starts[1:] - 1] = False  # steps from one unit to the next are none
    usual = float(np.median(step[inside])) if inside.any() else 1.0
    jumps = np.flatnonzero(inside & (step > 1.5 * usual))
    if jumps.size:
        units = tuple(ids[i] for i in np.unique(np.searchsorted(starts, jumps, side="right") - 1))
        at = int(jumps[0])
        message = f"gaps: {jumps.size} in {len(units)} of {fleet.n_units} units; first: unit "
        message += f"{units[0]}, from {name} {times[at]:g} to {times[at + 1]:g} "
        message += f"(usual step {usual:g})."
        remedy = "windows count rows, not time: resample to an even step if the gaps are long."
        found.append(DataIssue("gap", "warning", message, remedy, units))
    first = times[starts]
    if fleet.frame.schema[name].is_integer() and (first != 1).any():
        units = tuple(u for u, t in zip(ids, first, strict=True) if t != 1)
        alike = bool((first == first[0]).all())
        message = f"{len(units)} of {fleet.n_units} units do not start at {name} 1; first: unit "
        message += f"{units[0]}, at {first[first != 1][0]:g}{', as all do' if alike else ''}."
        remedy = "age counts from a unit's first row: check whether earlier rows are missing."
        severity: Literal["note", "warning"] = "note" if alike else "warning"
        found.append(DataIssue("late_start", severity, message, remedy, units))
    return found


def _ranges(fleet: Fleet) -> list[DataIssue]:
    """Channels with single values far outside the range of all others."""
    channels, ids, time = fleet.schema.channels, fleet.unit_ids, fleet.schema.time
    owner = np.repeat(np.arange(fleet.n_units), fleet.lengths())
    worst: tuple[float, str] = (0.0, "")
    columns: list[str] = []
    units: set[int] = set()
    count = 0
    for name in channels:
        values = fleet.values([name])[:, 0]
        known = np.flatnonzero(~np.isnan(values))
        if not known.size:
            continue
        low, high = np.quantile(values[known], [0.01, 0.99])
        # A channel that hardly changes has no range; its size stands in.
        span = float(high - low) or max(abs(float(low)), abs(float(high)))
        beyond = np.maximum(low - values, values - high)
        far = known[(beyond[known] > _FAR * span) & (span > 0)]
        if not far.size:
            continue
        columns.append(name)
        count += far.size
        units |= set(owner[far].tolist())
        at = int(far[np.argmax(beyond[far])])
        if (distance := float(beyond[at] / span)) > worst[0]:
            text = f"column {name!r} is {values[at]:g} for unit {ids[owner[at]]} at {time} "
            text += f"{fleet.times()[at]:g}, while 98% of its values are from {low:g} to {high:g}"
            worst = (distance, text)
    if not columns:
        return []
    message = f"values far out of range: {count} in {', '.join(columns)}; farthest: {worst[1]}."
    remedy = "correct them or leave them empty, or set features.robust_limits to clip them: they "
    remedy += "set the scale of the input."
    hit = tuple(ids[i] for i in sorted(units))
    return [DataIssue("out_of_range", "warning", message, remedy, hit, tuple(columns), count)]


def _lives(fleet: Fleet) -> list[DataIssue]:
    """Units whose life left exceeds every observed life many times."""
    left = fleet.units.get_column("rul_at_end").fill_null(0.0).to_numpy()
    longest = float(fleet.life().max())
    far = np.flatnonzero(left > _FAR * longest) if longest > 0 else np.empty(0, dtype=np.int64)
    if not far.size:
        return []
    units = tuple(fleet.unit_ids[int(i)] for i in far)
    at = int(far[np.argmax(left[far])])
    message = f"rul_at_end of {far.size} units is more than {_FAR:g} times the longest history; "
    message += f"farthest: {left[at]:g} {fleet.schema.time_unit} of unit {fleet.unit_ids[at]}."
    remedy = "check the unit of time and the cell; leave it empty where it is not known."
    columns = ("rul_at_end",)
    return [DataIssue("out_of_range", "warning", message, remedy, units, columns, int(far.size))]


def _constants(fleet: Fleet) -> list[DataIssue]:
    """Channels that never change, or only with the operating condition."""
    found: list[DataIssue] = []
    channels, n = fleet.schema.channels, len(fleet.schema.settings)
    values = fleet.values(channels)
    flat = _never_changes(values)
    if flat.any():
        columns = tuple(c for c, hit in zip(channels, flat, strict=True) if hit)
        message = f"channels that never change: {', '.join(columns)}."
        remedy = "leave them out of the inputs."
        found.append(DataIssue("constant", "note", message, remedy, columns=columns))
    group = _conditions(values[:, :n])
    n_groups = int(group.max()) + 1
    if 1 < n_groups <= min(_MAX_CONDITIONS, fleet.n_rows // _MIN_ROWS):
        still = ~flat
        for g in range(n_groups):
            still &= _never_changes(values[group == g])
        columns = tuple(c for c, hit in zip(channels[n:], still[n:], strict=True) if hit)
        if columns:
            message = f"channels constant in each of {n_groups} conditions: {', '.join(columns)}."
            remedy = "leave them out: normalised per condition they are a division by zero."
            found.append(DataIssue("constant_in_condition", "note", message, remedy, (), columns))
    return found


def _never_changes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which columns (n, C) hold at most one distinct value, missing ones left out."""
    if not len(values):
        return np.ones(values.shape[1], dtype=bool)
    high = np.where(np.isnan(values), -np.inf, values).max(axis=0)
    low = np.where(np.isnan(values), np.inf, values).min(axis=0)
    return np.asarray(high <= low)


def _conditions(settings: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Group of each row. Settings carry noise: a group is a cell of 1% of each range."""
    if not settings.shape[1]:
        return np.zeros(len(settings), dtype=np.int64)
    missing = np.isnan(settings)
    low = np.where(missing, np.inf, settings).min(axis=0)
    high = np.where(missing, -np.inf, settings).max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    # Rows without a setting form a group of their own.
    grid = np.where(missing, -1.0, np.round((settings - low) / span, 2))
    return np.unique(grid, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _rows(fleet: Fleet, window: int) -> list[DataIssue]:
    """Units shorter than a window, and rows that occur in several units."""
    found: list[DataIssue] = []
    lengths, schema, ids = fleet.lengths(), fleet.schema, fleet.unit_ids
    if (lengths < window).any():
        units = tuple(u for u, k in zip(ids, lengths, strict=True) if k < window)
        message = f"{len(units)} of {fleet.n_units} units have fewer than {window} rows "
        message += f"(shortest: {lengths.min()})."
        remedy = "nothing to do, they are padded on the left and not dropped; or use less history."
        found.append(DataIssue("short", "note", message, remedy, units))
    # Times are unique within a unit, so equal rows always belong to different units.
    twice = fleet.frame.select(schema.time, *schema.channels).is_duplicated().to_numpy()
    if twice.any():
        share = np.add.reduceat(twice.astype(np.int64), fleet.starts()) / lengths
        units = tuple(u for u, s in zip(ids, share, strict=True) if s > 0)
        message = f"{int(twice.sum())} rows occur in more than one unit; {len(units)} units share "
        message += f"rows, the first is unit {units[0]}."
        remedy = "look for a machine recorded under two names: it leaks from one split to another."
        severity: Literal["note", "warning"] = "warning" if (share >= 0.5).any() else "note"
        found.append(DataIssue("duplicate_rows", severity, message, remedy, units))
    return found
