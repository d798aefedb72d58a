"""Finished runs as tables: one row per run for a terminal, one row per method for a document."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from grace.experiments import means_over_seeds
from grace.experiments.run_selection import check_known, differing, refuse_repeated_seeds
from grace.formatting import number, spread
from grace.report.fitting_table import FittingTable
from grace.report.text_tables import latex_table, markdown_table

__all__ = ["document_table", "run_columns", "run_list", "sort_runs", "summary", "summary_text"]

_FIRST, _SCORES = ("dataset", "method"), ("rmse_capped", "nasa_capped", "rmse_raw", "seconds")
# Shown where they differ among the runs; data hashes differ between datasets by themselves.
_DISTINGUISHING = ("protocol", "preset", "settings", "version", "precision", "threads")
_WITHIN_DATASET = ("data_train", "data_test")
_SETTING = re.compile(r", (?=[\w.]+=)")  # between two settings, not within a list
_HASH_LENGTH = 12  # characters shown of a SHA-256
_SUMMARY_TEXT = ("rmse_capped", "nasa_capped", "rmse_raw", "nasa_raw", "health_accuracy")


def run_columns(table: pl.DataFrame) -> list[str]:
    """Columns that a list of runs shows: what tells the runs apart, and the main scores.

    Protocol, preset, settings, version, number format, threads and data hashes are among them
    where they differ; of the settings, :func:`run_list` shows those that differ.

    Args:
        table: of :meth:`~grace.experiments.ResultsStore.scores`.
    """
    shown = [*_FIRST, *differing(table, _DISTINGUISHING)]
    shown += [c for c in differing(table, _WITHIN_DATASET, within="dataset") if c not in shown]
    return [*shown, "seed", *_SCORES]


def sort_runs(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Rows in the order of ``columns``; a minus before a name: largest first. Null comes last.

    Raises:
        RunSelectionError: a column is not known.
    """
    names = [c.removeprefix("-") for c in columns]
    check_known("column", names, table.columns)
    descending = [c.startswith("-") for c in columns]
    return table.sort(names, descending=descending, nulls_last=True, maintain_order=True)


def run_list(
    table: pl.DataFrame, columns: Sequence[str] = (), sort: Sequence[str] = ()
) -> FittingTable:
    """One row per run, for a terminal.

    Args:
        table: of :meth:`~grace.experiments.ResultsStore.scores`, not empty.
        columns: to show; empty: :func:`run_columns` and those of ``sort``, of which scores are
            left out where the terminal is too narrow.
        sort: as in :func:`sort_runs`; empty: the order of ``table``.

    Raises:
        RunSelectionError: a column is not known.
    """
    if sort:
        table = sort_runs(table, sort)
    check_known("column", columns, table.columns)
    wanted = [c.removeprefix("-") for c in sort]
    usual = run_columns(table)
    shown = list(dict.fromkeys(columns or [*usual, *wanted]))
    optional = [c for c in reversed(_SCORES[1:]) if not columns and c not in wanted]
    kinds = table.schema
    if "settings" in shown and not columns:
        table = table.with_columns(settings=_differing_settings(table["settings"]))
    return FittingTable(
        heads=[c.replace("_", " ") for c in shown],
        sections=[[[_cell(row[c], c) for c in shown] for row in table.iter_rows(named=True)]],
        name_column=shown.index("method") if "method" in shown else 0,
        left=frozenset(i for i, c in enumerate(shown) if not kinds[c].is_numeric()),
        wrapped=shown.index("settings") if "settings" in shown else None,
        optional=[shown.index(c) for c in optional],
        one_line=True,
        box_=None,
    )  # fmt: skip


def _differing_settings(settings: pl.Series) -> pl.Series:
    """Settings without those that all runs have, as text of ``key=value``."""
    items = [_SETTING.split(text) for text in settings]
    common = set(items[0]).intersection(*items)
    return pl.Series([", ".join(i for i in of_run if i not in common) for of_run in items])


def _head(column: str) -> str:
    return column.replace("_", " ").replace("rmse", "RMSE").replace("nasa", "NASA")


def _cell(value: object, column: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return number(value)
    return str(value)[:_HASH_LENGTH] if column in (*_WITHIN_DATASET, "code") else str(value)


def summary(table: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation (n − 1) of every score, per dataset, method and protocol.

    Runs that must not be pooled (other preset, settings, version or data) have rows of their own.

    Args:
        table: of :meth:`~grace.experiments.ResultsStore.scores`, not empty.

    Returns:
        protocol, dataset, method, preset, settings, group, seeds (how many) and, per score,
        ``<score>_mean`` and ``<score>_std``; the latter is null for a single seed.

    Raises:
        RunSelectionError: a method has several runs with one seed that would be pooled.
    """
    refuse_repeated_seeds(table)
    means = [
        means_over_seeds(part).with_columns(protocol=pl.lit(protocol, pl.String))
        for (protocol,), part in table.group_by("protocol", maintain_order=True)
    ]
    keys = ["protocol", "dataset", "method", "preset", "settings", "group", "seeds"]
    whole = pl.concat(means, how="diagonal_relaxed").drop("mark")
    scores = [c.removesuffix("_mean") for c in whole.columns if c.endswith("_mean")]
    pairs = [f"{score}_{what}" for score in scores for what in ("mean", "std")]
    return whole.select(*keys, *pairs).sort("protocol", "dataset", maintain_order=True)


def summary_text(table: pl.DataFrame) -> pl.DataFrame:
    """The main scores of :func:`summary` as text, mean ± standard deviation in one cell."""
    keys = ["protocol", "dataset", "method", *differing(table, ("preset", "settings"))]
    if table.select(keys).is_duplicated().any():
        keys.append("group")  # other version or data
    return pl.DataFrame(
        [
            {
                **{c: str(row[c]) for c in (*keys, "seeds")},
                **{_head(c): spread(row[f"{c}_mean"], row[f"{c}_std"]) for c in _SUMMARY_TEXT},
            }
            for row in table.iter_rows(named=True)
        ]
    )


def document_table(table: pl.DataFrame, *, latex: bool) -> str:
    """Runs, or a summary of them, as a table in Markdown or LaTeX; numbers aligned to the right.

    Args:
        table: of :meth:`~grace.experiments.ResultsStore.scores` or :func:`summary`.
        latex: LaTeX with the rules of the package booktabs; else Markdown.
    """
    if "seeds" in table.columns:
        text = summary_text(table)
    else:
        keys = [c for c in run_columns(table) if c not in ("protocol", *_SCORES)]
        shown = ["protocol", *keys, *_SCORES]
        text = table.select(pl.Series(_head(c), [_cell(v, c) for v in table[c]]) for c in shown)
    left = {"protocol", "dataset", "method", "preset", "settings", "group", "version", "precision"}
    left |= {"code", *map(_head, _WITHIN_DATASET)}
    right = [c for c in text.columns if c not in left]
    return (latex_table if latex else markdown_table)(text, right=right)
