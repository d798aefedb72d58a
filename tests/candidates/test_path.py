"""Lines through a unit's last rows, the path of its health index, and boosting on it."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.candidates import CANDIDATES, SharedFeatures
from grace.candidates.base import sample_rows
from grace.candidates.path_features import PathFeatures, trailing_line
from grace.data import Fleet, FleetSchema
from grace.data.labels import LabelConfig

CAP = 100.0
LABELS = LabelConfig(cap=CAP)


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(0.1, 50.0), min_size=3, max_size=60),
    n_rows=st.integers(3, 70),
    seed=st.integers(0, 99),
)
def test_a_line_is_that_of_least_squares(gaps: list[float], n_rows: int, seed: int) -> None:
    times = 1e4 + np.cumsum(gaps)
    values = np.random.default_rng(seed).normal(size=len(times))
    slope, level = trailing_line(values, times, n_rows)
    for row in range(2, len(times)):
        first = max(0, row - n_rows + 1)
        t, y = times[first : row + 1] - times[row], values[first : row + 1]
        expected = np.polynomial.Polynomial.fit(t, y, 1).convert().coef
        np.testing.assert_allclose([level[row], slope[row]], expected, rtol=1e-5, atol=1e-7)


def test_a_line_does_not_depend_on_later_rows() -> None:
    values = np.random.default_rng(0).normal(size=13)
    times = np.array([*range(10), 1e6, 1e9, 1e12])
    whole = trailing_line(values, times, 3)
    for n in range(1, 13):
        for part, full in zip(trailing_line(values[:n], times[:n], 3), whole, strict=True):
            np.testing.assert_array_equal(part, full[:n])


def test_a_line_through_one_moment_is_flat() -> None:
    slope, level = trailing_line(np.array([1.0, 3.0, 5.0, 7.0]), np.full(4, 8.0), 4)
    np.testing.assert_array_equal(slope, 0.0)
    np.testing.assert_allclose(level, [1.0, 2.0, 3.0, 4.0])


def wear_fleet(n_units: int, seed: int, unit_of_time: float = 1.0) -> Fleet:
    """Units that wear steadily, each at its own rate, and fail at wear 1; ages say nothing.

    Each is first seen at a random wear. What is left of a life is (1 - wear) / rate.
    """
    rng = np.random.default_rng(seed)
    rate = 1 / rng.uniform(60, 240, n_units)
    begin = rng.uniform(0.0, 0.5, n_units)
    rows = np.floor((1 - begin) / rate).astype(int)
    unit = np.repeat(np.arange(n_units), rows)
    step = np.concatenate([np.arange(n) for n in rows])
    wear = begin[unit] + rate[unit] * step
    frame = pl.DataFrame(
        {
            "unit": unit,
            "cycle": unit_of_time * (step + 1.0),
            "wear": 20 + 5 * wear + rng.normal(0, 0.15, len(wear)),
            "other": rng.normal(size=len(wear)),
        }
    )
    schema = FleetSchema(sensors=("wear", "other"), time="cycle")
    return Fleet.from_frame(frame, schema, rul_at_end=dict.fromkeys(range(n_units), 0.0))


def path_of(fleet: Fleet, labels: LabelConfig = LABELS) -> PathFeatures:
    shared = SharedFeatures.of(fleet, labels, seed=0)
    return PathFeatures.of(shared.features, fleet, labels, seed=0)


def test_the_path_tells_the_rates_of_units_apart() -> None:
    """The present wear alone leaves the rate open, and with it most of the life left."""
    train, new = wear_fleet(40, seed=1), wear_fleet(20, seed=2)
    truth = np.minimum(new.rul(), CAP)
    below = truth < CAP
    error = {}
    for name in ("boosting", "boosting_path"):
        model = CANDIDATES[name]().fit(train, LABELS, seed=0)
        error[name] = np.sqrt(np.mean((model.predict(new) - truth)[below] ** 2))
    assert error["boosting_path"] < 0.8 * error["boosting"], error


def test_features_of_a_row_ignore_later_rows_and_other_units() -> None:
    train = wear_fleet(12, seed=3)
    found = path_of(train)
    whole = found.at(train, np.arange(train.n_rows))
    alone = train.select([train.unit_ids[4]])
    begin, length = train.starts()[4], train.lengths()[4]
    cut = Fleet.from_frame(alone.frame.head(30), alone.schema, rul_at_end={train.unit_ids[4]: None})
    assert length > 40
    np.testing.assert_array_equal(
        found.at(cut, np.arange(30)), whole[begin : begin + 30], strict=True
    )


def test_the_path_does_not_depend_on_the_unit_of_time() -> None:
    hours = LabelConfig(cap=3600 * CAP)
    one = path_of(wear_fleet(12, seed=4))
    other = path_of(wear_fleet(12, seed=4, unit_of_time=3600.0), hours)
    of = [n.startswith("index_") for n in one.names_]
    assert sum(of) == 15
    a, b = (
        f.at(fleet, np.arange(fleet.n_rows))[:, of]
        for f, fleet in (
            (one, wear_fleet(12, seed=4)),
            (other, wear_fleet(12, seed=4, unit_of_time=3600.0)),
        )
    )
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_missing_sensors_do_not_make_the_index_missing() -> None:
    train = wear_fleet(12, seed=5)
    gaps = train.frame.with_columns(
        other=pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(pl.col("other"))
    )
    fleet = Fleet.from_frame(gaps, train.schema, rul_at_end=dict.fromkeys(train.unit_ids, 0.0))
    found = path_of(fleet)
    of = [n.startswith("index_") for n in found.names_]
    assert np.isfinite(found.at(fleet, np.arange(fleet.n_rows))[:, of]).all()


def test_a_fleet_without_any_life_left_is_learned() -> None:
    frame = pl.DataFrame({"unit": range(6), "cycle": [1.0] * 6, "wear": np.linspace(0, 1, 6)})
    schema = FleetSchema(sensors=("wear",), time="cycle")
    fleet = Fleet.from_frame(frame, schema, rul_at_end=dict.fromkeys(range(6), 0.0))
    for name in ("boosting", "boosting_path"):
        found = CANDIDATES[name]().fit(fleet, LABELS, seed=0).predict(fleet)
        np.testing.assert_array_equal(found, 0.0)


def test_rows_are_thinned_with_the_weight_of_every_unit() -> None:
    rows = sample_rows(wear_fleet(12, seed=6), LABELS, seed=0)
    few = rows.thinned(100)
    assert len(few.rows) < 130 < len(rows.rows)
    np.testing.assert_allclose(
        np.bincount(few.unit, few.weight), np.bincount(rows.unit, rows.weight)
    )
    assert set(few.rows) < set(rows.rows)
