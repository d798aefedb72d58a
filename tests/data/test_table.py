"""Tables as users have them: every way to say when a unit failed, every usual defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from grace.data import DataError, Fleet, read_table

ROWS = {
    "pump": ["a", "a", "a", "b", "b"],
    "hour": [0, 1, 2, 0, 1],
    "temp": [20.0, 21.0, 25.0, 19.0, 19.5],
    "flow": [1.0, 1.1, 0.9, 1.2, 1.0],
}
KEYS: dict[str, Any] = {"unit": "pump", "time": "hour", "time_unit": "hours"}
NAN = float("nan")


def kinds(fleet: Fleet) -> set[str]:
    return {issue.kind for issue in fleet.issues}


@pytest.mark.parametrize(
    ("extra", "fate", "rul"),
    [
        ({"failed": [0, 0, 1, 0, 0]}, "failed", [2, 1, 0, NAN, NAN]),
        ({"event": [True, True, True, False, False]}, {"failed": "event"}, [2, 1, 0, NAN, NAN]),
        ({"gone": [5, None, None, None, None]}, {"failure_time": "gone"}, [5, 4, 3, NAN, NAN]),
        ({}, "end_of_record", [2, 1, 0, 1, 0]),
        ({"left": [9, 9, 7, None, 4]}, {"rul_at_end": "left"}, [9, 8, 7, 5, 4]),
        ({}, {"threshold": {"channel": "temp", "above": 20.5, "rows": 1}}, [1, 0, NAN, NAN]),
        ({}, "unknown", [NAN] * 5),
    ],
    ids=["flag", "other name", "failure time", "end", "life left", "threshold", "unknown"],
)
def test_ways_to_know_a_failure(extra: dict[str, Any], fate: Any, rul: list[float]) -> None:
    fleet = read_table({**ROWS, **extra}, **KEYS, fate=fate)
    np.testing.assert_array_equal(fleet.rul(), rul)
    assert fleet.schema.sensors == ("temp", "flow")


def test_fates_from_a_table_of_units(tmp_path: Path) -> None:
    units = pl.DataFrame({"pump": ["b", "a"], "failure_time": [None, 4.0], "site": ["x", "y"]})
    fleet = read_table(ROWS, **KEYS, fate=units, static=["site"])
    np.testing.assert_array_equal(fleet.rul(), [4, 3, 2, NAN, NAN])
    assert fleet.units["site"].to_list() == ["y", "x"]
    units.write_csv(tmp_path / "units.csv")
    again = read_table(ROWS, **KEYS, fate=tmp_path / "units.csv", static="site")
    np.testing.assert_array_equal(again.rul(), fleet.rul())


def test_without_a_fate_the_choices_are_listed() -> None:
    with pytest.raises(DataError, match="end_of_record") as caught:
        read_table(ROWS, **KEYS)
    for word in ("failed", "failure_time", "rul_at_end", "threshold", "unknown"):
        assert word in str(caught.value)


def write(path: Path, form: str) -> Path:
    frame = pl.DataFrame(ROWS)
    if form == "csv":
        frame.write_csv(path / "t.csv")
    elif form == "parquet":
        frame.write_parquet(path / "t.parquet")
    elif form == "arrow":
        frame.write_ipc(path / "t.arrow")
    elif form == "german":
        text = "pump;hour;temp;flow\n" + "".join(
            f"{p};{h};{t:.1f};{f:.1f}\n".replace(".", ",") for p, h, t, f in frame.rows()
        )
        (path / "t.csv").write_bytes(text.encode("utf-16"))
    return next(path.glob("t.*"))


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "german"])
def test_every_file_form_reads_the_same(form: str, tmp_path: Path) -> None:
    fleet = read_table(write(tmp_path, form), **KEYS, fate="end_of_record")
    np.testing.assert_allclose(fleet.values(["temp", "flow"])[:, 0], ROWS["temp"])
    np.testing.assert_allclose(fleet.values(["flow"])[:, 0], ROWS["flow"])
    assert fleet.source.kind == "table"
    assert fleet.source.sha256


def test_every_frame_reads_the_same() -> None:
    frames = (pd.DataFrame(ROWS), pl.DataFrame(ROWS), pl.DataFrame(ROWS).to_arrow(), ROWS)
    hashes = {read_table(f, **KEYS, fate="end_of_record").content_hash() for f in frames}
    assert len(hashes) == 1


def test_a_folder_with_a_file_per_unit(tmp_path: Path) -> None:
    for name, part in pl.DataFrame(ROWS).partition_by("pump", as_dict=True).items():
        part.drop("pump").write_csv(tmp_path / f"{name[0]}.csv")
    fleet = read_table(tmp_path, **KEYS, fate="end_of_record")
    assert fleet.unit_ids == ["a", "b"]
    np.testing.assert_array_equal(fleet.lengths(), [3, 2])


def test_timestamps_become_elapsed_time() -> None:
    stamps = [
        "2024-03-30 22:00",
        "2024-03-31 01:00",
        "2024-03-31 03:30",
        "2024-01-01",
        "2024-01-02",
    ]
    fleet = read_table(
        {**ROWS, "hour": stamps}, **KEYS, fate="end_of_record", timezone="Europe/Berlin"
    )
    # Clocks went forward between the second and the third record.
    np.testing.assert_allclose(fleet.times(), [0.0, 3.0, 4.5, 0.0, 24.0])


def test_rows_in_any_order_with_repeats_are_sorted_and_counted() -> None:
    mixed = {k: [v[i] for i in (2, 0, 1, 4, 3, 3)] for k, v in ROWS.items()}
    fleet = read_table(mixed, **KEYS, fate="end_of_record")
    np.testing.assert_array_equal(fleet.times(), [0, 1, 2, 0, 1])
    assert {"backward_time", "duplicate_time"} <= kinds(fleet)


def test_defects_are_counted_and_become_missing() -> None:
    rows = {
        **ROWS,
        "temp": ["20.0", "n/a", "error", "1e30", "inf"],
        "note": ["start", "ok", "odd", "ok", "ok"],
    }
    fleet = read_table(rows, **KEYS, fate="end_of_record")
    np.testing.assert_array_equal(np.isnan(fleet.values(["temp"])[:, 0]), [0, 1, 1, 1, 1])
    assert {"missing", "unreadable", "extreme", "infinite", "text_column"} <= kinds(fleet)
    assert "note" not in fleet.schema.sensors
    counts = {i.kind: i.count for i in fleet.issues if i.columns == ("temp",)}
    assert counts["missing"] == 4
    assert counts["extreme"] == 1


def test_all_wrong_names_are_reported_at_once() -> None:
    with pytest.raises(DataError, match="2 problems") as caught:
        read_table(ROWS, **KEYS, fate="end_of_record", settings=["lod"], sensors=["tmp"])
    assert "'lod'" in str(caught.value)
    assert "did you mean 'temp'?" in str(caught.value)


def lives(**columns: Any) -> dict[str, Any]:
    """Four units of different lives, and further columns computed from unit, time and life."""
    unit = np.repeat([0, 1, 2, 3], [4, 6, 7, 9])
    life = np.repeat([4, 6, 7, 9], [4, 6, 7, 9])
    time = np.concatenate([np.arange(n) for n in (4, 6, 7, 9)])
    noise = np.random.default_rng(0).normal(size=len(unit))
    return {
        "pump": unit,
        "hour": time,
        "temp": noise,
        **{name: make(time, life, noise) for name, make in columns.items()},
    }


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda t, n, e: 3.0 * (n - 1 - t) + 5.0, "counts down"),
        (lambda t, n, e: 2.0 * n, "gives its life"),
    ],
)
def test_the_label_in_disguise_is_refused_until_confirmed(make: Any, reason: str) -> None:
    rows = lives(secret=make)
    with pytest.raises(DataError, match=f"'secret' is probably the label.*{reason}"):
        read_table(rows, **KEYS, fate="end_of_record")
    assert (
        "secret"
        in read_table(rows, **KEYS, fate="end_of_record", confirm=["secret"]).schema.sensors
    )
    assert (
        "secret"
        not in read_table(rows, **KEYS, fate="end_of_record", ignore=["secret"]).schema.sensors
    )


@pytest.mark.parametrize(
    "make", [lambda t, n, e: 1.0 * t, lambda t, n, e: n - t + e, lambda t, n, e: 0 * e + 4.0]
)
def test_a_clock_and_a_noisy_trend_are_no_leak(make: Any) -> None:
    assert "seen" in read_table(lives(seen=make), **KEYS, fate="end_of_record").schema.sensors


def test_a_schema_file_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "unit: pump\ntime: hour\ntime_unit: hours\nfate: end_of_record\nignore: [flow]\n"
    )
    one = read_table(ROWS, schema=tmp_path / "s.yaml")
    two = read_table(ROWS, **KEYS, fate="end_of_record", ignore=["flow"])
    assert one.content_hash() == two.content_hash()
    with pytest.raises(DataError, match="keys are"):
        read_table(ROWS, schema={**KEYS, "fate": "end_of_record", "sensor": ["temp"]})


def test_the_bearings_are_read(data_root: Path) -> None:
    path = data_root / "FEMTO_PRONOSTIA" / "features.csv"
    if not path.exists():
        pytest.skip("no bearing data here")
    keys = {"unit": "bearing", "time": "t_s", "time_unit": "seconds", "fate": "end_of_record"}
    with pytest.raises(DataError, match="rul_s"):
        read_table(path, **keys)
    left_out = ["rul_snapshots", "rul_s", "in_challenge_test", "orig_split"]
    fleet = read_table(path, **keys, static=["load_n"], ignore=left_out)
    assert (fleet.n_units, fleet.n_rows) == (17, 24889)
    assert fleet.units["load_n"].unique().sort().to_list() == [4000.0, 4200.0, 5000.0]
