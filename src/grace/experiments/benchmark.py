"""What a grid of methods, datasets and seeds says: cells, optimism gap, published figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from grace.evaluation import Interval, bootstrap_interval
from grace.evaluation.comparison import MIN_SEEDS, t_half_width
from grace.experiments.published import PUBLISHED
from grace.experiments.results_store import ResultsStore
from grace.prediction.artifact import ArtifactError

__all__ = [
    "Cell",
    "Gap",
    "PublishedRow",
    "cells",
    "optimism",
    "published_rows",
    "validation_scores",
]


class Cell(NamedTuple):
    """A method on a dataset, over ``seeds`` seeds; standard deviations with n − 1.

    ``interval`` is that of the RMSE over test units, the predictions of all seeds of a unit taken
    together. ``test_rmse`` is of the same trainings with the checkpoint of the best test RMSE, and
    ``gap`` and ``gap_std`` are of the differences ``test_rmse - rmse``; None where that protocol
    was not run.
    """

    dataset: str
    method: str
    seeds: int
    rmse: float
    rmse_std: float | None
    interval: Interval | None
    nasa: float
    nasa_std: float | None
    rmse_raw: float
    test_rmse: float | None
    gap: float | None
    gap_std: float | None


class Gap(NamedTuple):
    """Test- minus validation-selected RMSE of the same trainings on one dataset.

    Over ``seeds``, of the means over ``methods``: mean, standard deviation (n − 1) and limits of
    the 95% t interval. By construction no training has a positive gap: the test-selected
    checkpoint is the one with the lowest test RMSE of its epochs.
    """

    dataset: str
    methods: int
    seeds: int
    mean: float
    std: float
    low: float
    high: float


class PublishedRow(NamedTuple):
    """A published RMSE of a method next to both protocols measured here (means over seeds).

    ``lead`` is validation-selected minus published RMSE, ``error`` the standard error of the
    former over seeds (None with one seed). ``share`` is the part of the lead that selection on the
    test set explains, (validation − test) / lead; None unless the lead exceeds two standard
    errors, because below that it may be sampling variability of our seeds.
    """

    dataset: str
    method: str
    published: float
    validation: float
    test: float
    lead: float
    error: float | None
    share: float | None


def cells(store: ResultsStore, *, seed: int = 0) -> list[Cell]:
    """Every method on every dataset, with the checkpoint selected on validation units.

    Runs of different settings must not be mixed: filter the store first, or export it apart.

    Args:
        store: with the runs.
        seed: of the bootstrap.

    Raises:
        ArtifactError: a method has two runs with one seed on a dataset.
    """
    validated = validation_scores(store)
    optimistic = _scores(store, "test")
    predictions = store.predictions("validation")
    found = []
    for (dataset, method), part in validated.group_by("dataset", "method", maintain_order=True):
        selected = optimistic.filter(dataset=dataset, method=method) if optimistic.height else None
        gap, test_rmse = None, None
        if selected is not None and selected.height:
            pairs = part.select("seed", "rmse_capped").join(
                selected.select("seed", other="rmse_capped"), on="seed"
            )
            if pairs.height:
                gap, test_rmse = pairs["other"] - pairs["rmse_capped"], _mean(pairs["other"])
        values, nasa = part["rmse_capped"], part["nasa_capped"]
        found.append(
            Cell(
                str(dataset), str(method), part.height,
                _mean(values), _std(values),
                _interval(predictions.filter(pl.col("run").is_in(part["run"].to_list())), seed),
                _mean(nasa), _std(nasa), _mean(part["rmse_raw"]), test_rmse,
                None if gap is None else _mean(gap), None if gap is None else _std(gap),
            )
        )  # fmt: skip
    return found


def validation_scores(store: ResultsStore) -> pl.DataFrame:
    """Scores of the checkpoints that validation units selected, each run once.

    Raises:
        ArtifactError: a method has two runs with one seed on a dataset.
    """
    return _scores(store, "validation")


def _scores(store: ResultsStore, protocol: str) -> pl.DataFrame:
    table = store.scores(protocol=protocol)
    if not table.height:
        return table
    keys = ("dataset", "method", "seed")
    twice = table.filter(pl.struct(*keys).is_duplicated())
    if twice.height:
        dataset, method, number = twice.select(keys).row(0)
        raise ArtifactError(
            f"{dataset}: {method} has several runs with seed {number} (other settings or threads). "
            "Remedy: keep the runs of one configuration in a store of their own."
        )
    return table


def _mean(values: pl.Series) -> float:
    return float(values.to_numpy().mean())


def _std(values: pl.Series) -> float | None:
    return float(values.to_numpy().std(ddof=1)) if values.len() > 1 else None


def _interval(rows: pl.DataFrame, seed: int) -> Interval | None:
    known = rows.filter(pl.col("rul_true_capped").is_not_null())
    if known["unit"].n_unique() < 2:
        return None
    return bootstrap_interval(
        "rmse",
        known["rul_true_capped"].to_numpy(),
        known["rul"].to_numpy(),
        unit=known["unit"].to_numpy(),
        seed=seed,
    )


def optimism(store: ResultsStore) -> list[Gap]:
    """Test- minus validation-selected RMSE of the same trainings, by dataset.

    Only methods with at least five seeds under both protocols count, over the seeds that all of
    them have: single runs of further methods would shift the mean towards their seed.
    """
    validated, selected = validation_scores(store), _scores(store, "test")
    if not validated.height or not selected.height:
        return []
    keys = ("dataset", "method", "seed")
    pairs = validated.select(*keys, "rmse_capped").join(
        selected.select(*keys, other="rmse_capped"), on=keys, maintain_order="left"
    )
    found = []
    for (dataset,), part in pairs.group_by("dataset", maintain_order=True):
        by = {
            method: dict(mine.select("seed", pl.col("other") - pl.col("rmse_capped")).rows())
            for method, mine in part.group_by("method", maintain_order=True)
            if mine.height >= MIN_SEEDS
        }
        seeds = sorted(set.intersection(*(set(v) for v in by.values()))) if by else []
        if len(seeds) < MIN_SEEDS:
            continue
        gap = np.array([np.mean([values[s] for values in by.values()]) for s in seeds])
        mean, half = float(gap.mean()), t_half_width(gap)
        std = float(gap.std(ddof=1))
        found.append(Gap(str(dataset), len(by), gap.size, mean, std, mean - half, mean + half))
    return found


def published_rows(found: Sequence[Cell]) -> list[PublishedRow]:
    """Published figures of the methods that were run here under both protocols."""
    by = {(c.dataset, c.method): c for c in found}
    rows = []
    for entry in PUBLISHED:
        cell = by.get((entry.dataset, entry.method))
        if cell is None or cell.test_rmse is None:
            continue
        lead = cell.rmse - entry.rmse
        error = None if cell.rmse_std is None else cell.rmse_std / float(np.sqrt(cell.seeds))
        clear = error is not None and lead > 2.0 * error
        share = (cell.rmse - cell.test_rmse) / lead if clear else None
        rows.append(
            PublishedRow(
                entry.dataset, entry.method, entry.rmse, cell.rmse, cell.test_rmse, lead, error,
                share,
            )
        )  # fmt: skip
    return rows
