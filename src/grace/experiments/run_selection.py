"""Rows of a table of results by what the runs were, and the columns that tell runs apart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from grace.experiments.errors import RunSelectionError
from grace.experiments.table import GROUP

__all__ = [
    "FILTERS",
    "check_known",
    "differing",
    "refuse_repeated_seeds",
    "select_runs",
    "unmatched",
]

FILTERS = ("dataset", "method", "preset", "seed", "protocol")
"""Columns by which runs can be selected."""


def check_known(kind: str, names: Iterable[object], known: Iterable[object]) -> None:
    """Refuse names that are not known, all of them in one error.

    Args:
        kind: what the names are, in the singular, e.g. ``method``.
        names: to check.
        known: to choose from.

    Raises:
        RunSelectionError: some names are not known; the message suggests similar ones and lists
            the known ones.

    Example:
        >>> check_known("method", ["Gaba"], ["gaba", "baseline"])
        Traceback (most recent call last):
        grace.experiments.errors.RunSelectionError: there is no method 'Gaba' (did you mean \
'gaba'?). Known: baseline, gaba.
    """
    message = _unknown(kind, names, known)
    if message:
        raise RunSelectionError(message)


def select_runs(table: pl.DataFrame, wanted: Mapping[str, Sequence[object]]) -> pl.DataFrame:
    """Rows that match every filter.

    Args:
        table: of :meth:`~grace.experiments.ResultsStore.scores`, not empty.
        wanted: values to keep, by a column of :data:`FILTERS`; an empty sequence keeps all.

    Raises:
        RunSelectionError: a value does not occur in the table, or no row matches all filters.

    Example:
        >>> table = pl.DataFrame({"method": ["gaba", "dwa"], "seed": [1, 2]})
        >>> select_runs(table, {"method": ["gaba"], "seed": []}).height
        1
    """
    given = {column: list(values) for column, values in wanted.items() if values}
    wrong = [_unknown(column, values, table[column]) for column, values in given.items()]
    if any(wrong):
        raise RunSelectionError("; ".join(m.removesuffix(".") for m in wrong if m) + ".")
    for column, values in given.items():
        table = table.filter(pl.col(column).is_in(values))
    if not table.height:
        filters = ", ".join(f"{c} {' or '.join(map(str, v))}" for c, v in given.items())
        raise RunSelectionError(f"no run matches all filters: {filters}. Remedy: give fewer.")
    return table


def unmatched(table: pl.DataFrame, wanted: Mapping[str, Sequence[object]]) -> list[str]:
    """Values of filters without a row in ``table``, which other filters have removed."""
    found = {column: set(table[column]) for column in wanted}
    return [f"{c} {v}" for c, values in wanted.items() for v in values if v not in found[c]]


def refuse_repeated_seeds(table: pl.DataFrame, by: str = "method") -> None:
    """Refuse a table in which a method has several runs with one seed in a group.

    Args:
        table: of :func:`~grace.experiments.runs_table`.
        by: the column whose values are compared.

    Raises:
        RunSelectionError: there are such runs, for example with other numbers of threads.
    """
    twice = table.filter(pl.struct(*GROUP, by, "seed").is_duplicated())
    if twice.height:
        dataset, name, seed = twice.select("dataset", by, "seed").row(0)
        raise RunSelectionError(
            f"{dataset}: {name} has several runs with seed {seed}, for example with other numbers "
            "of threads. Remedy: give one of them, or keep them in stores of their own."
        )


def differing(table: pl.DataFrame, columns: Iterable[str], *, within: str = "") -> list[str]:
    """Those of ``columns`` that a table has and whose values differ.

    Args:
        table: any.
        columns: names; those that the table lacks are left out.
        within: only differences among rows with the same value of this column count.
    """
    present = [c for c in columns if c in table.columns]
    if not within:
        return [c for c in present if table[c].n_unique() > 1]
    counts = table.group_by(within).agg(pl.col(c).n_unique() for c in present)
    return [c for c in present if (counts[c] > 1).any()]


def _unknown(kind: str, names: Iterable[object], known: Iterable[object]) -> str:
    choices = pl.Series(list(dict.fromkeys(known))).drop_nulls().sort().to_list()
    wrong = [name for name in dict.fromkeys(names) if name not in choices]
    if not wrong:
        return ""
    by_fold = {str(choice).casefold(): str(choice) for choice in choices}
    parts = []
    for name in wrong:
        near = difflib.get_close_matches(str(name).casefold(), by_fold, n=1)
        hint = f" (did you mean {by_fold[near[0]]!r}?)" if near and isinstance(name, str) else ""
        parts.append(f"{name!r}{hint}")
    return f"there is no {kind} {' or '.join(parts)}. Known: {', '.join(map(str, choices))}."
