"""Settings derived from a fleet, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from grace.data.errors import DataError
from grace.data.fleet import Fleet

__all__ = ["LARGE_FLEET", "FleetDefaults", "derive_defaults"]

_CAP_SHARE = 0.6
_KFOLD_BELOW = 40  # units of known life
_STEPS_PER_LIFE = 300  # rows of a typical life above which rows are aggregated
LARGE_FLEET = 1000
"""Units of known life from which training time counts more than further folds and steps."""


@dataclass(frozen=True)
class FleetDefaults:
    """Settings for one fleet.

    ``values`` are nested as the configuration of a run is, over the preset they name;
    ``reasons`` maps a key such as ``"labels.cap"`` to one sentence. ``validation`` is ``"holdout"``
    or ``"kfold"``, the latter with ``n_folds`` folds by unit.
    """

    values: Mapping[str, Any]
    reasons: Mapping[str, str] = field(repr=False)
    validation: Literal["holdout", "kfold"]
    n_folds: int

    def get(self, key: str) -> Any:
        """The value of a dotted key, e.g. ``"windows.length"``."""
        value: Any = self.values
        for part in key.split("."):
            value = value[part]
        return value


class _Collected:
    """Values and reasons as they are derived."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def set(self, key: str, value: Any, reason: str) -> None:
        *sections, name = key.split(".")
        place = self.values
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
        self.reasons[key] = reason


def derive_defaults(fleet: Fleet, *, cap: float | None = None) -> FleetDefaults:
    """Settings derived from the lives, rows and units of a training fleet.

    They scale with the unit of time and do not depend on the names of units or the order of
    columns.

    Args:
        fleet: the training units, at least two of known life.
        cap: label cap in the fleet's unit of time; None derives it.

    Raises:
        DataError: fewer than two units have a known life, or no unit has two rows.
        ValueError: ``cap`` is not positive.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=12, n_test=1).train
        >>> found = derive_defaults(train, cap=125.0)
        >>> found.get("labels.health_thresholds"), found.validation, found.n_folds
        ((80.0, 30.0), 'kfold', 5)
    """
    if cap is not None and not (cap > 0 and np.isfinite(cap)):
        raise ValueError(f"cap={cap} must be positive and finite")
    known = fleet.units.get_column("rul_at_end").is_not_null().to_numpy()
    n_known, lengths = int(known.sum()), fleet.lengths()
    _check(fleet, n_known)
    unit = fleet.schema.time_unit
    left = fleet.units.get_column("rul_at_end").fill_null(0.0).to_numpy()
    life = float(np.median((fleet.life() + left)[known]))
    rows = max(2, int(np.median(lengths[known])))
    found = _Collected()
    found.set("preset", "fast", "a small network; the reference network gains nothing on a CPU")
    _labels(found, life, unit, cap)
    _windows(found, rows)
    _features(found, rows, found.values["labels"]["cap"], unit)
    n_windows = int(np.maximum(lengths - found.values["windows"]["min_history"] + 1, 1).sum())
    _training(found, n_known, n_windows)
    kfold = n_known < _KFOLD_BELOW
    n_folds = min(5, n_known) if kfold else 1
    scheme = f"{n_folds} folds by unit" if kfold else "hold-out by unit"
    side = "below" if kfold else "at least"
    found.reasons["validation"] = (
        f"{scheme}: {n_known} units of known life, {side} {_KFOLD_BELOW}"
        + (", too few to hold some out once." if kfold else ".")
    )
    scheme_name: Literal["holdout", "kfold"] = "kfold" if kfold else "holdout"
    return FleetDefaults(found.values, found.reasons, scheme_name, n_folds)


def _check(fleet: Fleet, n_known: int) -> None:
    if n_known < 2:
        raise DataError(
            f"only {n_known} of {fleet.n_units} units have a known life; at least two are needed, "
            "one to learn from and one to validate on.",
            source=fleet.name,
            remedy="add histories of failed units, or state which units failed.",
        )
    if int(fleet.lengths().max()) < 2:
        raise DataError(
            "every unit has one row: there is no history to learn from.",
            source=fleet.name,
            remedy="check the unit column; each unit needs several rows over its life.",
        )


