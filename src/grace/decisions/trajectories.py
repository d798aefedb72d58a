"""What was predicted, out of fold, at every decision time of every unit's life."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError
from grace.estimator import RULModel
from grace.uncertainty import RULDistribution, fit_distribution

__all__ = [
    "Trajectories",
    "conditional_probability",
    "decision_probabilities",
    "model_trajectories",
    "out_of_fold_trajectories",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Units with their predictions at the rows that were evaluated, each from before its fold.

    Args:
        end: (U,) age at failure, or at the end of the record.
        failed: (U,) whether the unit failed at ``end``.
        fold: (U,) fold in which the unit was held out.
        owner: (M,) index of each row's unit, ascending.
        age: (M,) age of each row: time since the unit's first record; ascending per unit.
        distribution: (M,) predictive distributions.
        time_unit: of all times.

    Example:
        >>> sure = RULDistribution(np.array([0.0, 9.0, 11.0]), np.array([[1.0, 1, 0]] * 2))
        >>> t = Trajectories(end=np.array([30.0, 50.0]), failed=np.array([True, False]),
        ...     fold=np.array([0, 1]), owner=np.array([0, 1]), age=np.array([20.0, 40.0]),
        ...     distribution=sure, time_unit="hours")
        >>> len(t), int(t.failed.sum())
        (2, 1)
    """

    end: Array
    failed: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    age: Array
    distribution: RULDistribution
    time_unit: str = "cycles"

    def __post_init__(self) -> None:
        n, m = self.end.size, self.age.size
        if self.failed.shape != (n,) or self.fold.shape != (n,):
            raise ValueError("end, failed and fold must have one entry per unit")
        if self.owner.shape != (m,) or len(self.distribution) != m:
            raise ValueError("owner, age and distribution must have one entry per row")
        if n == 0 or not self.failed.any():
            raise ValueError("no unit failed: the cost of a failure cannot be weighed")

    def __len__(self) -> int:
        return int(self.end.size)


def out_of_fold_trajectories(
    table: pl.DataFrame, prediction: str, candidates: list[str], *, time_unit: str = "cycles"
) -> Trajectories:
    """Trajectories of an out-of-fold table, each fold's distributions fitted without the fold.

    Args:
        table: ``unit``, ``age``, ``rul_true``, ``censored_after``, ``fold``, the point prediction
            and the candidates; see :func:`grace.candidates.out_of_fold`.
        prediction: column of the point prediction.
        candidates: columns of the predictors it combines; may be empty.
        time_unit: of all times.

    Raises:
        DataError: a column is missing, or no life is known.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> age = np.tile(np.arange(0.0, 60.0, 5.0), 20)
        >>> rul = np.repeat(rng.uniform(60.0, 100.0, 20), 12) - age
        >>> table = pl.DataFrame({"unit": np.repeat(np.arange(20), 12), "age": age, "rul_true": rul,
        ...                       "censored_after": 0.0, "fold": np.repeat(np.arange(20) % 4, 12),
        ...                       "linear": rul + rng.normal(0.0, 4.0, 240)})
        >>> t = out_of_fold_trajectories(table, "linear", [], time_unit="hours")
        >>> len(t), len(t.distribution)
        (20, 240)
    """
    rows = table.with_columns(
        pl.col("rul_true").cast(pl.Float64).fill_nan(None),
        pl.col("censored_after").cast(pl.Float64).fill_nan(None),
    ).filter(pl.coalesce("rul_true", "censored_after").is_not_null())
    if not rows.height or rows["rul_true"].null_count() == rows.height:
        raise DataError(
            "no unit with a known failure.",
            source="out-of-fold table",
            remedy="decisions need units that failed.",
        )
    order = {unit: k for k, unit in enumerate(rows["unit"].unique(maintain_order=True))}
    number = pl.Series("_owner", [order[u] for u in rows["unit"]], dtype=pl.Int64)
    rows = rows.with_columns(number).sort("_owner", "age", maintain_order=True)
    owner = rows["_owner"].to_numpy()
    parts: dict[int, tuple[npt.NDArray[np.int64], RULDistribution]] = {}
    folds = rows["fold"].to_numpy()
    for fold in np.unique(folds):
        held = folds == fold
        others = rows.filter(pl.Series(~held))
        usable = others.height and others["rul_true"].null_count() < others.height
        model = fit_distribution(others if usable else rows, prediction, candidates=candidates)
        parts[int(fold)] = (np.flatnonzero(held), model.predict(rows.filter(pl.Series(held))))
    edges = max((d.edges for _, d in parts.values()), key=lambda e: (e[-1], e.size))
    curves, rates = np.ones((rows.height, edges.size)), np.ones(rows.height)
    for index, distribution in parts.values():
        on_edges = distribution.survival_at(np.tile(edges, (len(index), 1)))
        on_edges[:, 0] = 1.0
        curves[index] = np.minimum.accumulate(on_edges, axis=1)
        rates[index] = distribution.rate
    end = rows.select(pl.col("age") + pl.coalesce("rul_true", "censored_after")).to_series()
    first = np.unique(owner, return_index=True)[1]
    return Trajectories(
        end=end.to_numpy()[first].astype(np.float64),
        failed=rows["rul_true"].is_not_null().to_numpy()[first],
        fold=folds[first].astype(np.int64),
        owner=owner,
        age=rows["age"].to_numpy().astype(np.float64),
        distribution=RULDistribution(edges, curves, rates),
        time_unit=time_unit,
    )


