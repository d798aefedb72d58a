"""Is one method better than another? Paired tests over seeds and over units."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.bootstrap import (
    Interval,
    coverage_note,
    resampled_moments,
    studentised,
    unit_index,
)
from grace.evaluation.metrics import UNIT_METRICS, Array, as_vector, errors

__all__ = [
    "MIN_SEEDS",
    "Difference",
    "PairedTest",
    "holm",
    "paired_bootstrap",
    "paired_tests",
    "t_half_width",
    "with_holm",
]


MIN_SEEDS = 5  # with fewer, no p value is given


class PairedTest(BaseModel):
    """Method ``a`` against method ``b`` over the same seeds; differences are a - b.

    ``d_z`` is Cohen's effect size of paired differences, mean / standard deviation (n - 1).
    ``p_*_holm`` are corrected for the number of comparisons made together. None means undefined
    or not tested, and ``note`` says why: with fewer than five seeds no test is made; where all
    differences are equal, d_z and the t-test are undefined. With n seeds the smallest p value of
    the Wilcoxon test is 2^(1-n), 0.0625 with five.

    Example:
        >>> a, b = [10.1, 9.8, 10.3, 9.9, 10.0], [10.6, 10.1, 10.9, 10.6, 10.2]
        >>> (test,) = paired_tests({"grace": a, "baseline": b})
        >>> test.a, test.b, test.n, round(test.d_z, 1), test.note
        ('grace', 'baseline', 5, -2.2, 'with 5 seeds the Wilcoxon p value cannot be below 0.0625')
    """

    model_config = ConfigDict(frozen=True)

    a: str
    b: str
    n: int
    mean_difference: float
    std_difference: float
    d_z: float | None
    p_t: float | None
    p_t_holm: float | None
    p_wilcoxon: float | None
    p_wilcoxon_holm: float | None
    note: str = ""


class Difference(BaseModel):
    """metric(a) - metric(b) on the same units, with an interval over units.

    Example:
        >>> interval = Interval(low=-0.9, high=-0.2)
        >>> Difference(metric="rmse", value=-0.5, interval=interval).excludes_zero
        True
    """

    model_config = ConfigDict(frozen=True)

    metric: str
    value: float
    interval: Interval

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.interval.low > 0.0 or self.interval.high < 0.0


def holm(p_values: npt.ArrayLike) -> Array:
    """Holm's step-down correction of m p values, (m,), in the order given, by statsmodels.

    p̃_(i) = max_{j ≤ i} min(1, (m - j + 1) p_(j)). Source: Holm, Scand. J. Statist. 6, 1979.

    Raises:
        ValueError: a value outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = as_vector(p_values, "p_values")
    if p.min() < 0.0 or p.max() > 1.0:
        raise ValueError("p_values must lie in [0, 1]")
    from statsmodels.stats.multitest import multipletests

    gc.freeze()  # multipletests collects garbage in each call: 0.2 s with all objects of a process
    try:
        return np.asarray(multipletests(p, method="holm")[1], dtype=np.float64)
    finally:
        gc.unfreeze()


def t_half_width(values: Array, *, alpha: float = 0.05) -> float:
    """Half of the width of the two-sided 1 − alpha t interval of the mean of n values, (n,).

    Example:
        >>> import numpy as np
        >>> round(t_half_width(np.array([1.0, 2.0, 3.0, 4.0, 5.0])), 3)
        1.963
    """
    from scipy import stats

    error = values.std(ddof=1) / np.sqrt(values.size)
    return float(stats.t.ppf(1.0 - alpha / 2.0, values.size - 1) * error)


