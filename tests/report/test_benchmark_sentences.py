"""Sentences and sections of the benchmark page, from invented runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from grace.cli import app
from grace.evaluation import Interval, friedman_nemenyi
from grace.experiments import ResultsStore
from grace.experiments.benchmark import Cell, Gap, PublishedRow
from grace.experiments.benchmark_tests import Effect, Pair
from grace.experiments.table import _method_label
from grace.experiments.weight_floor import FloorRow
from grace.report.benchmark_page import benchmark_sentences, write_benchmark_page
from grace.report.benchmark_provenance import grid_commands, provenance_text
from grace.report.benchmark_sentences import (
    decided_sentence,
    decided_sentences,
    effect_sentences,
    floor_sentence,
    optimism_sentence,
    power_sentences,
    published_sentences,
    rank_text,
    unit_interval_sentence,
)

Made = Callable[..., ResultsStore]
GRID = Path(__file__).parents[2] / "benchmarks" / "results" / "grid"


def spread(mean: float) -> list[float]:
    return [mean + d for d in (-0.2, 0.1, 0.0, 0.15, -0.05)]


def effect(metric: str, dataset: str, mean: float, p: float, p_holm: float) -> Effect:
    return Effect(metric, dataset, "balancing", 5, mean, mean - 0.3, mean + 0.2, p, p_holm, 36)


def test_an_answer_covers_all_metrics_and_states_the_family() -> None:
    effects = [
        effect("rmse_capped", "FD001", -0.25, 0.4, 1.0),
        effect("rmse_capped", "FD002", 0.5, 0.3, 1.0),
        effect("nasa_capped", "FD001", -40.0, 0.004, 0.14),
        effect("nasa_capped", "FD002", 2.0, 0.2, 1.0),
        effect("rmse_raw", "FD001", 0.25, 0.3, 1.0),
        effect("rmse_raw", "FD002", 0.75, 0.2, 1.0),
    ]
    (text,) = effect_sentences(effects)
    assert text.startswith("**Does balancing matter?** ")
    assert "the RMSE by −0.25 to +0.50, the NASA score by −40.00 to +2.00 and the RMSE with" in text
    assert "none of the 6 differences is significant at 5%" in text
    assert "one family of 36 tests" in text
    early = text.split("only before the correction, hence open: ")[1]
    assert early == (
        "NASA score on FD001 lower, −40.00 [−40.30 to −39.80], p = 0.004, 0.140 corrected."
    )
    effects[5] = effect("rmse_raw", "FD002", 0.75, 0.0001, 0.0036)
    (text,) = effect_sentences(effects)
    assert "none of" not in text
    assert "one family of 36 tests: RMSE with raw labels on FD002 higher, +0.75" in text
    (text,) = effect_sentences(effects[:2])
    assert text.endswith("and none is below 5% before it.")


def test_without_five_seeds_no_effect_is_tested(made: Made) -> None:
    scores = {m: [10.0, 10.5, 9.5] for m in ("baseline", "amnl", "gaba", "grace")}
    sentences = " ".join(benchmark_sentences(made({"FD001": scores})))
    assert "No test is made" in sentences
    assert "could have been found" not in sentences


def pair(a: str, b: str, mean: float, half: float, needed: float, p: float) -> Pair:
    return Pair("rmse_capped", "FD001", a, b, 5, mean, half, needed, p, 3)


PAIRS = [
    pair("a", "b", -0.5, 0.2, 0.6, 0.01),
    pair("a", "c", 0.5, 0.3, 0.75, 0.04),
    pair("b", "c", 0.1, 0.4, 0.9, 0.9),
]


def test_power_is_stated_with_the_bound_of_the_intervals() -> None:
    effects = [
        effect("rmse_capped", "FD001", -0.25, 0.4, 1.0),  # −0.55 to −0.05
        effect("rmse_capped", "FD002", 0.5, 0.3, 1.0),  # 0.2 to 0.7
        effect("nasa_capped", "FD002", 90.0, 0.3, 1.0),
    ]
    power, bound = power_sentences(effects, PAIRS)
    assert "is 0.30 cycles of RMSE (median of 3 pairs)" in power
    assert "the clearest of the 3 pairs of a dataset would need a difference of 0.75" in power
    assert "*not decided*" in power
    assert "beyond 0.70 cycles, lower or higher, on every dataset" in bound
    assert "0.55 on FD001, 0.70 on FD002" in bound


def test_decided_pairs_are_named_with_the_better_first() -> None:
    assert decided_sentences(PAIRS) == [
        "RMSE: 2 of 3 pairs decided. FD001: `a` lower than `b` (0.50, p = 0.010), `c` lower than "
        "`a` (0.50, p = 0.040)."
    ]
    (text,) = decided_sentence(PAIRS)
    assert "2 of 3 by RMSE (Holm over the 3 pairs of each dataset and metric" in text


def test_the_rank_test_is_given_in_text() -> None:
    scores = [[10.4, 10.6, 12.2], [10.0, 10.1, 10.5], [9.6, 9.7, 10.9], [10.2, 10.4, 11.4]]
    text = rank_text(friedman_nemenyi(scores, ["a", "b", "c"]))
    # The same ranks 1, 2, 3 in four blocks: χ² = 4 · 2 = 8, p = exp(−4).
    assert "of 3 methods over 4 datasets: χ² = 8.00, p = 0.018" in text
    assert "at 5% is 1.66 of at most 2; 1 of the pairs differ by more" in text
    same = rank_text(friedman_nemenyi([[1, 2, 3], [3, 2, 1]], ["a", "b", "c"]))
    assert same.endswith("no pair of methods differs by more.")


def test_the_optimism_gap_has_an_interval_and_its_reason() -> None:
    (text,) = optimism_sentence([Gap("FD001", 9, 5, -0.25, 0.15, -0.5, -0.125)])
    assert "by −0.25 ± 0.15 [−0.50 to −0.12] on FD001" in text
    assert "By construction it is never positive" in text
    assert optimism_sentence([]) == []


def test_published_figures_that_are_worse_or_within_noise_are_named() -> None:
    rows = [
        PublishedRow("FD001", "baseline", 9.0, 10.0, 9.8, 1.0, 0.1, 0.2),
        PublishedRow("FD001", "grace", 9.0, 12.0, 11.2, 3.0, 0.1, 0.8 / 3),
        PublishedRow("FD001", "dwa", 9.9, 10.0, 9.8, 0.1, 0.1, None),
        PublishedRow("FD003", "gaba", 13.0, 10.0, 9.8, -3.0, 0.1, None),
    ]
    (text,) = published_sentences(rows, ["fast"])
    assert "on FD001 the published RMSE is lower by 2.00 (2 of 3 methods), of which" in text
    assert "explains 25%" in text
    assert "on FD001 the lead of `dwa` is within two standard errors" in text
    assert "on FD003 the published RMSE is higher than ours for 1 of 1 method (3.00" in text
    assert "preset `fast`, not the published one" in text


def test_the_interval_over_test_units_is_the_median_of_methods_with_enough_seeds() -> None:
    def cell(seeds: int, half: float) -> Cell:
        between = Interval(low=10 - half, high=10 + half)
        return Cell("FD001", "m", seeds, 10, 0.1, between, 200, 1.0, 11, None, None, None)

    text = unit_interval_sentence([cell(5, 1.0), cell(5, 2.0), cell(5, 4.0), cell(1, 99.0)])
    assert "is, in cycles, 2.00 on FD001 (median" in text
    assert unit_interval_sentence([cell(1, 99.0)]) == ""


def test_the_floor_is_stated_over_all_runs() -> None:
    rows = [
        FloorRow("FD001", "gaba", 5, 0.5, 17.0, 21.0, 2, 5),
        FloorRow("FD001", "grace", 5, 0.25, 17.0, 12.0, 4, 4),
    ]
    (text,) = floor_sentence(rows)
    assert text.startswith("`gaba` and `grace` end 25% to 50% of their epochs on the floor")
    assert "in 6 of 9 runs the selected checkpoint is of an epoch before" in text


def controls(seeds: int) -> dict[str, list[float]]:
    kinds = ("mgda", "pcgrad", "upgrad", "cagrad", "imtl_g", "aligned_mtl", "nash_mtl")
    rows = {}
    for k, name in enumerate(kinds):
        rows[name] = spread(10.5 + k / 10)[:seeds]
        shift = 0.0 if name == "nash_mtl" else 0.25
        rows[f"{name} (normalise=initial_loss)"] = [v + shift for v in rows[name]]
    return rows


def sentence(store: ResultsStore, start: str) -> str:
    (found,) = [s for s in benchmark_sentences(store) if s.startswith(start)]
    return found


def test_gradient_surgery_with_one_seed_is_not_counted(made: Made) -> None:
    # Seed 1 of the baseline is the highest of five: 11 of 10, 10, 10, 10, 11.
    store = made({"FD001": {"baseline": [11.0, 10.0, 10.0, 10.0, 10.0], **controls(1)}})
    text = sentence(store, "Gradient surgery")
    assert "lower for" not in text
    assert "−0.70 (`mgda`)" in text  # 10.3 − 11
    assert "it is +0.10 to " in text  # 10.3 − 10.2
    assert "(10.20 ± 0.45 over 5 seeds; its run with seed 1, 11.00, is the highest of them)" in text
    assert "With one seed nothing is tested" in text
    middle = made({"FD001": {"baseline": [10.5, 10.0, 11.0, 10.0, 10.0], **controls(1)}})
    assert "is number 4 from the lowest)" in sentence(middle, "Gradient surgery")


def test_gradient_surgery_with_five_seeds_is_counted(made: Made) -> None:
    store = made({"FD001": {"baseline": spread(10.7), **controls(5)}})
    text = sentence(store, "Gradient surgery")
    # 10.5 and 10.6, and none of those shifted by 0.25; mgda normalised is 10.75.
    assert "lower for 2 of 14" in text
    assert "nothing is tested" not in text


def test_surgery_on_four_datasets_is_one_table_with_a_column_each(
    made: Made, tmp_path: Path
) -> None:
    names = ("FD001", "FD002", "FD003", "FD004")
    store = made({name: {"baseline": spread(10), **controls(1)} for name in names})
    page = write_benchmark_page(store, tmp_path / "page.md").read_text("utf-8")
    section = page.partition("## Gradient surgery\n")[2].partition("<details")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert len(lines) == 2 + 14
    assert all(line.count("|") == 2 + 4 + 1 for line in lines)
    assert "| `baseline`, all its seeds" in lines[1]
    assert lines[1].count("10.00 ± 0.14 (5 seeds)") == 4
    assert "10.30 (+0.50)" in section  # mgda, seed 1: 10.5 − 0.2 against 10 − 0.2
    assert "in all digits: `nash_mtl` on FD001, FD002, FD003 and FD004" in section


def test_the_sweep_states_its_seed_and_the_range_of_chance(made: Made, tmp_path: Path) -> None:
    weights = {"fixed:0.01": [9.7], "fixed:1.0": [10.0], "mse+fixed:0.0477": spread(10)}
    store = made({"FD001": {"baseline": spread(10), "gaba": spread(10), **weights}})
    text = sentence(store, "Over all fixed weights")
    assert "one seed each (1)" in text
    # Standard deviation of spread(): 0.14; range 10.0 − 9.7.
    assert "a range of 0.30, more than the standard deviation over seeds of 0.14" in text
    assert "exceed a range of 0.62 on FD001 in 5% of all cases; the range is larger on none" in text
    page = write_benchmark_page(store, tmp_path / "page.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) +\| (.+?) +\|$", page, re.MULTILINE)
    assert ("0.0477", "9.80") in rows
    assert ("0.0477, 5 seeds", "10.00 ± 0.14") in rows
    assert ("0.5, 5 seeds", "10.00 ± 0.14") in rows
    weights["fixed:1.0"] = [12.0]
    large = made({"FD001": {"baseline": spread(10), **weights}})
    assert "the range is larger on FD001" in sentence(large, "Over all fixed weights")


def test_the_header_counts_runs_by_seeds_and_names_the_code(made: Made) -> None:
    store = made({"FD001": {"baseline": spread(10), "gaba": spread(10), "pcgrad": [9.0]}})
    for seed, code in ((1, "a" * 64), (2, "b" * 64)):
        row = store.scores(protocol="validation", method=["gaba"], seed=[seed]).row(0, named=True)
        row["code"] = code
        keys = (row["run"], "validation", "FD001", "gaba", seed, json.dumps(row))
        store._insert("scores", [keys])
    text = provenance_text(store.scores(protocol="validation"))
    assert text.startswith("11 trainings of preset `fast`: 10 with 5 seeds per method and dataset")
    assert "1 with 1 seed per method and dataset (1 method on 1 dataset, controls that" in text
    assert f"source {'a' * 12} (1 training) and {'b' * 12} (1 training)" in text
    assert "was not recorded for 9 trainings" in text
    assert "no measure of cost" in text


def test_the_commands_make_the_runs_of_the_committed_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command is given to the command line; the grid that it would train is compared."""
    made: list[tuple[str, int, str]] = []

    def note(configs: dict[str, Any], folder: Path, **options: Any) -> Any:
        assert options["threads_per_run"] == 1
        for c in configs.values():
            assert (c.preset, c.select_on) == ("fast", "test")
            made.append((c.dataset, c.seed, _method_label(c.method.model_dump(mode="json"))))
        raise KeyboardInterrupt

    monkeypatch.setattr("grace.experiments.grid", note)
    with ResultsStore.read_export(GRID) as store:
        table = store.scores(protocol="validation")
    for command in grid_commands(table, test_selected=True):
        words = shlex.split(command.replace("\\\n", " "))
        assert words[0] == "grace"
        CliRunner().invoke(app, words[1:])
    runs = [tuple(r) for r in table.select("dataset", "seed", "method").rows()]
    assert sorted(made) == sorted(runs)
    assert table.filter(pl.col("settings") != "").is_empty()


