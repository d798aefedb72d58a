"""Models of several folds as one candidate, weights of least squares, and their state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grace.candidates import CANDIDATES, FoldMean, Stack, predict_each
from grace.candidates.weights import error_weights, least_squares_weights
from grace.data import Fleet
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset
from grace.data.splits import kfold_units
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
