"""`grace results`: filters, and what reading commands leave alone."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from invented_results import CONTROL, SEEDS, error, fill, results

from grace.experiments import ResultsStore
from grace.experiments.results_store import STORE_NAME

# Filters


def test_a_control_that_a_filter_removed_is_not_reported_as_missing(grid: Path) -> None:
    shown = results("compare", grid, "--method", "gaba")
    assert shown.exit_code == 0
    assert "0.0477" not in shown.stdout
    with ResultsStore(grid / STORE_NAME) as store:
        store._db.execute("DELETE FROM scores WHERE method = ?", (CONTROL,))
        store._db.commit()
    shown = results("compare", grid, "--method", "gaba", width=200)
    control = f"No finished run of the fixed-weight control of gaba, not compared: {CONTROL}."
    assert control in shown.stdout


@pytest.mark.parametrize(
    ("option", "wrong", "said"),
    [
        ("method", "Gaba", "there is no method 'Gaba' (did you mean 'gaba'?). Known: aligned_mtl,"),
        ("dataset", "fd01", "'fd01' (did you mean 'FD001'?). Known: FD001, FD002."),
        ("preset", "fsat", "'fsat' (did you mean 'fast'?). Known: fast."),
        ("protocol", "tst", "'tst' (did you mean 'test'?). Known: test, validation."),
        ("seed", "43", "there is no seed 43. Known: 42, 123, 456, 789, 1024."),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_the_known(
    option: str, wrong: str, said: str, grid: Path, tmp_path: Path
) -> None:
    for command in (("list", grid), ("compare", grid), ("export", grid, "--out", tmp_path / "e")):
        assert said in error(*command, f"--{option}", wrong)
    assert not (tmp_path / "e").exists()


def test_no_wrong_name_is_dropped(grid: Path) -> None:
    names = ("--method", "gaba", "--method", "nonsense", "--method", "amln", "--seed", "7")
    said = error("list", grid, *names)
    assert "'nonsense' or 'amln' (did you mean 'amnl'?)" in said
    assert "no seed 7" in said
    assert "no reference method 'bseline' (did you mean 'baseline'?)" in error(
        "compare", grid, "--reference", "bseline"
    )


def test_filters_that_exclude_each_other_are_named(grid: Path) -> None:
    said = error("list", grid, "--dataset", "FD002", "--method", "gaba")
    assert "no run matches all filters: dataset FD002, method gaba" in said
    shown = results("list", grid, "--dataset", "FD002", "--method", "gaba", "--method", "baseline")
    assert shown.exit_code == 0
    assert "no run with the other filters: method gaba" in shown.stderr


def test_without_the_default_reference_the_methods_are_named(tmp_path: Path) -> None:
    with ResultsStore(tmp_path / STORE_NAME) as store:
        fill(store, "gaba", SEEDS)
    shown = results("compare", tmp_path)
    assert shown.exit_code == 0
    assert "Remedy: give --reference, one of gaba." in shown.stdout


def test_repeated_seeds_are_one_line(grid: Path) -> None:
    with ResultsStore(grid / STORE_NAME) as store:
        fill(store, "gaba", (42,), run="other", threads=2)
        row = store.scores(method=["gaba"], seed=[42], protocol="validation")
        text = json.dumps(row.row(0, named=True) | {"run": "x-t2", "threads": 2})
        store._insert("scores", [("x-t2", "validation", "FD001", "gaba", 42, text)])
        store._db.commit()
    assert "gaba has several runs with seed 42" in error("compare", grid)


# Reading changes nothing


@pytest.mark.parametrize("command", ["list", "compare", "page", "export"])
@pytest.mark.parametrize("content", [b"", b'{"loss": 1.0}\n' * 300])
def test_reading_commands_leave_a_foreign_file_as_it_is(
    command: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    more = ("--out", tmp_path / "out.md") if command in ("page", "export") else ()
    said = error(command, file, *more)
    assert "Remedy: give the folder of a grid" in said
    assert "delete" not in said
    assert file.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_page_replaces_pages_only(grid: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Notes of someone\n", encoding="utf-8")
    assert "no page of this command. Remedy" in error("page", grid, "--out", page)
    assert page.read_text("utf-8") == "# Notes of someone\n"
    assert "is a folder. Remedy" in error("page", grid, "--out", tmp_path)
    page.unlink()
    assert results("page", grid, "--out", page).exit_code == 0
    written = page.read_text("utf-8")
    page.write_text(written + "\nold\n", encoding="utf-8")
    assert results("page", grid, "--out", page).exit_code == 0
    assert page.read_text("utf-8") == written


def test_other_databases_are_refused(grid: Path, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "other.db")
    database.execute("CREATE TABLE t (a)")
    database.commit()
    for command in (("list", tmp_path / "other.db"), ("add", tmp_path / "other.db", grid)):
        assert "no results store. Remedy" in error(*command)
    database.execute("CREATE TABLE scores (a)")
    database.execute("PRAGMA user_version = 7")
    database.commit()
    assert "a results store of version 7, not 1. Remedy" in error("list", tmp_path / "other.db")
    assert "does not exist" in error("list", tmp_path / "nowhere")


def test_a_store_is_read_without_write_access(grid: Path) -> None:
    before = (grid / STORE_NAME).read_bytes()
    with ResultsStore(grid / STORE_NAME, read_only=True) as store:
        assert store.scores().height > 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store._db.execute("DELETE FROM scores")
    assert results("list", grid).exit_code == 0
    assert (grid / STORE_NAME).read_bytes() == before


def test_a_write_that_was_interrupted_does_not_prevent_reading(grid: Path) -> None:
    (grid / f"{STORE_NAME}-journal").write_bytes(b"")
    assert results("list", grid).exit_code == 0
