"""Predictive distributions of remaining useful life: one survival curve per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["RULDistribution", "time_edges"]

Array = npt.NDArray[np.float64]


def time_edges(step: float, longest: float, *, ratio: float = 1.05) -> Array:
    """Bin edges from 0 to at least ``longest``: widths of one step, growing geometrically later.

    Args:
        step: sampling step, the smallest width, in the fleet's unit of time.
        longest: time the last edge must reach.
        ratio: quotient of neighbouring edges where that exceeds one step.

    Raises:
        ValueError: ``step`` or ``longest`` is not positive and finite, or ``ratio`` is not above 1.

    Example:
        >>> time_edges(1.0, 5.0)
        array([0., 1., 2., 3., 4., 5.])
    """
    if not (np.isfinite(step) and step > 0 and np.isfinite(longest) and longest > 0):
        raise ValueError(f"step {step} and longest {longest} must be positive and finite")
    if not ratio > 1.0:
        raise ValueError(f"ratio {ratio} must be above 1")
    # In units of the step, so that a change of the unit of time changes no edge but by its factor.
    edges = [0.0]
    end = max(longest / step, 1.0) - 1e-9
    while edges[-1] < end:
        edges.append(max(edges[-1] + 1.0, edges[-1] * ratio))
    return np.asarray(edges) * step


@dataclass(frozen=True, eq=False)
class RULDistribution:
    """Predictive distributions of n rows, in the unit of time of ``edges``.

    Row i has the survival values S(t) = P(RUL > t) at the B + 1 edges, linear in between (a uniform
    density inside each bin) and exponential beyond the last edge. Quantiles, probabilities, moments
    and samples all come from this one curve, so they cannot contradict each other.

    Args:
        edges: (B + 1,) increasing, starting at 0.
        survival: (n, B + 1) non-increasing in [0, 1], first column 1.
        tail_rate: (n,) positive rates of the tail, 1/time; None takes the mean hazard up to the
            last edge, −log S(e_B)/e_B.

    Raises:
        ValueError: the shapes do not fit, the edges do not increase from 0, or a curve is not a
            survival curve.

    Example:
        >>> import numpy as np
        >>> d = RULDistribution(np.array([0.0, 10.0, 20.0]), np.array([[1.0, 0.5, 0.0]]))
        >>> d.quantiles([0.1, 0.5, 0.9])
        array([[ 2., 10., 18.]])
        >>> d.prob_failure_within(5.0), d.mean
        (array([0.25]), array([10.]))
    """

    edges: Array
    survival: Array
    tail_rate: Array | None = None

    def __post_init__(self) -> None:
        edges = np.array(self.edges, dtype=np.float64)
        curves = np.array(self.survival, dtype=np.float64)
        if edges.ndim != 1 or edges.size < 2 or edges[0] != 0.0 or not (np.diff(edges) > 0).all():
            raise ValueError("edges must be a vector of at least two values increasing from 0")
        if not np.isfinite(edges).all():
            raise ValueError("edges must be finite")
        if curves.ndim != 2 or curves.shape[1] != edges.size:
            raise ValueError(f"survival must be (n, {edges.size}), got {curves.shape}")
        valid = np.isfinite(curves).all() and (curves >= 0.0).all() and (curves[:, 0] == 1.0).all()
        if not valid or (np.diff(curves, axis=1) > 0.0).any():
            raise ValueError("each survival curve must start at 1, not increase and stay in [0, 1]")
        last = curves[:, -1]
        if self.tail_rate is None:
            mean_hazard = -np.log(np.clip(last, 1e-12, 1.0)) / edges[-1]
            rate = np.where(last < 1.0, np.maximum(mean_hazard, 1e-3 / edges[-1]), 1.0 / edges[-1])
        else:
            rate = np.broadcast_to(np.asarray(self.tail_rate, dtype=np.float64), last.shape).copy()
            if not (np.isfinite(rate).all() and (rate > 0.0).all()):
                raise ValueError("tail_rate must be positive and finite")
        for name, value in (("edges", edges), ("survival", curves), ("tail_rate", rate)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    # -- construction -----------------------------------------------------------------------------

    @classmethod
    def from_hazards(cls, edges: npt.ArrayLike, hazards: npt.ArrayLike) -> RULDistribution:
        """From hazards (n, B): probability of failure in bin k given survival of the bins before.

        The tail continues with the hazard rate of the last bin.
        """
        times = np.asarray(edges, dtype=np.float64)
        h = np.clip(np.asarray(hazards, dtype=np.float64), 0.0, 1.0)
        survival = np.concatenate([np.ones((len(h), 1)), np.cumprod(1.0 - h, axis=1)], axis=1)
        rate = -np.log1p(-np.clip(h[:, -1], 1e-6, 1.0 - 1e-9)) / (times[-1] - times[-2])
        return cls(times, survival, rate)

    @classmethod
    def from_quantiles(
        cls, edges: npt.ArrayLike, levels: npt.ArrayLike, values: npt.ArrayLike
    ) -> RULDistribution:
        """From quantiles (n, Q) at increasing ``levels`` (Q,) in (0, 1); crossings are sorted.

        Between the given levels the distribution function is linear in time. Below the lowest
        level it falls to 0 at time 0, above the highest it rises to 1 over the distance between
        the median and that quantile.
        """
        tau, times = np.asarray(levels, dtype=np.float64), np.asarray(edges, dtype=np.float64)
        if tau.ndim != 1 or not (np.diff(tau) > 0).all() or tau[0] <= 0 or tau[-1] >= 1:
            raise ValueError("levels must increase strictly inside (0, 1)")
        q = np.maximum(np.sort(np.asarray(values, dtype=np.float64), axis=1), 0.0)
        middle = q[:, [int(np.argmin(abs(tau - 0.5)))]]
        end = q[:, [-1]] + np.maximum(q[:, [-1]] - middle, 0.05 * times[-1])
        nodes = np.concatenate([np.zeros((len(q), 1)), q, end], axis=1)
        heights = np.concatenate([[0.0], tau, [1.0]])
        cdf = np.stack([np.interp(times, row, heights) for row in nodes])
        cdf[:, 0] = 0.0
        return cls(times, 1.0 - np.maximum.accumulate(cdf, axis=1))

    @classmethod
    def mixture(
        cls, parts: Sequence[RULDistribution], weights: npt.ArrayLike | None = None
    ) -> RULDistribution:
        """Weighted mean of survival curves over the same rows and edges (an ensemble).

        Raises:
            ValueError: no parts, other edges, or other numbers of rows.
        """
        if not parts or any(
            len(p) != len(parts[0]) or not np.array_equal(p.edges, parts[0].edges) for p in parts
        ):
            raise ValueError("a mixture needs distributions of the same rows on the same edges")
        w = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=np.float64)
        w = w / w.sum()
        survival = np.tensordot(w, np.stack([p.survival for p in parts]), axes=1)
        survival[:, 0] = 1.0
        survival = np.minimum.accumulate(np.clip(survival, 0.0, 1.0), axis=1)
        # The rate whose tail has the mean excess of the mixture.
        excess = np.stack([p.survival[:, -1] / p.rate for p in parts])
        mean_excess = np.tensordot(w, excess, axes=1)
        slowest = np.min(np.stack([p.rate for p in parts]), axis=0)
        rate = np.where(mean_excess > 0, survival[:, -1] / np.maximum(mean_excess, 1e-300), slowest)
        return cls(parts[0].edges, survival, np.maximum(rate, 1e-12 / parts[0].edges[-1]))

    # -- the curve --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.survival)

    def __getitem__(self, rows: Any) -> RULDistribution:
        """The distributions of some rows (index, slice or mask)."""
        index = np.atleast_1d(np.arange(len(self))[rows])
        return RULDistribution(self.edges, self.survival[index], self.rate[index])

    @property
    def rate(self) -> Array:
        """Rate of the exponential tail per row, (n,), 1/time."""
        assert self.tail_rate is not None
        return self.tail_rate

    def _times(self, t: npt.ArrayLike) -> tuple[Array, bool]:
        """Times as (n, k), and whether one time per row was given."""
        times = np.asarray(t, dtype=np.float64)
        if np.isnan(times).any() or (times < 0).any():
            raise ValueError("times must be 0 or later, and not NaN")
        if times.ndim == 0:
            return np.full((len(self), 1), float(times)), True
        if times.shape == (len(self),):
            return times[:, None], True
        if times.ndim == 2 and times.shape[0] == len(self):
            return times, False
        raise ValueError(f"times must be a number, ({len(self)},) or ({len(self)}, k)")

    def _locate(self, times: Array) -> tuple[npt.NDArray[np.int64], Array]:
        """Bin of each time and the position in it, 0 to 1 (beyond the last edge: last bin, 1)."""
        k = np.clip(np.searchsorted(self.edges, times, side="left") - 1, 0, self.edges.size - 2)
        position = (times - self.edges[k]) / np.diff(self.edges)[k]
        return k.astype(np.int64), np.clip(position, 0.0, 1.0)

    def survival_at(self, t: npt.ArrayLike) -> Array:
        """P(RUL > t), the shape of ``t``: a number or (n,) gives (n,); (n, k) gives (n, k)."""
        times, single = self._times(t)
        k, position = self._locate(times)
        row = np.arange(len(self))[:, None]
        left, right = self.survival[row, k], self.survival[row, k + 1]
        beyond = np.maximum(times - self.edges[-1], 0.0)
        values = (left + (right - left) * position) * np.exp(-self.rate[:, None] * beyond)
        return np.asarray(values[:, 0] if single else values)

    def cdf(self, t: npt.ArrayLike) -> Array:
        """P(RUL ≤ t); shapes as in :meth:`survival_at`."""
        return 1.0 - self.survival_at(t)

    def pdf(self, t: npt.ArrayLike) -> Array:
        """Density at t, 1/time; shapes as in :meth:`survival_at`. On an edge that of the left."""
        times, single = self._times(t)
        k, _ = self._locate(times)
        row = np.arange(len(self))[:, None]
        inside = (self.survival[row, k] - self.survival[row, k + 1]) / np.diff(self.edges)[k]
        rate, beyond = self.rate[:, None], np.maximum(times - self.edges[-1], 0.0)
        tail = rate * self.survival[:, -1:] * np.exp(-rate * beyond)
        values = np.where(times > self.edges[-1], tail, inside)
        return np.asarray(values[:, 0] if single else values)

    def prob_failure_within(self, horizon: npt.ArrayLike) -> Array:
        """P(RUL ≤ horizon), (n,) for a number or one horizon per row."""
        return self.cdf(horizon)

    def quantiles(self, levels: npt.ArrayLike) -> Array:
        """Quantiles at ``levels`` (q,) in [0, 1): (n, q), the smallest t with P(RUL ≤ t) ≥ level.

        Raises:
            ValueError: a level is outside [0, 1).
        """
        tau = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if tau.ndim != 1 or not ((tau >= 0.0) & (tau < 1.0)).all():
            raise ValueError("levels must be numbers in [0, 1)")
        return self._inverse(np.broadcast_to(tau, (len(self), tau.size)))

    def _inverse(self, tau: Array) -> Array:
        """Quantiles at levels (n, q), each row its own."""
        target = 1.0 - tau
        result = np.empty(tau.shape)
        rows = np.arange(len(self))
        widths = np.diff(self.edges)
        for j in range(tau.shape[1]):
            t = target[:, j]
            k = np.minimum((self.survival > t[:, None]).sum(axis=1) - 1, widths.size - 1)
            k = np.maximum(k, 0)
            left, right = self.survival[rows, k], self.survival[rows, k + 1]
            drop = np.where(left > right, left - right, 1.0)
            inside = self.edges[k] + widths[k] * np.clip((left - t) / drop, 0.0, 1.0)
            last = self.survival[:, -1]
            with np.errstate(divide="ignore"):
                ratio = np.log(np.maximum(last, 1e-300) / np.maximum(t, 1e-300))
            beyond = self.edges[-1] + ratio / self.rate
            result[:, j] = np.where(last > t, beyond, inside)
        return result

    def interval(self, coverage: float = 0.9) -> tuple[Array, Array]:
        """Central interval: the quantiles at (1 ∓ coverage)/2, (n,) each.

        Raises:
            ValueError: coverage is not in (0, 1).
        """
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage {coverage} must be in (0, 1)")
        bounds = self.quantiles([(1.0 - coverage) / 2.0, (1.0 + coverage) / 2.0])
        return bounds[:, 0], bounds[:, 1]

    @property
    def median(self) -> Array:
        """Median RUL, (n,)."""
        return self.quantiles([0.5])[:, 0]

    @property
    def mean(self) -> Array:
        """Expected RUL, the area under the survival curve with its tail, (n,)."""
        heights = (self.survival[:, :-1] + self.survival[:, 1:]) / 2.0
        inside = heights @ np.diff(self.edges)
        return np.asarray(inside + self.survival[:, -1] / self.rate)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n independent draws per row, (rows, n), by inversion."""
        return self._inverse(rng.random((len(self), n)))

    # -- scores -----------------------------------------------------------------------------------

    def crps(self, y: npt.ArrayLike, censored: npt.ArrayLike | None = None) -> Array:
        """Continuous ranked probability score per row, in the unit of time, (n,); 0 is best.

        ∫₀^∞ (F(t) − 1{t ≥ y})² dt in closed form. For a censored row, known only to live beyond y,
        the part up to y is taken (survival CRPS, Avati et al. 2019).

        Args:
            y: RUL, or the time survived where censored, (n,).
            censored: (n,) bool; None: all RULs are known.
        """
        times, _ = self._times(np.broadcast_to(np.asarray(y, dtype=np.float64), len(self)))
        t = times[:, 0]
        k, position = (a[:, 0] for a in self._locate(times))
        rows, widths = np.arange(len(self)), np.diff(self.edges)

        def square(left: Array, right: Array) -> Array:
            return np.asarray((left * left + left * right + right * right) / 3.0)

        s0, s1 = self.survival[:, :-1], self.survival[:, 1:]
        before = np.cumsum(widths * square(1.0 - s0, 1.0 - s1), axis=1)
        before = np.concatenate([np.zeros((len(self), 1)), before], axis=1)
        after = np.cumsum((widths * square(s0, s1))[:, ::-1], axis=1)[:, ::-1]
        after = np.concatenate([after, np.zeros((len(self), 1))], axis=1)
        left, right = self.survival[rows, k], self.survival[rows, k + 1]
        here = left + (right - left) * position
        last, rate, over = self.survival[:, -1], self.rate, np.maximum(t - self.edges[-1], 0.0)
        decay = np.exp(-rate * over)
        early = before[rows, k] + widths[k] * position * square(1.0 - left, 1.0 - here)
        early += over - 2 * last * (1 - decay) / rate + last**2 * (1 - decay**2) / (2 * rate)
        late = after[rows, k + 1] + widths[k] * (1.0 - position) * square(here, right)
        late += last**2 * decay**2 / (2 * rate)
        if censored is None:
            return np.asarray(early + late)
        return np.asarray(early + np.where(np.asarray(censored, dtype=bool), 0.0, late))

    def log_score(self, y: npt.ArrayLike, censored: npt.ArrayLike | None = None) -> Array:
        """Negative log-likelihood per row, (n,): −log f(y), or −log S(y) where censored.

        The density has the unit 1/time: changing the unit of time adds a constant. Infinite where
        the distribution excludes what happened.
        """
        t = np.broadcast_to(np.asarray(y, dtype=np.float64), (len(self),))
        unknown = np.zeros(len(self), dtype=bool)
        if censored is not None:
            unknown = np.asarray(censored, dtype=bool)
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log(np.where(unknown, self.survival_at(t), self.pdf(t))))

    # -- forms ------------------------------------------------------------------------------------

    def rescale(self, factor: float) -> RULDistribution:
        """The same distributions in another unit of time: every time is multiplied by factor."""
        if not (np.isfinite(factor) and factor > 0):
            raise ValueError(f"factor {factor} must be positive and finite")
        return RULDistribution(self.edges * factor, self.survival, self.rate / factor)

    def with_cdf(self, transform: Callable[[Array], Array]) -> RULDistribution:
        """The distributions with a monotone function applied to their distribution function.

        Args:
            transform: function of an array (n, B + 1) of probabilities, non-decreasing along rows
                and mapping 0 to 0.
        """
        cdf = np.clip(np.asarray(transform(1.0 - self.survival), dtype=np.float64), 0.0, 1.0)
        cdf[:, 0] = 0.0
        return RULDistribution(self.edges, 1.0 - np.maximum.accumulate(cdf, axis=1), self.rate)

    def to_frame(
        self, levels: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    ) -> pl.DataFrame:
        """Mean and quantiles per row: columns ``mean``, ``q05``, ``q50`` …"""
        values = self.quantiles(levels)
        names = [f"q{100 * level:04.1f}".removesuffix(".0") for level in levels]
        return pl.DataFrame({"mean": self.mean, **dict(zip(names, values.T, strict=True))})
