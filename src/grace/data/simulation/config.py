"""What can be chosen about a simulated fleet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["SimulationConfig"]

_RANGES = {"onset": "cycles", "wear_out": "cycles", "test_rul": "cycles", "initial_wear": "health"}


class SimulationConfig(BaseModel):
    """A simulated fleet: how many engines, how they wear, how they are measured and observed.

    Ranges are ``(low, high)`` of a uniform distribution over engines. Symbols are those of
    :func:`grace.data.simulation.simulate`.

    Args:
        n_train: engines to learn from.
        n_test: engines to be judged on, cut off before failure.
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
        condition_stress: how far the wear of the harshest and of the mildest operating point lies
            from the average, as a share of it.
        sensor_noise: multiple of the noise of C-MAPSS readings.
        manufacturing_variation: standard deviation between healthy engines, in multiples of a
            channel's C-MAPSS noise.
        gain_scatter: standard deviation between engines of how strongly a fault shows in a
            channel, as a share of the mean.
        censored_fraction: share of training engines taken out of service at 30 to 95 % of
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
          Value error, onset must be (low, high) in cycles with low <= high; got (130.0, 30.0)...
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_train: int = Field(80, ge=1)
    n_test: int = Field(60, ge=1)
    n_conditions: int = Field(3, ge=1, le=6)
    n_faults: int = Field(2, ge=1, le=2)
    onset: tuple[float, float] = (30.0, 130.0)
    wear_out: tuple[float, float] = (90.0, 170.0)
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
    test_rul: tuple[float, float] = (5.0, 150.0)
    min_test_cycles: int = Field(12, ge=1, le=29)
    short_test_fraction: float = Field(0.05, ge=0.0, le=1.0)
