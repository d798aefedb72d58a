"""Splits by unit: nothing shared, nothing lost, short and long lives on both sides."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.data import DataError, Fleet, FleetSchema
from grace.data.splits import kfold_units, split_units

SCHEMA = FleetSchema(sensors=("x",))


def fleet(lives: list[int], running: list[bool] | None = None) -> Fleet:
    rows = [(u, t, 0.0) for u, n in enumerate(lives) for t in (1, n + 1)]
    frame = pl.DataFrame(rows, schema=["unit", "cycle", "x"], orient="row")
    fates = [None if r else 0.0 for r in running or [False] * len(lives)]
    return Fleet.from_frame(frame, SCHEMA, rul_at_end=dict(enumerate(fates)))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    lives = draw(st.lists(st.integers(1, 300), min_size=2, max_size=30))
    running = draw(st.lists(st.booleans(), min_size=len(lives), max_size=len(lives)))
    if sum(not r for r in running) < 2:
        running[:2] = [False, False]
    return fleet(lives, running)


@given(fleets(), st.floats(0.0, 0.99), st.integers(0, 5))
@settings(max_examples=60)
def test_every_unit_is_on_one_side(units: Fleet, fraction: float, seed: int) -> None:
    split = split_units(units, fraction, seed=seed)
    assert not set(split.train) & set(split.validation)
    assert sorted([*split.train, *split.validation]) == sorted(units.unit_ids)
    assert len(set(split.train)) == len(split.train)
    failed = dict(zip(units.unit_ids, units.units["failed"], strict=True))
    assert any(failed[u] for u in split.train)  # something to learn the end of life from
    assert all(failed[u] for u in split.validation)  # units still running cannot be evaluated on
    if fraction > 0:
        n = sum(failed.values())
        least = 2 if n >= 4 else 1
        assert len(split.validation) == min(max(least, round(fraction * n)), n - 1)
    else:
        assert split.validation == ()
    assert split == split_units(units, fraction, seed=seed)


def test_the_seed_decides() -> None:
    units = fleet(list(range(10, 110)))
    found = {split_units(units, 0.15, seed=s).validation for s in range(10)}
    assert len(found) == 10


def test_the_share_is_what_was_asked_for() -> None:
    assert len(split_units(fleet([50] * 100), 0.15).validation) == 15


@pytest.mark.parametrize("seed", range(5))
def test_one_of_every_stratum_of_life_is_held_out(seed: int) -> None:
    lives = list(np.random.default_rng(1).permutation(np.arange(20, 120)))
    units = fleet([int(v) for v in lives])
    held = sorted(lives[u] for u in split_units(units, 0.2, seed=seed).validation)
    assert [int((v - 20) // 5) for v in held] == list(range(20))


def test_too_few_failures_are_an_error() -> None:
    with pytest.raises(DataError, match=r"only 1 unit\(s\) ran to failure"):
        split_units(fleet([5, 6], [True, False]))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0])
def test_a_fraction_out_of_range_is_named(fraction: float) -> None:
    with pytest.raises(ValueError, match=str(fraction)):
        split_units(fleet([5, 6]), fraction)


@given(fleets(), st.integers(2, 12), st.integers(0, 5))
@settings(max_examples=60)
def test_every_unit_is_held_out_once(units: Fleet, n_folds: int, seed: int) -> None:
    known = set(units.units.filter(pl.col("rul_at_end").is_not_null())["unit"])
    if len(known) < n_folds:
        with pytest.raises(DataError, match="too few for"):
            kfold_units(units, n_folds, seed=seed)
        return
    folds = kfold_units(units, n_folds, seed=seed)
    assert len(folds) == n_folds
    assert sorted(u for f in folds for u in f.validation) == sorted(units.unit_ids)
    for fold in folds:
        assert sorted([*fold.train, *fold.validation]) == sorted(units.unit_ids)
    for sizes in (
        [len(f.validation) for f in folds],
        [len(known & set(f.validation)) for f in folds],
    ):
        assert max(sizes) - min(sizes) <= 1
    assert folds == kfold_units(units, n_folds, seed=seed)


def test_folds_agree_in_their_lives() -> None:
    units = fleet(list(range(10, 110)))
    life = dict(zip(units.unit_ids, units.life(), strict=True))
    for seed in range(5):
        means = [np.mean([life[u] for u in f.validation]) for f in kfold_units(units, 5, seed=seed)]
        assert max(means) - min(means) < 3  # neighbours by life go to different folds
    assert kfold_units(units, 5, seed=0) != kfold_units(units, 5, seed=1)


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        kfold_units(fleet([3, 4]), 1)


def grouped(n: int = 30) -> Fleet:
    lives = [10 * (i % 3 + 1) ** 2 + i for i in range(n)]
    base = fleet(lives, [i % 5 == 0 for i in range(n)])
    units = base.units.with_columns(oil=pl.Series(["abc"[i % 3] for i in range(n)]))
    schema = SCHEMA.model_copy(update={"static": ("oil",)})
    return Fleet.from_frame(base.frame, schema, units=units)


def test_folds_share_static_groups_and_censored_units_evenly() -> None:
    units = grouped()
    oil = dict(zip(units.unit_ids, units.units["oil"], strict=True))
    failed = dict(zip(units.unit_ids, units.units["failed"], strict=True))
    for fold in kfold_units(units, 4, seed=3):
        groups = [oil[u] for u in fold.validation if failed[u]]
        assert all(1 <= groups.count(g) <= 3 for g in "abc")
        assert 1 <= sum(not failed[u] for u in fold.validation) <= 2


@pytest.mark.parametrize("seed", range(4))
def test_every_fold_has_its_share_of_each_group_whatever_their_lives(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(40)
    base = fleet([int(v) + 10 for v in order])
    units = base.units.with_columns(oil=pl.Series(["x"] * 20 + ["y"] * 20))
    schema = SCHEMA.model_copy(update={"static": ("oil",)})
    for fold in kfold_units(Fleet.from_frame(base.frame, schema, units=units), 4, seed=seed):
        assert sum(u < 20 for u in fold.validation) == 5
        assert len(fold.validation) == 10


def test_splits_do_not_depend_on_the_names_of_units() -> None:
    units = grouped()
    name = {u: f"pump {(7 * u + 3) % 31}" for u in units.unit_ids}
    renamed = Fleet.from_frame(
        units.frame.with_columns(pl.col("unit").replace_strict(name)),
        units.schema,
        units=units.units.with_columns(pl.col("unit").replace_strict(name)),
    )
    for seed in range(3):
        want = [split_units(units, 0.2, seed=seed), *kfold_units(units, 4, seed=seed)]
        got = [split_units(renamed, 0.2, seed=seed), *kfold_units(renamed, 4, seed=seed)]
        for a, b in zip(want, got, strict=True):
            assert tuple(name[u] for u in a.validation) == b.validation


def test_units_of_known_life_left_can_be_held_out() -> None:
    frame = fleet([10, 20, 30, 40]).frame
    units = Fleet.from_frame(frame, SCHEMA, rul_at_end={0: 5.0, 1: 3.0, 2: None, 3: None})
    assert set(split_units(units, 0.5).validation) < {0, 1}
