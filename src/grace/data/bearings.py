"""PRONOSTIA: 17 ball bearings worn to failure under three loads (IEEE PHM 2012 challenge)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from grace.data.dataset_folder import read_cells
from grace.data.fleet import Dataset, Fleet
from grace.data.table import read_table

__all__ = ["BEARINGS_FILE", "BEARINGS_FOLDER", "CITATION", "read_bearings"]

BEARINGS_FOLDER, BEARINGS_FILE = "FEMTO_PRONOSTIA", "features.csv"
CITATION = (
    "P. Nectoux et al.: PRONOSTIA: An experimental platform for bearings accelerated degradation "
    "tests. IEEE International Conference on Prognostics and Health Management, Denver, 2012."
)
DESCRIPTION = (
    "FEMTO-ST PRONOSTIA, 17 bearings measured until failure at three constant loads; features of "
    "the vibration of two axes every 10 seconds. Two learning bearings per load, lives of 230 to "
    "2803 snapshots."
)
_AXES = {"h": "horizontal", "v": "vertical"}
_FEATURES = {
    "mean": "mean acceleration, g",
    "std": "standard deviation, g",
    "rms": "root mean square, g",
    "peak": "largest absolute acceleration, g",
    "p2p": "peak to peak, g",
    "skew": "skewness",
    "kurt": "kurtosis",
    "crest": "crest factor",
    "shape": "shape factor",
    "fcentroid": "spectral centroid, Hz",
    "bp_0_1k": "share of energy from 0 to 1 kHz",
    "bp_1_3k": "share of energy from 1 to 3 kHz",
    "bp_3_6k": "share of energy from 3 to 6 kHz",
    "bp_6_12k": "share of energy from 6 to 12.8 kHz",
}
SENSORS = {f"{a}_{f}": f"{_AXES[a]} axis: {text}" for a in _AXES for f, text in _FEATURES.items()}
_NEEDED = (
    *("bearing", "orig_split", "rpm", "load_n", "snapshot", "t_s", "rul_snapshots"),
    *("rul_s", "in_challenge_test", *SENSORS),
)


def read_bearings(
    root: Path | None, *, time_unit: Literal["seconds", "snapshots"] = "seconds"
) -> Dataset:
    """Read the bearings with the split of the challenge.

    Train holds the 6 learning bearings until failure, test the 11 others up to the snapshot at
    which the challenge asked for the life left, with that life as ``rul_at_end``. The load is the
    static attribute ``load_group``. Left out are the temperature, which no learning bearing has,
    and the recorded clock, which runs backwards in one bearing.

    Args:
        root: data root that holds ``FEMTO_PRONOSTIA/features.csv``, or None.
        time_unit: seconds since the first snapshot, or the number of the snapshot (one per 10 s).

    Raises:
        DataError: the file is not found or lacks a column.
        ValueError: another unit of time.
    """
    if time_unit not in ("seconds", "snapshots"):
        raise ValueError(f"time_unit {time_unit!r} must be 'seconds' or 'snapshots'")
    cells, file = read_cells(root, BEARINGS_FOLDER, BEARINGS_FILE, _NEEDED)
    cells = cells.with_columns(load_group=pl.format("{} rpm, {} N", "rpm", "load_n"))
    time, left = ("t_s", "rul_s") if time_unit == "seconds" else ("snapshot", "rul_snapshots")

    def fleet(part: str, rows: pl.DataFrame) -> Fleet:
        return read_table(
            rows,
            name=f"bearings {part}",
            unit="bearing",
            time=time,
            time_unit=time_unit,
            fate={"rul_at_end": left},
            static=("load_group",),
            sensors=tuple(SENSORS),
            descriptions=SENSORS,
        )

    return Dataset(
        name="bearings",
        train=fleet("train", cells.filter(pl.col("orig_split") == "learn")),
        test=fleet("test", cells.filter(pl.col("in_challenge_test") == "1")),
        default_sensors=tuple(SENSORS),
        n_conditions=1,
        description=DESCRIPTION,
        citation=CITATION,
        files=(file,),
    )
