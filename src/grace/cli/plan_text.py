"""What `grace plan` prints: sentences, the costs of the policies, the units."""

from __future__ import annotations

import polars as pl
from rich.table import Table

from grace.cli.shared import out
from grace.decisions import Capacity, MaintenancePlan, ReplacementPolicy
from grace.formatting import count, number, percent

__all__ = ["age_lines", "show_policies", "show_units", "summary_lines"]

_SHOWN = 20


def age_lines(content: pl.DataFrame, policy: ReplacementPolicy, end: float) -> list[str]:
    """Which units are due by age, where prognosis is not shown to pay."""
    if policy.comparison.pays or policy.replacement_age == float("inf"):
        return []
    due = content.filter(pl.col("until_replacement_age") <= end).sort("until_replacement_age")
    names = ", ".join(str(u) for u in due["unit"].head(5))
    more = f" and {due.height - 5} more" if due.height > 5 else ""
    return [
        f"By age, {count(due.height, 'unit')} of {content.height} reach the replacement age within "
        f"{end:g} {policy.time_unit}" + (f": {names}{more}." if due.height else ".")
    ]


def summary_lines(
    planned: MaintenancePlan, places: Capacity | None, alarms: list[str], end: float, currency: str
) -> list[str]:
    """Alarms, units with a slot, what the capacity costs, and what the plan saves."""
    per = f"{currency} " if currency else ""
    units = planned.frame.height
    text = (
        f"{count(units, 'unit')}: {count(alarms.count('alarm'), 'alarm')}, "
        f"{count(alarms.count('warning'), 'warning')}; {planned.n_planned} planned in "
        f"{count(len(planned.slots), 'slot')}."
    )
    found = [text]
    if places is not None:
        extra = planned.net_cost - planned.unlimited_cost
        found.append(
            f"The capacity of {places.count} per {places.period:g} {planned.time_unit} costs "
            f"{per}{number(extra)} more than unlimited capacity."
        )
    saved = planned.postponed_cost - planned.net_cost
    found.append(
        f"The plan is expected to save {per}{number(saved)} against replacing nothing for "
        f"{end:g} {planned.time_unit}."
    )
    first = int((planned.frame["slot"] == 0).sum())
    found.append(
        f"Slot 1 is firm ({count(first, 'unit')}); later slots are provisional. Make the plan "
        "again with fresh data before each slot."
    )
    return found


def show_policies(policy: ReplacementPolicy) -> None:
    """Print the costs of the policies."""
    one = policy.time_unit.removesuffix("s")
    shown = Table(
        box=None, pad_edge=False, title=f"On held-out units, per unit and {one} of operation",
        title_justify="left", title_style="",
    )  # fmt: skip
    for k, head in enumerate(("policy", "cost", "95%", "failed", "life given up", "relative")):
        shown.add_column(head, justify="left" if k == 0 else "right", overflow="fold")
    for o in policy.comparison.outcomes:
        shown.add_row(
            o.name,
            number(o.cost),
            f"{number(o.cost_low)}–{number(o.cost_high)}",
            percent(o.break_share, 1),
            number(o.unexploited),
            number(o.relative),
        )
    out.print(shown)


def _short(value: float) -> str:
    """A time of about three digits."""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else number(value)


def show_units(content: pl.DataFrame, unit: str) -> None:
    """Print the first units of the plan."""
    shown = Table(box=None, pad_edge=False)
    heads = ("unit", "slot", f"{unit} from now", "risk", "waiting costs", "RUL (90%)", "alarm")
    for k, head in enumerate(heads):
        shown.add_column(
            head, justify="left" if k in (0, 6) else "right",
            overflow="ellipsis" if k in (0, 1) else "fold", no_wrap=k in (0, 1),
        )  # fmt: skip
    for row in content.head(_SHOWN).iter_rows(named=True):
        shown.add_row(
            str(row["unit"]),
            "–" if row["slot"] is None else str(row["slot"] + 1),
            "later" if row["start"] is None else number(row["start"]),
            percent(row["probability"]),
            number(row["cost_of_waiting"]),
            f"{_short(row['median'])} ({_short(row['lower'])}–{_short(row['upper'])})",
            "" if row["alarm"] == "none" else row["alarm"],
        )
    out.print(shown)
    if content.height > _SHOWN:
        out.print(f"… and {content.height - _SHOWN} more units; --out writes all of them.")
