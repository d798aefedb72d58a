"""From arrays of true and predicted RUL to an :class:`~grace.evaluation.Evaluation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grace.data.labels import health_class
from grace.evaluation.bootstrap import bootstrap_intervals
from grace.evaluation.fleet_prognostics import PrognosticsSummary, prognostics_summary
from grace.evaluation.health_metrics import (
    Classes,
    confusion_matrix,
    health_accuracy,
    health_macro_f1,
)
from grace.evaluation.metrics import (
    UNIT_METRICS,
    ZONE_EDGES,
    Array,
    as_vector,
    error_by_zone,
    errors,
    nasa_score,
)
from grace.evaluation.plausibility import check_plausibility, label_floor
from grace.evaluation.protocol import Protocol
from grace.evaluation.results import Evaluation, HealthSet, LabelPair, MetricSet, PredictorMetrics

__all__ = ["HeldOutRows", "evaluate", "metric_set"]

REFERENCE_CAP = ZONE_EDGES[-1]
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
    """All RUL metrics of one set of rows, with intervals over units.

    Args:
        y_true: true RUL, (B,).
        y_pred: predicted RUL, (B,).
        unit: unit of each row, (B,); None: every row is a unit of its own.
        level: coverage of the intervals.
        n_resamples: resamples of units; 0: no intervals.
        seed: seed of the resampling.

    Raises:
        ValueError: sizes differ, or an argument is empty or not finite.

    Example:
        >>> metrics = metric_set([10, 30, 60], [15, 26, 71], n_resamples=200)
        >>> round(metrics.rmse, 2), metrics.bias, metrics.late_share
        (7.35, 4.0, 0.6666666666666666)
    """
    d = errors(y_true, y_pred)
    n_units = d.size if unit is None else int(np.unique(np.asarray(unit)).size)
    values = {name: float(m.combine(m.term(d).sum(), d.size)) for name, m in UNIT_METRICS.items()}
    intervals = {}
    if n_units > 1 and n_resamples > 0:
        finite = [name for name in INTERVALS if np.isfinite(values[name])]
        intervals = bootstrap_intervals(
            finite, y_true, y_pred, unit=unit, level=level, n_resamples=n_resamples, seed=seed
        )
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
    """The evaluated rows: unit, time, true RUL, and which rows are a unit's last."""

    def __init__(self, unit: npt.ArrayLike, time: npt.ArrayLike, rul: npt.ArrayLike) -> None:
        ids, times = np.asarray(unit).reshape(-1), as_vector(time, "time")
        true = np.asarray(rul, dtype=np.float64).reshape(-1)
        if not ids.size == times.size == true.size:
            raise ValueError(
                f"unit, time and rul have {ids.size}, {times.size} and {true.size} entries"
            )
        if np.isinf(true).any() or (true < 0).any():
            raise ValueError("rul must be 0 or more, or NaN where it is unknown")
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
            raise ValueError("no unit has a known RUL: there is nothing to evaluate")
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


class HeldOutRows(NamedTuple):
    """Predictions at every row of units observed to their failure, for the prognostic metrics.

    ``description`` says which units these are; ``baselines`` maps names to predicted RUL, (R,).

    Example:
        >>> import numpy as np
        >>> rul = np.arange(100.0, -1.0, -1.0)
        >>> rows = HeldOutRows(np.zeros(101), 100.0 - rul, rul, rul + 3.0, {}, "one held-out unit")
        >>> rows.description
        'one held-out unit'
    """

    unit: npt.ArrayLike
    time: npt.ArrayLike
    rul: npt.ArrayLike
    predicted: npt.ArrayLike
    baselines: Mapping[str, npt.ArrayLike]
    description: str


