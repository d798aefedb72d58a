"""Tables larger than memory: the numbers of the in-memory path, bounded memory, whole files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

import grace
from grace.cli import app
from grace.data.errors import DataError
from grace.data.table import TableSchema, read_table
from grace.data.table.cells import CellCounts, clean_text, count_cells, count_plain
from grace.data.table.notations import TableReader
from grace.data.table.parts import TableFiles, UnitParts
from grace.estimator.prediction_files import prediction_writer
from grace.estimator.scoring import predict_file, score_table

KEYS = {"unit": "unit", "time": "cycle", "time_unit": "cycles"}
CANDIDATES = ["linear", "boosting", "similarity"]


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    data = grace.load_dataset("sim", n_train=6, n_test=9)
    keep = ["unit", "cycle", "setting1", "s2", "s3", "s4", "s11"]
    return data.test.frame.select(keep)


@pytest.fixture(scope="module")
def model(rows: pl.DataFrame) -> grace.RULModel:
    train = grace.load_dataset("sim", n_train=6, n_test=9).train.frame.select(rows.columns)
    made = grace.RULModel(candidates=CANDIDATES, seed=0, rows_per_unit=4)
    return made.fit(train, settings=["setting1"], fate="end_of_record", **KEYS)


ORDERS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "by unit": lambda t: t,
    "nearly by unit": lambda t: pl.concat([t[3:40], t[:3], t[40:]]),
    "by time": lambda t: t.sort("cycle", "unit"),
    "shuffled": lambda t: t.sample(fraction=1.0, shuffle=True, seed=1),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("every_row", [False, True])
def test_parts_give_the_bits_of_the_whole(
    model: grace.RULModel, rows: pl.DataFrame, tmp_path: Path, order: str, every_row: bool
) -> None:
    table = ORDERS[order](rows)
    source = tmp_path / ("t.csv" if order == "shuffled" else "t.parquet")
    table.write_csv(source) if source.suffix == ".csv" else table.write_parquet(source)
    expected = score_table(model, source, every_row=every_row)
    done = predict_file(
        model, source, tmp_path / "out" / "p.parquet", every_row=every_row, chunk_rows=150
    )
    assert_frame_equal(pl.read_parquet(tmp_path / "out" / "p.parquet"), expected, check_exact=True)
    assert done.parts > 3
    assert (done.rows, done.units) == (expected.height, 9)
    assert (done.spilled > 0) == (order in ("by time", "shuffled"))
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["p.parquet"]


def test_predictions_and_intervals_are_those_of_the_estimator(
    model: grace.RULModel, rows: pl.DataFrame
) -> None:
    scored = score_table(model, rows)
    interval = model.predict_interval(rows, 0.9)
    assert_frame_equal(scored.select("lower", "upper"), interval.select("lower", "upper"))
    assert_frame_equal(scored.drop("lower", "upper"), model.predict(rows))


def test_a_folder_partitioned_by_unit_is_one_table(
    model: grace.RULModel, rows: pl.DataFrame, tmp_path: Path
) -> None:
    for unit, part in rows.partition_by("unit", as_dict=True, include_key=False).items():
        folder = tmp_path / "fleet" / f"unit={unit[0]}"
        folder.mkdir(parents=True)
        part.write_parquet(folder / "rows.parquet")
    expected = score_table(model, tmp_path / "fleet")
    predict_file(model, tmp_path / "fleet", tmp_path / "p.parquet", chunk_rows=150)
    assert_frame_equal(pl.read_parquet(tmp_path / "p.parquet"), expected, check_exact=True)
    known = score_table(model, rows)
    assert_frame_equal(expected.sort("unit"), known.sort("unit"), check_dtypes=False)


def test_flags_of_a_unit_are_kept(
    model: grace.RULModel, rows: pl.DataFrame, tmp_path: Path
) -> None:
    far = pl.when(pl.col("unit") == 4).then(pl.col("s3") * 100).otherwise(pl.col("s3"))
    rows.with_columns(s3=far).sort("cycle").write_csv(tmp_path / "t.csv")
    done = predict_file(model, tmp_path / "t.csv", tmp_path / "p.csv", chunk_rows=100)
    flagged = pl.read_csv(tmp_path / "p.csv").filter(pl.col("rows_outside") > 0)
    assert flagged["unit"].to_list() == [4]
    assert flagged["channels_outside"].to_list() == ["s3"]
    assert done.flagged == 1


def in_parts(source: Any, chunk_rows: int = 3, **keys: Any) -> pl.DataFrame:
    """Rows of a table read in parts, as the fleet of the whole table has them."""
    schema = TableSchema(**keys)
    table = TableFiles.open(source, schema)
    channels = tuple(c for c in table.columns if c.startswith("x"))
    reader = TableReader(table, schema, channels, schema.static)
    list(reader.scan(chunk_rows))
    folder = Path(source).parent / "waiting"
    folder.mkdir(exist_ok=True)
    parts = UnitParts(
        reader.counts, rows=chunk_rows, unit=schema.unit, unit_type=reader.unit_type, hold=4,
        folder=folder,
    )  # fmt: skip
    fleets = [
        read_table(part, schema=schema, fate="unknown") for part in parts(reader.chunks(chunk_rows))
    ]
    assert not list(folder.iterdir())
    return pl.concat(
        [f.frame.with_columns(pl.col(schema.unit).cast(reader.unit_type)) for f in fleets]
    )


TABLES = {
    "decimal commas": (";", ["1;1;1,5", "1;2;2,25", "2;1;1.000,5", "2;2;7", "3;1;1,125", "3;2;8"]),
    "thousands": (",", ["a,1,5", "b,1,7", 'a,2,"1,234.5"', 'b,2,"12,000"', "c,1,1", "c,2,2"]),
    "markers": (",", ["1,1,NA", "1,2,3", "2,1,4", "2,2,x", "1,3,inf", "2,3,5"]),
    "truth": (",", ["1,1,yes", "1,2,no", "2,1,yes", "2,2,no", "3,1,no", "3,2,yes"]),
    "whole units": (",", ["1.0,1,5", "1,2,6", "2,1,7", "2.0,2,8", "7,1,9", "7,2,10"]),
    "mixed units": (",", ["1,1,5", "1,2,6", "2,1,7", "2,2,8", "pump,1,9", "pump,2,10"]),
    "month first": (
        ",",
        ["a,01/02/2024,5", "a,01/03/2024,6", "b,01/04/2024,7", "b,02/25/2024,8", "c,03/04/2024,1",
         "c,05/06/2024,2"],
    ),
    "day first": (
        ",",
        ["a,25/02/2024,5", "a,01/03/2024,6", "b,01/04/2024,7", "b,02/05/2024,8", "c,03/04/2024,1",
         "c,05/06/2024,2"],
    ),
    "no time": (",", ["z,,5", "a,1,5", "b,1,6", "a,oops,7", "z,3,7", "b,2,8", "a,2,1", "z,4,1"]),
    "blanks": (" ", ["1  1 0.5", "1  2 0.7", "2  1 0.1", "2  2 0.2"]),
    "quoted line ends": (",", ['"p\n1",1,5', '"p\n1",2,6', "q,1,7", "q,2,9"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_what_depends_on_a_whole_column_is_decided_once(name: str, tmp_path: Path) -> None:
    mark, lines = TABLES[name]
    source = tmp_path / "t.csv"
    source.write_text("\n".join([mark.join(["u", "t", "x"]), *lines]) + "\n", encoding="utf-8")
    keys = {"unit": "u", "time": "t", "time_unit": "days" if "first" in name else "cycles"}
    assert_frame_equal(in_parts(source, **keys), read_table(source, fate="unknown", **keys).frame)


def test_a_category_stays_one_where_its_part_looks_like_numbers(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    lines = [
        "u,t,x,load",
        "1,1,5,10",
        "1,2,6,10",
        "2,1,7,20",
        "2,2,8,20",
        "3,1,9,high",
        "3,2,1,high",
    ]
    source.write_text("\n".join(lines), encoding="utf-8")
    schema = TableSchema(unit="u", time="t", time_unit="cycles", static=("load",))
    reader = TableReader(TableFiles.open(source, schema), schema, ("x",), ("load",))
    list(reader.scan(2))
    kinds = {
        read_table(part, schema=schema, fate="unknown").units["load"].dtype
        for part in reader.chunks(2)
    }
    assert kinds == {pl.String()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_compression_are_recognised(encoding: str, tmp_path: Path) -> None:
    import gzip

    text = "u,t,x\r\n" + "".join(f"püm{i},{t},{i}\r\n" for i in range(3) for t in range(4))
    source = tmp_path / "t.csv.gz"
    source.write_bytes(gzip.compress(text.encode(encoding)))
    keys = {"unit": "u", "time": "t", "time_unit": "cycles"}
    assert_frame_equal(in_parts(source, **keys), read_table(source, fate="unknown", **keys).frame)


def test_counts_of_parts_add_up() -> None:
    cells = pl.Series(["1.5", "1,5", "1 000", "yes", None, "x", "1,234", "inf", "1.234,5"])
    text = clean_text(cells)
    total = sum((count_cells(text[i : i + 2]) for i in range(0, 9, 2)), CellCounts())
    assert total == count_cells(text)
    assert count_plain(text) == CellCounts(known=8, plain=2, infinite=1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("u,t,x\n", "no rows"), ("", "empty"), ("u,t,x,x\n1,1,1,2\n", "more than once"),
        ("u,x\n1,1\n", "no column 't'"), ("u,t,x\n1,,2\n", "no row has both"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_read_are_named(content: str, problem: str, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        in_parts(source, unit="u", time="t", time_unit="cycles")


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_file_written_in_parts_is_the_file_written_at_once(suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"unit": [1, 2, 3], "rul": [1.5, float("nan"), 3.0], "c": [["a"], [], []]})
    paths = [tmp_path / f"{name}.{suffix}" for name in ("whole", "parts")]
    with prediction_writer(paths[0]) as write:
        write(frame)
    with prediction_writer(paths[1]) as write:
        for k in range(3):
            write(frame[k : k + 1])
    if suffix == "parquet":
        assert_frame_equal(pl.read_parquet(paths[0]), pl.read_parquet(paths[1]))
    else:
        assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == "json":
        assert [row["rul"] for row in json.loads(paths[1].read_text("utf-8"))] == [1.5, None, 3.0]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_an_interruption_leaves_no_half_file(
    model: grace.RULModel, rows: pl.DataFrame, tmp_path: Path, suffix: str
) -> None:
    rows.write_parquet(tmp_path / "t.parquet")
    output = tmp_path / "out" / f"p.{suffix}"
    output.parent.mkdir()
    output.write_text("before", encoding="utf-8")

    def stop(what: str, done: int, total: int) -> None:
        if what == "predicting" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(model, tmp_path / "t.parquet", output, chunk_rows=150, progress=stop)
    assert output.read_text("utf-8") == "before"
    assert [f.name for f in output.parent.iterdir()] == [output.name]


def test_the_command_gives_the_same_in_parts(
    model: grace.RULModel, rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.save("m")
    rows.sort("cycle").write_csv("today.csv")

    def command(*args: str) -> str:
        made = CliRunner().invoke(
            app, ["predict", "today.csv", "--model", "m", *args], env={"COLUMNS": "100"}
        )
        assert made.exit_code == 0, made.output
        return made.output

    parts = ("--chunk-rows", "100")
    assert command(*parts).strip() == command().strip()
    command("--out", "a.csv")
    command("--out", "b.csv", *parts)
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


MEASURE = """
import sys
from pathlib import Path
import grace
from grace.estimator.scoring import predict_file, score_table

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))

