"""Why a unit is predicted as it is: what moved, its effect on the RUL, and similar units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.preprocessing import Preprocessor
from grace.estimator.inputs import predict_rows, wanted_rows
from grace.estimator.saved_model import STACK, Learned
from grace.extras import MissingExtraError
from grace.formatting import number, signed

__all__ = ["Explanation", "explain_units"]

Array = npt.NDArray[np.float64]
Predict = Callable[[npt.NDArray[np.bool_]], Array]
_PERIODS = 8
_BATCH_ROWS = 50_000
_SPAN = 30  # most rows that the start and the end of a record are averaged over


@dataclass(frozen=True, eq=False)
class Explanation:
    """One unit at its last row.

    ``rul`` is the prediction, ``rul_unmoved`` the prediction if every channel had stayed where it
    was at the start of the unit's record; both in ``time_unit``.

    ``channels`` has one row per channel, in order of |``effect``|:

    - ``moved``: mean of the last rows minus mean of the first rows of this unit, in standard
      deviations of the channel within its operating condition;
    - ``against_condition``: mean of the last rows minus the training mean of the same condition,
      in the same unit;
    - ``effect_early``, ``effect_recent``, ``effect``: Shapley values, in ``time_unit``: how much
      the movement of this channel in the earlier and in the last fifth of the record changes the
      predicted RUL. Over all channels they sum to ``rul − rul_unmoved``.

    ``periods`` divides the record into stretches of equal length, ``start`` to ``end``: ``effect``
    is how much the movement of all channels in the stretch changes the predicted RUL. These Shapley
    values, too, sum to ``rul − rul_unmoved``.

    ``neighbours`` are training units at moments with similar predictions by the same candidates
    and a similar age, nearest first: ``unit``, ``time``, ``age``, ``rul_predicted`` (out of fold),
    ``rul_true`` (null if the unit was still running ``censored_after`` later).

    Example:
        >>> import grace
        >>> fleet = grace.load_dataset("sim", n_train=8, n_test=2)
        >>> model = grace.RULModel(candidates=["median_life", "linear"], rows_per_unit=10, seed=0)
        >>> explanation = model.fit(fleet.train).explain(fleet.test, units=[1], samples=2)[0]
        >>> explanation.channels.columns[:4]
        ['channel', 'moved', 'against_condition', 'effect_early']
        >>> moved = explanation.rul - explanation.rul_unmoved
        >>> bool(abs(explanation.channels["effect"].sum() - moved) < 1e-6)
        True
    """

    unit: Any
    time: float
    time_unit: str
    rul: float
    rul_unmoved: float
    channels: pl.DataFrame
    periods: pl.DataFrame
    neighbours: pl.DataFrame

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield (
            f"Unit {self.unit} at {self.time:g}: predicted RUL {number(self.rul)} "
            f"{self.time_unit}; {number(self.rul_unmoved)} if no channel had moved since the start "
            "of its record."
        )
        for row in self.channels.head(5).iter_rows(named=True):
            yield (
                f"  {row['channel']}: {signed(row['effect'])} {self.time_unit} (of which "
                f"{signed(row['effect_recent'])} by the last fifth of the record); moved by "
                f"{signed(row['moved'])} standard deviations since its start, now "
                f"{signed(row['against_condition'])} from the training mean of its condition"
            )
        first = self.periods.sort(pl.col("effect").abs(), descending=True).head(2)
        parts = (
            f"{signed(row['effect'])} {self.time_unit} from {row['start']:g} to {row['end']:g}"
            for row in first.iter_rows(named=True)
        )
        if first.height:
            yield f"  by time, all channels: {', '.join(parts)}"
        if self.neighbours.height:
            yield "Training units with a similar prediction and age:"
        for row in self.neighbours.iter_rows(named=True):
            outcome = (
                f"still running {number(row['censored_after'])} {self.time_unit} later"
                if row["rul_true"] is None
                else f"failed {number(row['rul_true'])} {self.time_unit} later"
            )
            yield (
                f"  unit {row['unit']} at {row['time']:g}: predicted "
                f"{number(row['rul_predicted'])}, {outcome}"
            )


def explain_units(
    fleet: Fleet,
    learned: Learned,
    oof: pl.DataFrame | None,
    *,
    units: Sequence[Any] | None = None,
    neighbours: int = 5,
    samples: int = 10,
    seed: int = 0,
) -> list[Explanation]:
    """Explanations of some units; see ``RULModel.explain``.

    Raises:
        ImportError: captum is not installed (extra ``explain``).
        DataError: a unit is not in the fleet.
        ValueError: ``neighbours`` is negative, or ``samples`` below 1.
    """
    if neighbours < 0 or samples < 1:
        raise ValueError(f"neighbours={neighbours} must be 0 or more, samples={samples} 1 or more")
    known = {str(u): u for u in fleet.unit_ids}
    wanted = list(known) if units is None else [str(u) for u in units]
    unknown = [u for u in wanted if u not in known]
    if unknown:
        raise DataError(
            f"there is no unit {unknown[0]}.",
            source=fleet.name,
            remedy=f"choose from {', '.join(list(known)[:5])}{' …' if len(known) > 5 else ''}.",
        )
    return [
        _explain(fleet.select([known[u]]), learned, oof, neighbours, samples, seed) for u in wanted
    ]


def _explain(
    one: Fleet, learned: Learned, oof: pl.DataFrame | None, neighbours: int, samples: int, seed: int
) -> Explanation:
    channels, moved, against, unmoved = _movement(one, learned.input_check)
    n = one.n_rows
    parts = np.arange(n) >= n - max(1, n // 5)  # the last fifth of the record
    predict = _predictor(one, learned, channels, unmoved)
    sides = np.stack([~parts, parts])  # (2, n)
    effects, rul, rul_unmoved = _shapley(
        lambda keep: predict(np.einsum("bpc,pn->bnc", keep.reshape(-1, 2, len(channels)), sides)),
        2 * len(channels),
        samples,
        seed,
    )
    effects = effects.reshape(2, len(channels))
    table = pl.DataFrame(
        {
            "channel": channels,
            "moved": moved,
            "against_condition": against,
            "effect_early": effects[0],
            "effect_recent": effects[1],
            "effect": effects.sum(axis=0),
        }
    ).sort(pl.col("effect").abs(), descending=True, maintain_order=True)
    row = predict_rows(one, wanted_rows(one, every_row=False), learned)
    return Explanation(
        unit=one.unit_ids[0],
        time=float(row["time"][0]),
        time_unit=one.schema.time_unit,
        rul=rul,
        rul_unmoved=rul_unmoved,
        channels=table,
        periods=_periods(one, predict, samples, seed),
        neighbours=_neighbours(row, learned, oof, neighbours),
    )


def _movement(one: Fleet, check: Preprocessor) -> tuple[list[str], Array, Array, Array]:
    """Channels, movement against the own start and the condition, raw values without movement.

    The last array is (n, C): the value each channel would have had at each row, in that row's
    operating condition, at the mean level of the unit's first rows.
    """
    check = check.sensors_only()
    table = check.transform(one)
    channels = [name for name in check.sensors_ if name in one.schema.sensors]
    if not channels:
        raise DataError(
            "no sensor of this unit can be explained.",
            source=one.name,
            remedy="check that the sensors of training are measured.",
        )
    columns = [check.sensors_.index(name) for name in channels]
    z = np.asarray(table.rows, np.float64)[:, columns]
    span = max(1, min(len(z) // 5, _SPAN))
    base, now = z[:span].mean(axis=0), z[-span:].mean(axis=0)
    mean, scale = check.mean_[:, columns], check.scale_[:, columns]
    condition = table.condition
    unmoved = mean[condition] + base * scale[condition]
    return channels, now - base, now, unmoved


def _periods(one: Fleet, predict: Predict, samples: int, seed: int) -> pl.DataFrame:
    """Effects of the stretches of a record, all channels together."""
    times = one.times()
    count = min(_PERIODS, one.n_rows)
    part = np.arange(one.n_rows) * count // one.n_rows
    rows = part[None, :] == np.arange(count)[:, None]  # (count, n)
    effects, _, _ = _shapley(lambda keep: predict((keep @ rows)[:, :, None]), count, samples, seed)
    first = np.unique(part, return_index=True)[1]
    last = np.append(first[1:], one.n_rows) - 1
    return pl.DataFrame({"start": times[first], "end": times[last], "effect": effects})


def _predictor(one: Fleet, learned: Learned, channels: list[str], unmoved: Array) -> Predict:
    """The RUL at the last row if only some values are as measured, the others not moved."""
    measured = one.values(channels)

    def predict(keep: npt.NDArray[np.bool_]) -> Array:
        """Of copies, (B,): where ``keep`` (B, n, C) or (B, n, 1) is true, values as measured."""
        found = []
        size = max(1, _BATCH_ROWS // one.n_rows)
        for at in range(0, len(keep), size):
            values = np.where(keep[at : at + size], measured[None], unmoved[None])
            found.append(_predict_copies(one, learned, channels, values))
        return np.concatenate(found)

    return predict


def _shapley(
    value: Callable[[npt.NDArray[np.bool_]], Array], count: int, samples: int, seed: int
) -> tuple[Array, float, float]:
    """Shapley values (count,) of a function of sets (B, count), its value on all and on none."""
    try:
        import torch
        from captum.attr import ShapleyValueSampling
    except ImportError as error:
        raise MissingExtraError("explanations need captum", "explain") from error

    def of_masks(mask: Any) -> Any:
        return torch.from_numpy(value(mask.bool().numpy()))

    everything, nothing = torch.ones(1, count), torch.zeros(1, count)
    torch_state = torch.get_rng_state()
    try:
        torch.manual_seed(seed)
        found = ShapleyValueSampling(of_masks).attribute(
            everything, baselines=nothing, n_samples=samples, perturbations_per_eval=count
        )
    finally:
        torch.set_rng_state(torch_state)
    ends = of_masks(torch.cat([everything, nothing])).numpy()
    return found.numpy().reshape(-1).astype(np.float64), float(ends[0]), float(ends[1])


def _predict_copies(one: Fleet, learned: Learned, channels: list[str], values: Array) -> Array:
    """The stack's prediction at the last row of copies of a unit, values (B, n, C)."""
    b = len(values)
    unit = one.schema.unit
    frame = pl.concat([one.frame] * b).with_columns(
        pl.Series(unit, np.repeat(np.arange(b), one.n_rows)),
        *(
            pl.Series(name, values[:, :, i].reshape(-1)).fill_nan(None)
            for i, name in enumerate(channels)
        ),
    )
    static = [s for s in one.schema.static if s in one.units.columns]
    units = pl.concat([one.units.select("rul_at_end", *static)] * b).with_columns(
        unit=pl.Series(np.arange(b)), rul_at_end=pl.lit(None, pl.Float64)
    )
    copies = Fleet.from_frame(frame, one.schema, units=units, name=one.name)
    predicted = predict_rows(copies, wanted_rows(copies, every_row=False), learned)
    return predicted[STACK].to_numpy().astype(np.float64)


def _neighbours(
    row: pl.DataFrame, learned: Learned, oof: pl.DataFrame | None, count: int
) -> pl.DataFrame:
    """The nearest moment of each training unit in the candidates' predictions and age."""
    kept = ("unit", "time", "age", "rul_true", "censored_after")
    if oof is None:
        return pl.DataFrame(schema={**dict.fromkeys(kept, pl.Float64), "rul_predicted": pl.Float64})
    by = [name for name in learned.candidates if name in oof.columns and name in row.columns]
    there = oof.select("age", *by).to_numpy().astype(np.float64)
    here = row.select("age", *by).to_numpy().astype(np.float64)
    spread = there.std(axis=0)
    distance = np.sqrt((((there - here) / np.where(spread > 0, spread, 1.0)) ** 2).mean(axis=1))
    return (
        oof.select(*kept, rul_predicted=pl.col(STACK))
        .with_columns(distance=pl.Series(distance))
        .sort("distance")
        .unique("unit", keep="first", maintain_order=True)
        .head(count)
    )