def model_trajectories(model: RULModel) -> Trajectories:
    """Trajectories of the units that a model was fitted on, each predicted by models without it.

    Raises:
        DataError: the model is not fitted, or was saved without its out-of-fold predictions.

    Example:
        >>> import grace
        >>> train = grace.load_dataset("sim", n_train=6, n_test=1).train
        >>> model = grace.RULModel(candidates=["median_life", "linear"], rows_per_unit=5, seed=0)
        >>> t = model_trajectories(model.fit(train))
        >>> len(t), t.time_unit
        (6, 'cycles')
    """
    table = getattr(model, "oof_", None)
    if table is None:
        raise DataError(
            "the model has no out-of-fold predictions.", remedy="fit it, or train it again."
        )
    distribution = model.distribution_
    return out_of_fold_trajectories(
        table,
        distribution.prediction,
        list(distribution.candidates),
        time_unit=model.fleet_schema_.time_unit,
    )


def decision_probabilities(
    t: Trajectories, interval: float, horizon: float
) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """P(failure within ``horizon``) at the decision times 0, Δ, 2Δ … of every unit in service.

    A decision uses the last row at or before it, conditioned on the survival since:
    1 − S(s + h)/S(s), s the time since that row. Decisions before the first row are left out.

    Returns:
        owner (D,), age of the decision (D,), probability (D,); ascending by unit and age.
    """
    owners, ages, rows = [], [], []
    starts = np.searchsorted(t.owner, np.arange(len(t)))
    stops = np.searchsorted(t.owner, np.arange(len(t)), side="right")
    for u, (a, b) in enumerate(zip(starts, stops, strict=True)):
        if a == b:
            continue
        first = np.ceil(t.age[a] / interval - 1e-9)
        count = int(max(0.0, np.ceil(t.end[u] / interval - first - 1e-9)))
        times = (first + np.arange(count)) * interval  # all before the end
        # Rounding must not move a row that is due at a decision behind it.
        last = np.searchsorted(t.age[a:b], times + 1e-9 * interval, side="right") - 1
        owners.append(np.full(count, u))
        ages.append(times)
        rows.append(a + last)
    owner = np.concatenate(owners).astype(np.int64)
    age, row = np.concatenate(ages), np.concatenate(rows).astype(np.int64)
    return owner, age, conditional_probability(t.distribution[row], age - t.age[row], horizon)


def conditional_probability(distribution: RULDistribution, since: Array, horizon: float) -> Array:
    """P(failure within ``horizon``) a time ``since`` (n,) after each row, given survival since.

    1 − S(since + horizon) / S(since), (n,); 1 where the row left no chance of such survival.
    """
    since = np.maximum(since, 0.0)
    now, later = distribution.survival_at(since), distribution.survival_at(since + horizon)
    probability = np.where(now > 1e-12, 1.0 - later / np.maximum(now, 1e-12), 1.0)
    return np.asarray(np.clip(probability, 0.0, 1.0))
