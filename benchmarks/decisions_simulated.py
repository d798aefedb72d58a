"""Costs of decisions on simulated engines, whose true distribution of remaining life is known.

Used by ``decisions.py``. A model is fitted on one fleet; policies and plans are evaluated on
engines of another one, which are flown to their failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grace import RULModel
from grace.data.simulation import Simulation, SimulationConfig, simulate, true_survival
from grace.decisions import (
    Capacity,
    DecisionInputs,
    ReplacementPolicy,
    Trajectories,
    compare_policies,
    fit_policy,
    model_trajectories,
    plan_maintenance,
)
from grace.estimator.inputs import predict_rows
from grace.evaluation.bootstrap import resampled_moments, studentised
from grace.uncertainty import RULDistribution

CANDIDATES = ["median_life", "linear", "boosting", "boosting_log"]
LEARNED, EVALUATED, SOCKETS = 80, 300, 37
LEAD, INTERVAL = 10.0, 5.0
PERIOD, CAPACITY, SLOTS, HORIZON = 10, 3, 12, 900
EDGES = np.arange(0.0, 401.0)


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """Trajectories of the same engines by prediction and by truth, to learn from and to evaluate.

    Policies are chosen on the learned engines; plans are made for the evaluated ones.
    """

    learned: Trajectories
    learned_truth: Trajectories
    evaluated: Trajectories
    evaluated_truth: Trajectories


def build_case(folder: Path, rows_per_unit: int) -> SimulatedCase:
    """Fit on one fleet, predict another at its decision times."""
    first = simulate(SimulationConfig(n_train=LEARNED, n_test=1), seed=0)
    model_folder = folder / f"model-{rows_per_unit}"
    if model_folder.exists():
        model = RULModel.load(model_folder)
    else:
        model = RULModel(candidates=CANDIDATES, rows_per_unit=rows_per_unit, seed=0)
        model.fit(first.dataset.train, store=folder / "fit")
        model.save(model_folder)
    second = simulate(SimulationConfig(n_train=EVALUATED, n_test=1), seed=1)
    made: dict[str, Callable[[], Trajectories]] = {
        "learned": lambda: model_trajectories(model),
        "learned_truth": lambda: _true_trajectories(first),
        "evaluated": lambda: _predicted_trajectories(second, model),
        "evaluated_truth": lambda: _true_trajectories(second),
    }
    return SimulatedCase(
        **{k: kept(folder / f"sim-{rows_per_unit}-{k}.npz", make) for k, make in made.items()}
    )


def kept(path: Path, make: Callable[[], Trajectories]) -> Trajectories:
    """Trajectories from a file, or made and written there."""
    if not path.exists():
        t = make()
        d = t.distribution
        names = ("end", "failed", "fold", "owner", "age")
        arrays = {name: getattr(t, name) for name in names}
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, edges=d.edges, survival=d.survival, rate=d.rate, **arrays)
        partial.rename(path)
    with np.load(path) as file:
        a = dict(file)
    distribution = RULDistribution(a.pop("edges"), a.pop("survival"), a.pop("rate"))
    return Trajectories(distribution=distribution, **a)


def _decision_rows(simulation: Simulation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows at ages that are multiples of Δ, their units and ages."""
    fleet = simulation.dataset.train
    owner = np.repeat(np.arange(fleet.n_units), fleet.lengths())
    age = np.concatenate([np.arange(n) for n in fleet.lengths()])
    # At the last row the engine has failed.
    rows = np.flatnonzero((age % INTERVAL == 0) & (age < fleet.lengths()[owner] - 1))
    return rows, owner[rows], age[rows].astype(np.float64)


def _true_trajectories(simulation: Simulation) -> Trajectories:
    rows, owner, age = _decision_rows(simulation)
    curves = true_survival(simulation, rows, EDGES, n_paths=200)
    curves[:, 0] = 1.0
    return _trajectories(simulation, owner, age, RULDistribution(EDGES, curves))


