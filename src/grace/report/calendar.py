"""A maintenance plan as an iCalendar file."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from grace.decisions import MaintenancePlan
from grace.decisions.inputs import SECONDS
from grace.extras import MissingExtraError

__all__ = ["calendar_of", "calendar_seconds"]


def calendar_seconds(time_unit: str) -> float:
    """Seconds of a fleet's unit of time.

    Raises:
        ValueError: it counts cycles or another unit that a calendar does not have.

    Example:
        >>> calendar_seconds("hours")
        3600.0
    """
    unit = time_unit.lower()
    seconds = SECONDS.get(unit, SECONDS.get(unit.removesuffix("s")))
    if seconds is None:
        known = ", ".join(f"{name}s" for name in SECONDS)
        raise ValueError(
            f"the plan counts time in {time_unit}, which no calendar has (it has {known}). "
            "Remedy: write .csv or .html."
        )
    return seconds


def calendar_of(plan: MaintenancePlan, start: datetime) -> bytes:
    """One event per planned unit, with the reason as its description (RFC 5545).

    Args:
        plan: the plan; its unit of time must be one of a calendar.
        start: the moment that the plan counts its times from.

    Raises:
        ValueError: the plan counts cycles or another unit that a calendar does not have.
        ImportError: icalendar is not installed.
    """
    seconds = calendar_seconds(plan.time_unit)
    try:
        from icalendar import Calendar, Event
    except ImportError as error:
        raise MissingExtraError("writing .ics needs icalendar", "plan") from error
    calendar = Calendar()
    calendar.add("prodid", "-//grace//maintenance plan//EN")
    calendar.add("version", "2.0")
    for row in plan.frame.filter(plan.frame["slot"].is_not_null()).iter_rows(named=True):
        event = Event()
        event.add("uid", f"{row['unit']}-{row['slot']}@grace")
        event.add("dtstamp", start.astimezone(timezone.utc))
        event.add("summary", f"Replace {row['unit']}")
        event.add("dtstart", start + timedelta(seconds=row["start"] * seconds))
        event.add("dtend", start + timedelta(seconds=row["end"] * seconds))
        event.add("description", row["reason"])
        calendar.add_component(event)
    return bytes(calendar.to_ical())
