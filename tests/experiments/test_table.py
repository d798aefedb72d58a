"""Runs beside each other: means, paired differences, ranks, and which runs are comparable."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from grace.experiments import (
    compare_methods,
    compare_over_units,
    means_over_seeds,
    rank_methods,
    run,
    runs_table,
)
from grace.experiments.table import _settings
from grace.report.grid import render_grid
from grace.training.config import RunConfig, deep_merge

Tiny = Callable[..., RunConfig]


FIGURES = ("rmse_raw", "nasa_capped", "nasa_raw", "health_accuracy", "health_f1")


def rows(dataset: str, method: str, values: dict[int, float], **over: Any) -> list[dict[str, Any]]:
    same = {"dataset": dataset, "method": method, "preset": "fast", "mark": "", "settings": ""}
    same["group"] = f"{dataset} {over.get('preset', 'fast')} {over.get('mark', '')}"
    made_with = {"device": "cpu", "precision": "fp32", "threads": 1}
    return [
        {**same, "seed": seed, "rmse_capped": value, **dict.fromkeys(FIGURES, 1.0), **made_with}
        | over
        for seed, value in values.items()
    ]


def test_means_and_paired_differences_by_hand() -> None:
    table = pl.DataFrame(
        rows("FD001", "a", {1: 10.0, 2: 12.0, 3: 14.0})
        + rows("FD001", "b", {3: 13.0, 1: 9.5, 2: 11.5})
        + rows("FD002", "a", {1: 20.0})
        + rows("FD002", "b", {1: 21.0})
    )
    means = means_over_seeds(table)
    first = means.row(0, named=True)
    assert (first["dataset"], first["method"], first["seeds"]) == ("FD001", "a", 3)
    assert first["rmse_capped_mean"] == pytest.approx(12.0)
    assert first["rmse_capped_std"] == pytest.approx(2.0)
    assert means.row(2, named=True)["rmse_capped_std"] is None

    one, two = compare_methods(table, metrics=["rmse_capped"], reference="a")
    (test,) = one.tests
    assert (one.dataset, test.a, test.b, test.n) == ("FD001", "b", "a", 3)
    assert test.mean_difference == pytest.approx((-0.5 - 0.5 - 1.0) / 3)
    assert two.tests == []
    assert "1 common seed with a" in two.missing["b"]


def test_every_method_is_paired_over_the_seeds_it_shares_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    a = dict(enumerate(rng.normal(12, 1, 7).tolist()))
    b, c = ({s: v + rng.normal(0.5, 0.5) for s, v in a.items()} for _ in "bc")
    del c[0], c[3]
    table = pl.DataFrame(
        rows("FD001", "a", a) + rows("FD001", "b", b) + rows("FD001", "c", c)
        + rows("FD001", "d", {4: 1.0})
    )  # fmt: skip
    comparison, nasa = compare_methods(table, reference="a")
    assert (comparison.metric, nasa.metric) == ("rmse_capped", "nasa_capped")
    by_name = {t.a: t for t in comparison.tests}
    assert {n: t.n for n, t in by_name.items()} == {"b": 7, "c": 5}
    assert by_name["c"].mean_difference == pytest.approx(np.mean([c[s] - a[s] for s in c]))
    assert list(comparison.missing) == ["d"]
    # Holm over the two tests: the smaller p is doubled.
    small, large = sorted(comparison.tests, key=lambda t: t.p_t or 0.0)
    assert small.p_t_holm == pytest.approx(2 * small.p_t)
    assert large.p_t_holm == pytest.approx(max(large.p_t, small.p_t_holm))
    assert all(t.p_t is None and "undefined" in t.note for t in nasa.tests)  # NASA is 1 throughout

    without, _ = compare_methods(table.filter(pl.col("method") != "a"), reference="a")
    assert without.tests == []
    assert "no finished run" in without.missing["a"]


def test_every_comparison_of_a_gaba_method_asks_for_its_control() -> None:
    one = rows("FD001", "grace", {1: 1.0, 2: 2.0}) + rows("FD001", "amnl", {1: 1.0, 2: 2.0})
    (found, _) = compare_methods(pl.DataFrame(one), reference="amnl")
    assert "control of grace" in found.missing["weighted_mse+fixed:0.0477"]
    with_control = one + rows("FD001", "weighted_mse+fixed:0.0477", {1: 1.0, 2: 2.0})
    (found, _) = compare_methods(pl.DataFrame(with_control), reference="amnl")
    assert found.missing == {}
    plain = rows("FD001", "gaba", {1: 1.0}) + rows("FD001", "fixed:0.0477", {1: 1.0})
    (found, _) = compare_methods(pl.DataFrame(plain), reference="gaba")
    assert "mse+fixed:0.0477" not in found.missing


def test_methods_are_ranked_over_data_sets() -> None:
    table = pl.DataFrame(
        [
            row
            for k in range(4)
            for name, value in (("amnl", 3.0), ("grace", 1.0), ("gaba", 2.0))
            for row in rows(f"FD00{k + 1}", name, {1: value + k, 2: value + k + 0.5})
        ]
        + rows("FD001", "dwa", {1: 0.0})
    )
    result = rank_methods(table)
    assert result.names == ("amnl", "grace", "gaba")  # dwa has one dataset only
    assert result.mean_ranks == (3.0, 1.0, 2.0)
    assert result.n_blocks == 4
    with pytest.raises(ValueError, match="2 datasets"):
        rank_methods(table.filter(pl.col("dataset") == "FD001"))
    twice = pl.concat([table, table.with_columns(group=pl.lit("x") + pl.col("group"))])
    with pytest.raises(ValueError, match="not independent"):
        rank_methods(twice)


def test_only_comparable_runs_share_a_group(bare: Tiny, data: Any, tmp_path: Path) -> None:
    plain = bare(training={"epochs": 1})
    fleet = data.test.frame.with_columns(pl.col("s2") + 1.0)
    changes: dict[str, tuple[dict[str, Any], Any]] = {
        "a": ({}, data),
        "seed": ({"seed": 9}, data),
        "method": ({"method": {"name": "amnl", "outer_options": {}}}, data),
        "options": ({"method": {"name": "grace", "outer_options": {"beta": 0.9}}}, data),
        "logging": ({"training": {"log_every": 5}}, data),
        "rate": ({"training": {"lr": 0.01}}, data),
        "rows": ({"validation_rows": "truncated"}, data),
        "data": ({}, replace(data, test=replace(data.test, frame=fleet))),
        "marked": ({"select_on": "test"}, data),
    }
    for name, (over, used) in changes.items():
        values = deep_merge(plain.model_dump(mode="json"), over)
        if "method" in over:
            values["method"] = over["method"]
        run(RunConfig.model_validate(values), tmp_path / name, dataset=used)
    table = runs_table([tmp_path / name for name in changes])
    by_run = {row["run"]: row for row in table.iter_rows(named=True)}
    same = {"a", "seed", "method", "options", "logging"}
    groups = {name: row["group"] for name, row in by_run.items()}
    assert {n for n, g in groups.items() if g == groups["a"]} == same
    assert len(set(groups.values())) == 5
    assert by_run["options"]["method"] == "grace (beta=0.9)"
    assert "training.lr=0.01" in by_run["rate"]["settings"]
    # units are drawn together for both methods
    found = compare_over_units(
        table.filter(pl.col("run").is_in(["options", "method"])), reference="amnl"
    )
    (rmse, nasa) = found[groups["a"]]["grace (beta=0.9)"]
    assert (rmse.metric, nasa.metric) == ("rmse", "nasa_mean")
    expected = by_run["options"]["rmse_capped"] - by_run["method"]["rmse_capped"]
    assert rmse.value == pytest.approx(expected)


def test_what_was_made_under_other_rules_is_never_pooled() -> None:
    table = pl.DataFrame(
        rows("FD001", "a", {1: 10.0, 2: 12.0})
        + rows("FD001", "b", {1: 11.0, 2: 12.0})
        + rows("FD001", "a", {1: 8.0, 2: 9.0}, mark="test-selected, optimistic")
        + rows("FD001", "a", {1: 1.0, 2: 2.0}, preset="paper")
    )
    assert means_over_seeds(table)["seeds"].to_list() == [2, 2, 2, 2]
    groups = compare_methods(table, metrics=["rmse_capped"], reference="a")
    assert [(g.preset, g.mark != "", len(g.tests)) for g in groups] == [
        ("fast", False, 1), ("fast", True, 0), ("paper", False, 0),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="several runs with seed 1"):
        compare_methods(pl.concat([table, table.head(1)]), reference="a")


LAST_HEADS = (
    "RMSE capped", "seeds", "val.-selected", "NASA capped", "RMSE raw", "health acc.",
    "difference", "p (t, Holm)", "p (Wilcoxon, Holm)", "effect d_z",
)  # fmt: skip


def _first_column(text: str) -> str:
    return "\n".join(line.split("  ")[0] for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 60, 80, 90, 200])
def test_the_table_keeps_names_and_whole_figures_at_any_width(width: int) -> None:
    name = "weighted_mse+fixed:0.0477"
    table = pl.DataFrame(
        rows("FD001", "amnl", {1: 10.0, 2: 12.0}, nasa_capped=2.5e6, mark="test-selected")
        + rows("FD001", name, {1: 11.0, 2: 12.25}, nasa_capped=3e4, mark="test-selected")
    )
    table = table.with_columns(rmse_capped_validation_selected=pl.lit(12.5))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_grid(table, reference="amnl"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert "amnl" in text
    assert name in re.sub(r"weighted_mse *\n *\+fixed", "weighted_mse+fixed", _first_column(text))
    assert "11.62 ± 0.88" in text
    assert "+0.62 ± 0.53" in text
    titles = [line for line in text.splitlines() if "[test-selected]" in line]
    assert len(titles) == 3 or width < 80  # figures and two tables of differences, all marked
    if width == 200:
        assert "12.50 ± 0.00" in text  # of the validation-selected checkpoint
        assert "left out" not in text
    # Whatever columns are shown, the heads are whole, in one line or two.
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("method"):
            ends = line.split("  ")[-1].strip(), lines[i - 1].split("  ")[-1].strip()
            assert line.rstrip().endswith(LAST_HEADS) or " ".join(reversed(ends)) in LAST_HEADS
    if width == 40:
        assert "Columns left out" in text


def test_settings_added_later_and_not_used_keep_runs_comparable(tiny: Tiny) -> None:
    """The key of earlier runs was made without these settings."""

    def settings(**over: Any) -> set[str]:
        return set(_settings(tiny(**over).model_dump(mode="json")))

    unused = settings()
    assert "training.lr" in unused
    assert not [name for name in unused if name.startswith(("survival", "training.schedule"))]
    assert settings(training={"schedule": "cosine"}) - unused == {"training.schedule"}
    assert "survival.enabled" in settings(survival={"enabled": True})
