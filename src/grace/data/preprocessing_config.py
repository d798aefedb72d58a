"""The configuration of :class:`~grace.data.preprocessing.Preprocessor`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["PreprocessorConfig"]


class PreprocessorConfig(BaseModel):
    """What is made of the raw channels.

    Args:
        sensors: sensor channels used, at least one; None takes the dataset's usual choice, or all
            in alphabetical order.
        use_settings: feed the settings to the model too (normalised over all conditions). None:
            where the number of conditions was left open and the settings are a continuum.
        n_conditions: operating conditions, ``"auto"`` to discover them, None for the dataset's
            usual number.
        epsilon: ε in (x − μ_c)/(σ_c + ε).
        sigma_floor: a channel whose σ_c is at most ``sigma_floor`` times |μ_c|, or times its
            largest σ in any condition, counts as constant in that condition: dividing by a σ that
            is rounding noise would turn the smallest change into thousands of σ. It is centred,
            and scaled by its pooled σ within the conditions where it does vary (the root of the
            mean variance, weighted by rows); a channel constant in all of them is only centred.
        drop_constant: leave out sensors that are constant in every condition, with the reason
            recorded. Sensors without any value in training are always left out.
        robust_limits: clip raw values to [q₁ − r·(q₉₉ − q₁), q₉₉ + r·(q₉₉ − q₁)] of the training
            rows for this r, so that placeholder values such as 2³² − 1 do not set the scale; None
            clips nothing. Where q₁ = q₉₉ the training extremes are the limits.
        fill_rows: a missing value is replaced by the last known one of the unit over at most this
            many rows (None: no limit), then by the training median of the condition.
        fill_time: and over at most this much time, in the fleet's unit of time.
        missing_mask: one more input per sensor with missing values in training: 1 where the value
            was missing.
        missing_channel: what to do when a fleet lacks a column at prediction: raise, or fill it
            like missing values and report it.
        use_static: feed the static attributes of the schema.
        time_step: feed log₂ of the time since the previous row, in usual steps. None: where more
            than 5% of the training steps differ by more than a tenth from the usual one.
        clip: limit of the normalised values in σ, or None.
        age: add the time since the unit's first record.
        age_scale: unit of that feature, in the fleet's unit of time.
        baseline_deviation: add each sensor's deviation from the mean of the unit's own first rows.
        baseline_rows: how many first rows.
        include_sensors: feed the normalised sensors themselves. Without them the model sees only
            how far each sensor has moved (``baseline_deviation`` must be on), so that the network
            cannot memorise training units by their constant sensor offset.
        trend_rows: add each sensor's change over its last n rows on the line through them, per n.
        ewm_alphas: add an exponentially weighted mean of each sensor (of its baseline_deviation, if
            ``include_sensors`` is off), per α in (0, 1].
        unseen: what to do at an operating condition that training never saw: take the nearest and
            warn, with the distance in the feature table, or raise.

    Example:
        >>> config = PreprocessorConfig(age=True, baseline_deviation=True, include_sensors=False)
        >>> config.baseline_rows
        20
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sensors: tuple[str, ...] | None = None
    use_settings: bool | None = None
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
    trend_rows: tuple[int, ...] = ()
    drop_constant: bool = False
    robust_limits: float | None = Field(None, gt=0)
    fill_rows: int | None = Field(10, ge=0)
    fill_time: float | None = Field(None, ge=0)
    missing_mask: bool = True
    missing_channel: Literal["error", "fill"] = "error"
    use_static: bool = True
    time_step: bool | None = None
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

    @field_validator("trend_rows")
    @classmethod
    def _lines_need_two_points(cls, rows: tuple[int, ...]) -> tuple[int, ...]:
        if not all(2 <= n <= 100_000 for n in rows):
            raise ValueError("each number of rows must be from 2 to 100000, e.g. 20")
        return rows

    @model_validator(mode="after")
    def _something_to_see(self) -> PreprocessorConfig:
        if not self.include_sensors and not self.baseline_deviation:
            raise ValueError(
                "include_sensors and baseline_deviation are both off: the model would see no sensor"
            )
        return self
