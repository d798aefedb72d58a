"""What the columns of a fleet mean."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["RESERVED_UNIT_COLUMNS", "FleetSchema"]

# Columns of ``Fleet.units`` with a fixed meaning.
RESERVED_UNIT_COLUMNS = frozenset({"unit", "failed", "rul_at_end"})


class FleetSchema(BaseModel):
    """Names and meaning of the columns of a fleet.

    Args:
        unit: column that identifies a machine.
        time: column of life time, strictly increasing within a unit.
        settings: columns that describe how the machine is operated (altitude, load, speed).
        sensors: measured channels.
        static: attributes of the unit, constant over its life (load group, material, model):
            columns of ``Fleet.units``, numeric or categorical.
        time_unit: what one step of ``time`` counts ("cycles", "flights", "hours", "days"); every
            RUL of this fleet is in this unit.
        descriptions: optional text per column for reports, e.g. ``{"s2": "T24, LPC outlet, °R"}``.

    Example:
        >>> schema = FleetSchema(
        ...     time="hour", time_unit="hours", settings=("load",), sensors=("temperature",)
        ... )
        >>> schema.channels
        ('load', 'temperature')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str = "unit"
    time: str = "cycle"
    settings: tuple[str, ...] = ()
    sensors: tuple[str, ...]
    static: tuple[str, ...] = ()
    time_unit: str = "cycles"
    descriptions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_differ(self) -> FleetSchema:
        names = [self.unit, self.time, *self.settings, *self.sensors, *self.static]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"column names must differ; named twice: {', '.join(twice)}")
        if not self.sensors:
            raise ValueError("a fleet needs at least one sensor column")
        fate = sorted((RESERVED_UNIT_COLUMNS - {self.unit}) & set(self.channels))
        if fate:
            raise ValueError(
                f"{fate[0]!r} names the unit or its fate and cannot be a setting or sensor; leave "
                "it out, or rename the column if it is measured"
            )
        taken = sorted(RESERVED_UNIT_COLUMNS & set(self.static))
        if taken:
            raise ValueError(f"a static attribute cannot be named {taken[0]!r}; rename the column")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """Settings, then sensors: every measured column."""
        return (*self.settings, *self.sensors)