def _predicted_trajectories(simulation: Simulation, model: RULModel) -> Trajectories:
    rows, owner, age = _decision_rows(simulation)
    frame = predict_rows(simulation.dataset.train, rows, model._learned)
    return _trajectories(simulation, owner, age, model.distribution_.predict(frame))


def _trajectories(
    simulation: Simulation, owner: np.ndarray, age: np.ndarray, d: RULDistribution
) -> Trajectories:
    fleet = simulation.dataset.train
    n = fleet.n_units
    return Trajectories(
        end=fleet.lengths() - 1.0, failed=np.ones(n, bool), fold=np.arange(n) % 5,
        owner=owner.astype(np.int64), age=age, distribution=d,
    )  # fmt: skip


def policy_costs(case: SimulatedCase, failure_cost: float) -> dict[str, Any]:
    """The alarm policy by prediction and by truth; both chosen on the learned fleet."""
    inputs = DecisionInputs(
        failure_cost=failure_cost, planned_cost=1.0, lead_time=LEAD, interval=INTERVAL
    )
    policy, truth = fit_policy(case.learned, inputs), fit_policy(case.learned_truth, inputs)
    by_prediction, by_truth = (
        compare_policies(t, inputs, threshold=p.threshold, replacement_age=policy.replacement_age)
        for t, p in ((case.evaluated, policy), (case.evaluated_truth, truth))
    )
    # Optimal age replacement with hindsight: chosen on the very engines it is evaluated on.
    hindsight = fit_policy(case.evaluated_truth, inputs).replacement_age
    best_age = compare_policies(
        case.evaluated, inputs, threshold=policy.threshold, replacement_age=hindsight
    )
    ratio = _ratio(_per_unit(case.evaluated, inputs, policy.threshold),
                   _per_unit(case.evaluated_truth, inputs, truth.threshold))  # fmt: skip
    return {
        "failure_cost": failure_cost,
        "threshold": policy.threshold,
        "threshold_interval": policy.threshold_interval,
        "true_threshold": truth.threshold,
        "replacement_age": policy.replacement_age,
        "outcomes": by_prediction.frame().to_dicts(),
        "true_cost": by_truth["prognosis"].cost,
        "true_relative": by_truth["prognosis"].relative,
        "ratio": ratio,
        "difference": [by_prediction.difference, *_ends(by_prediction)],
        "difference_hindsight": [best_age.difference, *_ends(best_age)],
        "hindsight_age_cost": best_age["age replacement"].cost,
        "pays": by_prediction.pays,
    }


def _ends(comparison: Any) -> list[float]:
    return [comparison.interval.low, comparison.interval.high]


def _per_unit(t: Trajectories, inputs: DecisionInputs, threshold: float) -> np.ndarray:
    """Cost and length of each unit's cycle, (U, 2)."""
    from grace.decisions.cycles import alarm_cycles, observation

    cycles = alarm_cycles(t, inputs, np.array([threshold]), observation(t))
    return np.concatenate([cycles.cost, cycles.length], axis=1)


def _ratio(one: np.ndarray, other: np.ndarray) -> list[float]:
    """(Σcost/Σlength of one) / (that of the other) with studentised 95% limits of its logarithm."""
    data = np.concatenate([one, other], axis=1)
    scale = np.abs(data).max(axis=0)
    offset = np.log(scale) @ np.array([1.0, -1.0, -1.0, 1.0])

    def value(s: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(s, 1e-300))
        return offset + logs[..., 0] - logs[..., 1] - logs[..., 2] + logs[..., 3]

    def gradient(s: np.ndarray) -> np.ndarray:
        return np.array([1.0, -1.0, -1.0, 1.0]) / np.maximum(s, 1e-300)

    data = data / scale
    limits = studentised(value, gradient, data, resampled_moments(data, 2000, 0), 0.95)
    return [float(np.exp(v)) for v in (value(data.sum(axis=0)), *limits)]


