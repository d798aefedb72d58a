"""A partitioned table, file by file: same numbers with every engine, nothing repeated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

import grace
from grace.cli import app
from grace.data.errors import DataError
from grace.estimator.scoring import score_table
from grace.experiments import partitions
from grace.experiments.partitions import PartitionEvent, predict_partitions
from grace.training.errors import ConfigError

COLUMNS = ["unit", "cycle", "s2", "s3", "s4", "s11"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = grace.load_dataset("sim", n_train=6, n_test=6)
    made = grace.RULModel(candidates=["median_life", "linear"], rows_per_unit=3)
    made.fit(
        data.train.frame.select(COLUMNS), unit="unit", time="cycle", time_unit="cycles",
        fate="end_of_record",
    )  # fmt: skip
    return made.save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Three files of two units; one of them in a folder that names the plant."""
    rows = grace.load_dataset("sim", n_train=6, n_test=6).test.frame.select(COLUMNS)
    for k, name in enumerate(("a.parquet", "b.parquet", "plant=north/c.parquet")):
        file = tmp_path / "fleet" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rows.filter(pl.col("unit").is_in([2 * k + 1, 2 * k + 2])).write_parquet(file)
    # Folders are searched only where there are no files above them.
    (tmp_path / "fleet" / "plant=south").mkdir()
    for name in ("a", "b"):
        source = tmp_path / "fleet" / f"{name}.parquet"
        source.rename(tmp_path / "fleet" / "plant=south" / f"{name}.parquet")
    return tmp_path / "fleet"


NAMES = ["plant=north/c.parquet", "plant=south/a.parquet", "plant=south/b.parquet"]


def kinds(events: list[PartitionEvent]) -> list[str]:
    return [event.kind for event in events]


def test_each_file_gives_a_file_and_none_is_repeated(
    model: Path, fleet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = predict_partitions(model, fleet, out)
    assert [(e.name, e.kind, e.rows) for e in ended] == [(n, "finished", 2) for n in NAMES]
    loaded = grace.RULModel.load(model)
    for name in NAMES:
        expected = score_table(loaded, fleet / name)
        assert_frame_equal(pl.read_parquet(out / name), expected, check_exact=True)
    written = {name: (out / name).stat().st_mtime_ns for name in NAMES}
    assert kinds(predict_partitions(model, fleet, out)) == ["already finished"] * 3
    assert written == {name: (out / name).stat().st_mtime_ns for name in NAMES}

    pl.read_parquet(fleet / NAMES[1]).head(-1).write_parquet(fleet / NAMES[1])  # changed input
    (out / NAMES[2]).write_bytes(b"PAR1")  # damaged output
    assert kinds(predict_partitions(model, fleet, out)) == [
        "already finished", "finished", "finished"
    ]  # fmt: skip
    assert kinds(predict_partitions(model, fleet, out, every_row=True)) == ["finished"] * 3


def test_one_file_can_join_all(model: Path, fleet: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "all.parquet"
    predict_partitions(model, fleet, output)
    expected = score_table(grace.RULModel.load(model), fleet)
    assert_frame_equal(pl.read_parquet(output), expected, check_exact=True)
    assert [f.name for f in output.parent.iterdir()] == ["all.parquet"]


def test_a_file_that_fails_does_not_stop_the_others(
    model: Path, fleet: Path, tmp_path: Path
) -> None:
    bad = fleet / NAMES[1]
    pl.read_parquet(bad).drop("s3").write_parquet(bad)
    output = tmp_path / "all.parquet"
    ended = predict_partitions(model, fleet, output)
    assert kinds(ended) == ["finished", "failed", "finished"]
    assert "s3" in ended[1].text
    assert not output.exists()
    made = CliRunner().invoke(
        app, ["predict", str(fleet), "--model", str(model), "--engine", "local", "--out",
              str(output)],
    )  # fmt: skip
    assert made.exit_code == 1
    assert "2 already finished, 1 failed" in " ".join(made.output.split())


def test_units_in_two_files_and_other_formats_are_refused(
    model: Path, fleet: Path, tmp_path: Path
) -> None:
    twice = fleet / "plant=south" / "d.parquet"
    pl.read_parquet(fleet / NAMES[0]).head(3).write_parquet(twice)
    with pytest.raises(DataError, match=r"unit 5 has rows in plant=north/c\.parquet and in plant"):
        predict_partitions(model, fleet, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "t.csv").write_text("unit,cycle\n1,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="no Parquet"):
        predict_partitions(model, tmp_path / "t.csv", tmp_path / "out")
    with pytest.raises(ValueError, match="local or ray"):
        predict_partitions(model, fleet, tmp_path / "out", engine="dask")


def test_a_lost_worker_is_replaced_twice_and_reported(
    model: Path, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster on which the first file always loses its worker, and the second loses one."""

    class RayError(Exception):
        pass

    lost = {NAMES[0]: 99, NAMES[1]: 1}

    class Fake:
        exceptions = SimpleNamespace(RayError=RayError)

        def remote(self, **_: Any) -> Any:
            return lambda function: SimpleNamespace(remote=lambda task, n: (task, function, n))

        def wait(self, running: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
            return running[:1], running[1:]

        def get(self, reference: Any) -> Any:
            task, function, threads = reference
            if lost.get(task.name, 0) > 0:
                lost[task.name] -= 1
                raise RayError
            return function(task, threads)

        def cancel(self, *_: Any, **__: Any) -> None: ...

    @contextmanager
    def fake() -> Iterator[Any]:
        yield Fake()

    monkeypatch.setattr(partitions, "connected", fake)
    monkeypatch.setattr(partitions, "check_nodes", lambda *_: None)
    events: list[PartitionEvent] = []
    ended = predict_partitions(model, fleet, tmp_path / "out", engine="ray", on_event=events.append)
    assert kinds(ended) == ["failed", "finished", "finished"]
    assert "3 times" in ended[0].text
    assert [e.name for e in events if e.kind == "again"].count(NAMES[0]) == 2
    assert [e.name for e in events if e.kind == "again"].count(NAMES[1]) == 1


def test_without_ray_the_extra_is_named(
    model: Path, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[ray\]'"):
        predict_partitions(model, fleet, tmp_path / "out", engine="ray")
