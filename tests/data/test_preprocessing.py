"""Preprocessing: statistics per condition, constant channels, the unseen, the way through JSON."""

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
from grace.data.preprocessing import Preprocessor, PreprocessorConfig, UnseenConditionWarning

SCHEMA = FleetSchema(settings=("alt", "mach"), sensors=("a", "b", "c"))
LEVELS = np.array([[0.0, 0.0], [10.0, 0.25], [42.0, 0.84]])


def raw(
    n_units: int = 4, length: int = 40, seed: int = 0, levels: np.ndarray = LEVELS
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = n_units * length
    c = rng.integers(0, len(levels), n)
    place = levels[c] + rng.normal(size=(n, 2)) * [0.002, 0.0003]
    return pl.DataFrame(
        {
            "unit": np.repeat(np.arange(n_units), length),
            "cycle": np.tile(np.arange(1, length + 1), n_units),
            "alt": place[:, 0],
            "mach": place[:, 1],
            "a": 100.0 * c + rng.normal(size=n) * (1 + c),
            "b": np.array([518.67, 0.1, -7.3])[c],  # constant within a condition
            "c": rng.normal(size=n) + 1e6,
        }
    )


def fleet(**options: Any) -> Fleet:
    return Fleet.from_frame(raw(**options), SCHEMA)


def test_z_score_per_condition_and_channel() -> None:
    units = fleet()
    prep = Preprocessor(default_conditions=3).fit(units)
    table = prep.transform(units)
    assert sorted(set(table.condition.tolist())) == [0, 1, 2]
    for c in range(3):
        mine = table.rows[table.condition == c]
        np.testing.assert_allclose(mine[:, [0, 2]].mean(axis=0), 0.0, atol=1e-4)
        np.testing.assert_allclose(mine[:, [0, 2]].std(axis=0), 1.0, atol=1e-4)


def test_value_by_hand_on_new_units() -> None:
    train, test = fleet(), fleet(seed=5)
    prep = Preprocessor(PreprocessorConfig(epsilon=0.5), default_conditions=3).fit(train)
    table = prep.transform(test)
    labels = prep.transform(train).condition
    values = train.values(("a",))[labels == table.condition[7], 0]
    want = (test.values(("a",))[7, 0] - values.mean()) / (values.std() + 0.5)
    assert table.rows[7, 0] == pytest.approx(want, rel=1e-5)


def test_a_constant_channel_is_centred_and_not_blown_up() -> None:
    train = fleet()
    prep = Preprocessor(default_conditions=3).fit(train)
    assert prep.constant_[:, 1].all()
    assert not prep.constant_[:, [0, 2]].any()
    assert (np.abs(prep.transform(train).rows[:, 1]) < 1e-6).all()
    moved = raw(seed=2).with_columns(b=pl.col("b") + 0.01)
    rows = prep.transform(Fleet.from_frame(moved, SCHEMA)).rows
    np.testing.assert_allclose(rows[:, 1], 0.01, atol=1e-6)


def test_where_a_channel_is_constant_its_spread_elsewhere_is_the_scale() -> None:
    """A move of one σ of the conditions where it varies must not become hundreds of σ."""
    train = raw().with_columns(b=pl.when(pl.col("alt") < 5).then(5.0).otherwise(pl.col("a") / 200))
    prep = Preprocessor(default_conditions=3).fit(Fleet.from_frame(train, SCHEMA))
    assert prep.constant_.tolist() == [[False, True, False], [False] * 3, [False] * 3]
    condition = prep.transform(Fleet.from_frame(train, SCHEMA)).condition
    b = train["b"].to_numpy()
    squares = [((b[condition == c] - b[condition == c].mean()) ** 2).sum() for c in (1, 2)]
    pooled = np.sqrt(sum(squares) / (condition > 0).sum())
    assert 0.005 < pooled < 0.02
    moved = train.with_columns(b=pl.col("b") + 3 * pooled)
    again = Preprocessor.from_dict(json.loads(json.dumps(prep.to_dict())))
    for fitted in (prep, again):
        rows = fitted.transform(Fleet.from_frame(moved, SCHEMA)).rows
        np.testing.assert_allclose(rows[condition == 0, 1], 3.0, rtol=1e-5)
        rows = fitted.transform(Fleet.from_frame(train, SCHEMA)).rows
        assert not rows[condition == 0, 1].any()


def test_conditions_the_data_does_not_have_are_told_with_its_name() -> None:
    few = raw().with_columns(alt=pl.lit(0.0), mach=pl.lit(0.5))
    with pytest.raises(DataError, match=r"^engines: n_conditions=3.*only 1 distinct"):
        Preprocessor(PreprocessorConfig(n_conditions=3)).fit(
            Fleet.from_frame(few, SCHEMA, name="engines")
        )


def test_clip_limits_the_sensors() -> None:
    wild = raw(seed=2).with_columns(a=pl.col("a") * 1e6)
    prep = Preprocessor(PreprocessorConfig(clip=5.0), default_conditions=3).fit(fleet())
    rows = prep.transform(Fleet.from_frame(wild, SCHEMA)).rows
    assert np.abs(rows).max() == 5.0


def test_settings_are_normalised_over_all_conditions() -> None:
    units = fleet()
    prep = Preprocessor(PreprocessorConfig(use_settings=True), default_conditions=3).fit(units)
    table = prep.transform(units)
    assert table.names == ("a", "b", "c", "alt", "mach")
    np.testing.assert_allclose(table.rows[:, 3:].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(table.rows[:, 3:].std(axis=0), 1.0, atol=1e-5)


def test_names_follow_the_columns() -> None:
    config = PreprocessorConfig(
        sensors=("c", "a"),
        age=True,
        baseline_deviation=True,
        ewm_alphas=(0.1, 0.25),
        age_scale=10.0,
    )
    table = Preprocessor(config).fit(fleet()).transform(fleet())
    assert table.names == (
        "c", "a", "c_deviation", "a_deviation", "c_ewm0.1", "a_ewm0.1", "c_ewm0.25", "a_ewm0.25",
        "age",
    )  # fmt: skip
    assert table.rows.shape == (160, 9)
    assert table.rows.dtype == np.float32
    assert table.rows.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(table.rows[:3, -1], [0.0, 0.1, 0.2], rtol=1e-6)


@given(
    st.fixed_dictionaries(
        {
            "use_settings": st.booleans(),
            "n_conditions": st.sampled_from([1, 3, "auto"]),
            "clip": st.sampled_from([None, 2.0]),
            "age": st.booleans(),
            "baseline_deviation": st.booleans(),
            "ewm_alphas": st.sampled_from([(), (0.1,), (0.3, 0.7)]),
            "sensors": st.sampled_from([None, ("b", "a")]),
        }
    ),
    st.integers(0, 100),
)
@settings(max_examples=25)
def test_through_json_and_back_to_the_bit(options: dict[str, Any], seed: int) -> None:
    prep = Preprocessor(PreprocessorConfig(**options), seed=seed).fit(fleet(seed=seed))
    again = Preprocessor.from_dict(json.loads(json.dumps(prep.to_dict(), allow_nan=False)))
    test = fleet(seed=seed + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = prep.transform(test), again.transform(test)
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.condition, b.condition)
    np.testing.assert_array_equal(a.condition_distance, b.condition_distance)
    assert (a.names, a.unit_ids) == (b.names, b.unit_ids)
    assert again.to_dict() == prep.to_dict()
    np.testing.assert_array_equal(again.constant_, prep.constant_)


def test_a_fleet_without_settings() -> None:
    schema = FleetSchema(sensors=("a",))
    units = Fleet.from_frame(raw().select("unit", "cycle", "a"), schema)
    prep = Preprocessor(PreprocessorConfig(use_settings=True)).fit(units)
    again = Preprocessor.from_dict(json.loads(json.dumps(prep.to_dict())))
    np.testing.assert_array_equal(prep.transform(units).rows, again.transform(units).rows)
    assert prep.transform(units).names == ("a",)


def test_an_unseen_condition_warns_with_its_place_and_takes_the_nearest() -> None:
    prep = Preprocessor(default_conditions=3).fit(fleet())
    odd = raw(n_units=1, length=3, levels=np.array([[25.0, 0.62]]))
    with pytest.warns(UnseenConditionWarning, match=r"3 of 3 rows.*unit 0.*'alt': 2\d") as caught:
        table = prep.transform(Fleet.from_frame(odd, SCHEMA, name="odd one"))
    assert "odd one" in str(caught[0].message)
    assert (table.condition_distance > 0.3).all()
    assert np.isfinite(table.rows).all()


def test_an_unseen_condition_can_be_refused() -> None:
    config = PreprocessorConfig(unseen="error", n_conditions=3)
    prep = Preprocessor(config).fit(fleet())
    odd = raw(n_units=1, length=3, levels=np.array([[25.0, 0.62]]))
    with pytest.raises(DataError, match="training never saw"):
        prep.transform(Fleet.from_frame(odd, SCHEMA))
    prep.transform(fleet(seed=3))  # known conditions pass


def test_known_conditions_do_not_warn() -> None:
    prep = Preprocessor(default_conditions=3).fit(fleet())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prep.transform(fleet(seed=8))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="'nope'"):
        Preprocessor(PreprocessorConfig(sensors=("a", "nope"))).fit(fleet())
    prep = Preprocessor(default_conditions=3).fit(fleet())
    less = Fleet.from_frame(
        raw().drop("b"), FleetSchema(settings=("alt", "mach"), sensors=("a", "c"))
    )
    with pytest.raises(DataError, match="'b' is missing"):
        prep.transform(less)


def test_columns_are_found_by_name_not_by_place() -> None:
    prep = Preprocessor(default_conditions=3).fit(fleet())
    turned = Fleet.from_frame(
        raw(seed=4).select("c", "b", "mach", "alt", "a", "cycle", "unit"),
        FleetSchema(settings=("mach", "alt"), sensors=("c", "b", "a")),
    )
    np.testing.assert_array_equal(prep.transform(turned).rows, prep.transform(fleet(seed=4)).rows)


def test_without_levels_a_constant_offset_of_a_unit_is_invisible() -> None:
    """What tells units apart by their level alone does not reach the model."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=40)
    frame = pl.DataFrame({"unit": [1] * 40, "cycle": range(1, 41), "s": values})
    shifted = frame.with_columns(pl.col("s") + 3.0)
    schema = FleetSchema(sensors=("s",))
    config = PreprocessorConfig(
        include_sensors=False, baseline_deviation=True, ewm_alphas=(0.1,), n_conditions=1
    )
    fitted = Preprocessor(config).fit(Fleet.from_frame(frame, schema))
    here = fitted.transform(Fleet.from_frame(frame, schema))
    there = fitted.transform(Fleet.from_frame(shifted, schema))
    assert here.names == ("s_deviation", "s_ewm0.1")
    np.testing.assert_allclose(here.rows, there.rows, atol=1e-5)
    assert fitted.sensors_only().transform(Fleet.from_frame(frame, schema)).names == ("s",)
    with pytest.raises(ValueError, match="see no sensor"):
        PreprocessorConfig(include_sensors=False)


@pytest.mark.parametrize(
    ("key", "value"), [("range", 3.0), ("range", [1.0]), ("limits", [[0.0]]), ("missing", True)]
)
def test_a_stored_array_of_another_shape_is_refused(key: str, value: object) -> None:
    fitted = Preprocessor(PreprocessorConfig(), default_conditions=1)
    state = fitted.fit(Fleet.from_frame(raw(), SCHEMA)).to_dict()
    assert len(SCHEMA.sensors) > 1
    with pytest.raises(ValueError, match="reshape"):
        Preprocessor.from_dict({**state, key: value})
