"""What a policy costs next to run to failure, age replacement and perfect prognosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.decisions.cycles import Cycles, alarm_cycles, observation, scheduled_cycles
from grace.decisions.inputs import DecisionInputs
from grace.decisions.trajectories import Trajectories
from grace.evaluation.bootstrap import Interval, resampled_moments, studentised

__all__ = [
    "POLICIES",
    "PolicyComparison",
    "PolicyOutcome",
    "compare_cycles",
    "compare_policies",
    "perfect_cycles",
]

Array = npt.NDArray[np.float64]
RESAMPLES = 2000
POLICIES = ("prognosis", "age replacement", "run to failure", "perfect prognosis")
_ENDS = ("age replacement", "perfect prognosis")  # relative cost 1 and 0


@dataclass(frozen=True)
class PolicyOutcome:
    """What a policy costs and does, per unit and time of operation, in the fleet's unit of time.

    Args:
        name: of the policy.
        cost: long-run cost per unit and time.
        cost_low: lower limit of its 95% percentile interval over units; −∞ where none is given.
        cost_high: upper limit; ∞ where none is given.
        breaks: unexpected failures per unit and time.
        break_share: share of the cycles that end with a failure.
        unexploited: mean life given up per planned replacement; None where no life is known.
        false_alarms: false alarms per unit and time.
        length: mean length of a cycle.
        relative: (cost − perfect) / (age replacement − perfect): 0 as good as perfect prognosis,
            1 as age replacement, above 1 worse; None if those two cost the same.
        relative_low: lower limit of its 95% interval over units; None as ``relative``.
        relative_high: upper limit.

    Example:
        >>> outcome = PolicyOutcome(
        ...     name="prognosis", cost=112.0, cost_low=98.0, cost_high=130.0, breaks=0.0004,
        ...     break_share=0.08, unexploited=14.0, false_alarms=0.001, length=190.0, relative=0.3,
        ... )
        >>> outcome.relative < 1  # cheaper than age replacement
        True
    """

    name: str
    cost: float
    cost_low: float
    cost_high: float
    breaks: float
    break_share: float
    unexploited: float | None
    false_alarms: float
    length: float
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None


@dataclass(frozen=True)
class PolicyComparison:
    """The policy next to run to failure, age replacement and perfect prognosis on the same units.

    ``difference`` is cost(policy) − cost(age replacement) with its paired, studentised interval
    over units,
    ``limit`` the last age that counts (infinite if every life is known).

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> sure = RULDistribution(np.array([0.0, 9.0, 11.0]), np.array([[1.0, 1, 0]] * 2))
        >>> t = Trajectories(end=np.array([30.0, 50.0]), failed=np.array([True, True]),
        ...     fold=np.array([0, 1]), owner=np.array([0, 1]), age=np.array([20.0, 40.0]),
        ...     distribution=sure)
        >>> inputs = DecisionInputs(failure_cost=50, planned_cost=8, interval=5)
        >>> found = compare_policies(t, inputs, threshold=0.5, replacement_age=np.inf)
        >>> [outcome.name for outcome in found.outcomes]
        ['prognosis', 'age replacement', 'run to failure', 'perfect prognosis']
        >>> found["perfect prognosis"].cost < found["run to failure"].cost
        True
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

    @property
    def best_cost(self) -> float:
        """Long-run cost of the cheapest policy that can be followed; perfect prognosis cannot."""
        return min(o.cost for o in self.outcomes if o.name != "perfect prognosis")

    def frame(self) -> pl.DataFrame:
        """One row per policy."""
        return pl.DataFrame([vars(o) for o in self.outcomes], infer_schema_length=None)


def compare_policies(
    t: Trajectories,
    inputs: DecisionInputs,
    *,
    threshold: float | npt.ArrayLike,
    replacement_age: float | npt.ArrayLike,
    seed: int = 0,
) -> PolicyComparison:
    """Costs of given policies on units that had no part in choosing them.

    Args:
        t: trajectories of the units.
        inputs: costs and times.
        threshold: p* of the alarm policy, one for all units or one per unit (U,).
        replacement_age: of age replacement, one for all or one per unit; infinite for never.
        seed: of the bootstrap over units.

    Example:
        >>> import numpy as np
        >>> from grace.uncertainty import RULDistribution
        >>> sure = RULDistribution(np.array([0.0, 9.0, 11.0]), np.array([[1.0, 1, 0]] * 2))
        >>> t = Trajectories(end=np.array([30.0, 50.0]), failed=np.array([True, True]),
        ...     fold=np.array([0, 1]), owner=np.array([0, 1]), age=np.array([20.0, 40.0]),
        ...     distribution=sure)
        >>> inputs = DecisionInputs(failure_cost=50, planned_cost=8, interval=5)
        >>> found = compare_policies(t, inputs, threshold=0.4, replacement_age=np.inf)
        >>> found["prognosis"].cost == 16 / (25 + 45)
        True
    """
    seen = observation(t)
    each = np.broadcast_to(np.asarray(threshold, dtype=np.float64), (len(t),))
    values, column = np.unique(each, return_inverse=True)
    alarms = alarm_cycles(t, inputs, values, seen).policy(column.reshape(-1))
    ages = np.broadcast_to(np.asarray(replacement_age, dtype=np.float64), (len(t),))
    by_age = scheduled_cycles(t, inputs, ages[:, None], seen)
    return compare_cycles(t, inputs, alarms, by_age, seed)


