"""Trees as arrays, and the bins they are grown on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from grace.candidates.trees import Bins, TreeEnsemble


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    x[:, 1] = rng.integers(0, 4, 400)
    x[:, 2] = np.exp(4 * x[:, 2])
    x[rng.random(400) < 0.3, 3] = np.nan
    x[:, 4] = 7.0
    y = x[:, 0] + (x[:, 1] > 1) + np.log(x[:, 2]) + 3.0 * np.isnan(x[:, 3])
    return x, y


def test_bins_are_about_equally_filled_and_keep_equal_values_together(table: tuple) -> None:
    x, _ = table
    bins = Bins.fit(x, 16)
    codes = bins(x)
    assert [len(e) for e in bins.edges] == [15, 3, 15, 15, 0]
    for j in (0, 2):
        assert np.ptp(np.bincount(codes[:, j].astype(int), minlength=16)) <= 1
    assert np.unique(codes[:, 1]).size == 4
    np.testing.assert_array_equal(np.isnan(codes), np.isnan(x))
    order = np.argsort(x[:, 2])
    assert (np.diff(codes[order, 2]) >= 0).all()


def test_a_feature_that_is_mostly_zero_keeps_bins_for_the_rest() -> None:
    x = np.r_[np.zeros(900), np.arange(1.0, 101.0)][:, None]
    edges = Bins.fit(x, 8).edges[0]
    assert edges[0] == 0.5
    assert 3 <= len(edges) <= 7
    assert (np.diff(edges) > 0).all()


def test_the_trees_take_the_features_themselves(table: tuple) -> None:
    x, y = table
    bins = Bins.fit(x, 16)
    model = HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(
        bins(x), y, sample_weight=np.r_[np.zeros(50), np.ones(350)]
    )
    trees = TreeEnsemble.from_histogram_boosting(model, bins)
    np.testing.assert_allclose(trees.predict(x), model.predict(bins(x)), rtol=1e-9)
    fresh = table[0] * np.float32(1.7)
    np.testing.assert_allclose(trees.predict(fresh), model.predict(bins(fresh)), rtol=1e-9)
    assert np.mean((trees.predict(x)[50:] - y[50:]) ** 2) < 0.05 * np.var(y)
