"""A grid of runs as tables for a terminal: means over seeds, and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
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

__all__ = ["render_grid"]

_NAME_WIDTH = 16
_METRIC_NAMES = {"rmse_capped": "RMSE capped", "nasa_capped": "NASA capped"}


def render_grid(
    table: pl.DataFrame, *, reference: str, predictions: pl.DataFrame | None = None
) -> RenderableType:
    """Means ± standard deviations over seeds, and each method against one.

    Args:
        table: of :func:`grace.experiments.runs_table`, not empty.
        reference: the method that the others are compared with.
        predictions: of :meth:`grace.experiments.ResultsStore.predictions`; None reads the folders
            of the runs.
    """
    return Group(*_parts(table, reference, predictions))


@dataclass(frozen=True)
class _Fitting:
    """A table that leaves out its last columns where the terminal is too narrow for them."""

    title: str
    heads: Sequence[str]
    sections: Sequence[Sequence[Sequence[str]]]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        unlimited = options.update(max_width=10_000)
        for columns in range(len(self.heads), 1, -1):
            table = self._table(columns)
            needed = Measurement.get(console, unlimited, table).minimum
            if needed <= options.max_width or columns == 2:
                yield table
                break
        if columns < len(self.heads):
            left = ", ".join(self.heads[columns:])
            yield Text(f"Columns left out, because the terminal is too narrow: {left}", style="dim")

    def _table(self, columns: int) -> Table:
        table = Table(title=escape(self.title), title_justify="left", box=box.SIMPLE_HEAD)
        rows = [self.heads, *(row for section in self.sections for row in section)]
        for i, head in enumerate(self.heads[:columns]):
            width = max(len(row[i]) for row in rows)
            if i == 0:  # names may be folded, figures may not
                table.add_column(head, min_width=min(_NAME_WIDTH, width), overflow="fold")
            else:
                table.add_column(head, min_width=width, justify="right", no_wrap=True)
        for section in self.sections:
            for row in section:
                table.add_row(*map(escape, row[:columns]))
            table.add_section()
        return table


def _parts(
    table: pl.DataFrame, reference: str, predictions: pl.DataFrame | None
) -> Iterator[RenderableType]:
    means = means_over_seeds(table)
    over_units = {}
    if predictions is not None or "folder" in table.columns:
        over_units = compare_over_units(table, reference=reference, predictions=predictions)
    shown = set()
    for comparison in compare_methods(table, reference=reference):
        group = pl.col("group") == comparison.group
        if comparison.group not in shown:
            shown.add(comparison.group)
            yield _figures(means.filter(group), table.filter(group), comparison)
            for name, why in comparison.missing.items():
                yield Text(f"{name}: not compared, {why}.", style="yellow")
            if comparison.group in over_units:
                yield _unit_differences(comparison, over_units[comparison.group], reference)
        if comparison.tests:
            yield _differences(comparison, reference)
            yield from _notes(comparison)
    ranking = _ranking(table)
    if ranking is not None:
        yield ranking
    if table.select("device", "precision", "threads").n_unique() > 1:
        yield Text(
            "The runs differ in device, number format or number of threads, which also contributes "
            "to their differences.",
            style="yellow",
        )
    yield Text(
        "Mean ± standard deviation over seeds; each seed holds out other units. Differences are "
        "paired over common seeds; p values are corrected by Holm per table. "
        "Intervals over units account for the sampling of the test units, not for the seeds.",
        style="dim",
    )


def _notes(comparison: Comparison) -> Iterator[RenderableType]:
    """Why a test is missing or limited, once per reason."""
    by_note: dict[str, list[str]] = {}
    for test in comparison.tests:
        if test.note:
            by_note.setdefault(test.note, []).append(test.a)
    for note, names in by_note.items():
        yield Text(f"{', '.join(names)}: {note}.", style="dim")


def _ranking(table: pl.DataFrame) -> RenderableType | None:
    """Mean ranks over datasets, where there are enough methods and datasets."""
    try:
        result = rank_methods(table)
    except ValueError:
        return None
    order = sorted(range(len(result.names)), key=lambda i: result.mean_ranks[i])
    rows = [(result.names[i], number(result.mean_ranks[i])) for i in order]
    ranks = _Fitting(
        f"Mean rank by RMSE capped over {result.n_blocks} datasets", ("method", "rank"), (rows,)
    )
    text = (
        f"Friedman p = {p_value(result.p_value)}; Nemenyi's critical difference "
        f"{number(result.critical_difference)} at {result.alpha:g}."
    )
    return Group(ranks, Text(text, style="dim"))


def _place(comparison: Comparison) -> str:
    settings = f", {comparison.settings}" if comparison.settings else ""
    mark = f" [{comparison.mark}]" if comparison.mark else ""
    return f"{comparison.dataset}, {comparison.preset}{settings}, last row{mark}"


def _unit_differences(
    comparison: Comparison, found: dict[str, list[Difference]], reference: str
) -> _Fitting:
    rows = []
    for name, (rmse, nasa) in found.items():
        cells = [
            cell
            for d in (rmse, nasa)
            for cell in (signed(d.value), limits(d.interval.low, d.interval.high))
        ]
        rows.append((name, *cells))
    heads = ("method", "RMSE", "95% interval", "NASA/n", "95% interval")
    return _Fitting(f"{_place(comparison)}: minus {reference}, over test units", heads, (rows,))


def _figures(means: pl.DataFrame, runs: pl.DataFrame, comparison: Comparison) -> _Fitting:
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
    return _Fitting(_place(comparison), heads, (methods, baselines))


def _differences(comparison: Comparison, reference: str) -> _Fitting:
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
    heads = ("method", "difference", "seeds", "p (t)", "p (Wilcoxon)", "effect d_z")
    what = _METRIC_NAMES.get(comparison.metric, comparison.metric)
    return _Fitting(f"{_place(comparison)}: {what} minus that of {reference}", heads, (rows,))


def _figure(row: dict[str, Any], metric: str) -> str:
    return spread(row[f"{metric}_mean"], row[f"{metric}_std"])


def _baseline(runs: pl.DataFrame, column: str) -> tuple[Any, ...]:
    """One line: a trivial baseline depends on the seed (the units held out), not on the method."""
    values = runs.group_by("seed").agg(pl.col(column).first())[column].drop_nulls().to_list()
    std = statistics.stdev(values) if len(values) > 1 else None
    name = plain_name(column.removeprefix("baseline_"))
    return name, spread(statistics.mean(values), std), str(len(values))
