"""What a run can and cannot do, in sentences computed from its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from grace.evaluation import Difference, ZoneError, paired_bootstrap
from grace.formatting import count, number, percent, plain_name, signed
from grace.plots.style import state_names
from grace.report.intervals import interval_text, level_of
from grace.report.run_data import RunData
from grace.report.tables import rivals

__all__ = ["Claim", "Summary", "summarize"]


class Claim(NamedTuple):
    """An ability, worded to follow "it can" or "it cannot", and the numbers that support it."""

    head: str
    detail: str


@dataclass
class Summary:
    """One leading sentence, what the model can do, what it cannot do, and limitations."""

    lead: str
    can: list[Claim] = field(default_factory=list)
    cannot: list[Claim] = field(default_factory=list)
    mind: list[str] = field(default_factory=list)

    def say(self, able: bool, head: str, detail: str) -> None:
        """Add a claim to the abilities or to the limits."""
        (self.can if able else self.cannot).append(Claim(head, detail))


def summarize(run_data: RunData) -> Summary:
    """Summarise a run in plain sentences."""
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
    capped = "" if m.cap is None else f", where every true RUL above {m.cap:g} counts as {m.cap:g}"
    text = (
        f"From the last record of each of {count(last.n_units, 'unit')}, the model predicts the "
        f"remaining useful life (RUL) with an RMSE of "
        f"{number(last.rmse)} {m.time_unit}{range_}{capped}."
    )
    errors = np.abs([t.error for t in m.evaluated])
    if errors.size:
        half, most = np.quantile(errors, [0.5, 0.9])
        text += (
            f" Half of the predictions are within {half:.0f} {m.time_unit} of the true RUL, 90% "
            f"are within {most:.0f} {m.time_unit}."
        )
    return text


def _against_baselines(m: RunData, found: Summary) -> None:
    mine = m.evaluation.rmse
    for name in rivals(m.evaluation):
        theirs = m.evaluation.baselines[name].last_cycle.capped.rmse
        title = f"the {plain_name(name)} baseline"
        if name == "constant":
            title = "one constant for all units"
        side = "below" if mine < theirs else "above"
        change = abs(mine - theirs) / theirs if theirs else 0.0
        text = f"its RMSE is {percent(change)} {side} that of {title} ({number(theirs)})"
        difference = _paired(m, name)
        if difference is None:
            found.say(mine < theirs, f"predict better than {title}", f"{text}.")
            continue
        range_ = difference.interval
        text += (
            f", a difference of {signed(difference.value)} (paired "
            f"{percent(range_.level)} interval "
            f"{signed(range_.low)} to {signed(range_.high)}"
        )
        if difference.excludes_zero:
            found.say(mine < theirs, f"predict better than {title}", f"{text}).")
        else:
            head = f"be distinguished from {title} on these units"
            found.say(False, head, f"{text}; the interval includes zero).")


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
        return f"at a true RUL of {zone.lower:g} {time_unit} or more"
    return f"at a true RUL between {zone.lower:g} and {zone.upper:g} {time_unit}"


def _by_zone(m: RunData, found: Summary) -> None:
    zones = [z for z in m.evaluation.zones if z.rmse is not None and z.bias is not None]
    if not zones:
        return
    near, overall = zones[0], m.evaluation.rmse
    assert near.rmse is not None
    assert near.bias is not None
    found.say(
        near.rmse < overall,
        "predict more accurately near the end of life",
        f"RMSE {number(near.rmse)} {_zone_text(near, m.time_unit)} ({count(near.n, 'unit')}, "
        f"{abs(near.bias):.1f} {m.time_unit} {'late' if near.bias > 0 else 'early'} on average), "
        f"compared with {number(overall)} over all units.",
    )
    worst = max(zones, key=lambda z: z.rmse or 0.0)
    if worst is not near:
        found.say(
            False,
            f"predict equally well {_zone_text(worst, m.time_unit)}",
            f"this is its least accurate zone, with RMSE {number(worst.rmse)} "
            f"({count(worst.n, 'unit')}).",
        )


def _halfway(m: RunData, found: Summary) -> None:
    summary = m.evaluation.prognostics
    half = summary.metrics.get("alpha_lambda_0.5")
    if half is None or half.mean is None:
        return
    found.say(
        half.mean >= 0.5,
        f"predict within ±{percent(summary.alpha)} of the true RUL at half of the evaluated life",
        f"{percent(half.mean)} of the {count(half.n, 'unit')} with records at that moment are "
        "predicted that accurately.",
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
        healthy = f"{row[0]} as" if row[0] else "none as"
        found.say(
            n - row[worst] <= 0.1 * n,
            f"recognise the {names[worst]} state",
            f"{row[worst]} of {count(n, 'unit')} in this state are predicted correctly, "
            f"{healthy} {names[0]}.",
        )
    alarms = [(names[i], r[worst], sum(r)) for i, r in enumerate(health.confusion[:worst])]
    alarms = [a for a in alarms if a[2]]
    if alarms:
        parts = ", ".join(f"{k} of {total} {name}" for name, k, total in alarms)
        found.say(
            sum(a[1] for a in alarms) <= 0.1 * sum(a[2] for a in alarms),
            "avoid most false alarms",
            f"{parts} units are predicted as {names[worst]}.",
        )


def _lateness(m: RunData, found: Summary) -> None:
    if not m.evaluated:
        return
    worst = max(m.evaluated, key=lambda t: t.error)
    late = percent(m.evaluation.model.last_cycle.capped.late_share)
    text = f"{late} of the units fail before the predicted time"
    if worst.error > 0:
        text += (
            f"; the largest late error is that of unit {worst.unit}: true RUL "
            f"{worst.true[-1]:.0f}, "
            f"predicted RUL {worst.predicted[-1]:.0f} {m.time_unit}"
        )
    found.say(worst.error <= 0, "avoid late predictions", f"{text}.")


def _cap(m: RunData, found: Summary) -> None:
    if m.cap is None or not m.evaluated:
        return
    beyond = sum(bool(t.true[-1] > m.cap) for t in m.evaluated)
    raw = m.evaluation.model.last_cycle.raw
    found.say(
        False,
        f"distinguish RUL values above {m.cap:g} {m.time_unit}",
        f"its labels are capped at {m.cap:g}. The true RUL of {beyond} of "
        f"{count(len(m.evaluated), 'unit')} is larger; against uncapped labels the RMSE is "
        f"{number(raw.rmse)}.",
    )


def _caveats(m: RunData, found: Summary) -> None:
    seeds = m.evaluation.protocol.seeds
    if len(seeds) == 1:
        found.mind.append(
            f"The run has one training seed ({seeds[0]}). The intervals describe the sampling "
            "variability of the test units, not that of training."
        )
    if m.artifact.get("provenance", {}).get("dataset", {}).get("synthetic"):
        found.mind.append("The data are simulated. No number here was measured on a real machine.")
    unknown = m.evaluation.n_units_unknown
    if unknown:
        found.mind.append(
            f"{count(unknown, 'unit')} not evaluated, because the time of failure is not known."
        )
    conditions = m.artifact.get("preprocessor", {}).get("conditions") or {}
    limits = [float(v) for v in conditions.get("limit", [])]
    if limits and "condition_distance" in m.last_rows.columns:
        far = int((m.last_rows["condition_distance"] > max(limits)).sum())
        if far:
            found.mind.append(
                f"At their last record, {far} of {count(m.last_rows.height, 'unit')} are in "
                "operating conditions far from those of the training data."
            )
