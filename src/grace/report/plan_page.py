"""The page of a maintenance plan."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from grace import plots
from grace.decisions import ReplacementPolicy
from grace.formatting import interval, number, percent, signed
from grace.report.document import (
    DocumentSection,
    DocumentTable,
    FigureSheet,
    render_document,
)

__all__ = ["plan_page"]


def plan_page(
    plan: pl.DataFrame,
    policy: ReplacementPolicy,
    lines: Sequence[str],
    *,
    time_unit: str,
    currency: str = "",
) -> str:
    """HTML of a plan: summary, timeline, every unit with its reason, costs of the policies.

    Args:
        plan: frame of :class:`~grace.decisions.MaintenancePlan` with the column ``alarm``.
        policy: that the costs come from.
        lines: sentences of the summary.
        time_unit: of all times.
        currency: printed with costs.
    """
    one = time_unit.removesuffix("s")
    sheet, money = FigureSheet(), currency or "cost units"
    planned = plan.filter(pl.col("slot").is_not_null())
    figures, cost_figures = [], []
    with plots.figure_style():
        if planned.height:
            ax = plots.maintenance_plan(planned, time_unit=time_unit)
            caption = "Slots, the 90% interval of the failure, and the risk of a failure before."
            figures.append(sheet.add(ax, "Timeline.", caption))
        comparison = policy.comparison
        curve = policy.curve.filter(pl.col("cost").is_finite())
        if curve.height > 1:
            references = {
                o.name: o.cost for o in comparison.outcomes if o.name != "prognosis"
            }  # fmt: skip
            ax = plots.cost_curve(
                curve, time_unit=one, currency=money, references=references,
                chosen=policy.threshold,
            )  # fmt: skip
            caption = (
                "Long-run cost on the training units, each predicted out of fold; the band is a "
                "95% interval over units. Lines: the other policies on held-out units."
            )
            cost_figures.append(sheet.add(ax, "Cost against alarm threshold.", caption))
    rows = [
        (
            str(row["unit"]),
            "later" if row["slot"] is None else f"{row['slot'] + 1}",
            "–" if row["start"] is None else f"{row['start']:g} to {row['end']:g}",
            row["alarm"],
            percent(row["probability"], 1),
            number(row["cost_of_waiting"]),
            row["reason"],
        )
        for row in plan.iter_rows(named=True)
    ]
    heads = ("Unit", "Slot", f"From now, {time_unit}", "Alarm", "Risk before", "Waiting costs",
             "Reason")  # fmt: skip
    units = DocumentTable(
        f"All units; costs in {money}.", heads, rows, numeric=frozenset({1, 2, 4, 5})
    )
    outcomes = DocumentTable(
        f"Held-out units; per unit and {one} of operation, costs in {money}. Relative cost: "
        "0 as perfect prognosis, 1 as age replacement. Intervals are over units.",
        ("Policy", "Cost", "95%", "Failures", "Share failed", "Life given up", "False alarms",
         "Relative", "95%"),
        [
            (
                o.name, number(o.cost), interval(o.cost_low, o.cost_high), number(o.breaks),
                percent(o.break_share, 1), number(o.unexploited), number(o.false_alarms),
                number(o.relative), interval(o.relative_low, o.relative_high),
            )
            for o in comparison.outcomes
        ],
        numeric=frozenset(range(1, 9)),
    )  # fmt: skip
    difference = (
        f"Prognosis minus age replacement: {signed(comparison.difference)} {money} per unit and "
        f"{one}."
    )
    return render_document(
        "Maintenance plan",
        brand="Maintenance plan",
        eyebrow="Replacements by expected cost",
        figures=sheet,
        sections=[
            DocumentSection("summary", "Summary", texts=lines),
            DocumentSection("plan", "Plan", figures=figures, tables=[units]),
            DocumentSection(
                "costs", "Costs of the policies", texts=[difference], figures=cost_figures,
                tables=[outcomes],
            ),
        ],
    )  # fmt: skip
