"""One call from a table of sensor histories to predictions, intervals and failure probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grace.candidates import Candidate, Stack
from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig, health_class
from grace.data.schema import FleetSchema
from grace.data.table import read_table
from grace.data.table.table_schema import load_table_schema
from grace.estimator.evaluation import evaluate_fleet
from grace.estimator.explanation import Explanation, explain_units
from grace.estimator.fitting import DEFAULT_METHOD, candidate_options, learn
from grace.estimator.inputs import fleet_like_training, predict_rows, wanted_rows, warn_of_issues
from grace.estimator.report import ModelReport, model_report
from grace.estimator.saved_model import STACK, Learned, load_model, save_model
from grace.training.presets import DEFAULT_PRESET
from grace.uncertainty import DistributionMethods, DistributionModel, RULDistribution

__all__ = ["RULModel"]

_PARAMETERS = ("method", "preset", "seed", "candidates", "cap", "rows_per_unit")


class RULModel(DistributionMethods):
    """Remaining useful life of any fleet, by the stack of candidates that predict it best.

    Candidates (:data:`~grace.candidates.CANDIDATES`) are compared out of fold: every unit is
    predicted by models that never saw it. The predictor is their non-negative stack
    (:class:`~grace.candidates.Stack`). Its distribution is fitted on the same
    out-of-fold predictions and calibrated by unit. No test set is needed.

    Args:
        method: inner loss and balancer of the network by name, see ``grace methods``.
        preset: size and training of the network, see ``grace.training.presets.PRESETS``: ``fast``
            is sized by the fleet. ``best`` is more than a network: all candidates of all folds are
            kept and combined by least squares, and predictions are shifted towards early where
            lives left spread widely (:class:`~grace.candidates.EarlyShift`). The most accurate,
            and the slowest: a network is trained for every fold.
        seed: of folds and candidates.
        candidates: names of the candidates that compete. None means all with ``best``; otherwise
            :data:`~grace.candidates.DEFAULT_CANDIDATES`, where the first fold decides whether the
            network, whose training takes longest, is trained on the others.
        cap: largest RUL that is predicted, in the fleet's unit of time; None takes 0.6 median
            lives. Intervals and probabilities reach beyond it.
        rows_per_unit: moments of each unit's record at which candidates are compared.

    Attributes:
        fleet_schema_: roles of the columns.
        labels_: cap and health thresholds.
        reasons_: why each derived setting has its value.
        candidates_: the fitted candidates with a weight above 0.
        stack_: weights and out-of-fold errors.
        distribution_: calibrated distribution of the stack.
        oof_: out-of-fold predictions, see :func:`~grace.candidates.out_of_fold`, with the column
            ``stack`` and, where there are several operating conditions, ``condition``.
        summary_: what to expect on a new unit, in one or two sentences.
        report_: errors and weights of the candidates, see
            :class:`~grace.estimator.ModelReport`; ``print(model.report_)`` shows them as text.

    Example:
        >>> import grace
        >>> fleet = grace.load_dataset("sim", n_train=12, n_test=3)
        >>> model = grace.RULModel(candidates=["median_life", "linear"], seed=0).fit(fleet.train)
        >>> print(*model.predict(fleet.test).columns[:4])
        unit time rul health
        >>> print(*model.predict_interval(fleet.test, coverage=0.8).columns)
        unit time rul lower upper
    """

    fleet_schema_: FleetSchema
    labels_: LabelConfig
    reasons_: dict[str, str]
    candidates_: dict[str, Candidate]
    stack_: Stack
    distribution_: DistributionModel
    oof_: pl.DataFrame | None
    _learned: Learned
    summary_: str

    def __init__(
        self,
        *,
        method: str = DEFAULT_METHOD,
        preset: str = DEFAULT_PRESET,
        seed: int = 0,
        candidates: Sequence[str] | None = None,
        cap: float | None = None,
        rows_per_unit: int = 10,
    ) -> None:
        self.method = method
        self.preset = preset
        self.seed = seed
        self.candidates = candidates
        self.cap = cap
        self.rows_per_unit = rows_per_unit

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> RULModel:
        """Change arguments of the constructor.

        Raises:
            ValueError: an argument is unknown.
        """
        for name, value in params.items():
            if name not in self.get_params():
                known = ", ".join(self.get_params())
                raise ValueError(f"RULModel has no parameter {name!r}: choose from {known}")
            setattr(self, name, value)
        return self

    def fit(
        self,
        table: Any,
        *,
        schema: Any = None,
        store: str | Path | None = None,
        progress: Callable[[str, int], None] | None = None,
        **keys: Any,
    ) -> RULModel:
        """Learn from units of which some have failed; units still running are used too.

        Args:
            table: a :class:`~grace.data.Fleet`, or what :func:`~grace.data.read_table` reads.
            schema: YAML file, mapping or ``TableSchema`` with the keys.
            store: folder where finished (candidate, fold) pairs are kept; an interrupted fit of
                the same data continues there.
            progress: called with candidate and fold before each fit.
            **keys: ``unit``, ``time``, ``time_unit``, ``fate``, ``static``, ``settings``,
                ``ignore`` …, see :class:`~grace.data.table.TableSchema`.

        A warning lists what was repaired or may spoil results; ``report_.issues`` keeps it.

        Raises:
            DataError: the table cannot be used, or fewer than two units have a known life.
            ValueError: ``method``, ``preset`` or one of ``candidates`` is unknown, a setting of
                the network is given but the network is not among the candidates, or ``cap`` is
                not positive.
        """
        candidate_options(self.get_params())  # refused before the table is read
        if isinstance(table, Fleet):
            if schema is not None or keys:
                raise ValueError("a Fleet has its schema already: leave out schema and keys")
            fleet, table_schema = table, None
        else:
            fleet = read_table(table, schema=schema, **keys)
            table_schema = load_table_schema(schema, keys, known=fleet.name)
            warn_of_issues(fleet, stacklevel=3)
        learned, oof = learn(
            fleet,
            table_schema,
            self.get_params(),
            store=None if store is None else Path(store),
            progress=progress,
        )
        return self._adopt(learned, oof)

    def predict(self, table: Any, *, every_row: bool = False) -> pl.DataFrame:
        """RUL and health of each unit at its last row, or at every row.

        Args:
            table: a fleet, or a table in the format of training; no fate is needed.
            every_row: one prediction per row instead of per unit.

        Returns:
            ``unit``, ``time``, ``rul`` (at most the cap, in the fleet's unit of time), ``health``
            (class, 0 the healthiest), and, with one row per unit, how its inputs differ from
            training: ``rows``, ``rows_filled``, ``rows_outside``, ``rows_unseen_condition``,
            ``channels_outside``, ``channels_missing``, ``attributes_unknown``.

        Raises:
            DataError: the table cannot be used, or a column of training is missing.
        """
        fleet = self._fleet(table)
        frame = predict_rows(fleet, wanted_rows(fleet, every_row), self._learned)
        health = health_class(frame[STACK].to_numpy(), self.labels_.health_thresholds)
        found = frame.select("unit", "time", rul=pl.col(STACK)).with_columns(
            health=pl.Series(health)
        )
        if every_row:
            return found
        flags = self._learned.input_check.transform(fleet).flags
        assert flags is not None
        return pl.concat([found, flags.drop("unit")], how="horizontal")

    def predict_health(self, table: Any, *, every_row: bool = False) -> pl.DataFrame:
        """Health class of each unit, and the probability of each class.

        Returns:
            ``unit``, ``time``, ``health``, ``p_health_0`` … from the predictive distribution.
        """
        fleet = self._fleet(table)
        frame, distribution = self._distribution(fleet, every_row)
        limits = (np.inf, *self.labels_.health_thresholds, 0.0)
        below = [
            np.ones(len(frame)) if np.isinf(v) else np.asarray(distribution.cdf(v)) for v in limits
        ]
        below[-1] = np.zeros(len(frame))
        shares = {f"p_health_{i}": below[i] - below[i + 1] for i in range(len(limits) - 1)}
        health = health_class(frame[STACK].to_numpy(), self.labels_.health_thresholds)
        return frame.select("unit", "time").with_columns(health=pl.Series(health), **shares)

    def evaluate(self, table: Any, *, coverage: float = 0.9, **keys: Any) -> dict[str, Any]:
        """Errors at the last row of units whose remaining life is known.

        Args:
            table: a fleet, or a table read with the schema of training and these keys.
            coverage: of the intervals that are checked.
            **keys: replace those of training, e.g. ``fate=units``.

        Returns:
            ``n_units``, ``rmse_capped``, ``mae_capped``, ``nasa_capped``, ``rmse_raw`` (uncapped
            truth), ``interval_coverage``, ``interval_width``, ``coverage``, ``time_unit``.

        Raises:
            DataError: no unit has a known remaining life.
        """
        return evaluate_fleet(self._fleet(table, **keys), self._learned, coverage)

    def explain(
        self, table: Any, units: Sequence[Any] | None = None, **options: int
    ) -> list[Explanation]:
        """Why units are predicted as they are at their last row; takes seconds per unit.

        Args:
            table: as in :meth:`predict`.
            units: only these; None means all.
            **options: ``neighbours`` (5), how many like training units to show; ``samples`` (10),
                orderings of the channels that Shapley values are averaged over.

        Returns:
            One per unit: which channels moved, what that changes in the predicted RUL (Shapley
            values, Strumbelj and Kononenko 2010), and like training units with their outcomes.

        Raises:
            ImportError: captum is not installed (extra ``explain``).
            DataError: the table cannot be used, or a unit is not in it.
        """
        fleet = self._fleet(table)
        return explain_units(
            fleet, self._learned, self.oof_, units=units, seed=self.seed, **options
        )

    def score(self, table: Any, **keys: Any) -> float:
        """Negative RMSE of :meth:`evaluate` on capped labels: higher is better."""
        return -float(self.evaluate(table, **keys)["rmse_capped"])

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder: JSON and safetensors, no pickle.

        Raises:
            ArtifactError: the folder holds files, but no model of this kind.
            OSError: a file cannot be written.
        """
        self._fitted()
        return save_model(Path(folder), self.get_params(), self._learned, self.oof_)

    @classmethod
    def load(cls, folder: str | Path) -> RULModel:
        """Read a model that :meth:`save` wrote.

        Raises:
            ArtifactError: the folder holds none, or a file was changed or damaged.
        """
        params, learned, oof = load_model(Path(folder))
        return cls(**params)._adopt(learned, oof)

    def _adopt(self, learned: Learned, oof: pl.DataFrame | None) -> RULModel:
        """Take over what was learned."""
        self._learned, self.oof_ = learned, oof
        self.fleet_schema_, self.labels_ = learned.fleet_schema, learned.labels
        self.reasons_, self.summary_ = dict(learned.reasons), learned.summary
        self.candidates_, self.stack_ = dict(learned.candidates), learned.stack
        self.distribution_ = learned.distribution
        return self

    @property
    def learned(self) -> Learned:
        """Everything that was learned, as one object.

        Raises:
            DataError: the model is not fitted.
        """
        self._fitted()
        return self._learned

    def _fitted(self) -> None:
        if not hasattr(self, "_learned"):
            raise DataError("this RULModel is not fitted.", remedy="call fit first.")

    def _fleet(self, table: Any, **keys: Any) -> Fleet:
        self._fitted()
        return fleet_like_training(table, self._learned, **keys)

    def _distribution(self, fleet: Fleet, every_row: bool) -> tuple[pl.DataFrame, RULDistribution]:
        frame = predict_rows(fleet, wanted_rows(fleet, every_row), self._learned)
        return frame, self.distribution_.predict(frame)

    def predict_distribution(
        self, table: Any, *, every_row: bool = False
    ) -> tuple[pl.DataFrame, RULDistribution]:
        """``unit``, ``time`` and ``age`` of the rows, and their distributions of uncapped RUL."""
        frame, distribution = self._distribution(self._fleet(table), every_row)
        return frame.select("unit", "time", "age"), distribution

    @property
    def report_(self) -> ModelReport:
        """Errors and weights of the candidates, settings with their reasons, and the summary.

        Raises:
            DataError: the model is not fitted.
        """
        self._fitted()
        return model_report(self._learned)

    def summary(self) -> str:
        """What to expect on a new unit, and the candidates' errors and weights, as plain text."""
        return str(self.report_)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_params().items() if v is not None)
        return f"RULModel({given})"
