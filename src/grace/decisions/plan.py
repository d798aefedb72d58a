"""A maintenance plan: which unit is replaced in which slot, under limited capacity, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse
from scipy.integrate import trapezoid
from scipy.optimize import Bounds, LinearConstraint, milp

from grace.decisions.comparison import PolicyOutcome
from grace.decisions.inputs import Capacity, DecisionInputs
from grace.formatting import number, percent
from grace.uncertainty import RULDistribution

__all__ = ["MaintenancePlan", "plan_maintenance", "slot_costs"]

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


def slot_costs(
    distribution: RULDistribution, slots: Array, inputs: DecisionInputs, cost_rate: float
) -> Array:
    """Expected cost of replacing unit i at slot k, (U, K), less the operating time it gains.

    c_f P(T ≤ s) + c_p P(T > s) − ρ E[min(T, s)]: time in service is worth the long-run cost rate
    ρ, because a replacement starts the next cycle earlier (Dinkelbach's form of the renewal–reward
    ratio). With ρ of the best policy the smallest value over s is where that policy replaces.

    Args:
        distribution: predictive distributions of U units.
        slots: start of each slot, time from now, (K,).
        inputs: costs.
        cost_rate: ρ, cost per unit and time.
    """
    times = np.broadcast_to(slots, (len(distribution), len(slots)))
    survival = distribution.survival_at(np.ascontiguousarray(times))
    cost = inputs.failure_cost * (1.0 - survival) + inputs.planned_cost * survival
    return np.asarray(cost - cost_rate * _mean_until(distribution, slots))


def _mean_until(distribution: RULDistribution, slots: Array) -> Array:
    """E[min(T, s)] = ∫₀ˢ S(t) dt for each row and slot, (U, K); exact for the piecewise curve."""
    out = np.empty((len(distribution), len(slots)))
    edges = distribution.edges
    for k, s in enumerate(slots):
        nodes = np.unique(np.concatenate([edges[edges < s], [0.0, s]]))
        inside = nodes[nodes <= edges[-1]]
        if s > edges[-1] and inside[-1] < edges[-1]:
            inside = np.append(inside, edges[-1])
        values = distribution.survival_at(np.tile(inside, (len(distribution), 1)))
        out[:, k] = trapezoid(values, inside, axis=1)
        if s > edges[-1]:  # exponential tail
            last, rate = distribution.survival[:, -1], distribution.rate
            out[:, k] += last * -np.expm1(-rate * (s - edges[-1])) / rate
    return out


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
        chosen = free if count is None else _assign(cost, count)
        delayed = cost[:, 1]
    else:
        watched, use = _watched(distribution, starts, inputs, cost_rate, monitoring)
        delayed = np.minimum(watched, cost[:, 1:].min(axis=1))
        free = np.where(cost[:, 0] < delayed, 0, 1 + cost[:, 1:].argmin(axis=1))
        chosen = free if count is None else _assign_first(cost, watched, use, count)
    survival = distribution.survival_at(np.tile(starts, (n, 1)))
    gained = _mean_until(distribution, starts)
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


def _assign(cost: Array, count: int) -> npt.NDArray[np.int64]:
    """Slot of each unit: least total cost, each unit once, at most ``count`` per slot but the last.

    The constraint matrix is totally unimodular, so the relaxation has whole-number solutions and
    HiGHS needs no branching.
    """
    n, k = cost.shape
    each = sparse.kron(sparse.eye(n), np.ones((1, k)))
    per_slot = sparse.hstack([sparse.eye(k - 1, k)] * n)
    solved = milp(
        (cost - cost.min(axis=1, keepdims=True)).ravel() / max(float(np.ptp(cost)), 1e-300),
        constraints=[
            LinearConstraint(each, 1.0, 1.0),
            LinearConstraint(per_slot, -np.inf, float(count)),
        ],
        bounds=Bounds(0.0, 1.0),
        integrality=np.ones(n * k),
    )
    if solved.x is None:
        raise RuntimeError(f"no maintenance plan was found: {solved.message}")
    return np.asarray(solved.x.reshape(n, k).argmax(axis=1), dtype=np.int64)


def _watched(
    distribution: RULDistribution,
    starts: Array,
    inputs: DecisionInputs,
    cost_rate: float,
    outcome: PolicyOutcome,
) -> tuple[Array, Array]:
    """Cost of watching each unit instead of taking the first slot, and its use of later slots.

    With m the share that fails unexpectedly under the policy and u the life that it gives up,
    a unit with remaining life T beyond the second slot s₁ costs c_p (1 − m) + c_f m and gains
    T − u, at least s₁.

    Returns:
        Cost (U,), less the time it gains as in :func:`slot_costs`, and the probability that the
        policy replaces the unit in slot k, (U, K); 0 for the first.
    """
    missed, early = outcome.break_share, outcome.unexploited or 0.0
    one = np.ones((len(distribution), 1))
    beyond = distribution.survival_at(starts[1] * one)[:, 0]
    warned = inputs.planned_cost * (1.0 - missed) + inputs.failure_cost * missed
    until = _mean_until(distribution, np.array([starts[1], starts[1] + early]))
    gained = distribution.mean - until[:, 1] + until[:, 0]
    cost = inputs.failure_cost * (1.0 - beyond) + warned * beyond - cost_rate * gained
    use = np.zeros((len(distribution), len(starts) - 1))
    if use.shape[1] > 1:
        left = distribution.survival_at(one * (starts[2:] + early))
        use[:, 1:] = -np.diff(np.minimum(np.column_stack([beyond, left]), beyond[:, None]), axis=1)
    return cost, use


def _assign_first(cost: Array, watched: Array, use: Array, count: int) -> npt.NDArray[np.int64]:
    """Slot of each unit: the first one where it beats watching, the others provisional.

    Every unit takes a slot or is watched, which uses a fraction of later slots. Of the linear
    relaxation at most one unit per slot is divided; the first slot goes to the larger parts.
    """
    n, k = cost.shape
    offers = np.column_stack([cost, watched])
    use_of_slots = np.zeros((k - 1, n, k + 1))
    slots = np.arange(k - 1)
    use_of_slots[slots, :, slots] = 1.0
    use_of_slots[:, :, k] = use.T
    solved = milp(
        (offers - offers.min(axis=1, keepdims=True)).ravel() / max(float(np.ptp(offers)), 1e-300),
        constraints=[
            LinearConstraint(sparse.kron(sparse.eye(n), np.ones((1, k + 1))), 1.0, 1.0),
            LinearConstraint(
                sparse.csr_matrix(use_of_slots.reshape(k - 1, -1)), -np.inf, float(count)
            ),
        ],
        bounds=Bounds(0.0, 1.0),
    )
    if solved.x is None:
        raise RuntimeError(f"no maintenance plan was found: {solved.message}")
    part = solved.x.reshape(n, k + 1)[:, 0]
    first = np.argsort(-part, kind="stable")[:count]
    chosen = np.zeros(n, dtype=np.int64)
    others = np.setdiff1d(np.arange(n), first[part[first] > 0.5])
    if others.size:
        chosen[others] = 1 + (_assign(cost[others, 1:], count) if k > 2 else 0)
    return chosen


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
