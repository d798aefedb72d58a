"""Figures and table of a predictive distribution, for the pages of runs and of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes

from grace import plots
from grace.evaluation.distribution_scores import randomised_pit
from grace.evaluation.probabilistic import (
    DistributionMetrics,
    IntervalMetrics,
    evaluate_distribution,
)
from grace.formatting import count, number, percent
from grace.uncertainty import RULDistribution

__all__ = [
    "DistributionCheck",
    "DistributionFigure",
    "coverage_rows",
    "distribution_figures",
    "distribution_summary",
]

Array = npt.NDArray[np.float64]
LEVELS = (0.8, 0.9, 0.95)
COVERAGE = 0.9


class DistributionFigure(NamedTuple):
    """A drawn figure with its title and caption."""

    ax: Axes
    title: str
    caption: str


@dataclass(frozen=True, eq=False)
class DistributionCheck:
    """Distributions of m rows, and what became of them.

    Args:
        distribution: of the uncapped RUL.
        y: RUL, or the time survived where not ``event``, (m,).
        event: whether the RUL is known, (m,).
        unit: which unit each row is of, (m,).
        prediction: point prediction, which zones are zones of, (m,).
        zone_edges: inner edges of the zones, ascending.
        horizon: of P(failure within h).
        time_unit: unit of all times.
        step: step in which RUL is counted; 0: continuous.
        condition: operating condition of each row, or None.
    """

    distribution: RULDistribution
    y: Array
    event: npt.NDArray[np.bool_]
    unit: npt.NDArray[Any]
    prediction: Array
    zone_edges: tuple[float, ...]
    horizon: float
    time_unit: str
    step: float = 0.0
    condition: npt.NDArray[Any] | None = None

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(np.unique(self.unit))

    def metrics(self) -> DistributionMetrics:
        """Scores overall, by zone of predicted RUL and by condition."""
        several = self.condition is not None and len(np.unique(self.condition)) > 1
        return evaluate_distribution(
            self.distribution,
            self.y,
            event=self.event,
            unit=self.unit,
            prediction=self.prediction,
            condition=self.condition if several else None,
            levels=LEVELS,
            zone_edges=(0.0, *self.zone_edges, np.inf),
            horizons=(self.horizon,),
            step=self.step,
            seed=0,
        )


def distribution_figures(
    check: DistributionCheck, metrics: DistributionMetrics
) -> list[DistributionFigure]:
    """Coverage by zone and by condition, reliability and PIT; draw under ``figure_style``."""
    unit, rows = check.time_unit, count(len(check.y), "row")
    if check.n_units == len(check.y):
        rows = count(len(check.y), "unit")
    nine = [i for i in metrics.intervals if i.nominal == COVERAGE]
    zones = [i for i in nine if i.group.startswith("(")]
    conditions = [i for i in nine if i.group.startswith("condition ")]
    said = f"Share of {rows} whose true RUL lies in its 90% interval; uncapped labels."
    found = [
        DistributionFigure(
            plots.coverage_by_zone(_shares(zones), nominal=COVERAGE, time_unit=unit),
            "Coverage by zone.",
            f"{said} Zones of predicted RUL.",
        )
    ]
    if conditions:
        found.append(
            DistributionFigure(
                plots.coverage_by_zone(
                    _shares(conditions), nominal=COVERAGE, time_unit="", what="operating condition"
                ),
                "Coverage by operating condition.",
                said,
            )
        )
    h = number(check.horizon).removesuffix(".00")
    failed = np.where(check.event, check.y <= check.horizon, np.nan)
    failed = np.where(check.y > check.horizon, 0.0, failed)
    risk = {
        "probability": check.distribution.prob_failure_within(check.horizon),
        "failed": failed.astype(np.float64),
    }
    if np.isfinite(failed).any():
        brier = metrics.failure_probability[0]
        found.append(
            DistributionFigure(
                plots.reliability_curve(risk, horizon=f"{h} {unit}"),
                "Reliability.",
                f"Observed share of failures within {h} {unit} against the predicted probability. "
                f"Brier score {number(brier.brier)}, that of the observed share alone "
                f"{number(brier.brier_of_constant)}.",
            )
        )
    found.append(
        DistributionFigure(
            plots.pit_histogram(_pit(check)),
            "PIT histogram.",
            "Predicted probability of the RUL that came true; flat if the distributions are right.",
        )
    )
    return found


def coverage_rows(metrics: DistributionMetrics) -> list[tuple[str, ...]]:
    """Rows of a table: group, rows, coverage at each nominal level, width and interval score."""
    groups = dict.fromkeys(i.group for i in metrics.intervals)
    rows = []
    for group in groups:
        mine = {i.nominal: i for i in metrics.intervals if i.group == group}
        nine = mine[COVERAGE]
        name = f"predicted RUL {_zone(group)}" if group.startswith("(") else group
        rows.append(
            (
                name,
                f"{nine.n:,}",
                *(percent(mine[level].coverage, 1) if level in mine else "–" for level in LEVELS),
                number(nine.mean_width),
                number(nine.interval_score),
            )
        )
    return rows


def distribution_summary(check: DistributionCheck, metrics: DistributionMetrics) -> str:
    """One sentence: overall coverage and CRPS."""
    nine = next(i for i in metrics.intervals if i.nominal == COVERAGE and i.group == "all")
    units = count(metrics.n_units, "unit")
    of = units if nine.n == metrics.n_units else f"{nine.n:,} rows of {units}"
    return (
        f"The 90% intervals hold the true RUL of {percent(nine.coverage, 1)} of {of}; mean width "
        f"{number(nine.mean_width)}, CRPS {number(metrics.crps)} {check.time_unit}."
    )


def _shares(intervals: list[IntervalMetrics]) -> pl.DataFrame:
    """Zones or conditions in the columns that ``plots.coverage_by_zone`` reads."""
    shown = [
        _zone(i.group) if i.group.startswith("(") else i.group.removeprefix("condition ")
        for i in intervals
    ]
    covered = [i.coverage * i.n if i.n else 0.0 for i in intervals]
    return pl.DataFrame({"zone": shown, "n": [i.n for i in intervals], "covered": covered})


def _zone(group: str) -> str:
    """A zone such as "(30, 80]" as "30–80", in three digits."""
    low, high = (f"{float(edge):.3g}" for edge in group.strip("(]").split(", "))
    return f"> {low}" if high == "inf" else f"{low}–{high}"


def _pit(check: DistributionCheck) -> Array:
    """PIT values; of a censored row a draw from what it leaves open."""
    rng = np.random.default_rng(0)
    pit = randomised_pit(check.distribution, check.y, rng, step=check.step)
    return np.asarray(np.where(check.event, pit, pit + rng.random(len(pit)) * (1.0 - pit)))