def compare_cycles(
    t: Trajectories, inputs: DecisionInputs, alarms: Cycles, by_age: Cycles, seed: int
) -> PolicyComparison:
    """The comparison from one cycle per unit under the policy and under age replacement."""
    seen = observation(t)
    never = scheduled_cycles(t, inputs, np.full((len(t), 1), np.inf), seen)
    cycles = dict(zip(POLICIES, (alarms, by_age, never, perfect_cycles(t, inputs)), strict=True))
    rates = dict(zip(POLICIES, _resampled_rates(list(cycles.values()), seed).T, strict=True))
    outcomes = []
    for name, one in cycles.items():
        relative = _relative(*(float(cycles[n].rate[0]) for n in (name, *_ENDS)))
        draws = zip(*(rates[n] for n in (name, *_ENDS)), strict=True)
        drawn = np.array([_relative(*r) for r in draws], dtype=np.float64)
        outcomes.append(
            _outcome(
                name,
                one,
                _percentiles(rates[name]) if len(t) > 1 else (-np.inf, np.inf),
                relative,
                None if relative is None or len(t) < 2 else _percentiles(drawn),
            )
        )
    low, high = _difference(alarms, by_age, seed)
    note = "" if np.isfinite([low, high]).all() else "no interval can be given"
    return PolicyComparison(
        tuple(outcomes),
        float(alarms.rate[0] - by_age.rate[0]),
        Interval(low=low, high=high, note="one unit" if len(t) < 2 else note),
        len(t),
        int(t.failed.sum()),
        seen.limit,
    )


def perfect_cycles(t: Trajectories, inputs: DecisionInputs) -> Cycles:
    """Replacement at the last decision that comes before each known failure, (U, 1).

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


def _outcome(
    name: str,
    cycles: Cycles,
    cost: tuple[float, float],
    relative: float | None,
    limits: tuple[float, float] | None,
) -> PolicyOutcome:
    planned = ~cycles.failed & np.isfinite(cycles.unexploited)
    weight = cycles.weight * planned
    lost = np.where(planned, cycles.unexploited, 0.0)
    total = float(weight.sum())
    low, high = (None, None) if limits is None else limits
    return PolicyOutcome(
        name=name,
        cost=float(cycles.rate[0]),
        cost_low=cost[0],
        cost_high=cost[1],
        breaks=float((cycles.weight * cycles.failed).sum() / cycles.operating_time[0]),
        break_share=float(cycles.share(cycles.failed)[0]),
        unexploited=float((weight * lost).sum() / total) if total > 0 else None,
        false_alarms=float(cycles.false_alarm_rate[0]),
        length=float(cycles.operating_time[0] / cycles.weight.sum()),
        relative=relative,
        relative_low=low,
        relative_high=high,
    )


def _relative(rate: float, age: float, perfect: float) -> float | None:
    """(r − r_perfect) / (r_age − r_perfect); None without room in between."""
    room = age - perfect
    return (rate - perfect) / room if room > 1e-12 * abs(age) else None


def _resampled_rates(cycles: Sequence[Cycles], seed: int) -> Array:
    """Cost rates of policies on the same resampled units, (R, P)."""
    cost = np.concatenate([c.weight * c.cost for c in cycles], axis=1)
    length = np.concatenate([c.weight * c.length for c in cycles], axis=1)
    rng, n = np.random.default_rng(seed), len(cost)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=RESAMPLES).astype(np.float64)
    return np.asarray((counts @ cost) / np.maximum(counts @ length, 1e-300))


def _percentiles(drawn: Array) -> tuple[float, float]:
    """Limits that hold the middle 95% of resampled values, those without a value left out."""
    known = drawn[np.isfinite(drawn)]
    if not known.size:
        return -np.inf, np.inf
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def _difference(one: Cycles, other: Cycles, seed: int) -> tuple[float, float]:
    """Studentised 95% limits of rate(one) − rate(other) over units drawn in common."""
    pair = (one, other)
    if len(one.cost) < 2:
        return -np.inf, np.inf
    cost = np.concatenate([c.weight * c.cost for c in pair], axis=1)
    length = np.concatenate([c.weight * c.length for c in pair], axis=1)
    # Totals of about 1, whatever the currency and the unit of time.
    scales = [max(float(np.abs(a).max()), 1e-300) for a in (cost, length)]
    data = np.concatenate([cost / scales[0], length / scales[1]], axis=1)

    def value(s: Array) -> Array:
        return np.asarray(s[..., 0] / s[..., 2] - s[..., 1] / s[..., 3])

    def gradient(s: Array) -> Array:
        parts = [1.0 / s[..., 2], -1.0 / s[..., 3],
                 -s[..., 0] / s[..., 2] ** 2, s[..., 1] / s[..., 3] ** 2]  # fmt: skip
        return np.stack(parts, axis=-1)

    moments = resampled_moments(data, RESAMPLES, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = studentised(value, gradient, data, moments, level=0.95)
    if not np.isfinite([low, high]).all():
        return -np.inf, np.inf
    size = scales[0] / scales[1]
    return size * float(low), size * float(high)
