"""A grid of runs as tables for a terminal: means over seeds, and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from grace.evaluation import Difference
from grace.experiments import (
    Comparison,
    compare_methods,
    compare_over_units,
    means_over_seeds,
    rank_methods,
)
from grace.formatting import interval as limits
from grace.formatting import number, p_value, plain_name, signed, signed_short, spread
from grace.report.fitting_table import FittingTable

__all__ = ["render_grid"]

_METRIC_NAMES = {"rmse_capped": "RMSE capped", "nasa_capped": "NASA capped"}


def render_grid(
    table: pl.DataFrame,
    *,
    reference: str,
    predictions: pl.DataFrame | None = None,
    all_runs: pl.DataFrame | None = None,
) -> RenderableType:
    """Means ± standard deviations over seeds, and each method against one.

    Args:
        table: of :func:`grace.experiments.runs_table`, not empty.
        reference: the method that the others are compared with.
        predictions: of :meth:`grace.experiments.ResultsStore.predictions`; None reads the folders
            of the runs.
        all_runs: the table from which ``table`` was selected; None: ``table``.

    Raises:
        ValueError: a method has two runs with one seed in a group.
    """
    return Group(*_parts(table, reference, predictions, all_runs))


def _parts(
    table: pl.DataFrame,
    reference: str,
    predictions: pl.DataFrame | None,
    all_runs: pl.DataFrame | None,
) -> Iterator[RenderableType]:
    means = means_over_seeds(table)
    over_units = {}
    if predictions is not None or "folder" in table.columns:
        over_units = compare_over_units(table, reference=reference, predictions=predictions)
    comparisons = compare_methods(table, reference=reference, all_runs=all_runs)
    common = _notes_of_all(comparisons)
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(comparison.group, []).append(comparison)
    for group, (first, *_) in groups.items():
        runs = table.filter(group=group)
        yield _figures(means.filter(group=group), runs, first)
        yield Text()
        yield from _not_compared(first)
        if group in over_units:
            yield _unit_differences(first, over_units[group], runs, reference)
            yield Text()
        for comparison in groups[group]:
            if comparison.tests:
                yield _differences(comparison, reference)
                yield Text()
        yield from _notes(groups[group], common)
    ranking = _ranking(table)
    if ranking is not None:
        yield ranking
    if table.select("device", "precision", "threads").n_unique() > 1:
        yield Text(
            "The runs differ in device, number format or number of threads, which also contributes "
            "to their differences.",
            style="yellow",
        )
    for note in common:
        yield Text(f"All comparisons over seeds: {note}.", style="dim")
    yield Text(
        "Mean ± standard deviation over seeds; each seed holds out other units. Differences are "
        "paired over common seeds; p values are corrected by Holm per table. "
        "Intervals over units account for the sampling of the test units, not for the seeds.",
        style="dim",
    )


def _not_compared(comparison: Comparison) -> Iterator[RenderableType]:
    """Methods without a comparison, once per reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in comparison.missing.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        yield Text(f"{why[0].upper()}{why[1:]}, not compared: {', '.join(names)}.", style="yellow")
    if by_reason:
        yield Text()


def _notes_of_all(comparisons: list[Comparison]) -> list[str]:
    """Why tests are limited, where it holds for every test of every table."""
    notes = [test.note for comparison in comparisons for test in comparison.tests]
    return list(dict.fromkeys(notes)) if notes and all(notes) and len(set(notes)) == 1 else []


def _notes(comparisons: list[Comparison], common: list[str]) -> Iterator[RenderableType]:
    """Why tests of a group are missing or limited, once per reason."""
    by_note: dict[str, dict[str, None]] = {}
    everyone = {test.a for comparison in comparisons for test in comparison.tests}
    for comparison in comparisons:
        for test in comparison.tests:
            if test.note and test.note not in common:
                by_note.setdefault(test.note, {})[test.a] = None
    for note, names in by_note.items():
        who = "all methods" if names.keys() == everyone else ", ".join(names)
        yield Text(f"{comparisons[0].dataset}, {who}: {note}.", style="dim")
    if by_note:
        yield Text()


