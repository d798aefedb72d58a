"""Models of several folds as one candidate, weights of least squares, and the shift to early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grace.candidates import CANDIDATES, EarlyShift, FoldMean, Stack, predict_each
from grace.candidates.early import nasa_loss
from grace.candidates.weights import error_weights, least_squares_weights
from grace.data import Fleet
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset
from grace.data.splits import kfold_units
from grace.evaluation import nasa_score
from grace.prediction.state_files import read_state, write_state

LABELS = LabelConfig()


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return load_dataset("sim", seed=2, n_train=9, n_test=1).train


@pytest.fixture(scope="module")
def means(fleet: Fleet) -> dict[str, FoldMean]:
    folds = kfold_units(fleet, 3, seed=0)
    return {
        name: FoldMean(
            [CANDIDATES[name]().fit(fleet.select(f.train), LABELS, seed=0) for f in folds]
        )
        for name in ("median_life", "linear")
    }


def test_it_predicts_the_mean_of_its_members(fleet: Fleet, means: dict[str, FoldMean]) -> None:
    rows = np.arange(0, fleet.n_rows, 7)
    together = predict_each(means, fleet, rows)
    for name, mean in means.items():
        each = [m.predict(fleet, rows) for m in mean.members]
        assert np.std(each, axis=0).max() > 0  # otherwise one of them could stand for all
        np.testing.assert_allclose(mean.predict(fleet, rows), np.mean(each, axis=0))
        np.testing.assert_allclose(together[name], np.mean(each, axis=0), rtol=1e-5, atol=1e-4)


def test_it_is_saved_without_pickle(
    fleet: Fleet, means: dict[str, FoldMean], tmp_path: Path
) -> None:
    rows = np.arange(0, fleet.n_rows, 11)
    write_state(tmp_path, "linear", means["linear"].to_state())
    again = FoldMean.from_state(read_state(tmp_path, "linear"))
    assert again.kind == "linear"
    np.testing.assert_array_equal(again.predict(fleet, rows), means["linear"].predict(fleet, rows))


def test_members_of_one_kind_only(means: dict[str, FoldMean]) -> None:
    with pytest.raises(ValueError, match="of one kind"):
        FoldMean([])
    with pytest.raises(ValueError, match="of one kind"):
        FoldMean([means["linear"].members[0], means["median_life"].members[0]])


def test_least_squares_weighs_by_what_a_candidate_adds() -> None:
    """A less accurate candidate whose errors are independent gets its share w = σ₁²/(σ₁² + σ₂²)."""
    rng = np.random.default_rng(0)
    n = 20_000
    y = rng.uniform(0, 125, n)
    x = np.stack([y + rng.normal(0, 8, n), y + rng.normal(0, 12, n)], axis=1)
    unit = np.arange(n) // 20
    found = least_squares_weights(x, y, np.ones(n), unit)
    np.testing.assert_allclose(found, [144 / 208, 64 / 208], atol=0.02)
    assert found.sum() == pytest.approx(1.0)
    other = error_weights(x, y, np.ones(n), unit)
    error = [float(np.mean((x @ v - y) ** 2)) for v in (found, other)]
    assert error[0] <= error[1] + 1e-9
    copies = np.stack([x[:, 0], x[:, 0] + 30.0], axis=1)
    np.testing.assert_allclose(least_squares_weights(copies, y, np.ones(n), unit), [1.0, 0.0])


def test_the_rule_of_a_stack() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    y = rng.uniform(0, 125, n)
    oof = pl.DataFrame(
        {"unit": np.arange(n) // 20, "fold": (np.arange(n) // 20) % 5, "time": y, "age": y,
         "rul_true": y, "rul_capped": y, "censored_after": y, "weight": np.full(n, 0.05),
         "good": y + rng.normal(0, 8, n), "other": y + rng.normal(0, 12, n)}
    )  # fmt: skip
    least = Stack("least_squares").fit(oof)
    assert least.rmse_ == pytest.approx(8 * 12 / np.sqrt(208), rel=0.05)
    usual = Stack().fit(oof)
    assert usual.weights_ != least.weights_
    assert usual.rmse_ >= 0.999 * least.rmse_
    with pytest.raises(ValueError, match="choose from errors, least_squares"):
        Stack("best")


def spread(n: int = 6000, cap: float = 125.0) -> tuple[np.ndarray, ...]:
    """Predictions that are right near failure and uncertain far from it."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0, cap, n)
    y = np.clip(p + rng.normal(0, 1, n) * 0.2 * p, 0, cap)
    return p, y, np.ones(n), (np.arange(n) // 20) % 5


def test_predictions_move_to_early_where_lives_spread() -> None:
    p, y, w, fold = spread()
    shift = EarlyShift().fit(p, y, w, fold, cap=125.0)
    moved = shift.shifted_ - shift.knots_
    assert shift.share_ > 0
    assert abs(moved[1]) <= 1.0
    assert moved[7] < -1.0
    found = shift.predict(p)
    assert nasa_score(y, found) < 0.9 * nasa_score(y, p)
    assert np.mean((found - y) ** 2) < 1.03 * np.mean((p - y) ** 2)
    assert (np.diff(shift.predict(np.linspace(0, 125, 500))) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 125


def test_the_shift_scales_with_the_unit_of_time() -> None:
    p, y, w, fold = spread()
    cycles = EarlyShift().fit(p, y, w, fold, cap=125.0)
    hours = EarlyShift().fit(p * 24, y * 24, w, fold, cap=125.0 * 24)
    assert hours.share_ == cycles.share_
    np.testing.assert_allclose(hours.predict(p * 24), cycles.predict(p) * 24)
    again = EarlyShift.from_state(hours.to_state())
    np.testing.assert_array_equal(again.predict(p), hours.predict(p))


def test_nothing_is_shifted_without_errors_or_gain() -> None:
    p = np.linspace(0, 125, 400)
    fold = (np.arange(400) // 20) % 5
    exact = EarlyShift().fit(p, p, np.ones(400), fold, cap=125.0)
    np.testing.assert_allclose(exact.predict(p), p)
    near = p + np.where(np.arange(400) % 2, 0.1, -0.1)
    small = EarlyShift().fit(p, near, np.ones(400), fold, cap=125.0)
    np.testing.assert_allclose(small.predict(p), p)


def test_the_loss_is_the_score() -> None:
    d = np.array([-30.0, -1.0, 0.0, 5.0, 40.0])
    assert nasa_loss(d).sum() == pytest.approx(nasa_score(np.zeros(5) + 50, d + 50))
    assert np.isfinite(nasa_loss(np.array([1e6, -1e6]))).all()
