"""The time column: counts and numbers as they are, timestamps as instants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from grace.data.table.cells import clean_text, to_numbers
from grace.data.table.issue_log import IssueLog

__all__ = ["SECONDS", "YEAR_LAST", "Timeline", "parse_stamps", "read_times"]

# Seconds per unit, by every usual spelling.
SECONDS: dict[str, float] = {
    name: seconds
    for names, seconds in (
        ("ms millisecond milliseconds", 1e-3),
        ("s sec second seconds", 1.0),
        ("min minute minutes", 60.0),
        ("h hr hour hours", 3600.0),
        ("d day days", 86400.0),
        ("w week weeks", 604800.0),
    )
    for name in names.split()
}
_CLOCK = r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?"
_ZONE = r"\s*(Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?$"
_YEAR_FIRST = rf"^(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){_CLOCK}{_ZONE}"
YEAR_LAST = rf"^(\d{{1,2}})([-/.])(\d{{1,2}})[-/.](\d{{4}}){_CLOCK}{_ZONE}"


@dataclass(frozen=True)
class Timeline:
    """Times of all rows. ``values`` is Float64, null where missing or unreadable: the numbers
    given, or, if ``timestamps``, microseconds since 1970 (UTC), of which a unit of time has
    ``scale``. ``whole``: all are integers.
    """

    values: pl.Series
    timestamps: bool
    whole: bool
    scale: float = 1.0


def read_times(
    column: pl.Series,
    units: pl.Series,
    time_unit: str,
    log: IssueLog,
    *,
    timezone: str | None = None,
    time_format: str | None = None,
    decimal: str | None = None,
    comma_likely: bool = False,
) -> Timeline:
    """Read a time column.

    Args:
        column: numbers, timestamps, dates, durations, or text that holds one of these.
        units: unit of each row, in the order of the file (repeated hours at the end of
            daylight-saving time are distinguished by it).
        time_unit: unit of time of the result.
        log: receives what was noticed.
        timezone: zone of timestamps without offset; None: UTC.
        time_format: ``strptime`` format of text.
        decimal: decimal mark of text.
        comma_likely: see :func:`~grace.data.table.cells.to_numbers`.

    Raises:
        DataError: no cell can be read, timestamps with a unit of time that is no duration, or an
            unknown time zone.
    """
    name = column.name
    stamps: pl.Series | None = None
    if column.dtype == pl.Duration:
        seconds = column.dt.total_microseconds().cast(pl.Float64) / 1e6
        return Timeline(seconds / _duration(time_unit, name, log), timestamps=False, whole=False)
    if column.dtype in (pl.Datetime, pl.Date):
        stamps = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column
        if getattr(stamps.dtype, "time_zone", None):
            stamps = stamps.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            timezone = None
        stamps = stamps.cast(pl.Datetime("us"))
        offset_given = pl.repeat(timezone is None, len(stamps), dtype=pl.Boolean, eager=True)
    elif column.dtype == pl.Time:
        raise log.error(
            f"time column {name!r} holds times of day without a date.",
            "join date and time into one column.",
        )
    else:
        numbers = to_numbers(column, decimal=decimal, decimal_comma_likely=comma_likely)
        known = numbers.values.drop_nulls()
        if (
            time_format is None
            and (numbers.share > 0.5 or column.dtype != pl.String)
            and len(known)
        ):
            if numbers.ambiguous:
                message = f"time column {name!r}: '1,234' was read with {numbers.style}."
                log.note("number_format", message, "give decimal='.' or ','.", columns=[name])
            whole = bool((known % 1 == 0).all()) and float(known.abs().max() or 0) < 2**53  # type: ignore[arg-type]
            return Timeline(numbers.values, timestamps=False, whole=whole)
        if column.dtype in (pl.String, pl.Categorical, pl.Enum):
            stamps, offset_given = parse_stamps(clean_text(column), name, time_format, log)
    if stamps is None or stamps.null_count() == len(stamps):
        example = next((repr(v) for v in column.to_list() if v is not None), "only empty cells")
        raise log.error(
            f"time column {name!r} holds neither numbers nor timestamps, for example {example}.",
            "name another column, or give time_format=, e.g. '%d.%m.%Y %H:%M'.",
        )
    seconds_per_unit = _duration(time_unit, name, log)
    if timezone is not None and not offset_given.all():
        stamps = _localise(stamps, offset_given, units, timezone, name, log)
    elif not offset_given.all() and column.dtype != pl.Date:
        message = f"timestamps of column {name!r} have no time zone and were taken as UTC."
        remedy = "give timezone=, e.g. 'Europe/Berlin', if clocks were changed in summer."
        log.note("time_zone", message, remedy, severity="note", columns=[name])
    micro = stamps.dt.epoch("us").cast(pl.Float64)
    return Timeline(micro.rename(name), timestamps=True, whole=False, scale=seconds_per_unit * 1e6)


def _duration(time_unit: str, name: str, log: IssueLog) -> float:
    seconds = SECONDS.get(time_unit.casefold())
    if seconds is None:
        raise log.error(
            f"time column {name!r} holds timestamps, but time_unit is {time_unit!r}.",
            "choose from milliseconds, seconds, minutes, hours, days, weeks.",
        )
    return seconds


def parse_stamps(
    text: pl.Series, name: str, time_format: str | None, log: IssueLog
) -> tuple[pl.Series, pl.Series]:
    """Naive timestamps (UTC where an offset was given), and where it was."""
    if time_format is not None:
        try:
            zoned = "%z" in time_format or "%:z" in time_format
            stamps = text.str.to_datetime(time_format, strict=False, time_unit="us")
            if zoned:
                stamps = stamps.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        except pl.exceptions.PolarsError as error:
            raise log.error(
                f"time_format {time_format!r} does not suit column {name!r}: {error}.",
                "use strptime codes, e.g. '%d.%m.%Y %H:%M:%S'.",
            ) from None
        return stamps, pl.repeat(zoned, len(text), dtype=pl.Boolean, eager=True)
    first = text.to_frame("t").select(pl.col("t").str.extract_groups(_YEAR_FIRST)).unnest("t")
    last = text.to_frame("t").select(pl.col("t").str.extract_groups(YEAR_LAST)).unnest("t")
    year_last = last["4"].is_not_null()
    a, b = last["1"].cast(pl.Int32), last["3"].cast(pl.Int32)
    dotted = bool((last["2"] == ".").any())
    day_first = dotted or bool((a > 12).any()) or not bool((b > 12).any())
    if year_last.any() and not dotted and not ((a > 12).any() or (b > 12).any()):
        message = f"column {name!r}: dates such as {text.drop_nulls()[0]!r} were read day first."
        log.note("date_order", message, "give time_format= if the month is first.", columns=[name])
    day, month = ("1", "3") if day_first else ("3", "1")
    parts = {
        "y": (first["1"], last["4"]),
        "m": (first["2"], last[month]),
        "d": (first["3"], last[day]),
        "H": (first["4"], last["5"]),
        "M": (first["5"], last["6"]),
        "S": (first["6"], last["7"]),
        "f": (first["7"], last["8"]),
        "z": (first["8"], last["9"]),
    }
    cells = pl.DataFrame({k: one.zip_with(~year_last, two) for k, (one, two) in parts.items()})
    stamp = cells.select(
        pl.format(
            "{}-{}-{} {}:{}:{}.{}",
            "y",
            pl.col("m").str.zfill(2),
            pl.col("d").str.zfill(2),
            pl.col("H").fill_null("00").str.zfill(2),
            pl.col("M").fill_null("00"),
            pl.col("S").fill_null("00"),
            pl.col("f").fill_null("0").str.slice(0, 6).str.pad_end(6, "0"),
        )
        .str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
        .alias("t")
    )["t"]
    zone = cells["z"]
    digits = zone.str.replace(":", "", literal=True)
    hours = digits.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = digits.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = digits.str.starts_with("-").fill_null(value=False).cast(pl.Int64) * -2 + 1
    shift = (sign * (hours * 60 + minutes) * 60_000_000).cast(pl.Duration("us"))
    return stamp - shift, zone.is_not_null() | stamp.is_null()


def _localise(
    stamps: pl.Series,
    known: pl.Series,
    units: pl.Series,
    timezone: str,
    name: str,
    log: IssueLog,
) -> pl.Series:
    """Instants of local times; a repeated hour goes forward in the order of the file."""
    try:
        early = stamps.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        late = stamps.dt.replace_time_zone(timezone, ambiguous="latest", non_existent="null")
        moved = stamps.dt.offset_by("1h").dt.replace_time_zone(
            timezone, ambiguous="earliest", non_existent="null"
        )
    except pl.exceptions.PolarsError:
        raise log.error(
            f"there is no time zone {timezone!r}.", "use an IANA name, e.g. 'Europe/Berlin'."
        ) from None

    def utc(local: pl.Series) -> pl.Series:
        return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

    early, late, moved = utc(early), utc(late), utc(moved)
    skipped = early.is_null() & stamps.is_not_null() & ~known
    if skipped.any():
        message = f"column {name!r}: {int(skipped.sum())} local times do not exist in {timezone} "
        message += "(clocks went forward); they were moved by one hour."
        log.note("time_zone", message, "record times in UTC.", columns=[name])
    chosen = early.zip_with(early.is_not_null(), moved)
    twice = (early != late).fill_null(value=False) & ~known
    if twice.any():
        chosen = _second_pass(chosen, late, twice, units)
        message = f"column {name!r}: {int(twice.sum())} local times occur twice in {timezone} "
        message += "(clocks went back); the order of the rows decided which was meant."
        log.note("time_zone", message, "record times in UTC.", severity="note", columns=[name])
    local: pl.Series = stamps.zip_with(known, chosen)
    return local


def _second_pass(
    early: pl.Series, late: pl.Series, twice: pl.Series, units: pl.Series
) -> pl.Series:
    """Within a unit, a repeated local time at or before its predecessor is the later one."""
    one = early.dt.epoch("us").fill_null(0).to_numpy().copy()
    two = late.dt.epoch("us").fill_null(0).to_numpy()
    last: dict[Any, int] = {}
    rows = twice.arg_true().to_numpy()
    ids = units.gather(rows).to_list()
    for row, unit in zip(rows.tolist(), ids, strict=True):
        if one[row] <= last.get(unit, np.iinfo(np.int64).min):
            one[row] = two[row]
        last[unit] = int(one[row])
    again = pl.Series(one).cast(pl.Datetime("us"))
    passed: pl.Series = again.zip_with(early.is_not_null(), early)
    return passed
