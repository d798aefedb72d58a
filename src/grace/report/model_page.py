"""The page of a trained model: what to expect, candidates, coverage, settings."""

from __future__ import annotations

import numpy as np
import polars as pl

from grace import plots
from grace.estimator import RULModel
from grace.formatting import number, percent
from grace.report.document import (
    DocumentSection,
    DocumentTable,
    FigureSheet,
    render_document,
)

__all__ = ["model_page"]


def model_page(model: RULModel, *, name: str) -> str:
    """HTML page of a fitted :class:`~grace.estimator.RULModel`.

    Args:
        model: fitted or loaded.
        name: heading, e.g. the name of its folder.
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
            DocumentSection("settings", "Settings", tables=[settings]),
        ],
    )
