"""Errors of a fitted model on units whose remaining life is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.labels import capped_rul
from grace.estimator.inputs import predict_rows, wanted_rows
from grace.estimator.saved_model import STACK, Learned
from grace.evaluation import mae, nasa_score, rmse

__all__ = ["evaluate_fleet"]


def evaluate_fleet(fleet: Fleet, learned: Learned, coverage: float) -> dict[str, Any]:
    """Metrics at the last row of each unit; see ``RULModel.evaluate``.

    Raises:
        DataError: no unit has a known remaining life.
    """
    last = wanted_rows(fleet, every_row=False)
    raw, capped = fleet.rul()[last], capped_rul(fleet, learned.labels)[last]
    known = np.isfinite(raw)
    if not known.any():
        raise DataError(
            "no unit has a known remaining life, so nothing can be evaluated.",
            source=fleet.name,
            remedy='give the fates, e.g. fate={"rul_at_end": "hours_left"}.',
        )
    frame = predict_rows(fleet, last, learned)
    distribution = learned.distribution.predict(frame)
    predicted = frame[STACK].to_numpy()[known]
    low, high = (side[known] for side in distribution.interval(coverage))
    raw, capped = raw[known], capped[known]
    return {
        "n_units": int(known.sum()),
        "rmse_capped": float(rmse(capped, predicted)),
        "mae_capped": float(mae(capped, predicted)),
        "nasa_capped": float(nasa_score(capped, predicted)),
        "rmse_raw": float(rmse(raw, predicted)),
        "interval_coverage": float(np.mean((low <= raw) & (raw <= high))),
        "interval_width": float(np.mean(high - low)),
        "coverage": coverage,
        "time_unit": fleet.schema.time_unit,
    }
