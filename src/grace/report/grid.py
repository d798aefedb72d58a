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

from grace.experiments import compare_methods, means_over_seeds
from grace.experiments.table import Comparison

__all__ = ["render_grid"]

_NAME_WIDTH = 16


def render_grid(table: pl.DataFrame, *, reference: str) -> RenderableType:
    """Means ± standard deviations over seeds, and each method against one.

    Args:
        table: of :func:`grace.experiments.runs_table`, not empty.
        reference: the method that the others are compared with.
    """
    return Group(*_parts(table, reference))


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
            yield Text(f"Left out for want of width: {left}", style="dim")

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


def _parts(table: pl.DataFrame, reference: str) -> Iterator[RenderableType]:
    means = means_over_seeds(table)
    for comparison in compare_methods(table, reference=reference):
        group = (
            (pl.col("dataset") == comparison.dataset)
            & (pl.col("preset") == comparison.preset)
            & (pl.col("mark") == comparison.mark)
        )
        yield _figures(means.filter(group), table.filter(group), comparison)
        if comparison.tests:
            yield _differences(comparison, reference)
        for name, why in comparison.missing.items():
            yield Text(f"{name}: not compared, {why}.", style="yellow")
    if table.select("device", "precision", "threads").n_unique() > 1:
        yield Text(
            "Not all runs were computed on the same device with the same number format and number "
            "of threads: their differences hold that noise too.",
            style="yellow",
        )
    yield Text(
        "Mean ± standard deviation over seeds, each of which holds out other units. Differences "
        "are paired over the seeds that both methods have; p values are corrected by Holm per "
        "table. The luck of the test units comes on top.",
        style="dim",
    )


def _place(comparison: Comparison) -> str:
    mark = f" [{comparison.mark}]" if comparison.mark else ""
    return f"{comparison.dataset}, {comparison.preset}, last cycle{mark}"


def _figures(means: pl.DataFrame, runs: pl.DataFrame, comparison: Comparison) -> _Fitting:
    heads = ["method", "RMSE capped", "seeds", "NASA capped", "RMSE raw", "health acc."]
    names = ["rmse_capped", "nasa_capped", "rmse_raw", "health_accuracy"]
    if comparison.mark:  # the honest figure of the same trainings stands beside
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
            f"{test.mean_difference:+.2f} ± {test.std_difference:.2f}",
            str(test.n),
            f"{test.p_t_holm:.3f}",
            f"{test.p_wilcoxon_holm:.3f}",
            f"{test.d_z:+.1f}",
        )
        for test in comparison.tests
    ]
    heads = ("method", "difference", "seeds", "p (t)", "p (Wilcoxon)", "effect d_z")
    return _Fitting(f"{_place(comparison)}: RMSE capped minus that of {reference}", heads, (rows,))


def _figure(row: dict[str, Any], metric: str) -> str:
    digits = {"nasa_capped": 0, "health_accuracy": 3}.get(metric, 2)
    return _spread(row[f"{metric}_mean"], row[f"{metric}_std"], digits)


def _spread(mean: float | None, std: float | None, digits: int) -> str:
    if mean is None:
        return ""

    def figure(value: float) -> str:
        return f"{value:.2g}" if abs(value) >= 1e5 else f"{value:,.{digits}f}"

    return figure(mean) + ("" if std is None else f" ± {figure(std)}")


def _baseline(runs: pl.DataFrame, column: str) -> tuple[Any, ...]:
    """One line: a trivial baseline depends on the seed (the units held out), not on the method."""
    values = runs.group_by("seed").agg(pl.col(column).first())[column].drop_nulls().to_list()
    std = statistics.stdev(values) if len(values) > 1 else None
    name = column.removeprefix("baseline_").replace("_", " ")
    return name, _spread(statistics.mean(values), std, 2), str(len(values))
