"""Where a fleet came from, and what was noticed or changed while it was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["DataFile", "DataIssue", "DataWarning", "Source"]


class DataWarning(UserWarning):
    """Something about a table that was repaired or may spoil results; ``Fleet.issues`` has all."""


@dataclass(frozen=True)
class Source:
    """Origin of a fleet, as an artifact records it.

    Args:
        kind: ``"dataset"`` (named benchmark), ``"table"`` (files) or ``"frame"`` (in memory).
        name: name of the dataset, path of the file or folder, or name of the fleet.
        sha256: hash of the bytes of the files; None where there are none
            (:meth:`Fleet.content_hash` identifies the content in every case).

    Example:
        >>> from grace.data.readers import load_dataset
        >>> load_dataset("sim", n_train=2, n_test=1).train.source.kind
        'dataset'
    """

    kind: Literal["dataset", "table", "frame"]
    name: str
    sha256: str | None = None


@dataclass(frozen=True)
class DataFile:
    """A file that a dataset was read from.

    Args:
        name: of the file, without the folder.
        sha256: of its bytes.
        published: whether these are the bytes that the publisher of the dataset gives out; None
            where no hash of those is known.
    """

    name: str
    sha256: str
    published: bool | None = None


@dataclass(frozen=True)
class DataIssue:
    """Something about a fleet that is allowed but may surprise, with what is concerned.

    Args:
        kind: short identifier, e.g. ``"gap"``, ``"constant"``, ``"missing"``, ``"sentinel"``.
        severity: ``"warning"`` if results may suffer, else ``"note"``.
        message: one sentence with counts and the first place.
        remedy: what the user can do about it.
        units: units concerned.
        columns: columns concerned.
        count: number of cells, rows or units concerned; 0 where counting has no meaning.

    Example:
        >>> import polars as pl
        >>> from grace.data import read_table
        >>> table = pl.DataFrame({"pump": 7, "hour": [1, 2, 3, 90, 91, 92], "load": 5.0})
        >>> roles = {"unit": "pump", "time": "hour", "time_unit": "hours"}
        >>> fleet = read_table(table, **roles, fate="end_of_record")
        >>> [(issue.kind, issue.severity) for issue in fleet.issues]
        [('gap', 'warning'), ('constant', 'note'), ('short', 'note')]
    """

    kind: str
    severity: Literal["note", "warning"]
    message: str
    remedy: str
    units: tuple[Any, ...] = ()
    columns: tuple[str, ...] = ()
    count: int = 0