def with_holm(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests with their p values corrected for the number of those that were made.

    Example:
        >>> a, b = [10.1, 9.8, 10.3, 9.9, 10.0], [10.6, 10.1, 10.9, 10.6, 10.2]
        >>> tests = paired_tests({"a": a, "b": b}) + paired_tests({"a": a, "c": b[::-1]})
        >>> [round(t.p_wilcoxon_holm / t.p_wilcoxon, 1) for t in with_holm(tests)]
        [2.0, 2.0]
    """
    updates: list[dict[str, float]] = [{} for _ in tests]
    for name in ("p_t", "p_wilcoxon"):
        made = [i for i, test in enumerate(tests) if getattr(test, name) is not None]
        if made:
            corrected = holm([getattr(tests[i], name) for i in made])
            for i, p in zip(made, corrected, strict=True):
                updates[i][f"{name}_holm"] = float(p)
    return [t.model_copy(update=u) for t, u in zip(tests, updates, strict=True)]


def _paired_test(a: str, b: str, d: Array, scale: float) -> PairedTest:
    """Uncorrected tests of the differences (n,) of figures of size ``scale``."""
    from scipy import stats  # a second, which every command would pay

    mean, std = float(d.mean()), float(d.std(ddof=1))
    equal = bool(np.ptp(d) <= 1e-9 * scale)  # equal up to the rounding of the figures
    d_z = None if equal else mean / std
    p_t = p_wilcoxon = None
    if d.size < MIN_SEEDS:
        note = f"no test is made: {d.size} seeds in common, at least {MIN_SEEDS} are needed"
        if equal:
            note += "; all differences are equal, so the effect size is undefined"
    elif equal:
        note = "all differences are equal: effect size and tests are undefined"
    else:
        p_t = float(stats.ttest_1samp(d, 0.0).pvalue)
        p_wilcoxon = float(stats.wilcoxon(d).pvalue)
        smallest = 2.0 ** (1 - d.size)
        note = ""
        if smallest > 0.05:
            note = f"with {d.size} seeds the Wilcoxon p value cannot be below {smallest:g}"
    return PairedTest(
        a=a, b=b, n=d.size, mean_difference=mean, std_difference=0.0 if equal else std, d_z=d_z,
        p_t=p_t, p_t_holm=None, p_wilcoxon=p_wilcoxon, p_wilcoxon_holm=None, note=note,
    )  # fmt: skip


def paired_tests(
    scores: Mapping[str, Sequence[float]], *, reference: str | None = None
) -> list[PairedTest]:
    """Paired t and Wilcoxon signed-rank tests over seeds, corrected by Holm within each family.

    Both tests are two-sided. With fewer than five seeds the differences are given without a test.
    With five seeds the smallest p value of Wilcoxon's exact test is 0.0625: five seeds cannot make
    it significant at 0.05, whatever the differences.

    Args:
        scores: per method its figure for each seed, same seeds in the same order, n >= 2.
        reference: compare every other method with this one; None: all pairs.

    Raises:
        ValueError: fewer than two methods or seeds, unequal numbers of seeds, a figure that is not
            finite, or an unknown reference.

    Example:
        >>> scores = {"a": [10.1, 9.8, 10.3, 9.9, 10.0], "b": [10.6, 10.1, 10.9, 10.6, 10.2]}
        >>> (test,) = paired_tests(scores)
        >>> round(test.mean_difference, 2), round(test.p_wilcoxon, 4)
        (-0.46, 0.0625)
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
    scale = max(float(np.abs(v).max()) for v in values.values())
    return with_holm([_paired_test(a, b, values[a] - values[b], scale) for a, b in pairs])


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
    """metric(a) - metric(b) with a studentised interval over units drawn in common for both.

    Several predictions of a unit (its rows, or one per training seed) are several rows with the
    same ``unit``; they are drawn together.

    Args:
        metric: a name known to :func:`grace.evaluation.bootstrap_interval`.
        y_true: true RUL, (B,).
        pred_a: predictions of the first method, (B,).
        pred_b: predictions of the second method on the same rows, (B,).
        unit: unit of each row, (B,); None: every row is a unit of its own.
        level: coverage aimed at.
        n_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: sizes differ, fewer than two units, or a metric that is unknown or not finite.

    Example:
        >>> import numpy as np
        >>> true = np.linspace(5, 120, 60)
        >>> a, b = true + np.tile([6.0, -3.0], 30), true + np.tile([8.0, -5.0], 30)
        >>> difference = paired_bootstrap("mae", true, a, b, seed=0)
        >>> round(difference.value, 2), difference.excludes_zero
        (-2.0, True)
    """
    if metric not in UNIT_METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(UNIT_METRICS)}")
    term = UNIT_METRICS[metric].term
    d_a, d_b = errors(y_true, pred_a), errors(y_true, pred_b)
    index, size = unit_index(unit, d_a.size)
    sums = [np.bincount(index, weights=term(d), minlength=size) for d in (d_a, d_b)]
    scale = max(float(np.abs(s).max()) for s in sums) or 1.0
    if not np.isfinite(scale):
        raise ValueError(f"{metric} is not finite: no interval can be given")
    counts = np.bincount(index, minlength=size).astype(np.float64)
    data = np.stack([sums[0] / scale, sums[1] / scale, counts], axis=1)
    root = metric == "rmse"

    def difference(total: Array) -> Array:
        a, b = (total[..., k] / total[..., 2] for k in (0, 1))
        return np.asarray(np.sqrt(a) - np.sqrt(b) if root else a - b)

    def gradient(total: Array) -> Array:
        n = total[..., 2]
        a, b = (total[..., k] / n for k in (0, 1))
        if not root:
            return np.stack([1.0 / n, -1.0 / n, -(a - b) / n], axis=-1)
        # An RMSE of exactly zero has no slope; it adds no variance either.
        ra, rb = (np.sqrt(np.where(v > 0.0, v, np.inf)) for v in (a, b))
        rest = -(np.sqrt(a) - np.sqrt(b)) / (2.0 * n)
        return np.stack([0.5 / (n * ra), -0.5 / (n * rb), rest], axis=-1)

    moments = resampled_moments(data, n_resamples, seed)
    limits = studentised(difference, gradient, data, moments, level)
    size_of = np.sqrt(scale) if root else scale * (d_a.size if metric == "nasa_sum" else 1.0)
    low, high = (float(v * size_of) for v in limits)
    exact = float(difference(data.sum(axis=0)))
    value = exact * size_of if abs(exact) > 1e-12 else 0.0
    interval = Interval(low=low, high=high, level=level, note=coverage_note(metric, size))
    return Difference(metric=metric, value=value, interval=interval)
