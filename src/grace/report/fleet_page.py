"""The page about a fleet: lives, conditions, missing values, sampling, trends, doubts."""

from __future__ import annotations

import numpy as np
import polars as pl

from grace import plots
from grace.data.conditions import OperatingConditions
from grace.data.fleet import Fleet
from grace.data.quality import check_quality
from grace.data.trends import trend_metrics
from grace.formatting import count, number, percent
from grace.report.document import (
    DocumentSection,
    DocumentTable,
    FigureSheet,
    render_document,
)

__all__ = ["fleet_page", "fleet_sentences"]

_MOST_CONDITIONS = 8


def fleet_sentences(fleet: Fleet) -> list[str]:
    """Size, fates, lives and sampling of a fleet, in plain sentences."""
    unit = fleet.schema.time_unit
    failed = fleet.units["failed"].to_numpy().astype(bool)
    known = fleet.units["rul_at_end"].is_not_null().to_numpy()
    lives = fleet.life()[failed] if failed.any() else np.empty(0)
    lines = [
        f"{count(fleet.n_units, 'unit')}, {count(fleet.n_rows, 'row')}, "
        f"{count(len(fleet.schema.sensors), 'sensor')}, "
        f"{count(len(fleet.schema.settings), 'setting')}, "
        f"{count(len(fleet.schema.static), 'static attribute')}; time in {unit}.",
        f"{count(int(failed.sum()), 'unit')} failed; {int(known.sum())} have a known end of life, "
        f"{fleet.n_units - int(known.sum())} are still running (censored).",
    ]
    if lives.size:
        lines.append(
            f"Lives of the units that failed: {number(float(lives.min()))} to "
            f"{number(float(lives.max()))}, median {number(float(np.median(lives)))} {unit}."
        )
    lengths = fleet.lengths()
    lines.append(
        f"Rows per unit: {lengths.min():,} to {lengths.max():,}, median {np.median(lengths):,.0f}."
    )
    steps = np.diff(fleet.times())
    inside = np.ones(fleet.n_rows - 1, dtype=bool)
    inside[fleet.starts()[1:] - 1] = False
    steps = steps[inside]
    if steps.size:
        middle = float(np.median(steps))
        long = float((steps > 3.0 * middle).mean())
        lines.append(
            f"Time between rows: median {number(middle)} {unit}; {percent(long, 1)} of the steps "
            "are more than three times as long."
        )
    return lines


def fleet_page(fleet: Fleet) -> str:
    """HTML page about a fleet; it needs no network and no other file.

    Args:
        fleet: as read by :func:`grace.read_table` or a dataset reader.
    """
    sheet, schema = FigureSheet(), fleet.schema
    unit = schema.time_unit
    lives = pl.DataFrame({"life": fleet.life(), "failed": fleet.units["failed"]})
    trends = trend_metrics(fleet)
    missing = fleet.frame.select(schema.unit, *schema.channels)
    share = {c: missing[c].fill_nan(None).null_count() / missing.height for c in schema.channels}
    with plots.figure_style():
        caption = "Share of units alive at an age; marks are units still running."
        life = [sheet.add(plots.kaplan_meier(lives, time_unit=unit), "Lives.", caption)]
        shown = trends.drop_nulls("monotonicity")
        trend_figures = []
        if shown.height:
            text = "From 0 (not at all) to 1; Coble and Hines (2009)."
            trend_figures.append(
                sheet.add(plots.channel_trends(shown), "Trends of channels.", text)
            )
        gaps = []
        if any(share.values()):
            text = "Share of missing values by unit and channel."
            ax = plots.missing_values(missing, unit=schema.unit)
            gaps.append(sheet.add(ax, "Missing values.", text))
    quality = list(dict.fromkeys([*fleet.issues, *check_quality(fleet)]))
    issues = DocumentTable(
        f"{count(len(quality), 'data issue')} found by reading and checking the data.",
        ("Kind", "Severity", "Issue", "Remedy"),
        [(i.kind, i.severity, i.message, i.remedy) for i in quality],
    )
    channels = DocumentTable(
        "Channels; minimum, median and maximum over all rows.",
        ("Channel", "Role", "Minimum", "Median", "Maximum", "Missing"),
        [_channel_row(fleet, c, share[c]) for c in schema.channels],
        numeric=frozenset({2, 3, 4, 5}),
    )
    sections = [
        DocumentSection("summary", "Summary", texts=fleet_sentences(fleet)),
        DocumentSection("lives", "Lives and censoring", figures=life),
        DocumentSection(
            "issues",
            "Data issues",
            texts=() if quality else ("Nothing was found.",),
            tables=[issues] if quality else (),
        ),
        DocumentSection("trends", "Trends", figures=trend_figures, tables=[_trend_table(trends)]),
        DocumentSection("channels", "Channels", figures=gaps, tables=[channels]),
    ]
    conditions = _conditions(fleet)
    if conditions is not None:
        text = "Found by k-means on the settings; rows and units that were in each condition."
        sections.append(
            DocumentSection("conditions", "Operating conditions", texts=[text], tables=[conditions])
        )
    return render_document(
        fleet.name or "Fleet", brand="Fleet", eyebrow="Data of a fleet", figures=sheet,
        sections=sections,
    )  # fmt: skip


def _channel_row(fleet: Fleet, name: str, missing: float) -> tuple[str, ...]:
    values = fleet.values([name])[:, 0]
    values = values[np.isfinite(values)]
    role = "setting" if name in fleet.schema.settings else "sensor"
    if not values.size:
        return name, role, "–", "–", "–", percent(missing, 1)
    stats = (float(values.min()), float(np.median(values)), float(values.max()))
    return name, role, *map(number, stats), percent(missing, 1)


def _trend_table(trends: pl.DataFrame) -> DocumentTable:
    return DocumentTable(
        "Suitability of the sensors as prognostic parameters, 0 to 1.",
        ("Channel", "Monotonicity", "Trendability", "Prognosability"),
        [(row[0], *(number(v) for v in row[1:])) for row in trends.iter_rows()],
        numeric=frozenset({1, 2, 3}),
    )


def _conditions(fleet: Fleet) -> DocumentTable | None:
    """Coverage of the operating conditions; None without settings."""
    settings = fleet.values(fleet.schema.settings)
    known = np.isfinite(settings).all(axis=1)
    if not fleet.schema.settings or known.sum() < 2:
        return None
    fitted = OperatingConditions("auto").fit(settings[known])
    labels, _ = fitted.assign(settings[known])
    if len(fitted.centers_) > _MOST_CONDITIONS:
        return None
    owner = np.repeat(np.arange(fleet.n_units), fleet.lengths())[known]
    rows = [
        (
            str(c),
            *(number(float(v)) for v in center),
            percent(float((labels == c).mean()), 1),
            f"{np.unique(owner[labels == c]).size:,}",
        )
        for c, center in enumerate(fitted.centers_)
    ]
    heads = ("Condition", *fleet.schema.settings, "Rows", "Units")
    return DocumentTable("Centres of the conditions.", heads, rows, frozenset(range(1, len(heads))))