def test_the_page_is_the_same_from_store_and_export(made: Made, tmp_path: Path) -> None:
    scores = {m: spread(10 + k) for k, m in enumerate(("baseline", "amnl", "gaba", "grace"))}
    store = made({"FD001": scores, "FD002": scores}, tmp_path / "s.sqlite")
    store._insert("weights", [("FD001-gaba-1", e, 10 * e, "[0.5, 0.5]") for e in range(3)])
    page = write_benchmark_page(store, tmp_path / "a" / "page.md").read_text("utf-8")
    store.export(tmp_path / "export")
    again = ResultsStore.read_export(tmp_path / "export")
    assert write_benchmark_page(again, tmp_path / "b" / "page.md").read_text("utf-8") == page
    drawn = {p.name: p.read_bytes() for p in (tmp_path / "a" / "page").iterdir()}
    assert {"ranks.svg", "pareto_FD001.svg", "weights_FD001.svg"} <= drawn.keys()
    assert drawn == {p.name: p.read_bytes() for p in (tmp_path / "b" / "page").iterdir()}
    assert all(f"page/{name}" in page for name in drawn)
    assert "10.00 ± 0.14" in page
    assert "| 7.37" in page
    assert "Bars are standard deviations over seeds" in page
    assert "![FD001: RUL weight of `gaba`, seeds 1](page/weights_FD001.svg)" in page


