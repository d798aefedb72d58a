"""When to replace: the threshold of least long-run cost, and the age of least long-run cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.decisions.comparison import RESAMPLES, PolicyComparison, compare_cycles
from grace.decisions.cycles import Cycles, alarm_cycles, observation, scheduled_cycles
from grace.decisions.inputs import DecisionInputs
from grace.decisions.trajectories import Trajectories, decision_probabilities
from grace.formatting import interval as limits_text
from grace.formatting import number, percent, signed

__all__ = ["ReplacementPolicy", "fit_policy"]

Array = npt.NDArray[np.float64]
MOST_THRESHOLDS = 200
GOOD = 0.5  # standard errors above the least cost that count as equally good


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
        comparison: with other policies, on held-out units: threshold and replacement age of a
            fold are chosen on the other folds.
        time_unit: of all times.
        row_spacing: median time between two predictions of a unit; decisions in between use an
            older prediction.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> rng = np.random.default_rng(0)
        >>> life = np.repeat(rng.uniform(60.0, 100.0, 20), 12)
        >>> age = np.tile(np.arange(0.0, 60.0, 5.0), 20)
        >>> edges = np.linspace(0.0, 120.0, 61)
        >>> survival = np.clip((life - age + 5.0)[:, None] / 10.0 - edges / 10.0, 0.0, 1.0)
        >>> t = Trajectories(end=life[::12], failed=np.ones(20, bool), fold=np.arange(20) % 4,
        ...     owner=np.repeat(np.arange(20), 12), age=age,
        ...     distribution=RULDistribution(edges, survival))
        >>> policy = fit_policy(t, DecisionInputs(failure_cost=10, planned_cost=1, interval=5))
        >>> 0 < policy.threshold <= 1, policy.curve.columns[:2], len(policy.sentences("EUR")) > 1
        (True, ['threshold', 'cost'], True)
    """

    inputs: DecisionInputs
    threshold: float
    threshold_interval: tuple[float, float]
    replacement_age: float
    cost_rate: float
    curve: pl.DataFrame
    comparison: PolicyComparison
    time_unit: str
    row_spacing: float

    def sentences(self, currency: str = "") -> list[str]:
        """What the policy says, in plain sentences."""
        i, c, per = self.inputs, self.comparison, f"{currency + ' ' if currency else ''}"
        one = self.time_unit.removesuffix("s")
        found = [self._rule()]
        policy, age = c["prognosis"], c["age replacement"]
        at = (
            f"replacement at age {number(self.replacement_age)}"
            if np.isfinite(self.replacement_age)
            else "run to failure, the best fixed age"
        )
        if c.pays:
            summary = "Prognosis pays"
        elif c.pays is None:
            summary = (
                f"Prognosis does not pay demonstrably: {c.n_units} units ({c.n_failed} failures) "
                "show no difference"
            )
        else:
            summary = f"Prognosis does not pay: use {at}"
        found.append(
            f"{summary}. On held-out units it costs {per}{number(policy.cost)} per unit and {one} "
            f"of operation, {at} {number(age.cost)} (difference {signed(c.difference)} {per}per "
            f"unit and {one}, 95% interval {limits_text(c.interval.low, c.interval.high)})."
        )
        if policy.relative is not None:
            assert policy.relative_low is not None
            found.append(
                f"Relative cost {number(policy.relative)} (95% interval "
                f"{limits_text(policy.relative_low, policy.relative_high)}): 0 is perfect "
                "prognosis, 1 age replacement."
            )
        budget = i.false_alarm_budget
        if budget is not None and policy.false_alarms > budget:
            found.append(
                f"The budget of {number(budget)} false alarms per unit and {one} is kept on the "
                f"units that the threshold was chosen on, not on held-out ones "
                f"({number(policy.false_alarms)})."
            )
        if self.row_spacing > 1.5 * i.interval:
            every = f"{i.interval:g} {one if i.interval == 1 else self.time_unit}"
            found.append(
                f"Decisions every {every} were evaluated on predictions "
                f"{number(self.row_spacing)} {self.time_unit} apart: fresh predictions can do "
                "better. Remedy: train with more rows_per_unit."
            )
        return found

    def _rule(self) -> str:
        if self.threshold >= 1.0:
            return "Do not replace on a prediction: no alarm threshold lowers the cost."
        k, n = self.inputs.persistence
        often = "" if (k, n) == (1, 1) else f" at {k} of {n} successive decisions"
        low, high = self.threshold_interval
        return (
            f"Replace when P(failure within {self.inputs.horizon:g} {self.time_unit}) exceeds "
            f"{percent(self.threshold, 1)}{often} (95% interval of the threshold "
            f"{percent(low, 1)} to {percent(high, 1)})."
        )


