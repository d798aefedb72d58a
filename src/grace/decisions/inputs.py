"""What a maintenance decision needs to know: costs, times, persistence, capacity."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["SECONDS", "Capacity", "DecisionInputs", "slot_length"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# Units of time that a calendar knows, in seconds; names in singular.
SECONDS = {
    "millisecond": 0.001,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86_400.0,
    "week": 604_800.0,
}
_SHORT = {"ms": "millisecond", "s": "second", "sec": "second", "min": "minute", "h": "hour",
          "d": "day", "w": "week"}  # fmt: skip


class DecisionInputs(BaseModel):
    """Costs and times of a replacement decision, in one currency and the fleet's unit of time.

    Args:
        failure_cost: c_f, cost of a failure in service, its replacement included.
        planned_cost: c_p, cost of a planned replacement.
        lead_time: L, from the decision to the replacement.
        interval: Δ, time between two decisions.
        persistence: (k, n): an alarm needs k of the last n decisions above the threshold.
        false_alarm_budget: most false alarms per unit and time; None: no limit.

    Raises:
        ValidationError: a value is not finite or out of range, or a failure costs no more than a
            planned replacement: running to failure is then the best policy, whatever is predicted.

    Example:
        >>> inputs = DecisionInputs(failure_cost=50, planned_cost=8, lead_time=10, interval=5)
        >>> inputs.horizon  # L + Δ
        15.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    failure_cost: Positive
    planned_cost: Positive
    lead_time: NonNegative = 0.0
    interval: Positive
    persistence: tuple[int, int] = (1, 1)
    false_alarm_budget: NonNegative | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DecisionInputs:
        if self.failure_cost <= self.planned_cost:
            raise ValueError(
                f"a failure costs {self.failure_cost:g}, not more than a planned replacement "
                f"({self.planned_cost:g}): running to failure is then the cheapest policy"
            )
        k, n = self.persistence
        if not 1 <= k <= n:
            raise ValueError(f"persistence {k} of {n}: give k of n with 1 <= k <= n, e.g. (2, 3)")
        return self

    @property
    def horizon(self) -> float:
        """L + Δ: a decision put off to the next time cannot prevent a failure before this."""
        return self.lead_time + self.interval


class Capacity(BaseModel):
    """``count`` replacements per ``period``, a time in the fleet's unit.

    Example:
        >>> Capacity(count=3, period=168.0) == Capacity.parse("3/week", "hours")
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=1)]
    period: Positive

    @classmethod
    def parse(cls, text: str, time_unit: str) -> Capacity:
        """From text such as ``3/week`` or ``3/20`` (per 20 units of the fleet's time).

        Raises:
            ValueError: the text cannot be read, or a calendar period is asked for of a fleet whose
                time is none.

        Example:
            >>> Capacity.parse("3/week", "hours").period, Capacity.parse("2/20", "cycles").period
            (168.0, 20.0)
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(.+?)\s*", text)
        if match is None:
            raise ValueError(f"capacity {text!r}: write COUNT/PERIOD, e.g. 3/week or 3/20")
        if int(match[1]) < 1:
            raise ValueError(f"capacity {text!r}: at least one replacement per period is needed")
        return cls(count=int(match[1]), period=slot_length(match[2], time_unit))


def slot_length(text: str, time_unit: str) -> float:
    """A period such as ``20``, ``week`` or ``2 days`` in the fleet's unit of time.

    Raises:
        ValueError: it cannot be read or converted.

    Example:
        >>> slot_length("2 days", "hours"), slot_length("20", "cycles")
        (48.0, 20.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)?\s*([^\W\d].*)?", text.strip())
    if match is None or not text.strip():
        raise ValueError(f"period {text!r}: write a number, a unit of time, or both, e.g. 2 days")
    count, unit = float(match[1] or 1.0), match[2]
    if not 0 < count < float("inf"):
        raise ValueError(f"period {text!r} must be positive")
    if unit is None or _singular(unit) == _singular(time_unit):
        return count
    theirs, ours = SECONDS.get(_singular(unit)), SECONDS.get(_singular(time_unit))
    if theirs is None:
        known = ", ".join(SECONDS)
        raise ValueError(f"period {text!r}: unknown unit {unit!r}; known: {known}, {time_unit}")
    if ours is None:
        raise ValueError(
            f"period {text!r}: the fleet's time is counted in {time_unit}, which is no calendar "
            f"time. Remedy: give the period in {time_unit}, e.g. 20"
        )
    return count * theirs / ours


def _singular(unit: str) -> str:
    name = unit.strip().lower()
    return _SHORT.get(name, name.removesuffix("s") if len(name) > 2 else name)
