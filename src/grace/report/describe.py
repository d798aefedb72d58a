"""A dataset in words and figures, for a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grace.data.conditions import OperatingConditions
from grace.data.fleet import Dataset, Fleet
from grace.data.quality import check_quality

__all__ = ["render_dataset"]


def render_dataset(data: Dataset) -> RenderableType:
    """Units, lives, operating conditions, channels and findings of a dataset."""
    units = Table("", "units", "rows", "shortest", "median", "longest", "RUL at end")
    for label, fleet in (("train", data.train), ("test", data.test)):
        units.add_row(label, *_sizes(fleet))
    settings = data.train.values(data.train.schema.settings)
    conditions = OperatingConditions(data.n_conditions).fit(settings)
    labels, _ = conditions.assign(settings)
    points = Table(
        *("condition", *data.train.schema.settings, "rows"), title="Operating conditions (train)"
    )
    for c, center in enumerate(conditions.centers_):
        points.add_row(str(c), *(f"{v:.2f}" for v in center), str(int((labels == c).sum())))
    channels = Table("channel", "meaning", "min", "mean", "max", "used", title="Channels (train)")
    for name in data.train.schema.channels:
        column = data.train.values([name])
        channels.add_row(
            name,
            escape(data.train.schema.descriptions.get(name, "")),
            *(f"{v:.6g}" for v in (column.min(), column.mean(), column.max())),
            "yes" if name in data.default_sensors else "",
        )
    findings = [
        Text(f"{finding.severity}: {finding.message}", style="dim")
        for fleet in (data.train, data.test)
        for finding in check_quality(fleet)
    ]
    return Group(
        Text(f"{data.name}: {data.description}", style="bold"),
        Text(data.citation, style="italic"),
        units,
        points,
        channels,
        *findings,
    )


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
        span + (f"; {censored} censored" if censored else ""),
    )
