"""Predictions of a run against the truth, with the trivial baselines beside them."""

from __future__ import annotations

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

__all__ = ["baseline_predictions", "judge_predictions"]

Values = npt.NDArray[np.float64]


def baseline_predictions(
    config: RunConfig, train: Fleet, test: Fleet, preprocessor: Preprocessor
) -> dict[str, Values]:
    """Predicted RUL of each trivial baseline for every test row.

    They learn from the same units and labels as the network. ``gradient_boosting`` reads the
    normalised sensors over the network's window; if the network is given further features (age,
    departure …), ``gradient_boosting_all_inputs`` reads those too, so that the network's lead is
    not the features' lead.
    """
    labels = capped_rul(train, config.labels)
    places = zip(train.unit_ids, train.starts(), train.lengths(), strict=True)
    known = train.select([u for u, s, n in places if np.isfinite(labels[s : s + n]).all()])
    target = capped_rul(known, config.labels)
    window = max(2, config.windows.length)
    models: dict[str, tuple[TrivialBaseline, Preprocessor]] = {
        "constant": (ConstantBaseline(), preprocessor.levels_only()),
        "age_only": (AgeOnlyBaseline(), preprocessor.levels_only()),
        "gradient_boosting": (GradientBoostingBaseline(window), preprocessor.levels_only()),
    }
    if preprocessor.config != preprocessor.levels_only().config:
        models["gradient_boosting_all_inputs"] = (GradientBoostingBaseline(window), preprocessor)
    predictions: dict[str, Values] = {}
    for name, (model, inputs) in models.items():
        model.fit(*_inputs(inputs.transform(known)), target)
        predictions[name] = model.predict(*_inputs(inputs.transform(test)))
    return predictions


def _inputs(
    table: FeatureTable,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64], Values]:
    """Inputs, unit places and age in the form the baselines take."""
    age = table.times - np.repeat(table.times[table.starts], table.lengths)
    return table.rows, table.starts, table.lengths, age


def judge_predictions(
    config: RunConfig,
    test: Fleet,
    predicted: pl.DataFrame,
    baselines: dict[str, Values],
    split: UnitSplit,
    *,
    select_on: str,
) -> Evaluation:
    """Judge predictions of every test row (as ``Predictor.predict(..., every_row=True)`` gives).

    ``select_on`` is the monitor that chose the checkpoint behind them.
    """
    protocol = Protocol.model_validate(
        {
            "dataset": config.dataset,
            "select_on": select_on,
            "label_cap": config.labels.cap,
            "health_thresholds": config.labels.health_thresholds,
            "time_unit": test.schema.time_unit,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
            "n_test": test.n_units,
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
