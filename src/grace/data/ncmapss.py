"""N-CMAPSS: turbofan engines flown under real flight conditions until failure, as published (HDF5).

Layout: datasets ``W``, ``X_s``, ``X_v``, ``T``, ``Y`` and ``A`` with the suffixes ``_dev`` and
``_test``, one row per second of flight, and the names of their columns in ``W_var``, ``X_s_var``,
``X_v_var``, ``T_var`` and ``A_var``. A file holds millions of rows; they are reduced to one row per
flight while they are read, a block at a time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.cmapss_files import default_cache
from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet
from grace.data.flight_statistics import FlightStatistics
from grace.data.issues import DataFile
from grace.data.schema import FleetSchema
from grace.extras import MissingExtraError
from grace.files import sha256_file

__all__ = ["NCMAPSS_SUBSETS", "find_ncmapss", "read_ncmapss"]

CITATION = (
    "M. Arias Chao, C. Kulkarni, K. Goebel, O. Fink: Aircraft Engine Run-to-Failure Dataset under "
    "Real Flight Conditions for Prognostics and Diagnostics. Data 6(1):5, 2021."
)
DESCRIPTION = (
    "NASA N-CMAPSS, simulated turbofan engines on recorded flights; mean and standard deviation of "
    "each sensor per flight. Test engines run to failure: evaluate every row."
)
NCMAPSS_SUBSETS = (
    *("DS01", "DS02", "DS03", "DS04", "DS05", "DS06", "DS07", "DS08a", "DS08c", "DS08d"),
)
FOLDER = "N-CMAPSS"
BLOCK_ROWS = 1 << 16
"""Rows of 1 s that are in memory at a time."""
_SETTINGS = {
    "alt": "altitude, ft",
    "Mach": "flight Mach number",
    "TRA": "throttle resolver angle, %",
    "T2": "total temperature at fan inlet, °R",
}
_SENSORS = {
    "T24": "total temperature at LPC outlet, °R",
    "T30": "total temperature at HPC outlet, °R",
    "T48": "total temperature at HPT outlet, °R",
    "T50": "total temperature at LPT outlet, °R",
    "P15": "total pressure in bypass duct, psia",
    "P2": "total pressure at fan inlet, psia",
    "P21": "total pressure at fan outlet, psia",
    "P24": "total pressure at LPC outlet, psia",
    "Ps30": "static pressure at HPC outlet, psia",
    "P40": "total pressure at burner outlet, psia",
    "P50": "total pressure at LPT outlet, psia",
    "Nf": "physical fan speed, rpm",
    "Nc": "physical core speed, rpm",
    "Wf": "fuel flow, pps",
}


def find_ncmapss(root: Path | None, subset: str = "DS02") -> Path | None:
    """The file of one subset, ``N-CMAPSS_DS02-006.h5`` say; None if there is none.

    It is searched in ``root`` and in its folders ``N-CMAPSS`` and ``data_set``; without a root in
    the folder that ``GRACE_DATA`` names, or else in ``./data``, ``../shared/data`` and the cache.
    """
    named = os.environ.get("GRACE_DATA")
    usual = [Path(named)] if named else [Path("data"), Path("../shared/data"), default_cache()]
    for place in usual if root is None else [root]:
        for folder in (place / FOLDER, place / FOLDER / "data_set", place / "data_set", place):
            for pattern in (f"N-CMAPSS_{subset}.h5", f"N-CMAPSS_{subset}-*.h5"):
                found = sorted(folder.glob(pattern))
                if found:
                    return found[0]
    return None


def read_ncmapss(root: Path | None, *, subset: str = "DS02", every: int = 1) -> Dataset:
    """Read one subset with its published split into development (train) and test units.

    Time counts flights, the unit of the published RUL. Each flight becomes one row: the mean of
    every scenario descriptor ``W`` (settings, ``alt`` …) and the mean and standard deviation of
    every measured sensor ``X_s`` (``T24_mean``, ``T24_std`` …) over the samples of the flight. The
    flight class is the static attribute ``flight_class``. The virtual sensors ``X_v``, the health
    parameters ``T`` and the health state ``hs`` are never read: they are not measured, and the
    last two are labels. Development and test units all run to failure.

    Memory is bounded: at most ``BLOCK_ROWS`` samples are held at a time.

    Args:
        root: data root that holds ``N-CMAPSS/N-CMAPSS_DS02-006.h5``, the file's folder, or None.
        subset: ``"DS01"`` to ``"DS08d"``.
        every: use one of this many samples of each flight (1 s apart), from its first one on;
            1 uses all.

    Raises:
        DataError: the file is not found, damaged, or does not have the published layout; the
            message names file, HDF5 dataset and remedy.
        ImportError: h5py is not installed.
        ValueError: there is no such subset, or ``every`` is no positive integer.
    """
    if subset not in NCMAPSS_SUBSETS:
        raise ValueError(f"subset {subset!r} must be one of {', '.join(NCMAPSS_SUBSETS)}")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every = {every!r} must be an integer of 1 or more")
    path = find_ncmapss(root, subset)
    if path is None:
        raise DataError(
            f"{FOLDER}/N-CMAPSS_{subset}*.h5 was not found.",
            source=root,
            remedy=f"unpack the published data_set.zip and set GRACE_DATA to the folder that holds "
            f"{FOLDER}/.",
        )
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("h5py is not installed", "ncmapss") from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"is no readable HDF5 file ({_first_line(error)}).", source=path, remedy=_AGAIN
        ) from None
    with file:
        train, test = (_fleet(_Part(file, path, part), subset, every) for part in ("dev", "test"))
    shared = set(train.unit_ids) & set(test.unit_ids)
    if shared:
        raise DataError(
            f"A_dev and A_test share unit {min(shared)}.", source=path, remedy=_PUBLISHED
        )
    return Dataset(
        name="ncmapss",
        train=train,
        test=test,
        default_sensors=train.schema.sensors,
        n_conditions=1,
        description=f"{subset}: {DESCRIPTION}",
        citation=CITATION,
        files=(DataFile(path.name, sha256_file(path)),),
    )


_AGAIN = "copy or download the file again."
_PUBLISHED = "use the published file."


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


@dataclass(frozen=True)
class _Part:
    """The datasets of one part (``dev`` or ``test``) of an open file, checked as they are read."""

    file: Any
    path: Path
    part: str

    def dataset(self, name: str) -> Any:
        """A dataset (N, columns) of this part.

        Raises:
            DataError: it is missing, no table of numbers, or empty.
        """
        import h5py

        where = f"{name}_{self.part}"
        try:
            found = self.file.get(where)
        except (OSError, RuntimeError, KeyError) as error:
            raise self.damaged(where, error) from None
        if not isinstance(found, h5py.Dataset):
            raise DataError(
                f"HDF5 dataset /{where} is missing.", source=self.path, remedy=_PUBLISHED
            )
        if found.ndim != 2 or found.shape[0] == 0 or found.dtype.kind not in "fiu":
            raise DataError(
                f"HDF5 dataset /{where} has shape {found.shape} and type {found.dtype}; expected "
                "numbers of shape (rows, columns).",
                source=self.path,
                remedy=_PUBLISHED,
            )
        return found

    def columns(self, name: str, wanted: tuple[str, ...]) -> list[int]:
        """Positions of columns by the names of ``<name>_var``.

        Raises:
            DataError: the names are missing, do not fit the dataset, or lack one of ``wanted``.
        """
        where = f"{name}_var"
        try:
            raw = np.asarray(self.file[where]).ravel().tolist()
            names = [v.decode() if isinstance(v, bytes) else str(v) for v in raw]
        except KeyError:
            problem = f"HDF5 dataset /{where} is missing."
            raise DataError(problem, source=self.path, remedy=_PUBLISHED) from None
        except (OSError, RuntimeError, UnicodeDecodeError, TypeError) as error:
            raise self.damaged(where, error) from None
        width = self.dataset(name).shape[1]
        lacking = [w for w in wanted if w not in names]
        if lacking or width != len(names) or len(set(names)) < len(names):
            problem = (
                f"lacks {', '.join(lacking)}"
                if lacking
                else f"names {len(names)} columns ({len(set(names))} different), but "
                f"/{name}_{self.part} has {width}"
            )
            raise DataError(
                f"HDF5 dataset /{where} {problem}.", source=self.path, remedy=_PUBLISHED
            )
        return [names.index(w) for w in wanted]

    def block(self, name: str, begin: int, end: int) -> npt.NDArray[np.float64]:
        """Rows ``begin`` to ``end`` of a dataset.

        Raises:
            DataError: they cannot be read, or hold a value that is not finite.
        """
        where = f"{name}_{self.part}"
        try:
            values = np.asarray(self.dataset(name)[begin:end], dtype=np.float64)
        except (OSError, RuntimeError) as error:
            raise self.damaged(where, error) from None
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            row = begin + int(np.argmax(wrong))
            raise DataError(
                f"HDF5 dataset /{where} holds a value that is not finite in row {row}.",
                source=self.path,
                remedy=_AGAIN,
            )
        return values

    def damaged(self, where: str, error: Exception) -> DataError:
        return DataError(
            f"HDF5 dataset /{where} cannot be read ({_first_line(error)}).",
            source=self.path,
            remedy=_AGAIN,
        )


def _fleet(part: _Part, subset: str, every: int) -> Fleet:
    """The flights of one part."""
    settings = part.columns("W", tuple(_SETTINGS))
    sensors = part.columns("X_s", tuple(_SENSORS))
    labels = part.columns("A", ("unit", "cycle", "Fc"))
    rows = {name: part.dataset(name).shape[0] for name in ("A", "W", "X_s", "Y")}
    if len(set(rows.values())) > 1:
        text = ", ".join(f"/{n}_{part.part} {count}" for n, count in rows.items())
        raise DataError(f"numbers of rows differ: {text}.", source=part.path, remedy=_AGAIN)
    flights = FlightStatistics(len(settings) + len(sensors), every=every)
    for begin in range(0, rows["A"], BLOCK_ROWS):
        end = begin + BLOCK_ROWS
        who = part.block("A", begin, end)[:, labels]
        values = np.hstack(
            [part.block("W", begin, end)[:, settings], part.block("X_s", begin, end)[:, sensors]]
        )
        facts = np.column_stack([who[:, 2], part.block("Y", begin, end)[:, 0]])
        if (who[:, :2] != np.round(who[:, :2])).any():
            raise DataError(
                f"HDF5 dataset /A_{part.part} holds a unit or cycle that is no whole number.",
                source=part.path,
                remedy=_AGAIN,
            )
        clash = flights.add(who[:, :2].astype(np.int64), values, facts)
        if clash is not None:
            raise DataError(
                f"flight class (/A_{part.part}) or RUL (/Y_{part.part}) changes within unit "
                f"{clash[0]}, cycle {clash[1]}.",
                source=part.path,
                remedy=_PUBLISHED,
            )
    return _assemble(part, flights, subset)


def _assemble(part: _Part, flights: FlightStatistics, subset: str) -> Fleet:
    """Rows per flight as a fleet; the published RUL must fall by one per flight."""
    keys, mean, std, facts = flights.result()
    n = len(_SETTINGS)
    frame = pl.DataFrame(
        {
            "unit": keys[:, 0],
            "cycle": keys[:, 1],
            **{name: mean[:, i] for i, name in enumerate(_SETTINGS)},
            **{f"{name}_mean": mean[:, n + i] for i, name in enumerate(_SENSORS)},
            **{f"{name}_std": std[:, n + i] for i, name in enumerate(_SENSORS)},
            "flight_class": facts[:, 0],
            "rul": facts[:, 1],
        }
    )
    uneven = frame.filter((pl.col("cycle") + pl.col("rul")).n_unique().over("unit") > 1)["unit"]
    if len(uneven):
        raise DataError(
            f"HDF5 dataset /Y_{part.part} does not fall by one per flight in unit {uneven[0]}.",
            source=part.path,
            remedy=_PUBLISHED,
        )
    mixed = frame.filter(pl.col("flight_class").n_unique().over("unit") > 1)["unit"]
    if len(mixed):
        raise DataError(
            f"HDF5 dataset /A_{part.part}: the flight class Fc changes within unit {mixed[0]}.",
            source=part.path,
            remedy=_PUBLISHED,
        )
    units = frame.group_by("unit", maintain_order=True).agg(
        rul_at_end=pl.col("rul").last(),
        flight_class=pl.col("flight_class").cast(pl.Int64).cast(pl.String).last(),
    )
    texts = {name: f"{text}, mean of the flight" for name, text in _SETTINGS.items()}
    for suffix, what in (("mean", "mean"), ("std", "standard deviation")):
        texts |= {f"{s}_{suffix}": f"{t}, {what} of the flight" for s, t in _SENSORS.items()}
    schema = FleetSchema(
        unit="unit",
        time="cycle",
        settings=tuple(_SETTINGS),
        sensors=tuple(f"{s}_{suffix}" for suffix in ("mean", "std") for s in _SENSORS),
        static=("flight_class",),
        time_unit="flights",
        descriptions=texts,
    )
    name = f"N-CMAPSS {subset} {'train' if part.part == 'dev' else 'test'}"
    return Fleet.from_frame(
        frame.drop("flight_class", "rul"), schema, units=units, name=name, source=str(part.path)
    )
