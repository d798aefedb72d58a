"""NASA C-MAPSS turbofan data (FD001-FD004): simulated engines flown until they fail.

The format: text, one row per flight, 26 columns separated by blanks, no header. Cycles of a unit
run 1, 2, 3, ... and units follow each other 1, 2, 3, ...; line i of ``RUL_FD00x.txt`` belongs to
test unit i. Since the link is by position alone, a lost or swapped line falsifies labels without a
trace: the reader therefore checks the order of every line.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from grace.data.cmapss_files import CMAPSS_SHA256, FETCH, require_cmapss
from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet, FleetSchema
from grace.data.issues import DataFile
from grace.data.validation import EXTREME_TIME

__all__ = ["CMAPSS_SUBSETS", "CmapssSubset", "cmapss_schema", "read_cmapss"]

CITATION = (
    "A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage Propagation Modeling for Aircraft Engine "
    "Run-to-Failure Simulation. Proc. 1st Int. Conf. on Prognostics and Health Management (PHM08), "
    "Denver, 2008."
)


@dataclass(frozen=True)
class CmapssSubset:
    """Published size and kind of one subset; rows and units counted in the published files."""

    train_units: int
    test_units: int
    train_rows: int
    test_rows: int
    n_conditions: int
    fault_modes: tuple[str, ...]


_HPC, _FAN = "HPC degradation", "fan degradation"
# The publisher's readme swaps the engine counts of FD004; these are those of the files.
CMAPSS_SUBSETS = {
    "FD001": CmapssSubset(100, 100, 20631, 13096, 1, (_HPC,)),
    "FD002": CmapssSubset(260, 259, 53759, 33991, 6, (_HPC,)),
    "FD003": CmapssSubset(100, 100, 24720, 16596, 1, (_HPC, _FAN)),
    "FD004": CmapssSubset(249, 248, 61249, 41214, 6, (_HPC, _FAN)),
}
# Symbol, meaning and engineering unit, after Saxena et al. 2008, table 2.
_SETTINGS = ("altitude, kft", "Mach number", "TRA, throttle resolver angle, %")
_SENSORS = (
    "T2, total temperature at fan inlet, °R",
    "T24, total temperature at LPC outlet, °R",
    "T30, total temperature at HPC outlet, °R",
    "T50, total temperature at LPT outlet, °R",
    "P2, pressure at fan inlet, psia",
    "P15, total pressure in bypass duct, psia",
    "P30, total pressure at HPC outlet, psia",
    "Nf, physical fan speed, rpm",
    "Nc, physical core speed, rpm",
    "epr, engine pressure ratio (P50/P2)",
    "Ps30, static pressure at HPC outlet, psia",
    "phi, ratio of fuel flow to Ps30, pps/psi",
    "NRf, corrected fan speed, rpm",
    "NRc, corrected core speed, rpm",
    "BPR, bypass ratio",
    "farB, burner fuel-air ratio",
    "htBleed, bleed enthalpy",
    "Nf_dmd, demanded fan speed, rpm",
    "PCNfR_dmd, demanded corrected fan speed, rpm",
    "W31, HPT coolant bleed, lbm/s",
    "W32, LPT coolant bleed, lbm/s",
)
DEFAULT_SENSORS = tuple(f"s{i}" for i in (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21))


def cmapss_schema() -> FleetSchema:
    """The columns of every C-MAPSS file, with symbol, meaning and engineering unit.

    Example:
        >>> schema = cmapss_schema()
        >>> len(schema.settings), len(schema.sensors), schema.descriptions["s2"]
        (3, 21, 'T24, total temperature at LPC outlet, °R')
    """
    settings = tuple(f"setting{i}" for i in range(1, 4))
    sensors = tuple(f"s{i}" for i in range(1, 22))
    texts = dict(zip((*settings, *sensors), (*_SETTINGS, *_SENSORS), strict=True))
    return FleetSchema(settings=settings, sensors=sensors, descriptions=texts)


def read_cmapss(root: Path | str, subset: str) -> Dataset:
    """Read one subset: run-to-failure training engines and truncated test engines.

    Args:
        root: folder with the published text files, a folder above it, CMAPSSData.zip or NASA's zip
            around that.
        subset: ``"FD001"`` to ``"FD004"``.

    Returns:
        Train (every unit failed) and test (``rul_at_end`` of ``RUL_FD00x.txt``) fleets of 3
        settings and 21 sensors, time in cycles; e.g. FD001: 100 units, 20631 rows and 100 units,
        13096 rows.

    Raises:
        DataError: a file is missing or broken; the message names file, line and remedy.

    Warns:
        UserWarning: a file is intact but is not the published one.

    Source: Saxena et al., PHM08 (see ``Dataset.citation``).
    """
    if subset not in CMAPSS_SUBSETS:
        raise DataError(
            f"C-MAPSS has no subset {subset!r}.", remedy=f"choose from {', '.join(CMAPSS_SUBSETS)}."
        )
    files, schema, size = require_cmapss(root), cmapss_schema(), CMAPSS_SUBSETS[subset]
    names = [f"{part}_{subset}.txt" for part in ("train", "test", "RUL")]
    data = {name: files.read(name) for name in names}
    digests = {name: hashlib.sha256(data[name]).hexdigest() for name in names}
    train, test = (_read_rows(data[n], files.label(n), schema) for n in names[:2])
    left = _read_rul(data[names[2]], files.label(names[2]))
    units, last = int(test[-1, 0]), len(data[names[1]].splitlines())
    if len(left) != units and len(left) == size.test_units:  # then the RUL file is not to blame
        problem = f"the file ends with unit {units}, but {names[2]} has the RUL of {len(left)}."
        raise _bad(problem, files.label(names[1]), last, "restore the lost lines")
    if len(left) != units:
        problem, lines = f"{len(left)} values for {units} test units.", data[names[2]].splitlines()
        raise _bad(problem, files.label(names[2]), len(lines), "give one line per test unit")
    edited = [n for n in names if digests[n] != CMAPSS_SHA256[n]]
    if edited:
        warnings.warn(
            f"{files.where}: {', '.join(edited)} differ from the files NASA published "
            f"(train {train.height} rows, published {size.train_rows}; test {test.height}, "
            f"published {size.test_rows}). Results are not comparable with published ones. "
            f"Remedy: keep them if that is intended, {FETCH}",
            stacklevel=2,
        )
    conditions = "one operating condition" if size.n_conditions == 1 else "six operating conditions"
    return Dataset(
        name=subset,
        synthetic=True,
        train=Fleet.from_frame(train, schema, name=f"{subset} train", source=files.label(names[0])),
        test=Fleet.from_frame(
            test, schema, rul_at_end=left, name=f"{subset} test", source=files.label(names[1])
        ),
        default_sensors=DEFAULT_SENSORS,
        n_conditions=size.n_conditions,
        description=f"C-MAPSS {subset}: simulated turbofan engines, {conditions}, "
        f"{' and '.join(size.fault_modes)}.",
        citation=CITATION,
        files=tuple(DataFile(n, digests[n], digests[n] == CMAPSS_SHA256[n]) for n in names),
    )


def _read_rows(data: bytes, source: str, schema: FleetSchema) -> pl.DataFrame:
    """One data file as unit, cycle (Int64), settings, sensors (Float64)."""
    columns = [schema.unit, schema.time, *schema.channels]
    frame = _parse_fast(data, columns)
    return _parse_slowly(data, source, columns) if frame is None else frame


def _parse_fast(data: bytes, columns: list[str]) -> pl.DataFrame | None:
    """The published form by polars; None on the slightest doubt, the slow path then tells."""
    types: dict[str, type[pl.DataType]] = dict.fromkeys(columns, pl.Float64)
    types |= {columns[0]: pl.Int64, columns[1]: pl.Int64, "": pl.String, " ": pl.String}
    try:
        frame = pl.read_csv(data, has_header=False, separator=" ", quote_char=None, schema=types)
    except pl.exceptions.PolarsError:
        return None
    rest = frame[:, 26:]  # the two trailing blanks make two empty columns
    frame = frame[:, :26]
    if frame.is_empty() or sum(rest.null_count().row(0)) < 2 * rest.height:
        return None
    if sum(frame.null_count().row(0)) or not np.isfinite(frame.to_numpy()).all():
        return None
    unit, cycle = frame[:, 0].to_numpy(), frame[:, 1].to_numpy()
    same, after = np.diff(unit) == 0, np.diff(cycle) == 1
    begins = (np.diff(unit) == 1) & (cycle[1:] == 1)
    tidy = unit[0] == cycle[0] == 1 and bool(np.where(same, after, begins).all())
    return frame if tidy else None


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """1-based line number and cells of every line that is not blank."""
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").split("\n"), 1):
        if cells := line.split():
            yield number, cells


def _bad(problem: str, source: str, line: int | None, remedy: str) -> DataError:
    return DataError(problem, source=source, line=line, remedy=f"{remedy}, {FETCH}")


def _number(cell: str, column: str, source: str, line: int) -> float:
    try:
        value = float(cell.replace("_", "?"))  # float() would read 1_0 as 10
    except ValueError:
        problem = f"column {column!r} is not a number: {cell!r}."
        remedy = "correct the cell (a header line has to go)"
        raise _bad(problem, source, line, remedy) from None
    if not math.isfinite(value):
        problem = f"column {column!r} is not finite: {cell!r}."
        raise _bad(problem, source, line, "correct the cell")
    return value


def _parse_slowly(data: bytes, source: str, columns: list[str]) -> pl.DataFrame:
    """Any mix of blanks and tabs, line by line; the first anomaly raises with its line."""
    rows: list[list[float]] = []
    unit = cycle = 0
    for line, cells in _lines(data):
        if len(cells) != len(columns):
            remedy = "write unit, cycle, 3 settings and 21 sensors separated by blanks"
            raise _bad(f"{len(cells)} columns instead of {len(columns)}.", source, line, remedy)
        row = [_number(c, n, source, line) for c, n in zip(cells, columns, strict=True)]
        for name, cell, value in zip(columns[:2], cells[:2], row[:2], strict=True):
            if not value.is_integer():
                problem = f"column {name!r} is not a whole number: {cell!r}."
                raise _bad(problem, source, line, "correct the cell")
        if problem := _out_of_order(unit, cycle, int(row[0]), int(row[1])):
            remedy = "restore the lines: units and their cycles run 1, 2, 3, ..."
            raise _bad(problem, source, line, remedy)
        unit, cycle = int(row[0]), int(row[1])
        rows.append(row)
    if not rows:
        raise _bad("the file is empty.", source, None, "replace it")
    whole = [pl.col(c).cast(pl.Int64) for c in columns[:2]]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(whole)


def _out_of_order(unit: int, cycle: int, new_unit: int, new_cycle: int) -> str:
    """What is wrong with a row after another (unit 0 before the first row), or nothing."""
    if unit == 0 and new_unit != 1:
        return f"the first unit is {new_unit} instead of 1."
    if new_unit < unit:
        return f"unit {new_unit} reappears after unit {unit}."
    if new_unit > unit + 1:
        return f"unit {unit + 1} is missing: unit {new_unit} follows unit {unit}."
    if new_unit != unit:
        return "" if new_cycle == 1 else f"unit {new_unit} starts at cycle {new_cycle}, not at 1."
    if new_cycle == cycle + 1:
        return ""
    if new_cycle == cycle:
        return f"cycle {cycle} of unit {unit} is repeated."
    return f"cycle {new_cycle} of unit {unit} follows cycle {cycle}."


def _read_rul(data: bytes, source: str) -> dict[int, float]:
    """Life left of test units 1..n, one per line."""
    left: dict[int, float] = {}
    for line, cells in _lines(data):
        value = _number(cells[0], "RUL", source, line)
        if len(cells) > 1 or value < 0:
            what = f"RUL {value:g} is negative" if value < 0 else f"{len(cells)} columns, not 1"
            raise _bad(f"{what}.", source, line, "write one number >= 0 per line")
        if value >= EXTREME_TIME:
            problem = f"RUL of test unit {len(left) + 1} is out of any range: {value:g}."
            raise _bad(problem, source, line, "correct the cell")
        left[len(left) + 1] = value
    return left
