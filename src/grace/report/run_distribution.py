"""The predictive distribution that a run's report shows, from the files of the run alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.experiments.run_evaluation import DISTRIBUTION_LEVELS, quantile_column
from grace.report.distribution_figures import DistributionCheck
from grace.report.run_data import RunData, Trajectory
from grace.uncertainty import DistributionModel, RULDistribution, fit_distribution, time_edges

__all__ = ["RunDistribution", "run_distribution"]

_PREDICTION = "network"


@dataclass(frozen=True, eq=False)
class RunDistribution:
    """Distributions of the rows of a run's test units.

    ``model`` is fitted on the validation units; None where the run's survival head predicted the
    distributions. ``statement`` says how they are calibrated.
    """

    m: RunData
    model: DistributionModel | None
    statement: str

    @property
    def horizon(self) -> float:
        """The horizon of failure probabilities: the lowest health threshold."""
        return float(self.m.evaluation.protocol.health_thresholds[-1])

    def predict(self, rows: pl.DataFrame, age: npt.NDArray[np.float64]) -> RULDistribution:
        """Distributions of rows of the predictions, with their ages."""
        if self.model is None:
            values = rows.select(map(quantile_column, DISTRIBUTION_LEVELS)).to_numpy()
            edges = time_edges(float(np.nanmax(values)) / 400.0, 1.5 * float(np.nanmax(values)))
            return RULDistribution.from_quantiles(edges, DISTRIBUTION_LEVELS, values)
        return self.model.predict(pl.DataFrame({"age": age, _PREDICTION: rows["rul"]}))

    def at_last_rows(self) -> tuple[pl.DataFrame, RULDistribution]:
        """Last row of each test unit, and its distribution."""
        first = self.m.predictions.group_by("unit", maintain_order=True).first()["time"]
        rows = self.m.last_rows
        return rows, self.predict(rows, (rows["time"] - first).cast(pl.Float64).to_numpy())

    def band(self, trajectory: Trajectory, coverage: float) -> pl.DataFrame:
        """A unit over time with its interval: time, rul (the median), lower, upper, rul_true."""
        rows = self.m.predictions.filter(pl.col("unit") == trajectory.unit)
        d = self.predict(rows, trajectory.time - trajectory.time[0])
        lower, upper = d.interval(coverage)
        return pl.DataFrame(
            {
                "time": trajectory.time, "rul": d.median, "lower": lower, "upper": upper,
                "rul_true": trajectory.true,
            }
        )  # fmt: skip

    def check(self) -> DistributionCheck | None:
        """The test units whose remaining life is known; None if there is none."""
        rows, d = self.at_last_rows()
        true = rows["rul_true"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.isfinite(true)
        if not known.any():
            return None
        rows, d, true = rows.filter(known), d[known], true[known]
        protocol = self.m.evaluation.protocol
        edges = sorted({*protocol.health_thresholds, protocol.label_cap or np.inf} - {np.inf})
        whole = bool((true == np.round(true)).all())
        return DistributionCheck(
            distribution=d,
            y=true,
            event=np.ones(len(true), dtype=bool),
            unit=np.arange(len(true)),
            prediction=rows["rul"].cast(pl.Float64).to_numpy(),
            zone_edges=tuple(float(e) for e in edges),
            horizon=self.horizon,
            time_unit=self.m.time_unit,
            step=1.0 if whole else 0.0,
            condition=rows["condition"].to_numpy() if "condition" in rows.columns else None,
        )


def run_distribution(m: RunData) -> RunDistribution | None:
    """Distributions of a run's predictions; None if too few validation units are known.

    Those of the survival head if the run has one. Otherwise what became of rows of the validation
    units that were predicted alike, at a similar age, calibrated by unit: each test unit was
    predicted by the network that predicted these.
    """
    if quantile_column(DISTRIBUTION_LEVELS[0]) in m.predictions.columns:
        return RunDistribution(
            m, None, "By the survival head of the network, calibrated on the validation units."
        )
    true = pl.col("rul_true").cast(pl.Float64).fill_nan(None)
    table = m.validation.select(
        "unit",
        age=pl.col("time") - pl.col("time").first().over("unit"),
        rul_true=true,
        censored_after=pl.col("time").last().over("unit") - pl.col("time"),
        fold=pl.lit(0),
        **{_PREDICTION: pl.col("rul")},
    )
    if table.filter(pl.col("rul_true").is_not_null())["unit"].n_unique() < 2:
        return None
    model = fit_distribution(table, _PREDICTION)
    return RunDistribution(
        m,
        model,
        "What became of rows of the validation units that were predicted alike, at a similar age. "
        f"{model.calibration.statement(0.9)} The checkpoint was selected on these units, so the "
        "intervals may be a little too narrow.",
    )
