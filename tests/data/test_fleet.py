"""The fleet: one form whatever the order of the rows, and arithmetic of life that adds up."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grace.data import DataError, DataIssue, Fleet, FleetSchema, Source

SCHEMA = FleetSchema(settings=("load",), sensors=("temp", "cut"))  # "cut": a name once reserved


@st.composite
def raw_rows(draw: st.DrawFn) -> tuple[pl.DataFrame, dict[Any, float | None]]:
    """Rows of 1 to 4 units with uneven times, and the life left of each (None: censored)."""
    ids: st.SearchStrategy[Any] = st.one_of(
        st.lists(st.integers(-5, 5), min_size=1, max_size=4, unique=True),
        st.lists(st.text("abc ", min_size=1, max_size=3), min_size=1, max_size=4, unique=True),
    )
    units = draw(ids)
    number = st.floats(-1e6, 1e6).map(lambda x: x + 0.0)
    rows = []
    for unit in units:
        for time in draw(st.lists(st.integers(0, 60), min_size=1, max_size=6, unique=True)):
            rows.append((unit, time, *draw(st.tuples(number, number, number))))
    left = {u: draw(st.one_of(st.none(), st.integers(0, 50).map(float))) for u in units}
    names = ["unit", "cycle", "load", "temp", "cut"]
    return pl.DataFrame(rows, schema=names, orient="row"), left


def by_unit(fleet: Fleet) -> dict[Any, str]:
    return {u: fleet.select([u]).content_hash() for u in fleet.unit_ids}


@given(raw_rows(), st.randoms(use_true_random=False))
def test_row_order_changes_no_unit(data: Any, random: Any) -> None:
    frame, left = data
    order = list(range(frame.height))
    random.shuffle(order)
    fleet = Fleet.from_frame(frame, SCHEMA, rul_at_end=left)
    shuffled = Fleet.from_frame(frame[order], SCHEMA, rul_at_end=left)
    assert by_unit(shuffled) == by_unit(fleet)
    # Unit order is that of first appearance; with it kept, nothing at all may change.
    kept = [frame["unit"].to_list().index(u) for u in fleet.unit_ids]
    rest = [i for i in order if i not in kept]
    again = Fleet.from_frame(frame[kept + rest], SCHEMA, rul_at_end=left)
    assert again.content_hash() == fleet.content_hash()


@given(raw_rows())
def test_rul_falls_by_the_time_that_passes(data: Any) -> None:
    frame, left = data
    fleet = Fleet.from_frame(frame, SCHEMA, rul_at_end=left)
    rul, times, ends = fleet.rul(), fleet.times(), fleet.starts() + fleet.lengths()
    for unit, start, end in zip(fleet.unit_ids, fleet.starts(), ends, strict=True):
        assert (np.diff(times[start:end]) > 0).all()
        if left[unit] is None:
            assert np.isnan(rul[start:end]).all()
        else:
            np.testing.assert_array_equal(-np.diff(rul[start:end]), np.diff(times[start:end]))
            assert rul[end - 1] == left[unit]


@given(raw_rows(), st.data())
def test_truncate_adds_exactly_the_cut(data: Any, draw: st.DataObject) -> None:
    frame, left = data
    fleet = Fleet.from_frame(frame, SCHEMA, rul_at_end=left)
    times, ends = fleet.times(), fleet.starts() + fleet.lengths()
    cuts = {
        unit: draw.draw(st.sampled_from(times[start:end].tolist()))
        for unit, start, end in zip(fleet.unit_ids, fleet.starts(), ends, strict=True)
    }
    short = fleet.truncate(cuts)
    keep = times <= np.repeat([cuts[u] for u in fleet.unit_ids], fleet.lengths())
    np.testing.assert_array_equal(short.rul(), fleet.rul()[keep])  # the truth of a row stays
    np.testing.assert_array_equal(
        short.values(SCHEMA.channels), fleet.values(SCHEMA.channels)[keep]
    )
    lost = times[ends - 1] - np.array([cuts[u] for u in fleet.unit_ids])
    for unit, new, cut in zip(fleet.unit_ids, short.units["rul_at_end"], lost, strict=True):
        assert new == (None if left[unit] is None else left[unit] + cut)
    failed = [u is not None and u == 0 for u in short.units["rul_at_end"]]
    assert short.units["failed"].to_list() == failed


@given(raw_rows(), st.data())
def test_hash_changes_with_any_cell(data: Any, draw: st.DataObject) -> None:
    frame, left = data
    fleet = Fleet.from_frame(frame, SCHEMA, rul_at_end=left)
    row = draw.draw(st.integers(0, frame.height - 1))
    column = draw.draw(st.sampled_from(["cycle", *SCHEMA.channels]))
    delta = 1000 if column == "cycle" else 0.5  # 1000: no clash with another time of the unit
    cells = frame[column].to_list()
    cells[row] += delta
    other = Fleet.from_frame(frame.with_columns(pl.Series(column, cells)), SCHEMA, rul_at_end=left)
    assert other.content_hash() != fleet.content_hash()
    unit = draw.draw(st.sampled_from(list(left)))
    fate = 99.0 if left[unit] is None else None
    other = Fleet.from_frame(frame, SCHEMA, rul_at_end={**left, unit: fate})
    assert other.content_hash() != fleet.content_hash()


def small(**fates: Any) -> Fleet:
    frame = pl.DataFrame(
        {
            "unit": ["a", "a", "a", "b", "b"],
            "cycle": [1, 2, 3, 1, 2],
            "load": [1.0] * 5,
            "temp": [20.0, 21.0, 25.0, 19.0, 19.5],
            "cut": [5, 4, 3, 2, 1],
            "note": ["dropped"] * 5,
        }
    )
    return Fleet.from_frame(frame, SCHEMA, name="small", **fates)


def test_no_fates_given_means_run_to_failure() -> None:
    fleet = small()
    assert fleet.units["failed"].all()
    assert fleet.rul().tolist() == [2, 1, 0, 1, 0]
    assert fleet.life().tolist() == [3, 2]
    assert "note" not in fleet.frame.columns
    assert "2 units, 2 failed, 5 rows, 1 settings, 2 sensors, time in cycles" in repr(fleet)


def test_a_unit_without_a_fate_is_censored() -> None:
    fleet = small(rul_at_end={"a": 0})
    assert fleet.units["failed"].to_list() == [True, False]
    assert np.isnan(fleet.rul()[3:]).all()


def test_table_of_units_keeps_extra_columns_and_follows_the_rows() -> None:
    table = pl.DataFrame({"mode": ["x", "y"], "unit": ["b", "a"], "rul_at_end": [7, 0]})
    fleet = small(units=table)
    assert fleet.units.rows() == [("a", True, 0.0, "y"), ("b", False, 7.0, "x")]
    assert fleet.select(["b"]).units.rows() == [("b", False, 7.0, "x")]


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt8, pl.Float64])
def test_table_of_units_may_have_another_number_type(dtype: Any) -> None:
    frame = pl.DataFrame({"unit": [3, 1], "cycle": [1, 1], "temp": [0.0, 1.0]})
    table = pl.DataFrame({"unit": pl.Series([1, 3], dtype=dtype), "rul_at_end": [1.0, 3.0]})
    fleet = Fleet.from_frame(frame, FleetSchema(sensors=("temp",)), units=table)
    assert fleet.units.rows() == [(3, False, 3.0), (1, False, 1.0)]
    assert fleet.units.schema["unit"] == pl.Int64


def test_both_fates_and_table_is_refused() -> None:
    table = pl.DataFrame({"unit": ["a", "b"], "rul_at_end": [0, 0]})
    with pytest.raises(DataError, match="both rul_at_end and units are given"):
        small(rul_at_end={"a": 0}, units=table)


def test_select_keeps_fleet_order_and_names_the_unknown() -> None:
    fleet = small()
    assert fleet.select(["b", "a"], name="both").unit_ids == ["a", "b"]
    assert fleet.select(iter(["b"])).n_rows == 2
    with pytest.raises(KeyError, match=r"small has no unit \['z'\]"):
        fleet.select(["a", "z"])


def test_an_empty_selection_is_an_empty_fleet() -> None:
    none = small().select([])
    assert (none.n_units, none.n_rows) == (0, 0)
    assert none.starts().shape == none.lengths().shape == none.life().shape == (0,)
    assert none.rul().shape == (0,)
    assert none.truncate({}).n_rows == 0
    assert none.values(["temp", "cut"]).shape == (0, 2)


def test_truncating_before_the_first_row_is_refused() -> None:
    with pytest.raises(DataError) as error:
        small().truncate({"b": 0})
    assert str(error.value) == (
        "small: truncation leaves no row of unit b. "
        "Remedy: choose a cut at or after the unit's first row."
    )


def test_truncate_leaves_the_original_and_unnamed_units_alone() -> None:
    fleet = small()
    before = fleet.content_hash()
    short = fleet.truncate({"a": 1.5}, name="short")
    assert short.lengths().tolist() == [1, 2]
    assert short.units["rul_at_end"].to_list() == [2.0, 0.0]
    assert short.name == "short"
    assert fleet.content_hash() == before


def test_hash_ignores_the_order_in_which_descriptions_were_written() -> None:
    frame = pl.DataFrame({"unit": [1], "cycle": [1], "x": [0.0], "y": [1.0]})
    texts = {"x": "first", "y": "second"}
    hashes = {
        Fleet.from_frame(
            frame, FleetSchema(sensors=("x", "y"), descriptions=dict(pairs))
        ).content_hash()
        for pairs in (texts.items(), reversed(texts.items()))
    }
    assert len(hashes) == 1


def test_schema_refuses_names_used_twice_and_no_sensors() -> None:
    with pytest.raises(ValidationError, match="named twice: cycle"):
        FleetSchema(sensors=("cycle",))
    with pytest.raises(ValidationError, match="at least one sensor"):
        FleetSchema(sensors=())


def with_static(*names: str, units: pl.DataFrame | None = None, **columns: Any) -> Fleet:
    frame = pl.DataFrame(
        {"unit": [3, 3, 1, 1], "day": [0.0, 2.0, 0.0, 4.0], "temp": [1.0] * 4, **columns}
    )
    schema = FleetSchema(time="day", sensors=("temp",), static=names, time_unit="days")
    return Fleet.from_frame(frame, schema, units=units)


def test_static_attributes_come_from_the_table_of_units_or_from_constant_columns() -> None:
    table = pl.DataFrame({"unit": [1, 3], "rul_at_end": [0, None], "load": [5, 4]})
    fleet = with_static("load", "maker", units=table, maker=["B", None, "A", "A"])
    assert fleet.units.columns == ["unit", "failed", "rul_at_end", "load", "maker"]
    assert fleet.units.rows() == [(3, False, None, 4.0, "B"), (1, True, 0.0, 5.0, "A")]
    assert fleet.units.schema["load"] == pl.Float64
    assert fleet.units.schema["maker"] == pl.String
    assert fleet.select([1]).units.rows() == [(1, True, 0.0, 5.0, "A")]
    empty = with_static("maker", maker=[None, None, "A", "A"])
    assert empty.units["maker"].to_list() == [None, "A"]


def test_static_attributes_that_change_or_do_not_exist_are_refused() -> None:
    with pytest.raises(DataError, match="'maker' changes within unit 3: 'B', 'C'"):
        with_static("maker", maker=["B", "C", "A", "A"])
    with pytest.raises(DataError, match="'maker' is a column of neither the rows nor the units"):
        with_static("maker")
    with pytest.raises(DataError, match="'load' of unit 1 is infinite"):
        with_static("load", load=[1.0, 1.0, float("inf"), float("inf")])
    with pytest.raises(ValidationError, match="cannot be named 'failed'"):
        FleetSchema(sensors=("temp",), static=("failed",))
    with pytest.raises(ValidationError, match="named twice: temp"):
        FleetSchema(sensors=("temp",), static=("temp",))


def test_hash_changes_with_a_static_attribute_and_with_its_being_unknown() -> None:
    makers = (["B", "B", "A", "A"], ["B", "B", "C", "C"], ["B", "B", None, None])
    hashes = {with_static("maker", maker=m).content_hash() for m in makers}
    hashes |= {with_static(maker=makers[0]).content_hash()}
    assert len(hashes) == 4


@given(raw_rows(), st.sampled_from([0.25, 8.0, 1024.0]))
def test_lives_scale_exactly_with_the_unit_of_time(data: Any, factor: float) -> None:
    frame, left = data
    fleet = Fleet.from_frame(frame, SCHEMA, rul_at_end=left)
    known = {u: None if v is None else v * factor for u, v in left.items()}
    scaled = Fleet.from_frame(
        frame.with_columns(pl.col("cycle") * factor), SCHEMA, rul_at_end=known
    )
    np.testing.assert_array_equal(scaled.life(), fleet.life() * factor)
    np.testing.assert_array_equal(scaled.rul(), fleet.rul() * factor)


def test_a_fleet_keeps_its_source_and_issues() -> None:
    issue = DataIssue("missing", "note", "1 missing value in temp.", "nothing to do.", count=1)
    frame = pl.DataFrame({"unit": [1, 1], "cycle": [1, 2], "x": [0.0, 1.0]})
    source = Source("table", "pumps.csv", "00" * 32)
    fleet = Fleet.from_frame(frame, FleetSchema(sensors=("x",)), source=source, issues=[issue])
    for one in (fleet, fleet.select([1]), fleet.truncate({1: 1.0})):
        assert (one.source, one.issues) == (source, (issue,))
    assert small().source == Source("frame", "small")
    with pytest.raises(DataError, match=r"^pumps\.csv: column 'y' is missing"):
        Fleet.from_frame(frame, FleetSchema(sensors=("y",)), source=source)
