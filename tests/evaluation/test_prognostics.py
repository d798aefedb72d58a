import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grace.evaluation import (
    alpha_lambda_accuracy,
    convergence,
    cumulative_relative_accuracy,
    prognostic_horizon,
    prognostics_by_unit,
    prognostics_summary,
    relative_accuracy,
)

T = np.arange(0.0, 101.0)  # a life of 100, observed to the failure
R = 100.0 - T


def test_horizon_of_hand_made_trajectories():
    assert prognostic_horizon(T, R, R) == 100.0
    off_until_60 = np.where(T < 60, R + 50, R + 9.9)
    assert prognostic_horizon(T, R, off_until_60, alpha=0.1) == 40.0
    assert prognostic_horizon(T, R, off_until_60, bound=9.0) == 0.0
    assert prognostic_horizon(T, R, R + 10.0, alpha=0.1) == 100.0  # the bound belongs to the band


def test_horizon_that_is_left_again_starts_later():
    pred = R.copy()
    pred[70] += 30
    assert prognostic_horizon(T, R, pred, bound=5) == 29.0
    pred = R.copy()
    pred[-1] += 30
    assert prognostic_horizon(T, R, pred, bound=5) == 0.0


def test_horizon_of_a_truncated_unit_counts_to_the_true_end():
    t, r = T[:51], R[:51]
    assert prognostic_horizon(t, r, np.where(t < 20, r + 50, r), bound=1) == 80.0


def test_alpha_lambda_cone():
    assert alpha_lambda_accuracy(T, R, 1.2 * R, lam=0.5) == 1.0
    assert alpha_lambda_accuracy(T, R, 0.8 * R, lam=0.5) == 1.0
    assert alpha_lambda_accuracy(T, R, 1.21 * R, lam=0.5) == 0.0
    assert alpha_lambda_accuracy(T, R, R + 12, lam=0.3) == 1.0  # r* = 70, cone ±14
    assert alpha_lambda_accuracy(T, R, R + 12, lam=0.5) == 0.0  # r* = 50, cone ±10
    assert alpha_lambda_accuracy(T, R, R + 12, lam=0.5, alpha=0.25) == 1.0


def test_lambda_is_counted_from_the_first_prediction():
    t, r = T[40:], R[40:]  # t_P = 40, half-way is t = 70, r* = 30
    assert relative_accuracy(t, r, r + 3, lam=0.5) == pytest.approx(0.9)
    assert relative_accuracy(t, r, r + 3, lam=0.0) == pytest.approx(1 - 3 / 60)


def test_next_row_after_lambda_is_taken_and_the_unseen_is_nan():
    t = np.array([0.0, 40.0, 60.0])
    r = 100.0 - t
    assert relative_accuracy(t, r, [100, 60, 44], lam=0.5) == pytest.approx(0.9)
    assert math.isnan(relative_accuracy(t, r, r, lam=0.7))
    assert math.isnan(alpha_lambda_accuracy(t, r, r, lam=0.7))


def test_cumulative_relative_accuracy_leaves_the_failure_out():
    pred = np.array([5.0, 2.0, 7.0])
    assert cumulative_relative_accuracy([0, 2, 4], [4, 2, 0], pred) == pytest.approx((0.75 + 1) / 2)
    assert math.isnan(cumulative_relative_accuracy([0, 2], [2, 0], [1, 1]))


def test_convergence_by_hand_and_in_the_limit():
    # M = 4 on [0, 1), 2 on [1, 2): area 6, x = (4·½ + 2·1½)/6, y = (16 + 4)/12
    value = convergence([0, 1, 2], [2, 1, 0], [6, 3, 0])
    assert value == pytest.approx(math.hypot(5 / 6, 20 / 12))
    assert convergence(T + 1000, R, R + 6) == pytest.approx(math.hypot(50, 3))
    assert convergence(T, R, R) == 0.0
    fast, slow = R + 20 * np.exp(-T / 5), R + 20 * np.exp(-T / 30)
    assert convergence(T, R, fast) < convergence(T, R, slow)


def test_too_short_is_nan():
    one = ([0.0], [5.0], [5.0])
    assert math.isnan(prognostic_horizon(*one))
    assert math.isnan(convergence(*one))
    assert math.isnan(cumulative_relative_accuracy(*one))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([0, 0], [1, 0], [1, 0]), "increase"),
        (([0, 1], [1, -1], [1, 0]), "negative"),
        (([0, 1], [1], [1, 0]), "entries"),
    ],
)
def test_bad_trajectories_are_refused(args, message):
    for metric in (prognostic_horizon, relative_accuracy, convergence):
        with pytest.raises(ValueError, match=message):
            metric(*args)


def test_lambda_out_of_range_is_refused():
    with pytest.raises(ValueError, match="lam"):
        relative_accuracy(T, R, R, lam=1.0)


def fleet():
    """Unit b runs to failure, c is censored, a is truncated, d is seen above the cap only."""
    parts = [("b", T, R), ("c", T[:9], np.full(9, np.nan)), ("a", T[:71], R[:71])]
    parts.append(("d", T[:20], R[:20]))
    unit = np.concatenate([np.full(t.size, name) for name, t, _ in parts])
    time, rul = (np.concatenate([p[i] for p in parts]) for i in (1, 2))
    return unit, time, rul