def _labels(found: _Collected, life: float, unit: str, cap: float | None) -> None:
    if cap is None:
        reason = f"0.6 of the median known life, {life:.4g} {unit}."
        cap = _CAP_SHARE * life
    else:
        reason = "given."
    found.set("labels.cap", cap, reason)
    found.set(
        "labels.health_thresholds",
        (0.64 * cap, 0.24 * cap),
        "0.64 and 0.24 of the cap (80 and 30 at a cap of 125).",
    )


def _windows(found: _Collected, rows: int) -> None:
    step = max(1, round(rows / _STEPS_PER_LIFE))
    steps = -(-rows // step)
    length = int(np.clip(-(-steps // 3), 2, 30))
    history = max(1, min(20 * step, rows // 6))
    typical = f"a typical unit of known life has {rows} rows"
    if step > 1:
        reason = f"{typical}: means of {step} rows leave about {_STEPS_PER_LIFE} steps per life."
    else:
        reason = f"{typical}, few enough to use each of them."
    found.set("windows.row_step", step, reason)
    found.set(
        "windows.length", length, f"a third of the {steps} steps of a typical life, at most 30."
    )
    found.set(
        "windows.min_history",
        history,
        f"{typical}; earlier windows would be mostly padding, later ones lose young units.",
    )
    found.set(
        "windows.stride",
        max(1, step // 2),
        "half a step: windows closer to each other are near copies.",
    )


def _features(found: _Collected, rows: int, cap: float, unit: str) -> None:
    memory = (max(2, rows // 10), max(4, rows // 3))
    found.set("features.n_conditions", "auto", "whether settings are discrete is read off the data")
    found.set("features.age", True, "lives of one kind of unit are alike to some degree.")
    found.set(
        "features.age_scale", 0.8 * cap, f"0.8 of the cap in {unit}, free of the unit of time."
    )
    found.set(
        "features.baseline_deviation",
        True,
        "units differ in their healthy level; deviations from it are what they have in common.",
    )
    found.set(
        "features.baseline_rows", max(1, rows // 10), "the first tenth of a typical unit's rows."
    )
    found.set(
        "features.ewm_alphas",
        tuple(2.0 / (1 + n) for n in memory),
        f"moving means over about {memory[0]} and {memory[1]} rows (a tenth and a third).",
    )
    found.set(
        "features.trend_rows",
        (int(np.clip(rows // 7, 3, 100)),),
        "the rate of change over a seventh of a typical unit's rows, at most 100.",
    )
    found.set("features.clip", 6.0, "one extreme value must not dominate a window.")
    found.set("features.robust_limits", 5.0, "placeholder values must not set a sensor's scale.")
    found.set("features.epsilon", 0.0, "results do not depend on a sensor's physical unit.")
    found.set("features.drop_constant", True, "channels that never change carry no information.")
    found.set("features.missing_channel", "fill", "a lost sensor is reported, not an error.")


def _training(found: _Collected, n_known: int, n_windows: int) -> None:
    few = n_known < _KFOLD_BELOW
    many = n_known >= 400
    of = f"{n_known} units of known life"
    found.set("model.lstm_hidden", 32 if few else 64 if many else 48, f"network size for {of}.")
    found.set(
        "model.dropout_scale", 0.5 if few else 0.17, f"{of}: {'strong' if few else 'mild'} dropout."
    )
    most = 64 if few else 256
    batch = int(np.clip(2 ** int(np.log2(max(n_windows // 8, 1))), 16, most))
    found.set(
        "training.batch_size",
        batch,
        f"at least 8 steps in {n_windows} windows, at most {most} with {of}.",
    )
    found.set(
        "training.steps_per_epoch",
        40 if many else 20,
        "an epoch is a sample of the windows: neighbours are near copies.",
    )
    epochs = 15 if few else 20 if n_known >= LARGE_FLEET else 30 if many else 60
    found.set(
        "training.epochs",
        epochs,
        f"{of}: {epochs * (40 if many else 20)} steps at most, a minute or two on one core; early "
        "stopping may end it before.",
    )
    found.set(
        "training.weight_decay", 0.05 if few else 0.02, f"{of}: regularisation by number of units."
    )
    found.set(
        "validation_fraction", 0.15, "held out to choose the epoch, at least two units if possible."
    )
