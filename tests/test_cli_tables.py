"""From a table to predictions with three commands, as a user without code runs them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import grace
from grace.cli import app
from grace.data import Fleet, FleetSchema
from grace.data.trends import trend_metrics
from grace.report.fleet_page import fleet_page, fleet_sentences


def command(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    data = grace.load_dataset("sim", n_train=10, n_test=4)
    name = pl.format("pump {}", pl.col("unit")).alias("unit")
    keep = ["unit", "cycle", "setting1", "setting2", "setting3", "s2", "s3", "s4", "s11"]
    data.train.frame.select(keep).with_columns(name).write_csv(folder / "pumps.csv")
    data.test.frame.select(keep).with_columns(name).write_csv(folder / "today.csv")
    return folder


@pytest.mark.usefixtures("undrawn")
def test_three_commands(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables)
    # The network and boosting would take most of the time.
    module = import_module("grace.candidates.out_of_fold")
    monkeypatch.setattr(module, "DEFAULT_CANDIDATES", ("constant", "median_life", "linear"))
    proposed = command("data", "describe", "pumps.csv", "--suggest")
    assert proposed.exit_code == 0, proposed.output
    schema = yaml.safe_load((tables / "pumps.yaml").read_text("utf-8"))
    assert (schema["unit"], schema["time"], schema["fate"]) == ("unit", "cycle", None)

    undecided = command("train", "--data", "pumps.csv", "--schema", "pumps.yaml", "--out", "m")
    assert undecided.exit_code == 2
    assert "fate" in undecided.output
    schema["fate"] = "end_of_record"
    (tables / "pumps.yaml").write_text(yaml.safe_dump(schema), encoding="utf-8")

    described = command("data", "describe", "pumps.csv", "--schema", "pumps.yaml")
    assert described.exit_code == 0, described.output
    assert "10 units failed" in described.output
    html = (tables / "pumps.html").read_text("utf-8")
    assert html.count("<svg") >= 2
    assert "Monotonicity" in html

    trained = command("train", "--data", "pumps.csv", "--schema", "pumps.yaml", "--out", "m")
    assert trained.exit_code == 0, trained.output
    assert "On units that the model has not seen" in " ".join(trained.output.split())
    page = (tables / "m" / "report.html").read_text("utf-8")
    assert "Candidates" in page
    assert not list(tables.glob(".m.fit"))
    again = command("train", "--data", "pumps.csv", "--schema", "pumps.yaml", "--out", "m")
    assert again.exit_code == 2
    assert "--force" in again.output

    for suffix in ("csv", "json", "parquet"):
        made = command("predict", "today.csv", "--model", "m", "--out", f"p.{suffix}")
        assert made.exit_code == 0, made.output
    frame = pl.read_parquet(tables / "p.parquet")
    assert frame.height == 4
    assert {"unit", "time", "rul", "lower", "upper", "health", "rows_outside"} <= set(frame.columns)
    assert (frame["lower"] <= frame["upper"]).all()
    expected = grace.RULModel.load("m").predict("today.csv")
    np.testing.assert_array_equal(frame["rul"], expected["rul"])
    shown = command("predict", "today.csv", "--model", "m")
    assert shown.exit_code == 0
    assert "pump" in shown.output
    lost = pl.when(pl.col("unit") != "pump 1").then("s11")
    pl.read_csv("today.csv").with_columns(s11=lost).write_csv("lost.csv")
    warned = " ".join(command("predict", "lost.csv", "--model", "m").output.split())
    assert "warning: lost: column s11 is missing or empty in 1 of 4 units" in warned
    assert ".py:" not in warned  # one line each, without a place in the code
    every = command("predict", "today.csv", "--model", "m", "--every-row", "--out", "e.csv")
    assert every.exit_code == 0
    assert pl.read_csv("e.csv").height == pl.read_csv("today.csv").height


@pytest.mark.parametrize(
    "args",
    [
        ("train", "--data", "pumps.csv"), ("train", "--schema", "x.yaml"),
        ("train", "--data", "nowhere.csv", "--schema", "x.yaml"),
        ("train", "--data", "pumps.csv", "--schema", "x.yaml", "--preset", "slow"),
        ("train", "--data", "pumps.csv", "--schema", "x.yaml", "--epochs", "3"),
        ("data", "describe", "pumps.csv"), ("predict", "today.csv", "--model", "nowhere"),
        ("data", "describe", "nowhere.csv", "--suggest"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    tables: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tables)
    failed = command(*args)
    assert failed.exit_code == 2, failed.output
    assert "Traceback" not in failed.output


def fleet(**channels: Any) -> Fleet:
    """Four units of 60 rows; each channel is a function of unit, relative age and a generator."""
    rng = np.random.default_rng(0)
    parts = []
    for u in range(4):
        x = np.linspace(0, 1, 60)
        columns = {name: make(u, x, rng) for name, make in channels.items()}
        parts.append(pl.DataFrame({"unit": [f"u{u}"] * 60, "t": np.arange(60.0), **columns}))
    schema = FleetSchema(unit="unit", time="t", sensors=tuple(channels), time_unit="hours")
    units = pl.DataFrame({"unit": [f"u{u}" for u in range(4)], "rul_at_end": [0.0] * 4})
    return Fleet.from_frame(pl.concat(parts), schema, units=units)


def test_trend_metrics_of_known_channels() -> None:
    found = trend_metrics(
        fleet(
            ramp=lambda u, x, rng: 5.0 * x,
            ends=lambda u, x, rng: x * (1.0 + u),
            noise=lambda u, x, rng: rng.normal(size=60),
            flat=lambda u, x, rng: np.full(60, 3.0),
        )
    )
    rows = {row[0]: row[1:] for row in found.iter_rows()}
    assert rows["ramp"] == pytest.approx((1.0, 1.0, 1.0), abs=0.01)
    # Ends at 1, 2, 3, 4: standard deviation 1.29, mean change 2.5 (of means, a little less).
    assert rows["ends"][2] == pytest.approx(np.exp(-1.29 / 2.5), abs=0.01)
    assert rows["noise"][0] < 0.3
    assert rows["noise"][1] < 0.3
    assert rows["flat"] == (0.0, 0.0, 0.0)
    assert found["channel"][0] == "ramp"


def test_trends_do_not_depend_on_physical_units_or_time() -> None:
    one = fleet(a=lambda u, x, rng: x**2 + 0.01 * rng.normal(size=60))
    other = fleet(a=lambda u, x, rng: 100.0 - 7.0 * (x**2 + 0.01 * rng.normal(size=60)))
    for a, b in zip(trend_metrics(one).row(0)[1:], trend_metrics(other).row(0)[1:], strict=True):
        assert a == pytest.approx(b, abs=1e-9)


def test_a_page_of_a_fleet_with_gaps_and_censoring() -> None:
    data = grace.load_dataset("sim", n_train=6, n_test=3)
    frame = data.train.frame.with_columns(
        s2=pl.when(pl.col("cycle") % 7 == 0).then(float("nan")).otherwise(pl.col("s2"))
    )
    units = data.train.units.with_columns(
        failed=pl.Series([True] * 3 + [False] * 3), rul_at_end=pl.Series([0.0] * 3 + [None] * 3)
    )
    mixed = Fleet.from_frame(frame, data.train.schema, units=units, name="<b>mixed</b>")
    text = " ".join(fleet_sentences(mixed))
    assert "3 units failed" in text
    assert "3 are still running" in text
    html = fleet_page(mixed)
    assert "<b>mixed" not in html
    assert "Missing values" in html
