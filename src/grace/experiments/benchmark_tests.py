"""Tests on a grid of methods, datasets and seeds: effects of the 2 x 2, and pairs of methods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grace.evaluation import holm, paired_tests
from grace.evaluation.comparison import MIN_SEEDS, t_half_width
from grace.experiments.benchmark import validation_scores
from grace.experiments.results_store import ResultsStore

__all__ = [
    "EFFECTS",
    "FACTORIAL",
    "TESTED_METRICS",
    "Effect",
    "Pair",
    "Record",
    "detectable",
    "factorial_effects",
    "pair_tests",
    "win_tie_loss",
]

# Cells of the 2 x 2: inner loss by outer balancer.
FACTORIAL = {"A": "baseline", "B": "amnl", "C": "gaba", "D": "grace"}
EFFECTS = {
    "balancing": {"A": -0.5, "B": -0.5, "C": 0.5, "D": 0.5},
    "failure-biased loss": {"A": -0.5, "B": 0.5, "C": -0.5, "D": 0.5},
    "interaction": {"A": 1.0, "B": -1.0, "C": -1.0, "D": 1.0},
}
TESTED_METRICS = ("rmse_capped", "nasa_capped", "rmse_raw")
"""Columns of :meth:`ResultsStore.scores` that are tested; lower is better."""
_Array = npt.NDArray[np.float64]


class Effect(NamedTuple):
    """A contrast of the 2 x 2 on one dataset over common seeds, in the unit of the metric.

    Negative means lower error. ``low`` and ``high`` are the limits of the 95% t interval over
    seeds, ``p`` is of the t-test that the mean is zero, and ``p_holm`` is corrected over the
    ``family``: the number of all tests made together. All of them are None with fewer than five
    seeds or equal differences.
    """

    metric: str
    dataset: str
    name: str
    seeds: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    family: int


class Pair(NamedTuple):
    """Method ``a`` minus method ``b`` on one dataset by one metric, over common seeds.

    ``half_width`` is that of the paired 95% t interval. ``needed`` is the smallest mean difference
    that would be significant with this standard deviation if it were the clearest of the
    ``family`` (all pairs of the dataset and metric): Holm then compares its p value with
    alpha/family. Both are 0 for equal differences, which are not tested (``p_holm`` 1).
    """

    metric: str
    dataset: str
    a: str
    b: str
    seeds: int
    mean: float
    half_width: float
    needed: float
    p_holm: float
    family: int


class Record(NamedTuple):
    """Comparisons of one method with every other on every dataset: significant or not."""

    method: str
    wins: int
    ties: int
    losses: int


def factorial_effects(
    store: ResultsStore, *, metrics: Sequence[str] = TESTED_METRICS
) -> list[Effect]:
    """Main effects of balancing and of the failure-biased loss, and their interaction.

    The effect of balancing is the mean of C and D minus that of A and B; of the loss, B and D
    minus A and C; the interaction is (D − C) − (B − A). Each is computed per seed, so that what
    the methods share (data, split, initial weights) cancels. All datasets, effects and metrics are
    one family for Holm's correction.

    Args:
        store: with the runs of the four methods of :data:`FACTORIAL`.
        metrics: columns of :meth:`ResultsStore.scores`.
    """
    from scipy import stats  # a second, which every command would pay

    table = validation_scores(store)
    rows: list[tuple[str, str, str, _Array]] = []
    for metric in metrics:
        for (dataset,), part in table.group_by("dataset", maintain_order=True):
            by = {
                key: dict(part.filter(method=name).select("seed", metric).rows())
                for key, name in FACTORIAL.items()
            }
            seeds = sorted(set.intersection(*(set(values) for values in by.values())))
            if len(seeds) < 2:
                continue
            for name, signs in EFFECTS.items():
                parts = [[sign * by[key][s] for s in seeds] for key, sign in signs.items()]
                rows.append((metric, str(dataset), name, np.sum(parts, axis=0)))
    tested = [i for i, (*_, d) in enumerate(rows) if d.size >= MIN_SEEDS and np.ptp(d) > 0]
    p_values = {i: float(stats.ttest_1samp(rows[i][3], 0.0).pvalue) for i in tested}
    corrected = dict(zip(tested, holm(list(p_values.values())) if tested else [], strict=True))
    effects = []
    for i, (metric, dataset, name, d) in enumerate(rows):
        mean = float(d.mean())
        low = high = p = p_holm = None
        if i in corrected:
            half = t_half_width(d)
            low, high = mean - half, mean + half
            p, p_holm = p_values[i], float(corrected[i])
        family = len(tested)
        effects.append(
            Effect(metric, dataset, name, int(d.size), mean, low, high, p, p_holm, family)
        )
    return effects


def pair_tests(
    store: ResultsStore,
    *,
    metric: str = "rmse_capped",
    methods: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> list[Pair]:
    """Every pair of methods on every dataset, by the paired t-test over common seeds.

    The p values are corrected by Holm over all pairs of a dataset. Pairs with fewer than five
    common seeds are left out.

    Args:
        store: with the runs.
        metric: column of :meth:`ResultsStore.scores`; lower is better.
        methods: to compare; None: all.
        alpha: level.
    """
    table = validation_scores(store)
    names = list(methods or table["method"].unique(maintain_order=True))
    found: list[Pair] = []
    for (dataset,), part in table.group_by("dataset", maintain_order=True):
        scores = {n: dict(part.filter(method=n).select("seed", metric).rows()) for n in names}
        differences: list[tuple[str, str, _Array]] = []
        p_values: list[float] = []
        for a, b in combinations(names, 2):
            seeds = sorted(scores[a].keys() & scores[b].keys())
            if len(seeds) < MIN_SEEDS:
                continue
            both = {n: [scores[n][s] for s in seeds] for n in (a, b)}
            (test,) = paired_tests(both)
            # Equal differences have no t statistic; a p value of 1 counts them as undecided.
            p_values.append(1.0 if test.p_t is None else test.p_t)
            differences.append((a, b, np.subtract(both[a], both[b])))
        corrected = holm(p_values).tolist() if p_values else []
        family = len(differences)
        for (a, b, d), p in zip(differences, corrected, strict=True):
            half, needed = t_half_width(d), t_half_width(d, alpha=alpha / family)
            mean, seeds_ = float(d.mean()), int(d.size)
            found.append(
                Pair(metric, str(dataset), a, b, seeds_, mean, half, needed, float(p), family)
            )
    return found


def win_tie_loss(
    store: ResultsStore,
    *,
    metric: str = "rmse_capped",
    methods: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> list[Record]:
    """Wins, ties and losses of each method against every other on every dataset.

    A win is a lower error with a Holm-corrected p value below ``alpha`` (:func:`pair_tests`); a
    tie is a pair that is not decided.

    Args:
        store: with the runs.
        metric: column of :meth:`ResultsStore.scores`; lower is better.
        methods: to compare; None: all.
        alpha: level.
    """
    names = list(methods or validation_scores(store)["method"].unique(maintain_order=True))
    count = {name: [0, 0, 0] for name in names}
    for pair in pair_tests(store, metric=metric, methods=names, alpha=alpha):
        if pair.p_holm >= alpha:
            count[pair.a][1] += 1
            count[pair.b][1] += 1
            continue
        better, worse = (pair.a, pair.b) if pair.mean < 0 else (pair.b, pair.a)
        count[better][0] += 1
        count[worse][2] += 1
    return [Record(name, *count[name]) for name in names]


def detectable(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Medians of ``half_width`` and ``needed`` over the pairs, in the unit of the metric."""
    return (
        float(np.median([p.half_width for p in pairs])),
        float(np.median([p.needed for p in pairs])),
    )
