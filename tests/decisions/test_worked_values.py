"""Decisions whose best answer is known on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from grace.decisions import (
    Capacity,
    DecisionInputs,
    Trajectories,
    compare_policies,
    fit_policy,
    plan_maintenance,
    raise_alarms,
)
from grace.decisions.cycles import alarm_cycles, observation, scheduled_cycles
from grace.decisions.policy import _replacement_ages, _without_each_fold
from grace.uncertainty import RULDistribution

EDGES = np.array([0.0, 20.0, 1000.0])


def signals(lives: Any, p: Any, interval: float = 10.0) -> Trajectories:
    """Units with P(failure within 20) = p(unit, age) at every decision."""
    owner, age, curves = [], [], []
    for u, life in enumerate(lives):
        for a in np.arange(0.0, life, interval):
            owner.append(u)
            age.append(a)
            curves.append([1.0, 1.0 - p(u, a), 1.0 - p(u, a)])
    return Trajectories(
        end=np.asarray(lives, dtype=np.float64),
        failed=np.ones(len(lives), dtype=bool),
        fold=np.arange(len(lives)) % 5,
        owner=np.array(owner),
        age=np.array(age),
        distribution=RULDistribution(EDGES, np.array(curves)),
    )


def two_kinds() -> Trajectories:
    """40 units live 95, 60 live 200; both look alike at age 80, the others again at age 180."""
    lives = [95.0] * 40 + [200.0] * 60
    return signals(lives, lambda u, a: {80.0: 0.6, 180.0: 0.9}.get(a, 0.0))


def inputs(failure_cost: float, **over: Any) -> DecisionInputs:
    return DecisionInputs(
        failure_cost=failure_cost, planned_cost=8.0, lead_time=10.0, interval=10.0, **over
    )


@pytest.mark.parametrize(
    ("failure_cost", "threshold", "cost"),
    [
        (50.0, 0.0, 8.0 / 90.0),  # replace all at 80 + 10
        (10.0, 0.6, (40 * 10 + 60 * 8) / (40 * 95 + 60 * 190)),  # let the short-lived fail
    ],
)
def test_the_threshold_depends_on_the_cost_of_a_failure(
    failure_cost: float, threshold: float, cost: float
) -> None:
    policy = fit_policy(two_kinds(), inputs(failure_cost))
    assert policy.threshold == threshold
    assert policy.cost_rate == pytest.approx(cost)
    by_threshold = dict(policy.curve.select("threshold", "cost").iter_rows())
    assert by_threshold[1.0] == pytest.approx(failure_cost * 100 / (40 * 95 + 60 * 200))
    # At age 80 only the 40 short-lived fail within L + Δ = 20: 60 false alarms in 9,000.
    false_alarms = dict(policy.curve.select("threshold", "false_alarms").iter_rows())
    assert false_alarms[0.0] == pytest.approx(60 / 9000)
    assert false_alarms[0.6] == 0.0


def test_a_false_alarm_budget_moves_the_threshold() -> None:
    policy = fit_policy(two_kinds(), inputs(50.0, false_alarm_budget=0.001))
    assert policy.threshold == 0.6
    assert policy.cost_rate == pytest.approx((40 * 50 + 60 * 8) / (40 * 95 + 60 * 190))


def test_persistence_delays_the_alarm() -> None:
    """P is high at ages 80 and 90 only: two of two at 90, so the replacement is at 100."""
    t = signals([140.0, 150.0], lambda u, a: 0.7 if a in (80.0, 90.0) else 0.0)
    for persistence, at in (((1, 1), 90.0), ((2, 2), 100.0), ((2, 3), 100.0)):
        cycles = alarm_cycles(
            t, inputs(50.0, persistence=persistence), np.array([0.5]), observation(t)
        )
        assert cycles.length[:, 0].tolist() == [at, at]
    never = alarm_cycles(t, inputs(50.0, persistence=(3, 3)), np.array([0.5]), observation(t))
    assert never.failed.all()


@pytest.mark.parametrize(("shape", "failure_cost"), [(2.0, 40.0), (4.0, 40.0), (4.0, 200.0)])
def test_age_replacement_of_weibull_lives(shape: float, failure_cost: float) -> None:
    """Barlow and Hunter: minimum of (c_p R(T) + c_f F(T)) / ∫₀ᵀ R."""

    def rate(age: float) -> float:
        alive = float(np.exp(-((age / 100.0) ** shape)))
        length = quad(lambda x: np.exp(-((x / 100.0) ** shape)), 0.0, age)[0]
        return float((8.0 * alive + failure_cost * (1.0 - alive)) / length)

    best = minimize_scalar(rate, bounds=(5.0, 200.0), method="bounded")
    lives = 100.0 * (-np.log1p(-(np.arange(400) + 0.5) / 400)) ** (1.0 / shape)
    policy = fit_policy(signals(lives, lambda u, a: 0.0, interval=1000.0), inputs(failure_cost))
    assert rate(policy.replacement_age) == pytest.approx(best.fun, rel=0.01)
    found = compare_policies(
        signals(lives, lambda u, a: 0.0, interval=1000.0), inputs(failure_cost),
        threshold=1.0, replacement_age=best.x,
    )  # fmt: skip
    assert found["age replacement"].cost == pytest.approx(best.fun, rel=0.03)  # 400 lives
    assert found["prognosis"].cost == pytest.approx(found["run to failure"].cost)


def test_lives_without_wear_are_never_replaced_by_age() -> None:
    lives = -100.0 * np.log1p(-(np.arange(200) + 0.5) / 200)  # constant hazard
    policy = fit_policy(signals(lives, lambda u, a: 0.0, interval=1000.0), inputs(9.0))
    assert policy.replacement_age > np.quantile(lives, 0.9)


def test_costs_of_a_fold_do_not_choose_its_threshold() -> None:
    t, given = two_kinds(), inputs(12.0)
    seen = observation(t)
    thresholds, ages = np.array([0.0, 0.6, 0.9, 1.0]), _replacement_ages(t, np.inf)
    alarms = alarm_cycles(t, given, thresholds, seen)
    by_age = scheduled_cycles(t, given, np.broadcast_to(ages, (len(t), ages.size)), seen)
    before = _without_each_fold(t, given, alarms, by_age, 0)
    mine = t.fold == 0
    for cycles in (alarms, by_age):
        cycles.cost[mine] *= np.linspace(0.0, 50.0, cycles.cost.shape[1])
    after = _without_each_fold(t, given, alarms, by_age, 0)
    for one, other in zip(before, after, strict=True):
        assert (one[mine] == other[mine]).all()
    assert (before[0][~mine] != after[0][~mine]).any()


def test_thresholds_per_unit_and_relative_costs() -> None:
    t, given = two_kinds(), inputs(50.0)
    short = t.end < 100
    both = compare_policies(t, given, threshold=np.where(short, 0.0, 0.6), replacement_age=np.inf)
    policy, perfect = both["prognosis"], both["perfect prognosis"]
    assert policy.cost == pytest.approx(800 / (40 * 90 + 60 * 190))
    # The last decision whose replacement comes before the failure: at 80 and at 180.
    assert perfect.cost == pytest.approx(policy.cost)
    assert policy.relative == pytest.approx(0.0)
    assert both["age replacement"].relative == pytest.approx(1.0)
    assert both["run to failure"].cost == both["age replacement"].cost
    one = compare_policies(t, given, threshold=0.6, replacement_age=90.0)
    relative = one["prognosis"]
    assert relative.relative is not None
    assert relative.relative_low is not None
    assert relative.relative_high is not None
    assert relative.relative_low < relative.relative < relative.relative_high
    assert one["prognosis"].cost_low < one["prognosis"].cost < one["prognosis"].cost_high
    assert one.best_cost == one["age replacement"].cost


def test_a_plan_that_can_be_enumerated() -> None:
    """Two units, one slot each; costs 8, 29, 41.6 and 8, 12.2, 20.6 in slots 1, 2 and later."""
    edges = np.array([0.0, 10.0, 20.0])
    d = RULDistribution(edges, np.array([[1.0, 0.9, 0.7], [1.0, 0.5, 0.2]]))
    given = DecisionInputs(failure_cost=50.0, planned_cost=8.0, interval=10.0)
    made = plan_maintenance(
        ["b", "a"], d, given, cost_rate=0.0, capacity=Capacity(count=1, period=10.0), n_slots=2
    )
    assert made.frame.select("unit", "slot").rows() == [("a", 0), ("b", 1)]
    assert made.net_cost == pytest.approx(8.0 + 12.2)
    assert made.unlimited_cost == pytest.approx(16.0)
    assert made.postponed_cost == pytest.approx(41.6 + 20.6)
    assert made.frame["cost_of_waiting"].to_list() == pytest.approx([21.0, 8.4])
    assert made.frame["probability"].to_list() == pytest.approx([0.0, 0.1])
    first = made.frame["reason"][0]
    assert "P(failure before the slot) 0.0%, before the next 50.0%" in first
    assert "waiting one slot costs 21.00" in first
    assert "slot 1 would be best, capacity is limited" in made.frame["reason"][1]
    # Operating time is worth its cost: at ρ = 3 waiting ten cycles gains more than it risks.
    worth = plan_maintenance(["b"], d[[0]], given, cost_rate=3.0, n_slots=2)
    assert worth.frame.filter(pl.col("slot").is_null()).height == 1


def test_alarms_look_back_at_the_decisions_not_at_the_rows() -> None:
    """Rows every 5, decisions every 10: two of the last three decisions are at ages 0, 10, 20."""
    high, low = [1.0, 0.2, 0.2], [1.0, 1.0, 1.0]
    given = inputs(50.0, persistence=(2, 3))
    age = np.array([0.0, 5.0, 10.0, 15.0, 20.0])
    owner = np.zeros(5, dtype=np.int64)
    for curves, level in (
        ([high, low, low, low, high], 2),  # ages 0 and 20
        ([low, high, low, high, high], 0),  # ages 5 and 15 are no decisions
    ):
        d = RULDistribution(EDGES, np.array(curves))
        assert raise_alarms(d, owner, 0.5, given, age=age).level[0] == level
    # The row at 5 stands for the decision at 10, given five more survived.
    late = RULDistribution(EDGES, np.array([high]))
    found = raise_alarms(
        RULDistribution(EDGES, np.array([high, [1.0, 0.9, 0.0]])), np.array([0, 0]), 0.5,
        inputs(50.0, persistence=(1, 2)), age=np.array([5.0, 20.0]),
    )  # fmt: skip
    now, later = late.survival_at(5.0)[0], late.survival_at(25.0)[0]
    assert 1.0 - later / now > 0.5
    assert found.level[0] == 2
    assert found.within[0] == pytest.approx(0.1)


def test_a_lead_time_beyond_all_lives_is_refused() -> None:
    t = signals([30.0, 40.0], lambda u, a: 0.5)
    given = DecisionInputs(failure_cost=50.0, planned_cost=8.0, lead_time=40.0, interval=10.0)
    with pytest.raises(ValueError, match="as long as the longest life"):
        fit_policy(t, given)
