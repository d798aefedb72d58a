"""Hard disks in operation: 40 days of SMART values, 95% of the drives still running."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from grace.data.dataset_folder import read_cells
from grace.data.fleet import Dataset
from grace.data.table import read_table

__all__ = ["CITATION", "DISKS_FILE", "DISKS_FOLDER", "read_disks"]

DISKS_FOLDER, DISKS_FILE = "BACKBLAZE_2013", "drive_days.csv"
CITATION = "Backblaze, Inc.: Hard Drive Data and Stats, 2013."
DESCRIPTION = (
    "Backblaze 2013, an extract of 2,257 hard disks over 40 days, one row per day: all 120 failed "
    "drives, 137 that vanished, 2,000 sampled survivors (95% censored, failures "
    "over-represented). "
    "The test drives are failed ones only: errors on them say nothing about survivors."
)
SENSORS = {
    "smart_1_raw": "raw read error rate (meaning differs between makers)",
    "smart_5_raw": "reallocated sectors",
    "smart_9_raw": "power-on hours",
    "smart_194_raw": "temperature, °C",
    "smart_197_raw": "pending sectors",
}
_NEEDED = ("date", "serial_number", "model", "capacity_bytes", "failure", *SENSORS)
_MIN_ROWS = 8  # a test drive keeps at least half of them
_SPLIT_SEED = 20130410


def read_disks(root: Path | None) -> Dataset:
    """Read the disks; the publisher gives no split, so one is made.

    Time counts days since the first day a drive was observed, not its age: drives enter the 40 days
    at any age (left truncation), which is the static attribute ``age_at_entry_h`` (power-on hours).
    Model and capacity are static too. Every fourth failed drive with 8 rows or more (ordered by
    serial number) is a test drive, cut at a day drawn with a fixed seed from the second half of its
    record; train holds all others, of which the running ones are censored. The value 4294967295 of
    SMART 1 is read as missing.

    Args:
        root: data root that holds ``BACKBLAZE_2013/drive_days.csv``, or None.

    Raises:
        DataError: the file is not found or lacks a column.
    """
    cells, file = read_cells(root, DISKS_FOLDER, DISKS_FILE, _NEEDED)
    entry = (
        cells.sort("date", maintain_order=True)
        .group_by("serial_number", maintain_order=True)
        .agg(pl.col("smart_9_raw").first().alias("age_at_entry_h"))
    )
    fleet = read_table(
        cells.join(entry, on="serial_number", how="left", maintain_order="left"),
        name="disks",
        unit="serial_number",
        time="date",
        time_unit="days",
        fate={"failed": "failure"},
        static=("model", "capacity_bytes", "age_at_entry_h"),
        sensors=tuple(SENSORS),
        missing_values=(4294967295,),
        descriptions=SENSORS,
    )
    long = fleet.lengths() >= _MIN_ROWS
    failed = fleet.units.filter(pl.col("failed") & pl.Series(long))["unit"].sort()
    held_out = failed.to_list()[::4]
    rng = np.random.default_rng(_SPLIT_SEED)
    times, starts, lengths = fleet.times(), fleet.starts(), fleet.lengths()
    row_of = {u: i for i, u in enumerate(fleet.unit_ids)}
    cuts = {}
    for unit in held_out:
        i = row_of[unit]
        row = int(rng.integers(lengths[i] // 2, lengths[i] - 1))
        cuts[unit] = float(times[starts[i] + row])
    chosen = set(held_out)
    return Dataset(
        name="disks",
        train=fleet.select((u for u in fleet.unit_ids if u not in chosen), name="disks train"),
        test=fleet.select(held_out).truncate(cuts, name="disks test"),
        default_sensors=tuple(SENSORS),
        n_conditions=1,
        description=DESCRIPTION,
        citation=CITATION,
        files=(file,),
    )
