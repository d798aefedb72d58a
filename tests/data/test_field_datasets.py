"""Bearings and disks: the split, the truth at the cut, and what the descriptions promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grace.data import DataError
from grace.data.bearings import BEARINGS_FILE, BEARINGS_FOLDER, read_bearings
from grace.data.disks import DISKS_FILE, DISKS_FOLDER, read_disks
from grace.data.readers import load_dataset


@pytest.fixture(scope="module")
def bearings(data_root: Path) -> Path:
    if not (data_root / BEARINGS_FOLDER / BEARINGS_FILE).is_file():
        pytest.skip(f"no {BEARINGS_FOLDER} in {data_root}")
    return data_root


@pytest.fixture(scope="module")
def disks(data_root: Path) -> Path:
    if not (data_root / DISKS_FOLDER / DISKS_FILE).is_file():
        pytest.skip(f"no {DISKS_FOLDER} in {data_root}")
    return data_root


def test_bearings_are_cut_where_the_challenge_cut_them(bearings: Path) -> None:
    data = read_bearings(bearings)
    truth = pl.read_csv(bearings / BEARINGS_FOLDER / "units.csv")
    asked = truth.filter(pl.col("orig_split") == "test")
    assert dict(data.test.units.select("unit", "rul_at_end").iter_rows()) == dict(
        asked.select("bearing", "true_rul_at_cut_s").iter_rows()
    )
    assert data.test.lengths().tolist() == asked["challenge_cut"].to_list()
    learned = truth.filter(pl.col("orig_split") == "learn")
    assert data.train.unit_ids == learned["bearing"].to_list()
    assert data.train.lengths().tolist() == learned["n_snapshots"].to_list()
    assert data.train.units["failed"].all()
    assert set(data.train.units["load_group"]) == set(data.test.units["load_group"])
    assert data.train.units["load_group"].n_unique() == 3


def test_bearings_in_snapshots_are_those_in_seconds_divided_by_ten(bearings: Path) -> None:
    seconds, snapshots = read_bearings(bearings), read_bearings(bearings, time_unit="snapshots")
    assert (seconds.train.schema.time_unit, snapshots.train.schema.time_unit) == (
        "seconds",
        "snapshots",
    )
    np.testing.assert_array_equal(seconds.test.rul(), snapshots.test.rul() * 10)
    with pytest.raises(ValueError, match="must be 'seconds' or 'snapshots'"):
        read_bearings(bearings, time_unit="hours")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bearings takes the option time_unit, but got seed"):
        load_dataset("bearings", root=bearings, seed=1)


def test_no_input_of_the_bearings_knows_the_label_or_the_split(bearings: Path) -> None:
    names = read_bearings(bearings).train.schema.sensors
    hidden = {"rul_s", "rul_snapshots", "in_challenge_test", "snapshot", "t_s", "clock_s"}
    assert not hidden & set(names)
    assert len(names) == 28


def test_disks_split_failures_and_keep_all_survivors_in_training(disks: Path) -> None:
    data = read_disks(disks)
    units = pl.read_csv(disks / DISKS_FOLDER / "units.csv")
    assert data.train.n_units + data.test.n_units == units.height
    assert not set(data.train.unit_ids) & set(data.test.unit_ids)
    failed = set(units.filter(pl.col("event") == 1)["serial_number"])
    assert set(data.test.unit_ids) <= failed
    assert set(data.train.units.filter("failed")["unit"]) == failed - set(data.test.unit_ids)
    censored = data.train.units["rul_at_end"].null_count() / data.train.n_units
    assert 0.94 < censored < 0.97
    assert (data.test.units["rul_at_end"] >= 1).all()
    assert data.train.units["model"].n_unique() == 29
    # The publisher's table holds the smallest count; two counters ran backwards after the entry.
    smallest = dict(units.select("serial_number", "power_on_h_first").iter_rows())
    age = dict(data.train.units.select("unit", "age_at_entry_h").iter_rows())
    assert [age[u] >= smallest[u] for u in data.train.unit_ids].count(False) == 0
    assert [age[u] > smallest[u] for u in data.train.unit_ids].count(True) == 2


def test_disks_read_the_sentinel_as_missing_and_say_so(disks: Path) -> None:
    data = read_disks(disks)
    raw = pl.read_csv(disks / DISKS_FOLDER / DISKS_FILE)["smart_1_raw"]
    marked = int((raw == 4294967295).sum())
    assert marked > 0
    (issue,) = [i for i in data.train.issues if i.kind == "missing_marker"]
    assert issue.count == marked
    assert not (data.train.frame["smart_1_raw"] == 4294967295).any()


def test_a_missing_or_changed_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"FEMTO_PRONOSTIA/features\.csv was not found"):
        read_bearings(tmp_path)
    (tmp_path / DISKS_FILE).write_text("date,model\n2013-04-10,A\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns are missing: serial_number"):
        read_disks(tmp_path)
