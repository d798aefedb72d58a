"""From a fleet to model inputs: channels, conditions, normalisation, missing values, features."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from grace.data import features as causal
from grace.data.channel_statistics import (
    channel_values,
    column_median,
    moments,
    robust_limits,
)
from grace.data.conditions import OperatingConditions
from grace.data.errors import DataError
from grace.data.feature_table import FeatureTable
from grace.data.fleet import Fleet, FleetSchema
from grace.data.input_flags import (
    InputWarning,
    UnseenConditionWarning,
    input_flags,
    report_unseen,
    warn_of,
)
from grace.data.missing import forward_fill
from grace.data.preprocessing_config import PreprocessorConfig
from grace.data.static_attributes import StaticEncoder

__all__ = [
    "FeatureTable",
    "InputWarning",
    "Preprocessor",
    "PreprocessorConfig",
    "UnseenConditionWarning",
]

Array = npt.NDArray[np.float64]


class Preprocessor:
    """Fitted on training units only; what it learned travels with the model as plain numbers.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> data = load_dataset("sim")
        >>> prep = Preprocessor(PreprocessorConfig(age=True), default_sensors=("s2", "s3")).fit(
        ...     data.train
        ... )
        >>> prep.transform(data.test).names
        ('s2', 's3', 'age')
    """

    def __init__(
        self,
        config: PreprocessorConfig | None = None,
        *,
        default_sensors: tuple[str, ...] | None = None,
        default_conditions: int | Literal["auto"] = "auto",
        seed: int = 0,
    ) -> None:
        config = config or PreprocessorConfig()
        sensors, k = config.sensors, config.n_conditions
        self.config = config.model_copy(
            update={
                "sensors": default_sensors if sensors is None else sensors,
                "n_conditions": default_conditions if k is None else k,
            }
        )
        self.seed = seed

    def fit(self, fleet: Fleet) -> Preprocessor:
        """Learn conditions and statistics from training units.

        Raises:
            DataError: a chosen sensor is not in the fleet, or its settings do not divide into the
                chosen number of conditions.
        """
        self.schema_: FleetSchema = fleet.schema
        chosen = self.config.sensors
        # By name where nothing prescribes an order: results do not depend on that of the columns.
        self.sensors_: tuple[str, ...] = tuple(
            sorted(fleet.schema.sensors) if chosen is None else chosen
        )
        self.settings_: tuple[str, ...] = tuple(sorted(fleet.schema.settings))
        self._require(fleet)
        self.settings_median_: Array = column_median(fleet.values(self.settings_))
        settings = self._settings(fleet)
        assert self.config.n_conditions is not None
        k = self.config.n_conditions if settings.shape[1] else 1
        self.conditions_ = OperatingConditions(k, seed=self.seed).fit(settings, source=fleet.name)
        labels, _ = self.conditions_.assign(settings)
        self._fit_sensors(fleet, labels)
        self.settings_mean_ = settings.mean(axis=0)
        self.settings_std_ = settings.std(axis=0)
        use_static = self.config.use_static and fleet.schema.static
        self.static_ = StaticEncoder().fit(
            fleet.units, list(fleet.schema.static if use_static else ())
        )
        steps = causal.time_steps(fleet.times(), fleet.starts())
        inside = steps[~np.isnan(steps)]
        self.step_ = float(np.median(inside)) if inside.size else 1.0
        uneven = np.abs(inside - self.step_) > 0.1 * self.step_
        self.irregular_ = bool(inside.size) and float(uneven.mean()) > 0.05
        return self

    def _fit_sensors(self, fleet: Fleet, labels: npt.NDArray[np.int64]) -> None:
        """Limits, statistics per condition, and which channels are inputs."""
        names, values = self.sensors_, fleet.values(self.sensors_)
        empty = np.asarray(np.isnan(values).all(axis=0))
        self.dropped_: dict[str, str] = {
            n: "no value in the training units" for n, hit in zip(names, empty, strict=True) if hit
        }
        self._keep(~empty, fleet)
        values = values[:, ~empty]
        self.limits_: Array = robust_limits(values, self.config.robust_limits)
        values = values.clip(*self.limits_)
        k = len(self.conditions_.centers_)
        self.mean_: Array = np.empty((k, values.shape[1]))
        self.std_: Array = np.empty_like(self.mean_)
        counts = np.empty_like(self.mean_)
        for c in range(k):
            self.mean_[c], self.std_[c], counts[c] = moments(values[labels == c], values)
        varies = counts * ~self.constant_
        # What a channel is scaled by where it is constant: its σ where it is not, else nothing.
        pooled = np.sqrt((varies * self.std_**2).sum(axis=0) / varies.sum(axis=0).clip(1))
        self.fallback_ = np.where(varies.any(axis=0), pooled + self.config.epsilon, 1.0)
        self.missing_: npt.NDArray[np.bool_] = np.asarray(np.isnan(values).any(axis=0))
        normalised = self._normalise(values, labels)
        self.median_: Array = np.stack([column_median(normalised[labels == c]) for c in range(k)])
        self.range_: Array = np.stack(
            [np.nanmin(normalised, axis=0), np.nanmax(normalised, axis=0)]
        )
        still = np.asarray(self.constant_.all(axis=0))
        if self.config.drop_constant and still.any():
            reason = "constant" if k == 1 else f"constant in each of {k} operating conditions"
            self.dropped_ |= {n: reason for n, hit in zip(self.sensors_, still, strict=True) if hit}
            for name in ("limits_", "mean_", "std_", "fallback_", "missing_", "median_", "range_"):
                setattr(self, name, getattr(self, name)[..., ~still])
            self._keep(~still, fleet)

    def _keep(self, kept: npt.NDArray[np.bool_], fleet: Fleet) -> None:
        self.sensors_ = tuple(n for n, hit in zip(self.sensors_, kept, strict=True) if hit)
        if not self.sensors_:
            raise DataError(
                "no sensor changes in the training units: "
                + "; ".join(f"{name}: {why}" for name, why in list(self.dropped_.items())[:8])
                + ".",
                source=fleet.name,
                remedy="give columns that are measured over the life of the units as sensors.",
            )

    @property
    def constant_(self) -> npt.NDArray[np.bool_]:
        """Which channel is constant in which condition, (k, C)."""
        scale = np.maximum(np.abs(self.mean_), self.std_.max(axis=0))
        return np.asarray(self.std_ <= self.config.sigma_floor * scale)

    def transform(self, fleet: Fleet) -> FeatureTable:
        """Model inputs of a fleet with the same columns.

        Missing values are filled, values outside the limits clipped, unseen categories and
        conditions replaced by the nearest thing known; ``FeatureTable.flags`` counts all of it by
        unit, and a warning says where it is more than a few rows.

        Raises:
            DataError: a column is missing and ``missing_channel="error"``; or ``unseen="error"``
                and a row lies at an operating condition that training never saw (unit, time and
                distance are named).
        """
        absent = self._require(fleet)
        settings = self._settings(fleet)
        labels, distance = self.conditions_.assign(settings)
        cfg, times, starts, lengths = self.config, fleet.times(), fleet.starts(), fleet.lengths()
        unseen = self.conditions_.unseen(labels, distance)
        report_unseen(fleet, unseen, distance, self.settings_, refuse=cfg.unseen == "error")
        raw = channel_values(fleet, self.sensors_)
        missing = np.isnan(raw)
        sensors = self._normalise(raw, labels)
        outside = self._outside(sensors)
        sensors = self._normalise(raw.clip(*self.limits_), labels)
        # Filled once normalised: the last value may be of another operating condition.
        sensors = forward_fill(
            sensors, times, starts, lengths, max_rows=cfg.fill_rows, max_time=cfg.fill_time
        )
        sensors = np.where(np.isnan(sensors), self.median_[labels], sensors)
        if cfg.clip is not None:
            sensors = sensors.clip(-cfg.clip, cfg.clip)
        blocks, names = ([sensors], list(self.sensors_)) if cfg.include_sensors else ([], [])
        numbers = list(range(len(self.sensors_)))
        offset_group = list(numbers) if cfg.include_sensors else []
        if cfg.use_settings or (cfg.use_settings is None and self.conditions_.continuum_):
            spread = np.where(self.settings_std_ > 0, self.settings_std_, 1.0)
            blocks.append((settings - self.settings_mean_) / (spread + cfg.epsilon))
            names += self.settings_
        if cfg.baseline_deviation:
            moved = causal.baseline_deviation(sensors, starts, lengths, cfg.baseline_rows)
            blocks.append(moved)
            names += [f"{s}_deviation" for s in self.sensors_]
        offset_group += [-1] * (len(names) - len(offset_group))
        for alpha in cfg.ewm_alphas:
            source = sensors if cfg.include_sensors else moved
            blocks.append(causal.exponential_mean(source, starts, lengths, alpha))
            names += [f"{s}_ewm{alpha:g}" for s in self.sensors_]
            offset_group += numbers if cfg.include_sensors else [-1] * len(numbers)
        for n in cfg.trend_rows:
            blocks.append(causal.trend(sensors, times, starts, lengths, n))
            names += [f"{s}_trend{n}" for s in self.sensors_]
        if cfg.missing_mask and self.missing_.any():
            blocks.append(missing[:, self.missing_].astype(np.float64))
            hit = zip(self.sensors_, self.missing_, strict=True)
            names += [f"{s}_missing" for s, is_missing in hit if is_missing]
        if cfg.age:
            blocks.append(causal.age(times, starts, lengths, cfg.age_scale))
            names.append("age")
        if cfg.time_step or (cfg.time_step is None and self.irregular_):
            steps = causal.time_steps(times, starts) / self.step_
            blocks.append(np.log2(np.where(np.isnan(steps), 1.0, steps)).clip(-8, 8)[:, None])
            names.append("time_step")
        unknown: list[tuple[str, ...]] = [()] * fleet.n_units
        if cfg.use_static:
            static, unknown = self.static_.transform(fleet.units)
            blocks.append(np.repeat(static, lengths, axis=0))
            names += self.static_.names
        offset_group += [-1] * (len(names) - len(offset_group))
        flags = input_flags(
            fleet,
            missing=missing,
            outside=outside,
            unseen=unseen,
            channels=self.sensors_,
            absent=absent,
            unknown=unknown,
        )
        warn_of(fleet, flags, stacklevel=3)
        return FeatureTable(
            rows=np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=np.float32),
            names=tuple(names),
            starts=starts,
            lengths=lengths,
            unit_ids=tuple(fleet.unit_ids),
            times=times,
            condition=labels,
            condition_distance=distance,
            offset_group=tuple(offset_group),
            flags=flags,
        )

    def _normalise(self, values: Array, labels: npt.NDArray[np.int64]) -> Array:
        """(x − μ_c)/(σ_c + ε), missing values NaN, (R, C)."""
        return np.asarray((values - self.mean_[labels]) / self.scale_[labels])

    @property
    def scale_(self) -> Array:
        """What a channel is divided by in each condition, (k, C)."""
        return np.where(self.constant_, self.fallback_, self.std_ + self.config.epsilon)

    def _outside(self, normalised: Array) -> npt.NDArray[np.bool_]:
        """Values beyond the training range by more than half its width, (R, C)."""
        low, high = self.range_
        margin = 0.5 * (high - low)
        varies = ~self.constant_.all(axis=0)
        return np.asarray(((normalised < low - margin) | (normalised > high + margin)) & varies)

    def _settings(self, fleet: Fleet) -> Array:
        """Settings (R, S), missing ones filled within the unit, then by the training median."""
        cfg, values = self.config, channel_values(fleet, self.settings_)
        values = forward_fill(
            values, fleet.times(), fleet.starts(), fleet.lengths(),
            max_rows=cfg.fill_rows, max_time=cfg.fill_time,
        )  # fmt: skip
        gone = np.isnan(values)
        return np.where(gone, self.settings_median_, values) if gone.any() else values

    def sensors_only(self) -> Preprocessor:
        """The same learned statistics, giving the normalised sensors and nothing else."""
        bare = copy.copy(self)
        bare.config = self.config.model_copy(
            update={
                "include_sensors": True,
                "baseline_deviation": False,
                "age": False,
                "ewm_alphas": (),
                "trend_rows": (),
                "use_settings": False,
                "missing_mask": False,
                "use_static": False,
                "time_step": False,
            }
        )
        return bare

    def _require(self, fleet: Fleet) -> tuple[str, ...]:
        """The columns that a fleet lacks, if that is allowed."""
        absent = tuple(c for c in (*self.settings_, *self.sensors_) if c not in fleet.frame)
        fitted = hasattr(self, "mean_")
        schema = fleet.schema
        no_sensor = [c for c in self.sensors_ if c in fleet.frame and c not in schema.sensors]
        if no_sensor:
            role = {schema.unit: "unit", schema.time: "time"}.get(no_sensor[0], "setting")
            more = " (features.use_settings feeds the settings)" if role == "setting" else ""
            raise DataError(
                f"column {no_sensor[0]!r} is the {role} column, not a sensor, so it cannot be an "
                f"input{more}.",
                source=fleet.name,
                remedy=f"choose features.sensors from {', '.join(schema.sensors)}.",
            )
        if absent and not (fitted and self.config.missing_channel == "fill"):
            raise DataError(
                f"column {', '.join(map(repr, absent))} is missing; the model was made with "
                f"settings {list(self.settings_)} and sensors {list(self.sensors_)}.",
                source=fleet.name,
                remedy="provide the column, or choose other sensors and train again.",
            )
        return absent

    def to_dict(self) -> dict[str, Any]:
        """Configuration and learned state as plain numbers and strings."""
        return {
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "schema": self.schema_.model_dump(mode="json"),
            "sensors": list(self.sensors_),
            "conditions": self.conditions_.to_dict(),
            "mean": self.mean_.tolist(),
            "std": self.std_.tolist(),
            "fallback": self.fallback_.tolist(),
            "settings": list(self.settings_),
            "settings_median": self.settings_median_.tolist(),
            "settings_mean": self.settings_mean_.tolist(),
            "settings_std": self.settings_std_.tolist(),
            # Without limits they are infinite, which JSON cannot hold.
            "limits": self.limits_.tolist() if np.isfinite(self.limits_).all() else None,
            "missing": self.missing_.tolist(),
            "median": self.median_.tolist(),
            "range": self.range_.tolist(),
            "dropped": self.dropped_,
            "static": self.static_.to_dict(),
            "step": self.step_,
            "irregular": self.irregular_,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Preprocessor:
        """The inverse of :meth:`to_dict`: transforms to the same bits."""
        self = cls(PreprocessorConfig.model_validate(state["config"]), seed=state["seed"])
        self.schema_ = FleetSchema.model_validate(state["schema"])
        self.sensors_ = tuple(state["sensors"])
        self.conditions_ = OperatingConditions.from_dict(state["conditions"])
        shape = (len(state["mean"]), len(self.sensors_))
        self.mean_ = np.asarray(state["mean"], dtype=np.float64).reshape(shape)
        self.std_ = np.asarray(state["std"], dtype=np.float64).reshape(shape)
        self.fallback_ = np.asarray(state["fallback"], dtype=np.float64)
        self.settings_mean_ = np.asarray(state["settings_mean"], dtype=np.float64)
        self.settings_std_ = np.asarray(state["settings_std"], dtype=np.float64)
        self.settings_ = tuple(state["settings"])
        self.settings_median_ = np.asarray(state["settings_median"], dtype=np.float64)
        limits = state["limits"]
        if limits is None:
            limits = [[-np.inf] * len(self.sensors_), [np.inf] * len(self.sensors_)]
        pairs = (2, len(self.sensors_))
        self.limits_ = np.asarray(limits, dtype=np.float64).reshape(pairs)
        self.missing_ = np.asarray(state["missing"], dtype=np.bool_).reshape(len(self.sensors_))
        self.median_ = np.asarray(state["median"], dtype=np.float64).reshape(shape)
        self.range_ = np.asarray(state["range"], dtype=np.float64).reshape(pairs)
        self.dropped_ = dict(state["dropped"])
        self.static_ = StaticEncoder.from_dict(state["static"])
        self.step_, self.irregular_ = float(state["step"]), bool(state["irregular"])
        return self
