"""The hash of the code: what changes it, where it is recorded, and what it does not change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import grace
from grace._version import source_hash
from grace.data import Dataset
from grace.experiments import ResultsStore, run, runs_table
from grace.training.config import RunConfig


def package(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.py").write_bytes(content)
    return folder


def test_it_depends_on_contents_and_names_only(tmp_path: Path) -> None:
    first = source_hash(package(tmp_path / "first", a=b"x = 1\n", b=b"y = 2\n"))
    assert source_hash(package(tmp_path / "elsewhere", a=b"x = 1\n", b=b"y = 2\n")) == first
    assert source_hash(package(tmp_path / "crlf", a=b"x = 1\r\n", b=b"y = 2\r\n")) == first
    assert source_hash(package(tmp_path / "content", a=b"x = 1\n", b=b"y = 3\n")) != first
    assert source_hash(package(tmp_path / "name", a=b"x = 1\n", c=b"y = 2\n")) != first
    # The same bytes, divided otherwise between the files.
    assert source_hash(package(tmp_path / "other", a=b"x = 1\ny", b=b" = 2\n")) != first
    (tmp_path / "first" / "__pycache__").mkdir()
    (tmp_path / "first" / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    source_hash.cache_clear()
    assert source_hash(tmp_path / "first") == first


def test_the_default_is_the_package_that_runs() -> None:
    assert source_hash() == source_hash(Path(grace.__file__).parent)


def test_a_run_records_it_and_is_the_same_run_under_other_code(
    tiny: Callable[..., RunConfig],
    data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(training={"epochs": 1})
    run(config, tmp_path / "a", dataset=data)
    assert runs_table([tmp_path / "a"])["code"].to_list() == [source_hash()]
    begun = (tmp_path / "a" / "artifact.json").stat().st_mtime_ns
    module = sys.modules["grace.experiments.run"]  # the package has a function of this name
    monkeypatch.setattr(module, "source_hash", lambda: "f" * 64)
    run(config, tmp_path / "a", dataset=data)  # finished: not repeated under other code
    assert (tmp_path / "a" / "artifact.json").stat().st_mtime_ns == begun
    run(config, tmp_path / "b", dataset=data)
    with ResultsStore(":memory:") as store:
        name = store.add(tmp_path / "a")
        assert store.scores()["code"].to_list() == [source_hash()]
        assert store.add(tmp_path / "b") == name  # replaces it: one configuration and data
        assert store.scores()["code"].to_list() == ["f" * 64]
        store.export(tmp_path / "export")
    with ResultsStore.read_export(tmp_path / "export") as again:
        assert again.scores()["code"].to_list() == ["f" * 64]
    table = pl.read_csv(tmp_path / "export" / "scores.csv").drop("code")
    table.write_csv(tmp_path / "export" / "scores.csv")  # as an earlier version wrote it
    with ResultsStore.read_export(tmp_path / "export") as older:
        assert older.scores()["code"].to_list() == [None]
