"""Replacement policies: worked values, bounds, invariances, and what censoring does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from grace.decisions import DecisionInputs, Trajectories, fit_policy
from grace.decisions.comparison import perfect_cycles
from grace.decisions.cycles import (
    alarm_ages,
    alarm_cycles,
    observation,
    scheduled_cycles,
)
from grace.decisions.trajectories import decision_probabilities
from grace.uncertainty import RULDistribution


def fleet(
    lives: Any,
    *,
    noise: float = 0.1,
    seed: int = 0,
    step: float = 5.0,
    censored: Any = None,
    scale: float = 1.0,
) -> Trajectories:
    """Units predicted at every ``step`` by a log-normal distribution around a noisy RUL."""
    rng = np.random.default_rng(seed)
    lives = np.asarray(lives, dtype=np.float64)
    end = lives if censored is None else np.minimum(lives, censored)
    edges = np.linspace(0.0, 400.0, 201)
    owner, age, curves = [], [], []
    for u, (life, stop) in enumerate(zip(lives, end, strict=True)):
        for a in np.arange(0.0, stop, step):
            centre = (life - a) * np.exp(noise * rng.normal())
            z = (np.log(np.maximum(edges, 1e-9)) - np.log(centre)) / max(noise, 1e-3)
            curve = 1.0 / (1.0 + np.exp(1.702 * np.clip(z, -40, 40)))
            curve[0] = 1.0
            owner.append(u)
            age.append(a)
            curves.append(np.minimum.accumulate(curve))
    return Trajectories(
        end=end * scale,
        failed=end >= lives,
        fold=np.arange(lives.size) % 4,
        owner=np.array(owner),
        age=np.array(age) * scale,
        distribution=RULDistribution(edges * scale, np.array(curves)),
    )


LIVES = np.random.default_rng(1).uniform(100, 300, 60)


def inputs(**over: Any) -> DecisionInputs:
    return DecisionInputs(
        **{"failure_cost": 50.0, "planned_cost": 8.0, "lead_time": 10.0, "interval": 5.0, **over}
    )


def test_cost_rates_of_a_worked_example() -> None:
    """Lives 10, 20, 40; replacement at age 15 costs (50 + 8 + 8)/(10 + 15 + 15)."""
    t = fleet([10.0, 20.0, 40.0])
    cycles = scheduled_cycles(t, inputs(), np.full((3, 2), [15.0, np.inf]), observation(t))
    assert cycles.rate == pytest.approx([66 / 40, 150 / 70])
    assert cycles.failed[:, 0].tolist() == [True, False, False]
    assert cycles.unexploited[:, 0].tolist() == [0.0, 5.0, 25.0]


def test_a_unit_that_fails_during_the_lead_time_costs_a_failure() -> None:
    t = fleet([100.0, 200.0])
    cycles = scheduled_cycles(t, inputs(), np.array([[100.0], [199.9]]), observation(t))
    assert cycles.failed[:, 0].tolist() == [True, False]


def test_alarms_need_k_of_the_last_n() -> None:
    owner, age = np.zeros(6, dtype=np.int64), np.arange(6.0)
    p = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.9])
    at = [
        alarm_ages(owner, age, p, np.array([0.5]), n_units=2, persistence=kn)[0, 0]
        for kn in ((1, 1), (2, 2), (2, 3), (3, 4), (3, 3))
    ]
    assert at == [0.0, 5.0, 2.0, 5.0, np.inf]
    assert alarm_ages(owner, age, p, np.array([0.9]), n_units=1)[0, 0] == np.inf


def test_decisions_use_nothing_later_and_condition_on_survival() -> None:
    edges = np.array([0.0, 10.0, 20.0])
    d = RULDistribution(edges, np.array([[1.0, 0.5, 0.0], [1.0, 0.8, 0.0]]))
    t = Trajectories(
        end=np.array([16.0]), failed=np.array([True]), fold=np.array([0]),
        owner=np.array([0, 0]), age=np.array([0.0, 10.0]), distribution=d,
    )  # fmt: skip
    _, age, p = decision_probabilities(t, interval=5.0, horizon=5.0)
    assert age.tolist() == [0.0, 5.0, 10.0, 15.0]
    # At 5 the row of age 0 is used: S(5) = 0.75, S(10) = 0.5.
    assert p == pytest.approx([0.25, 1 - 0.5 / 0.75, 0.1, 1 - 0.8 / 0.9])


@settings(max_examples=15, deadline=None)
@given(
    ratio=st.floats(1.5, 200.0),
    lead=st.floats(0.0, 30.0),
    interval=st.floats(2.0, 20.0),
    seed=st.integers(0, 5),
)
def test_perfect_prognosis_is_a_lower_bound(
    ratio: float, lead: float, interval: float, seed: int
) -> None:
    t = fleet(np.random.default_rng(seed).uniform(60, 300, 20), seed=seed, noise=0.3)
    chosen = inputs(failure_cost=8.0 * ratio, lead_time=lead, interval=interval)
    seen = observation(t)
    cycles = alarm_cycles(t, chosen, np.linspace(0, 1, 21), seen)
    assert perfect_cycles(t, chosen).rate[0] <= cycles.rate.min() * (1 + 1e-9)


@pytest.mark.parametrize("scale", [1 / 3600, 24.0])
def test_the_unit_of_time_changes_nothing_but_the_rates(scale: float) -> None:
    one = fit_policy(fleet(LIVES), inputs())
    other = fit_policy(
        fleet(LIVES, scale=scale), inputs(lead_time=10.0 * scale, interval=5.0 * scale)
    )
    assert other.threshold == pytest.approx(one.threshold, abs=1e-6)
    assert other.replacement_age == pytest.approx(one.replacement_age * scale)
    assert other.cost_rate * scale == pytest.approx(one.cost_rate)
    for a, b in zip(one.comparison.outcomes, other.comparison.outcomes, strict=True):
        assert b.cost * scale == pytest.approx(a.cost)
        assert b.relative == pytest.approx(a.relative)


def test_dearer_failures_lower_the_threshold() -> None:
    t = fleet(LIVES, noise=0.6)
    cheap, dear = (fit_policy(t, inputs(failure_cost=c)).threshold for c in (9.0, 2000.0))
    assert dear < cheap


def test_good_prognosis_pays_and_noise_does_not() -> None:
    good = fit_policy(fleet(LIVES, noise=0.05), inputs())
    assert good.comparison.pays is True
    assert good.comparison["prognosis"].relative < 0.2
    assert "Prognosis pays." in " ".join(good.sentences("EUR"))
    same = fleet(np.full(40, 200.0) + np.arange(40) * 0.01, noise=1.5)
    poor = fit_policy(same, inputs())
    assert poor.comparison.pays is False
    assert "does not pay: use replacement at age" in " ".join(poor.sentences())


def test_a_false_alarm_budget_is_kept() -> None:
    t = fleet(LIVES, noise=0.6)
    free = fit_policy(t, inputs(failure_cost=500.0))
    rate = free.curve.filter(threshold=free.threshold)["false_alarms"].item()
    assert rate > 0
    tight = fit_policy(t, inputs(failure_cost=500.0, false_alarm_budget=rate / 3))
    assert tight.curve.filter(threshold=tight.threshold)["false_alarms"].item() <= rate / 3
    none = fit_policy(t, inputs(failure_cost=500.0, false_alarm_budget=0.0))
    assert none.comparison["prognosis"].cost >= free.comparison["prognosis"].cost


def test_censoring_does_not_bias_the_cost() -> None:
    """Half of 4,000 units censored at random: rates as on the complete lives, within 5%."""
    rng = np.random.default_rng(0)
    lives = rng.uniform(100, 300, 4000)
    stop = rng.uniform(20, 400, 4000)
    full, cut = fleet(lives, step=100), fleet(lives, step=100, censored=stop)
    assert 0.3 < np.mean(~cut.failed) < 0.7
    for age in (120.0, 180.0, 250.0):
        rates = [
            scheduled_cycles(t, inputs(), np.full((len(t), 1), age), observation(t)).rate[0]
            for t in (full, cut)
        ]
        assert rates[1] == pytest.approx(rates[0], rel=0.05)
    naive = cut.failed & (cut.end <= 180.0)
    biased = (50.0 * naive + 8.0 * (cut.end > 180.0)).sum() / np.minimum(cut.end, 180.0).sum()
    complete = scheduled_cycles(full, inputs(), np.full((4000, 1), 180.0), observation(full))
    assert abs(biased / complete.rate[0] - 1) > 0.05  # without the weights


def test_the_comparison_is_on_units_that_chose_nothing() -> None:
    """A fold whose units differ does not influence the threshold applied to it."""
    t = fleet(LIVES, noise=0.3)
    one = fit_policy(t, inputs()).comparison["prognosis"].cost
    optimistic = fit_policy(t, inputs()).curve["cost"].min()
    assert one >= optimistic
    assert fit_policy(t, inputs()).comparison["prognosis"].cost == one  # repeatable


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_cost": 8.0}, {"failure_cost": float("nan")}, {"interval": 0.0},
        {"lead_time": -1.0}, {"persistence": (3, 2)}, {"persistence": (0, 2)},
        {"planned_cost": float("inf")}, {"unknown": 1},
    ],
)  # fmt: skip
def test_inputs_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        inputs(**wrong)


def test_a_fleet_without_failures_is_refused() -> None:
    with pytest.raises(ValueError, match="no unit failed"):
        fleet([100.0, 120.0], censored=np.array([50.0, 50.0]))
