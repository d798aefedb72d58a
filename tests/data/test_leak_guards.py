"""Nothing that is learned may hang on units that are not learned from."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from grace.data import Dataset, Fleet
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor, PreprocessorConfig
from grace.data.readers import load_dataset
from grace.data.splits import split_units
from grace.data.windows import WindowConfig, WindowSet

CONFIG = PreprocessorConfig(age=True, baseline_deviation=True, ewm_alphas=(0.1,), use_settings=True)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("sim", n_train=10, n_test=5, n_conditions=3)


def disturbed(fleet: Fleet, units: tuple[int, ...]) -> Fleet:
    """The same fleet with the sensors and settings of these units changed beyond recognition."""
    hit = pl.col("unit").is_in(units)
    columns = [
        pl.when(hit).then(pl.col(c) * 3.0 + 100.0).otherwise(pl.col(c)).alias(c)
        for c in fleet.schema.channels
    ]
    return Fleet.from_frame(fleet.frame.with_columns(columns), fleet.schema, units=fleet.units)


def learned(fleet: Fleet, units: tuple[int, ...]) -> dict[str, object]:
    return Preprocessor(CONFIG, default_conditions=3).fit(fleet.select(units)).to_dict()


def test_held_out_units_leave_no_trace_in_the_statistics(data: Dataset) -> None:
    split = split_units(data.train, 0.3, seed=1)
    before = learned(data.train, split.train)
    assert learned(disturbed(data.train, split.validation), split.train) == before
    assert learned(disturbed(data.train, split.train[:1]), split.train) != before


def test_the_split_does_not_read_the_sensors(data: Dataset) -> None:
    other = disturbed(data.train, tuple(data.train.unit_ids))
    assert split_units(other, 0.3, seed=1) == split_units(data.train, 0.3, seed=1)


def test_transforming_learns_nothing(data: Dataset) -> None:
    prep = Preprocessor(CONFIG, default_conditions=3).fit(data.train)
    before = prep.to_dict()
    rows = prep.transform(data.train).rows
    prep.transform(data.test)
    assert prep.to_dict() == before
    np.testing.assert_array_equal(prep.transform(data.train).rows, rows)


def test_fitting_leaves_the_fleet_alone(data: Dataset) -> None:
    before = data.train.content_hash()
    prep = Preprocessor(CONFIG, default_conditions=3).fit(data.train)
    prep.transform(data.train).rows[:] = 7.0
    assert data.train.content_hash() == before


def test_a_window_holds_rows_of_one_unit_only(data: Dataset) -> None:
    """Each row carries its unit's number: no window mixes two, and none reaches past its end."""
    prep = Preprocessor(PreprocessorConfig(sensors=("s2",), n_conditions=1)).fit(data.train)
    table = prep.transform(data.train)
    unit = np.repeat(np.arange(len(table.starts)), table.lengths)
    table.rows[:, 0] = unit
    windows = WindowSet.build(
        table, data.train, LabelConfig(), WindowConfig(length=25, min_history=1)
    )
    import torch

    x = windows.gather(torch.arange(len(windows)))[..., 0]
    assert bool((x == windows.unit[:, None]).all())
    table.rows[:, 0] = table.times
    x = windows.gather(torch.arange(len(windows)))[..., 0]
    assert bool((x[:, -1] == x.max(dim=1).values).all())


def test_no_label_is_among_the_inputs(data: Dataset) -> None:
    """Neither the columns nor the time scale of a feature reveal the life left."""
    prep = Preprocessor(CONFIG, default_conditions=3).fit(data.train)
    fates = data.test.units.with_columns(rul_at_end=pl.col("rul_at_end") + 50.0)
    later = Fleet.from_frame(data.test.frame, data.test.schema, units=fates)
    np.testing.assert_array_equal(prep.transform(data.test).rows, prep.transform(later).rows)
