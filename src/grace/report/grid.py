"""A grid of runs as tables for a terminal: means over seeds, and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grace.evaluation import PairedTest
from grace.experiments import compare_methods, means_over_seeds

__all__ = ["render_grid"]

_FIGURES = ("seeds", "RMSE capped", "RMSE raw", "NASA capped", "health acc.")


def render_grid(table: pl.DataFrame, *, reference: str) -> RenderableType:
    """Per data set: mean ± standard deviation over seeds, and each method against one.

    Args:
        table: of :func:`grace.experiments.runs_table`.
        reference: the method that the others are compared with.
    """
    return Group(*_parts(table, reference))


def _table(title: str, first: str, figures: Sequence[str]) -> Table:
    """Narrow enough for 80 columns: the figures never wrap, the names may."""
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _parts(table: pl.DataFrame, reference: str) -> Iterator[RenderableType]:
    tests = compare_methods(table, reference=reference)
    means = means_over_seeds(table)
    for (dataset, mark), part in means.group_by("dataset", "mark", maintain_order=True):
        name = str(dataset)
        shown = _table(f"{name}, last cycle" + (f" [{mark}]" if mark else ""), "method", _FIGURES)
        for row in part.iter_rows(named=True):
            shown.add_row(*_method(row))
        shown.add_section()
        for column in (c for c in table.columns if c.startswith("baseline_")):
            shown.add_row(*_baseline(table.filter(pl.col("dataset") == name), column))
        yield shown
        if name in tests:
            yield _comparison(tests[name], reference)
    if table.select("device", "precision", "threads").n_unique() > 1:
        yield Text(
            "Not all runs were computed on the same device with the same number format and number "
            "of threads: their differences hold that noise too.",
            style="yellow",
        )
    yield Text(
        "Mean ± standard deviation over seeds, each of which holds out other units. Differences "
        "are paired over the seeds that all methods have; p values are corrected by Holm per "
        "dataset. The luck of the test units comes on top.",
        style="dim",
    )


def _comparison(tests: Sequence[PairedTest], reference: str) -> Table:
    shown = _table(
        f"RMSE capped, minus that of {reference}",
        "method",
        ("seeds", "difference", "effect d_z", "p (t)", "p (Wilcoxon)"),
    )
    for test in tests:
        shown.add_row(
            escape(test.a),
            str(test.n),
            f"{test.mean_difference:+.2f} ± {test.std_difference:.2f}",
            f"{test.d_z:+.1f}",
            f"{test.p_t_holm:.3f}",
            f"{test.p_wilcoxon_holm:.3f}",
        )
    return shown


def _spread(mean: float | None, std: float | None, digits: int = 2) -> str:
    if mean is None:
        return ""
    return f"{mean:,.{digits}f}" + ("" if std is None else f" ± {std:,.{digits}f}")


def _method(row: dict[str, Any]) -> tuple[str, ...]:
    def figure(name: str, digits: int = 2) -> str:
        return _spread(row[f"{name}_mean"], row[f"{name}_std"], digits)

    return (
        escape(row["method"]),
        str(row["seeds"]),
        figure("rmse_capped"),
        figure("rmse_raw"),
        figure("nasa_capped", 0),
        figure("health_accuracy", 3),
    )


def _baseline(table: pl.DataFrame, column: str) -> tuple[str, ...]:
    """One line: a trivial baseline depends on the seed (the units held out), not on the method."""
    values = table.group_by("seed").agg(pl.col(column).first())[column].drop_nulls().to_list()
    spread = statistics.stdev(values) if len(values) > 1 else None
    name = column.removeprefix("baseline_").replace("_", " ")
    return name, str(len(values)), _spread(statistics.mean(values) if values else None, spread)
