"""Numbers as a reader wants them."""

from __future__ import annotations

import math

from grace.evaluation import Interval, MetricSet

__all__ = [
    "duration",
    "figure",
    "interval_text",
    "of_units",
    "predictor_name",
    "share",
    "signed",
    "signed_short",
]


def figure(value: float | None) -> str:
    """Fewer decimals the larger it is: ``12.30``, ``288.5``, ``17,008``, ``5.4e+08``.

    Example:
        >>> figure(11.988), figure(17008.47), figure(5.4e8), figure(None)
        ('11.99', '17,008', '5.4e+08', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.2f}"
    if abs(value) >= 1e7:
        text = f"{value:.1e}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif abs(value) >= 100:
        text = f"{value:.1f}"
    return text.replace("-", "−") if value < 0 else text


def signed(value: float | None) -> str:
    """As :func:`figure`, with a plus."""
    if value is None or math.isnan(value):
        return "–"
    return ("+" if value > 0 else "") + figure(value)


def signed_short(value: float) -> str:
    """One decimal with its sign: ``+8.3``, ``−0.4``, ``0.0``."""
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")


def share(value: float | None) -> str:
    """Per cent without decimals."""
    return "–" if value is None or math.isnan(value) else f"{value:.0%}"


def interval_text(interval: Interval | None) -> str:
    """``10.18 – 14.60``; empty without an interval."""
    return "" if interval is None else f"{figure(interval.low)} – {figure(interval.high)}"


def level_of(metrics: MetricSet) -> str:
    """``95 %`` for the intervals of these metrics; empty if they carry none."""
    levels = [f"{i.level:.0%}".replace("%", " %") for i in metrics.intervals.values()]
    return levels[0] if levels else ""


def duration(seconds: float | None) -> str:
    """Seconds as ``56 s``, ``12 min`` or ``3.4 h``."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def of_units(n: int) -> str:
    """``1 unit`` or ``16 units``."""
    return f"{n} unit{'' if n == 1 else 's'}"


def predictor_name(name: str) -> str:
    """A baseline's registry name in words."""
    return name.replace("_all_inputs", ", all inputs").replace("_", " ")