def test_controls_have_sections_of_their_own_and_no_rank(made: Made, tmp_path: Path) -> None:
    methods = {m: spread(10 + k) for k, m in enumerate(("baseline", "amnl", "gaba", "grace"))}
    single = {
        "fixed:0.01": [9.0], "fixed:1.0": [12.0], "mse+fixed:0.0477": spread(9.5), "pcgrad": [11.0],
        "pcgrad (normalise=initial_loss)": [9.0], "weighted_mse+fixed:0.25": [10.0],
    }  # fmt: skip
    store = made({"FD001": methods | single, "FD002": methods | single})
    page = write_benchmark_page(store, tmp_path / "page.md").read_text("utf-8")
    main, _, rest = page.partition("## Sweep of fixed weights")
    assert "`pcgrad`" not in main.partition("## Results")[2]
    assert "| `mse+fixed:0.0477`" in main  # compared with GABA in the tables of the grid
    assert "`fixed:0.01`" not in main.partition("## Results")[2]
    sweep, _, surgery = rest.partition("## Gradient surgery")
    assert "| 0.0477" in sweep
    assert "page/sweep_FD001.svg" in sweep
    assert "initial loss" in surgery
    ranks = (tmp_path / "page" / "ranks.svg").read_text("utf-8")
    assert "baseline" in ranks
    assert "pcgrad" not in ranks
