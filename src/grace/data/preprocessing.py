"""From a fleet to model inputs: channel choice, conditions, normalisation, causal features."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from grace.data import features as causal
from grace.data.conditions import OperatingConditions
from grace.data.errors import DataError
from grace.data.fleet import Fleet, FleetSchema

__all__ = ["FeatureTable", "Preprocessor", "PreprocessorConfig", "UnseenConditionWarning"]


class UnseenConditionWarning(UserWarning):
    """Rows were taken at an operating condition that training never saw."""


class PreprocessorConfig(BaseModel):
    """What is made of the raw channels.

    Args:
        sensors: sensor channels used, at least one; None takes the dataset's usual choice, or all.
        use_settings: feed the settings to the model too (normalised over all conditions).
        n_conditions: operating conditions, ``"auto"`` to discover them, None for the dataset's
            usual number.
        epsilon: ε in (x − μ_c)/(σ_c + ε).
        sigma_floor: a channel whose σ_c is below ``sigma_floor · max(1, |μ_c|)`` counts as
            constant in that condition: dividing by a σ that is rounding noise would turn the
            smallest change into thousands of σ. It is centred, and scaled by its pooled σ within
            the conditions where it does vary (the root of the mean variance, weighted by rows);
            a channel constant in all of them is only centred.
        clip: limit of the normalised values in σ, or None.
        age: add the time since the unit's first record.
        age_scale: unit of that feature, in the fleet's unit of time.
        baseline_deviation: add each sensor's deviation from the mean of the unit's own first rows.
        baseline_rows: how many first rows.
        include_sensors: feed the normalised sensors themselves. Without them the model sees only
            how far each sensor has moved (``baseline_deviation`` must be on), so that the network
            cannot memorise training units by their constant sensor offset.
        ewm_alphas: add an exponentially weighted mean of each sensor (of its baseline_deviation, if
            ``include_sensors`` is off), per α in (0, 1].
        unseen: what to do at an operating condition that training never saw: take the nearest and
            warn, with the distance in the feature table, or raise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sensors: tuple[str, ...] | None = None
    use_settings: bool = False
    n_conditions: int | Literal["auto"] | None = None
    epsilon: float = Field(1e-8, ge=0)
    sigma_floor: float = Field(1e-7, ge=0)
    clip: float | None = Field(None, gt=0)
    age: bool = False
    age_scale: float = Field(100.0, gt=0)
    baseline_deviation: bool = False
    baseline_rows: int = Field(20, ge=1)
    include_sensors: bool = True
    ewm_alphas: tuple[float, ...] = ()
    unseen: Literal["nearest", "error"] = "nearest"

    @field_validator("sensors")
    @classmethod
    def _each_once(cls, sensors: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if sensors is not None and not sensors:
            raise ValueError("name at least one sensor, or null for the dataset's usual choice")
        if sensors is not None and len(set(sensors)) < len(sensors):
            raise ValueError("a sensor is named twice")
        return sensors

    @field_validator("n_conditions")
    @classmethod
    def _one_or_more(cls, k: int | Literal["auto"] | None) -> int | Literal["auto"] | None:
        if isinstance(k, int) and k < 1:
            raise ValueError("it must be 1 or more, 'auto', or null for the dataset's usual number")
        return k

    @field_validator("ewm_alphas")
    @classmethod
    def _weights_of_a_mean(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 < alpha <= 1.0 for alpha in alphas):
            raise ValueError("each α must lie in (0, 1], e.g. 0.1 for a memory of 10 rows")
        return alphas

    @model_validator(mode="after")
    def _something_to_see(self) -> PreprocessorConfig:
        if not self.include_sensors and not self.baseline_deviation:
            raise ValueError(
                "include_sensors and baseline_deviation are both off: the model would see no sensor"
            )
        return self


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Model inputs of every row of a fleet.

    ``rows`` is (R, C) float32, C-contiguous, units end to end; ``starts`` and ``lengths`` (U,)
    place each unit; ``unit_ids`` (U) names them; ``times`` (R,); ``condition`` (R,) and
    ``condition_distance`` (R,) tell which operating condition each row was assigned to and how far
    from it it lies, in training standard deviations. ``offset_group`` (C,) is the number of the
    sensor whose offset a channel holds (the sensor itself and its moving means), −1 for the
    others; empty if unknown.
    """

    rows: npt.NDArray[np.float32]
    names: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    unit_ids: tuple[Any, ...]
    times: npt.NDArray[np.float64]
    condition: npt.NDArray[np.int64]
    condition_distance: npt.NDArray[np.float64]
    offset_group: tuple[int, ...] = ()


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
        self.sensors_: tuple[str, ...] = fleet.schema.sensors if chosen is None else chosen
        self._require(fleet)
        settings = fleet.values(self.schema_.settings)
        assert self.config.n_conditions is not None
        k = self.config.n_conditions if settings.shape[1] else 1
        self.conditions_ = OperatingConditions(k, seed=self.seed).fit(settings, source=fleet.name)
        labels, _ = self.conditions_.assign(settings)
        values = fleet.values(self.sensors_)
        k = len(self.conditions_.centers_)
        self.mean_: npt.NDArray[np.float64] = np.empty((k, len(self.sensors_)))
        self.std_: npt.NDArray[np.float64] = np.empty_like(self.mean_)
        for c in range(k):
            mine = values[labels == c]
            self.mean_[c], self.std_[c] = mine.mean(axis=0), mine.std(axis=0)
        varies = np.bincount(labels, minlength=k)[:, None] * ~self.constant_
        # What a channel is scaled by where it is constant: its σ where it is not, else nothing.
        pooled = np.sqrt((varies * self.std_**2).sum(axis=0) / varies.sum(axis=0).clip(1))
        self.fallback_ = np.where(varies.any(axis=0), pooled + self.config.epsilon, 1.0)
        self.settings_mean_ = settings.mean(axis=0)
        self.settings_std_ = settings.std(axis=0)
        return self

    @property
    def constant_(self) -> npt.NDArray[np.bool_]:
        """Which channel is constant in which condition, (k, C)."""
        floor = self.config.sigma_floor * np.maximum(1.0, np.abs(self.mean_))
        return np.asarray(self.std_ <= floor)

    def transform(self, fleet: Fleet) -> FeatureTable:
        """Model inputs of a fleet with the same columns.

        Raises:
            DataError: a column is missing; or ``unseen="error"`` and a row lies at an operating
                condition that training never saw (unit, time and distance are named).
        """
        self._require(fleet)
        settings = fleet.values(self.schema_.settings)
        labels, distance = self.conditions_.assign(settings)
        self._check_seen(fleet, labels, distance)
        cfg, starts, lengths = self.config, fleet.starts(), fleet.lengths()
        scale = np.where(self.constant_, self.fallback_, self.std_ + cfg.epsilon)
        sensors = (fleet.values(self.sensors_) - self.mean_[labels]) / scale[labels]
        if cfg.clip is not None:
            sensors = sensors.clip(-cfg.clip, cfg.clip)
        blocks, names = ([sensors], list(self.sensors_)) if cfg.include_sensors else ([], [])
        numbers = list(range(len(self.sensors_)))
        offset_group = list(numbers) if cfg.include_sensors else []
        if cfg.use_settings:
            spread = np.where(self.settings_std_ > 0, self.settings_std_, 1.0)
            blocks.append((settings - self.settings_mean_) / (spread + cfg.epsilon))
            names += self.schema_.settings
            offset_group += [-1] * len(self.schema_.settings)
        if cfg.baseline_deviation:
            moved = causal.baseline_deviation(sensors, starts, lengths, cfg.baseline_rows)
            blocks.append(moved)
            names += [f"{s}_deviation" for s in self.sensors_]
            offset_group += [-1] * len(numbers)
        for alpha in cfg.ewm_alphas:
            source = sensors if cfg.include_sensors else moved
            blocks.append(causal.exponential_mean(source, starts, lengths, alpha))
            names += [f"{s}_ewm{alpha:g}" for s in self.sensors_]
            offset_group += numbers if cfg.include_sensors else [-1] * len(numbers)
        if cfg.age:
            blocks.append(causal.age(fleet.times(), starts, lengths, cfg.age_scale))
            names.append("age")
            offset_group.append(-1)
        return FeatureTable(
            rows=np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=np.float32),
            names=tuple(names),
            starts=starts,
            lengths=lengths,
            unit_ids=tuple(fleet.unit_ids),
            times=fleet.times(),
            condition=labels,
            condition_distance=distance,
            offset_group=tuple(offset_group),
        )

    def sensors_only(self) -> Preprocessor:
        """The same learned statistics, giving the normalised sensors and nothing else."""
        bare = copy.copy(self)
        bare.config = self.config.model_copy(
            update={
                "include_sensors": True,
                "baseline_deviation": False,
                "age": False,
                "ewm_alphas": (),
                "use_settings": False,
            }
        )
        return bare

    def _require(self, fleet: Fleet) -> None:
        missing = [c for c in (*self.schema_.settings, *self.sensors_) if c not in fleet.frame]
        if missing:
            raise DataError(
                f"column {', '.join(map(repr, missing))} is missing; the model was made with "
                f"settings {list(self.schema_.settings)} and sensors {list(self.sensors_)}.",
                source=fleet.name,
                remedy="provide the column, or choose other sensors and train again.",
            )

    def _check_seen(
        self, fleet: Fleet, labels: npt.NDArray[np.int64], distance: npt.NDArray[np.float64]
    ) -> None:
        unseen = self.conditions_.unseen(labels, distance)
        if not unseen.any():
            return
        worst = int(np.argmax(np.where(unseen, distance, -1.0)))
        row = fleet.frame.row(worst, named=True)
        place = {s: row[s] for s in self.schema_.settings}
        problem = (
            f"{int(unseen.sum())} of {len(unseen)} rows lie at an operating condition training "
            f"never saw; the farthest is unit {row[self.schema_.unit]}, {self.schema_.time} "
            f"{row[self.schema_.time]} at {place}, {distance[worst]:.3g} training standard "
            "deviations from the nearest known condition."
        )
        if self.config.unseen == "error":
            raise DataError(
                problem,
                source=fleet.name,
                remedy="train on units that ran at this condition, or set unseen='nearest'.",
            )
        warnings.warn(
            f"{fleet.name}: {problem} The nearest known condition is used.",
            UnseenConditionWarning,
            stacklevel=3,
        )

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
            "settings_mean": self.settings_mean_.tolist(),
            "settings_std": self.settings_std_.tolist(),
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
        return self
