"""When to replace: the threshold of least long-run cost, and what it costs next to others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.decisions.cycles import Cycles, alarm_cycles, observation, scheduled_cycles
from grace.decisions.inputs import DecisionInputs
from grace.decisions.trajectories import Trajectories, decision_probabilities
from grace.evaluation.bootstrap import Interval, resampled_moments, studentised
from grace.formatting import interval as limits_text
from grace.formatting import number, percent, signed

__all__ = ["PolicyComparison", "PolicyOutcome", "ReplacementPolicy", "fit_policy"]

Array = npt.NDArray[np.float64]
MOST_THRESHOLDS = 200
RESAMPLES = 2000


@dataclass(frozen=True)
class PolicyOutcome:
    """What a policy costs and does, per unit and time of operation, in the fleet's unit of time.

    Args:
        name: of the policy.
        cost: long-run cost per unit and time.
        breaks: unexpected failures per unit and time.
        break_share: share of the cycles that end with a failure.
        unexploited: mean life given up per planned replacement; None where no life is known.
        false_alarms: false alarms per unit and time.
        length: mean length of a cycle.
        relative: (cost − perfect) / (age replacement − perfect): 0 as good as perfect prognosis,
            1 as age replacement, above 1 worse; None if those two cost the same.
    """

    name: str
    cost: float
    breaks: float
    break_share: float
    unexploited: float | None
    false_alarms: float
    length: float
    relative: float | None = None


@dataclass(frozen=True)
class PolicyComparison:
    """The policy next to run to failure, age replacement and perfect prognosis on the same units.

    Thresholds and replacement ages are those chosen without the unit's fold. ``difference`` is
    cost(policy) − cost(age replacement) with its paired interval over units.
    """

    outcomes: tuple[PolicyOutcome, ...]
    difference: float
    interval: Interval
    n_units: int
    n_failed: int
    limit: float

    def __getitem__(self, name: str) -> PolicyOutcome:
        """The outcome of a policy by name."""
        return next(o for o in self.outcomes if o.name == name)

    @property
    def pays(self) -> bool | None:
        """Whether prognosis is cheaper than age replacement; None: the units do not show it."""
        if self.interval.high < 0:
            return True
        return False if self.interval.low > 0 else None

    def frame(self) -> pl.DataFrame:
        """One row per policy."""
        return pl.DataFrame([vars(o) for o in self.outcomes], infer_schema_length=None)


@dataclass(frozen=True, eq=False)
class ReplacementPolicy:
    """Replace at the first decision with P(failure within L + Δ) above ``threshold``.

    Args:
        inputs: costs and times.
        threshold: p*; 1 means never on a prediction.
        threshold_interval: its bootstrap interval over units.
        replacement_age: best age for a replacement without prognosis; infinite: run to failure.
        cost_rate: long-run cost per unit and time with ``threshold``, on the units it was chosen
            on.
        curve: cost against threshold: ``threshold``, ``cost``, ``low``, ``high`` (95% over
            units), ``false_alarms``, ``break_share``.
        comparison: with other policies, on held-out units.
        time_unit: of all times.
    """

    inputs: DecisionInputs
    threshold: float
    threshold_interval: tuple[float, float]
    replacement_age: float
    cost_rate: float
    curve: pl.DataFrame
    comparison: PolicyComparison
    time_unit: str

    def sentences(self, currency: str = "") -> list[str]:
        """What the policy says, in plain sentences."""
        i, c, per = self.inputs, self.comparison, f"{currency + ' ' if currency else ''}"
        k, n = i.persistence
        low, high = self.threshold_interval
        one = self.time_unit.removesuffix("s")
        often = "" if (k, n) == (1, 1) else f" at {k} of {n} successive decisions"
        if self.threshold >= 1.0:
            rule = "Do not replace on a prediction: no alarm threshold lowers the cost."
        else:
            rule = (
                f"Replace when P(failure within {i.horizon:g} {self.time_unit}) exceeds "
                f"{percent(self.threshold, 1)}{often} (95% interval of the threshold "
                f"{percent(low, 1)} to {percent(high, 1)})."
            )
        cost = f"{per}{{}} per unit and {one} of operation"
        found = [rule]
        policy, age = c["prognosis"], c["age replacement"]
        between = (
            f"{signed(c.difference)} {per}per unit and {one}, 95% interval "
            f"{limits_text(c.interval.low, c.interval.high)}"
        )
        at = (
            f"replacement at age {self.replacement_age:g}"
            if np.isfinite(self.replacement_age)
            else "run to failure, the best fixed age"
        )
        if c.pays:
            verdict = "Prognosis pays"
        elif c.pays is None:
            verdict = (
                f"Prognosis does not pay demonstrably: {c.n_units} units ({c.n_failed} failures) "
                "show no difference"
            )
        else:
            verdict = f"Prognosis does not pay: use {at}"
        found.append(
            f"{verdict}. On held-out units it costs {cost.format(number(policy.cost))}, "
            f"{at} {number(age.cost)} (difference {between})."
        )
        return found


def fit_policy(t: Trajectories, inputs: DecisionInputs, *, seed: int = 0) -> ReplacementPolicy:
    """Choose the threshold of least long-run cost and compare it with other policies.

    The long-run cost per operating time is E[cost of a cycle] / E[length of a cycle]
    (renewal–reward theorem). Cycles of censored units count where their record covers them,
    weighted by the inverse of the probability of being observed so long. References: age
    replacement (Barlow and Hunter, Operations Research 8, 1960); perfect prognosis and relative
    cost (Kamariotis et al., 2024); breaks and unexploited life (Susto et al., 2015).

    Args:
        t: out-of-fold trajectories.
        inputs: costs and times.
        seed: of the bootstrap over units.
    """
    seen = observation(t)
    thresholds = _thresholds(t, inputs)
    alarms = alarm_cycles(t, inputs, thresholds, seen)
    ages = _replacement_ages(t, seen.limit)
    by_age = scheduled_cycles(t, inputs, np.broadcast_to(ages, (len(t), ages.size)), seen)
    best, best_age = _best(alarms, inputs, seed), int(np.argmin(by_age.rate))
    rates = _bootstrap_rates(alarms, seed)
    feasible = _feasible(alarms, inputs)
    drawn = thresholds[np.where(feasible, rates, np.inf).argmin(axis=1)]
    low, high = np.quantile(rates, (0.025, 0.975), axis=0)
    curve = pl.DataFrame(
        {
            "threshold": thresholds,
            "cost": alarms.rate,
            "low": low,
            "high": high,
            "false_alarms": alarms.false_alarm_rate,
            "break_share": _share(alarms, alarms.failed),
        }
    )
    return ReplacementPolicy(
        inputs=inputs,
        threshold=float(thresholds[best]),
        threshold_interval=(float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))),
        replacement_age=float(ages[best_age]),
        cost_rate=float(alarms.rate[best]),
        curve=curve,
        comparison=_compare(t, inputs, alarms, by_age, seed),
        time_unit=t.time_unit,
    )


def _thresholds(t: Trajectories, inputs: DecisionInputs) -> Array:
    """Candidate thresholds: values between which no decision changes, and 1 for no alarm."""
    _, _, probability = decision_probabilities(t, inputs.interval, inputs.horizon)
    values = np.unique(np.round(probability, 6))
    if values.size > MOST_THRESHOLDS:
        # Half of them evenly over the decisions, half over the range of probabilities.
        half = MOST_THRESHOLDS // 2
        even = np.quantile(probability, np.linspace(0.0, 1.0, half))
        values = np.unique(np.round([*even, *np.geomspace(1e-3, 1.0, half)], 6))
    return np.unique(np.concatenate([[0.0], values[values < 1.0], [1.0]]))


def _replacement_ages(t: Trajectories, limit: float) -> Array:
    """Ages at which the cost rate of age replacement can be least, just before a failure."""
    failures = np.unique(t.end[t.failed & (t.end <= limit)])
    return np.concatenate([np.nextafter(failures, 0.0), [np.inf]])


def _feasible(cycles: Cycles, inputs: DecisionInputs) -> npt.NDArray[np.bool_]:
    budget = inputs.false_alarm_budget
    if budget is None:
        return np.ones(cycles.cost.shape[1], dtype=bool)
    return np.asarray(cycles.false_alarm_rate <= budget)


def _best(cycles: Cycles, inputs: DecisionInputs, seed: int) -> int:
    """The middle one of the thresholds that cost next to nothing more than the cheapest.

    With few failures the cost curve is ragged, and its lowest point lies where one failure was
    just avoided. All thresholds within half a standard error (bootstrap over units) of the least
    cost are taken as equally good.
    """
    rate = np.where(_feasible(cycles, inputs), cycles.rate, np.inf)
    least = int(np.argmin(rate))
    drawn = _bootstrap_rates(cycles.policy(least), seed, 250)
    good = np.flatnonzero(rate <= rate[least] + 0.5 * float(drawn.std()))
    return int(good[(good.size - 1) // 2])


def _bootstrap_rates(cycles: Cycles, seed: int, resamples: int = RESAMPLES) -> Array:
    """Cost rates (R, P) of resampled units."""
    rng = np.random.default_rng(seed)
    n = len(cycles.cost)
    cost, length = cycles.weight * cycles.cost, cycles.weight * cycles.length
    rates = []
    for _ in range(0, resamples, 250):
        counts = rng.multinomial(n, np.full(n, 1.0 / n), size=250).astype(np.float64)
        rates.append(counts @ cost / np.maximum(counts @ length, 1e-300))
    return np.concatenate(rates)


def _share(cycles: Cycles, what: npt.NDArray[np.bool_]) -> Array:
    total = np.maximum(cycles.weight.sum(0), 1e-300)
    return np.asarray((cycles.weight * what).sum(0) / total)


def _compare(
    t: Trajectories, inputs: DecisionInputs, alarms: Cycles, by_age: Cycles, seed: int
) -> PolicyComparison:
    """Threshold and age chosen without each fold, applied to it."""
    chosen, chosen_age = np.zeros(len(t), dtype=np.int64), np.zeros(len(t), dtype=np.int64)
    for fold in np.unique(t.fold):
        held = t.fold == fold
        others = ~held if (t.failed & ~held).any() else np.ones_like(held)
        chosen[held] = _best(alarms[others], inputs, seed)
        chosen_age[held] = int(np.argmin(by_age[others].rate))
    policies = {
        "prognosis": alarms.policy(chosen),
        "age replacement": by_age.policy(chosen_age),
        "run to failure": by_age.policy(by_age.cost.shape[1] - 1),
        "perfect prognosis": _perfect(t, inputs),
    }
    cost = {name: float(c.rate[0]) for name, c in policies.items()}
    room = cost["age replacement"] - cost["perfect prognosis"]
    outcomes = tuple(
        _outcome(
            name, cycles, (cost[name] - cost["perfect prognosis"]) / room if room > 0 else None
        )
        for name, cycles in policies.items()
    )
    difference, limits = _difference(policies["prognosis"], policies["age replacement"], seed)
    return PolicyComparison(
        outcomes, difference, limits, len(t), int(t.failed.sum()), observation(t).limit
    )


def _perfect(t: Trajectories, inputs: DecisionInputs) -> Cycles:
    """Replacement at the last decision that comes before each known failure.

    Where failures are cheap a run to failure can cost less per time than giving up the rest of a
    life; the cheaper of the two is taken per unit (Dinkelbach's iteration), so that no policy
    that decides at these times can cost less.
    """
    seen = observation(t)
    steps = np.ceil((t.end - inputs.lead_time) / inputs.interval - 1e-9) - 1.0
    last = np.where(steps >= 0, steps * inputs.interval + inputs.lead_time, np.inf)
    replaced = np.where(t.failed, last, np.inf)
    both = scheduled_cycles(t, inputs, np.stack([replaced, np.full(len(t), np.inf)], axis=1), seen)
    rate = float(both.rate.min())
    for _ in range(100):
        choice = np.argmin(both.weight * (both.cost - rate * both.length), axis=1)
        picked = both.policy(choice)
        new = float(picked.rate[0])
        if new >= rate - 1e-12 * abs(rate):
            break
        rate = new
    return picked


def _outcome(name: str, cycles: Cycles, relative: float | None) -> PolicyOutcome:
    planned = ~cycles.failed & np.isfinite(cycles.unexploited)
    weight = cycles.weight * planned
    lost = np.where(planned, cycles.unexploited, 0.0)
    total = float(weight.sum())
    return PolicyOutcome(
        name=name,
        cost=float(cycles.rate[0]),
        breaks=float((cycles.weight * cycles.failed).sum() / cycles.operating_time[0]),
        break_share=float(_share(cycles, cycles.failed)[0]),
        unexploited=float((weight * lost).sum() / total) if total > 0 else None,
        false_alarms=float(cycles.false_alarm_rate[0]),
        length=float(cycles.operating_time[0] / cycles.weight.sum()),
        relative=relative,
    )


def _difference(a: Cycles, b: Cycles, seed: int) -> tuple[float, Interval]:
    """rate(a) − rate(b) with a studentised interval over units drawn in common."""
    columns = [c.weight * v for c in (a, b) for v in (c.cost, c.length)]
    data = np.concatenate(columns, axis=1)
    scale = np.maximum(np.abs(data).max(axis=0), 1e-300)
    data = data / scale
    factor = (scale[0] / scale[1], scale[2] / scale[3])
    size = max(factor)
    factor = (factor[0] / size, factor[1] / size)

    def value(s: Array) -> Array:
        first, second = s[..., 0] / s[..., 1], s[..., 2] / s[..., 3]
        return np.asarray(first * factor[0] - second * factor[1])

    def gradient(s: Array) -> Array:
        parts = []
        for sign, k, f in ((1.0, 0, factor[0]), (-1.0, 2, factor[1])):
            parts += [sign * f / s[..., k + 1], -sign * f * s[..., k] / s[..., k + 1] ** 2]
        return np.stack(parts, axis=-1)

    difference = size * float(value(data.sum(axis=0)))
    if len(data) < 2:
        return difference, Interval(low=-np.inf, high=np.inf, note="one unit")
    moments = resampled_moments(data, RESAMPLES, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = studentised(value, gradient, data, moments, 0.95)
    if not np.isfinite([low, high]).all():
        return difference, Interval(low=-np.inf, high=np.inf, note="no interval can be given")
    return difference, Interval(low=size * float(low), high=size * float(high))
