"""Header of the benchmark page: which runs it is of, and the commands that make them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from grace.evaluation.comparison import MIN_SEEDS
from grace.formatting import count
from grace.report.benchmark_sentences import listed

__all__ = ["grid_commands", "provenance_text", "repeat_section"]

_DIGITS = 12  # of a hash that are printed


def provenance_text(table: pl.DataFrame) -> str:
    """Number of runs by their number of seeds, seeds, version and code.

    Args:
        table: validation-selected scores, a row per run.
    """
    sizes = table.group_by("dataset", "method").agg(pl.len().alias("n"), pl.col("seed"))
    parts = []
    for n in sorted(sizes["n"].unique().to_list(), reverse=True):
        mine = sizes.filter(n=n)
        seeds = sorted(mine["seed"].explode().unique().to_list())
        kind = "" if n >= MIN_SEEDS else ", controls that are not tested"
        parts.append(
            f"{n * mine.height} with {count(n, 'seed')} per method and dataset "
            f"({count(mine['method'].n_unique(), 'method')} on "
            f"{count(mine['dataset'].n_unique(), 'dataset')}{kind}; "
            f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})"
        )
    presets = listed(f"`{p}`" for p in table["preset"].unique().sort().to_list())
    versions = listed(table["version"].unique().sort().to_list())
    return (
        f"{count(table.height, 'training')} of preset {presets}: {listed(parts)}. grace "
        f"{versions}; {_code(table)}. Wall times are in the results, but not on this page: they "
        "were measured on shared, loaded machines and are no measure of cost."
    )


def _code(table: pl.DataFrame) -> str:
    known = table.drop_nulls("code")
    missing = table.height - known.height
    parts = [
        f"{code[:_DIGITS]} ({count(n, 'training')})"
        for code, n in sorted(known.group_by("code").len().iter_rows())
    ]
    text = f"SHA-256 of the package's source {listed(parts)}" if parts else ""
    if missing:
        text += "; " if text else ""
        text += f"the hash of the source was not recorded for {count(missing, 'training')}"
    return text


def grid_commands(table: pl.DataFrame, *, test_selected: bool) -> list[str]:
    """Commands that train the runs again: methods with equal options, seeds and datasets together.

    Args:
        table: validation-selected scores, a row per run.
        test_selected: whether the runs also have a test-selected checkpoint.
    """
    groups: dict[tuple[str, tuple[int, ...], tuple[str, ...], int | None, str], list[str]] = {}
    for (method, preset, threads), part in table.group_by(
        "method", "preset", "threads", maintain_order=True
    ):
        name, _, options = str(method).partition(" (")
        by_seeds: dict[tuple[int, ...], list[str]] = {}
        for (dataset,), mine in part.group_by("dataset", maintain_order=True):
            by_seeds.setdefault(tuple(sorted(mine["seed"].to_list())), []).append(str(dataset))
        for seeds, datasets in by_seeds.items():
            key = (options.rstrip(")"), seeds, tuple(sorted(datasets)), threads, str(preset))
            groups.setdefault(key, []).append(name)
    # The largest grid first; its methods begin with the baseline, which others are compared with.
    ordered = sorted(groups.items(), key=lambda g: (-len(g[0][1]), g[0][0], sorted(g[1])))
    return [
        _command(key, sorted(methods, key=lambda m: (m != "baseline", m)), k, test_selected)
        for k, (key, methods) in enumerate(ordered, start=1)
    ]


def _command(
    key: tuple[str, tuple[int, ...], tuple[str, ...], int | None, str],
    methods: Sequence[str],
    k: int,
    test_selected: bool,
) -> str:
    options, seeds, datasets, threads, preset = key
    first = f"grace grid --preset {preset}{' --select-on test' if test_selected else ''}"
    if threads is not None:
        first += f" --threads-per-run {threads}"
    lines = [f"{first} --out runs/part{k}"]
    for option, values in (("--dataset", datasets), ("--seed", seeds), ("--method", methods)):
        lines.append(" ".join(f"{option} {value}" for value in values))
    if options:
        lines += [f"--set method.outer_options.{o}" for o in options.split(", ")]
    return " \\\n  ".join(lines)


def repeat_section(table: pl.DataFrame, *, test_selected: bool) -> str:
    """Commands for all runs and for this page, as a block of Markdown."""
    commands = grid_commands(table, test_selected=test_selected)
    parts = " ".join(f"runs/part{k}" for k in range(1, len(commands) + 1))
    last = (
        f"grace results add runs/all {parts}\ngrace results export runs/all --out results\n"
        "grace results page results --out benchmark.md"
    )
    return "```\n" + "\n".join([*commands, last]) + "\n```"
