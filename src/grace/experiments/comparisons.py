"""Comparisons of methods over finished runs: over seeds, over units and over datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from grace.core.methods import parse_method
from grace.evaluation import (
    Difference,
    FriedmanNemenyi,
    PairedTest,
    friedman_nemenyi,
    paired_bootstrap,
    paired_tests,
    with_holm,
)
from grace.experiments.predictions_file import read_predictions
from grace.experiments.run_selection import refuse_repeated_seeds
from grace.experiments.table import GROUP, means_over_seeds
from grace.formatting import count

__all__ = [
    "CONTROL_WEIGHT",
    "Comparison",
    "compare_methods",
    "compare_over_units",
    "control_of",
    "rank_methods",
]

# GABA's smallest RUL weight, 0.05/1.05 to four digits: where the ratio of the gradients is large
# its average rests there, so the constant is the control that an adaptive weight has to beat.
CONTROL_WEIGHT = "0.0477"


def control_of(method: str) -> str | None:
    """The fixed-weight control of a GABA method: same inner loss, constant weights; else None.

    Example:
        >>> control_of("grace"), control_of("gaba"), control_of("amnl")
        ('weighted_mse+fixed:0.0477', 'mse+fixed:0.0477', None)
    """
    try:
        inner, outer, _ = parse_method(method.partition(" (")[0])
    except ValueError:  # a configuration with this name is refused by itself
        return None
    return f"{inner}+fixed:{CONTROL_WEIGHT}" if outer == "gaba" else None


@dataclass(frozen=True)
class Comparison:
    """Methods of one group against a reference by one metric.

    ``tests`` are over the seeds that both have. ``missing`` gives, by method, why it could not be
    compared, or that a control is absent. ``dataset``, ``preset``, ``settings``, ``mark`` and
    ``group`` identify the runs (see :func:`~grace.experiments.runs_table`).

    Example:
        >>> import polars as pl
        >>> seeds = [42, 123, 456, 789, 1024]
        >>> table = pl.DataFrame({"method": ["grace"] * 5 + ["baseline"] * 5, "seed": seeds * 2})
        >>> table = table.with_columns(
        ...     [pl.lit("sim").alias(name) for name in GROUP],
        ...     rmse_capped=pl.Series([10.1, 9.8, 10.3, 9.9, 10.0, 10.6, 10.1, 10.9, 10.6, 10.2]),
        ... )
        >>> (comparison,) = compare_methods(table, metrics=["rmse_capped"], reference="baseline")
        >>> comparison.metric, comparison.tests[0].n
        ('rmse_capped', 5)
    """

    dataset: str
    preset: str
    settings: str
    mark: str
    group: str
    metric: str
    tests: list[PairedTest]
    missing: dict[str, str] = field(default_factory=dict)


def compare_methods(
    table: pl.DataFrame,
    *,
    metrics: Sequence[str] = ("rmse_capped", "nasa_capped"),
    reference: str,
    by: str = "method",
    all_runs: pl.DataFrame | None = None,
) -> list[Comparison]:
    """Every method against ``reference``, per group of comparable runs and per metric.

    Each is paired with the reference over the seeds that both have; p values are corrected by Holm
    over the methods of the group. Groups come in order of appearance, metrics within them.

    Args:
        table: of :func:`~grace.experiments.runs_table`.
        metrics: columns to compare by.
        reference: value of ``by`` that the others are compared with.
        by: the column whose values are compared.
        all_runs: the table from which ``table`` was selected; a control of GABA that is in it is
            not reported as missing. None: ``table``.

    Raises:
        ValueError: a method has two runs with one seed in a group, so that none can be paired.

    Example:
        >>> import polars as pl
        >>> seeds = [42, 123, 456, 789, 1024]
        >>> table = pl.DataFrame({"method": ["grace"] * 5 + ["baseline"] * 5, "seed": seeds * 2})
        >>> table = table.with_columns(
        ...     [pl.lit("sim").alias(name) for name in GROUP],
        ...     rmse_capped=pl.Series([10.1, 9.8, 10.3, 9.9, 10.0, 10.6, 10.1, 10.9, 10.6, 10.2]),
        ... )
        >>> (comparison,) = compare_methods(table, metrics=["rmse_capped"], reference="baseline")
        >>> round(comparison.tests[0].mean_difference, 2)
        -0.46
    """
    refuse_repeated_seeds(table, by)
    everything = table if all_runs is None else all_runs
    return [
        _comparison(key, part, metric, reference, by, everything.filter(group=key[-1]))
        for key, part in table.group_by(*GROUP, maintain_order=True)
        for metric in metrics
    ]


def _comparison(
    key: tuple[Any, ...],
    part: pl.DataFrame,
    metric: str,
    reference: str,
    by: str,
    everything: pl.DataFrame,
) -> Comparison:
    scores = {
        str(name): dict(of_name.select("seed", metric).drop_nulls().rows())
        for (name,), of_name in part.group_by(by, maintain_order=True)
    }
    missing = _missing_controls(scores, everything[by]) if by == "method" else {}
    against = scores.pop(reference, None)
    tests = []
    if against is None:
        missing[reference] = "no finished run of the reference"
    for name, mine in scores.items() if against else ():
        common = sorted(mine.keys() & against.keys()) if against else []
        if against is None or len(common) < 2:
            missing[name] = f"{count(len(common), 'common seed')} with {reference}"
            continue
        pair = {name: [mine[s] for s in common], reference: [against[s] for s in common]}
        tests += paired_tests(pair, reference=reference)
    identity = dict(zip(GROUP, map(str, key), strict=True))
    return Comparison(metric=metric, tests=with_holm(tests), missing=missing, **identity)


def _missing_controls(names: Iterable[str], finished: Iterable[str]) -> dict[str, str]:
    """Controls of the GABA methods among ``names`` that are not among the finished runs."""
    present = {name.partition(" (")[0] for name in finished}
    absent = {}
    for name in names:
        control = control_of(name)
        # fixed:w alone means the plain loss
        if control and not {control, control.removeprefix("mse+")} & present:
            absent[control] = f"no finished run of the fixed-weight control of {name}"
    return absent


def compare_over_units(
    table: pl.DataFrame,
    *,
    reference: str,
    metrics: Sequence[str] = ("rmse", "nasa_mean"),
    predictions: pl.DataFrame | None = None,
    seed: int = 0,
) -> dict[str, dict[str, list[Difference]]]:
    """Differences to ``reference`` with intervals over test units, by group and method.

    Where :func:`compare_methods` asks whether another seed would give the same order, this asks
    whether other units would: units are drawn, with their predictions at the last row by all seeds
    that both methods have. Labels are capped.

    Args:
        table: of :func:`~grace.experiments.runs_table`; its folders are read.
        reference: method that the others are compared with.
        metrics: names known to :func:`grace.evaluation.bootstrap_interval`.
        predictions: of :meth:`~grace.experiments.ResultsStore.predictions`, read instead of the
            folders: ``run``, ``unit``, ``rul_true_capped`` and ``rul`` at each unit's last row.
        seed: of the resampling.

    Returns:
        Group hash to method to one difference per metric; methods without a seed in common with
        the reference are left out.

    Raises:
        ValueError: a method has two runs with one seed in a group.

    Example:
        >>> from grace.experiments import runs_table
        >>> table = runs_table(["runs/first"])
        >>> compare_over_units(table, reference="grace")  # only one method: nothing to compare with
        {}
    """
    refuse_repeated_seeds(table)
    found: dict[str, dict[str, list[Difference]]] = {}
    place = "folder" if predictions is None else "run"
    known = {} if predictions is None else _by_run(predictions)
    for key, part in table.group_by(*GROUP, maintain_order=True):
        runs = {
            str(name): dict(of_name.select("seed", place).rows())
            for (name,), of_name in part.group_by("method", maintain_order=True)
        }
        against = runs.pop(reference, {})
        for name, mine in runs.items():
            common = sorted(mine.keys() & against.keys())
            if common:
                pairs = [[known.get(m[s]) for m in (mine, against)] for s in common]
                rows = pl.concat(
                    [
                        _paired_rows(
                            _last_rows(mine[s]) if a is None else a,
                            _last_rows(against[s]) if b is None else b,
                        )
                        for s, (a, b) in zip(common, pairs, strict=True)
                    ]
                )
                found.setdefault(str(key[-1]), {})[name] = list(_differences(rows, metrics, seed))
    return found


def _by_run(predictions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    finite = predictions.filter(pl.col("rul_true_capped").is_finite())
    columns = ("unit", "rul_true_capped", "rul")
    return {str(run): p.select(columns) for (run,), p in finite.group_by("run")}


def _last_rows(folder: str) -> pl.DataFrame:
    """Predictions of a run at each unit's last row: unit, rul_true_capped, rul."""
    frame = read_predictions(Path(folder) / "predictions.parquet")
    known = frame.group_by("unit", maintain_order=True).last()
    finite = known.filter(pl.col("rul_true_capped").is_finite())
    return finite.select("unit", "rul_true_capped", "rul")


