"""Calibration by unit: conformal levels from out-of-fold distribution functions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from grace.uncertainty.distribution import RULDistribution
from grace.uncertainty.kernel import supported, weighted_survival

__all__ = ["UnitCalibration", "ZoneCalibration", "cross_calibrated", "units_needed"]

Array = npt.NDArray[np.float64]
KNOTS = 400


def units_needed(coverage: float) -> int:
    """Smallest number of units that can certify a coverage: 1/α − 1 with α = 1 − coverage.

    Example:
        >>> units_needed(0.9), units_needed(0.95), units_needed(0.99)
        (9, 19, 99)
    """
    return math.ceil(1.0 / (1.0 - coverage) - 1.0 - 1e-9)


@dataclass(frozen=True, eq=False)
class ZoneCalibration:
    """The calibration of predictions in (low, high].

    ``score`` (k,) rises from 0 to 1, ``coverage`` (k,) is the calibrated probability of a central
    interval that has the nominal probability ``score`` under the model. ``units`` is the number of
    units behind it whose failure is known; with none censored, all.

    Example:
        >>> import numpy as np
        >>> score, coverage = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.4, 1.0])
        >>> zone = ZoneCalibration(0.0, 30.0, units=40, score=score, coverage=coverage)
        >>> zone.certifies(0.95), zone.transform(np.array([0.25, 0.5, 0.75]))
        (True, array([0.3, 0.5, 0.7]))
    """

    low: float
    high: float
    units: int
    score: Array
    coverage: Array

    def certifies(self, coverage: float) -> bool:
        """Whether that many units can certify a coverage."""
        return self.units >= units_needed(coverage)

    def transform(self, cdf: Array) -> Array:
        """Calibrated distribution function of the model's one, any shape."""
        central = np.interp(np.abs(2.0 * cdf - 1.0), self.score, self.coverage)
        return np.asarray(0.5 + 0.5 * np.sign(2.0 * cdf - 1.0) * central)


