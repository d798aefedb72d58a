"""Where a figure is drawn: on the given axes, or on a new figure without pyplot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes

from grace.plots.style import figure_style, new_figure

__all__ = [
    "Array",
    "TableLike",
    "as_frame",
    "canvas",
    "floats",
    "thinned",
    "top_of",
    "whiskers",
]

Array = npt.NDArray[np.float64]
# A polars frame, a mapping of columns, a pandas frame, or one mapping (or pydantic model) per row.
TableLike = Any

_MOST_POINTS = 500  # drawn per line


@contextmanager
def canvas(ax: Axes | None, width: float, height: float) -> Iterator[Axes]:
    """The axes to draw on, inside the style of grace.

    Args:
        ax: axes given by the caller, or None for a new figure.
        width: of a new figure, in points (1/72 inch).
        height: of a new figure, in points.
    """
    with figure_style():
        yield new_figure(width, height).add_subplot() if ax is None else ax


def as_frame(data: TableLike, needed: Iterable[str], what: str) -> pl.DataFrame:
    """A table in any of its forms as a polars frame that has the columns needed.

    Raises:
        ValueError: a column is missing, or the table has no row.
    """
    if isinstance(data, pl.DataFrame):
        frame = data
    elif isinstance(data, Mapping):
        frame = pl.DataFrame(dict(data))
    elif hasattr(data, "iloc"):
        frame = pl.from_pandas(data)
    else:
        rows = [r.model_dump() if hasattr(r, "model_dump") else dict(r) for r in data]
        frame = pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{what}: the data lack the column {', '.join(missing)}; they have "
            f"{', '.join(frame.columns) or 'no columns'}"
        )
    if frame.is_empty():
        raise ValueError(f"{what}: the data have no rows")
    return frame


def floats(frame: pl.DataFrame, name: str) -> Array:
    """A column as float64, null as NaN; all NaN if the frame has no such column."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    column = frame.get_column(name).cast(pl.Float64).fill_null(float("nan"))
    return np.array(column.to_numpy())


def thinned(n: int, most: int = _MOST_POINTS) -> npt.NDArray[np.int64]:
    """Row numbers of at most ``most`` of n rows, evenly spread, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def top_of(*values: npt.ArrayLike, default: float = 1.0) -> float:
    """The largest finite value of all; ``default`` if there is none above zero."""
    flat = np.concatenate([np.asarray(v, np.float64).reshape(-1) for v in values])
    flat = flat[np.isfinite(flat)]
    return float(flat.max()) if flat.size and flat.max() > 0 else default


def whiskers(
    ax: Axes, low: Array, high: Array, place: Sequence[float] | Array, **style: Any
) -> None:
    """Horizontal intervals at vertical places; one with a limit that is not finite is left out."""
    y = np.asarray(place, np.float64)
    known = np.isfinite(low) & np.isfinite(high)
    ax.hlines(y[known], low[known], high[known], **style)
    half = 0.12
    for x in (low[known], high[known]):
        ax.vlines(x, y[known] - half, y[known] + half, **style)
