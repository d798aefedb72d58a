"""A dataset in words and figures, for a terminal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grace.data.conditions import OperatingConditions
from grace.data.fleet import Dataset, Fleet
from grace.data.quality import QUALITY_KINDS, check_quality

__all__ = ["render_dataset"]

_STYLES = {"warning": "yellow", "note": "dim"}


def render_dataset(data: Dataset) -> RenderableType:
    """Units, lives, operating conditions, channels and issues of a dataset."""
    units = Table("", "units", "rows", "shortest", "median", "longest", "RUL at end")
    for label, fleet in (("train", data.train), ("test", data.test)):
        units.add_row(label, *_sizes(fleet))
    settings = data.train.values(data.train.schema.settings)
    conditions = OperatingConditions(data.n_conditions).fit(settings)
    labels, _ = conditions.assign(settings)
    points = Table(
        *("condition", *map(escape, data.train.schema.settings), "rows"),
        title="Operating conditions (train)",
    )
    for c, center in enumerate(conditions.centers_):
        points.add_row(str(c), *(f"{v:.2f}" for v in center), str(int((labels == c).sum())))
    channels = Table("channel", "meaning", "min", "mean", "max", "used", title="Channels (train)")
    for name in data.train.schema.channels:
        column = data.train.values([name])
        channels.add_row(
            escape(name),
            escape(data.train.schema.descriptions.get(name, "")),
            *(f"{v:.6g}" for v in _range(column[~np.isnan(column)])),
            "yes" if name in data.default_sensors else "",
        )
    checked = {"train": check_quality(data.train), "test": check_quality(data.test)}
    # What was noticed while reading may be of the table that both parts were taken from.
    reading = dict.fromkeys((*data.train.issues, *data.test.issues))
    checked["reading"] = [issue for issue in reading if issue.kind not in QUALITY_KINDS]
    issues = [
        Text(f"{label}, {issue.severity}: {issue.message}", style=_STYLES[issue.severity])
        for label, issues in checked.items()
        for issue in issues
    ]
    return Group(
        Text(f"{data.name}: {data.description}", style="bold"),
        Text(data.citation, style="italic"),
        units,
        points,
        channels,
        *issues,
    )


def _range(known: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Least value, mean and largest; NaN for a channel without values."""
    if not known.size:
        return (np.nan, np.nan, np.nan)
    return (float(known.min()), float(known.mean()), float(known.max()))


def _sizes(fleet: Fleet) -> tuple[str, ...]:
    unit = fleet.schema.time_unit
    life = fleet.life()
    left = fleet.units.get_column("rul_at_end").drop_nulls().to_numpy()
    span = f"{left.min():g} to {left.max():g} {unit}" if len(left) else "unknown"
    censored = fleet.n_units - len(left)
    return (
        str(fleet.n_units),
        str(fleet.n_rows),
        *(f"{v:g}" for v in (life.min(), np.median(life), life.max())),
        escape(span) + (f"; {censored} censored" if censored else ""),
    )
