"""From arrays of truth and prediction to an :class:`~grace.evaluation.Evaluation`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from grace.evaluation.bootstrap import bootstrap_interval
from grace.evaluation.fleet_prognostics import prognostics_summary
from grace.evaluation.metrics import (
    UNIT_METRICS,
    ZONE_EDGES,
    Array,
    Classes,
    as_vector,
    confusion_matrix,
    error_by_zone,
    errors,
    health_accuracy,
    health_from_rul,
    health_macro_f1,
)
from grace.evaluation.plausibility import check_plausibility, label_floor
from grace.evaluation.protocol import Protocol
from grace.evaluation.results import Evaluation, HealthSet, LabelPair, MetricSet, PredictorMetrics

__all__ = ["evaluate", "metric_set"]

INTERVALS = ("rmse", "mae", "nasa_mean", "nasa_sum")


def metric_set(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    unit: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> MetricSet:
    """All RUL metrics of one set of rows, with intervals over engines.

    Args:
        y_true: true RUL, (B,).
        y_pred: predicted RUL, (B,).
        unit: engine of each row, (B,); None: every row is an engine of its own.
        level: coverage of the intervals.
        n_resamples: resamples of engines; 0: no intervals.
        seed: seed of the resampling.

    Raises:
        ValueError: sizes differ, or an argument is empty or not finite.
    """
    d = errors(y_true, y_pred)
    n_units = d.size if unit is None else int(np.unique(np.asarray(unit)).size)
    values = {name: float(m.combine(m.term(d).sum(), d.size)) for name, m in UNIT_METRICS.items()}
    wanted = INTERVALS if n_units > 1 and n_resamples > 0 else ()
    intervals = {
        name: bootstrap_interval(
            name, y_true, y_pred, unit=unit, level=level, n_resamples=n_resamples, seed=seed
        )
        for name in wanted
        if np.isfinite(values[name])
    }
    return MetricSet(n=d.size, n_units=n_units, intervals=intervals, **values)


def _health(true: Classes, predicted: Classes, n_classes: int) -> HealthSet:
    matrix = confusion_matrix(true, predicted, n_classes)
    return HealthSet(
        n=true.size,
        accuracy=health_accuracy(true, predicted),
        macro_f1=health_macro_f1(true, predicted),
        confusion=tuple(tuple(int(v) for v in row) for row in matrix),
    )


class _Rows:
    """The evaluated rows: who, when, the truth, and which rows are an engine's last."""

    def __init__(self, unit: npt.ArrayLike, time: npt.ArrayLike, rul: npt.ArrayLike) -> None:
        ids, times = np.asarray(unit).reshape(-1), as_vector(time, "time")
        true = np.asarray(rul, dtype=np.float64).reshape(-1)
        if not ids.size == times.size == true.size:
            raise ValueError(
                f"unit, time and rul have {ids.size}, {times.size} and {true.size} entries"
            )
        if np.isinf(true).any() or (true < 0).any():
            raise ValueError("rul must be 0 or more, or NaN where nobody knows it")
        changes = ids[1:] != ids[:-1]
        if 1 + int(changes.sum()) != np.unique(ids).size:
            raise ValueError("each unit's rows must follow each other: sort by unit and time")
        if (np.diff(times)[~changes] <= 0).any():
            raise ValueError("time must increase strictly within a unit: sort by unit and time")
        group = np.concatenate([[0], np.cumsum(changes)])
        unknown = np.bincount(group, weights=np.isnan(true)) > 0
        self.n_rows, self.n_unknown = ids.size, int(unknown.sum())
        self.kept = ~unknown[group]
        if not self.kept.any():
            raise ValueError("no unit has a known RUL: there is nothing to judge")
        self.unit, self.time, self.rul = ids[self.kept], times[self.kept], true[self.kept]
        self.last = np.append(changes, True)[self.kept]

    def prediction(self, values: npt.ArrayLike, name: str) -> Array:
        """Checked predictions at the evaluated rows."""
        pred = as_vector(values, name)
        if pred.size != self.n_rows:
            raise ValueError(
                f"{name} has {pred.size} entries, one per row ({self.n_rows}) expected"
            )
        if pred.min() < 0:
            raise ValueError(f"{name} must be 0 or more: it is a remaining life")
        return np.asarray(pred[self.kept])


