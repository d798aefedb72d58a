"""A proposal of the roles of a table's columns, with a reason for each and every doubt."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import yaml

from grace.data.table.cells import to_numbers
from grace.data.table.issue_log import IssueLog
from grace.data.table.sources import load_raw_table
from grace.data.table.timeline import read_times

__all__ = ["ColumnRole", "SchemaProposal", "suggest_schema"]

Role = Literal["unit", "time", "fate", "static", "setting", "sensor", "ignore"]
_UNIT = ("unit", "machine", "engine", "asset", "serial", "device", "bearing", "pump", "id", "drive")
_TIME = ("time", "timestamp", "date", "cycle", "hour", "day", "second", "t_s", "snapshot", "age")
_FAILED = ("failed", "failure", "event", "broken", "is_failed")
_LEFT = ("rul", "rul_at_end", "ttf", "time_to_failure", "remaining", "life_left")
_SETTING = ("setting", "set_", "load", "speed", "rpm", "altitude", "mach", "throttle", "mode")
_DURATIONS = ("seconds", "minutes", "hours", "days", "cycles")
_SPLIT = ("split", "fold", "subset", "in_test", "in_train", "_test")
_FEW_LEVELS = 20


@dataclass(frozen=True)
class ColumnRole:
    """Proposed role of one column, why, and what speaks against it ("" if nothing does)."""

    column: str
    role: Role
    reason: str
    doubt: str = ""


@dataclass(frozen=True)
class SchemaProposal:
    """Roles of all columns of a table, to be confirmed by the user.

    ``roles`` has one entry per column in the order of the table; ``unit``, ``time``, ``fate`` are
    None where no column qualifies; ``doubts`` lists all that should be checked.

    Example:
        >>> import polars as pl
        >>> life = list(range(40)) * 2
        >>> table = pl.DataFrame({"pump": ["a"] * 40 + ["b"] * 40, "hour": life,
        ...                       "vibration": [h**2 / 100 for h in life]})
        >>> proposal = suggest_schema(table)
        >>> proposal.unit, proposal.time, proposal.columns("sensor")
        ('pump', 'hour', ('vibration',))
    """

    roles: tuple[ColumnRole, ...]
    unit: str | None
    time: str | None
    time_unit: str | None
    fate: str | dict[str, str] | None
    doubts: tuple[str, ...] = field(default=())

    def columns(self, role: Role) -> tuple[str, ...]:
        """Columns of one role."""
        return tuple(r.column for r in self.roles if r.role == role)

    def to_yaml(self) -> str:
        """A schema file for :func:`~grace.data.read_table`, with reasons and doubts as comments.

        What could not be recognised is left as an empty key, which reading refuses until it is
        filled in.
        """
        values: dict[str, Any] = {
            "unit": self.unit or "",
            "time": self.time or "",
            "time_unit": self.time_unit or "",
            "fate": self.fate,
            "static": self.columns("static"),
            "settings": self.columns("setting"),
            "sensors": self.columns("sensor"),
            "ignore": self.columns("ignore"),
        }
        lines = ["# Proposed from the data: check every line, above all those under 'To check'."]
        if self.doubts:
            lines += ["# To check:", *(f"#   {_one_line(d)}" for d in self.doubts)]
        lines.append("# Reasons:")
        lines += [f"#   {_one_line(f'{r.column}: {r.role}, {r.reason}')}" for r in self.roles]
        return "\n".join(lines) + "\n" + _dump(values)


def suggest_schema(source: Any) -> SchemaProposal:
    """Propose the role of every column.

    Args:
        source: as for :func:`~grace.data.read_table`.

    Returns:
        The proposal; nothing in it is certain, and ``doubts`` says where to look.

    Raises:
        DataError: the table cannot be read.

    Example:
        >>> rows = {"pump": ["a", "a", "a", "b", "b"], "hour": [0, 1, 2, 0, 1],
        ...         "temp": [20.0, 21.0, 25.0, 19.0, 19.5], "failed": [0, 0, 1, 0, 0]}
        >>> proposal = suggest_schema(rows)
        >>> proposal.unit, proposal.time, proposal.time_unit, proposal.fate
        ('pump', 'hour', 'hours', 'failed')
        >>> proposal.columns("sensor")
        ('temp',)
    """
    log = IssueLog(source if isinstance(source, (str, Path)) else "table")
    raw = load_raw_table(source, log)
    frame = raw.frame.select(raw.columns)
    doubts = [issue.message for issue in log.issues if issue.severity == "warning"]
    unit = _unit(frame, doubts)
    numbers = {c: to_numbers(frame[c], decimal_comma_likely=raw.comma_likely) for c in raw.columns}
    values = {c: n.values for c, n in numbers.items() if n.share > 0.5}
    time, time_unit = _time(frame, unit, values, doubts)
    roles: list[ColumnRole] = []
    fate: str | dict[str, str] | None = None
    for column in _by_fit(raw.columns, frame, unit, time, values):
        if column == unit:
            roles.append(ColumnRole(column, "unit", "its values repeat and its name says so"))
        elif column == time:
            roles.append(ColumnRole(column, "time", "it increases within each unit"))
        else:
            found = _role(column, frame[column], values.get(column), frame, unit, time, values)
            if found.role == "fate":
                key = "failed" if _flag(values.get(column)) else "rul_at_end"
                if fate is None:
                    fate = column if column == key else {key: column}
                else:
                    doubt = "a further column that knows the failure"
                    found = ColumnRole(column, "ignore", doubt, doubt)
            roles.append(found)
            if found.doubt:
                doubts.append(f"{column}: {found.doubt}.")
    if fate is None:
        doubts.append(
            "no column says which units failed: give fate, e.g. end_of_record, a table of units or "
            "a threshold."
        )
    roles.sort(key=lambda role: raw.columns.index(role.column))
    return SchemaProposal(tuple(roles), unit, time, time_unit, fate, tuple(doubts))


def _by_fit(
    columns: list[str],
    frame: pl.DataFrame,
    unit: str | None,
    time: str | None,
    values: dict[str, pl.Series],
) -> list[str]:
    """Columns in order, those that fall by exactly the time that passes first.

    Of several columns of life left the one in the unit of the time column is then the fate.
    """
    if time not in values:
        return columns
    owner = frame[unit] if unit else pl.repeat(0, frame.height, eager=True)
    fits = {c for c in columns if c in values and _slope(values[c], values[time], owner) == -1.0}
    return sorted(columns, key=lambda c: c not in fits)


def _named(column: str, words: tuple[str, ...]) -> bool:
    return any(word in column.casefold() for word in words)


def _flag(values: pl.Series | None) -> bool:
    return values is not None and bool(values.drop_nulls().is_in([0.0, 1.0]).all())


def _unit(frame: pl.DataFrame, doubts: list[str]) -> str | None:
    """The identifier: repeated, in few runs, preferably text or named like one."""
    best, best_score = None, 0.0
    for column in frame.columns:
        cells = frame[column]
        if cells.dtype.is_float() or cells.dtype.is_temporal() or cells.dtype.is_nested():
            continue
        distinct = cells.n_unique()
        if not 1 < distinct < 0.9 * len(cells):
            continue
        runs = cells.rle_id()[-1] + 1
        score = distinct / runs + 2.0 * _named(column, _UNIT)
        score -= 2.0 * _named(column, (*_TIME, *_FAILED, *_LEFT, *_SETTING))
        if score > best_score:
            best, best_score = column, score
    if best is None:
        doubts.append("no column identifies the units: give unit, or one file per unit.")
    elif not _named(best, _UNIT):
        doubts.append(f"{best}: taken as the unit because its values come in blocks.")
    return best


def _time(
    frame: pl.DataFrame, unit: str | None, values: dict[str, pl.Series], doubts: list[str]
) -> tuple[str | None, str | None]:
    """The column that increases within units, and its unit as far as the name tells it."""
    owner = frame[unit] if unit else pl.repeat(0, frame.height, eager=True)
    best, best_score, stamped, days = None, 0.0, False, False
    for column in frame.columns:
        if column == unit:
            continue
        times, stamps = values.get(column), False
        if times is None:
            try:
                line = read_times(frame[column], owner.cast(pl.String), "hours", IssueLog("table"))
            except ValueError:
                continue
            times, stamps = line.values, line.timestamps
        steps = pl.DataFrame({"u": owner, "t": times}).select(pl.col("t").diff().over("u"))
        moves = steps["t"].drop_nulls()
        if moves.is_empty():
            continue
        rising = float((moves > 0).sum()) / len(moves)
        known = stamps or _unit_of_time(column) is not None
        score = rising + 0.5 * _named(column, _TIME) + 0.5 * known
        if rising > 0.9 and score > best_score:
            best, best_score, stamped = column, score, stamps
            days = stamps and bool((times.drop_nulls() % 86_400e6 == 0).all())
    if best is None:
        doubts.append("no column increases within the units: give time.")
        return None, None
    if stamped:
        chosen = "days" if days else "hours"
        doubts.append(f"{best}: timestamps; {chosen} were proposed as the unit of time.")
        return best, chosen
    unit_of_time = _unit_of_time(best)
    if unit_of_time is None:
        doubts.append(f"{best}: its unit of time is not known; give time_unit.")
    return best, unit_of_time


def _unit_of_time(column: str) -> str | None:
    name = column.casefold()
    named = next((d for d in _DURATIONS if d[:-1] in name), None)
    return "seconds" if named is None and name.endswith("_s") else named


def _role(
    column: str,
    cells: pl.Series,
    values: pl.Series | None,
    frame: pl.DataFrame,
    unit: str | None,
    time: str | None,
    numbers: dict[str, pl.Series],
) -> ColumnRole:
    known = cells.drop_nulls()
    if known.is_empty():
        return ColumnRole(column, "ignore", "it is empty")
    owner = frame[unit] if unit else pl.repeat(0, frame.height, eager=True)
    per_unit = pl.DataFrame({"u": owner, "x": cells}).drop_nulls().group_by("u").n_unique()["x"]
    constant = bool((per_unit <= 1).all()) and owner.n_unique() > 1
    if _named(column, _FAILED) and _flag(values):
        return ColumnRole(column, "fate", "a flag of 0 and 1 named like a failure")
    if column.casefold() in _LEFT or column.casefold().startswith("rul"):
        return ColumnRole(column, "fate", "its name says life left", "confirm that it is the label")
    slope = _slope(values, numbers[time], owner) if values is not None and time in numbers else None
    if slope is not None and slope < 0:
        doubt = "it counts down as time passes, like a label"
        return ColumnRole(column, "ignore", "it may contain the label", doubt)
    if slope is not None:
        return ColumnRole(column, "ignore", f"it repeats the time column {time}")
    if _named(column, _SPLIT):
        doubt = "its name says that it marks a split of the data"
        return ColumnRole(column, "ignore", "it is no measurement", doubt)
    if known.n_unique() == 1:
        return ColumnRole(column, "ignore", "it never changes")
    if constant:
        distinct = known.n_unique()
        if distinct > _FEW_LEVELS and distinct > 0.5 * owner.n_unique():
            doubt = (
                "it is constant in each unit and nearly unique: it may name the unit or its life"
            )
            return ColumnRole(column, "ignore", "it differs from unit to unit", doubt)
        return ColumnRole(column, "static", "it is constant within each unit")
    if values is None:
        doubt = "text that changes within units cannot be used"
        return ColumnRole(column, "ignore", "it holds text", doubt)
    if _named(column, _SETTING):
        doubt = "taken as a setting because of its name"
        return ColumnRole(column, "setting", "its name says how the machine is operated", doubt)
    return ColumnRole(column, "sensor", "it holds numbers that change within units")


def _slope(values: pl.Series, times: pl.Series, owner: pl.Series) -> float | None:
    """Change per unit of time, if it is the same everywhere within the units; else None."""
    table = pl.DataFrame({"u": owner, "x": values, "t": times}).drop_nulls()
    steps = table.select(
        dx=pl.col("x").diff().over("u"), dt=pl.col("t").diff().over("u")
    ).drop_nulls()
    dx, dt = steps["dx"].to_numpy(), steps["dt"].to_numpy()
    if len(dx) < 3 or not (dt > 0).all():
        return None
    slope = float(np.median(dx / dt))
    even = np.abs(dx - slope * dt) <= 1e-6 * np.abs(slope * dt)
    return round(slope, 9) if slope != 0 and float(np.mean(even)) > 0.95 else None


def _one_line(text: str) -> str:
    """Text as a comment: no line breaks."""
    return " ".join(text.split())


def _dump(values: dict[str, Any]) -> str:
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
