"""`grace results` as a user meets it: filters, tables at every width, exports, and mistakes."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from grace.cli import app
from grace.cli.shared import out
from grace.experiments import ResultsStore
from grace.experiments.results_store import STORE_NAME
from grace.files import atomic_writer

SEEDS = (42, 123, 456, 789, 1024)
SURGERY = "aligned_mtl (normalise=initial_loss)"
CONTROL = "mse+fixed:0.0477"


def fill(store: ResultsStore, method: str, seeds: tuple[int, ...], **over: Any) -> None:
    """Invented runs of a method on FD001, or on another dataset by ``over``."""
    dataset, preset = over.get("dataset", "FD001"), over.get("preset", "fast")
    for seed in seeds:
        for protocol in ("validation", "test"):
            rmse = 10.0 + len(method) / 10 + seed * len(method) % 7 / 10
            rmse -= 0.5 * (protocol == "test")
            run = f"{dataset}-{preset}-{method}-{seed}"
            row = {
                "run": run, "folder": run, "dataset": dataset, "method": method, "preset": preset,
                "settings": "", "seed": seed, "group": f"{dataset} {preset} {protocol}",
                "mark": "" if protocol == "validation" else "test-selected",
                "rmse_capped": rmse, "rmse_raw": rmse + 1, "nasa_capped": 20 * rmse,
                "nasa_raw": 30 * rmse, "health_accuracy": 0.9 + seed / 1e5, "health_f1": 0.9,
                "baseline_constant": None if seed == 42 and method == "amnl" else 41.0,
                "epochs": 3, "seconds": 60.0, "device": "cpu", "precision": "fp32", "threads": 1,
                "protocol": protocol, "version": "0.1.0", "data_train": "a" * 64,
                "data_test": dataset * 10, "recorded": "2026-01-01T00:00:00+00:00",
            } | over  # fmt: skip
            store._insert("scores", [(run, protocol, dataset, method, seed, json.dumps(row))])
            # Absolute errors of a unit differ, so that units drawn again change the RMSE.
            store._insert(
                "predictions",
                [(run, protocol, str(u), 50.0, 50.0, 50.0 + rmse * (u % 5 - 2)) for u in range(12)],
            )
    store._db.commit()


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A grid: five seeds of some methods, one seed of gradient surgery and its options."""
    with ResultsStore(tmp_path / "grid" / STORE_NAME) as store:
        for method in ("amnl", "baseline", "gaba", CONTROL, "weighted_mse+fixed:0.0477"):
            fill(store, method, SEEDS)
        for method in ("aligned_mtl", SURGERY, "fixed:0.01"):
            fill(store, method, SEEDS[:1])
        fill(store, "baseline", SEEDS, dataset="FD002")
    return tmp_path / "grid"


