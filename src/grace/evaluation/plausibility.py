"""Checks whether a figure is possible, plausible and better than trivial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.metrics import as_vector, nasa_score, rmse

__all__ = ["Flag", "LabelFloor", "check_plausibility", "label_floor"]

# Number of test units, and the RMSE against labels capped at 125 below which a result selected
# without the test set is not expected (docs/evaluation.md: published results are well above).
CMAPSS_TEST_UNITS = {"FD001": 100, "FD002": 259, "FD003": 100, "FD004": 248}
CMAPSS_LOWEST_RMSE = {"FD001": 8.5, "FD002": 8.0, "FD003": 7.0, "FD004": 8.0}


class Flag(BaseModel):
    """A remark on a result. ``code`` is for programs, ``message`` for readers.

    Severities: "error" (the figure cannot be what it says), "warning" (do not rely on it before
    the reason is known), "note" (read it with this in mind).

    Example:
        >>> flags = check_plausibility(dataset="FD002", rmse_capped=6.74, n_units=259)
        >>> [(flag.code, flag.severity) for flag in flags]
        [('implausibly_low', 'warning')]
    """

    model_config = ConfigDict(frozen=True)

    code: str
    severity: Literal["note", "warning", "error"]
    message: str


class LabelFloor(NamedTuple):
    """Least RMSE and NASA score (sum) against raw labels of a predictor bounded by the cap.

    Example:
        >>> floor = label_floor([100.0, 145.0], cap=125.0)  # the second label cannot be reached
        >>> round(floor.rmse, 2), round(floor.nasa, 2)
        (14.14, 3.66)
    """

    rmse: float
    nasa: float


def label_floor(raw_test_rul: npt.ArrayLike, cap: float) -> LabelFloor:
    """Lower bound of the error against raw labels of a predictor that never exceeds ``cap``.

    Both measures grow with the distance to the label, so the best such predictor is min(y, cap).
    C-MAPSS at 125: RMSE 3.74 / 18.32 / 4.71 / 19.53, NASA 14.6 / 2010 / 22.7 / 2130 on FD001–4.

    Args:
        raw_test_rul: true RUL of the test units, (N,), in the unit of ``cap``.
        cap: largest value a prediction takes.

    Raises:
        ValueError: no label, a label that is not finite, or a cap that is not positive.

    Example:
        >>> round(label_floor([100.0, 145.0], cap=125.0).rmse, 2)
        14.14
    """
    if not cap > 0:
        raise ValueError(f"cap must be positive, got {cap}")
    true = as_vector(raw_test_rul, "raw_test_rul")
    best = np.minimum(true, cap)
    return LabelFloor(rmse(true, best), nasa_score(true, best))


def _below(value: float | None, limit: float) -> bool:
    """Below by more than rounding."""
    return value is not None and value < limit * (1.0 - 1e-6)


def check_plausibility(
    *,
    dataset: str = "",
    label_cap: float | None = 125.0,
    n_units: int | None = None,
    rmse_capped: float | None = None,
    rmse_raw: float | None = None,
    nasa_raw: float | None = None,
    floor: LabelFloor | None = None,
    baseline_rmse: Mapping[str, float] | None = None,
    select_on: Literal["validation", "test"] = "validation",
) -> list[Flag]:
    """Remarks on last-row figures of a test set, computed here or published elsewhere.

    Args:
        dataset: "FD001" … "FD004" in any case enable the checks known for these.
        label_cap: cap of the labels; the expected lowest RMSE is known for 125 only.
        n_units: test units evaluated.
        rmse_capped: RMSE against capped labels.
        rmse_raw: RMSE against raw labels, on the time scale of ``floor``.
        nasa_raw: NASA score (sum) against raw labels, on the time scale of ``floor``. Its constants
            are in cycles: scale errors by 125/cap for another unit of time, as
            :func:`grace.evaluation.evaluate` does.
        floor: from :func:`label_floor`, with the raw labels of the same units.
        baseline_rmse: RMSE against capped labels of trivial baselines, by their registry name.
        select_on: on which units the checkpoint was chosen.

    Returns:
        Flags with the codes "below_label_floor", "wrong_unit_count", "implausibly_low",
        "worse_than_constant", "loses_to_gradient_boosting", "test_selected"; errors first.

    Example:
        >>> trivial = {"constant": 41.0, "gradient_boosting": 12.0}
        >>> flags = check_plausibility(rmse_capped=14.0, baseline_rmse=trivial)
        >>> [flag.code for flag in flags]
        ['loses_to_gradient_boosting']
    """
    flags: list[Flag] = []
    name, baselines = dataset.strip().upper(), dict(baseline_rmse or {})

    if floor is not None and (_below(rmse_raw, floor.rmse) or _below(nasa_raw, floor.nasa)):
        parts = [
            f"{what} {value:.4g} (floor {limit:.4g})"
            for what, value, limit in (
                ("RMSE", rmse_raw, floor.rmse),
                ("NASA score", nasa_raw, floor.nasa),
            )
            if value is not None and _below(value, limit)
        ]
        text = (
            f"{' and '.join(parts)} against raw labels is below what any predictor bounded by the "
            "label cap can reach: the labels were capped, or the predictions are not bounded."
        )
        flags.append(Flag(code="below_label_floor", severity="error", message=text))

    expected = CMAPSS_TEST_UNITS.get(name)
    if expected is not None and n_units is not None and n_units != expected:
        text = (
            f"{n_units} units were evaluated, but the test set of {name} has {expected}: short "
            "units may have been dropped, and the figures are not comparable with others."
        )
        flags.append(Flag(code="wrong_unit_count", severity="error", message=text))

    lowest = CMAPSS_LOWEST_RMSE.get(name) if label_cap == 125.0 else None
    if lowest is not None and rmse_capped is not None and rmse_capped < lowest:
        text = (
            f"RMSE {rmse_capped:.2f} is below {lowest:g}, lower than validation-selected models "
            f"reach on {name}: check for a leak or a bug before relying on it."
        )
        flags.append(Flag(code="implausibly_low", severity="warning", message=text))

    constant = baselines.get("constant")
    if rmse_capped is not None and constant is not None and rmse_capped >= constant:
        text = (
            f"RMSE {rmse_capped:.4g} is no better than predicting the same number for every "
            f"unit ({constant:.4g})."
        )
        flags.append(Flag(code="worse_than_constant", severity="warning", message=text))

    boosters = [v for k, v in baselines.items() if k.startswith("gradient_boosting")]
    boosting = min(boosters, default=None)
    if rmse_capped is not None and boosting is not None and rmse_capped > boosting:
        text = (
            f"RMSE {rmse_capped:.4g} is worse than that of untuned gradient boosting on window "
            f"statistics ({boosting:.4g})."
        )
        flags.append(Flag(code="loses_to_gradient_boosting", severity="warning", message=text))

    if select_on == "test":
        text = (
            "The checkpoint was chosen on the test set: the figures are optimistic and "
            "comparable only with others selected in the same way."
        )
        flags.append(Flag(code="test_selected", severity="warning", message=text))
    return flags
