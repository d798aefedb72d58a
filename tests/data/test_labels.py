"""Targets: the cap, the health classes at their edges, and units still running."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grace.data import Fleet, FleetSchema
from grace.data.labels import LEARNED_CAP, LabelConfig, capped_rul, health_class, survived

SCHEMA = FleetSchema(sensors=("x",))


def fleet(lives: dict[int, int], left: dict[int, float | None]) -> Fleet:
    rows = [(u, t, 0.0) for u, n in lives.items() for t in range(1, n + 1)]
    frame = pl.DataFrame(rows, schema=["unit", "cycle", "x"], orient="row")
    return Fleet.from_frame(frame, SCHEMA, rul_at_end=left)


def test_a_failed_unit_counts_down_to_zero_under_the_cap() -> None:
    rul = capped_rul(fleet({1: 200}, {1: 0.0}), LabelConfig())
    assert rul[:75].tolist() == [125.0] * 75
    assert rul[74:].tolist() == [float(v) for v in range(125, -1, -1)]


def test_a_truncated_unit_counts_down_to_what_is_left() -> None:
    assert capped_rul(fleet({1: 3}, {1: 40.0}), LabelConfig()).tolist() == [42.0, 41.0, 40.0]
    assert capped_rul(fleet({1: 3}, {1: 124.0}), LabelConfig()).tolist() == [125.0, 125.0, 124.0]


def test_a_running_unit_is_labelled_only_where_it_surely_outlived_the_cap() -> None:
    rul = capped_rul(fleet({1: 130}, {1: None}), LabelConfig())
    # Rows 1..5 are followed by 125 or more further cycles of life.
    assert rul[:5].tolist() == [125.0] * 5
    assert np.isnan(rul[5:]).all()


def test_running_units_do_not_disturb_their_neighbours() -> None:
    rul = capped_rul(
        fleet({1: 3, 2: 4, 3: 2}, {1: 0.0, 2: None, 3: 7.0}),
        LabelConfig(cap=8.0, health_thresholds=(5.0, 2.0)),
    )
    np.testing.assert_array_equal(rul, [2, 1, 0, *[np.nan] * 4, 8, 7])


def test_the_cap_is_a_setting() -> None:
    labels = LabelConfig(cap=50.0, health_thresholds=(30.0, 10.0))
    assert capped_rul(fleet({1: 100}, {1: 0.0}), labels).max() == 50.0


@pytest.mark.parametrize(
    ("rul", "expected"),
    [(125, 0), (80.001, 0), (80, 1), (79.999, 1), (30.001, 1), (30, 2), (29, 2), (0, 2)],
)
def test_health_class_at_the_thresholds(rul: float, expected: int) -> None:
    assert health_class([rul]).tolist() == [expected]


@pytest.mark.parametrize("thresholds", [(30.0, 80.0), (80.0, 80.0), ()])
def test_thresholds_that_do_not_descend_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="descend"):
        health_class([1.0], thresholds)


def test_other_thresholds_and_shapes() -> None:
    labels = LabelConfig(health_thresholds=(100.0, 60.0, 20.0))
    assert labels.n_classes == 4
    got = health_class(np.array([[120.0, 100.0], [50.0, 5.0]]), labels.health_thresholds)
    assert got.dtype == np.int64
    assert got.tolist() == [[0, 1], [2, 3]]


@given(st.lists(st.floats(0, 125), min_size=2, max_size=50))
def test_less_life_is_never_a_better_class(ruls: list[float]) -> None:
    ordered = sorted(ruls)
    assert (np.diff(health_class(ordered)) <= 0).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"health_thresholds": (30.0, 80.0)}, "must descend"),
        ({"health_thresholds": (80.0, 80.0)}, "must descend"),
        ({"health_thresholds": ()}, "must descend"),
        ({"health_thresholds": (80.0, -1.0)}, "not be negative"),
        ({"health_thresholds": (125.0, 50.0)}, "class 0 would be empty"),
        ({"cap": 0.0}, "cap"),
        ({"cap": "long"}, "cap"),
        ({"caps": 10.0}, "caps"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        LabelConfig(**options)  # type: ignore[arg-type]


@given(st.floats(1e-6, 1e9))
def test_thresholds_follow_the_cap(cap: float) -> None:
    labels = LabelConfig(cap=cap)
    assert labels.health_thresholds == pytest.approx((0.64 * cap, 0.24 * cap))
    assert labels.to_learned(cap) == pytest.approx(LEARNED_CAP)
    assert labels.from_learned(labels.to_learned(0.3 * cap)) == pytest.approx(0.3 * cap)
    assert LabelConfig.model_validate_json(labels.model_dump_json()) == labels


def test_at_the_default_cap_learned_units_are_the_unit_of_time_to_the_bit() -> None:
    labels = LabelConfig()
    assert (labels.cap, labels.health_thresholds, labels.unit) == (125.0, (80.0, 30.0), 1.0)
    values = np.random.default_rng(0).random(1000) * 125
    np.testing.assert_array_equal(labels.to_learned(values), values)
    np.testing.assert_array_equal(labels.from_learned(values), values)


def test_thresholds_that_are_given_stay() -> None:
    labels = LabelConfig(cap=50.0, health_thresholds=(30.0, 10.0))
    assert labels.health_thresholds == (30.0, 10.0)


def test_time_survived_ends_with_the_record() -> None:
    units = fleet({1: 3, 2: 2}, {1: None, 2: 40.0})
    assert survived(units).tolist() == [2.0, 1.0, 0.0, 1.0, 0.0]
