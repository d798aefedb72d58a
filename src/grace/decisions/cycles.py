"""Cycles of operation under a policy: what each unit costs, and for how long it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grace.decisions.inputs import DecisionInputs
from grace.decisions.trajectories import Trajectories, decision_probabilities

__all__ = ["Cycles", "alarm_ages", "alarm_cycles", "observation", "scheduled_cycles"]

Array = npt.NDArray[np.float64]
AT_RISK = 0.05  # share of the units that must still be observed at the last age that counts


@dataclass(frozen=True, eq=False)
class Cycles:
    """One cycle per unit and policy, arrays (U, P).

    ``cost`` and ``length`` of the cycle; ``weight`` 0 where the record ends before the cycle does,
    else the inverse probability of being observed that long; ``failed`` whether it ended with a
    failure; ``false_alarm`` whether the unit would have lived past the horizon of its alarm;
    ``unexploited`` life given up, NaN where the life is not known.
    """

    cost: Array
    length: Array
    weight: Array
    failed: npt.NDArray[np.bool_]
    false_alarm: npt.NDArray[np.bool_]
    unexploited: Array

    def __getitem__(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Cycles:
        """The cycles of some units."""
        return Cycles(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def policy(self, columns: npt.NDArray[np.int64] | int) -> Cycles:
        """The cycles under one policy, (U, 1), or under one per unit, columns (U,)."""
        index = np.broadcast_to(np.asarray(columns), (len(self.cost),))[:, None]
        names = self.__dataclass_fields__
        return Cycles(*(np.take_along_axis(getattr(self, n), index, axis=1) for n in names))

    @property
    def rate(self) -> Array:
        """Long-run cost per unit of operating time, (P,): Σ w·cost / Σ w·length.

        By the renewal–reward theorem, E[cost of a cycle] / E[length of a cycle].
        """
        return np.asarray((self.weight * self.cost).sum(0) / self.operating_time)

    @property
    def operating_time(self) -> Array:
        """Weighted operating time, (P,)."""
        return np.asarray(np.maximum((self.weight * self.length).sum(0), 1e-300))

    @property
    def false_alarm_rate(self) -> Array:
        """False alarms per unit and time, (P,)."""
        return np.asarray((self.weight * self.false_alarm).sum(0) / self.operating_time)

    def share(self, what: npt.NDArray[np.bool_]) -> Array:
        """Weighted share of the cycles for which something (U, P) holds, (P,)."""
        total = np.maximum(self.weight.sum(0), 1e-300)
        return np.asarray((self.weight * what).sum(0) / total)


@dataclass(frozen=True, eq=False)
class Observation:
    """Until when units were observed: Kaplan-Meier of the time of censoring.

    ``limit`` is the last age that counts. A unit in service then leaves without cost, under every
    policy alike; it is infinite if every life is known.
    """

    ages: Array
    survival: Array
    limit: float

    def weight(self, age: Array, observed: npt.NDArray[np.bool_]) -> Array:
        """1 / P(still observed just before ``age``) where observed, else 0."""
        index = np.searchsorted(self.ages, age, side="left")
        chance = np.concatenate([[1.0], self.survival])[index]
        return np.where(observed, 1.0 / np.maximum(chance, 1e-12), 0.0)


def observation(t: Trajectories) -> Observation:
    """Distribution of the time of censoring, and the age up to which costs are compared.

    Weights by the inverse of P(still observed) make units whose cycle was seen to its end stand
    for those that were censored before (Robins and Rotnitzky 1992); the time of censoring is
    taken to be independent of the life.
    """
    censored = ~t.failed
    if not censored.any():
        return Observation(np.empty(0), np.empty(0), np.inf)
    order = np.sort(t.end)
    ages = np.unique(t.end[censored])
    at_risk = t.end.size - np.searchsorted(order, ages, side="left")
    # A failure at the same age comes before the censoring.
    failures = np.array([np.sum(t.failed & (t.end == a)) for a in ages])
    events = np.array([np.sum(censored & (t.end == a)) for a in ages])
    survival = np.cumprod(1.0 - events / np.maximum(at_risk - failures, 1))
    needed = max(2, int(np.ceil(AT_RISK * t.end.size)))
    return Observation(ages, survival, float(order[max(0, order.size - needed)]))


def alarm_ages(
    owner: npt.NDArray[np.int64],
    age: Array,
    probability: Array,
    thresholds: Array,
    *,
    n_units: int,
    persistence: tuple[int, int] = (1, 1),
) -> Array:
    """Age at which each unit's alarm goes off, (U, P); infinite where it does not.

    An alarm goes off at the first decision at which at least k of the last n probabilities lie
    above the threshold.

    Args:
        owner: unit of each decision, ascending, (D,).
        age: of each decision, (D,).
        probability: of failure within the horizon, (D,).
        thresholds: (P,).
        n_units: U.
        persistence: (k, n).
    """
    k, n = persistence
    found = np.full((n_units, thresholds.size), np.inf)
    starts = np.searchsorted(owner, np.arange(n_units))
    stops = np.searchsorted(owner, np.arange(n_units), side="right")
    for u, (a, b) in enumerate(zip(starts, stops, strict=True)):
        if a == b:
            continue
        above = (probability[a:b, None] > thresholds).astype(np.int32)
        total = np.cumsum(above, axis=0)
        total[n:] -= total[:-n].copy() if b - a > n else 0
        enough = total >= k
        first = enough.argmax(axis=0)
        found[u] = np.where(enough.any(axis=0), age[a + first], np.inf)
    return found


def alarm_cycles(
    t: Trajectories, inputs: DecisionInputs, thresholds: Array, seen: Observation
) -> Cycles:
    """Cycles under the policies "replace at the first alarm", one per threshold."""
    owner, age, probability = decision_probabilities(t, inputs.interval, inputs.horizon)
    alarm = alarm_ages(
        owner, age, probability, thresholds, n_units=len(t), persistence=inputs.persistence
    )
    cycles = scheduled_cycles(t, inputs, alarm + inputs.lead_time, seen)
    life = t.end[:, None]
    false_alarm = np.isfinite(alarm) & (life > alarm + inputs.horizon)
    return Cycles(
        cycles.cost, cycles.length, cycles.weight, cycles.failed, false_alarm, cycles.unexploited
    )


def scheduled_cycles(
    t: Trajectories, inputs: DecisionInputs, replaced_at: Array, seen: Observation
) -> Cycles:
    """Cycles if units are replaced at given ages (U, P), infinite for never.

    A unit that fails at or before its replacement costs c_f and ends there.
    """
    life, known = t.end[:, None], t.failed[:, None]
    end = np.minimum(np.minimum(replaced_at, life), seen.limit)
    failed = known & (life <= replaced_at) & (life <= seen.limit)
    # Seen to its end: the failure, the replacement or the limit is within the record.
    observed = known | (replaced_at <= life) | (seen.limit <= life)
    planned = ~failed & (replaced_at <= end)
    cost = np.where(failed, inputs.failure_cost, np.where(planned, inputs.planned_cost, 0.0))
    unexploited = np.where(known & planned, life - end, np.where(failed, 0.0, np.nan))
    return Cycles(
        cost=cost,
        length=end,
        weight=seen.weight(end, observed),
        failed=failed,
        false_alarm=np.zeros(end.shape, dtype=bool),
        unexploited=unexploited,
    )