def fit_policy(t: Trajectories, inputs: DecisionInputs, *, seed: int = 0) -> ReplacementPolicy:
    """Choose the threshold of least long-run cost and compare it with other policies.

    The long-run cost per operating time is E[cost of a cycle] / E[length of a cycle]
    (renewal–reward theorem). Cycles of censored units count where their record covers them,
    weighted by the inverse of the probability of being observed so long. References: age
    replacement (Barlow and Hunter, Operations Research 8, 1960); perfect prognosis and relative
    cost (Kamariotis et al., 2024); breaks and unexploited life (Susto et al., 2015).

    Threshold and replacement age are chosen by the same rule: the middle one of those within half
    a standard error of the least cost.

    Args:
        t: out-of-fold trajectories.
        inputs: costs and times.
        seed: of the bootstrap over units.

    Raises:
        ValueError: no unit lives longer than the lead time.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> rng = np.random.default_rng(0)
        >>> life = np.repeat(rng.uniform(60.0, 100.0, 20), 12)
        >>> age = np.tile(np.arange(0.0, 60.0, 5.0), 20)
        >>> edges = np.linspace(0.0, 120.0, 61)  # lives known up to ± 5
        >>> survival = np.clip((life - age + 5.0)[:, None] / 10.0 - edges / 10.0, 0.0, 1.0)
        >>> t = Trajectories(end=life[::12], failed=np.ones(20, bool), fold=np.arange(20) % 4,
        ...     owner=np.repeat(np.arange(20), 12), age=age,
        ...     distribution=RULDistribution(edges, survival))
        >>> inputs = DecisionInputs(failure_cost=10, planned_cost=1, interval=5)
        >>> policy = fit_policy(t, inputs)
        >>> policy.comparison["prognosis"].cost < policy.comparison["age replacement"].cost
        True
    """
    if not (t.end > inputs.lead_time).any():
        raise ValueError(
            f"the lead time of {inputs.lead_time:g} {t.time_unit} is as long as the longest life "
            f"({t.end.max():g} {t.time_unit}): no replacement would come in time"
        )
    seen = observation(t)
    thresholds = _thresholds(t, inputs)
    alarms = alarm_cycles(t, inputs, thresholds, seen)
    ages = _replacement_ages(t, seen.limit)
    by_age = scheduled_cycles(t, inputs, np.broadcast_to(ages, (len(t), ages.size)), seen)
    best, best_age = choose(alarms, seed, inputs.false_alarm_budget), choose(by_age, seed)
    rates, false_alarms = _bootstrap(alarms, seed)
    budget = np.inf if inputs.false_alarm_budget is None else inputs.false_alarm_budget
    slack = GOOD * float(rates[:, best].std())
    allowed = np.where(false_alarms <= budget, rates, np.inf)
    drawn = thresholds[[_middle(row, row.min() + slack) for row in allowed]]
    low, high = np.quantile(rates, (0.025, 0.975), axis=0)
    curve = pl.DataFrame(
        {
            "threshold": thresholds,
            "cost": alarms.rate,
            "low": low,
            "high": high,
            "false_alarms": alarms.false_alarm_rate,
            "break_share": alarms.share(alarms.failed),
        }
    )
    chosen, chosen_age = _without_each_fold(t, inputs, alarms, by_age, seed)
    spacing = np.diff(t.age)[np.diff(t.owner) == 0]
    return ReplacementPolicy(
        inputs=inputs,
        threshold=float(thresholds[best]),
        threshold_interval=(float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))),
        replacement_age=float(ages[best_age]),
        cost_rate=float(alarms.rate[best]),
        curve=curve,
        comparison=compare_cycles(
            t, inputs, alarms.policy(chosen), by_age.policy(chosen_age), seed
        ),
        time_unit=t.time_unit,
        row_spacing=float(np.median(spacing)) if spacing.size else 0.0,
    )


def choose(cycles: Cycles, seed: int, budget: float | None = None) -> int:
    """The middle one of the policies that cost next to nothing more than the cheapest.

    With few failures the cost curve is ragged, and its lowest point lies where one failure was
    just avoided. All policies within half a standard error (bootstrap over units) of the least
    cost are taken as equally good; ``budget`` rules out those with more false alarms per unit
    and time.
    """
    allowed = True if budget is None else cycles.false_alarm_rate <= budget
    rate = np.where(allowed, cycles.rate, np.inf)
    least = int(np.argmin(rate))
    drawn, _ = _bootstrap(cycles.policy(least), seed, 250)
    return _middle(rate, rate[least] + GOOD * float(drawn.std()))


def _middle(rate: Array, most: float) -> int:
    """The middle one of the entries that are at most ``most``."""
    good = np.flatnonzero(rate <= most)
    return int(good[(good.size - 1) // 2])


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


def _bootstrap(cycles: Cycles, seed: int, resamples: int = RESAMPLES) -> tuple[Array, Array]:
    """Cost rates and false-alarm rates (R, P) of resampled units."""
    rng = np.random.default_rng(seed)
    n = len(cycles.cost)
    parts = [cycles.weight * a for a in (cycles.cost, cycles.false_alarm, cycles.length)]
    rates, false_alarms = [], []
    for _ in range(0, resamples, 250):
        counts = rng.multinomial(n, np.full(n, 1.0 / n), size=250).astype(np.float64)
        cost, false_alarm, length = (counts @ a for a in parts)
        length = np.maximum(length, 1e-300)
        rates.append(cost / length)
        false_alarms.append(false_alarm / length)
    return np.concatenate(rates), np.concatenate(false_alarms)


def _without_each_fold(
    t: Trajectories, inputs: DecisionInputs, alarms: Cycles, by_age: Cycles, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Columns of threshold and age per unit, (U,) each, chosen without the unit's fold."""
    chosen, chosen_age = np.zeros(len(t), dtype=np.int64), np.zeros(len(t), dtype=np.int64)
    for fold in np.unique(t.fold):
        held = t.fold == fold
        others = ~held if (t.failed & ~held).any() else np.ones_like(held)
        chosen[held] = choose(alarms[others], seed, inputs.false_alarm_budget)
        chosen_age[held] = choose(by_age[others], seed)
    return chosen, chosen_age
