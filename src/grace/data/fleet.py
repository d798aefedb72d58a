"""The common form of all data: units observed over time, and whether they failed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError
from grace.data.issues import DataFile, DataIssue, Source
from grace.data.schema import RESERVED_UNIT_COLUMNS, FleetSchema
from grace.data.unit_validation import check_static, check_units
from grace.data.validation import check_frame

__all__ = ["DataIssue", "Dataset", "Fleet", "FleetSchema", "Source"]

UnitId = int | str


@dataclass(frozen=True, eq=False)
class Fleet:
    """Machines over time: rows of settings and sensors, and the fate of each unit.

    ``frame`` has one row per unit and time step, sorted by unit (in order of first appearance in
    ``units``) and time, with the columns named by ``schema``; channels are float64, missing values
    NaN, never infinite. ``units`` has one row per unit in the same order with the columns ``unit``,
    ``failed`` (bool: the last row is the failure), ``rul_at_end`` (float, in ``schema.time_unit``:
    life left after the last row; 0 for failed units, above 0 where the life left is known, null for
    censored units) and the static attributes of ``schema`` (Float64 or String, null if missing).
    Further columns (true onset or fault mode of a simulation, say) are carried along untouched.
    ``source`` is where the fleet came from, ``issues`` what was noticed or changed on the way.

    Example:
        >>> import polars as pl
        >>> from grace.data import Fleet, FleetSchema
        >>> rows = pl.DataFrame({"unit": [1, 1, 1, 2, 2], "cycle": [1, 2, 3, 1, 2],
        ...                      "load": [1.0] * 5, "temp": [20.0, 21.0, 25.0, 19.0, 19.5]})
        >>> fleet = Fleet.from_frame(rows, FleetSchema(settings=("load",), sensors=("temp",)),
        ...                          rul_at_end={1: 0.0, 2: None})
        >>> fleet.n_units, fleet.n_rows
        (2, 5)
        >>> fleet.rul()
        array([ 2.,  1.,  0., nan, nan])
    """

    frame: pl.DataFrame
    units: pl.DataFrame
    schema: FleetSchema
    name: str = "fleet"
    source: Source = field(default_factory=partial(Source, "frame", "fleet"))
    issues: tuple[DataIssue, ...] = ()

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        schema: FleetSchema,
        *,
        rul_at_end: Mapping[Any, float | None] | None = None,
        units: pl.DataFrame | None = None,
        name: str = "fleet",
        source: object = None,
        issues: Iterable[DataIssue] = (),
    ) -> Fleet:
        """Check a raw frame and make a fleet of it.

        Args:
            frame: rows in any order, with at least the columns of ``schema``; others are dropped.
            schema: the meaning of the columns.
            rul_at_end: life left after the last row, per unit; missing or None means censored.
                Neither this nor ``units`` given: every unit ran to failure.
            units: instead of ``rul_at_end``, a full table with ``unit`` and ``rul_at_end`` (and
                any extra columns).
            name: what the fleet is called in messages and reports.
            source: a :class:`Source`, or the file or folder it came from (used in messages);
                ``name`` if not given.
            issues: what was noticed or changed while reading.

        Raises:
            DataError: a column is missing or not numeric, a value is infinite, a time is repeated
                or not finite, a unit of ``units`` has no rows, a life left is negative, or a static
                attribute changes within a unit. The message names column, unit, time and remedy.
        """
        origin = source if isinstance(source, Source) else Source("frame", name)
        where = origin.name if isinstance(source, Source) else source if source else name
        clean = check_frame(frame, schema, source=where)
        order = clean.get_column(schema.unit).unique(maintain_order=True).alias("unit")
        if units is not None and rul_at_end is not None:
            raise DataError(
                "both rul_at_end and units are given.",
                source=where,
                remedy="give the fates of the units once.",
            )
        if units is None:
            left = {u: 0.0 for u in order} if rul_at_end is None else rul_at_end
            units = _fates(order, left, where)
            check_units(units, order, named=list(left), source=where)
        else:
            check_units(units, order, source=where)
        units = check_static(units, frame, schema, source=where)
        carried = [c for c in units.columns if c not in (*RESERVED_UNIT_COLUMNS, *schema.static)]
        # By position, not by join: the table may hold the same ids in another integer width.
        row_of = {u: i for i, u in enumerate(units.get_column("unit").to_list())}
        units = (
            units[[row_of[u] for u in order]]
            .with_columns(order, pl.col("rul_at_end").cast(pl.Float64))
            .with_columns(failed=pl.col("rul_at_end").fill_null(1.0) == 0.0)
            .select("unit", "failed", "rul_at_end", *schema.static, *carried)
        )
        return cls(clean, units, schema, name, origin, tuple(issues))

    @property
    def n_units(self) -> int:
        """Number of machines."""
        return self.units.height

    @property
    def n_known(self) -> int:
        """Number of machines whose remaining life is known."""
        return self.units.height - self.units["rul_at_end"].null_count()

    @property
    def n_rows(self) -> int:
        """Number of rows over all machines."""
        return self.frame.height

    @property
    def unit_ids(self) -> list[Any]:
        """Identifiers of the machines, in order."""
        return self.units.get_column("unit").to_list()

    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of rows per unit, shape (n_units,)."""
        runs = self.frame.get_column(self.schema.unit).rle()
        return runs.struct.field("len").to_numpy().astype(np.int64)

    def starts(self) -> npt.NDArray[np.int64]:
        """First row of each unit, shape (n_units,)."""
        lengths = self.lengths()
        return (np.cumsum(lengths) - lengths).astype(np.int64)

    def values(self, columns: Sequence[str]) -> npt.NDArray[np.float64]:
        """The named columns as one array, shape (n_rows, len(columns))."""
        if not columns:
            return np.empty((self.n_rows, 0))
        return self.frame.select(columns).to_numpy().astype(np.float64, copy=False)

    def times(self) -> npt.NDArray[np.float64]:
        """The time column, shape (n_rows,)."""
        return self.frame.get_column(self.schema.time).to_numpy().astype(np.float64)

    def rul(self) -> npt.NDArray[np.float64]:
        """Uncapped RUL of every row in ``schema.time_unit``, shape (n_rows,); NaN if unknown."""
        times, lengths = self.times(), self.lengths()
        last = times[self.starts() + lengths - 1]
        left = self.units.get_column("rul_at_end").fill_null(float("nan")).to_numpy()
        return np.repeat(last + left, lengths) - times

    def sampling_step(self) -> float:
        """Median time between neighbouring rows of a unit; 0 if every unit has one row."""
        times, starts = self.times(), self.starts()
        step = np.diff(times)
        inside = np.ones(step.size, dtype=bool)
        inside[starts[1:] - 1] = False
        return float(np.median(step[inside])) if inside.any() else 0.0

    def life(self) -> npt.NDArray[np.float64]:
        """Observed life span of each unit: last time minus first plus :meth:`sampling_step`.

        Shape (n_units,), in ``schema.time_unit``; scales with the unit of time.
        """
        times, lengths, starts = self.times(), self.lengths(), self.starts()
        span: npt.NDArray[np.float64] = times[starts + lengths - 1] - times[starts]
        return span + self.sampling_step()

    def select(self, units: Iterable[Any], name: str | None = None) -> Fleet:
        """The fleet of these units only, in the order they have here.

        Raises:
            KeyError: a unit is not in the fleet.
        """
        wanted = list(units)
        unknown = set(wanted) - set(self.unit_ids)
        if unknown:
            raise KeyError(f"{self.name} has no unit {sorted(unknown, key=str)}")
        return replace(
            self,
            frame=self.frame.filter(pl.col(self.schema.unit).is_in(wanted)),
            units=self.units.filter(pl.col("unit").is_in(wanted)),
            name=name or self.name,
        )

    def truncate(self, last_time: Mapping[Any, float], name: str | None = None) -> Fleet:
        """Cut units after the given time; what is cut off is added to their ``rul_at_end``.

        Args:
            last_time: per unit, the last time kept; units not named stay whole.
            name: name of the result.

        Raises:
            DataError: nothing of a unit would be left.
        """
        times, starts, lengths = self.times(), self.starts(), self.lengths()
        cuts = np.array([last_time.get(u, np.inf) for u in self.unit_ids], dtype=np.float64)
        keep = times <= np.repeat(cuts, lengths)
        left = np.add.reduceat(keep, starts, dtype=np.int64) if self.n_units else lengths
        if not left.all():
            gone = self.unit_ids[int(np.argmin(left))]
            raise DataError(
                f"truncation leaves no row of unit {gone}.",
                source=self.name,
                remedy="choose a cut at or after the unit's first row.",
            )
        # Times increase within a unit, so what is kept is its first ``left`` rows.
        off = times[starts + lengths - 1] - times[starts + left - 1]
        units = self.units.with_columns(
            rul_at_end=pl.col("rul_at_end") + pl.Series(off, dtype=pl.Float64)
        ).with_columns(failed=pl.col("rul_at_end").fill_null(1.0) == 0.0)
        kept = self.frame.filter(pl.Series(keep))
        return replace(self, frame=kept, units=units, name=name or self.name)

    def content_hash(self) -> str:
        """SHA-256 over schema, rows, fates and static attributes, the same on every machine."""
        # Without static attributes the hash is that of a schema that does not know them.
        leave_out = None if self.schema.static else {"static"}
        schema = json.dumps(self.schema.model_dump(mode="json", exclude=leave_out), sort_keys=True)
        digest = hashlib.sha256(schema.encode())
        digest.update("\0".join(map(str, self.unit_ids)).encode())
        digest.update(self.lengths().tobytes())
        digest.update(np.ascontiguousarray(self.times()).tobytes())
        digest.update(np.ascontiguousarray(self.values(self.schema.channels)).tobytes())
        digest.update(self.units["rul_at_end"].fill_null(float("nan")).to_numpy().tobytes())
        for name in self.schema.static:
            digest.update(json.dumps([name, self.units[name].to_list()]).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        failed = int(self.units.get_column("failed").sum())
        return (
            f"Fleet({self.name!r}: {self.n_units} units, {failed} failed, {self.n_rows} rows, "
            f"{len(self.schema.settings)} settings, {len(self.schema.sensors)} sensors, "
            f"time in {self.schema.time_unit})"
        )


def _fates(order: pl.Series, left: Mapping[Any, Any], source: object) -> pl.DataFrame:
    """Life left per unit as a table ``unit``, ``rul_at_end``, null where not known."""
    values: list[float | None] = []
    for unit in order:
        value = left.get(unit)
        try:
            values.append(None if value is None else float(value))
        except (TypeError, ValueError):
            problem = f"rul_at_end of unit {unit} is not a number: {value!r}."
            remedy = "give the life left as a number, or None where it is not known."
            raise DataError(problem, source=source, remedy=remedy) from None
    return pl.DataFrame({"unit": order, "rul_at_end": pl.Series(values, dtype=pl.Float64)})


@dataclass(frozen=True)
class Dataset:
    """A benchmark: units to learn from, units to be evaluated on, and how it is usually used.

    ``train`` holds run-to-failure units, ``test`` truncated ones with known ``rul_at_end``.
    ``default_sensors`` and ``n_conditions`` are the field's usual choice of inputs and number of
    operating conditions; ``citation`` is what its publisher asks for; ``synthetic`` tells reports
    that no machine was measured. ``files`` are the files it was read from, with their hashes;
    :attr:`edited` are those that differ from the published ones.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> data = load_dataset("sim", n_train=4, n_test=2)
        >>> data.train.n_units, data.test.n_units, data.synthetic
        (4, 2, True)
        >>> len(data.default_sensors), data.n_conditions
        (14, 3)
    """

    name: str
    train: Fleet
    test: Fleet
    default_sensors: tuple[str, ...]
    n_conditions: int
    description: str
    citation: str = ""
    synthetic: bool = False
    files: tuple[DataFile, ...] = ()

    @property
    def edited(self) -> tuple[DataFile, ...]:
        """Files that are not the published ones: results are not comparable with published ones."""
        return tuple(file for file in self.files if file.published is False)