def evaluate(
    protocol: Protocol,
    *,
    unit: npt.ArrayLike,
    time: npt.ArrayLike,
    rul: npt.ArrayLike,
    predicted: npt.ArrayLike,
    health_probabilities: npt.ArrayLike | None = None,
    baselines: Mapping[str, npt.ArrayLike] | None = None,
    held_out: HeldOutRows | None = None,
    seed: int = 0,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Evaluation:
    """Evaluate predictions for every row of the test units.

    The rows are sorted by unit and time; a unit's last row is its primary prediction. Units with
    a NaN in ``rul`` are left out and counted.

    Args:
        protocol: the rules under which the predictions were made; its cap, thresholds and dataset
            are used here. A missing ``n_test`` is filled in with the units evaluated.
        unit: unit of each row, (R,), any labels.
        time: time of each row, (R,).
        rul: true uncapped RUL, (R,).
        predicted: predicted capped RUL >= 0, (R,).
        health_probabilities: class probabilities, (R, C), C one more than the thresholds.
        baselines: name to predicted capped RUL of trivial baselines, (R,) each; their health
            class is that of the predicted RUL.
        held_out: rows of units observed to their failure, for the prognostic metrics; None: those
            test units that were.
        seed: seed of the intervals.
        n_resamples: resamples of units; 0: no intervals.
        level: coverage of the intervals.

    Raises:
        ValueError: sizes differ, rows are out of order, a prediction is negative or not finite,
            probabilities do not sum to 1, no truth is known, or ``protocol.n_test`` differs from
            the units given.

    Example:
        >>> import numpy as np
        >>> rul = np.tile(np.arange(9.0, -1.0, -1.0), 3)
        >>> unit, time = np.repeat(["a", "b", "c"], 10), np.tile(np.arange(10.0), 3)
        >>> protocol = Protocol(dataset="three pumps", label_cap=None, time_unit="hours")
        >>> evaluation = evaluate(
        ...     protocol,
        ...     unit=unit,
        ...     time=time,
        ...     rul=rul,
        ...     predicted=rul + 1.0,
        ...     baselines={"constant": np.full(30, rul.mean())},
        ... )
        >>> evaluation.rmse, evaluation.baselines["constant"].last_cycle.raw.rmse
        (1.0, 4.5)
    """
    rows = _Rows(unit, time, rul)
    last, cap, limits = rows.last, protocol.label_cap, protocol.health_thresholds
    labels = rows.rul if cap is None else np.minimum(rows.rul, cap)
    classes, n_classes = health_class(labels, limits), len(limits) + 1
    n_given = int(last.sum()) + rows.n_unknown
    if protocol.n_test is None:
        protocol = protocol.model_copy(update={"n_test": int(last.sum())})
    elif protocol.n_test not in (n_given, int(last.sum())):
        raise ValueError(f"protocol.n_test is {protocol.n_test}, but {n_given} units were given")

    def pair(pred: Array, at: npt.NDArray[np.bool_]) -> LabelPair:
        capped, raw = (
            metric_set(
                truth[at],
                pred[at],
                unit=rows.unit[at],
                level=level,
                n_resamples=n_resamples,
                seed=seed,
            )
            for truth in (labels, rows.rul)
        )
        return LabelPair(capped=capped, raw=raw)

    def measure(pred: Array, called: Classes | None) -> PredictorMetrics:
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
    trivial_metrics = {}
    for name, values in (baselines or {}).items():
        trivial = rows.prediction(values, f"baselines[{name!r}]")
        trivial_metrics[name] = measure(trivial, health_class(trivial, limits))

    model = measure(pred, called)
    # The NASA score and the usual zones are in cycles at a cap of 125: other fleets are brought to
    # that scale, so that no remark depends on the unit of time.
    scale = 1.0 if cap is None else REFERENCE_CAP / cap
    edges = ZONE_EDGES if cap is None else tuple(e / scale for e in ZONE_EDGES)
    flags = check_plausibility(
        dataset=protocol.dataset,
        n_units=n_given,
        label_cap=cap,
        rmse_capped=model.last_cycle.capped.rmse,
        rmse_raw=scale * model.last_cycle.raw.rmse,
        nasa_raw=nasa_score(scale * rows.rul[last], scale * pred[last]),
        floor=None if cap is None else label_floor(scale * rows.rul[last], REFERENCE_CAP),
        baseline_rmse={name: j.last_cycle.capped.rmse for name, j in trivial_metrics.items()},
        select_on=protocol.select_on,
    )
    followed = held_out or HeldOutRows(
        rows.unit,
        rows.time,
        rows.rul,
        pred,
        {name: rows.prediction(v, name) for name, v in (baselines or {}).items()},
        "test units observed to their failure",
    )

    def prognostics(values: npt.ArrayLike) -> PrognosticsSummary:
        return prognostics_summary(
            followed.unit, followed.time, followed.rul, values, cap=cap, units=followed.description
        )

    return Evaluation(
        protocol=protocol,
        model=model,
        baselines=trivial_metrics,
        zones=tuple(error_by_zone(labels[last], pred[last], edges)),
        prognostics=prognostics(followed.predicted),
        baseline_prognostics={k: prognostics(v) for k, v in followed.baselines.items()},
        flags=tuple(flags),
        n_units_unknown=rows.n_unknown,
    )