def plan_costs(case: SimulatedCase, failure_cost: float) -> dict[str, Any]:
    """Plans made again every period for a fleet of sockets, each with engines one after another.

    Every period the units with the first slot are replaced after the lead time of one period, at
    most ``CAPACITY`` of them; an engine that fails costs ``failure_cost`` and is replaced for the
    next period. All policies get the same engines in the same order.
    """
    inputs = DecisionInputs(
        failure_cost=failure_cost, planned_cost=1.0, lead_time=PERIOD, interval=PERIOD
    )
    policy, truth = fit_policy(case.learned, inputs), fit_policy(case.learned_truth, inputs)
    age = policy.replacement_age
    planners = {
        "predicted": _planner(case.evaluated, inputs, policy),
        "true": _planner(case.evaluated_truth, inputs, truth),
        "age replacement": lambda ids, ages: _oldest(ages, age),
        "run to failure": lambda ids, ages: np.zeros(len(ids), bool),
    }
    queue = np.random.default_rng(0).permutation(EVALUATED)[: SOCKETS * (EVALUATED // SOCKETS)]
    found = {
        name: run_sockets(queue.reshape(SOCKETS, -1), case.evaluated.end, plan, failure_cost)
        for name, plan in planners.items()
    }
    return {
        "failure_cost": failure_cost,
        "capacity": CAPACITY,
        "period": PERIOD,
        "horizon": HORIZON,
        "sockets": SOCKETS,
        "cost": {n: float(a[:, 0].sum() / a[:, 1].sum()) for n, a in found.items()},
        "failures": {n: int(a[:, 2].sum()) for n, a in found.items()},
        "replacements": {n: int(a[:, 3].sum()) for n, a in found.items()},
        "ratio": _ratio(found["predicted"][:, :2], found["true"][:, :2]),
        "ratio_age": _ratio(found["predicted"][:, :2], found["age replacement"][:, :2]),
    }


def _planner(t: Trajectories, inputs: DecisionInputs, policy: ReplacementPolicy) -> Any:
    start = np.searchsorted(t.owner, np.arange(len(t)))
    capacity = Capacity(count=CAPACITY, period=PERIOD)

    def plan(ids: np.ndarray, ages: np.ndarray) -> np.ndarray:
        rows = start[ids] + np.round(ages / INTERVAL).astype(int)
        assert (t.age[rows] == ages).all()
        made = plan_maintenance(
            list(range(len(ids))), t.distribution[rows], inputs,
            cost_rate=policy.comparison.best_cost, capacity=capacity, n_slots=SLOTS,
            monitoring=policy.comparison["prognosis"],
        )  # fmt: skip
        chosen = made.frame.filter(pl.col("slot") == 0)["unit"].to_numpy()
        return np.isin(np.arange(len(ids)), chosen)

    return plan


def _oldest(ages: np.ndarray, limit: float) -> np.ndarray:
    """The oldest that reach the replacement age by the first slot, as many as there is room for."""
    due = np.flatnonzero(ages + PERIOD >= limit)
    chosen = due[np.argsort(-ages[due], kind="stable")][:CAPACITY]
    return np.isin(np.arange(ages.size), chosen)


def run_sockets(queue: np.ndarray, life: np.ndarray, plan: Any, failure_cost: float) -> np.ndarray:
    """Cost, operating time, failures and replacements of each socket, (S, 4).

    Args:
        queue: engines of each socket in order, (S, Q); begun again if they run out.
        life: age at failure of each engine.
        plan: from engines and ages (S,) to whether they are replaced one period from now.
        failure_cost: of a failure; a planned replacement costs 1.
    """
    n = len(queue)
    place, age, total = np.zeros(n, int), np.zeros(n), np.zeros((n, 4))
    for _ in range(0, HORIZON, PERIOD):
        ids = queue[np.arange(n), place % queue.shape[1]]
        chosen = plan(ids, age)
        failed = life[ids] <= age + PERIOD
        total[:, 0] += np.where(failed, failure_cost, np.where(chosen, 1.0, 0.0))
        total[:, 1] += np.where(failed, life[ids] - age, PERIOD)
        total[:, 2] += failed
        total[:, 3] += chosen & ~failed
        renewed = failed | chosen
        place, age = place + renewed, np.where(renewed, 0.0, age + PERIOD)
    return total
