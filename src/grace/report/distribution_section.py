"""The section of a run's report on its predictive distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
from matplotlib.axes import Axes

from grace import plots
from grace.formatting import number, percent
from grace.report.distribution_figures import (
    COVERAGE,
    coverage_rows,
    distribution_figures,
    distribution_summary,
)
from grace.report.run_data import RunData
from grace.report.run_distribution import RunDistribution, run_distribution
from grace.report.select_units import SelectedUnit

if TYPE_CHECKING:
    from grace.report.report_figures import PageFigure

__all__ = ["DistributionSection", "distribution_section"]

_MOST_RANKED = 15
_BANDS = 2  # units drawn over time with their interval


class DistributionSection(NamedTuple):
    """Texts, figures and table rows; without figures, the statement says why."""

    statement: str
    summary: str
    figures: list[PageFigure]
    rows: list[tuple[str, ...]]


def distribution_section(
    m: RunData, chosen: Sequence[SelectedUnit], figure: Callable[..., PageFigure]
) -> DistributionSection:
    """Bands over time, P(failure within L), coverage, reliability and PIT of the test units.

    Args:
        m: the run.
        chosen: units to draw over time.
        figure: makes a figure of the page from axes, title and caption.
    """
    found = run_distribution(m)
    if found is None:
        text = "Fewer than two validation units have a known life: no distribution was fitted."
        return DistributionSection(text, "", [], [])
    figures = []
    for unit in chosen[:_BANDS]:
        ax = plots.rul_interval(found.band(unit.trajectory, COVERAGE), time_unit=m.time_unit)
        text = f"Median and {percent(COVERAGE)} interval of the uncapped RUL over time."
        figures.append(figure(ax, f"Unit {unit.trajectory.unit}.", text))
    figures.append(figure(*_ranking(m, found)))
    check = found.check()
    if check is None:
        return DistributionSection(found.statement, "", figures, [])
    metrics = check.metrics()
    figures += [figure(*drawn) for drawn in distribution_figures(check, metrics)]
    said = distribution_summary(check, metrics)
    return DistributionSection(found.statement, said, figures, coverage_rows(metrics))


def _ranking(m: RunData, found: RunDistribution) -> tuple[Axes, str, str]:
    """The most urgent units with interval and probability: axes, title and caption."""
    rows, d = found.at_last_rows()
    lower, upper = d.interval(COVERAGE)
    ranked = pl.DataFrame(
        {
            "unit": rows["unit"], "rul": d.median, "lower": lower, "upper": upper,
            "probability": d.prob_failure_within(found.horizon),
        }
    )  # fmt: skip
    within = f"{number(found.horizon).removesuffix('.00')} {m.time_unit}"
    ax = plots.fleet_ranking(
        ranked, time_unit=m.time_unit, horizon=found.horizon, most=_MOST_RANKED
    )
    return (
        ax,
        f"P(failure within {within}).",
        f"Units of shortest median RUL at their last record, {percent(COVERAGE)} intervals and the "
        f"probability of a failure within {within} (line).",
    )
