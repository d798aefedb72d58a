"""All figures of a page, drawn, described and captioned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grace import plots
from grace.evaluation import MetricSet, PredictorMetrics
from grace.formatting import count, number, percent, plain_name
from grace.plots.balance import logged
from grace.plots.prognostics import FEW
from grace.plots.style import figure_style, new_figure
from grace.report.distribution_section import distribution_section
from grace.report.intervals import level_of
from grace.report.run_data import RunData, Trajectory
from grace.report.select_units import SelectedUnit, cone_unit
from grace.report.svg import SvgSheet
from grace.report.tables import by_rmse

__all__ = ["PageFigure", "ReportFigures", "predictor_frame", "trajectory_frame"]

_LAMBDAS = tuple(round(0.05 * k, 2) for k in range(20))


class PageFigure(NamedTuple):
    """An SVG element with its title and caption."""

    svg: Markup
    title: str
    caption: str


def trajectory_frame(trajectory: Trajectory) -> pl.DataFrame:
    """A unit over time in the columns that :mod:`grace.plots` reads."""
    columns: dict[str, Any] = {
        "time": trajectory.time,
        "rul": trajectory.predicted,
        "rul_true": trajectory.true,
    }
    if trajectory.states is not None:
        columns["health"] = trajectory.states
    return pl.DataFrame(columns)


def predictor_frame(rows: dict[str, MetricSet]) -> pl.DataFrame:
    """RMSE of each predictor with its interval, in the columns that :mod:`grace.plots` reads."""
    intervals = [m.intervals.get("rmse") for m in rows.values()]
    return pl.DataFrame(
        {
            "name": list(rows),
            "value": [m.rmse for m in rows.values()],
            "low": [None if i is None else i.low for i in intervals],
            "high": [None if i is None else i.high for i in intervals],
        },
        schema_overrides=dict.fromkeys(("value", "low", "high"), pl.Float64),
    )


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
                "distribution": distribution_section(self.m, chosen, self._figure),
                "zone_figures": self._zones(),
                "health_figures": self._health(),
                "prognostic_figures": self._prognostics(),
                "training_figures": self._training(),
                "baseline_figures": self._baselines(),
            }

    def _figure(self, drawn: Axes, title: str, caption: str, described: str = "") -> PageFigure:
        text = " ".join(p for p in (title, described or caption) if p)
        if self.m.mark:
            text += f" ({self.m.mark})"
        assert isinstance(drawn.figure, Figure)
        return PageFigure(self.sheet.add(drawn.figure, text), title, caption)

    def _trajectory(self, chosen: SelectedUnit) -> PageFigure:
        m, t = self.m, chosen.trajectory
        drawn = plots.rul_trajectory(
            trajectory_frame(t),
            new_figure(320, 270).add_subplot(),
            time_unit=m.time_unit,
            cap=m.cap,
            thresholds=m.evaluation.protocol.health_thresholds,
            legend=False,
        )
        reason = f"{chosen.reason[0].upper()}{chosen.reason[1:]}"
        true = "true RUL unknown" if np.isnan(t.true[-1]) else f"true RUL {t.true[-1]:g}"
        caption = (
            f"{reason}. At the last record: {true}, predicted RUL {t.predicted[-1]:.0f} "
            f"{m.time_unit}."
        )
        described = f"{caption} Predicted and true RUL over {count(t.time.size, 'record')}" + (
            "." if t.states is None else ", with the health states below."
        )
        return self._figure(drawn, f"Unit {t.unit}.", caption, described)

    def _sorted(self) -> PageFigure | None:
        m = self.m
        if not m.evaluated:
            return None
        limits = m.evaluation.protocol.health_thresholds
        last_rows = {
            "rul": np.array([t.predicted[-1] for t in m.evaluated]),
            "rul_true": np.array([t.true[-1] for t in m.evaluated]),
        }
        drawn = plots.predictions_by_true_rul(
            last_rows, time_unit=m.time_unit, cap=m.cap, thresholds=limits
        )
        between = " and ".join(f"{v:g}" for v in limits)
        last = m.evaluation.model.last_cycle.capped
        return self._figure(
            drawn,
            "",
            "Each test unit at its last record. The line is the true RUL, the triangle the "
            "prediction: it points upwards if the prediction is late and downwards if it is "
            f"early. Dotted lines: limits of the health states ({between} {m.time_unit}).",
            f"{last.n} test units sorted by true RUL with their predictions; RMSE "
            f"{number(last.rmse)} {m.time_unit}, {percent(last.late_share)} late.",
        )

    def _zones(self) -> list[PageFigure]:
        m, zones = self.m, self.m.evaluation.zones
        if not zones:
            return []
        rmse = "; ".join(f"{z.zone}: {number(z.rmse)}" for z in zones)
        bias = "; ".join(f"{z.zone}: {number(z.bias)}" for z in zones)
        errors = np.array([t.error for t in m.evaluated])
        found = [
            self._figure(
                plots.error_by_zone(zones, time_unit=m.time_unit, overall=m.evaluation.rmse),
                "RMSE by zone.",
                "The last zone contains the units whose true RUL is at or above the label cap. "
                "The dashed line is the RMSE over all units.",
                f"Bars: {rmse}.",
            ),
            self._figure(
                plots.bias_by_zone(zones, time_unit=m.time_unit),
                "Mean error by zone.",
                "Mean error and share of late predictions. Late predictions near the end of life "
                "are the most costly ones.",
                f"Bars of the mean error: {bias}.",
            ),
        ]
        if errors.size > 1:
            found.append(
                self._figure(
                    plots.error_distribution(errors, time_unit=m.time_unit),
                    "Distribution of the errors.",
                    "Errors at the last record of each unit, against capped labels. The dashed "
                    "line is the mean error.",
                )
            )
        return found

    def _health(self) -> list[PageFigure]:
        found = []
        model = self.m.evaluation.model
        for health, title, rows in (
            (model.health_last_cycle, "Last record of each unit.", "units"),
            (model.health_all_cycles, "All records.", "records"),
        ):
            if health is not None:
                caption = (
                    f"{percent(health.accuracy)} of {health.n:,} {rows} have the correct state; "
                    f"macro F1 {number(health.macro_f1)}. Percentages are shares of the true state."
                )
                drawn = plots.health_confusion(health.confusion, of=rows)
                found.append(self._figure(drawn, title, caption))
        return found

    def _prognostics(self) -> list[PageFigure]:
        m, summary = self.m, self.m.evaluation.prognostics
        if not m.followed:
            return []
        found = []
        unit = cone_unit(m)
        if unit is not None:
            found.append(
                self._figure(
                    plots.alpha_lambda_cone(
                        trajectory_frame(unit),
                        time_unit=m.time_unit,
                        alpha=summary.alpha,
                        cap=m.cap,
                    ),
                    f"Unit {unit.unit} in the α-λ cone.",
                    f"Predictions should enter the band of ±{percent(summary.alpha)} around the "
                    "true RUL, and stay inside while the band narrows.",
                )
            )
        table = m.by_unit(_LAMBDAS)
        columns = [table[f"alpha_lambda_{lam:g}"] for lam in _LAMBDAS]
        n = np.array([int(np.isfinite(c).sum()) for c in columns])
        if n.max():
            share = [
                float(np.nanmean(c)) if k else float("nan") for c, k in zip(columns, n, strict=True)
            ]
            found.append(
                self._figure(
                    plots.cone_share(
                        {"lambda": np.array(_LAMBDAS), "share": np.array(share), "n": n},
                        alpha=summary.alpha,
                    ),
                    "Units inside the cone.",
                    "Share of units inside the cone at each moment of the evaluated life. The "
                    f"grey area shows how many of the {n.max()} units have records at that "
                    f"moment. Hollow markers: fewer than {FEW} units.",
                )
            )
        horizons = table["horizon"][np.isfinite(table["horizon"])]
        if horizons.size:
            limit = f" Rows with a true RUL above {m.cap:g} are not evaluated." if m.cap else ""
            found.append(
                self._figure(
                    plots.prognostic_horizon(
                        horizons, time_unit=m.time_unit, alpha=summary.horizon_alpha
                    ),
                    "Prognostic horizon.",
                    f"Share of {count(horizons.size, 'unit')} whose predictions stay within "
                    f"±{percent(summary.horizon_alpha)} of the unit's life from this time before "
                    f"failure until the last record.{limit}",
                )
            )
        return found

    def _training(self) -> list[PageFigure]:
        m = self.m
        epoch = m.artifact.get("provenance", {}).get("chosen_epoch")
        found = []
        if m.history:
            found.append(
                self._figure(
                    plots.training_losses(m.history),
                    "Losses.",
                    "Mean loss of both tasks per epoch (logarithmic). The two losses have "
                    "different units, so only their shapes can be compared.",
                )
            )
            tested = any("test" in (r.get("rmse") or {}) for r in m.history)
            found.append(
                self._figure(
                    plots.validation_error(m.history, time_unit=m.time_unit, chosen_epoch=epoch),
                    "Validation error.",
                    "RMSE after each epoch on every record of the held-out units, and on the last "
                    "records of the test units. The test RMSE chose the checkpoint (dot)."
                    if tested
                    else "RMSE of the averaged weights after each epoch, on every record of the "
                    "held-out units. The dot marks the checkpoint that was kept.",
                )
            )
        log = m.telemetry
        if logged(log, "lambda_raw")[1].size:
            found.append(
                self._figure(
                    plots.gaba_weights(log),
                    "Task weight.",
                    "λ of the RUL task per step: as computed from the gradient norms (raw), after "
                    "smoothing (EMA), and as applied after warm-up and lower limit. The health "
                    "task gets the rest.",
                )
            )
        elif m.history and len(m.history[0].get("weights") or []) > 1:
            source = log if logged(log, "weights")[1].size else m.history
            found.append(
                self._figure(
                    plots.task_weights(source),
                    "Task weights.",
                    "Task weights as applied. This method logs no raw weights.",
                )
            )
        return found + self._gradients()

    def _gradients(self) -> list[PageFigure]:
        log = self.m.telemetry
        steps, norms = logged(log, "task_grad_norms")
        figures: list[tuple[bool, Callable[..., Axes], str, str]] = [
            (
                steps.size > 1,
                plots.gradient_norms,
                "Gradient norms.",
                "Norm of each task's gradient on the shared parameters (logarithmic).",
            ),
            (
                steps.size > 1 and norms.shape[1] > 1,
                plots.gradient_ratio,
                "Gradient balance.",
                "Norm of the RUL gradient divided by that of the health gradient (logarithmic).",
            ),
            (
                logged(log, "cosine")[0].size > 1,
                plots.gradient_cosine,
                "Gradient conflict.",
                "Cosine between the two task gradients. Below 0, the tasks conflict.",
            ),
            (
                bool(logged(log, "floor_share")[1].any()),
                plots.floor_share,
                "Lower limit of the weights.",
                "Share of steps since warm-up on which a weight was held at its lower limit. At "
                "100% the method equals fixed weights.",
            ),
        ]
        return [
            self._figure(draw(log), title, caption)
            for drawable, draw, title, caption in figures
            if drawable
        ]

    def _baselines(self) -> list[PageFigure]:
        m, evaluation = self.m, self.m.evaluation
        evaluated: dict[str, PredictorMetrics] = {"model": evaluation.model}
        evaluated |= {plain_name(k): v for k, v in by_rmse(evaluation).items()}
        level = level_of(evaluation.model.last_cycle.capped)
        caption = f"Lines on the bars: {level} intervals over units." if level else ""
        found = []
        for place, title in (("last_cycle", "Last record"), ("all_cycles", "All records")):
            for label in ("capped", "raw"):
                rows = {name: getattr(getattr(j, place), label) for name, j in evaluated.items()}
                capped = label == "capped" and m.cap is not None
                kind = f"labels capped at {m.cap:g}" if capped else "uncapped labels"
                read = "; ".join(f"{name} {number(v.rmse)}" for name, v in rows.items())
                found.append(
                    self._figure(
                        plots.predictor_errors(predictor_frame(rows), time_unit=m.time_unit),
                        f"{title}, {kind}.",
                        caption or "RMSE of each predictor.",
                        read,
                    )
                )
        return found
