"""What a fitted model reports: errors and weights of its candidates, settings and reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from grace.candidates import CANDIDATES
from grace.estimator.saved_model import Learned

__all__ = ["ModelReport", "model_report"]


@dataclass(frozen=True, eq=False)
class ModelReport:
    """Errors, weights and settings of a fitted :class:`~grace.estimator.RULModel`.

    Attributes:
        summary: what to expect on a new unit, in one or two sentences.
        candidates: one row per candidate, the most accurate first: ``candidate``,
            ``description``, ``rmse`` (out of fold, capped labels, in ``time_unit``),
            ``share_of_cap`` (that divided by the cap) and ``weight`` in the predictor.
        rmse: out-of-fold error of the predictor, on folds its weights were not fitted on.
        left_out: candidates that did not take part, with the reason.
        issues: what was repaired in the training data or may spoil results.
        reasons: settings derived from the fleet, with the reason of each.
        cap: largest RUL that is predicted.
        n_units: units with a known end behind the errors.
        time_unit: unit of all times.

    Example:
        >>> import grace
        >>> fleet = grace.load_dataset("sim", n_train=8, n_test=2)
        >>> model = grace.RULModel(candidates=["median_life", "linear"], rows_per_unit=10, seed=0)
        >>> report = model.fit(fleet.train).report_
        >>> report.candidates["candidate"].to_list(), report.n_units
        (['linear', 'median_life'], 8)
    """

    summary: str
    candidates: pl.DataFrame
    rmse: float
    left_out: Mapping[str, str]
    issues: tuple[str, ...]
    reasons: Mapping[str, str]
    cap: float
    n_units: int
    time_unit: str

    def __str__(self) -> str:
        """The summary and a table of the candidates, as plain text."""
        width = max(len("candidate"), *(len(n) for n in self.candidates["candidate"]))
        lines = [self.summary, "", f"{'candidate':<{width}}  {'RMSE':>10}  {'of cap':>6}  weight"]
        lines += [
            f"{row['candidate']:<{width}}  {row['rmse']:>10.4g}  {row['share_of_cap']:>6.1%}  "
            f"{row['weight']:>6.1%}"
            for row in self.candidates.iter_rows(named=True)
        ]
        lines += [f"{name} did not take part: {why}" for name, why in self.left_out.items()]
        lines += [f"data: {message}" for message in self.issues]
        return "\n".join(lines)


def model_report(learned: Learned) -> ModelReport:
    """The report of a learned state."""
    errors, cap = learned.stack.errors_, learned.labels.cap
    return ModelReport(
        summary=learned.summary,
        candidates=pl.DataFrame(
            {
                "candidate": [e.name for e in errors],
                "description": [CANDIDATES[e.name].description for e in errors],
                "rmse": [e.rmse for e in errors],
                "share_of_cap": [e.rmse / cap for e in errors],
                "weight": [e.weight for e in errors],
            }
        ),
        rmse=learned.stack.rmse_,
        left_out=dict(learned.left_out),
        issues=tuple(learned.provenance.get("issues", ())),
        reasons=dict(learned.reasons),
        cap=cap,
        n_units=learned.stack.n_units_,
        time_unit=learned.fleet_schema.time_unit,
    )
