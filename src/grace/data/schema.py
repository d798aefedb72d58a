"""What the columns of a fleet mean."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["FleetSchema"]


class FleetSchema(BaseModel):
    """Names and meaning of the columns of a fleet.

    Args:
        unit: column that identifies a machine.
        time: column of life time, strictly increasing within a unit.
        settings: columns that describe how the machine is operated (altitude, load, speed).
        sensors: measured channels.
        time_unit: what one step of ``time`` counts ("cycles", "flights", "hours", "days"); every
            RUL of this fleet is in this unit.
        descriptions: optional text per column for reports, e.g. ``{"s2": "T24, LPC outlet, °R"}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str = "unit"
    time: str = "cycle"
    settings: tuple[str, ...] = ()
    sensors: tuple[str, ...]
    time_unit: str = "cycles"
    descriptions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_differ(self) -> FleetSchema:
        names = [self.unit, self.time, *self.settings, *self.sensors]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"column names must differ; named twice: {', '.join(twice)}")
        if not self.sensors:
            raise ValueError("a fleet needs at least one sensor column")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """Settings, then sensors: every measured column."""
        return (*self.settings, *self.sensors)
