"""Causal features: by hand, and blind to the future and to other units, to the bit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.data import Fleet, FleetSchema
from grace.data.features import age, baseline_deviation, exponential_mean, trailing_mean, trend
from grace.data.preprocessing import Preprocessor, PreprocessorConfig

STARTS, LENGTHS = np.array([0, 4]), np.array([4, 2])
VALUES = np.array([[1.0], [3.0], [8.0], [0.0], [5.0], [9.0]])


def test_age_starts_at_zero_in_every_unit() -> None:
    times = np.array([1.0, 2, 4, 7, 100, 101])
    got = age(times, STARTS, LENGTHS, 10.0)
    np.testing.assert_allclose(got[:, 0], [0, 0.1, 0.3, 0.6, 0, 0.1])


def test_deviation_by_hand() -> None:
    got = baseline_deviation(VALUES, STARTS, LENGTHS, 2)[:, 0]
    # Means of the first rows so far, at most two: 1, 2, 2, 2 | 5, 7
    np.testing.assert_allclose(got, [0, 1, 6, -2, 0, 2])
    once = baseline_deviation(VALUES, STARTS, LENGTHS, 1)[:, 0]
    np.testing.assert_allclose(once, [0, 2, 7, -1, 0, 4])


def test_deviation_of_a_unit_shorter_than_its_baseline() -> None:
    got = baseline_deviation(VALUES, STARTS, LENGTHS, 50)[:, 0]
    np.testing.assert_allclose(got, [0, 1, 4, -3, 0, 2])


def test_deviation_is_not_drowned_by_another_unit() -> None:
    values = VALUES.copy()
    values[:4] *= 1e17
    np.testing.assert_array_equal(
        baseline_deviation(values, STARTS, LENGTHS, 20)[4:],
        baseline_deviation(VALUES, STARTS, LENGTHS, 20)[4:],
    )


def test_exponential_mean_by_hand() -> None:
    got = exponential_mean(VALUES, STARTS, LENGTHS, 0.25)[:, 0]
    a = [1.0, 1.5, 3.125, 2.34375]
    np.testing.assert_allclose(got, [*a, 5.0, 6.0])
    np.testing.assert_allclose(exponential_mean(VALUES, STARTS, LENGTHS, 1.0), VALUES)


def test_trailing_mean_by_hand() -> None:
    got = trailing_mean(VALUES.astype(np.float32), STARTS, LENGTHS, 2)[:, 0]
    np.testing.assert_allclose(got, [1, 2, 5.5, 4, 5, 7])


def test_trend_by_hand() -> None:
    times = np.array([0.0, 1, 2, 3, 10, 12])
    # Lines through (1,3), (1,3,8), (3,8,0): slopes 2, 3.5, −1.5 over 1, 2, 2; then (5,9) over 2.
    got = trend(VALUES, times, STARTS, LENGTHS, 3)[:, 0]
    np.testing.assert_allclose(got, [0, 2, 7, -3, 0, 4])


@given(st.integers(2, 30), st.floats(1e-3, 1e6), st.integers(0, 99))
@settings(max_examples=30)
def test_trend_is_that_of_a_library_and_free_of_the_unit_of_time(
    n_rows: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    times, values = rng.random(40).cumsum() + 5.0, rng.normal(size=(40, 2)).cumsum(axis=0)
    starts, lengths = np.array([0, 25]), np.array([25, 15])
    got = trend(values, times * scale, starts, lengths, n_rows)
    for start, end in ((0, 24), (0, 1), (25, 30), (25, 39)):
        here = slice(max(start, end - n_rows + 1), end + 1)
        slope = np.polyfit(times[here], values[here], 1)[0]
        np.testing.assert_allclose(got[end], slope * np.ptp(times[here]), rtol=1e-6, atol=1e-9)


OPTIONS = st.fixed_dictionaries(
    {
        "use_settings": st.booleans(),
        "n_conditions": st.sampled_from([1, 2, "auto"]),
        "clip": st.sampled_from([None, 3.0]),
        "age": st.booleans(),
        "baseline_deviation": st.booleans(),
        "baseline_rows": st.sampled_from([1, 3, 20]),
        "ewm_alphas": st.sampled_from([(), (0.1,), (0.5, 0.05)]),
    }
)


def raw(lengths: list[int], seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return pl.DataFrame(
        {
            "unit": np.repeat(np.arange(len(lengths)), lengths),
            "cycle": np.concatenate([np.arange(1, m + 1) for m in lengths]),
            "load": rng.choice([0.0, 10.0], n) + rng.normal(scale=0.01, size=n),
            "a": rng.normal(size=n).cumsum(),
            "b": rng.normal(size=n) * 1e3,
        }
    )


SCHEMA = FleetSchema(settings=("load",), sensors=("a", "b"))


@given(
    OPTIONS,
    st.lists(st.integers(1, 25), min_size=2, max_size=5),
    st.integers(0, 10_000),
    st.data(),
)
@settings(max_examples=50)
def test_no_row_knows_its_future_or_another_unit(
    options: dict[str, Any], lengths: list[int], seed: int, data: st.DataObject
) -> None:
    train = Fleet.from_frame(raw([30, 30], 0), SCHEMA)
    prep = Preprocessor(PreprocessorConfig(**options)).fit(train)
    unit = data.draw(st.integers(0, len(lengths) - 1), label="unit")
    seen = data.draw(st.integers(1, lengths[unit]), label="rows seen")
    before = raw(lengths, seed)
    known = (pl.col("unit") == unit) & (pl.col("cycle") <= seen)
    other = raw(lengths, seed + 1).select("unit", "cycle", pl.col("load", "a", "b") * 7.0 + 3.0)
    after = pl.concat([before.filter(known), other.filter(~known)])
    # The unit's record ends here, or goes on in any way: the rows so far are the same bits.
    alone = before.filter(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [prep.transform(Fleet.from_frame(f, SCHEMA)) for f in (before, after, alone)]
    rows = []
    for table in tables:
        start = int(table.starts[table.unit_ids.index(unit)])
        rows.append(table.rows[start : start + seen])
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
    assert rows[0].shape == (seen, len(tables[0].names))


@pytest.mark.parametrize("feature", ["baseline_deviation", "ewm_alphas"])
def test_a_feature_does_see_the_past(feature: str) -> None:
    """The counterpart: without it the test above would hold for a feature that sees nothing."""
    value: Any = (0.1,) if feature == "ewm_alphas" else True
    prep = Preprocessor(PreprocessorConfig(**{feature: value, "n_conditions": 1}))
    prep.fit(Fleet.from_frame(raw([30, 30], 0), SCHEMA))
    one = raw([10], 1)
    two = one.with_columns(a=pl.when(pl.col("cycle") == 1).then(50.0).otherwise(pl.col("a")))
    first, second = (prep.transform(Fleet.from_frame(f, SCHEMA)).rows for f in (one, two))
    assert (first[5:] != second[5:]).any()
