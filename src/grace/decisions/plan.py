"""A maintenance plan: which unit is replaced in which slot, under limited capacity, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.decisions.assignment import assign, assign_first, mean_until, slot_costs, watching_costs
from grace.decisions.comparison import PolicyOutcome
from grace.decisions.inputs import Capacity, DecisionInputs
from grace.formatting import number, percent
from grace.uncertainty import RULDistribution

__all__ = ["MaintenancePlan", "plan_maintenance"]

Array = npt.NDArray[np.float64]
LATER = -1


@dataclass(frozen=True, eq=False)
class MaintenancePlan:
    """The assignment of units to slots.

    Args:
        frame: one row per unit, planned ones first by slot, then by cost of waiting: ``unit``,
            ``slot`` (0 the first, null: after the planned slots), ``start`` and ``end`` of the
            slot (time from now), ``probability`` of a failure before the slot (or before the end
            of the plan), ``expected_cost``, ``cost_of_waiting`` (of one slot more, with capacity
            to spare), ``best_slot`` (without the limit of capacity), ``median``, ``lower`` and
            ``upper`` of the RUL, ``reason``.
        net_cost: of the plan, carried out as it stands: expected costs less the value of the
            operating time gained.
        unlimited_cost: the same if capacity were unlimited.
        postponed_cost: the same if nothing were replaced before the end of the plan.
        capacity: per slot; None: unlimited.
        slots: start of each slot, time from now.
        time_unit: of all times.

    Example:
        >>> edges = np.array([0.0, 50.0, 100.0])
        >>> distribution = RULDistribution(edges, np.array([[1.0, 0.2, 0.0], [1.0, 0.9, 0.3]]))
        >>> inputs = DecisionInputs(failure_cost=10, planned_cost=1, interval=10)
        >>> units = ["worn", "new"]
        >>> plan = plan_maintenance(units, distribution, inputs, cost_rate=0.01, n_slots=3)
        >>> plan.slots, plan.n_planned
        ((0.0, 10.0, 20.0), 2)
    """

    frame: pl.DataFrame
    net_cost: float
    unlimited_cost: float
    postponed_cost: float
    capacity: Capacity | None
    slots: tuple[float, ...]
    time_unit: str

    @property
    def n_planned(self) -> int:
        """Number of units with a slot."""
        return int(self.frame["slot"].is_not_null().sum())


def plan_maintenance(
    units: Sequence[object],
    distribution: RULDistribution,
    inputs: DecisionInputs,
    *,
    cost_rate: float,
    capacity: Capacity | None = None,
    n_slots: int = 12,
    time_unit: str = "cycles",
    monitoring: PolicyOutcome | None = None,
) -> MaintenancePlan:
    """Assign units to slots so that the expected cost is least; an integer programme (HiGHS).

    Slots start at L, L + period, L + 2·period …, or every Δ without a capacity. A unit may also
    wait until after the last slot, where capacity is not limited. A unit that fails before its
    slot leaves its place unused: the plan is to be made again at each decision.

    Without ``monitoring`` every slot counts as a commitment: early slots fill up with units whose
    remaining life is merely uncertain. With it, only the first slot is one. Every other unit is
    watched: until the slot after, its risk is that of its distribution; from then on it is
    replaced in time, giving up the life that the alarm policy gave up on held-out units, except
    for the share that failed there. Its expected need of later slots counts against the capacity,
    so that units that will need a place at the same time still spread over earlier ones. The slots
    shown for watched units are provisional.

    Args:
        units: ids of U units in service.
        distribution: of their RUL from now, (U,).
        inputs: costs and times.
        cost_rate: ρ, long-run cost per unit and time, e.g. of
            :class:`~grace.decisions.ReplacementPolicy`.
        capacity: replacements per slot; None: unlimited.
        n_slots: number of slots planned.
        time_unit: of all times.
        monitoring: outcome of the alarm policy on held-out units, ``policy.comparison
            ["prognosis"]``, if the plan is made again at each decision.

    Raises:
        ValueError: no units, another number of distributions, or ``n_slots`` below 1.
        RuntimeError: the solver found no plan.

    Example:
        >>> import numpy as np
        >>> curves = np.array([[1.0, 0.1, 0.0], [1.0, 0.95, 0.4]])
        >>> d = RULDistribution(np.array([0.0, 10.0, 60.0]), curves)
        >>> inputs = DecisionInputs(failure_cost=50, planned_cost=8, interval=5)
        >>> plan = plan_maintenance(["a", "b"], d, inputs, cost_rate=0.2,
        ...                         capacity=Capacity(count=1, period=5), n_slots=4)
        >>> plan.frame.select("unit", "slot").rows()
        [('a', 0), ('b', 1)]
    """
    n = len(units)
    if n == 0 or n != len(distribution):
        raise ValueError(f"{n} units and {len(distribution)} distributions: give one per unit")
    if n_slots < 1:
        raise ValueError(f"n_slots = {n_slots} must be 1 or more")
    period = inputs.interval if capacity is None else capacity.period
    # The entry after the last slot stands for waiting until the end of the plan.
    starts: Array = (inputs.lead_time + period * np.arange(n_slots + 1)).astype(np.float64)
    cost = slot_costs(distribution, starts, inputs, cost_rate)
    count = None if capacity is None else capacity.count
    if monitoring is None:
        free = cost.argmin(axis=1)
        chosen = free if count is None else assign(cost, count)
        delayed = cost[:, 1]
    else:
        watched, use = watching_costs(distribution, starts, inputs, cost_rate, monitoring)
        delayed = np.minimum(watched, cost[:, 1:].min(axis=1))
        free = np.where(cost[:, 0] < delayed, 0, 1 + cost[:, 1:].argmin(axis=1))
        chosen = free if count is None else assign_first(cost, watched, use, count)
    survival = distribution.survival_at(np.tile(starts, (n, 1)))
    gained = mean_until(distribution, starts)
    rows = np.arange(n)
    expected = cost[rows, chosen] + cost_rate * gained[rows, chosen]
    next_cost = np.where(chosen == 0, delayed, cost[rows, np.minimum(chosen + 1, n_slots)])
    waiting = next_cost - cost[rows, chosen]
    quantiles = distribution.quantiles([0.05, 0.5, 0.95])
    later = chosen == n_slots
    frame = pl.DataFrame(
        {
            "unit": list(units),
            "slot": pl.Series(np.where(later, LATER, chosen)).replace(LATER, None),
            "start": np.where(later, np.nan, starts[chosen]),
            "end": np.where(later, np.nan, starts[chosen] + period),
            "probability": 1.0 - survival[rows, chosen],
            "expected_cost": expected,
            "cost_of_waiting": waiting,
            "best_slot": pl.Series(np.where(free == n_slots, LATER, free)).replace(LATER, None),
            "median": quantiles[:, 1],
            "lower": quantiles[:, 0],
            "upper": quantiles[:, 2],
        },
        strict=False,
    ).with_columns(pl.col("start", "end").fill_nan(None))
    reasons = [
        _reason(row, starts, survival[i], time_unit)
        for i, row in enumerate(frame.iter_rows(named=True))
    ]
    frame = frame.with_columns(reason=pl.Series(reasons)).sort(
        "slot", "cost_of_waiting", descending=[False, True], nulls_last=True, maintain_order=True
    )
    return MaintenancePlan(
        frame=frame,
        net_cost=float(cost[rows, chosen].sum()),
        unlimited_cost=float(cost[rows, free].sum()),
        postponed_cost=float(cost[:, -1].sum()),
        capacity=capacity,
        slots=tuple(float(s) for s in starts[:-1]),
        time_unit=time_unit,
    )


def _reason(row: dict[str, object], starts: Array, survival: Array, time_unit: str) -> str:
    """Why a unit has its slot, in numbers."""
    slot, best = row["slot"], row["best_slot"]
    median, low, high = (number(float(str(row[k]))) for k in ("median", "lower", "upper"))
    life = f"RUL {median} {time_unit} (90%: {low} to {high})"
    if slot is None and best is None:
        return (
            f"{life}; P(failure within {starts[-1]:g} {time_unit}) "
            f"{percent(1.0 - float(survival[-1]), 1)}: waiting costs less than any slot"
        )
    if slot is None:
        first = 1.0 - float(survival[int(str(best))])
        return (
            f"{life}; slot {int(str(best)) + 1} would be best (P(failure before) "
            f"{percent(first, 1)}), but the capacity is taken by units where waiting costs more"
        )
    k = int(str(slot))
    before, after = 1.0 - float(survival[k]), 1.0 - float(survival[k + 1])
    waiting = float(str(row["cost_of_waiting"]))
    text = (
        f"{life}; P(failure before the slot) {percent(before, 1)}, before the next "
        f"{percent(after, 1)}; waiting one slot {'costs' if waiting >= 0 else 'saves'} "
        f"{number(abs(waiting))}"
    )
    if slot != best:
        wanted = "later" if best is None else f"slot {int(str(best)) + 1}"
        text += f"; {wanted} would be best, capacity is limited"
    return text
