"""Proposed roles: right on real tables, and what cannot be known is a doubt, not a guess."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from grace.cli import app
from grace.data import DataError, read_table
from grace.data.table import suggest_schema

TABLE = {
    "engine": ["a"] * 4 + ["b"] * 3,
    "hour": [0, 1, 2, 3, 0, 1, 2],
    "maker": ["X"] * 4 + ["Y"] * 3,
    "speed": [10.0, 12.0, 10.0, 12.0, 10.0, 12.0, 12.5],
    "temp": [20.0, 21.5, 22.0, 25.0, 19.0, 19.5, 23.0],
    "left": [3, 2, 1, 0, 2, 1, 0],
    "stopwatch": [5, 6, 7, 8, 5, 6, 7],
    "split": ["train", "test", "train", "test", "train", "test", "train"],
    "note": ["ok", "ok", "bad", "ok", "ok", "bad", "ok"],
    "version": [3] * 7,
    "failed": [0, 0, 0, 1, 0, 0, 1],
}


def test_each_column_has_a_role_and_each_doubt_is_listed() -> None:
    proposal = suggest_schema(TABLE)
    assert [r.column for r in proposal.roles] == list(TABLE)
    assert (proposal.unit, proposal.time, proposal.time_unit) == ("engine", "hour", "hours")
    assert proposal.fate == "failed"
    assert proposal.columns("static") == ("maker",)
    assert proposal.columns("setting") == ("speed",)
    assert proposal.columns("sensor") == ("temp",)
    assert set(proposal.columns("ignore")) == {"left", "stopwatch", "split", "note", "version"}
    for column in ("left", "split", "note", "speed"):
        assert any(d.startswith(f"{column}: ") for d in proposal.doubts), column


def test_the_proposal_is_a_schema_that_reads_the_table(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(suggest_schema(TABLE).to_yaml(), encoding="utf-8")
    fleet = read_table(TABLE, schema=tmp_path / "schema.yaml")
    assert fleet.units["failed"].all()
    assert fleet.schema.sensors == ("temp",)
    assert fleet.schema.static == ("maker",)


def test_what_is_not_known_is_left_empty_and_refused() -> None:
    rows = {"engine": ["a"] * 3 + ["b"] * 3, "n": [1, 2, 3, 1, 2, 3], "x": [1.0, 5, 2, 8, 1, 0]}
    proposal = suggest_schema(rows)
    assert (proposal.time, proposal.time_unit, proposal.fate) == ("n", None, None)
    assert any("fate" in d for d in proposal.doubts)
    assert any("time_unit" in d for d in proposal.doubts)
    with pytest.raises(DataError):
        read_table(rows, schema=yaml.safe_load(proposal.to_yaml()))


def test_of_two_columns_of_life_left_the_one_in_the_unit_of_time_is_the_fate() -> None:
    table = pl.DataFrame(TABLE).drop("failed", "left")
    life = pl.Series([3.0, 2.0, 1.0, 0.0, 2.0, 1.0, 0.0])
    table = table.with_columns(rul_minutes=life * 60, rul_hours=life)
    proposal = suggest_schema(table)
    assert proposal.fate == {"rul_at_end": "rul_hours"}
    assert "rul_minutes" in proposal.columns("ignore")


def test_disks_and_bearings(data_root: Path) -> None:
    disks = data_root / "BACKBLAZE_2013" / "drive_days.csv"
    bearings = data_root / "FEMTO_PRONOSTIA" / "features.csv"
    if not (disks.is_file() and bearings.is_file()):
        pytest.skip(f"no disks and bearings in {data_root}")
    proposal = suggest_schema(disks)
    assert (proposal.unit, proposal.time, proposal.time_unit) == ("serial_number", "date", "days")
    assert proposal.fate == {"failed": "failure"}
    assert proposal.columns("static") == ("model", "capacity_bytes")
    proposal = suggest_schema(bearings)
    assert (proposal.unit, proposal.time, proposal.time_unit) == ("bearing", "t_s", "seconds")
    assert proposal.fate == {"rul_at_end": "rul_s"}
    assert not {"snapshot", "rul_snapshots", "in_challenge_test"} & set(proposal.columns("sensor"))


def test_the_command_writes_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(TABLE).write_csv("engines.csv")
    done = CliRunner().invoke(app, ["data", "describe", "engines.csv", "--suggest"])
    assert done.exit_code == 0, done.output
    assert read_table("engines.csv", schema="engines.yaml").n_units == 2
    again = CliRunner().invoke(app, ["data", "describe", "engines.csv", "--suggest"])
    assert again.exit_code != 0