model, path = grace.RULModel.load(sys.argv[1]), Path(sys.argv[2])
ways = {
    "parts": lambda file: predict_file(model, file, path.with_name("p.csv"), chunk_rows=2000).units,
    "whole": lambda file: score_table(model, file).height,
}
for way in ways.values():
    way(path.with_name("small.csv"))
for name, way in ways.items():
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    found = way(path)
    print(name, found, (status("VmHWM") - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """The table is 20 times as large as a part; the in-memory path fails the same limit."""
    rng = np.random.default_rng(0)
    n, length = 160, 250
    table = pl.DataFrame(
        {
            "unit": np.repeat(np.arange(n), length),
            "cycle": np.tile(np.arange(length), n),
            **{f"x{k}": rng.normal(size=n * length).round(4) for k in range(12)},
        }
    )
    made = grace.RULModel(candidates=["median_life"], rows_per_unit=2)
    made.fit(table.filter(pl.col("unit") < 6), fate="end_of_record", **KEYS).save(tmp_path / "m")
    table.write_csv(tmp_path / "large.csv")
    table.filter(pl.col("unit") < 8).write_csv(tmp_path / "small.csv")
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "m"), str(tmp_path / "large.csv")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    grown = {}
    for line in out.splitlines():
        name, units, size = line.split()
        assert units == str(n)
        grown[name] = float(size)
    limit = 12.0  # MiB
    assert grown["parts"] < limit < grown["whole"], grown
