"""Causal features of every row, free of physical units, column order and unit of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.candidates.groups import UnitGroups
from grace.candidates.life_table import ages
from grace.data.conditions import OperatingConditions
from grace.data.errors import DataError
from grace.data.fleet import Fleet

__all__ = ["CausalFeatures", "FeatureBlock"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
_BLOCK_VALUES = 4_000_000  # float64 values of one block of features
_MAX_SENSORS = 48


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Features of some rows: their places in the list of requested rows, (M,), and (M, F)."""

    place: Index
    values: npt.NDArray[np.float32]


class CausalFeatures:
    """What a row may know: present, own start, moving means at three time scales, age, attributes.

    Per sensor, normalised by mean and standard deviation of its operating condition: the value,
    a short moving mean, its deviation from the mean of the unit's first rows, the trends (short
    less middle, middle less long moving mean) and the moving standard deviation. The time scales
    are 2%, 8% and 25% of the rows of a median life. In addition: age in median lives (of the fleet,
    and of the unit's own group), settings, numeric static attributes, and one column per level of
    a categorical one. Missing values are NaN; moving means skip them.

    Columns are taken in the order of their names; those that are constant or empty in training
    are left out.

    Attributes:
        names_: name of each feature, (F,).
        life_scale_: median life over all training units, in the fleet's unit of time.
        spans_: rows of the three moving means.
    """

    def fit(self, fleet: Fleet) -> CausalFeatures:
        """Learn columns, conditions, normalisation and time scales from training units."""
        self.groups_ = UnitGroups().fit(fleet)
        self.life_scale_ = self.groups_.overall_.median()
        if self.life_scale_ <= 0:
            self.life_scale_ = max(float(ages(fleet).max()), 1.0)
        settings, sensors = sorted(fleet.schema.settings), sorted(fleet.schema.sensors)
        self.settings_, self.setting_mean_, self.setting_std_ = _varying(fleet, settings)
        self.sensors_, overall, _ = _varying(fleet, sensors)
        place = self._settings(fleet)
        self.conditions_ = OperatingConditions("auto" if place.shape[1] else 1).fit(
            place, source=fleet.name
        )
        label, _ = self.conditions_.assign(place)
        values = fleet.values(self.sensors_)
        k = len(self.conditions_.centers_)
        self.mean_ = np.tile(overall, (k, 1))
        variance, count = np.zeros((k, len(self.sensors_))), np.zeros((k, len(self.sensors_)))
        for c in range(k):
            mine = values[label == c]
            known = np.isfinite(mine)
            count[c] = known.sum(axis=0)
            total = np.where(known, mine, 0.0).sum(axis=0)
            self.mean_[c] = np.where(count[c] > 0, total / count[c].clip(1), overall)
            gap = np.where(known, mine - self.mean_[c], 0.0)
            variance[c] = (gap**2).sum(axis=0) / count[c].clip(1)
        pooled = np.sqrt((count * variance).sum(axis=0) / count.sum(axis=0).clip(1))
        own = np.sqrt(variance)
        # A channel that is constant in a condition is scaled as in the others.
        self.std_ = np.where(own > 1e-6 * pooled, own, np.where(pooled > 0, pooled, 1.0))
        self._select(fleet)
        lives = np.sort(fleet.lengths()[fleet.units["rul_at_end"].is_not_null().to_numpy()])
        typical = float(np.median(lives if lives.size else fleet.lengths()))
        self.spans_ = tuple(
            max(least, share * typical) for least, share in ((1.5, 0.02), (3.0, 0.08), (6.0, 0.25))
        )
        self.baseline_rows_ = int(max(2, min(100, round(0.06 * typical))))
        self.static_ = _static_columns(fleet)
        self._name()
        return self

    def _select(self, fleet: Fleet) -> None:
        """Of very many sensors keep those whose rank follows age most closely within units."""
        if len(self.sensors_) <= _MAX_SENSORS:
            return
        age = ages(fleet)
        step = max(1, fleet.n_rows // 20_000)
        rank = pl.DataFrame(self._normalised(fleet)[::step], schema=list(self.sensors_))
        rank = rank.fill_nan(None).with_columns(__age=pl.Series(age[::step]))
        follow = rank.select(
            pl.corr(pl.col(c), pl.col("__age"), method="spearman").abs().fill_nan(0.0).alias(c)
            for c in self.sensors_
        ).row(0)
        keep = sorted(np.argsort(-np.array(follow, dtype=float), kind="stable")[:_MAX_SENSORS])
        self.sensors_ = tuple(self.sensors_[i] for i in keep)
        self.mean_, self.std_ = self.mean_[:, keep], self.std_[:, keep]

    def _name(self) -> None:
        forms = ("", "_short", "_deviation", "_trend", "_long_trend", "_spread")
        self.names_ = (
            *(f"{s}{form}" for form in forms for s in self.sensors_),
            *self.settings_,
            "age",
            "age_in_group",
            "log_group_life",
            *(f"{c}={level}" if levels else c for c, levels, _, _ in self.static_
              for level in (levels or [""])),
        )  # fmt: skip
        n = len(self.sensors_)
        self.offset_group_ = (*range(n), *range(n), *[-1] * (len(self.names_) - 2 * n))

    def blocks(self, fleet: Fleet, rows: Index) -> Iterator[FeatureBlock]:
        """Features of the rows of these numbers, some units at a time.

        Raises:
            DataError: a column that training used is missing.
        """
        missing = [c for c in (*self.settings_, *self.sensors_) if c not in fleet.frame.columns]
        missing += [c for c, *_ in self.static_ if c not in fleet.units.columns]
        missing += [
            k.column
            for k in self.groups_.keys_
            if k.column not in (fleet.units if k.static else fleet.frame).columns
        ]
        if missing:
            raise DataError(
                f"column(s) {', '.join(map(repr, dict.fromkeys(missing)))} missing; the model was "
                "trained with them.",
                source=fleet.name,
                remedy="provide them; their values may be missing.",
            )
        starts, lengths = fleet.starts(), fleet.lengths()
        unit_of = np.repeat(np.arange(fleet.n_units), lengths)
        wanted = np.zeros(fleet.n_units, dtype=bool)
        wanted[unit_of[rows]] = True
        place = np.argsort(rows, kind="stable")
        ordered = rows[place]
        size = max(1, len(self.names_))
        chunk: list[int] = []
        held = 0
        for unit in np.flatnonzero(wanted):
            chunk.append(int(unit))
            held += int(lengths[unit]) * size
            if held > _BLOCK_VALUES:
                yield self._block(fleet, chunk, starts, lengths, ordered, place)
                chunk, held = [], 0
        if chunk:
            yield self._block(fleet, chunk, starts, lengths, ordered, place)

    def at(self, fleet: Fleet, rows: Index) -> npt.NDArray[np.float32]:
        """Features of the rows of these numbers, (M, F), as one array."""
        out = np.empty((len(rows), len(self.names_)), dtype=np.float32)
        for block in self.blocks(fleet, rows):
            out[block.place] = block.values
        return out

    def _block(
        self, fleet: Fleet, units: list[int], starts: Index, lengths: Index, rows: Index,
        place: Index,
    ) -> FeatureBlock:  # fmt: skip
        """Features of the requested rows of some units."""
        pieces, kept, places, offset = [], [], [], 0
        for u in units:
            start, stop = starts[u], starts[u] + lengths[u]
            low, high = np.searchsorted(rows, (start, stop))
            last = rows[high - 1] + 1  # rows after the last requested one are not read
            pieces.append(np.arange(start, last))
            kept.append(rows[low:high] - start + offset)
            places.append(place[low:high])
            offset += last - start
        at = np.concatenate(pieces)
        part = fleet.frame[at]
        ids = np.asarray(units)
        count = np.array([len(p) for p in pieces])
        piece = Fleet(part, fleet.units[ids], fleet.schema, fleet.name)
        values = self._features(piece, np.repeat(np.arange(len(units)), count), count)
        return FeatureBlock(np.concatenate(places), values[np.concatenate(kept)])

    def _features(self, fleet: Fleet, unit: Index, lengths: Index) -> npt.NDArray[np.float32]:
        z = self._normalised(fleet)
        starts = np.cumsum(lengths) - lengths
        short, middle, long = (_moving_mean(z, unit, span) for span in self.spans_)
        spread = np.sqrt(np.maximum(_moving_mean(z * z, unit, self.spans_[1]) - middle**2, 0.0))
        base = _own_start(z, starts, lengths, self.baseline_rows_)
        times = fleet.times()
        age = times - times[starts][unit]
        group_life = np.maximum(self.groups_.median_life(fleet), 1e-9 * self.life_scale_)[unit]
        parts = [
            z, short, short - base, short - middle, middle - long, spread, self._settings(fleet),
            np.stack(
                [age / self.life_scale_, age / group_life, np.log(group_life / self.life_scale_)],
                axis=1,
            ),
            self._statics(fleet)[unit],
        ]  # fmt: skip
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _normalised(self, fleet: Fleet) -> Array:
        label, _ = self.conditions_.assign(self._settings(fleet))
        return (fleet.values(self.sensors_) - self.mean_[label]) / self.std_[label]

    def _settings(self, fleet: Fleet) -> Array:
        """Standardised settings; what is missing is at the training mean."""
        z = (fleet.values(self.settings_) - self.setting_mean_) / self.setting_std_
        return np.where(np.isfinite(z), z, 0.0)

    def _statics(self, fleet: Fleet) -> Array:
        columns = []
        for name, levels, mean, std in self.static_:
            values = fleet.units.get_column(name)
            if levels:
                columns += [(values == level).fill_null(False).to_numpy() for level in levels]
            else:
                columns.append((values.to_numpy().astype(np.float64) - mean) / std)
        return np.stack(columns, axis=1).astype(float) if columns else np.empty((fleet.n_units, 0))

    def group_life(self, x: npt.NDArray[np.float32]) -> Array:
        """Median life of the group of each row of features (M, F), in the unit of time, (M,)."""
        at = self.names_.index("log_group_life")
        return np.asarray(self.life_scale_ * np.exp(x[:, at].astype(np.float64)))

    def equals(self, other: CausalFeatures) -> bool:
        """Whether the other gives the same features."""
        return self is other or _same(self.to_state(), other.to_state())

    def to_state(self) -> dict[str, Any]:
        """Learned state as numbers, text and arrays."""
        return {
            "groups": self.groups_.to_state(),
            "life_scale": self.life_scale_,
            "settings": list(self.settings_),
            "setting_mean": self.setting_mean_,
            "setting_std": self.setting_std_,
            "sensors": list(self.sensors_),
            "conditions": self.conditions_.to_dict(),
            "mean": self.mean_,
            "std": self.std_,
            "spans": list(self.spans_),
            "baseline_rows": self.baseline_rows_,
            "static": [[c, list(levels), mean, std] for c, levels, mean, std in self.static_],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CausalFeatures:
        """The inverse of :meth:`to_state`."""
        self = cls()
        self.groups_ = UnitGroups.from_state(state["groups"])
        self.life_scale_ = float(state["life_scale"])
        self.settings_, self.sensors_ = tuple(state["settings"]), tuple(state["sensors"])
        self.setting_mean_ = np.asarray(state["setting_mean"], dtype=float)
        self.setting_std_ = np.asarray(state["setting_std"], dtype=float)
        self.conditions_ = OperatingConditions.from_dict(state["conditions"])
        shape = (-1, len(self.sensors_)) if self.sensors_ else (1, 0)
        self.mean_ = np.asarray(state["mean"], dtype=float).reshape(shape)
        self.std_ = np.asarray(state["std"], dtype=float).reshape(shape)
        self.spans_ = tuple(float(s) for s in state["spans"])
        self.baseline_rows_ = int(state["baseline_rows"])
        self.static_ = tuple((c, tuple(v), float(m), float(s)) for c, v, m, s in state["static"])
        self._name()
        return self


def _same(one: Any, two: Any) -> bool:
    """Equality of nested states; arrays by shape and value, NaN equal to NaN."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return one.keys() == two.keys() and all(_same(v, two[k]) for k, v in one.items())
    if isinstance(one, np.ndarray) or isinstance(two, np.ndarray):
        a, b = np.asarray(one), np.asarray(two)
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two)


def _varying(fleet: Fleet, names: list[str]) -> tuple[tuple[str, ...], Array, Array]:
    """The columns that are not constant, with mean and standard deviation over known values."""
    kept, means, stds = [], [], []
    for name in names:
        values = fleet.values([name])[:, 0]
        values = values[np.isfinite(values)]
        if values.size and np.ptp(values) > 1e-9 * np.abs(values).max():
            kept.append(name)
            means.append(values.mean())
            stds.append(values.std())
    return tuple(kept), np.array(means), np.array(stds)


def _static_columns(fleet: Fleet) -> tuple[tuple[str, tuple[str, ...], float, float], ...]:
    """Static attributes: name, levels of a text, mean and standard deviation of a number."""
    found: list[tuple[str, tuple[str, ...], float, float]] = []
    for name in sorted(fleet.schema.static):
        values = fleet.units.get_column(name).drop_nulls()
        if values.dtype == pl.String:
            counts = values.value_counts().filter(pl.col("count") >= 2).sort(name)
            levels = tuple(counts.get_column(name).head(20).to_list())
            if len(levels) + (values.n_unique() > len(levels)) >= 2:
                found.append((name, levels, 0.0, 1.0))
        else:
            known = values.drop_nans().to_numpy()
            if known.size and np.ptp(known) > 1e-9 * np.abs(known).max():
                found.append((name, (), float(known.mean()), float(known.std())))
    return tuple(found)


def _moving_mean(values: Array, unit: Index, span: float) -> Array:
    """Exponentially weighted mean with a memory of ``span`` rows, missing values skipped."""
    columns = [f"c{i}" for i in range(values.shape[1])]
    if not columns:
        return values
    frame = pl.DataFrame(values, schema=columns).fill_nan(None).with_columns(unit=pl.Series(unit))
    mean = pl.col(columns).ewm_mean(alpha=1.0 / span, adjust=True, ignore_nulls=True)
    return frame.select(mean.forward_fill().over("unit")).fill_null(np.nan).to_numpy()


def _own_start(values: Array, starts: Index, lengths: Index, n_rows: int) -> Array:
    """Mean of the unit's first ``n_rows`` rows, or of the rows so far, missing ones skipped."""
    out = np.empty_like(values)
    for start, length in zip(starts, lengths, strict=True):
        head = values[start : start + min(length, n_rows)]
        known = np.isfinite(head)
        count = np.cumsum(known, axis=0)
        sums = np.cumsum(np.where(known, head, 0.0), axis=0)
        mean = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
        out[start : start + len(head)] = mean
        out[start + len(head) : start + length] = mean[-1]
    return out
