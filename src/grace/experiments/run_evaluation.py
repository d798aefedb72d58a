"""Predictions of a run against the truth, with the trivial baselines beside them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.fleet import Fleet
from grace.data.labels import capped_rul
from grace.data.preprocessing import FeatureTable, Preprocessor
from grace.data.splits import UnitSplit
from grace.evaluation import (
    AgeOnlyBaseline,
    ConstantBaseline,
    Evaluation,
    GradientBoostingBaseline,
    Protocol,
    TrivialBaseline,
    evaluate,
)
from grace.training.config import RunConfig

__all__ = ["baseline_predictions", "differences", "evaluate_predictions"]

Values = npt.NDArray[np.float64]


def baseline_predictions(
    config: RunConfig, train: Fleet, test: Fleet, preprocessor: Preprocessor
) -> dict[str, Values]:
    """Predicted RUL of each trivial baseline for every test row.

    They learn from the same training units and labels as the network, less those units whose
    labels are not all known (censored ones). ``gradient_boosting`` reads the
    normalised sensors over the network's window; if the network is given further features (age,
    departure …), ``gradient_boosting_all_inputs`` reads those too, so that the network's lead is
    not the features' lead.
    """
    labels = capped_rul(train, config.labels)
    places = zip(train.unit_ids, train.starts(), train.lengths(), strict=True)
    known = train.select([u for u, s, n in places if np.isfinite(labels[s : s + n]).all()])
    target = capped_rul(known, config.labels)
    window, sensors = max(2, config.windows.length), preprocessor.sensors_only()
    models: dict[str, tuple[TrivialBaseline, Preprocessor]] = {
        "constant": (ConstantBaseline(), sensors),
        "age_only": (AgeOnlyBaseline(), sensors),
        "gradient_boosting": (GradientBoostingBaseline(window), sensors),
    }
    if preprocessor.config != sensors.config:
        models["gradient_boosting_all_inputs"] = (GradientBoostingBaseline(window), preprocessor)
    tables = {id(p): (p.transform(known), p.transform(test)) for p in (sensors, preprocessor)}
    predictions: dict[str, Values] = {}
    for name, (model, inputs) in models.items():
        learned, evaluated = tables[id(inputs)]
        predictions[name] = model.fit(*_inputs(learned), target).predict(*_inputs(evaluated))
    return predictions


def _inputs(
    table: FeatureTable,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64], Values]:
    """Inputs, unit places and age in the form the baselines take."""
    age = table.times - np.repeat(table.times[table.starts], table.lengths)
    return table.rows, table.starts, table.lengths, age


def evaluate_predictions(
    config: RunConfig,
    dataset: str,
    test: Fleet,
    predicted: pl.DataFrame,
    baselines: dict[str, Values],
    split: UnitSplit,
    *,
    select_on: str,
) -> Evaluation:
    """Judge predictions of every test row (as ``Predictor.predict(..., every_row=True)`` gives).

    ``dataset`` is the name figures go under, ``select_on`` the monitor that chose the checkpoint.
    """
    protocol = Protocol.model_validate(
        {
            "dataset": dataset,
            "select_on": select_on,
            "label_cap": config.labels.cap,
            "health_thresholds": config.labels.health_thresholds,
            "time_unit": test.schema.time_unit,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
            "validation_fraction": config.validation_fraction,
            "seeds": (config.seed,),
        }
    )
    classes = [c for c in predicted.columns if c.startswith("p_health_")]
    return evaluate(
        protocol,
        unit=predicted.get_column("unit").to_numpy(),
        time=predicted.get_column("time").to_numpy(),
        rul=test.rul(),
        predicted=predicted.get_column("rul").to_numpy(),
        health_probabilities=predicted.select(classes).to_numpy(),
        baselines=baselines,
    )


def differences(stored: Any, fresh: Any, place: str = "") -> list[str]:
    """Names of the figures in which two dumped evaluations differ, beyond rounding.

    Numbers may differ by 1e-3 or a thousandth of their size; everything else must be equal.
    """
    if isinstance(stored, dict) and isinstance(fresh, dict) and stored.keys() == fresh.keys():
        pairs = [(stored[k], fresh[k], f"{place}.{k}" if place else str(k)) for k in stored]
    elif isinstance(stored, list | tuple) and len(stored) == len(fresh):
        pairs = [
            (a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(stored, fresh, strict=True))
        ]
    elif isinstance(stored, float) and isinstance(fresh, float):
        both_nan = math.isnan(stored) and math.isnan(fresh)
        near = both_nan or math.isclose(stored, fresh, rel_tol=1e-3, abs_tol=1e-3)
        return [] if near else [place]
    else:
        return [] if stored == fresh else [place]
    return [name for a, b, where in pairs for name in differences(a, b, where)]