@pytest.fixture(autouse=True)
def width_when_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A console keeps the width that COLUMNS had when it was made; pytest-xdist sets it."""
    monkeypatch.setattr(out, "_width", None)


def results(*args: str | Path, width: int = 80) -> Any:
    return CliRunner().invoke(app, ["results", *map(str, args)], env={"COLUMNS": str(width)})


def error(*args: str | Path) -> str:
    """The message of a command that must fail with one line and exit code 2."""
    failed = results(*args)
    assert failed.exit_code == 2, failed.output
    assert failed.stdout == ""
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("error: ")
    return str(failed.stderr)


def lines_of(output: str, start: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(start)]


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


# Lists


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_rows_of_a_list_differ_and_names_are_whole(width: int, grid: Path) -> None:
    shown = results("list", grid, width=width).stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    if width >= 80:
        rows = lines_of(shown, "FD")
        assert len(rows) == len(set(rows)) == 33
        assert len([row for row in rows if SURGERY in row]) == 1
    assert ("Columns left out" in shown) == (width < 120)


def test_a_list_shows_what_differs(grid: Path) -> None:
    head = results("list", grid, width=200).stdout.splitlines()[0]
    assert not re.search("protocol|preset|threads|version|data t", head)
    with ResultsStore(grid / STORE_NAME) as store:
        fill(store, "gaba", (42,), preset="paper", threads=2, data_test="b" * 64)
    shown = results("list", grid, "--protocol", "both", width=200).stdout
    head, *_ = shown.splitlines()
    assert "protocol" in head
    assert "preset" in head
    assert "threads" in head
    assert "data test" in head
    assert "version" not in head
    assert "bbbbbbbbbbbb" in shown
    assert len(set(lines_of(shown, "FD001    gaba"))) == 12


def test_long_settings_are_wrapped_and_only_what_differs_is_shown(tmp_path: Path) -> None:
    with ResultsStore(tmp_path / STORE_NAME) as store:
        for preset, rate in (("a", 0.1), ("b", 0.2)):
            changed = f"network.sizes=[16, 32], training.lr={rate}, training.batch_size=7"
            fill(store, "gaba", (1,), preset=preset, settings=f"{'x' * 200}=1, {changed}")
    shown = results("list", tmp_path).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "training.lr=0.2" in shown
    assert "batch_size" not in shown
    assert "sizes" not in shown
    whole = results("list", tmp_path, "--columns", "seed,settings").stdout
    assert "sizes=[16, 32]" in whole
    assert max(map(len, whole.splitlines())) <= 80


def test_columns_and_order_of_a_list(grid: Path) -> None:
    names = "method,seed,threads,version,data_test,settings"
    shown = results("list", grid, "--columns", names, "--sort", "-seed,method", width=200).stdout
    first, second, *_ = shown.splitlines()
    assert first.split() == ["method", "seed", "threads", "version", "data", "test", "settings"]
    assert second.split()[:2] == ["amnl", "1024"]
    best = results("list", grid, "--dataset", "FD001", "--sort", "-health_f1,rmse_capped").stdout
    assert "health" in best
    scores = [float(line.split()[3]) for line in lines_of(best, "FD001 ") if "(" not in line]
    assert scores == sorted(scores)
    said = error("list", grid, "--columns", "methd", "--columns", "seed")
    assert "there is no column 'methd' (did you mean 'method'?). Known: " in said
    assert "no column 'sed'" in error("list", grid, "--sort", "sed")


def test_columns_that_were_asked_for_are_never_cut(grid: Path) -> None:
    names = "run,method,recorded,protocol,settings,rmse_capped,nasa_raw"
    shown = results("list", grid, "--columns", names, width=60).stdout
    assert "2026-01-01T00:00:00+00:00" in shown
    assert "FD001-fast-amnl-1024" in shown
    assert "…" not in shown


# Comparisons


def test_a_comparison_fits_80_columns_whole(grid: Path) -> None:
    shown = results("compare", grid).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "left out" not in shown
    for number in ("11.04 ± 0.21", "220.8 ± 4.15", "12.04 ± 0.21", "0.90 ± 0.0042"):
        assert number in shown  # RMSE, NASA, raw RMSE and health accuracy of the baseline
    assert "41.00" in shown  # a trivial baseline that the first run of a seed did not evaluate
    one_line = re.sub(r"\s+", " ", shown)
    assert one_line.count("not compared") == 1
    assert f"1 common seed with baseline, not compared: aligned_mtl, {SURGERY}" in one_line
    assert shown.count("(a) normalise=initial_loss") >= 1
    assert "(t, Holm)" in results("compare", grid, width=120).stdout
    assert "(Wilcoxon, Holm)" in results("compare", grid, width=120).stdout


def test_differences_over_units_have_their_number_of_seeds(grid: Path) -> None:
    shown = results("compare", grid, "--dataset", "FD001", width=120).stdout
    table = shown.partition("over test units")[2].partition("minus that of")[0]
    seeds = {
        line[:26].strip(): line[26:].split()
        for line in table.splitlines()
        if line.startswith(("amnl", "fixed"))
    }
    assert "seeds" in table.splitlines()[1]
    assert [row[-9] for row in seeds.values()] == ["5", "1"]


def test_a_limit_of_all_tests_is_reported_once(grid: Path) -> None:
    shown = re.sub(r"\s+", " ", results("compare", grid).stdout)
    limit = "with 5 seeds the Wilcoxon p value cannot be below 0.0625"
    assert shown.count("Wilcoxon p value") == 1
    assert f"All comparisons over seeds: {limit}." in shown


# Exports


def test_a_summary_has_numbers_and_seeds(grid: Path, tmp_path: Path) -> None:
    for name in ("s.csv", "s.parquet"):
        args = ("export", grid, "--summary", "--dataset", "FD001", "--out", tmp_path / name)
        assert results(*args).exit_code == 0
    table = pl.read_csv(tmp_path / "s.csv", schema_overrides={"settings": pl.String})
    row = table.row(by_predicate=(pl.col("method") == "baseline") & (pl.col("protocol") == "test"))
    found = dict(zip(table.columns, row, strict=True))
    values = pl.Series([10.8 + seed % 7 / 10 - 0.5 for seed in SEEDS])
    assert found["seeds"] == 5
    assert found["rmse_capped_mean"] == pytest.approx(values.mean())
    assert found["rmse_capped_std"] == pytest.approx(values.std())
    assert table.filter(method="fixed:0.01")["rmse_capped_std"].to_list() == [None, None]
    assert table.select("protocol", "dataset", "method").is_unique().all()
    assert pl.read_parquet(tmp_path / "s.parquet").schema["nasa_raw_std"] == pl.Float64


def test_a_summary_as_text(grid: Path, tmp_path: Path) -> None:
    filters = ("--method", "baseline", "--dataset", "FD001", "--protocol", "validation")
    for name in ("s.md", "s.tex"):
        args = ("export", grid, "--summary", *filters, "--out", tmp_path / name)
        assert results(*args).exit_code == 0
    head, rule, row = (tmp_path / "s.md").read_text("utf-8").splitlines()
    assert head.startswith("| protocol   | dataset | method   | seeds | ")
    assert "RMSE capped" in head
    assert rule.startswith("|------------|---------|----------|------:|")
    assert row.startswith("| validation | FD001   | baseline |     5 | 11.04 ± 0.21 |")
    latex = (tmp_path / "s.tex").read_text("utf-8").splitlines()
    assert latex[:2] == [r"\begin{tabular}{lllrrrrrr}", r"\toprule"]
    assert latex[4].startswith(r"validation & FD001 & baseline & 5 & 11.04 $\pm$ 0.21 &")
    assert latex[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_the_suffix_gives_the_format_and_filters_apply(grid: Path, tmp_path: Path) -> None:
    filters = ("--method", "gaba", "--seed", "42", "--preset", "fast")
    starts = {"t.tex": "\\begin{tabular}{lllrrrrr}", "t.md": "| protocol", "t.csv": "run,"}
    for name, start in starts.items():
        written = results("export", grid, *filters, "--out", tmp_path / name)
        assert written.exit_code == 0, written.output
        text = (tmp_path / name).read_text("utf-8")
        assert text.startswith(start)
        assert text.count("gaba") >= 2
        assert "baseline &" not in text
    assert pl.read_csv(tmp_path / "t.csv")["protocol"].sort().to_list() == ["test", "validation"]


def test_a_folder_gets_the_selected_runs_only(grid: Path, tmp_path: Path) -> None:
    args = ("export", grid, "--seed", "42", "--protocol", "test", "--out", tmp_path / "part")
    assert results(*args).exit_code == 0
    with ResultsStore.read_export(tmp_path / "part") as part:
        scores = part.scores()
        assert set(scores["seed"]) == {42}
        assert set(scores["protocol"]) == {"test"}
        assert set(part.predictions("test")["run"]) == set(scores["run"])
        assert part.predictions("validation").is_empty()


def test_no_file_is_replaced_without_force(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for name, said in (("t.csv", "exists already"), ("full", "the folder is not empty")):
        assert f"{said}. Remedy: give another name, or --force" in error(
            "export", grid, "--out", tmp_path / name
        )
    assert (tmp_path / "t.csv").read_text() == "mine"
    for name in ("t.csv", "full"):
        assert results("export", grid, "--out", tmp_path / name, "--force").exit_code == 0
    assert (tmp_path / "t.csv").read_text("utf-8").startswith("run,")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_places_that_cannot_be_written_are_named(grid: Path, tmp_path: Path) -> None:
    out = ("export", grid, "--out")
    said = error(*out, tmp_path / "no" / "t.csv")
    assert f"the folder {tmp_path / 'no'} does not exist. Remedy: create it" in said
    assert not (tmp_path / "no").exists()
    assert "is a folder. Remedy" in error(*out, tmp_path, "--format", "csv")
    assert "unknown file type .xlsx. Remedy" in error(*out, tmp_path / "t.xlsx")
    assert "--summary gives one table. Remedy" in error(*out, tmp_path / "new", "--summary")
    (tmp_path / "file").write_text("mine")
    assert "is a file" in error(*out, tmp_path / "file", "--force")


def test_an_error_does_not_name_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught, atomic_writer(tmp_path / "no/x"):
        pass
    assert caught.value.filename == str(tmp_path / "no/x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_writer(tmp_path / "folder"):
        pass
    assert ".tmp" not in str(caught.value)


# Help


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("command", ["predict", "plan", "grid", "results export", "data describe"])
def test_help_is_wrapped_by_the_terminal(command: str, width: int) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": str(width)})
    assert shown.exit_code == 0
    text = shown.stdout.partition("─ Arguments")[0].partition("Examples:")[0]
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        for line, following in itertools.pairwise(lines):
            # The next word had no room: a blank at either side of the line.
            first = following.partition(" ")[0]
            assert "Usage" in line or len(line) + 1 + len(first) > width - 2, (line, following)
