"""Expected costs of slots and of watching, and the cheapest assignment under limited capacity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.integrate import trapezoid
from scipy.optimize import Bounds, LinearConstraint, milp

from grace.decisions.comparison import PolicyOutcome
from grace.decisions.inputs import DecisionInputs
from grace.uncertainty import RULDistribution

__all__ = ["assign", "assign_first", "mean_until", "slot_costs", "watching_costs"]

Array = npt.NDArray[np.float64]


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
    return np.asarray(cost - cost_rate * mean_until(distribution, slots))


def mean_until(distribution: RULDistribution, slots: Array) -> Array:
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


def watching_costs(
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
    until = mean_until(distribution, np.array([starts[1], starts[1] + early]))
    gained = distribution.mean - until[:, 1] + until[:, 0]
    cost = inputs.failure_cost * (1.0 - beyond) + warned * beyond - cost_rate * gained
    use = np.zeros((len(distribution), len(starts) - 1))
    if use.shape[1] > 1:
        left = distribution.survival_at(one * (starts[2:] + early))
        use[:, 1:] = -np.diff(np.minimum(np.column_stack([beyond, left]), beyond[:, None]), axis=1)
    return cost, use


def assign(cost: Array, count: int) -> npt.NDArray[np.int64]:
    """Slot of each unit: least total cost, each unit once, at most ``count`` per slot but the last.

    The constraint matrix is totally unimodular, so the relaxation has whole-number solutions and
    HiGHS needs no branching.

    Raises:
        RuntimeError: the solver found no plan.
    """
    k = cost.shape[1]
    use = np.tile(np.eye(k - 1, k)[:, None], (1, len(cost), 1))
    part = _cheapest(cost, use, count, whole=True)
    return np.asarray(part.argmax(axis=1), dtype=np.int64)


def assign_first(cost: Array, watched: Array, use: Array, count: int) -> npt.NDArray[np.int64]:
    """Slot of each unit: the first one where it beats watching, the others provisional.

    Every unit takes a slot or is watched, which uses a fraction of later slots. Of the linear
    relaxation at most one unit per slot is divided; the first slot goes to the larger parts.

    Args:
        cost: of U units in each of K slots, the last without a limit, (U, K).
        watched: cost of watching, (U,).
        use: of the limited slots by a watched unit, (U, K − 1).
        count: replacements per slot.

    Raises:
        RuntimeError: the solver found no plan.
    """
    n, k = cost.shape
    slots = np.arange(k - 1)
    use_of_slots = np.zeros((k - 1, n, k + 1))
    use_of_slots[slots, :, slots] = 1.0
    use_of_slots[:, :, k] = use.T
    part = _cheapest(np.column_stack([cost, watched]), use_of_slots, count, whole=False)[:, 0]
    first = np.argsort(-part, kind="stable")[:count]
    chosen = np.zeros(n, dtype=np.int64)
    others = np.setdiff1d(np.arange(n), first[part[first] > 0.5])
    if others.size:
        chosen[others] = 1 + (assign(cost[others, 1:], count) if k > 2 else 0)
    return chosen


def _cheapest(cost: Array, use: Array, count: int, *, whole: bool) -> Array:
    """Part of each unit in each option, (U, O): least cost (U, O), ``use`` (K, U, O) ≤ count."""
    n, options = cost.shape
    solved = milp(
        (cost - cost.min(axis=1, keepdims=True)).ravel() / max(float(np.ptp(cost)), 1e-300),
        constraints=[
            LinearConstraint(sparse.kron(sparse.eye(n), np.ones((1, options))), 1.0, 1.0),
            LinearConstraint(sparse.csr_matrix(use.reshape(len(use), -1)), -np.inf, float(count)),
        ],
        bounds=Bounds(0.0, 1.0),
        integrality=np.full(n * options, int(whole)),
    )
    if solved.x is None:
        raise RuntimeError(f"no maintenance plan was found: {solved.message}")
    return np.asarray(solved.x.reshape(n, options))
