"""Which methods are better in general? Ranks over datasets: Friedman and Nemenyi."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

__all__ = ["FriedmanNemenyi", "friedman_nemenyi"]


class FriedmanNemenyi(BaseModel):
    """Mean ranks of k methods over N blocks (1 is best) and the critical difference.

    ``p_values[i][j]`` is Nemenyi's p value of methods i and j. ``groups`` are the maximal sets of
    methods, next to each other by rank, of which no pair differs at ``alpha``: the bars of a
    critical-difference diagram.

    Example:
        >>> scores = [[10.4, 10.6, 12.2], [10.0, 10.1, 10.5], [9.6, 9.7, 10.9], [10.2, 10.4, 11.4]]
        >>> result = friedman_nemenyi(scores, ["grace", "baseline", "boosting"])
        >>> result.mean_ranks, round(result.critical_difference, 2)
        ((1.0, 2.0, 3.0), 1.66)
        >>> result.groups  # no difference within a group is significant
        (('grace', 'baseline'), ('baseline', 'boosting'))
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
    p_values: tuple[tuple[float, ...], ...]
    groups: tuple[tuple[str, ...], ...]


def friedman_nemenyi(
    scores: npt.ArrayLike, names: Sequence[str], *, alpha: float = 0.05
) -> FriedmanNemenyi:
    """Friedman's test over blocks and Nemenyi's critical difference of mean ranks.

    CD = q_α √(k(k+1)/(6N)), q_α the upper α point of the studentised range of k groups at infinite
    degrees of freedom divided by √2. Source: Demšar, JMLR 7, 2006, section 3.2.2; the p values of
    pairs are by scikit-posthocs. Ties share their mean rank. A block is a dataset; seeds of one
    dataset are not independent blocks of the question "which method is better in general".

    Args:
        scores: one row per block, one column per method, lower is better, (N, k).
        names: the k methods.
        alpha: family-wise error rate.

    Raises:
        ValueError: fewer than 3 methods (use :func:`paired_tests`) or 2 blocks, names that do not
            fit, or scores that are not finite.

    Example:
        >>> scores = [[10.4, 10.6, 12.2], [10.0, 10.1, 10.5], [9.6, 9.7, 10.9], [10.2, 10.4, 11.4]]
        >>> result = friedman_nemenyi(scores, ["grace", "baseline", "boosting"])
        >>> round(result.p_value, 3), result.groups
        (0.018, (('grace', 'baseline'), ('baseline', 'boosting')))
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ValueError(f"scores must be (N, {len(names)}) for these names, got {table.shape}")
    n, k = table.shape
    if k < 3 or n < 2:
        raise ValueError(f"needs 3 methods and 2 blocks or more, got {k} and {n}")
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite")
    import pandas as pd
    from scikit_posthocs import posthoc_nemenyi_friedman
    from scipy import stats

    ranks = stats.rankdata(table, axis=1).mean(axis=0)
    if (np.ptp(table, axis=1) == 0.0).all():
        statistic, p_value = 0.0, 1.0
    else:
        statistic, p_value = map(float, stats.friedmanchisquare(*table.T))
    p = posthoc_nemenyi_friedman(pd.DataFrame(table)).to_numpy()
    q = float(stats.studentized_range.ppf(1.0 - alpha, k, np.inf) / np.sqrt(2.0))
    cd = q * float(np.sqrt(k * (k + 1) / (6.0 * n)))
    order = np.argsort(ranks, kind="stable")
    groups: list[tuple[str, ...]] = []
    reach = -1
    for i in range(k):
        last = max(j for j in range(i, k) if j == i or p[order[i], order[j]] >= alpha)
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
        p_values=tuple(tuple(float(v) for v in row) for row in p),
        groups=tuple(groups),
    )
