"""`grace results`: lists and comparisons at every width, and the help."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from invented_results import SURGERY, error, fill, lines_of, results
from typer.testing import CliRunner

from grace.cli import app
from grace.experiments import ResultsStore
from grace.experiments.results_store import STORE_NAME

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
