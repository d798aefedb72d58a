"""The rules under which a figure was computed; every result of this package carries them."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MARK_TEST_SELECTED", "Protocol"]

MARK_TEST_SELECTED = "test-selected, optimistic"


def _units(n: int | None) -> str:
    if n is None:
        return "an unstated number of units"
    return f"{n} unit{'' if n == 1 else 's'}"


class Protocol(BaseModel):
    """Split, labels, selection, seeds and unit of time of a result.

    Args:
        dataset: name of the data, e.g. "FD002".
        select_on: the units on which the checkpoint was chosen; "validation": held-out training
            units, the test set was read once; "test": as in most published figures, optimistic.
        selection_rows: rows of the validation units that selected it; "all", or "truncated":
            several truncations per unit, equal weight per unit; "out_of_fold": no checkpoint was
            selected, but candidates were combined on predictions of units they had not seen.
        label_cap: labels are min(RUL, cap), in ``time_unit``; None: no cap.
        health_thresholds: RUL limits between health classes, descending, in ``time_unit``.
        time_unit: unit of time of RUL.
        prediction: which prediction of a test unit the primary figures evaluate.
        n_train: units trained on.
        n_validation: units held out of the training set, 0 if none.
        n_test: units evaluated.
        validation_fraction: share of the training units requested to be held out.
        seeds: training seeds behind the figure; several mean an ensemble or a mean.

    Example:
        >>> Protocol(dataset="FD001", n_train=85, n_validation=15, n_test=100, seeds=(42,)).mark
        ''
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    select_on: Literal["validation", "test"] = "validation"
    selection_rows: Literal["all", "truncated", "out_of_fold"] = "all"
    label_cap: float | None = Field(default=125.0, gt=0)
    health_thresholds: tuple[float, ...] = (80.0, 30.0)
    time_unit: str = "cycles"
    prediction: str = "last row of each test unit"
    n_train: int | None = Field(default=None, ge=0)
    n_validation: int | None = Field(default=None, ge=0)
    n_test: int | None = Field(default=None, ge=0)
    validation_fraction: float | None = Field(default=None, ge=0, lt=1)
    seeds: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        limits = self.health_thresholds
        if not limits or any(a <= b for a, b in pairwise(limits)):
            raise ValueError(f"health_thresholds must descend, got {limits}")
        if self.select_on == "validation" and self.n_validation == 0:
            raise ValueError("select_on='validation' needs validation units, n_validation is 0")
        return self

    @property
    def mark(self) -> str:
        """Mark that every figure under this protocol must carry; "" if nothing."""
        return MARK_TEST_SELECTED if self.select_on == "test" else ""

    def sentence(self) -> str:
        """The protocol as one sentence, for the line under a table."""
        cap = (
            "labels not capped"
            if self.label_cap is None
            else f"labels capped at {self.label_cap:g} {self.time_unit}"
        )
        if self.select_on == "test":
            chosen = "checkpoint chosen on the test units themselves"
        elif self.selection_rows == "out_of_fold":
            chosen = "candidates combined by their out-of-fold predictions, test set read once"
        else:
            share = ""
            if self.n_train is not None and self.n_validation is not None:
                share = f" ({self.n_validation / (self.n_train + self.n_validation):.0%} of it)"
            held = (
                "held-out training units"
                if self.n_validation is None
                else f"{_units(self.n_validation)} held out of the training set"
            )
            rows = " truncated at several points" if self.selection_rows == "truncated" else ""
            chosen = f"checkpoint chosen on {held}{share}{rows}, test set read once"
        seeds = (
            "seed not stated"
            if not self.seeds
            else f"seed{'' if len(self.seeds) == 1 else 's'} {', '.join(map(str, self.seeds))}"
        )
        limits = " and ".join(f"{t:g}" for t in self.health_thresholds)
        text = (
            f"{self.dataset}: {self.prediction}, {_units(self.n_test)} evaluated; trained on "
            f"{_units(self.n_train)}; {chosen}; {cap}; health classes split at {limits} "
            f"{self.time_unit}; {seeds}."
        )
        return f"{text} ({self.mark})" if self.mark else text
