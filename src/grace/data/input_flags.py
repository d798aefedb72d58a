"""What is unusual about the inputs of each unit, compared with training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError
from grace.data.fleet import Fleet

__all__ = [
    "InputWarning",
    "UnseenConditionWarning",
    "input_flags",
    "report_unseen",
    "warn_of",
]

# A unit is worth a warning with more than this share of its rows outside the training range.
_MANY = 0.05


class InputWarning(UserWarning):
    """Inputs differ from what training has seen; ``FeatureTable.flags`` lists them by unit.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", InputWarning)  # unusual inputs become errors
    """


class UnseenConditionWarning(InputWarning):
    """Rows were taken at an operating condition that training never saw.

    Example:
        >>> issubclass(UnseenConditionWarning, UserWarning)
        True
    """


def input_flags(
    fleet: Fleet,
    *,
    missing: npt.NDArray[np.bool_],
    outside: npt.NDArray[np.bool_],
    unseen: npt.NDArray[np.bool_],
    channels: tuple[str, ...],
    absent: tuple[str, ...],
    unknown: list[tuple[str, ...]],
) -> pl.DataFrame:
    """The table ``FeatureTable.flags``.

    Args:
        fleet: U units with R rows.
        missing: values that are missing, (R, C).
        outside: values far outside the training range, (R, C).
        unseen: rows at an operating condition that training never saw, (R,).
        channels: names of the C sensors.
        absent: columns that the fleet lacks.
        unknown: per unit the static attributes without a value known to training.
    """
    starts = fleet.starts()

    def count(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.add.reduceat(rows, starts, axis=0, dtype=np.int64)

    hit = count(outside) > 0
    empty = count(missing) == fleet.lengths()[:, None]
    return pl.DataFrame(
        {
            "unit": fleet.units.get_column("unit"),
            "rows": fleet.lengths(),
            "rows_filled": count(np.asarray(missing.any(axis=1))),
            "rows_outside": count(np.asarray(outside.any(axis=1))),
            "rows_unseen_condition": count(unseen),
            "channels_outside": [[channels[c] for c in np.flatnonzero(row)] for row in hit],
            "channels_missing": [
                list(dict.fromkeys([*absent, *(channels[c] for c in np.flatnonzero(row))]))
                for row in empty
            ],
            "attributes_unknown": [list(names) for names in unknown],
        },
        schema_overrides={
            name: pl.List(pl.String)
            for name in ("channels_outside", "channels_missing", "attributes_unknown")
        },
    )


def warn_of(fleet: Fleet, flags: pl.DataFrame, *, stacklevel: int) -> None:
    """One warning that sums the flags up, if there is something to warn of.

    Operating conditions have a warning of their own.
    """
    parts = []
    lost = flags.filter(pl.col("channels_missing").list.len() > 0)
    if lost.height:
        names = lost["channels_missing"].explode().unique().sort().to_list()
        where = "" if lost.height == flags.height else f" in {lost.height} of {flags.height} units"
        parts.append(
            f"column {', '.join(names)} is missing or empty{where} and was filled from training"
        )
    many = flags.filter(pl.col("rows_outside") > _MANY * pl.col("rows"))
    if many.height:
        names = many["channels_outside"].explode().drop_nulls().unique().sort().to_list()
        parts.append(
            f"{many.height} of {flags.height} units have values far outside the training range in "
            f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''} (first: unit "
            f"{many['unit'][0]}); check the physical unit of these columns"
        )
    odd = flags.filter(pl.col("attributes_unknown").list.len() > 0)
    if odd.height:
        names = odd["attributes_unknown"].explode().unique().sort().to_list()
        parts.append(
            f"{odd.height} of {flags.height} units have a value of {', '.join(names)} that "
            f"training never saw, or none (first: unit {odd['unit'][0]})"
        )
    if parts:
        warnings.warn(f"{fleet.name}: {'; '.join(parts)}.", InputWarning, stacklevel=stacklevel)


def report_unseen(
    fleet: Fleet,
    unseen: npt.NDArray[np.bool_],
    distance: npt.NDArray[np.float64],
    settings: Sequence[str],
    *,
    refuse: bool,
) -> None:
    """Warn of rows at an operating condition that training never saw, or refuse them.

    Args:
        fleet: the units to transform, R rows.
        unseen: which rows, (R,).
        distance: of each row to the nearest known condition, in training standard deviations, (R,).
        settings: the columns that describe the condition.
        refuse: raise instead of warning.

    Raises:
        DataError: ``refuse``, and there is such a row; the message names the farthest.
    """
    if not unseen.any():
        return
    worst = int(np.argmax(np.where(unseen, distance, -1.0)))
    row, schema = fleet.frame.row(worst, named=True), fleet.schema
    place = {s: row.get(s) for s in settings}
    problem = (
        f"{int(unseen.sum())} of {len(unseen)} rows lie at an operating condition training "
        f"never saw; the farthest is unit {row[schema.unit]}, {schema.time} "
        f"{row[schema.time]} at {place}, {distance[worst]:.3g} "
        "training standard deviations from the nearest known condition."
    )
    if refuse:
        raise DataError(
            problem,
            source=fleet.name,
            remedy="train on units that ran at this condition, or set unseen='nearest'.",
        )
    warnings.warn(
        f"{fleet.name}: {problem} The nearest known condition is used.",
        UnseenConditionWarning,
        stacklevel=4,
    )
