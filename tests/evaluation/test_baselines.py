import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.evaluation import BASELINES, TrivialBaseline, rmse, window_statistics


def naive_statistics(rows, starts, lengths, window):
    out = []
    k = np.arange(window) - (window - 1) / 2
    for start, length in zip(starts, lengths, strict=True):
        x = rows[start : start + length].astype(float)
        padded = np.concatenate([np.repeat(x[:1], window - 1, axis=0), x])
        for p in range(length):
            w = padded[p : p + window]
            slope = k @ w / (k @ k)
            out.append(np.concatenate([w[-1], w.mean(0), w.std(0), slope]))
    return np.array(out)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999), st.integers(2, 12), st.lists(st.integers(1, 25), min_size=1, max_size=5)
)
def test_window_statistics_agree_with_materialised_windows(seed, window, lengths):
    lengths = np.array(lengths)
    starts = np.cumsum(lengths) - lengths
    rows = np.random.default_rng(seed).normal(500, 30, (lengths.sum(), 3)).astype(np.float32)
    ours = window_statistics(rows, starts, lengths, window)
    assert ours.shape == (len(rows), 12)
    np.testing.assert_allclose(ours, naive_statistics(rows, starts, lengths, window), atol=2e-5)


def test_window_statistics_see_no_later_row(train):
    full = window_statistics(train.rows, train.starts, train.lengths)
    cut = window_statistics(train.rows[:50], np.array([0]), np.array([50]))
    np.testing.assert_allclose(full[:50], cut)


def test_slope_of_a_line_and_spread_of_a_constant():
    line = (3.0 * np.arange(40, dtype=np.float32))[:, None]
    last = window_statistics(line, np.array([0]), np.array([40]), 10)[-1]
    assert last == pytest.approx([117, 103.5, 3 * np.sqrt(99 / 12), 3.0])
    flat = window_statistics(np.full((40, 1), 1e6, np.float32), np.array([0]), np.array([40]))
    assert (flat[:, 2:] == 0.0).all()


@pytest.mark.parametrize(
    ("starts", "lengths", "window", "message"),
    [
        ([0], [5], 1, "window"),
        ([0, 2], [3, 2], 3, "gaps"),
        ([0], [4], 3, "cover"),
        ([0, 5], [5, 0], 3, "gaps"),
        ([0], [2, 3], 3, "unit_lengths"),
    ],
)
def test_bad_units_are_refused(starts, lengths, window, message):
    with pytest.raises(ValueError, match=message):
        window_statistics(np.zeros((5, 1)), np.array(starts), np.array(lengths), window)


def test_order_on_a_fleet_that_wears(train, test_fleet):
    found = {}
    for name, cls in BASELINES.items():
        model = cls()
        fitted = model.fit(
            train.rows, train.starts, train.lengths, train.age, np.minimum(train.rul, 125)
        )
        assert fitted is model
        pred = model.predict(test_fleet.rows, test_fleet.starts, test_fleet.lengths, test_fleet.age)
        assert pred.shape == test_fleet.rul.shape
        assert pred.min() >= 0
        assert pred.max() <= 125
        found[name] = rmse(np.minimum(test_fleet.rul, 125), pred)
    assert found["gradient_boosting"] < 0.6 * found["age_only"] < 0.6 * found["constant"]


@pytest.mark.parametrize("name", list(BASELINES))
def test_contract(name, train):
    cls = BASELINES[name]
    assert issubclass(cls, TrivialBaseline)
    assert cls.name == name
    assert "\n" not in cls.description
    assert cls.description
    args = (train.rows, train.starts, train.lengths, train.age)
    target = np.minimum(train.rul, 125)
    a, b = (cls().fit(*args, target).predict(*args) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="target"):
        cls().fit(*args, target[:-1])
    with pytest.raises(ValueError, match="target"):
        cls().fit(*args, np.full(target.size, np.nan))
    with pytest.raises(ValueError, match="age"):
        cls().fit(*args[:3], train.age[1:], target)
    with pytest.raises(ValueError, match="rows"):
        cls().fit(train.rows[:, 0], *args[1:], target)


def test_constant_is_the_training_mean_and_age_only_reads_no_sensor(train):
    args = (train.starts, train.lengths, train.age)
    target = np.minimum(train.rul, 125)
    constant = BASELINES["constant"]().fit(train.rows, *args, target).predict(train.rows, *args)
    assert constant == pytest.approx(np.full(len(train.rows), target.mean()))
    age_only = BASELINES["age_only"]().fit(train.rows, *args, target)
    np.testing.assert_array_equal(
        age_only.predict(train.rows, *args), age_only.predict(0 * train.rows, *args)
    )
    order = np.argsort(train.age)
    assert (np.diff(age_only.predict(train.rows, *args)[order]) <= 0).all()


@pytest.mark.slow
def test_figures_on_fd001(cmapss):
    """Sensors as they are: with one operating condition, trees need no normalisation."""
    sensors = [4 + s for s in (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21)]

    def read(kind):
        table = np.loadtxt(cmapss / f"{kind}_FD001.txt")
        lengths = np.bincount(table[:, 0].astype(int))[1:]
        return table, np.cumsum(lengths) - lengths, lengths

    table, starts, lengths = read("train")
    target = np.minimum(np.repeat(table[starts + lengths - 1, 1], lengths) - table[:, 1], 125)
    test, t_starts, t_lengths = read("test")
    labels = np.minimum(np.loadtxt(cmapss / "RUL_FD001.txt"), 125)
    expected = {"constant": (39, 43), "age_only": (30, 33), "gradient_boosting": (11, 13)}
    for name, (low, high) in expected.items():
        rows = table[:, sensors].astype(np.float32)
        model = BASELINES[name]().fit(rows, starts, lengths, table[:, 1], target)
        pred = model.predict(test[:, sensors].astype(np.float32), t_starts, t_lengths, test[:, 1])
        assert low < rmse(labels, pred[t_starts + t_lengths - 1]) < high, name
