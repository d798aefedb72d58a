"""What a grid of methods, datasets and seeds says: cells, effects, wins, and the optimism gap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.evaluation import Interval, bootstrap_interval, holm, paired_tests
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments.published import PUBLISHED
from grace.experiments.results_store import ResultsStore
from grace.prediction.artifact import ArtifactError

__all__ = [
    "FACTORIAL",
    "Cell",
    "Effect",
    "Record",
    "cells",
    "factorial_effects",
    "optimism",
    "selection_share",
    "validation_scores",
    "win_tie_loss",
]

# Cells of the 2 x 2: inner loss by outer balancer.
FACTORIAL = {"A": "baseline", "B": "amnl", "C": "gaba", "D": "grace"}
_EFFECTS = {
    "balancing": {"A": -0.5, "B": -0.5, "C": 0.5, "D": 0.5},
    "failure-biased loss": {"A": -0.5, "B": 0.5, "C": -0.5, "D": 0.5},
    "interaction": {"A": 1.0, "B": -1.0, "C": -1.0, "D": 1.0},
}


class Cell(NamedTuple):
    """A method on a dataset, over ``seeds`` seeds; standard deviations with n − 1.

    ``interval`` is that of the RMSE over test units, the predictions of all seeds of a unit taken
    together. ``test_rmse`` is of the same trainings with the checkpoint of the best test RMSE, and
    ``gap`` the mean difference ``test_rmse - rmse``; None where that protocol was not run.
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


class Effect(NamedTuple):
    """A contrast of the 2 x 2 on one dataset over common seeds, in the unit of the metric.

    Negative means lower error. ``low`` and ``high`` are the limits of the 95% t interval over
    seeds; they and ``p_holm`` (corrected over all effects of the table) are None with fewer than
    five seeds or equal differences.
    """

    dataset: str
    name: str
    seeds: int
    mean: float
    low: float | None
    high: float | None
    p_holm: float | None


