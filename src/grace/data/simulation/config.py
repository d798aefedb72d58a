"""Parameters of a simulated fleet."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

__all__ = ["SimulationConfig"]

# Lowest value that makes sense at the low end of each range, and the unit for the message.
_RANGES = {
    "onset": (0, "cycles"),
    "wear_out": (10, "cycles"),
    "initial_wear": (0, "units of health"),
    "test_rul": (1, "cycles"),
}


class SimulationConfig(BaseModel):
    """A simulated fleet: how many engines, how they wear, how they are measured and observed.

    Ranges are ``(low, high)`` of a uniform distribution over engines. Symbols are those of
    :func:`grace.data.simulation.simulate`.

    Args:
        n_train: engines to learn from.
        n_test: engines to be evaluated on, cut off before failure.
        n_conditions: operating points flown, 1 to 6; a new one is drawn for every cycle.
        n_faults: 1: every engine fails by its HPC; 2: HPC or fan, by the toss of a coin.
        onset: cycles flown before damage starts to grow, t₀.
        wear_out: cycles from onset to failure of an engine without initial wear under average
            stress. Life is about ``onset + wear_out``.
        wear_amplitude: A, in units of health; the smaller, the later and steeper the wear.
        wear_exponent: b, no unit; 1 is exponential wear, above 1 the start is slower still.
        initial_wear: d, health missing at delivery; it shortens life and no sensor shows it.
        failure_threshold: h_min, health at which an engine counts as failed.
        process_noise: v, coefficient of variation of the wear of one cycle.
        condition_stress: S, how much more than a cycle of middling severity one at the harshest
            operating point wears the engine, as a share; at the mildest it is as much less.
        sensor_noise: multiple of the noise of C-MAPSS readings.
        manufacturing_variation: standard deviation between healthy engines, in multiples of a
            channel's C-MAPSS noise.
        gain_scatter: standard deviation between engines of how strongly a fault shows in a
            channel, as a share of the mean.
        censored_fraction: share of training engines taken out of service at 30 to 95% of
            their life, with ``rul_at_end`` unknown.
        test_rul: cycles left after the last row of a test engine; less where life is too short.
        min_test_cycles: fewest rows of a test engine, as far as its life allows.
        short_test_fraction: share of test engines with fewer than 30 rows.

    Example:
        >>> SimulationConfig(n_conditions=6, n_faults=1).n_train
        80
        >>> SimulationConfig(onset=(130, 30))
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for SimulationConfig
        onset
          Value error, onset must be (low, high) in cycles with 0 <= low <= high; got (130, 30)...
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_train: int = Field(80, ge=1)
    n_test: int = Field(60, ge=1)
    n_conditions: int = Field(3, ge=1, le=6)
    n_faults: int = Field(2, ge=1, le=2)
    onset: tuple[int, int] = (20, 180)
    wear_out: tuple[float, float] = (100.0, 140.0)
    wear_amplitude: float = Field(0.1, gt=0.0, le=10.0)
    wear_exponent: float = Field(1.0, ge=0.5, le=4.0)
    initial_wear: tuple[float, float] = (0.0, 0.1)
    failure_threshold: float = Field(0.0, ge=0.0, lt=1.0)
    process_noise: float = Field(0.8, ge=0.0, le=3.0)
    condition_stress: float = Field(0.15, ge=0.0, le=0.9)
    sensor_noise: float = Field(1.0, ge=0.0, le=100.0)
    manufacturing_variation: float = Field(1.0, ge=0.0, le=100.0)
    gain_scatter: float = Field(0.1, ge=0.0, le=1.0)
    censored_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    test_rul: tuple[int, int] = (5, 150)
    min_test_cycles: int = Field(12, ge=1, le=29)
    short_test_fraction: float = Field(0.05, ge=0.0, le=1.0)

    @field_validator(*_RANGES)
    @classmethod
    def _in_order(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        least, unit = _RANGES[str(info.field_name)]
        if not least <= value[0] <= value[1]:
            raise ValueError(
                f"{info.field_name} must be (low, high) in {unit} with {least} <= low <= high; "
                f"got {value}"
            )
        return value

    @model_validator(mode="after")
    def _possible(self) -> SimulationConfig:
        if self.initial_wear[1] + self.failure_threshold > 0.9:
            raise ValueError(
                f"initial_wear up to {self.initial_wear[1]} leaves an engine almost no health "
                f"above failure_threshold {self.failure_threshold}; lower one of them so that "
                "their sum is at most 0.9"
            )
        return self