def evaluate(
    protocol: Protocol,
    *,
    unit: npt.ArrayLike,
    time: npt.ArrayLike,
    rul: npt.ArrayLike,
    predicted: npt.ArrayLike,
    health_probabilities: npt.ArrayLike | None = None,
    baselines: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Evaluation:
    """Judge predictions for every row of the test engines.

    The rows are sorted by unit and time; an engine's last row is its primary prediction. Engines
    with a NaN in ``rul`` are left out and counted.

    Args:
        protocol: the rules under which the predictions were made; its cap, thresholds and dataset
            are used here. A missing ``n_test`` is filled in with the engines evaluated.
        unit: engine of each row, (R,), any labels.
        time: time of each row, (R,).
        rul: true uncapped RUL, (R,).
        predicted: predicted capped RUL >= 0, (R,).
        health_probabilities: class probabilities, (R, C), C one more than the thresholds.
        baselines: name to predicted capped RUL of trivial baselines, (R,) each; their health
            class is read off the predicted RUL.
        seed: seed of the intervals.
        n_resamples: resamples of engines; 0: no intervals.
        level: coverage of the intervals.

    Raises:
        ValueError: sizes differ, rows are out of order, a prediction is negative or not finite,
            probabilities do not sum to 1, no truth is known, or ``protocol.n_test`` differs from
            the engines given.
    """
    rows = _Rows(unit, time, rul)
    last, cap, limits = rows.last, protocol.label_cap, protocol.health_thresholds
    labels = rows.rul if cap is None else np.minimum(rows.rul, cap)
    classes, n_classes = health_from_rul(labels, limits), len(limits) + 1
    n_given = int(last.sum()) + rows.n_unknown
    if protocol.n_test is None:
        protocol = protocol.model_copy(update={"n_test": int(last.sum())})
    elif protocol.n_test not in (n_given, int(last.sum())):
        raise ValueError(f"protocol.n_test is {protocol.n_test}, but {n_given} engines were given")

    def pair(pred: Array, chosen: npt.NDArray[np.bool_]) -> LabelPair:
        capped, raw = (
            metric_set(
                truth[chosen],
                pred[chosen],
                unit=rows.unit[chosen],
                level=level,
                n_resamples=n_resamples,
                seed=seed,
            )
            for truth in (labels, rows.rul)
        )
        return LabelPair(capped=capped, raw=raw)

    def judge(pred: Array, called: Classes | None) -> PredictorMetrics:
        everything = np.ones_like(last)
        return PredictorMetrics(
            last_cycle=pair(pred, last),
            all_cycles=pair(pred, everything),
            health_last_cycle=None
            if called is None
            else _health(classes[last], called[last], n_classes),
            health_all_cycles=None if called is None else _health(classes, called, n_classes),
        )

    pred = rows.prediction(predicted, "predicted")
    called: Classes | None = None
    if health_probabilities is not None:
        p = np.asarray(health_probabilities, dtype=np.float64)
        if p.shape != (rows.n_rows, n_classes):
            raise ValueError(
                f"health_probabilities must be ({rows.n_rows}, {n_classes}), got {p.shape}"
            )
        if not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
            raise ValueError("health_probabilities must be probabilities (softmax the logits)")
        called = p[rows.kept].argmax(axis=1).astype(np.int64)
    beside = {}
    for name, values in (baselines or {}).items():
        trivial = rows.prediction(values, f"baselines[{name!r}]")
        beside[name] = judge(trivial, health_from_rul(trivial, limits))

    model = judge(pred, called)
    edges = ZONE_EDGES if cap is None else (*(e for e in ZONE_EDGES if e < cap), cap)
    flags = check_plausibility(
        dataset=protocol.dataset,
        n_units=n_given,
        label_cap=cap,
        rmse_capped=model.last_cycle.capped.rmse,
        rmse_raw=model.last_cycle.raw.rmse,
        nasa_raw=model.last_cycle.raw.nasa_sum,
        floor=None if cap is None else label_floor(rows.rul[last], cap),
        baseline_rmse={name: j.last_cycle.capped.rmse for name, j in beside.items()},
        select_on=protocol.select_on,
    )
    return Evaluation(
        protocol=protocol,
        model=model,
        baselines=beside,
        zones=tuple(error_by_zone(labels[last], pred[last], edges)),
        prognostics=prognostics_summary(rows.unit, rows.time, rows.rul, pred, cap=cap),
        flags=tuple(flags),
        n_units_unknown=rows.n_unknown,
    )
