"""A shift of predictions that weighs late errors as the NASA score does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EarlyShift", "nasa_loss"]

Array = npt.NDArray[np.float64]
_KNOTS = 13
_WIDTH = 0.06  # of the kernel, in caps
_SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_SCALE = 125.0  # the score is defined in cycles, at a cap of 125


def nasa_loss(d: Array) -> Array:
    """Loss of errors d in learned units (125 at the cap): exp(−d/13) − 1 early, exp(d/10) − 1 late.

    Beyond an error of one cap it is continued by a constant, so that it cannot overflow.
    """
    d = np.clip(d, -_SCALE, _SCALE)
    return np.asarray(np.where(d < 0, np.exp(-d / 13.0), np.exp(d / 10.0)) - 1.0)


class EarlyShift:
    """Replaces the conditional mean by the minimiser of a mixture of two losses.

    A stack of squared errors predicts the mean of the lives left at rows that look alike. The NASA
    score (Saxena et al. 2008) grows exponentially, and faster for late predictions, so its
    minimiser lies earlier where those lives spread widely. At each of 13 predicted values the shift
    is found that minimises ``(1 − s)·d²/E[d²] + s·nasa(d)/E[nasa]`` over the out-of-fold errors of
    rows predicted alike (Gaussian kernel of 6% of the cap); between them it is interpolated, and
    the shifted prediction never falls where the prediction rises. The share ``s`` is chosen out of
    fold, by the sum of both mean losses relative to those without a shift.

    Reference:
        A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage propagation modeling for aircraft engine
        run-to-failure simulation. PHM 2008.

    Attributes:
        share_: weight of the NASA score, 0 for no shift beyond a correction of bias.
        knots_: predictions, (13,), in the unit of the labels.
        shifted_: what becomes of them, (13,).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> p = rng.uniform(0, 125, 2000)
        >>> y = np.clip(p + rng.normal(0, 15, 2000), 0, 125)
        >>> unit = np.arange(2000) // 10
        >>> shift = EarlyShift().fit(p, y, np.ones(2000), unit % 5, cap=125.0)
        >>> bool(shift.predict(np.array([60.0]))[0] < 60.0)
        True
    """

    share_: float
    knots_: Array
    shifted_: Array

    def fit(
        self,
        prediction: Array,
        target: Array,
        weight: Array,
        fold: npt.NDArray[np.int64],
        *,
        cap: float,
    ) -> EarlyShift:
        """Learn from out-of-fold predictions.

        Args:
            prediction: of the stack, (M,).
            target: capped RUL, (M,).
            weight: of each row, (M,).
            fold: the fold that held out the row's unit, (M,); the share is chosen across folds.
            cap: largest RUL that is predicted.
        """
        self.knots_ = np.linspace(0.0, cap, _KNOTS)
        p, y = prediction * (_SCALE / cap), target * (_SCALE / cap)
        scale = (
            np.average((p - y) ** 2, weights=weight),
            np.average(nasa_loss(p - y), weights=weight),
        )
        if min(scale) <= 0.0:
            self.share_, self.shifted_ = 0.0, self.knots_
            return self
        losses = []
        for share in _SHARES:
            held = np.empty_like(p)
            for k in np.unique(fold):
                out = fold == k
                kept = ~out if (~out).any() else out
                shifted = _shifted(p[kept], y[kept], weight[kept], share, scale)
                held[out] = np.interp(p[out], _places(), shifted)
            d = held - y
            losses.append(
                np.average(d**2, weights=weight) / scale[0]
                + np.average(nasa_loss(d), weights=weight) / scale[1]
            )
        self.share_ = _SHARES[int(np.argmin(losses))]
        if losses[int(np.argmin(losses))] >= 2.0:  # no shift is better
            self.share_, self.shifted_ = 0.0, self.knots_
        else:
            self.shifted_ = _shifted(p, y, weight, self.share_, scale) * (cap / _SCALE)
        return self

    def predict(self, prediction: npt.ArrayLike) -> Array:
        """Shifted predictions, (M,), in [0, cap]."""
        return np.asarray(
            np.interp(np.asarray(prediction, dtype=np.float64), self.knots_, self.shifted_)
        )

    def to_state(self) -> dict[str, Any]:
        """Learned state as plain values."""
        return {
            "share": self.share_,
            "knots": self.knots_.tolist(),
            "shifted": self.shifted_.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EarlyShift:
        """The inverse of :meth:`to_state`."""
        self = cls()
        self.share_ = float(state["share"])
        self.knots_, self.shifted_ = (np.asarray(state[k], float) for k in ("knots", "shifted"))
        return self


def _places() -> Array:
    return np.linspace(0.0, _SCALE, _KNOTS)


def _shifted(p: Array, y: Array, w: Array, share: float, scale: tuple[float, float]) -> Array:
    """Predictions at the knots after the best shift, in learned units, ascending, (13,)."""
    tried = np.linspace(-20.0, 20.0, 81)
    d = (p - y)[:, None] + tried
    loss = (1.0 - share) * d**2 / scale[0] + share * nasa_loss(d) / scale[1]
    knots = _places()
    near = np.exp(-0.5 * ((p[None, :] - knots[:, None]) / (_WIDTH * _SCALE)) ** 2) * w
    # A knot without rows near it keeps its value: the mean over all rows would move it.
    near_loss = near @ loss + 1e-3 * w.sum() * tried**2 / scale[0]
    best = tried[near_loss.argmin(axis=1)]
    return np.asarray(np.maximum.accumulate(np.clip(knots + best, 0.0, _SCALE)))
