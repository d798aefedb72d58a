"""Inputs of a fleet that nobody prepared: gaps, categories, other units of measurement."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.data import DataError, Fleet, FleetSchema
from grace.data.missing import forward_fill
from grace.data.preprocessing import InputWarning, Preprocessor, PreprocessorConfig

SCHEMA = FleetSchema(
    settings=("load",), sensors=("a", "b", "flat"), static=("mass", "oil"), time_unit="h"
)
EVERYTHING = PreprocessorConfig(
    epsilon=0.0,
    baseline_deviation=True,
    ewm_alphas=(0.1,),
    trend_rows=(5,),
    age=True,
    clip=6.0,
    robust_limits=3.0,
    drop_constant=True,
    missing_channel="fill",
)


def table(seed: int = 0, n_units: int = 8, length: int = 30) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with gaps at irregular times under two loads, and units with static attributes."""
    rng = np.random.default_rng(seed)
    n = n_units * length
    unit = np.repeat(np.arange(n_units), length)
    load = rng.choice([1.0, 2.0], n)
    a = load * 50 + rng.normal(size=n) + 0.1 * np.tile(np.arange(length), n_units)
    a[rng.random(n) < 0.1] = np.nan
    rows = pl.DataFrame(
        {
            "unit": unit,
            "cycle": np.concatenate(
                [rng.exponential(2.0, length).cumsum() for _ in range(n_units)]
            ),
            "load": load,
            "a": a,
            "b": rng.normal(size=n).cumsum(),
            "flat": np.full(n, 7.0),
        }
    )
    units = pl.DataFrame(
        {
            "unit": range(n_units),
            "rul_at_end": [0.0] * n_units,
            "mass": [1.0, 2.0, 3.0, None] * (n_units // 4),
            "oil": ["x", "y", None, "x"] * (n_units // 4),
        }
    )
    return rows, units


def make(rows: pl.DataFrame, units: pl.DataFrame, schema: FleetSchema = SCHEMA) -> Fleet:
    return Fleet.from_frame(rows, schema, units=units)


def inputs(fleet: Fleet, config: PreprocessorConfig = EVERYTHING) -> np.ndarray[Any, Any]:
    return Preprocessor(config).fit(fleet).transform(fleet).rows


def test_what_the_inputs_are() -> None:
    prep = Preprocessor(EVERYTHING).fit(make(*table()))
    out = prep.transform(make(*table()))
    assert out.names == (
        "a", "b", "a_deviation", "b_deviation", "a_ewm0.1", "b_ewm0.1", "a_trend5", "b_trend5",
        "a_missing", "age", "time_step", "mass", "oil=x", "oil=y", "oil=unknown",
    )  # fmt: skip
    assert len(out.offset_group) == len(out.names) == out.rows.shape[1]
    assert prep.dropped_ == {"flat": "constant in each of 2 operating conditions"}
    assert np.isfinite(out.rows).all()
    again = Preprocessor.from_dict(json.loads(json.dumps(prep.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(again.transform(make(*table())).rows, out.rows)


def test_column_order_and_unit_names_play_no_part() -> None:
    rows, units = table()
    want = inputs(make(rows, units))
    turned = SCHEMA.model_copy(update={"sensors": ("flat", "b", "a"), "static": ("oil", "mass")})
    np.testing.assert_array_equal(
        inputs(make(rows.select(reversed(rows.columns)), units, turned)), want
    )
    names = {i: f"pump {97 * (i + 3) % 13}" for i in range(8)}
    renamed = [f.with_columns(pl.col("unit").replace_strict(names)) for f in (rows, units)]
    np.testing.assert_array_equal(inputs(make(*renamed)), want)


@given(st.sampled_from([1e-12, 1e-6, 1.0, 1e9]), st.floats(-1e4, 1e4), st.booleans())
@settings(max_examples=25)
def test_the_physical_unit_of_a_sensor_plays_no_part(
    scale: float, offset: float, negative: bool
) -> None:
    rows, units = table()
    factor = -scale if negative else scale
    moved = rows.with_columns(pl.col("a") * factor + offset * scale)
    got, want = inputs(make(moved, units)), inputs(make(rows, units))
    sign = np.ones(want.shape[1])
    if negative:
        sign[[0, 2, 4, 6]] = -1  # the sensor itself, upside down
    np.testing.assert_allclose(got * sign, want, atol=1e-6)


def test_constant_columns_add_nothing() -> None:
    rows, units = table()
    more = rows.with_columns(zero=pl.lit(0.0), many=pl.lit(0.1), empty=pl.lit(None, pl.Float64))
    units_more = units.with_columns(site=pl.lit("north"))
    sensors, static = ("zero", "a", "many", "b", "flat", "empty"), ("site", "mass", "oil")
    schema = SCHEMA.model_copy(update={"sensors": sensors, "static": static})
    prep = Preprocessor(EVERYTHING).fit(make(more, units_more, schema))
    got = prep.transform(make(more, units_more, schema)).rows
    np.testing.assert_array_equal(got, inputs(make(rows, units)))
    assert set(prep.dropped_) == {"flat", "zero", "many", "empty"}
    assert prep.static_.dropped == {"site": "the same in all training units"}


@pytest.mark.parametrize("scale", [3600.0, 1 / 24.0, 1e-9])
def test_the_unit_of_time_plays_no_part(scale: float) -> None:
    rows, units = table()
    config = EVERYTHING.model_copy(update={"fill_time": 6.0})
    scaled = config.model_copy(update={"fill_time": 6.0 * scale, "age_scale": 100.0 * scale})
    got = inputs(make(rows.with_columns(pl.col("cycle") * scale), units), scaled)
    np.testing.assert_allclose(got, inputs(make(rows, units), config), atol=1e-6)


def test_no_row_depends_on_a_later_one() -> None:
    rows, units = table()
    prep = Preprocessor(EVERYTHING).fit(make(rows, units))
    whole = prep.transform(make(rows, units))
    for seen in (1, 2, 7, 29):
        cut = rows.filter(pl.int_range(pl.len()).over("unit") < seen)
        part = prep.transform(make(cut, units)).rows.reshape(8, seen, -1)
        np.testing.assert_array_equal(part, whole.rows.reshape(8, 30, -1)[:, :seen])


def test_forward_fill_by_hand() -> None:
    nan = np.nan
    values = np.array([[nan], [1.0], [nan], [nan], [nan], [nan], [2.0], [nan]])
    times = np.array([0.0, 1, 2, 4, 9, 0, 1, 5])
    starts, lengths = np.array([0, 5]), np.array([5, 3])

    def fill(rows: int | None, time: float | None = None) -> list[float]:
        got = forward_fill(values, times, starts, lengths, max_rows=rows, max_time=time)
        return got[:, 0].tolist()

    np.testing.assert_equal(fill(None), [nan, 1, 1, 1, 1, nan, 2, 2])
    np.testing.assert_equal(fill(2), [nan, 1, 1, 1, nan, nan, 2, 2])
    np.testing.assert_equal(fill(None, 3.0), [nan, 1, 1, 1, nan, nan, 2, nan])
    np.testing.assert_equal(fill(0), values[:, 0])


def test_a_value_is_filled_in_the_scale_of_its_own_condition() -> None:
    """The last value was taken at another load: its distance from normal is carried over."""
    rows, units = table(n_units=4)
    rows = rows.with_columns(pl.col("a").fill_nan(pl.col("load") * 50 + 1))
    prep = Preprocessor(PreprocessorConfig(time_step=False, fill_rows=1)).fit(make(rows, units))
    loads = rows["load"].to_numpy()
    at = next(i for i in range(2, 29) if loads[i] != loads[i - 1])
    holes = rows.with_columns(
        a=pl.when(pl.int_range(pl.len()).is_in([at, at + 1])).then(None).otherwise(pl.col("a"))
    )
    got = prep.transform(make(holes, units))
    assert got.rows[at, 0] == got.rows[at - 1, 0]
    assert got.rows[at + 1, 0] == pytest.approx(prep.median_[got.condition[at + 1], 0])
    assert got.flags is not None
    assert got.flags["rows_filled"].to_list() == [2, 0, 0, 0]


def test_a_placeholder_value_does_not_set_the_scale() -> None:
    rows, units = table()
    broken = rows.with_columns(
        b=pl.when(pl.int_range(pl.len()) == 40).then(4294967295.0).otherwise(pl.col("b"))
    )
    config = EVERYTHING.model_copy(update={"clip": None, "sensors": ("b",)})
    got, want = inputs(make(broken, units), config), inputs(make(rows, units), config)
    assert np.abs(np.delete(got[:, 0], 40) - np.delete(want[:, 0], 40)).max() < 0.5
    assert np.isfinite(got).all()
    assert got[:, 0].max() < 30


def test_a_sensor_in_another_physical_unit_is_reported() -> None:
    rows, units = table()
    prep = Preprocessor(EVERYTHING).fit(make(rows, units))
    wrong = rows.with_columns(
        a=pl.when(pl.col("unit") == 3).then(pl.col("a") * 100.0).otherwise(pl.col("a"))
    )
    with pytest.warns(InputWarning, match=r"1 of 8 units .* in a \(first: unit 3\)"):
        flags = prep.transform(make(wrong, units)).flags
    assert flags is not None
    assert flags["channels_outside"].to_list() == [[], [], [], ["a"], [], [], [], []]
    assert flags.filter(pl.col("unit") == 3)["rows_outside"][0] > 20


def test_missing_columns_and_unseen_categories_are_reported_by_unit() -> None:
    rows, units = table()
    prep = Preprocessor(EVERYTHING).fit(make(rows, units))
    odd = units.with_columns(
        oil=pl.when(pl.col("unit") == 2).then(pl.lit("z")).otherwise(pl.lit("x")), mass=pl.lit(1.0)
    )
    less = SCHEMA.model_copy(update={"sensors": ("b", "flat")})
    with pytest.warns(InputWarning, match=r"column a is missing.*1 of 8 units have a value of oil"):
        out = prep.transform(make(rows.drop("a"), odd, less))
    assert out.flags is not None
    assert out.flags["channels_missing"].to_list() == [["a"]] * 8
    assert out.flags["attributes_unknown"].to_list() == [[], [], ["oil"], *[[]] * 5]
    unknown = out.rows[out.starts[2], out.names.index("oil=unknown")]
    assert unknown == 1.0
    strict = Preprocessor(EVERYTHING.model_copy(update={"missing_channel": "error"}))
    strict.fit(make(rows, units))
    with pytest.raises(DataError, match="'a' is missing"):
        strict.transform(make(rows.drop("a"), odd, less))


def test_training_rows_give_no_warning_except_for_missing_attributes() -> None:
    rows, units = table()
    units = units.with_columns(pl.col("mass").fill_null(2.0), pl.col("oil").fill_null("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flags = Preprocessor(EVERYTHING).fit(make(rows, units)).transform(make(rows, units)).flags
    assert flags is not None
    assert flags["rows_outside"].sum() == 0


def test_a_continuum_of_settings_is_an_input() -> None:
    rows, units = table()
    spread = rows.with_columns(load=pl.Series(np.random.default_rng(0).random(rows.height)))
    names = Preprocessor(EVERYTHING).fit(make(spread, units)).transform(make(spread, units)).names
    assert "load" in names
    fixed = EVERYTHING.model_copy(update={"use_settings": False})
    out = Preprocessor(fixed).fit(make(spread, units)).transform(make(spread, units))
    assert "load" not in out.names


def test_a_rare_category_is_unknown() -> None:
    rows, units = table()
    oils = ["x", "x", "x", "y", "y", "y", "y", "rare"]
    out = Preprocessor(EVERYTHING).fit(make(rows, units.with_columns(oil=pl.Series(oils))))
    assert out.static_.names == ("mass", "oil=x", "oil=y", "oil=unknown")


def test_a_fleet_in_which_nothing_changes_is_refused() -> None:
    rows, units = table()
    still = rows.with_columns(a=pl.lit(1.0), b=pl.lit(2.0))
    with pytest.raises(DataError, match="no sensor changes"):
        Preprocessor(EVERYTHING).fit(make(still, units))
