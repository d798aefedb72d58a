"""What a run can and cannot do, in sentences computed from its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from grace.evaluation import Difference, ZoneError, paired_bootstrap
from grace.report.formatting import (
    figure,
    interval_text,
    level_of,
    of_units,
    predictor_name,
    share,
    signed,
)
from grace.report.run_data import RunData
from grace.report.style import state_names
from grace.report.tables import rivals

__all__ = ["Claim", "Summary", "summarize"]


class Claim(NamedTuple):
    """An ability, as it follows "it can" or "it cannot", and the numbers behind it."""

    head: str
    detail: str


@dataclass
class Summary:
    """The answer: one lead, what holds, what does not, and what to keep in mind."""

    lead: str
    can: list[Claim] = field(default_factory=list)
    cannot: list[Claim] = field(default_factory=list)
    mind: list[str] = field(default_factory=list)

    def say(self, able: bool, head: str, detail: str) -> None:
        """Put a claim on the side it belongs to."""
        (self.can if able else self.cannot).append(Claim(head, detail))


def summarize(run_data: RunData) -> Summary:
    """Judge a run in plain words."""
    found = Summary(_lead(run_data))
    _against_baselines(run_data, found)
    _by_zone(run_data, found)
    _halfway(run_data, found)
    _health(run_data, found)
    _lateness(run_data, found)
    _cap(run_data, found)
    _caveats(run_data, found)
    return found


def _lead(m: RunData) -> str:
    last = m.evaluation.model.last_cycle.capped
    interval = last.intervals.get("rmse")
    range_ = f" ({level_of(last)} interval {interval_text(interval)})" if interval else ""
    capped = (
        "" if m.cap is None else f", counting every remaining life above {m.cap:g} as {m.cap:g}"
    )
    text = (
        f"From the last record of each of {of_units(last.n_units)}, the model predicts the "
        f"remaining life with an RMSE of {figure(last.rmse)} {m.time_unit}{range_}{capped}."
    )
    errors = np.abs([t.error for t in m.evaluated])
    if errors.size:
        half, most = np.quantile(errors, [0.5, 0.9])
        text += (
            f" Half of the predictions lie within {half:.0f} {m.time_unit} of the truth, nine in "
            f"ten within {most:.0f}."
        )
    return text


def _against_baselines(m: RunData, found: Summary) -> None:
    mine = m.evaluation.rmse
    for name in rivals(m.evaluation):
        theirs = m.evaluation.baselines[name].last_cycle.capped.rmse
        title = "one constant for all units" if name == "constant" else predictor_name(name)
        side = "below" if mine < theirs else "above"
        change = abs(mine - theirs) / theirs if theirs else 0.0
        text = f"its RMSE is {change:.0%} {side} that of {title} ({figure(theirs)})"
        difference = _paired(m, name)
        if difference is None:
            found.say(mine < theirs, f"beat {title}", f"{text}.")
            continue
        range_ = difference.interval
        text += (
            f", a difference of {signed(difference.value)} (paired {range_.level:.0%} interval "
            f"{signed(range_.low)} to {signed(range_.high)}"
        )
        if difference.excludes_zero:
            found.say(mine < theirs, f"beat {title}", f"{text}).")
        else:
            head = f"be told apart from {title} on these units"
            found.say(False, head, f"{text}, which includes zero).")


def _paired(m: RunData, name: str) -> Difference | None:
    """RMSE of the model minus the baseline's at the last rows, with a paired interval."""
    column = f"baseline_{name}"
    if column not in m.last_rows.columns:
        return None
    rows = m.last_rows.filter(m.last_rows["rul_true"].is_not_nan().fill_null(False))
    if rows.height < 2:
        return None
    true, mine, theirs = (rows[c].to_numpy() for c in ("rul_true_capped", "rul", column))
    return paired_bootstrap("rmse", true, mine, theirs, seed=0)


def _zone_text(zone: ZoneError, time_unit: str) -> str:
    if zone.upper is None:
        return f"at {zone.lower:g} {time_unit} or more"
    return f"between {zone.lower:g} and {zone.upper:g} {time_unit}"


