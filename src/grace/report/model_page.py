"""The page of a trained model: what to expect, candidates, coverage, settings."""

from __future__ import annotations

import numpy as np
import polars as pl

from grace import plots
from grace.estimator import RULModel
from grace.evaluation import Evaluation
from grace.formatting import number, percent
from grace.report.distribution_figures import (
    DistributionCheck,
    coverage_rows,
    distribution_figures,
    distribution_summary,
)
from grace.report.document import (
    DocumentSection,
    DocumentTable,
    FigureSheet,
    render_document,
)
from grace.uncertainty import EvaluationPoints, RULDistribution, held_out_distribution

__all__ = ["model_page"]


def model_page(model: RULModel, *, name: str, evaluation: Evaluation | None = None) -> str:
    """HTML page of a fitted :class:`~grace.estimator.RULModel`.

    Args:
        model: fitted or loaded.
        name: heading, e.g. the name of its folder.
        evaluation: on test units, if there are some.
    """
    report, sheet = model.report_, FigureSheet()
    unit = report.time_unit
    errors = report.candidates
    frame = errors.select(name=pl.col("candidate"), value=pl.col("rmse"), weight=pl.col("weight"))
    with plots.figure_style():
        ax = plots.predictor_errors(frame, time_unit=unit)
        text = (
            f"RMSE on units that the candidate never saw, labels capped at {report.cap:g} {unit}."
        )
        error_figures = [sheet.add(ax, "Error of each candidate.", text)]
        text = "Non-negative, their sum is 1; chosen out of fold."
        error_figures.append(sheet.add(plots.stack_weights(frame), "Weights.", text))
        fit_figures = []
        known = (model.oof_ if model.oof_ is not None else pl.DataFrame()).clear()
        if model.oof_ is not None:
            known = model.oof_.filter(pl.col("rul_true").is_not_null())
        if known.height:
            last = known.select(
                rul=pl.col("stack"), rul_true=pl.col("rul_true").clip(upper_bound=report.cap)
            ).sort("rul_true")
            if last.height > 400:
                last = last[np.linspace(0, last.height - 1, 400).astype(np.int64)]
            ax = plots.predictions_by_true_rul(last, time_unit=unit, cap=report.cap)
            text = "Several moments of each unit's life, predicted without the unit."
            fit_figures.append(sheet.add(ax, "Out-of-fold predictions.", text))
        distribution = _distribution_section(model, known, sheet)
    candidates = DocumentTable(
        f"Out-of-fold errors over {report.n_units} units; RMSE in {unit}.",
        ("Candidate", "What it is", "RMSE", "Of the cap", "Weight"),
        [
            (
                row["candidate"], row["description"], number(row["rmse"]),
                percent(row["share_of_cap"], 1), percent(row["weight"], 1),
            )
            for row in errors.iter_rows(named=True)
        ],
        numeric=frozenset({2, 3, 4}),
    )  # fmt: skip
    settings = DocumentTable(
        "Settings derived from the fleet.",
        ("Setting", "Reason"),
        [(key, value) for key, value in report.reasons.items()],
    )
    out = [f"{key} did not take part: {why}." for key, why in report.left_out.items()]
    out += [f"Data: {message}" for message in report.issues]
    return render_document(
        name,
        brand="Model",
        eyebrow="Remaining useful life, model of a fleet",
        figures=sheet,
        sections=[
            DocumentSection("summary", "What to expect on a new unit", texts=[report.summary]),
            DocumentSection(
                "candidates", "Candidates", texts=out, figures=error_figures, tables=[candidates]
            ),
            DocumentSection("predictions", "Predictions", figures=fit_figures),
            distribution,
            *([] if evaluation is None else [_evaluation_section(evaluation)]),
            DocumentSection("settings", "Settings", tables=[settings]),
        ],
    )


def _distribution_section(
    model: RULModel, known: pl.DataFrame, sheet: FigureSheet
) -> DocumentSection:
    """Coverage, reliability, PIT and bands on units that the distribution was not fitted on."""
    title, statement = "Predictive distribution", model.distribution_.calibration.statement(0.9)
    if model.oof_ is None or not known.height:
        return DocumentSection("distribution", title, texts=[statement])
    points, d = held_out_distribution(model.distribution_, model.oof_)
    labels, unit = model.labels_, model.report_.time_unit
    table = model.oof_[points.row]
    check = DistributionCheck(
        distribution=d,
        y=points.y,
        event=points.event,
        unit=points.unit,
        prediction=points.prediction,
        zone_edges=tuple(sorted({*labels.health_thresholds, labels.cap})),
        horizon=float(labels.health_thresholds[-1]),
        time_unit=unit,
        condition=table["condition"].to_numpy() if "condition" in table.columns else None,
    )
    metrics = check.metrics()
    figures = [sheet.add(*drawn) for drawn in distribution_figures(check, metrics)]
    shown = _band(points, d)
    if shown is not None:
        text = "A unit of median life: median and 90% interval, predicted without the unit."
        figures.insert(
            0, sheet.add(plots.rul_interval(shown, time_unit=unit), "RUL over time.", text)
        )
    coverage = DocumentTable(
        "Coverage of the intervals on held-out units, uncapped life; width and interval score of "
        f"the 90% intervals in {unit}.",
        ("Rows", "Number", "80%", "90%", "95%", "Mean width", "Interval score"),
        coverage_rows(metrics),
        numeric=frozenset(range(1, 7)),
    )
    said = distribution_summary(check, metrics)
    return DocumentSection(
        "distribution", title, texts=[statement, said], figures=figures, tables=[coverage]
    )


def _band(points: EvaluationPoints, d: RULDistribution) -> pl.DataFrame | None:
    """Points of the failed unit of median life over its age, with their intervals."""
    failed = np.unique(points.unit[points.event])
    if not failed.size:
        return None
    chosen = failed[failed.size // 2]  # units are numbered by their life
    mine = np.flatnonzero(points.unit == chosen)
    mine = mine[np.argsort(points.age[mine])]
    if mine.size < 2:
        return None
    lower, upper = d[mine].interval(0.9)
    return pl.DataFrame(
        {
            "time": points.age[mine], "rul": d[mine].median, "lower": lower, "upper": upper,
            "rul_true": np.where(points.event[mine], points.y[mine], np.nan),
        }
    )  # fmt: skip


def _evaluation_section(evaluation: Evaluation) -> DocumentSection:
    """Errors on the test units, with their protocol and remarks."""
    header, *rows = evaluation.to_table()
    table = DocumentTable(
        "Errors on the test units, with 95% intervals over units.",
        header,
        rows,
        numeric=frozenset(range(3, len(header))),
    )
    return DocumentSection(
        "evaluation",
        "Test units",
        texts=[evaluation.protocol.sentence(), *(flag.message for flag in evaluation.flags)],
        tables=[table],
    )
