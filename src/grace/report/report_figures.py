"""All figures of a page, drawn, described and captioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from grace.evaluation import PredictorMetrics
from grace.report import figures_errors as errors
from grace.report import figures_units as units
from grace.report.figures_training import training_figures
from grace.report.formatting import figure as number
from grace.report.formatting import level_of, predictor_name, share
from grace.report.run_data import RunData
from grace.report.select_units import SelectedUnit, cone_unit
from grace.report.style import figure_style
from grace.report.svg import SvgSheet
from grace.report.tables import by_rmse

__all__ = ["PageFigure", "ReportFigures"]

_LAMBDAS = tuple(round(0.05 * k, 2) for k in range(20))


class PageFigure(NamedTuple):
    """An SVG element with the words below it."""

    svg: Markup
    title: str
    caption: str


class ReportFigures:
    """Draws everything a page shows; ``drawn`` holds it by the template's names.

    Args:
        run_data: the run.
        chosen: units to draw over time.
    """

    def __init__(self, run_data: RunData, chosen: Sequence[SelectedUnit]) -> None:
        self.m, self.sheet = run_data, SvgSheet()
        with figure_style():
            self.drawn = {
                "trajectories": [self._trajectory(c) for c in chosen],
                "sorted_units": self._sorted(),
                "zone_figures": self._zones(),
                "health_figures": self._health(),
                "prognostic_figures": self._prognostics(),
                "training_figures": self._training(),
                "baseline_figures": self._baselines(),
            }

    def _picture(self, drawn: Figure, title: str, caption: str, described: str = "") -> PageFigure:
        text = " ".join(p for p in (title, described or caption) if p)
        if self.m.mark:
            text += f" ({self.m.mark})"
        return PageFigure(self.sheet.add(drawn, text), title, caption)

    def _trajectory(self, chosen: SelectedUnit) -> PageFigure:
        m, t = self.m, chosen.trajectory
        limits = m.evaluation.protocol.health_thresholds
        drawn = units.trajectory_figure(t, m.cap, m.n_states, limits)
        known = not np.isnan(t.true[-1])
        left = f"{t.true[-1]:g} {m.time_unit} left, " if known else ""
        caption = (
            f"{chosen.reason[0].upper()}{chosen.reason[1:]}: {left}{t.predicted[-1]:.0f} predicted."
        )
        described = (
            f"{caption} Predicted and true remaining life over {t.time.size} records, with the "
            "health states below."
        )
        return self._picture(drawn, f"Unit {t.unit}.", caption, described)

    def _sorted(self) -> PageFigure | None:
        m = self.m
        if not m.evaluated:
            return None
        limits = m.evaluation.protocol.health_thresholds
        drawn = units.sorted_figure(m.evaluated, m.cap, limits, m.time_unit)
        between = " and ".join(f"{v:g}" for v in limits)
        last = m.evaluation.model.last_cycle.capped
        return self._picture(
            drawn,
            "",
            f"Each test unit at its last record: the line is the truth, the triangle the "
            f"prediction, up if late and down if early. Dotted: limits of the health states "
            f"({between}).",
            f"{last.n} test units sorted by true remaining life with their predictions; RMSE "
            f"{number(last.rmse)}, {share(last.late_share)} late.",
        )

    def _zones(self) -> list[PageFigure]:
        m, zones = self.m, self.m.evaluation.zones
        if not zones:
            return []
        read = "; ".join(f"{z.zone}: {number(z.rmse)}" for z in zones)
        leaning = "; ".join(f"{z.zone}: {number(z.bias)}" for z in zones)
        return [
            self._picture(
                errors.zones_figure(zones, m.evaluation.rmse, m.time_unit),
                "RMSE by zone.",
                "The rightmost zone holds what lies at or above the cap; the dashed line is the "
                "RMSE of all.",
                f"Bars: {read}.",
            ),
            self._picture(
                errors.zone_bias_figure(zones, m.time_unit),
                "Bias by zone.",
                "Mean error, and the share predicted late. Late near failure is the costly side.",
                f"Bars of the mean error: {leaning}.",
            ),
        ]

    def _health(self) -> list[PageFigure]:
        found = []
        model = self.m.evaluation.model
        for health, title, rows in (
            (model.health_last_cycle, "Last record of each unit.", "units"),
            (model.health_all_cycles, "All records.", "records"),
        ):
            if health is not None:
                caption = (
                    f"{share(health.accuracy)} of {health.n:,} {rows} right, macro F1 "
                    f"{number(health.macro_f1)}. Small: share of the true state."
                )
                found.append(self._picture(errors.confusion_figure(health, ""), title, caption))
        return found

    def _prognostics(self) -> list[PageFigure]:
        m, summary = self.m, self.m.evaluation.prognostics
        if not m.followed:
            return []
        found = []
        unit = cone_unit(m)
        if unit is not None:
            found.append(
                self._picture(
                    units.cone_figure(unit, m.cap, summary.alpha, m.time_unit),
                    f"Unit {unit.unit} in the α-λ cone.",
                    f"Predictions should enter the band of ±{summary.alpha:.0%} around the true "
                    "remaining life and stay in it as it narrows.",
                )
            )
        table = m.by_unit(_LAMBDAS)
        most = max(int(np.isfinite(table[f"alpha_lambda_{lam:g}"]).sum()) for lam in _LAMBDAS)
        if most:
            found.append(
                self._picture(
                    errors.cone_share_figure(table, _LAMBDAS, summary.alpha),
                    "Units inside the cone.",
                    "Share of units inside at each moment of the evaluated life; grey, how many of "
                    f"{most} are recorded that far. Hollow: fewer than {errors.FEW} units.",
                )
            )
        horizons = table["horizon"][np.isfinite(table["horizon"])]
        if horizons.size:
            found.append(
                self._picture(
                    errors.horizon_figure(horizons, summary.horizon_alpha, m.time_unit),
                    "Prognostic horizon.",
                    f"For how many of {horizons.size} units the prediction stays within "
                    f"±{summary.horizon_alpha:.0%} of the unit's life from this long before its "
                    "failure until its last record."
                    + ("" if summary.cap is None else f" Evaluated from {summary.cap:g} on."),
                )
            )
        return found

    def _training(self) -> list[PageFigure]:
        m = self.m
        epoch = m.artifact.get("provenance", {}).get("chosen_epoch")
        return [
            self._picture(drawn, title, caption)
            for drawn, title, caption in training_figures(
                m.history, m.telemetry, epoch, m.time_unit
            )
        ]

    def _baselines(self) -> list[PageFigure]:
        m, evaluation = self.m, self.m.evaluation
        evaluated: dict[str, PredictorMetrics] = {"model": evaluation.model}
        evaluated |= {predictor_name(k): v for k, v in by_rmse(evaluation).items()}
        level = level_of(evaluation.model.last_cycle.capped)
        bars = f" Whiskers: {level} intervals over units." if level else ""
        found = []
        for place, words in (("last_cycle", "last record"), ("all_cycles", "all records")):
            for label in ("capped", "raw"):
                rows = {name: getattr(getattr(j, place), label) for name, j in evaluated.items()}
                kind = (
                    f"labels capped at {m.cap:g}" if label == "capped" and m.cap else "raw labels"
                )
                read = "; ".join(f"{name} {number(v.rmse)}" for name, v in rows.items())
                found.append(
                    self._picture(
                        errors.predictors_figure(rows, f"RMSE, {m.time_unit}"),
                        f"{words.capitalize()}, {kind}.",
                        bars.strip() or "RMSE of each predictor.",
                        read,
                    )
                )
        return found
