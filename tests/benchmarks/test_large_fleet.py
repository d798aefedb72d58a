"""The benchmark of a large fleet: its table, its meter and its page."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

import grace

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("large_fleet")


def test_the_table_is_a_fleet_of_failed_and_running_units(benchmark_module: ModuleType) -> None:
    table = benchmark_module.fleet_table(40, 60)
    failed = table.group_by("unit").agg(pl.col("failed").sum())["failed"]
    assert failed.is_between(0, 1).all()
    assert 0 < failed.sum() < 40
    fleet = grace.read_table(
        table, unit="unit", time="hour", time_unit="hours", fate="failed",
        static=["site"], settings=["load", "speed"],
    )  # fmt: skip
    assert (fleet.n_units, len(fleet.schema.sensors)) == (40, benchmark_module.SENSORS)
    assert table.equals(benchmark_module.fleet_table(40, 60))


def test_a_command_is_measured_or_its_output_shown(
    benchmark_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = "held = bytearray(300_000_000); sum(range(10**6))"
    found = benchmark_module.measured([sys.executable, "-c", work], tmp_path / "log")
    assert 3e8 < found["peak_bytes"] < 1e9
    assert 0 < found["cpu"] < 60
    assert found["seconds"] > 0
    with pytest.raises(RuntimeError, match=r"status 3:\nbroken"):
        benchmark_module.measured(
            [sys.executable, "-c", "print('broken'); raise SystemExit(3)"], tmp_path / "log"
        )
    monkeypatch.setattr(benchmark_module, "RESULTS", tmp_path / "results")
    line = {"units": 5000, "rows": 1234567, "format": "csv", "command": "train", **found}
    benchmark_module.write_table([line])
    page = (tmp_path / "results" / "large_fleet.md").read_text(encoding="utf-8")
    assert "| 5,000 | 1,234,567 | csv | train |" in page
