"""Is one method better than another? Paired tests over seeds, over engines and over data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import stats

from grace.evaluation.bootstrap import Interval, resample, unit_index
from grace.evaluation.metrics import UNIT_METRICS, Array, JsonFloat, as_vector, errors

__all__ = [
    "Difference",
    "FriedmanNemenyi",
    "PairedTest",
    "friedman_nemenyi",
    "holm",
    "paired_bootstrap",
    "paired_tests",
]


class PairedTest(BaseModel):
    """Method ``a`` against method ``b`` over the same seeds; differences are a - b.

    ``d_z`` is Cohen's effect size of paired differences, mean / standard deviation (n - 1); it is
    infinite if the difference is the same for every seed and not zero. ``p_*_holm`` are corrected
    for the number of comparisons made together.
    """

    model_config = ConfigDict(frozen=True)

    a: str
    b: str
    n: int
    mean_difference: float
    std_difference: float
    d_z: JsonFloat
    p_t: float
    p_t_holm: float
    p_wilcoxon: float
    p_wilcoxon_holm: float


class Difference(BaseModel):
    """metric(a) - metric(b) on the same engines, with an interval over engines."""

    model_config = ConfigDict(frozen=True)

    metric: str
    value: float
    interval: Interval

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.interval.low > 0.0 or self.interval.high < 0.0


class FriedmanNemenyi(BaseModel):
    """Mean ranks of k methods over N blocks (1 is best) and the critical difference.

    ``groups`` are the maximal sets of methods whose mean ranks differ by less than
    ``critical_difference``: the bars of a critical-difference diagram.
    """

    model_config = ConfigDict(frozen=True)

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    n_blocks: int
    statistic: float
    p_value: float
    alpha: float
    q: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


def holm(p_values: npt.ArrayLike) -> Array:
    """Holm's step-down correction of m p-values, (m,), in the order given.

    p̃_(i) = max_{j ≤ i} min(1, (m - j + 1) p_(j)). Source: Holm, Scand. J. Statist. 6, 1979.

    Raises:
        ValueError: a value outside [0, 1].
    """
    p = as_vector(p_values, "p_values")
    if p.min() < 0.0 or p.max() > 1.0:
        raise ValueError("p_values must lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1.0, np.arange(p.size, 0, -1) * p[order]))
    out = np.empty_like(p)
    out[order] = stepped
    return out


def _t_test(d: Array) -> tuple[float, float]:
    """Effect size d_z and two-sided p of the paired t-test on differences (n,)."""
    mean, std = float(d.mean()), float(d.std(ddof=1))
    if np.ptp(d) == 0.0:
        return (0.0, 1.0) if mean == 0.0 else (float(np.copysign(np.inf, mean)), 0.0)
    effect = mean / std
    return effect, float(2.0 * stats.t.sf(abs(effect) * np.sqrt(d.size), d.size - 1))


def paired_tests(
    scores: Mapping[str, Sequence[float]], *, reference: str | None = None
) -> list[PairedTest]:
    """Paired t and Wilcoxon signed-rank tests over seeds, corrected by Holm within each family.

    Both tests are two-sided. With 5 seeds the smallest p Wilcoxon's exact test can give is
    0.0625: five seeds cannot make it significant at 0.05, whatever the differences.

    Args:
        scores: per method its figure for each seed, same seeds in the same order, n >= 2.
        reference: compare every other method with this one; None: all pairs.

    Raises:
        ValueError: fewer than two methods or seeds, unequal numbers of seeds, a figure that is not
            finite, or an unknown reference.
    """
    values = {name: as_vector(v, name) for name, v in scores.items()}
    if len(values) < 2:
        raise ValueError("a comparison needs at least two methods")
    sizes = {v.size for v in values.values()}
    if len(sizes) > 1 or min(sizes) < 2:
        raise ValueError("every method needs the same seeds, and at least two of them")
    if reference is not None and reference not in values:
        raise ValueError(f"unknown reference {reference!r}; known: {', '.join(values)}")
    if reference is None:
        pairs = list(combinations(values, 2))
    else:
        pairs = [(name, reference) for name in values if name != reference]
    differences = [values[a] - values[b] for a, b in pairs]
    t_tests = [_t_test(d) for d in differences]
    p_t = np.array([p for _, p in t_tests])
    p_w = np.array(
        [float(stats.wilcoxon(d).pvalue) if (d != 0.0).any() else 1.0 for d in differences]
    )
    rows = zip(pairs, differences, t_tests, p_t, holm(p_t), p_w, holm(p_w), strict=True)
    return [
        PairedTest(
            a=a,
            b=b,
            n=d.size,
            mean_difference=float(d.mean()),
            std_difference=float(d.std(ddof=1)),
            d_z=effect,
            p_t=float(pt),
            p_t_holm=float(pt_h),
            p_wilcoxon=float(pw),
            p_wilcoxon_holm=float(pw_h),
        )
        for (a, b), d, (effect, _), pt, pt_h, pw, pw_h in rows
    ]


def paired_bootstrap(
    metric: str,
    y_true: npt.ArrayLike,
    pred_a: npt.ArrayLike,
    pred_b: npt.ArrayLike,
    *,
    unit: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int,
) -> Difference:
    """metric(a) - metric(b) with a BCa interval over engines drawn in common for both.

    Args:
        metric: a name known to :func:`grace.evaluation.bootstrap_interval`.
        y_true: true RUL, (B,).
        pred_a: predictions of the first method, (B,).
        pred_b: predictions of the second method on the same rows, (B,).
        unit: engine of each row, (B,); None: every row is an engine of its own.
        level: coverage aimed at.
        n_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: sizes differ, fewer than two engines, or an unknown metric.
    """
    if metric not in UNIT_METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(UNIT_METRICS)}")
    term, combine = UNIT_METRICS[metric]
    d_a, d_b = errors(y_true, pred_a), errors(y_true, pred_b)
    index, size = unit_index(unit, d_a.size)
    sum_a, sum_b = (
        np.bincount(index, weights=term(d), minlength=size).astype(np.float64) for d in (d_a, d_b)
    )
    counts = np.bincount(index, minlength=size).astype(np.float64)

    def difference(a: Array, b: Array, n: Array, axis: int = -1) -> Array:
        total = n.sum(axis=axis)
        return np.asarray(combine(a.sum(axis=axis), total) - combine(b.sum(axis=axis), total))

    data = (sum_a, sum_b, counts)
    interval = resample(
        difference, data, vectorized=True, level=level, n_resamples=n_resamples, seed=seed
    )
    return Difference(metric=metric, value=float(difference(*data)), interval=interval)


def friedman_nemenyi(
    scores: npt.ArrayLike, names: Sequence[str], *, alpha: float = 0.05
) -> FriedmanNemenyi:
    """Friedman's test over blocks and Nemenyi's critical difference of mean ranks.

    CD = q_α √(k(k+1)/(6N)), q_α the upper α point of the studentised range of k groups at infinite
    degrees of freedom divided by √2. Source: Demšar, JMLR 7, 2006, section 3.2.2. Ties share their
    mean rank. A block is a data set; seeds of one data set are not independent blocks of the
    question "which method is better in general".

    Args:
        scores: one row per block, one column per method, lower is better, (N, k).
        names: the k methods.
        alpha: family-wise error rate.

    Raises:
        ValueError: fewer than 3 methods (use :func:`paired_tests`) or 2 blocks, names that do not
            fit, or scores that are not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ValueError(f"scores must be (N, {len(names)}) for these names, got {table.shape}")
    n, k = table.shape
    if k < 3 or n < 2:
        raise ValueError(f"needs 3 methods and 2 blocks or more, got {k} and {n}")
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite")
    ranks = stats.rankdata(table, axis=1).mean(axis=0)
    if (np.ptp(table, axis=1) == 0.0).all():
        statistic, p_value = 0.0, 1.0
    else:
        statistic, p_value = map(float, stats.friedmanchisquare(*table.T))
    q = float(stats.studentized_range.ppf(1.0 - alpha, k, np.inf) / np.sqrt(2.0))
    cd = q * float(np.sqrt(k * (k + 1) / (6.0 * n)))
    order = np.argsort(ranks, kind="stable")
    groups: list[tuple[str, ...]] = []
    reach = -1
    for i in range(k):
        last = max(j for j in range(i, k) if ranks[order[j]] - ranks[order[i]] < cd or j == i)
        if last > i and last > reach:
            groups.append(tuple(names[j] for j in order[i : last + 1]))
        reach = max(reach, last)
    return FriedmanNemenyi(
        names=tuple(names),
        mean_ranks=tuple(float(r) for r in ranks),
        n_blocks=n,
        statistic=statistic,
        p_value=p_value,
        alpha=alpha,
        q=q,
        critical_difference=cd,
        groups=tuple(groups),
    )
