"""Fleets that differ in everything, as tables or read from files, for ``any_fleet.py``.

Every generated one is written as a user would have it (a table, and the keys of its schema) and
read by :func:`grace.read_table`; nothing of how it was made reaches the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl

from grace.data.fleet import Fleet
from grace.data.readers import load_dataset
from grace.data.table import read_table

__all__ = ["FLEETS", "Case", "training_units"]

_NEXT_DRAW = 1000  # between the seeds of one generated fleet and the next of its kind


@dataclass(frozen=True, eq=False)
class Case:
    """Training units, and test units with a known life left where there are any."""

    train: Fleet
    test: Fleet | None = None


def _anonymous(fleet: Fleet, prefix: str) -> Fleet:
    """The same rows with columns c1, c2 … in another order, and units renamed."""
    rng = np.random.default_rng(7)
    channels = [*fleet.schema.settings, *fleet.schema.sensors]
    names = {c: f"c{i + 1}" for i, c in enumerate(rng.permutation(channels).tolist())}
    ids = {u: f"{prefix}{i * 37 % 9973:04d}" for i, u in enumerate(fleet.unit_ids)}
    frame = fleet.frame.rename({**names, fleet.schema.unit: "machine", fleet.schema.time: "t"})
    frame = frame.with_columns(pl.col("machine").replace_strict(ids, return_dtype=pl.String))
    units = fleet.units.with_columns(pl.col("unit").replace_strict(ids, return_dtype=pl.String))
    left = units.select(pl.col("unit").alias("machine"), "rul_at_end")
    return read_table(
        frame.select("machine", "t", *sorted(names.values())),
        unit="machine",
        time="t",
        time_unit="flights",
        fate=left,
        settings=sorted(names[s] for s in fleet.schema.settings),
        name=prefix,
    )


def _cmapss(subset: str) -> Case:
    data = load_dataset(subset)
    return Case(_anonymous(data.train, "engine"), _anonymous(data.test, "engine"))


def _simulated() -> Case:
    data = load_dataset("sim", seed=3)
    return Case(data.train, data.test)


def _named(name: str) -> Case:
    data = load_dataset(name)
    return Case(data.train, data.test)


def _all_bearings() -> Case:
    """The 17 bearings run to failure: learning bearings and the complete test bearings."""
    from grace.data.cmapss_files import find_data_root

    path = find_data_root(None)
    assert path is not None
    keys = {"unit": "bearing", "time": "t_s", "time_unit": "seconds", "fate": "end_of_record"}
    ignore = ("rul_snapshots", "rul_s", "temp_c", "clock_s", "in_challenge_test", "snapshot")
    table = pl.read_csv(path / "FEMTO_PRONOSTIA" / "features.csv").with_columns(
        load=pl.concat_str(pl.col("rpm").cast(pl.String), pl.lit("/"), pl.col("load_n"))
    )
    drop = (*ignore, "n_samples", "orig_split", "rpm", "load_n")
    return Case(read_table(table.drop(drop), **keys, static=("load",), name="bearings"))


def _cutters(draw: int = 0) -> Case:
    """9 rows per unit at uneven times; wear measured; material and feed."""
    rng = np.random.default_rng(11 + _NEXT_DRAW * draw)
    rows, fates = [], []
    for u in range(26):
        material = ("steel", "cast iron")[u % 2]
        feed = (0.25, 0.5)[(u // 2) % 2]
        life = 60.0 * (1.0 if material == "steel" else 1.7) * (0.25 / feed) ** 0.5
        life *= rng.lognormal(0, 0.22)
        t = np.sort(rng.uniform(0.02, 1.0, 9)) * life
        t[-1] = life
        wear = 0.05 + 0.5 * (t / life) ** 1.4 * rng.lognormal(0, 0.12) + rng.normal(0, 0.02, 9)
        rows.append(
            pl.DataFrame(
                {
                    "tool": [f"T{u}"] * 9,
                    "minute": t,
                    "wear_mm": wear,
                    "force_n": 300 + 900 * feed + 260 * wear + rng.normal(0, 30, 9),
                    "spindle_a": rng.normal(4.0, 0.3, 9) + 1.5 * wear,
                    "material": [material] * 9,
                    "feed": [feed] * 9,
                }
            )
        )
        fates.append((f"T{u}", life))
    return Case(
        read_table(
            pl.concat(rows),
            unit="tool",
            time="minute",
            time_unit="minutes",
            fate=pl.DataFrame(fates, schema=["tool", "failure_time"], orient="row"),
            static=("material", "feed"),
            name="cutters",
        )
    )


def _valves(draw: int = 0) -> Case:
    """3,000 rows at 10 Hz, in seconds, with rows after the failure; a limit defines it."""
    rng = np.random.default_rng(12 + _NEXT_DRAW * draw)
    rows = []
    for u in range(14):
        life = int(rng.integers(1700, 2700))
        t = np.arange(3000)
        onset = rng.uniform(0.2, 0.6) * life
        drift = np.maximum(t - onset, 0.0) / (life - onset)
        leak = 1.0 + 4.0 * drift ** rng.uniform(1.2, 2.5)
        cycle = 5.0 + 2.0 * np.sin(2 * np.pi * t / 57.0 + rng.uniform(0, 6))
        rows.append(
            pl.DataFrame(
                {
                    "valve": np.full(3000, 100 + u),
                    "second": t / 10.0,
                    "leak": leak + rng.normal(0, 0.06, 3000),
                    "stroke": cycle + rng.normal(0, 0.1, 3000),
                    "current": 0.3 * cycle + 0.25 * leak + rng.normal(0, 0.15, 3000),
                    "noise": rng.normal(0, 1, 3000).cumsum() * 0.01 + 0.4 * leak,
                }
            )
        )
    limit = {"threshold": {"channel": "leak", "above": 5.0, "rows": 3}}
    keys = {"unit": "valve", "time": "second", "time_unit": "seconds", "fate": limit}
    return Case(read_table(pl.concat(rows), **keys, name="valves"))


def _cells(draw: int = 0) -> Case:
    """Three protocols run side by side whose lives are a factor of 5 apart; cycles."""
    rng = np.random.default_rng(13 + _NEXT_DRAW * draw)
    rows, left = [], {}
    for u in range(45):
        protocol = ("slow", "normal", "fast")[u % 3]
        life = {"slow": 900, "normal": 400, "fast": 180}[protocol] * rng.lognormal(0, 0.13)
        n = int(life)
        seen = n if u % 5 else int(0.7 * n)
        t = np.arange(1, seen + 1)
        fade = 0.06 * t / n + 0.14 * (t / n) ** rng.uniform(3.0, 6.0)
        rows.append(
            pl.DataFrame(
                {
                    "cell": [f"c{u:02d}"] * seen,
                    "cycle": t,
                    "capacity": 1.1 * rng.normal(1, 0.015) * (1 - fade)
                    + rng.normal(0, 0.004, seen),
                    "resistance": 0.017 * (1 + 0.5 * fade) + rng.normal(0, 2e-4, seen),
                    "temperature": 30.0 + rng.normal(0, 0.8, seen),
                    "protocol": [protocol] * seen,
                }
            )
        )
        left[f"c{u:02d}"] = 0.0 if seen == n else None
    fates = pl.DataFrame(
        {"cell": list(left), "rul_at_end": pl.Series(list(left.values()), dtype=pl.Float64)}
    )
    return Case(
        read_table(
            pl.concat(rows),
            unit="cell",
            time="cycle",
            time_unit="cycles",
            fate=fates,
            static=("protocol",),
            name="cells",
        )
    )


def _compressors(draw: int = 0) -> Case:
    """60% still running; dates, uneven gaps, missing values, a text attribute; hours of life."""
    rng = np.random.default_rng(14 + _NEXT_DRAW * draw)
    rows = []
    begin = datetime(2023, 1, 2, 6, tzinfo=timezone.utc)
    for u in range(80):
        life = 2400.0 * rng.weibull(2.5)
        seen = life if u % 5 in (0, 1) else life * rng.uniform(0.3, 0.95)
        t = np.cumsum(rng.exponential(24.0, 4000))
        t = np.append(t[t < seen], seen)
        start = begin + timedelta(hours=float(rng.uniform(0, 4000)))
        wear = (t / life) ** 2
        flow = 30 - 6 * wear + rng.normal(0, 1.0, len(t))
        flow[rng.random(len(t)) < 0.15] = np.nan
        rows.append(
            pl.DataFrame(
                {
                    "serial": [f"K-{u:03d}"] * len(t),
                    "date": [start + timedelta(hours=float(h)) for h in t],
                    "flow": flow,
                    "discharge_c": 80 + 9 * wear + rng.normal(0, 2.5, len(t)),
                    "oil_ppm": np.exp(1.0 + 2.0 * wear + rng.normal(0, 0.25, len(t))),
                    "site": [("north", "south", "sea")[u % 3]] * len(t),
                    "failed": np.where((np.arange(len(t)) == len(t) - 1) & (u % 5 in (0, 1)), 1, 0),
                }
            )
        )
    keys: dict[str, Any] = {"unit": "serial", "time": "date", "time_unit": "hours"}
    table = pl.concat(rows)
    return Case(read_table(table, **keys, fate="failed", static=("site",), name="compressors"))


def _fuses(draw: int = 0) -> Case:
    """Sensors that say nothing: only age, and the group, are known; days."""
    rng = np.random.default_rng(15 + _NEXT_DRAW * draw)
    rows = []
    for u in range(30):
        group = ("indoor", "outdoor")[u % 2]
        life = int({"indoor": 120, "outdoor": 70}[group] * rng.weibull(4.0)) + 5
        rows.append(
            pl.DataFrame(
                {
                    "fuse": np.full(life, u),
                    "day": np.arange(life),
                    "volts": rng.normal(230, 3, life),
                    "amps": rng.gamma(4, 2.0, life),
                    "place": [group] * life,
                }
            )
        )
    keys: dict[str, Any] = {"unit": "fuse", "time": "day", "time_unit": "days"}
    return Case(
        read_table(pl.concat(rows), **keys, fate="end_of_record", static=("place",), name="fuses")
    )


FLEETS: dict[str, tuple[str, Callable[[], Case]]] = {
    "cutters": ("9 rows per unit at uneven times, two static attributes", _cutters),
    "fuses": ("sensors without information, two groups", _fuses),
    "cells": ("three static groups, lives a factor of 5 apart, a fifth censored", _cells),
    "compressors": ("60% censored, dates, gaps, missing values", _compressors),
    "valves": ("10 Hz, failure by a limit, rows after it", _valves),
    "bearings_all": ("17 bearings run to failure under three loads", _all_bearings),
    "bearings": ("6 learning bearings, the official test", lambda: _named("bearings")),
    "sim": ("the built-in simulated fleet", _simulated),
    "disks": ("95% still running", lambda: _named("disks")),
    **{
        name: ("C-MAPSS as an anonymous table", lambda name=name: _cmapss(name))
        for name in ("FD001", "FD002", "FD003", "FD004")
    },
}


def training_units(name: str, draw: int) -> Fleet:
    """Training units of a fleet; those of a generated one differ from draw to draw."""
    generated: dict[str, Callable[[int], Case]] = {
        "cutters": _cutters,
        "fuses": _fuses,
        "cells": _cells,
        "compressors": _compressors,
        "valves": _valves,
    }
    if name == "sim":
        return load_dataset("sim", seed=3 + draw, n_train=60, n_test=1).train
    return (generated[name](draw) if name in generated else FLEETS[name][1]()).train