@dataclass(frozen=True, eq=False)
class UnitCalibration:
    """Calibrated levels, per zone of predicted RUL where there are enough units, else pooled.

    The score of an evaluation point is |2·F(y) − 1|, with F the distribution function predicted
    without the point's unit (distributional conformal prediction, Chernozhukov et al. 2021). Rows
    of a unit are not exchangeable, units are: a unit's points share the weight 1, and the unit to
    come adds weight 1 at the top (hierarchical conformal prediction, Lee, Barber and Willett
    2023), so that n units give the levels k/(n + 1). Below 1/α − 1 units the coverage 1 − α cannot
    be certified. As scores come from models of other folds than the final one, the guarantee is
    that of cross-conformal prediction (Vovk 2015; CV+, Barber et al. 2021).

    Outcomes of censored units enter as censored values of F by a Kaplan–Meier estimate on that
    scale, which assumes that being taken out of service does not depend on the life left, given the
    history.

    Example:
        >>> import numpy as np
        >>> edges = np.linspace(0.0, 100.0, 21)
        >>> lives = np.linspace(5.0, 95.0, 20)  # 20 units, uniform lives, a uniform distribution
        >>> uniform = RULDistribution(edges, np.tile(1.0 - edges / 100.0, (20, 1)))
        >>> calibration = UnitCalibration.fit(uniform, lives, unit=np.arange(20), prediction=lives)
        >>> calibration.certifies(0.9)
        True
        >>> low, high = calibration.apply(uniform, lives).interval(0.9)
        >>> bool(low[0] < 10 < 90 < high[0])
        True
    """

    zones: tuple[ZoneCalibration, ...]

    @property
    def pooled(self) -> bool:
        """Whether there is only one zone."""
        return len(self.zones) == 1

    @classmethod
    def fit(
        cls,
        distribution: RULDistribution,
        y: npt.ArrayLike,
        *,
        unit: npt.ArrayLike,
        prediction: npt.ArrayLike,
        event: npt.ArrayLike | None = None,
        edges: Sequence[float] | None = None,
        min_units: int = 30,
        max_zones: int = 4,
    ) -> UnitCalibration:
        """Calibrate on m out-of-fold distributions.

        Args:
            distribution: predicted for the m points without their units.
            y: RUL, or the time survived where not ``event``, (m,).
            unit: which unit each point belongs to, (m,).
            prediction: what the zones are zones of, (m,).
            event: whether the RUL is known, (m,); None: all are.
            edges: inner edges of the zones; None: quantiles of ``prediction``, as many zones as
                leave ``min_units`` units with known failure in each.
            min_units: fewest units of a zone of its own.
            max_zones: most zones made where ``edges`` is None.

        Raises:
            ValueError: no known RUL.
        """
        known = np.ones(len(distribution), dtype=bool)
        if event is not None:
            known = np.asarray(event, dtype=bool)
        if not known.any():
            raise ValueError("calibration needs at least one known RUL")
        pit = distribution.cdf(np.asarray(y, dtype=np.float64))
        owner, value = np.asarray(unit), np.asarray(prediction, dtype=np.float64)
        if edges is not None:
            inner = _enough(np.asarray(edges, dtype=np.float64), value, owner, known, min_units)
            cuts = np.array([]) if inner is None else inner
        else:
            cuts = np.array([])
            for count in range(max_zones, 1, -1):
                tried = np.unique(np.quantile(value, np.arange(1, count) / count))
                inner = _enough(tried, value, owner, known, min_units)
                if inner is not None:
                    cuts = inner
                    break
        bounds = np.concatenate([[-np.inf], cuts, [np.inf]])
        zones = []
        for low, high in itertools.pairwise(bounds):
            here = (value > low) & (value <= high)
            zones.append(_zone(float(low), float(high), pit[here], owner[here], known[here]))
        return cls(tuple(zones))

    def zone_of(self, prediction: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Number of the zone of each prediction, (n,)."""
        inner = [zone.high for zone in self.zones[:-1]]
        value = np.asarray(prediction, dtype=np.float64)
        return np.searchsorted(inner, value, side="left").astype(np.int64)

    def apply(self, distribution: RULDistribution, prediction: npt.ArrayLike) -> RULDistribution:
        """The calibrated distributions of rows with these predictions."""
        zone = self.zone_of(prediction)

        def transform(cdf: Array) -> Array:
            result = np.empty_like(cdf)
            for number, calibration in enumerate(self.zones):
                result[zone == number] = calibration.transform(cdf[zone == number])
            return result

        return distribution.with_cdf(transform)

    def certifies(self, coverage: float) -> bool:
        """Whether every zone has units enough for a coverage."""
        return all(zone.certifies(coverage) for zone in self.zones)

    def statement(self, coverage: float) -> str:
        """One sentence: what is certified, on how many units, by zone or pooled."""
        fewest = min(zone.units for zone in self.zones)
        how = (
            f"pooled over all predictions ({fewest} units with known failure)"
            if self.pooled
            else f"in {len(self.zones)} zones of predicted RUL, {fewest} units or more in each"
        )
        if self.certifies(coverage):
            return f"{coverage:.0%} coverage calibrated by unit, {how}."
        return (
            f"{coverage:.0%} coverage cannot be certified: calibrated by unit, {how}, where "
            f"{units_needed(coverage)} would be needed."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON state; infinite bounds are null."""
        return {
            "zones": [
                {
                    "low": zone.low if math.isfinite(zone.low) else None,
                    "high": zone.high if math.isfinite(zone.high) else None,
                    "units": zone.units,
                    "score": zone.score.tolist(),
                    "coverage": zone.coverage.tolist(),
                }
                for zone in self.zones
            ]
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> UnitCalibration:
        """The calibration that :meth:`to_dict` described."""
        return cls(
            tuple(
                ZoneCalibration(
                    -math.inf if zone["low"] is None else float(zone["low"]),
                    math.inf if zone["high"] is None else float(zone["high"]),
                    int(zone["units"]),
                    np.asarray(zone["score"], dtype=np.float64),
                    np.asarray(zone["coverage"], dtype=np.float64),
                )
                for zone in state["zones"]
            )
        )


def cross_calibrated(
    raw: RULDistribution,
    y: npt.ArrayLike,
    *,
    unit: npt.ArrayLike,
    prediction: npt.ArrayLike,
    fold: npt.ArrayLike,
    event: npt.ArrayLike | None = None,
    edges: Sequence[float] | None = None,
    min_units: int = 30,
) -> RULDistribution:
    """Out-of-fold distributions, each fold calibrated on the units of the other folds.

    What is left to see of the calibration on units that it was not fitted on. With one fold the
    distributions are returned as they are.

    Args:
        raw: m out-of-fold distributions.
        y, unit, prediction, event, edges, min_units: as for :meth:`UnitCalibration.fit`.
        fold: number of the fold of each point, (m,); units are not divided by it.

    Example:
        >>> import numpy as np
        >>> edges, n = np.linspace(0.0, 100.0, 11), 40
        >>> raw = RULDistribution(edges, np.tile(1.0 - edges / 100.0, (n, 1)))
        >>> y = np.random.default_rng(0).uniform(40.0, 60.0, n)  # the distributions are too wide
        >>> unit = np.arange(n)
        >>> calibrated = cross_calibrated(raw, y, unit=unit, prediction=y, fold=unit % 2)
        >>> bool((calibrated.interval(0.8)[1] < raw.interval(0.8)[1]).all())
        True
    """
    true, units = np.asarray(y, dtype=np.float64), np.asarray(unit)
    value, folds = np.asarray(prediction, dtype=np.float64), np.asarray(fold)
    known = np.ones(len(raw), dtype=bool) if event is None else np.asarray(event, dtype=bool)
    survival = np.array(raw.survival)
    for k in np.unique(folds):
        held = folds == k
        if held.all() or not known[~held].any():
            continue
        calibration = UnitCalibration.fit(
            raw[~held], true[~held], unit=units[~held], prediction=value[~held],
            event=known[~held], edges=edges, min_units=min_units,
        )  # fmt: skip
        survival[held] = calibration.apply(raw[held], value[held]).survival
    return RULDistribution(raw.edges, survival, raw.rate)


def _enough(
    cuts: Array, value: Array, owner: npt.NDArray[Any], known: npt.NDArray[np.bool_], least: int
) -> Array | None:
    """The cuts if every zone they make has the units, else None."""
    zone = np.searchsorted(cuts, value, side="left")
    counts = [len(np.unique(owner[(zone == z) & known])) for z in range(len(cuts) + 1)]
    return cuts if min(counts) >= least else None


def _zone(
    low: float, high: float, pit: Array, owner: npt.NDArray[Any], known: npt.NDArray[np.bool_]
) -> ZoneCalibration:
    """Weighted distribution of F(y) over units, and from it the coverage of central intervals."""
    names, index, counts = np.unique(owner, return_inverse=True, return_counts=True)
    weight = 1.0 / counts[index.reshape(-1)]
    units = len(np.unique(owner[known]))
    order = np.lexsort((~known, pit))
    survival = weighted_survival(weight[None, order], known[order])
    at = np.concatenate([[0.0], pit[order], [1.0]])
    cdf = np.concatenate([[0.0], 1.0 - survival[0], [1.0]])
    last = len(order)  # the last value that enough outcomes were watched to reach
    if not known.all():
        before = np.concatenate([np.ones((1, 1)), survival], axis=1)
        last = int(supported(weight[None, order], before)[0])

    score = np.concatenate([np.sort(np.abs(2.0 * pit[known] - 1.0)), [1.0]])
    if len(score) > KNOTS:
        score = np.quantile(score, np.linspace(0.0, 1.0, KNOTS))
    score = np.unique(np.concatenate([[0.0], np.clip(score, 0.0, 1.0)]))
    # P(u ≤ (1 + s)/2) − P(u < (1 − s)/2) of the estimated distribution of u = F(y).
    upper = _step(at, cdf, (1.0 + score) / 2.0 + 1e-12, "right", last)
    lower = _step(at, cdf, (1.0 - score) / 2.0 - 1e-12, "left", last)
    # The unit to come adds weight 1 at the top: n units give k/(n + 1).
    coverage = np.clip(upper - lower, 0.0, 1.0) * len(names) / (len(names) + 1.0)
    coverage = np.maximum.accumulate(coverage)
    coverage[0], coverage[-1] = 0.0, 1.0
    return ZoneCalibration(low, high, units, score, coverage)


def _step(at: Array, cdf: Array, x: Array, side: Literal["left", "right"], last: int) -> Array:
    """Value of a right-continuous step function at x, or just before it (``left``).

    Beyond knot number ``last`` nothing is known, and the model is taken to be right: a line to 1.
    """
    k = np.searchsorted(at[: last + 1], x, side=side) - 1
    value = np.where(k >= 0, cdf[np.maximum(k, 0)], 0.0)
    if last < len(at) - 2:
        begin, reached = at[last], cdf[last]
        along = (x - begin) / max(1.0 - begin, 1e-12)
        value = np.where(x > begin, reached + (1.0 - reached) * np.clip(along, 0.0, 1.0), value)
    return np.asarray(np.where(x >= 1.0, 1.0, value))