class Record(NamedTuple):
    """Comparisons of one method with every other on every dataset: significant or not."""

    method: str
    wins: int
    ties: int
    losses: int


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
        pairs = None
        if selected is not None and selected.height:
            pairs = part.select("seed", "rmse_capped").join(
                selected.select("seed", other="rmse_capped"), on="seed"
            )
        has_pairs = pairs is not None and pairs.height > 0
        values, nasa = part["rmse_capped"], part["nasa_capped"]
        found.append(
            Cell(
                str(dataset), str(method), part.height,
                _mean(values), _std(values),
                _interval(predictions.filter(pl.col("run").is_in(part["run"].to_list())), seed),
                _mean(nasa), _std(nasa), _mean(part["rmse_raw"]),
                _mean(pairs["other"]) if pairs is not None and has_pairs else None,
                _mean(pairs["other"] - pairs["rmse_capped"])
                if pairs is not None and has_pairs
                else None,
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


def factorial_effects(store: ResultsStore, *, metric: str = "rmse_capped") -> list[Effect]:
    """Main effects of balancing and of the failure-biased loss, and their interaction.

    The effect of balancing is the mean of C and D minus that of A and B; of the loss, B and D
    minus A and C; the interaction is (D − C) − (B − A). Each is computed per seed, so that what
    the methods share (data, split, initial weights) cancels.

    Args:
        store: with the runs of the four methods of :data:`FACTORIAL`.
        metric: column of :meth:`ResultsStore.scores`.
    """
    from scipy import stats  # a second, which every command would pay

    table = validation_scores(store)
    rows: list[tuple[str, str, npt.NDArray[np.float64]]] = []
    for (dataset,), part in table.group_by("dataset", maintain_order=True):
        by = {
            key: dict(part.filter(method=name).select("seed", metric).rows())
            for key, name in FACTORIAL.items()
        }
        seeds = sorted(set.intersection(*(set(values) for values in by.values())))
        if len(seeds) < 2:
            continue
        for name, signs in _EFFECTS.items():
            parts = [[sign * by[key][s] for s in seeds] for key, sign in signs.items()]
            rows.append((str(dataset), name, np.sum(parts, axis=0)))
    tested = [i for i, (_, _, d) in enumerate(rows) if d.size >= MIN_SEEDS and np.ptp(d) > 0]
    p_values = [float(stats.ttest_1samp(rows[i][2], 0.0).pvalue) for i in tested]
    corrected = dict(zip(tested, holm(p_values) if tested else [], strict=True))
    effects = []
    for i, (dataset, name, d) in enumerate(rows):
        mean = float(d.mean())
        low = high = None
        if i in corrected:
            half = float(stats.t.ppf(0.975, d.size - 1) * d.std(ddof=1) / np.sqrt(d.size))
            low, high = mean - half, mean + half
        p = float(corrected[i]) if i in corrected else None
        effects.append(Effect(dataset, name, int(d.size), mean, low, high, p))
    return effects


def win_tie_loss(
    store: ResultsStore,
    *,
    metric: str = "rmse_capped",
    methods: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> list[Record]:
    """Wins, ties and losses of each method against every other on every dataset.

    A win is a lower error with a Holm-corrected p value of the paired t-test over seeds below
    ``alpha``; the correction is over all pairs of a dataset. Pairs with fewer than five common
    seeds are not counted.

    Args:
        store: with the runs.
        metric: column of :meth:`ResultsStore.scores`; lower is better.
        methods: to compare; None: all.
        alpha: level.
    """
    table = validation_scores(store)
    names = list(methods or table["method"].unique(maintain_order=True))
    count = {name: [0, 0, 0] for name in names}
    for _, part in table.group_by("dataset", maintain_order=True):
        scores = {n: dict(part.filter(method=n).select("seed", metric).rows()) for n in names}
        tests: list[tuple[str, str, float, float]] = []
        for a, b in combinations(names, 2):
            seeds = sorted(scores[a].keys() & scores[b].keys())
            if len(seeds) < MIN_SEEDS:
                continue
            (test,) = paired_tests(
                {a: [scores[a][s] for s in seeds], b: [scores[b][s] for s in seeds]}
            )
            tests.append((a, b, test.mean_difference, 1.0 if test.p_t is None else test.p_t))
        corrected = holm([p for *_, p in tests]).tolist() if tests else []
        for (a, b, difference, _), p in zip(tests, corrected, strict=True):
            if p >= alpha:
                count[a][1] += 1
                count[b][1] += 1
                continue
            better, worse = (a, b) if difference < 0 else (b, a)
            count[better][0] += 1
            count[worse][2] += 1
    return [Record(name, *count[name]) for name in names]


def optimism(store: ResultsStore) -> dict[str, tuple[float, float, int]]:
    """Test- minus validation-selected RMSE of the same trainings: mean, std and runs by dataset.

    Over all methods and seeds; negative means that selection on the test set looks better.
    """
    validated, selected = validation_scores(store), _scores(store, "test")
    if not validated.height or not selected.height:
        return {}
    keys = ("dataset", "method", "seed")
    pairs = validated.select(*keys, "rmse_capped").join(
        selected.select(*keys, other="rmse_capped"), on=keys
    )
    found = {}
    for (dataset,), part in pairs.group_by("dataset", maintain_order=True):
        gap = (part["other"] - part["rmse_capped"]).to_numpy()
        found[str(dataset)] = (
            float(gap.mean()), float(gap.std(ddof=1)) if gap.size > 1 else 0.0, gap.size
        )  # fmt: skip
    return found


def selection_share(found: Sequence[Cell]) -> list[dict[str, Any]]:
    """Published figures of the same methods next to both protocols measured here.

    Each row: dataset, method, published, validation, test (means over seeds), and ``share``: the
    part of the lead of the published figure over the validation-selected one that selection on
    the test set explains, (validation − test) / (validation − published); None where the
    published figure does not lead.
    """
    by = {(c.dataset, c.method): c for c in found}
    rows = []
    for entry in PUBLISHED:
        cell = by.get((entry.dataset, entry.method))
        if cell is None or cell.test_rmse is None:
            continue
        lead = cell.rmse - entry.rmse
        share = (cell.rmse - cell.test_rmse) / lead if lead > 0 else None
        rows.append(
            {
                "dataset": entry.dataset,
                "method": entry.method,
                "published": entry.rmse,
                "validation": cell.rmse,
                "test": cell.test_rmse,
                "share": share,
            }
        )
    return rows
