"""Confidence intervals of the metrics of a run as text."""

from __future__ import annotations

from grace.evaluation import Interval, MetricSet
from grace.formatting import interval, percent

__all__ = ["interval_text", "level_of"]


def interval_text(limits: Interval | None) -> str:
    """``10.18 to 14.60``; empty without an interval."""
    return "" if limits is None else interval(limits.low, limits.high)


def level_of(metrics: MetricSet) -> str:
    """``95%`` for the intervals of these metrics; empty if they carry none."""
    levels = [percent(i.level) for i in metrics.intervals.values()]
    return levels[0] if levels else ""
