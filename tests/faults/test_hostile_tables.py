"""Tables and files that would give wrong results are refused or reported, never a traceback."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import grace
from grace.data import DataError, Fleet, FleetSchema
from grace.data.cmapss import CMAPSS_SUBSETS, read_cmapss
from grace.data.cmapss_files import CMAPSS_SHA256
from grace.data.preprocessing import Preprocessor, PreprocessorConfig
from grace.data.quality import check_quality
from grace.data.readers import load_dataset
from grace.data.simulation import SimulationConfig, simulate_dataset
from grace.experiments import run
from grace.report import write_report
from grace.training import RunConfig

SCHEMA = FleetSchema(settings=("load",), sensors=("temp", "flow"))


def table(n_units: int = 3, n_rows: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n = n_units * n_rows
    return pl.DataFrame(
        {
            "unit": np.repeat(np.arange(1, n_units + 1), n_rows),
            "cycle": np.tile(np.arange(1, n_rows + 1), n_units),
            "load": rng.normal(1.0, 0.1, n),
            "temp": rng.normal(500.0, 5.0, n),
            "flow": rng.normal(-2.0, 0.5, n),
        }
    )


def with_cell(frame: pl.DataFrame, column: str, row: int, value: Any) -> pl.DataFrame:
    cells = frame[column].cast(pl.Float64).to_list()
    cells[row] = value
    return frame.with_columns(pl.Series(column, cells, dtype=pl.Float64))


# --- extreme values -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e15, -1e30, 1e200, -1e308])
@pytest.mark.parametrize("column", ["load", "temp"])
def test_an_extreme_value_is_refused_with_column_unit_and_time(column: str, value: float) -> None:
    with pytest.raises(DataError, match="out of any range") as error:
        Fleet.from_frame(with_cell(table(), column, 45, value), SCHEMA)
    for part in (f"column '{column}'", "unit 2", "cycle 6", f"{value:g}", "Remedy"):
        assert part in str(error.value)


def test_extreme_times_lives_and_attributes_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'cycle'.*unit 3.*1e\+300"):
        Fleet.from_frame(with_cell(table(), "cycle", 119, 1e300), SCHEMA)
    with pytest.raises(DataError, match=r"rul_at_end of unit 2 is out of any range: 1e\+308"):
        Fleet.from_frame(table(), SCHEMA, rul_at_end={1: 0.0, 2: 1e308, 3: 0.0})
    schema = SCHEMA.model_copy(update={"static": ("mass",)})
    units = pl.DataFrame({"unit": [1, 2, 3], "rul_at_end": [0.0] * 3, "mass": [1.0, 2.0, -1e200]})
    with pytest.raises(DataError, match=r"'mass' of unit 3 is out of any range: -1e\+200"):
        Fleet.from_frame(table(), schema, units=units)


def test_a_table_takes_an_extreme_cell_as_missing_and_says_where() -> None:
    raw = with_cell(table(), "temp", 45, 1e30)
    fleet = grace.read_table(
        raw, unit="unit", time="cycle", time_unit="cycles", fate="end_of_record", settings="load"
    )
    assert math.isnan(fleet.frame["temp"][45])
    (issue,) = [i for i in fleet.issues if i.kind == "extreme"]
    assert (issue.units, issue.columns, issue.count) == ((2,), ("temp",), 1)
    assert "1e+30 of unit 2 at cycle 6" in issue.message


@pytest.mark.parametrize("value", [1e8, -1e14])
def test_a_value_far_out_of_range_is_reported_with_its_place(value: float) -> None:
    fleet = Fleet.from_frame(with_cell(table(), "temp", 45, value), SCHEMA)
    (issue,) = [i for i in check_quality(fleet) if i.kind == "out_of_range"]
    assert issue.severity == "warning"
    assert (issue.units, issue.columns, issue.count) == ((2,), ("temp",), 1)
    assert f"column 'temp' is {value:g} for unit 2 at cycle 6" in issue.message


def test_a_single_value_in_a_still_channel_is_reported_and_scale_does_not_matter() -> None:
    for scale in (1.0, 1e-9, 1e6):
        still = table().with_columns(temp=pl.lit(518.67 * scale))
        assert not [i for i in check_quality(Fleet.from_frame(still, SCHEMA)) if "range" in i.kind]
        odd = Fleet.from_frame(with_cell(still, "temp", 7, 1e7 * scale), SCHEMA)
        assert [i.columns for i in check_quality(odd) if i.kind == "out_of_range"] == [("temp",)]


def test_a_life_left_of_a_thousand_histories_is_reported() -> None:
    fleet = Fleet.from_frame(table(), SCHEMA, rul_at_end={1: 0.0, 2: 1e9, 3: 5.0})
    (issue,) = [i for i in check_quality(fleet) if i.kind == "out_of_range"]
    assert issue.columns == ("rul_at_end",)
    assert issue.units == (2,)
    assert "1e+09 cycles of unit 2" in issue.message


def test_datasets_have_no_value_out_of_range(data_root: Path) -> None:
    for name in ("FD001", "FD002", "sim"):
        data = load_dataset(name, root=data_root)
        for fleet in (data.train, data.test):
            assert not [i for i in check_quality(fleet) if i.kind == "out_of_range"]


# --- columns that are no inputs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sensors", "role"),
    [(("unit", "temp"), "unit"), (("temp", "cycle"), "time"), (("load",), "setting")],
)
def test_unit_time_and_settings_are_refused_as_sensors(sensors: tuple[str, ...], role: str) -> None:
    prep = Preprocessor(PreprocessorConfig(sensors=sensors))
    with pytest.raises(DataError, match=f"is the {role} column, not a sensor") as error:
        prep.fit(Fleet.from_frame(table(), SCHEMA))
    assert "choose features.sensors from temp, flow" in str(error.value)


def test_a_run_refuses_the_unit_as_an_input(tmp_path: Path) -> None:
    data = simulate_dataset(SimulationConfig(n_train=6, n_test=3))
    config = RunConfig.load(overrides={"features": {"sensors": ["unit", "s2"]}})
    with pytest.raises(DataError, match="'unit' is the unit column"):
        run(config, tmp_path / "run", dataset=data)


@pytest.mark.parametrize("name", ["failed", "rul_at_end", "unit"])
def test_a_schema_refuses_the_fate_as_a_channel(name: str) -> None:
    for roles in ({"sensors": (name,)}, {"sensors": ("temp",), "settings": (name,)}):
        with pytest.raises(ValueError, match=f"'{name}' names the unit or its fate"):
            FleetSchema(unit="pump", **roles)


@pytest.mark.parametrize("role", ["sensors", "settings", "static"])
@pytest.mark.parametrize("column", ["failed", "left", "machine", "hour"])
def test_a_table_refuses_unit_time_and_fate_as_inputs(role: str, column: str) -> None:
    raw = table().rename({"unit": "machine", "cycle": "hour"})
    last = raw["hour"] == 40
    raw = raw.with_columns(failed=last.cast(pl.Int64), left=pl.when(last).then(0.0))
    fate: Any = {"rul_at_end": "left"} if column == "left" else "failed"
    roles: dict[str, Any] = {"sensors": ["temp"]}
    roles[role] = [*roles.get(role, []), column]
    with pytest.raises(DataError, match=column):
        grace.read_table(raw, unit="machine", time="hour", time_unit="hours", fate=fate, **roles)


def test_a_model_refuses_the_fate_as_a_sensor() -> None:
    raw = table().with_columns(failed=(pl.col("cycle") == 40).cast(pl.Int64))
    with pytest.raises(DataError, match="'failed' is the fate of the units"):
        grace.RULModel().fit(
            raw, unit="unit", time="cycle", time_unit="cycles", fate="failed",
            sensors=["temp", "failed"],
        )  # fmt: skip


# --- edited and truncated C-MAPSS files ---------------------------------------------------------


def cmapss(folder: Path, n_train: int = 8, n_test: int = 100) -> Path:
    """Small files in the form of FD001, with as many RUL values as the published one."""
    rng = np.random.default_rng(1)

    def rows(n: int, life: int) -> str:
        lines = []
        for unit in range(1, n + 1):
            for cycle in range(1, life + unit % 5 + 1):
                cells = " ".join(f"{v:.4f}" for v in rng.normal(50 + cycle * 0.1, 1.0, 24))
                lines.append(f"{unit} {cycle} {cells}  \n")
        return "".join(lines)

    folder.mkdir(parents=True)
    (folder / "train_FD001.txt").write_text(rows(n_train, 60))
    (folder / "test_FD001.txt").write_text(rows(n_test, 5))
    (folder / "RUL_FD001.txt").write_text("".join(f"{10 + i % 40} \n" for i in range(100)))
    return folder


@pytest.mark.filterwarnings("ignore:.*differ from the files NASA published")
def test_a_truncated_test_file_is_named_and_not_the_rul_file(tmp_path: Path) -> None:
    folder = cmapss(tmp_path / "CMAPSSData")
    read_cmapss(folder, "FD001")
    lines = (folder / "test_FD001.txt").read_text().splitlines(keepends=True)
    cut = lines[: len(lines) // 2]
    (folder / "test_FD001.txt").write_text("".join(cut))
    unit = cut[-1].split()[0]
    with pytest.raises(DataError) as error:
        read_cmapss(folder, "FD001")
    assert str(error.value).startswith(
        f"{folder / 'test_FD001.txt'}, line {len(cut)}: the file ends with unit {unit}, but "
        "RUL_FD001.txt has the RUL of 100. Remedy: restore the lost lines"
    )


@pytest.mark.filterwarnings("ignore:.*differ from the files NASA published")
def test_a_truncated_rul_file_is_named(tmp_path: Path) -> None:
    folder = cmapss(tmp_path / "CMAPSSData")
    (folder / "RUL_FD001.txt").write_text("7\n" * 57)
    with pytest.raises(DataError, match=r"RUL_FD001.txt, line 57: 57 values for 100 test units"):
        read_cmapss(folder, "FD001")


@pytest.mark.filterwarnings("ignore:.*differ from the files NASA published")
@pytest.mark.parametrize("cell", ["1e308", "1e200", "1e30"])
def test_extreme_cells_of_cmapss_are_refused_with_their_place(cell: str, tmp_path: Path) -> None:
    folder = cmapss(tmp_path / "CMAPSSData")
    (folder / "RUL_FD001.txt").write_text("7\n" * 41 + f"{cell}\n" + "7\n" * 58)
    with pytest.raises(DataError, match=r"RUL_FD001.txt, line 42: RUL of test unit 42 is out of"):
        read_cmapss(folder, "FD001")
    (folder / "RUL_FD001.txt").write_text("7\n" * 100)
    lines = (folder / "train_FD001.txt").read_text().splitlines()
    cells = lines[70].split()
    unit, cycle = cells[:2]
    cells[6] = cell
    lines[70] = " ".join(cells)
    (folder / "train_FD001.txt").write_text("\n".join(lines))
    with pytest.raises(
        DataError, match=rf"train_FD001.txt: column 's2'.*unit {unit}, cycle {cycle}"
    ):
        read_cmapss(folder, "FD001")


@pytest.mark.filterwarnings("ignore:.*differ from the files NASA published")
def test_edited_files_are_flagged_in_metrics_report_and_artifact(tmp_path: Path) -> None:
    folder = cmapss(tmp_path / "CMAPSSData")
    data = load_dataset("FD001", root=tmp_path)
    assert [f.name for f in data.edited] == ["train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt"]
    overrides = {
        "dataset": "FD001", "windows": {"length": 5}, "evaluate_baselines": False,
        "training": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8},
        "labels": {"cap": 50.0, "health_thresholds": None},
    }  # fmt: skip
    overrides["labels"] = {"cap": 50.0}
    result = run(RunConfig.load(overrides=overrides), tmp_path / "run", dataset=data)
    (flag,) = [f for f in result.evaluation.flags if f.code == "edited_data"]
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert "edited_data" in json.dumps(metrics)
    artifact = json.loads((result.folder / "artifact.json").read_text())
    page = write_report(result.folder).read_text()
    for file in data.edited:
        assert file.sha256 in flag.message
        assert file.sha256 in json.dumps(metrics)
        assert f"{file.sha256}, differs from the published file" in page
    recorded = artifact["provenance"]["dataset"]["files"]
    assert [f["sha256"] for f in recorded] == [f.sha256 for f in data.files]
    assert not any(f["published"] for f in recorded)
    assert data.train.source.sha256 == artifact["provenance"]["source"]["train"]["sha256"]
    assert folder.is_dir()


def test_published_files_carry_no_flag(data_root: Path) -> None:
    data = load_dataset("FD001", root=data_root)
    assert data.edited == ()
    assert {f.name: f.sha256 for f in data.files} == {
        name: digest for name, digest in CMAPSS_SHA256.items() if "FD001" in name
    }
    assert CMAPSS_SUBSETS["FD001"].test_units == data.test.n_units


# --- any table is read or refused ---------------------------------------------------------------

CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "-inf", "1e30", "1e200", "-1e308", "1e400", "0x1F", "1_0",
         "1,5", "1.234,5",
         "\x1b[31m", "<b>", "[red]", "λ", "\ud7ff", "true", "2020-13-45", "2020-01-01T00:00",
         "9" * 40,
         "-0", "\"", "'", "5e-324", "=1+1", "🚗"]
    ),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.integers(-5, 2**70).map(str),
    st.text(max_size=6),
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 23), st.sampled_from(["unit", "hour", "a", "b", "failed"]), CELLS),
    max_size=6,
)
FATES = st.sampled_from(
    ["failed", "end_of_record", "unknown", {"rul_at_end": "b"}, {"failure_time": "a"}, "b", None]
)
MANGLE = st.sampled_from(["", "cut", "bytes", "twice", "utf-16", "semicolons"])


def read_mutated(edits: Any, fate: Any, mangle: str, path: Path) -> None:
    columns: dict[str, list[str]] = {
        "unit": [str(i // 8) for i in range(24)],
        "hour": [str(i % 8) for i in range(24)],
        "a": [str((i * 7) % 11) for i in range(24)],
        "b": [f"{i * 0.37:.2f}" for i in range(24)],
        "failed": ["1" if i % 8 == 7 else "0" for i in range(24)],
    }
    for row, column, cell in edits:
        columns[column][row] = cell
    mark = ";" if mangle == "semicolons" else ","
    lines = [mark.join(columns), *(mark.join(row) for row in zip(*columns.values(), strict=True))]
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    if mangle == "cut":
        raw = raw[: len(raw) * 2 // 3]
    elif mangle == "bytes":
        raw = raw[:40] + bytes(range(0, 255, 5)) + raw[40:]
    elif mangle == "twice":
        raw = raw + b"\n" + raw
    elif mangle == "utf-16":
        raw = raw.decode("utf-8", "replace").encode("utf-16")
    path.write_bytes(raw)
    try:
        fleet = grace.read_table(path, unit="unit", time="hour", time_unit="hours", fate=fate)
    except DataError:
        return
    values = fleet.values(fleet.schema.channels)
    assert not np.isinf(values).any()
    assert (np.abs(values[~np.isnan(values)]) < 1e15).all()
    assert np.isfinite(fleet.times()).all()
    assert not {"unit", "hour"} & set(fleet.schema.channels)
    assert len(fleet.content_hash()) == 64
    check_quality(fleet)


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "table.csv"


ANY = {"edits": EDITS, "fate": FATES, "mangle": MANGLE}


# GRACE_TEST_CASES=1000 tries as many.
CASES = int(os.environ.get("GRACE_TEST_CASES", "150"))


@settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
@given(**ANY)
def test_any_table_is_read_or_refused(csv: Path, edits: Any, fate: Any, mangle: str) -> None:
    read_mutated(edits, fate, mangle, csv)