def _by_zone(m: RunData, found: Summary) -> None:
    zones = [z for z in m.evaluation.zones if z.rmse is not None and z.bias is not None]
    if not zones:
        return
    near, overall = zones[0], m.evaluation.rmse
    assert near.rmse is not None
    assert near.bias is not None
    found.say(
        near.rmse < overall,
        "sharpen towards the end of life",
        f"RMSE {figure(near.rmse)} {_zone_text(near, m.time_unit)} ({of_units(near.n)}, "
        f"{abs(near.bias):.1f} {'late' if near.bias > 0 else 'early'} on average) against "
        f"{figure(overall)} overall.",
    )
    worst = max(zones, key=lambda z: z.rmse or 0.0)
    if worst is not near:
        found.say(
            False,
            f"be relied on {_zone_text(worst, m.time_unit)}",
            f"its least accurate zone, RMSE {figure(worst.rmse)} ({of_units(worst.n)}).",
        )


def _halfway(m: RunData, found: Summary) -> None:
    summary = m.evaluation.prognostics
    half = summary.metrics.get("alpha_lambda_0.5")
    if half is None or half.mean is None:
        return
    found.say(
        half.mean >= 0.5,
        f"come within ±{summary.alpha:.0%} half-way through the evaluated life",
        f"{share(half.mean)} of the {of_units(half.n)} seen that far do.",
    )


def _health(m: RunData, found: Summary) -> None:
    health = m.evaluation.model.health_last_cycle
    if health is None:
        return
    names = state_names(len(health.confusion))
    worst = len(names) - 1
    row = health.confusion[worst]
    n = sum(row)
    if n:
        healthy = f"{row[0]} are" if row[0] else "none is"
        found.say(
            n - row[worst] <= 0.1 * n,
            f"recognise the {names[worst]} state",
            f"{row[worst]} of {of_units(n)} in it are called so, {healthy} called {names[0]}.",
        )
    alarms = [(names[i], r[worst], sum(r)) for i, r in enumerate(health.confusion[:worst])]
    alarms = [a for a in alarms if a[2]]
    if alarms:
        parts = ", ".join(f"{k} of {total} {name}" for name, k, total in alarms)
        found.say(
            sum(a[1] for a in alarms) <= 0.1 * sum(a[2] for a in alarms),
            "keep false alarms rare",
            f"{parts} units are called {names[worst]}.",
        )


def _lateness(m: RunData, found: Summary) -> None:
    if not m.evaluated:
        return
    worst = max(m.evaluated, key=lambda t: t.error)
    late = share(m.evaluation.model.last_cycle.capped.late_share)
    text = f"{late} of the units are predicted later than they fail"
    if worst.error > 0:
        text += (
            f"; the worst, unit {worst.unit}, had {worst.true[-1]:.0f} {m.time_unit} left where "
            f"{worst.predicted[-1]:.0f} were predicted"
        )
    found.say(worst.error <= 0, "rule out late predictions", f"{text}.")


def _cap(m: RunData, found: Summary) -> None:
    if m.cap is None or not m.evaluated:
        return
    beyond = sum(bool(t.true[-1] > m.cap) for t in m.evaluated)
    raw = m.evaluation.model.last_cycle.raw
    found.say(
        False,
        f"tell lives above {m.cap:g} {m.time_unit} apart",
        f"its labels are capped at {m.cap:g}. {beyond} of {of_units(len(m.evaluated))} had "
        f"more left; against uncapped lives the RMSE is {figure(raw.rmse)}.",
    )


def _caveats(m: RunData, found: Summary) -> None:
    seeds = m.evaluation.protocol.seeds
    if len(seeds) == 1:
        found.mind.append(
            f"One training seed ({seeds[0]}): the intervals cover the choice of test units, not "
            "the luck of training."
        )
    if m.artifact.get("provenance", {}).get("dataset", {}).get("synthetic"):
        found.mind.append("The data are simulated; no figure here was measured on a real machine.")
    unknown = m.evaluation.n_units_unknown
    if unknown:
        found.mind.append(f"{of_units(unknown)} not evaluated: nobody knows when they fail.")
    conditions = m.artifact.get("preprocessor", {}).get("conditions") or {}
    limits = [float(v) for v in conditions.get("limit", [])]
    if limits and "condition_distance" in m.last_rows.columns:
        far = int((m.last_rows["condition_distance"] > max(limits)).sum())
        if far:
            found.mind.append(
                f"{of_units(far)} of {m.last_rows.height} last seen under operating conditions far "
                "from those of training."
            )