def _paired_rows(mine: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return mine.join(other.select("unit", rul_other="rul"), on="unit", maintain_order="left")


def _differences(rows: pl.DataFrame, metrics: Sequence[str], seed: int) -> Iterator[Difference]:
    true, a, b = (rows[c].to_numpy() for c in ("rul_true_capped", "rul", "rul_other"))
    unit = rows["unit"].cast(pl.String).to_numpy()
    for metric in metrics:
        yield paired_bootstrap(metric, true, a, b, unit=unit, seed=seed)


def rank_methods(
    table: pl.DataFrame, *, metric: str = "rmse_capped", alpha: float = 0.05
) -> FriedmanNemenyi:
    """Friedman's test and Nemenyi's critical difference of methods over datasets.

    A block is a group of comparable runs (usually one per dataset), its scores the means over
    seeds. Methods that are not in every group are left out.

    Raises:
        ValueError: fewer than three methods or two groups remain, or groups share a dataset, so
            that they are not independent blocks.

    Example:
        >>> import polars as pl
        >>> scores = [10.4, 10.6, 12.2, 10.0, 10.1, 10.5, 9.6, 9.7, 10.9, 10.2, 10.4, 11.4]
        >>> table = pl.DataFrame({
        ...     "method": ["grace", "gaba", "dwa"] * 4, "rmse_capped": scores, "seed": [42] * 12,
        ...     "dataset": [f"FD00{k}" for k in (1, 2, 3, 4) for _ in range(3)],
        ... }).with_columns([pl.lit("").alias(name) for name in GROUP if name != "dataset"])
        >>> rank_methods(table).mean_ranks
        (1.0, 2.0, 3.0)
    """
    means = means_over_seeds(table)
    groups = means.select(GROUP).unique(maintain_order=True)
    if groups["dataset"].n_unique() < groups.height:
        raise ValueError(
            "several groups are of one dataset, so they are not independent. Remedy: give the "
            "runs of one configuration per dataset."
        )
    counts = means.group_by("method", maintain_order=True).len()
    names = counts.filter(pl.col("len") == groups.height)["method"].to_list()
    score = f"{metric}_mean"
    scores = [
        [float(part.filter(pl.col("method") == name)[score].item()) for name in names]
        for _, part in means.group_by("group", "dataset", maintain_order=True)
    ]
    if len(names) < 3 or len(scores) < 2:
        raise ValueError(
            f"a ranking needs 3 methods on 2 datasets or more; {len(names)} method(s) have runs "
            f"on all {len(scores)} dataset(s)"
        )
    return friedman_nemenyi(scores, names, alpha=alpha)