def test_fleet_keeps_order_and_counts_what_it_cannot_evaluate():
    unit, time, rul = fleet()
    pred = np.nan_to_num(np.minimum(rul, 60.0), nan=5.0)
    table = prognostics_by_unit(unit, time, rul, pred, cap=60.0)
    assert table["unit"].tolist() == ["b", "c", "a", "d"]
    np.testing.assert_array_equal(table["to_failure"], [1, np.nan, 0, 0])
    np.testing.assert_array_equal(table["horizon"], [60, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(table["relative_accuracy_0.75"], [1, np.nan, np.nan, np.nan])
    summary = prognostics_summary(unit, time, rul, pred, cap=60.0)
    assert (summary.n_units, summary.n_to_failure) == (3, 1)
    assert summary.metrics["horizon"].n == 1
    assert summary.metrics["alpha_lambda_0.5"].mean == 1.0
    assert type(summary).model_validate_json(summary.model_dump_json()) == summary


def test_band_of_the_fleet_is_a_share_of_the_whole_life():
    pred = np.minimum(R, 60.0) + 9.0  # inside ±10 (life 100), outside ±6 (evaluated part 60)
    table = prognostics_by_unit(np.zeros(T.size), T, R, pred, cap=60.0, horizon_alpha=0.1)
    assert table["horizon"][0] == 60.0


def test_nothing_to_evaluate_gives_none():
    unit, time, rul = (a[101:110] for a in fleet())
    summary = prognostics_summary(unit, time, rul, np.ones(9))
    assert summary.n_units == 0
    assert summary.metrics["cra"].mean is None
    with pytest.raises(ValueError, match="one entry per row"):
        prognostics_summary(unit[1:], time, rul, np.ones(9))


@given(st.floats(0.0, 200.0), st.floats(0.01, 0.3), st.floats(0.01, 0.49), st.floats(0.0, 0.9))
def test_a_constant_prediction_does_not_score(constant, alpha, horizon_alpha, lam):
    table = prognostics_by_unit(
        np.zeros(T.size), T, R, np.full(T.size, constant), cap=80.0, alpha=alpha,
        horizon_alpha=horizon_alpha, lambdas=[lam],
    )  # fmt: skip
    assert table["horizon"][0] == 0.0
    assert table[f"alpha_lambda_{lam:g}"][0] == 0.0


def test_a_good_prediction_scores_and_the_second_moment_counts():
    same = np.zeros(T.size)
    good = prognostics_by_unit(same, T, R, R * 1.05 + 0.1)
    assert good["horizon"][0] == 100.0
    assert good["alpha_lambda_0.5"][0] == 1.0
    left = np.where(R < 30, R + 20, R)  # outside the cone at λ = 0.75
    assert prognostics_by_unit(same, T, R, left)["alpha_lambda_0.5"][0] == 0.0
    assert prognostics_by_unit(same, T, R, left)["alpha_lambda_0.25"][0] == 1.0


def test_a_truncated_unit_gets_no_figure_however_good():
    cut = T[:60]
    table = prognostics_by_unit(np.zeros(60), cut, R[:60], R[:60])
    assert table["to_failure"][0] == 0.0
    assert all(np.isnan(v[0]) for k, v in table.items() if k not in ("unit", "to_failure"))


def test_a_cone_that_a_constant_can_stay_in_is_refused():
    with pytest.raises(ValueError, match="1/3"):
        prognostics_by_unit(np.zeros(T.size), T, R, R, alpha=0.34)


def fleet_of(*units):
    """Columns of units given as (first time, RUL, prediction)."""
    columns = [
        (np.full(len(r), k), start + np.max(r) - np.asarray(r), np.asarray(r), np.asarray(p))
        for k, (start, r, p) in enumerate(units)
    ]
    return tuple(np.concatenate(part).astype(float) for part in zip(*columns, strict=True))


def test_every_unit_has_the_metrics_of_its_own_rows():
    short, exact = np.arange(2.0, -1, -1), np.arange(4.0, -1, -1)
    long = np.arange(50.0, -1, -1)
    late = np.arange(100.0, -1, -1)
    columns = fleet_of(
        (0.0, short, short),
        (0.0, exact, exact + 0.1),
        (1000.0, long, long + 3.0),
        (0.0, late, np.where(late > 25, late + 50, late)),
    )
    table = prognostics_by_unit(*columns)
    assert table["unit"].tolist() == [0, 1, 2, 3]
    assert np.isnan(table["cra"]).tolist() == [True, False, False, False]
    # Life 50 from a first record at 1000: a band of 5, entered at once.
    assert table["horizon"][2] == 50.0
    # 2.5 half widths of the band long.
    assert table["horizon"][3] == 25.0
    one = fleet_of((0.0, late, np.where(late > 20, late + 50, late)))
    assert prognostics_by_unit(*one)["horizon"].tolist() == [0.0]  # exactly two half widths
    args = (1050.0 - long, long, long + 3.0)
    assert table["cra"][2] == pytest.approx(cumulative_relative_accuracy(*args))
    assert table["convergence"][2] == pytest.approx(convergence(*args))


def test_options_of_the_summary_reach_the_units():
    rul = np.arange(60.0, -1, -1)
    columns = fleet_of((0.0, rul, rul * 1.15))
    plain = prognostics_summary(*columns, lambdas=(0.3,))
    assert {"alpha_lambda_0.3", "relative_accuracy_0.3"} <= plain.metrics.keys()
    assert plain.metrics["alpha_lambda_0.3"].mean == 1.0
    strict = prognostics_summary(*columns, lambdas=(0.3,), alpha=0.1)
    assert strict.metrics["alpha_lambda_0.3"].mean == 0.0
    assert plain.metrics["horizon"].mean != (
        prognostics_summary(*columns, horizon_alpha=0.02).metrics["horizon"].mean
    )
    assert prognostics_summary(*columns, min_points=62).metrics["cra"].n == 0
    assert prognostics_summary(*columns, min_points=61).metrics["cra"].n == 1
    assert prognostics_summary(*columns, cap=30.0).cap == 30.0