def _ranking(table: pl.DataFrame) -> RenderableType | None:
    """Mean ranks over datasets, where there are enough methods and datasets."""
    try:
        result = rank_methods(table)
    except ValueError:
        return None
    order = sorted(range(len(result.names)), key=lambda i: result.mean_ranks[i])
    rows = [(result.names[i], number(result.mean_ranks[i])) for i in order]
    ranks = FittingTable(
        ("method", "rank"), (rows,), f"Mean rank by RMSE capped over {result.n_blocks} datasets"
    )
    text = (
        f"Friedman p = {p_value(result.p_value)}; Nemenyi's critical difference "
        f"{number(result.critical_difference)} at {result.alpha:g}."
    )
    return Group(ranks, Text(text, style="dim"), Text())


def _place(comparison: Comparison) -> str:
    settings = f", {comparison.settings}" if comparison.settings else ""
    mark = f" [{comparison.mark}]" if comparison.mark else ""
    return f"{comparison.dataset}, {comparison.preset}{settings}, last row{mark}"


def _table(title: str, heads: list[str], *sections: Sequence[Sequence[str]]) -> FittingTable:
    """Where the terminal is too narrow, the last columns are left out first."""
    return FittingTable(heads, sections, title, optional=range(len(heads) - 1, 1, -1))


def _unit_differences(
    comparison: Comparison,
    found: dict[str, list[Difference]],
    runs: pl.DataFrame,
    reference: str,
) -> FittingTable:
    seeds = {str(name): set(part["seed"]) for (name,), part in runs.group_by("method")}
    rows = []
    for name, (rmse, nasa) in found.items():
        cells = [
            cell
            for d in (rmse, nasa)
            for cell in (signed(d.value), limits(d.interval.low, d.interval.high))
        ]
        rows.append((name, str(len(seeds[name] & seeds[reference])), *cells))
    heads = ["method", "seeds", "RMSE", "95% interval", "NASA/n", "95% interval"]
    return _table(f"{_place(comparison)}: minus {reference}, over test units", heads, rows)


def _figures(means: pl.DataFrame, runs: pl.DataFrame, comparison: Comparison) -> FittingTable:
    heads = ["method", "RMSE capped", "seeds", "NASA capped", "RMSE raw", "health acc."]
    names = ["rmse_capped", "nasa_capped", "rmse_raw", "health_accuracy"]
    if comparison.mark:  # with the validation-selected figure of the same trainings
        heads.insert(3, "val.-selected")
        names.insert(1, "rmse_capped_validation_selected")
    methods = [
        (
            str(row["method"]),
            _figure(row, names[0]),
            str(row["seeds"]),
            *(_figure(row, name) for name in names[1:]),
        )
        for row in means.iter_rows(named=True)
    ]
    blank = [""] * (len(heads) - 3)
    baselines = [
        (*_baseline(runs, column), *blank)
        for column in runs.columns
        if column.startswith("baseline_") and runs[column].null_count() < runs.height
    ]
    return _table(_place(comparison), heads, methods, baselines)


def _differences(comparison: Comparison, reference: str) -> FittingTable:
    rows = [
        (
            test.a,
            f"{signed(test.mean_difference)} ± {number(test.std_difference)}",
            str(test.n),
            p_value(test.p_t_holm),
            p_value(test.p_wilcoxon_holm),
            signed_short(test.d_z),
        )
        for test in comparison.tests
    ]
    heads = ["method", "difference", "seeds", "p (t, Holm)", "p (Wilcoxon, Holm)", "effect d_z"]
    what = _METRIC_NAMES.get(comparison.metric, comparison.metric)
    return _table(f"{_place(comparison)}: {what} minus that of {reference}", heads, rows)


def _figure(row: dict[str, Any], metric: str) -> str:
    return spread(row[f"{metric}_mean"], row[f"{metric}_std"])


def _baseline(runs: pl.DataFrame, column: str) -> tuple[Any, ...]:
    """One line: a trivial baseline depends on the seed (the units held out), not on the method."""
    values = (
        runs.group_by("seed")
        .agg(pl.col(column).drop_nulls().first())[column]
        .drop_nulls()
        .to_list()
    )
    std = statistics.stdev(values) if len(values) > 1 else None
    name = plain_name(column.removeprefix("baseline_"))
    return name, spread(statistics.mean(values), std), str(len(values))
