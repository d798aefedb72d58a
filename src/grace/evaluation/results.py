"""The outcome of an evaluation as value objects that survive JSON unchanged."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from grace.evaluation.bootstrap import Interval
from grace.evaluation.fleet_prognostics import PrognosticsSummary
from grace.evaluation.metrics import JsonFloat, ZoneError
from grace.evaluation.plausibility import Flag
from grace.evaluation.protocol import Protocol
from grace.formatting import number, percent, signed

__all__ = [
    "Evaluation",
    "HealthSet",
    "LabelPair",
    "MetricSet",
    "OptimismGap",
    "PredictorMetrics",
]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricSet(_Value):
    """RUL errors over ``n`` rows of ``n_units`` units; ``bias`` > 0 and ``late_share`` are late.

    ``intervals`` holds "rmse", "mae", "nasa_mean" and "nasa_sum" over units; it is empty with
    fewer than two units and lacks a figure that overflowed to infinity.

    Example:
        >>> from grace.evaluation import metric_set
        >>> metrics = metric_set([10, 30, 60], [15, 26, 71])
        >>> metrics.n_units, round(metrics.rmse, 2), metrics.bias, sorted(metrics.intervals)
        (3, 7.35, 4.0, ['mae', 'nasa_mean', 'nasa_sum', 'rmse'])
    """

    n: int
    n_units: int
    rmse: JsonFloat
    mae: JsonFloat
    bias: JsonFloat
    nasa_sum: JsonFloat
    nasa_mean: JsonFloat
    late_share: float
    intervals: dict[str, Interval] = Field(default_factory=dict)


class LabelPair(_Value):
    """The same predictions against capped and against raw labels.

    Example:
        >>> from grace.evaluation import metric_set
        >>> raw, predicted = [150.0, 40.0], [120.0, 44.0]
        >>> capped = [min(y, 125.0) for y in raw]
        >>> pair = LabelPair(capped=metric_set(capped, predicted), raw=metric_set(raw, predicted))
        >>> round(pair.capped.rmse, 2), round(pair.raw.rmse, 2)
        (4.53, 21.4)
    """

    capped: MetricSet
    raw: MetricSet


class HealthSet(_Value):
    """Health classes over ``n`` rows; ``confusion[i][j]`` counts true class i predicted as j.

    Example:
        >>> health = HealthSet(n=3, accuracy=2 / 3, macro_f1=0.56, confusion=((1, 0), (1, 1)))
        >>> health.confusion[1][0]  # of class 1, predicted as class 0
        1
    """

    n: int
    accuracy: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]

    @field_validator("confusion")
    @classmethod
    def _square(cls, rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if not rows or any(len(row) != len(rows) for row in rows):
            raise ValueError("confusion must be a square matrix, one row and column per class")
        if any(not 0 <= count < 2**53 for row in rows for count in row):
            raise ValueError("confusion must hold counts of 0 or more")
        return rows


class PredictorMetrics(_Value):
    """One predictor: at each unit's last row (``last_cycle``, primary) and over all
    rows (``all_cycles``).

    Health is None if the predictor gave no classes.

    Example:
        >>> from grace.evaluation import metric_set
        >>> errors = metric_set([10, 30], [15, 26])
        >>> pair = LabelPair(capped=errors, raw=errors)
        >>> metrics = PredictorMetrics(last_cycle=pair, all_cycles=pair)
        >>> round(metrics.last_cycle.capped.rmse, 2), metrics.health_last_cycle
        (4.53, None)
    """

    last_cycle: LabelPair
    all_cycles: LabelPair
    health_last_cycle: HealthSet | None = None
    health_all_cycles: HealthSet | None = None


class OptimismGap(_Value):
    """What choosing the checkpoint on the test set would have gained: test- minus
    validation-selected, last row; negative means the test-selected figure looks better.

    Example:
        >>> gap = OptimismGap(rmse_capped=-0.21, rmse_raw=-0.18, nasa_capped=-9.4, nasa_raw=-8.8)
        >>> gap.rmse_capped < 0  # selection on the test set looks better
        True
    """

    rmse_capped: float
    rmse_raw: float
    nasa_capped: JsonFloat
    nasa_raw: JsonFloat


HEADER = ("predictor", "rows", "labels", "n", "RMSE", "MAE", "bias", "NASA", "NASA/n", "late")


def _figure(metrics: MetricSet, name: str) -> str:
    value, interval = getattr(metrics, name), metrics.intervals.get(name)
    if interval is None:
        return number(value)
    return f"{number(value)} [{number(interval.low)}, {number(interval.high)}]"


def _row(who: str, rows: str, labels: str, metrics: MetricSet) -> tuple[str, ...]:
    return (
        who,
        rows,
        labels,
        str(metrics.n),
        _figure(metrics, "rmse"),
        _figure(metrics, "mae"),
        signed(metrics.bias),
        _figure(metrics, "nasa_sum"),
        _figure(metrics, "nasa_mean"),
        percent(metrics.late_share),
    )


class Evaluation(_Value):
    """An evaluated model with its protocol, the trivial baselines, and remarks.

    ``zones`` are at the last row, against capped labels; the last zone is what lies at the cap.
    ``prognostics`` and ``baseline_prognostics`` are over units observed to their failure, which
    they describe. ``n_units_unknown`` units were left out because their time of failure is
    unknown.
    ``model_validate_json(e.model_dump_json()) == e``.

    Example:
        >>> import numpy as np
        >>> from grace.evaluation import Protocol, evaluate
        >>> rul = np.tile(np.arange(9.0, -1.0, -1.0), 2)
        >>> rows = {"unit": np.repeat([1, 2], 10), "time": np.tile(np.arange(10.0), 2), "rul": rul}
        >>> protocol = Protocol(dataset="two pumps", time_unit="hours", n_validation=1, n_train=4)
        >>> evaluation = evaluate(protocol, **rows, predicted=rul + 1.0)
        >>> evaluation.rmse, evaluation.protocol.n_test
        (1.0, 2)
        >>> Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
        True
    """

    protocol: Protocol
    model: PredictorMetrics
    baselines: dict[str, PredictorMetrics] = Field(default_factory=dict)
    zones: tuple[ZoneError, ...] = ()
    prognostics: PrognosticsSummary
    baseline_prognostics: dict[str, PrognosticsSummary] = Field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    n_units_unknown: int = 0
    optimism_gap: OptimismGap | None = None

    @property
    def rmse(self) -> float:
        """RMSE at the last row, the primary figure, against capped labels."""
        return self.model.last_cycle.capped.rmse

    @property
    def nasa(self) -> float:
        """NASA score (sum) at the last row against capped labels."""
        return self.model.last_cycle.capped.nasa_sum

    def with_optimism_gap(self, test_selected: Evaluation) -> Evaluation:
        """This evaluation with the gap to the same run's test-selected checkpoint.

        Raises:
            ValueError: this one is not validation-selected, the other is not test-selected, or
                they are of different data.
        """
        mine, other = self.protocol, test_selected.protocol
        if mine.select_on != "validation" or other.select_on != "test":
            raise ValueError("the gap is between a validation- and a test-selected evaluation")
        a, b = self.model.last_cycle, test_selected.model.last_cycle
        if (mine.dataset, mine.label_cap, a.raw.n) != (other.dataset, other.label_cap, b.raw.n):
            raise ValueError("the two evaluations are of different datasets or label caps")
        gap = OptimismGap(
            rmse_capped=b.capped.rmse - a.capped.rmse,
            rmse_raw=b.raw.rmse - a.raw.rmse,
            nasa_capped=b.capped.nasa_sum - a.capped.nasa_sum,
            nasa_raw=b.raw.nasa_sum - a.raw.nasa_sum,
        )
        return self.model_copy(update={"optimism_gap": gap})

    def to_table(self) -> list[tuple[str, ...]]:
        """Plain rows for printing: a header, then model and baselines.

        The model is shown at the last and at all rows, capped and raw; baselines at the last
        row. Figures with an interval read "12.30 [11.20, 13.50]"; a marked protocol marks every
        row of the model.
        """
        mark = f" ({self.protocol.mark})" if self.protocol.mark else ""
        table: list[tuple[str, ...]] = [HEADER]
        for rows, pair in (("last", self.model.last_cycle), ("all", self.model.all_cycles)):
            table.append(_row(f"model{mark}", rows, "capped", pair.capped))
            table.append(_row(f"model{mark}", rows, "raw", pair.raw))
        for name, evaluated in self.baselines.items():
            table.append(_row(name, "last", "capped", evaluated.last_cycle.capped))
            table.append(_row(name, "last", "raw", evaluated.last_cycle.raw))
        return table
