"""A shift of predictions that weighs late errors more, as the NASA score does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RegularGridInterpolator

__all__ = ["EarlyShift", "nasa_loss"]

Array = npt.NDArray[np.float64]
_SCALE = 125.0  # the score is defined in cycles, at a cap of 125
_KNOTS = 17  # per axis
_WIDTH = 0.08  # of the kernel over predictions, in caps
_LIFE_WIDTH = 0.25  # of the kernel over predicted lives, in their standard deviations
_LIVES = (0.02, 0.98)  # quantiles of the predicted lives between which the shift is learned
_PRIOR = 0.003  # weight of no shift, relative to that of all rows
_TRIED = np.linspace(-20.0, 20.0, 81)


def nasa_loss(d: Array) -> Array:
    """Loss of errors d in learned units (125 at the cap): exp(−d/13) − 1 early, exp(d/10) − 1 late.

    Beyond an error of one cap it is continued by a constant, so that it cannot overflow.
    """
    d = np.clip(d, -_SCALE, _SCALE)
    return np.asarray(np.where(d < 0, np.exp(-d / 13.0), np.exp(d / 10.0)) - 1.0)


class _Table(NamedTuple):
    """Shift at pairs of prediction and predicted life, in learned units."""

    predictions: Array
    lives: Array
    shift: Array

    @classmethod
    def fit(
        cls, p: Array, life: Array, y: Array, w: Array, share: float, scale: tuple[float, float]
    ) -> _Table:
        predictions = np.linspace(0.0, _SCALE, _KNOTS)
        low, high = np.quantile(life, _LIVES)
        lives = np.linspace(low, max(high, low + 1e-3 * _SCALE), _KNOTS)
        deviation = np.sqrt(np.average((life - np.average(life, weights=w)) ** 2, weights=w))
        width = max(_LIFE_WIDTH * float(deviation), lives[1] - lives[0])
        d = (p - y)[:, None] + _TRIED
        loss = (1.0 - share) * d**2 / scale[0] + share * nasa_loss(d) / scale[1]
        prior = _PRIOR * w.sum() * _TRIED**2 / scale[0]
        by_life = np.exp(-0.5 * ((lives[:, None] - np.clip(life, low, high)) / width) ** 2) * w
        shift = [
            _TRIED[(by_life * np.exp(-0.5 * ((p - at) / (_WIDTH * _SCALE)) ** 2) @ loss + prior)
                   .argmin(axis=1)]
            for at in predictions
        ]  # fmt: skip
        return cls(predictions, lives, np.stack(shift))

    def predict(self, p: Array, life: Array) -> Array:
        at = RegularGridInterpolator((self.predictions, self.lives), self.shift)
        inside = np.clip(p, 0.0, _SCALE), np.clip(life, self.lives[0], self.lives[-1])
        return np.asarray(np.clip(p + at(np.column_stack(inside)), 0.0, _SCALE))


class EarlyShift:
    """Replaces the mean of the candidates by the minimiser of a mixture of two losses.

    A stack of squared errors predicts the same for rows on which the candidates agree, whatever the
    age. Among rows of equal prediction, those with a long predicted life (age + prediction)
    tend to fail earlier than predicted, and those with a short one later. The shift minimises
    ``(1 − s)·d²/E[d²] + s·nasa(d)/E[nasa]`` with the share ``s`` over the out-of-fold errors of
    rows of similar prediction and similar predicted life (Gaussian kernels of 8% of the cap and of
    a quarter of the standard deviation of the predicted lives). The NASA score (Saxena et al. 2008)
    grows exponentially, and faster for late predictions: its minimiser lies earlier where lives
    spread widely. The shift is computed at 17 × 17 pairs and interpolated. It is left out if it
    does not reduce the sum of both mean losses, each relative to that without a shift, out of fold.

    Args:
        share: of the NASA score in the loss, 0 to 1. The default was chosen on held-out engines of
            C-MAPSS.

    Reference:
        A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage propagation modeling for aircraft engine
        run-to-failure simulation. PHM 2008.

    Attributes:
        cap_: largest RUL that is predicted.
        table_: the shift by prediction and predicted life; None: predictions are left alone.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> age = rng.uniform(0, 200, 2000)
        >>> p = rng.uniform(0, 125, 2000)
        >>> y = np.clip(p + rng.normal(0, 15, 2000), 0, 125)
        >>> unit = np.arange(2000) // 10
        >>> shift = EarlyShift().fit(p, y, np.ones(2000), unit % 5, age=age, cap=125.0)
        >>> bool(shift.predict([60.0], age=[100.0])[0] < 60.0)
        True
    """

    cap_: float
    table_: _Table | None

    def __init__(self, share: float = 0.2) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share must lie between 0 and 1, got {share:g}")
        self.share = share

    def fit(
        self,
        prediction: Array,
        target: Array,
        weight: Array,
        fold: npt.NDArray[np.int64],
        *,
        age: Array,
        cap: float,
    ) -> EarlyShift:
        """Learn from out-of-fold predictions.

        Args:
            prediction: of the stack, (M,).
            target: capped RUL, (M,).
            weight: of each row, (M,).
            fold: the fold that held out the row's unit, (M,).
            age: of the unit at the row, (M,), in the unit of the labels.
            cap: largest RUL that is predicted.
        """
        self.cap_, self.table_ = cap, None
        p, y, life = (v * (_SCALE / cap) for v in (prediction, target, prediction + age))
        scale = (
            float(np.average((p - y) ** 2, weights=weight)),
            float(np.average(nasa_loss(p - y), weights=weight)),
        )
        if min(scale) <= 0.0:
            return self
        held = np.empty_like(p)
        for k in np.unique(fold):
            out = fold == k
            kept = ~out if (~out).any() else out
            table = _Table.fit(p[kept], life[kept], y[kept], weight[kept], self.share, scale)
            held[out] = table.predict(p[out], life[out])
        d = held - y
        relative = np.average(d**2, weights=weight) / scale[0]
        relative += np.average(nasa_loss(d), weights=weight) / scale[1]
        if relative < 2.0:
            self.table_ = _Table.fit(p, life, y, weight, self.share, scale)
        return self

    def predict(self, prediction: npt.ArrayLike, *, age: npt.ArrayLike) -> Array:
        """Shifted predictions, (M,), in [0, cap].

        Args:
            prediction: of the stack, (M,).
            age: of the unit, (M,), in the unit of the labels.
        """
        p, life = (np.asarray(v, dtype=np.float64) for v in (prediction, age))
        if self.table_ is None:
            return np.clip(p, 0.0, self.cap_)
        scale = _SCALE / self.cap_
        return self.table_.predict(p * scale, (p + life) * scale) / scale

    def to_state(self) -> dict[str, Any]:
        """Learned state as plain values."""
        table = None if self.table_ is None else [v.tolist() for v in self.table_]
        return {"cap": self.cap_, "table": table}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EarlyShift:
        """The inverse of :meth:`to_state`."""
        self = cls()
        self.cap_ = float(state["cap"])
        table = state["table"]
        self.table_ = None if table is None else _Table(*(np.asarray(v, float) for v in table))
        return self
