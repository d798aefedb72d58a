"""Evaluation of a run: baselines, predictions with their true values, and the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.fleet import Dataset, Fleet
from grace.data.labels import capped_rul
from grace.data.preprocessing import FeatureTable, Preprocessor
from grace.data.splits import UnitSplit
from grace.evaluation import (
    BASELINES,
    Evaluation,
    Flag,
    HeldOutRows,
    Protocol,
    TrivialBaseline,
    evaluate,
)
from grace.prediction.predictor import Predictor
from grace.training.config import RunConfig

__all__ = [
    "DISTRIBUTION_LEVELS",
    "Baselines",
    "RunEvaluator",
    "differences",
    "final_metrics",
    "fit_baselines",
    "quantile_column",
]

Values = npt.NDArray[np.float64]
DISTRIBUTION_LEVELS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.995)
HELD_OUT = "validation units, observed to their failure; the checkpoint was selected on them"


def quantile_column(level: float) -> str:
    """Name of the column of a quantile of the uncapped RUL, written where there is a survival head.

    Example:
        >>> quantile_column(0.05)
        'rul_q0.05'
    """
    return f"rul_q{level:g}"


@dataclass(frozen=True)
class Baselines:
    """Fitted trivial baselines by name, each with the preprocessing of its inputs."""

    models: dict[str, tuple[TrivialBaseline, Preprocessor]]

    def predict(self, fleet: Fleet) -> dict[str, Values]:
        """Predicted RUL of each baseline at every row, (R,) each."""
        inputs = {id(prep): prep for _, prep in self.models.values()}
        tables = {key: prep.transform(fleet) for key, prep in inputs.items()}
        return {
            name: model.predict(*_inputs(tables[id(prep)]))
            for name, (model, prep) in self.models.items()
        }


def fit_baselines(config: RunConfig, train: Fleet, preprocessor: Preprocessor) -> Baselines:
    """Fit every entry of ``BASELINES`` on the training units of a run.

    They learn from the same units and labels as the network, without those units of which a label
    is unknown (censored ones), and read the normalised sensors. Where the network is given further
    features (age, deviation …), baselines that read sensors are fitted again on those as
    ``<name>_all_inputs``: a lead of the network is then not the lead of its inputs.

    Args:
        config: of the run.
        train: its training units, without the validation units.
        preprocessor: fitted on them.
    """
    labels = capped_rul(train, config.labels)
    places = zip(train.unit_ids, train.starts(), train.lengths(), strict=True)
    known = train.select([u for u, s, n in places if np.isfinite(labels[s : s + n]).all()])
    target = capped_rul(known, config.labels)
    sensors = preprocessor.sensors_only()
    inputs = [("", sensors, list(BASELINES))]
    if preprocessor.config != sensors.config:
        further = [name for name, kind in BASELINES.items() if kind.reads_sensors]
        inputs.append(("_all_inputs", preprocessor, further))
    models: dict[str, tuple[TrivialBaseline, Preprocessor]] = {}
    for suffix, prep, names in inputs:
        table = _inputs(prep.transform(known))
        for name in names:
            model = BASELINES[name].for_run(config.windows.length)
            models[name + suffix] = (model.fit(*table, target), prep)
    return Baselines(models)


def _inputs(
    table: FeatureTable,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64], Values]:
    """Inputs, unit places and age in the form the baselines take."""
    age = table.times - np.repeat(table.times[table.starts], table.lengths)
    return table.rows, table.starts, table.lengths, age


@dataclass(frozen=True)
class RunEvaluator:
    """Evaluates predictors of one run on its test set and its validation units.

    Args:
        config: of the run.
        data: its data.
        split: its training and validation units.
        baselines: fitted on the training units; None: no baselines.
    """

    config: RunConfig
    data: Dataset
    split: UnitSplit
    baselines: Baselines | None

    @classmethod
    def build(
        cls, config: RunConfig, data: Dataset, split: UnitSplit, preprocessor: Preprocessor
    ) -> RunEvaluator:
        """With baselines fitted on the training units, if the configuration asks for them."""
        baselines = None
        if config.evaluate_baselines:
            baselines = fit_baselines(config, data.train.select(split.train), preprocessor)
        return cls(config, data, split, baselines)

    def predictions(self, predictor: Predictor, fleet: Fleet) -> pl.DataFrame:
        """Predictions at every row of ``fleet``, with true RUL and ``baseline_<name>`` columns.

        Where there are several operating conditions, ``condition`` is the number of that of the
        row; where the network has a survival head, ``rul_q0.05`` … are quantiles of its
        distribution.
        """
        trivial = {} if self.baselines is None else self.baselines.predict(fleet)
        more: dict[str, pl.Series] = {}
        conditions = predictor.artifact.preprocessor.conditions_
        if len(conditions.centers_) > 1:
            labels, _ = conditions.assign(fleet.values(fleet.schema.settings))
            more["condition"] = pl.Series(labels)
        if predictor.artifact.model.survival_head is not None:
            _, distribution = predictor.predict_distribution(fleet, every_row=True)
            values = distribution.quantiles(DISTRIBUTION_LEVELS)
            more |= {
                quantile_column(level): pl.Series(values[:, i])
                for i, level in enumerate(DISTRIBUTION_LEVELS)
            }
        return predictor.predict(fleet, every_row=True).with_columns(
            rul_true=pl.Series(fleet.rul()),
            rul_true_capped=pl.Series(capped_rul(fleet, self.config.labels)),
            **more,
            **{f"baseline_{name}": pl.Series(values) for name, values in trivial.items()},
        )

    def evaluate(
        self, predictor: Predictor, *, select_on: Literal["validation", "test"]
    ) -> tuple[Evaluation, pl.DataFrame, pl.DataFrame]:
        """Evaluation, and the predictions behind it on test and on validation units.

        The primary figures are over the test units. Prognostic metrics need units observed to
        their failure: they are over the validation units.

        Args:
            predictor: with the checkpoint to evaluate.
            select_on: the rows that selected that checkpoint.
        """
        validation = self.data.train.select(self.split.validation)
        held, test = (self.predictions(predictor, f) for f in (validation, self.data.test))
        rows = HeldOutRows(
            unit=held.get_column("unit").to_numpy(),
            time=held.get_column("time").to_numpy(),
            rul=held.get_column("rul_true").to_numpy(),
            predicted=held.get_column("rul").to_numpy(),
            baselines=_baseline_columns(held),
            description=HELD_OUT,
        )
        classes = [c for c in test.columns if c.startswith("p_health_")]
        evaluation = evaluate(
            self._protocol(select_on),
            unit=test.get_column("unit").to_numpy(),
            time=test.get_column("time").to_numpy(),
            rul=test.get_column("rul_true").to_numpy(),
            predicted=test.get_column("rul").to_numpy(),
            health_probabilities=test.select(classes).to_numpy(),
            baselines=_baseline_columns(test),
            held_out=rows,
        )
        flags = (*evaluation.flags, *_edited_files(self.data))
        return evaluation.model_copy(update={"flags": flags}), test, held

    def _protocol(self, select_on: Literal["validation", "test"]) -> Protocol:
        config = self.config
        return Protocol(
            dataset=self.data.name,
            select_on=select_on,
            selection_rows=config.validation_rows,
            label_cap=config.labels.cap,
            health_thresholds=config.labels.health_thresholds,
            time_unit=self.data.test.schema.time_unit,
            n_train=len(self.split.train),
            n_validation=len(self.split.validation),
            validation_fraction=config.validation_fraction,
            seeds=(config.seed,),
        )


def _edited_files(data: Dataset) -> list[Flag]:
    """The remark that files of a public dataset differ from the published ones, if they do."""
    if not data.edited:
        return []
    listed = ", ".join(f"{file.name} (SHA-256 {file.sha256})" for file in data.edited)
    text = f"{data.name} was read from files that differ from the published ones: {listed}. "
    text += "The results are not comparable with published ones."
    return [Flag(code="edited_data", severity="warning", message=text)]


def _baseline_columns(frame: pl.DataFrame) -> dict[str, Values]:
    names = [c for c in frame.columns if c.startswith("baseline_")]
    return {c.removeprefix("baseline_"): frame.get_column(c).to_numpy() for c in names}


def final_metrics(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """The figures of the test set that loggers store, at the last row of each test unit.

    Args:
        evaluations: by the rows that selected the checkpoint: ``validation`` and, in a run that
            selects on the test set, ``test``.

    Returns:
        ``<validation|test>_selected/test_<metric>``: RMSE in the unit of time and NASA score (sum
        over the units), each against capped and raw labels, and accuracy and macro F1 of the
        health state if there is one.
    """
    found: dict[str, float] = {}
    for selected_on, evaluation in evaluations.items():
        last, health = evaluation.model.last_cycle, evaluation.model.health_last_cycle
        figures = {
            "rmse_capped": last.capped.rmse,
            "rmse_raw": last.raw.rmse,
            "nasa_capped": last.capped.nasa_sum,
            "nasa_raw": last.raw.nasa_sum,
        }
        if health is not None:
            figures |= {"health_accuracy": health.accuracy, "health_f1": health.macro_f1}
        found |= {f"{selected_on}_selected/test_{k}": float(v) for k, v in figures.items()}
    return found


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
