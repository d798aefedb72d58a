"""Unusable frames, reported by column, unit, time and remedy; suspicious ones."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grace.data import DataError, Fleet, FleetSchema
from grace.data.cmapss import read_cmapss
from grace.data.quality import check_quality
from grace.data.unit_validation import check_units
from grace.data.validation import check_frame

SCHEMA = FleetSchema(settings=("load",), sensors=("temp",))


def frame(**columns: Any) -> pl.DataFrame:
    base: dict[str, Any] = {
        "unit": [7, 7, 7],
        "cycle": [1, 2, 3],
        "load": [1.0, 1.0, 1.0],
        "temp": [20.0, 21.0, 22.0],
    }
    return pl.DataFrame({**base, **columns}, strict=False)


def refusal(raw: pl.DataFrame) -> str:
    with pytest.raises(DataError) as error:
        check_frame(raw, SCHEMA, source="fleet.csv")
    return str(error.value)


FILL = "fill the gap (for example with the unit's last value) or drop the row."
REPLACE = "replace it (for example by the unit's last value) or drop the row."
DATES = "convert it to numbers, e.g. hours since the unit's first row; name the time_unit."
CELL = "correct the cell, or leave the column out of the schema."
WHOLE = "Remedy: correct the cell, or name units by whole numbers or text."
FROM_0 = "(counted from 0)"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "inf": (
        {"temp": [float("-inf"), 1.0, 1.0]},
        f"column 'temp', row 0 {FROM_0}, unit 7, cycle 1 is not finite: -inf. Remedy: {REPLACE}",
    ),
    "text": (
        {"temp": ["20", "n/a", "?"]},
        f"column 'temp', row 1 {FROM_0}, unit 7, cycle 2 is not a number: 'n/a'. Remedy: {CELL}",
    ),
    "inf as text": (
        {"temp": ["20", "", "inf"]},
        f"column 'temp', row 2 {FROM_0}, unit 7, cycle 3 is not finite: inf. Remedy: {REPLACE}",
    ),
    "inf after null": (
        {"temp": [None, float("nan"), float("inf")]},
        f"column 'temp', row 2 {FROM_0}, unit 7, cycle 3 is not finite: inf. Remedy: {REPLACE}",
    ),
    "time NaN": (
        {"cycle": [1.0, float("nan"), 3.0]},
        f"column 'cycle', row 1 {FROM_0}, unit 7 is not finite: nan. Remedy: {REPLACE}",
    ),
    "list": (
        {"temp": [[1], [2], [3]]},
        "column 'temp' is not numeric but List(Int64). "
        "Remedy: cast it to numbers, or leave it out of the schema.",
    ),
    "time null": (
        {"cycle": [1, None, 3]},
        f"column 'cycle', row 1 {FROM_0}, unit 7 is empty. Remedy: {FILL}",
    ),
    "time inf": (
        {"cycle": [1.0, 2.0, float("inf")]},
        f"column 'cycle', row 2 {FROM_0}, unit 7 is not finite: inf. Remedy: {REPLACE}",
    ),
    "time date": (
        {"cycle": [dt.date(2024, 1, d) for d in (1, 2, 3)]},
        f"column 'cycle' holds dates or times (Date). Remedy: {DATES}",
    ),
    "time twice": (
        {"cycle": [2, 1, 2]},
        "unit 7 has two rows at cycle 2 (rows 0 and 2, counted from 0). "
        "Remedy: keep one row per unit and cycle, or average them.",
    ),
    "unit null": (
        {"unit": [7, None, 7]},
        f"column 'unit', row 1 {FROM_0}, cycle 2 is empty. "
        "Remedy: give every row the unit it belongs to, or drop it.",
    ),
    "unit fraction": (
        {"unit": [7.0, 1.5, 8.0]},
        f"column 'unit', row 1 {FROM_0}, cycle 2 is not a whole number: 1.5. {WHOLE}",
    ),
    "unit NaN": (
        {"unit": [7.0, 7.0, float("nan")]},
        f"column 'unit', row 2 {FROM_0}, cycle 3 is not a whole number: nan. {WHOLE}",
    ),
    "unit beyond 64 bits": (
        {"unit": pl.Series([1, 2**63, 2], dtype=pl.UInt64)},
        f"column 'unit', row 1 {FROM_0}, cycle 2 is outside the whole numbers of 64 bits: "
        "9223372036854775808. Remedy: cast the column to text: pl.col(...).cast(pl.String).",
    ),
    "unit far beyond 64 bits": (
        {"unit": [1.0, 2.0, 1e300]},
        f"column 'unit', row 2 {FROM_0}, cycle 3 is outside the whole numbers of 64 bits: "
        "1e+300. Remedy: cast the column to text: pl.col(...).cast(pl.String).",
    ),
    "unit of truth": (
        {"unit": [True, True, False]},
        "column 'unit' of units is Boolean, for example True. "
        "Remedy: units are named by whole numbers or text; cast the column.",
    ),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_refusals_name_place_and_remedy(kind: str) -> None:
    columns, problem = REFUSED[kind]
    assert refusal(frame(**columns)) == f"fleet.csv: {problem}"


@pytest.mark.parametrize(
    "cells",
    [[20.0, None, 22.0], [20.0, float("nan"), 22.0], ["20", "", "22"], ["20", " nan", "22 "]],
)
def test_missing_channel_values_are_one_nan_however_written(cells: list[Any]) -> None:
    clean = Fleet.from_frame(frame(temp=cells), SCHEMA)
    known = Fleet.from_frame(frame(temp=[20.0, None, 22.0]), SCHEMA)
    assert clean.content_hash() == known.content_hash()
    assert np.isnan(clean.values(["temp"])[:, 0]).tolist() == [False, True, False]


def test_a_channel_without_any_value_is_all_nan() -> None:
    for cells in ([None] * 3, [""] * 3, pl.Series([None] * 3, dtype=pl.Float32)):
        clean = check_frame(frame(temp=cells), SCHEMA, source="x")
        assert clean["temp"].dtype == pl.Float64
        assert clean["temp"].is_nan().all()


def test_missing_columns_and_no_rows() -> None:
    assert refusal(frame().drop("temp")) == (
        "fleet.csv: column 'temp' is missing; found unit, cycle, load. "
        "Remedy: rename the column or name it in the schema."
    )
    assert "column 'cycle' is missing (and load, temp); found unit." in refusal(
        frame().select("unit")
    )
    assert refusal(frame().clear()) == (
        "fleet.csv: there are no rows. Remedy: check the file or the filter before it."
    )


class PandasFrame:
    """Stands for ``pandas.DataFrame``, which is no dependency."""

    __module__ = "pandas.core.frame"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (PandasFrame(), "pandas.PandasFrame"),
        ({"unit": [1]}, "dict"),
        (frame().lazy(), "polars.LazyFrame"),
    ],
)
def test_what_is_no_polars_frame_is_told_how_to_become_one(raw: Any, kind: str) -> None:
    with pytest.raises(DataError) as error:
        Fleet.from_frame(raw, SCHEMA, name="mine")
    text = str(error.value)
    assert text.startswith(f"mine: the rows are a {kind}, not a polars DataFrame. Remedy: ")
    assert "wrap it in pl.from_pandas(...)" in text
    assert ".collect()" in text


def test_a_time_beyond_64_bits_is_a_number_like_any_other() -> None:
    cells = pl.Series([1, 2, 2**63], dtype=pl.UInt64)
    assert check_frame(frame(cycle=cells), SCHEMA, source="x")["cycle"].to_list()[-1] == 2.0**63


def test_columns_are_selected_ordered_and_cast() -> None:
    raw = frame(other=["x"] * 3, temp=["1", " 2 ", "3"], load=[True, False, True])
    clean = check_frame(raw.select("other", "temp", "load", "cycle", "unit"), SCHEMA, source="x")
    assert clean.schema == {
        "unit": pl.Int64,
        "cycle": pl.Int64,
        "load": pl.Float64,
        "temp": pl.Float64,
    }
    assert clean["temp"].to_list() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([1, 2, 3], pl.Int64),
        ([0.5, 1.0, 3.0], pl.Float64),
        (["1", "2", "10"], pl.Int64),
        (["0.5", "2", "10"], pl.Float64),
        (pl.Series([1, 2, 3], dtype=pl.UInt16), pl.Int64),
    ],
)
def test_time_keeps_whole_numbers_whole(cells: Any, dtype: Any) -> None:
    assert check_frame(frame(cycle=cells), SCHEMA, source="x").schema["cycle"] == dtype


@pytest.mark.parametrize(
    ("cells", "dtype", "first"),
    [
        ([3.0, 3.0, 1.0], pl.Int64, 3),
        (pl.Series(["b", "b", "a"], dtype=pl.Categorical), pl.String, "b"),
        (pl.Series(["b", "b", "a"], dtype=pl.Enum(["a", "b"])), pl.String, "b"),
    ],
)
def test_units_in_order_of_first_appearance(cells: Any, dtype: Any, first: Any) -> None:
    clean = check_frame(frame(unit=cells), SCHEMA, source="x")
    assert clean.schema["unit"] == dtype
    assert clean["unit"][0] == first


@given(st.permutations(range(9)))
def test_sorted_by_unit_and_time_whatever_the_order(order: list[int]) -> None:
    raw = pl.DataFrame(
        {
            "unit": ["c", "c", "c", "a", "a", "a", "b", "b", "b"],
            "cycle": [1, 5, 10, 2, 3, 4, 1, 2, 30],
            "load": [0.0] * 9,
            "temp": [float(i) for i in range(9)],
        }
    )[order]
    clean = check_frame(raw, SCHEMA, source="x")
    units = list(dict.fromkeys(raw["unit"]))
    key = [(units.index(u), t) for u, t in clean.select("unit", "cycle").rows()]
    assert key == sorted(key)
    assert sorted(clean.rows()) == sorted(raw.rows())


# --- the table of units -------------------------------------------------------------------------

ORDER = pl.Series("unit", [1, 2])
UNITS: dict[str, tuple[dict[str, Any], str]] = {
    "no column": ({"unit": [1, 2]}, "the table of units has no column 'rul_at_end'."),
    "twice": (
        {"unit": [1, 2, 1], "rul_at_end": [0, 0, 0]},
        "unit 1 is named twice in the table of units. Remedy: keep one line per unit.",
    ),
    "no rows": (
        {"unit": [1, 2, 3], "rul_at_end": [0, 0, 0]},
        "unit 3 is in the table of units but has no rows. Remedy: add its rows or leave it out.",
    ),
    "other type": (
        {"unit": ["1", "2"], "rul_at_end": [0, 0]},
        "unit '1' is in the table of units but has no rows (the rows call it 1). "
        "Remedy: use the same identifiers in both.",
    ),
    "absent": (
        {"unit": [1], "rul_at_end": [0]},
        "unit 2 has rows but is missing from the table of units. "
        "Remedy: add it; leave rul_at_end empty if its life left is not known.",
    ),
    "negative": ({"unit": [1, 2], "rul_at_end": [0, -3]}, "rul_at_end of unit 2 is -3."),
    "NaN": ({"unit": [1, 2], "rul_at_end": [float("nan"), 0]}, "rul_at_end of unit 1 is nan."),
    "text": ({"unit": [1, 2], "rul_at_end": ["0", "1"]}, "is not numeric but String."),
}


@pytest.mark.parametrize("kind", list(UNITS))
def test_tables_of_units_that_do_not_fit(kind: str) -> None:
    columns, problem = UNITS[kind]
    with pytest.raises(DataError) as error:
        check_units(pl.DataFrame(columns, strict=False), ORDER, source="table.csv")
    assert str(error.value).startswith("table.csv: ")
    assert problem in str(error.value)
    assert error.value.remedy


def test_tables_of_units_that_fit() -> None:
    for left in ([0, 5], [None, None], [0.0, None]):
        check_units(pl.DataFrame({"unit": [2, 1], "rul_at_end": left}), ORDER, source="x")


def test_fates_by_mapping_are_checked_too() -> None:
    with pytest.raises(DataError, match=r"unit 8 is in the table of units but has no rows"):
        Fleet.from_frame(frame(), SCHEMA, rul_at_end={7: 0, 8: 0})
    with pytest.raises(DataError, match=r"rul_at_end of unit 7 is not a number: 'soon'"):
        Fleet.from_frame(frame(), SCHEMA, rul_at_end={7: "soon"})  # type: ignore[dict-item]


# --- issues -------------------------------------------------------------------------------------


def kinds(raw: pl.DataFrame, window: int = 1) -> dict[str, tuple[str, tuple[Any, ...]]]:
    found = check_quality(Fleet.from_frame(raw, SCHEMA), window=window)
    assert all(f.message.endswith(".") and f.remedy for f in found)
    return {f.kind: (f.severity, f.units or f.columns) for f in found}


def test_nothing_to_find() -> None:
    assert kinds(frame(load=[1.0, 2.0, 3.0])) == {}


def test_gaps_late_starts_and_short_units() -> None:
    raw = pl.DataFrame(
        {
            "unit": [1] * 4 + [2] * 3,
            "cycle": [1, 2, 3, 9, 4, 5, 6],
            "load": [float(i) for i in range(7)],
            "temp": [float(i) for i in range(7)],
        }
    )
    assert kinds(raw, window=4) == {
        "gap": ("warning", (1,)),
        "late_start": ("warning", (2,)),
        "short": ("note", (2,)),
    }


def test_counting_from_zero_and_hours_are_no_alarm() -> None:
    raw = frame(load=[1.0, 2.0, 3.0])
    assert kinds(raw.with_columns(cycle=pl.Series([0, 1, 2]))) == {"late_start": ("note", (7,))}
    assert kinds(raw.with_columns(cycle=pl.Series([0.5, 1.0, 1.5]))) == {}


def test_constant_channels() -> None:
    assert kinds(frame()) == {"constant": ("note", ("load",))}
    rows = {"unit": [1] * 40, "cycle": list(range(1, 41)), "load": [1.0, 9.0, 1.0001, 9.0] * 10}
    raw = pl.DataFrame({**rows, "temp": [5.0, 6.0] * 20})
    assert kinds(raw) == {"constant_in_condition": ("note", ("temp",))}
    assert kinds(raw[:6]) == {}  # too few rows to speak of conditions


def test_one_machine_under_two_names() -> None:
    raw = frame(load=[1.0, 2.0, 3.0])
    both = pl.concat([raw, raw.with_columns(unit=pl.lit(8, pl.Int64))])
    assert kinds(both) == {"duplicate_rows": ("warning", (7, 8))}


def test_real_data_holds_what_the_field_knows(data_root: Path) -> None:
    one = {f.kind: f.columns for f in check_quality(read_cmapss(data_root, "FD001").train)}
    assert one == {"constant": ("setting3", "s1", "s5", "s10", "s16", "s18", "s19")}
    six = {f.kind: f for f in check_quality(read_cmapss(data_root, "FD002").test)}
    assert six["constant_in_condition"].columns == ("s1", "s5", "s18", "s19")
    assert len(six["short"].units) == 6
