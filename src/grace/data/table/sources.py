"""Where a table comes from: files, folders, patterns and data frames, as one polars frame."""

from __future__ import annotations

import glob
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grace.data.bounded import read_file
from grace.data.errors import DataError
from grace.data.issues import Source
from grace.data.memory import available_memory, format_bytes
from grace.data.table.issue_log import IssueLog, listed
from grace.data.table.text_files import parse_text, unique_names

__all__ = ["RawTable", "find_files", "hive_keys", "is_frame", "load_raw_table", "to_polars"]

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".dat")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".pq", ".arrow", ".feather", ".ipc")
FILE_COLUMN, LINE_COLUMN = "\0file", "\0line"


@dataclass(frozen=True, eq=False)
class RawTable:
    """Rows as they were found. ``frame`` has two extra columns: the number of the file and the
    row in it (counted from 1, without the header). ``comma_likely``: a semicolon separates fields.
    """

    frame: pl.DataFrame
    files: tuple[str, ...]
    source: Source
    comma_likely: bool

    @property
    def columns(self) -> list[str]:
        """Names of the user's columns."""
        return [c for c in self.frame.columns if not c.startswith("\0")]

    def place(self, row: int) -> str:
        """File and row of a row of ``frame``, for messages."""
        at = f"row {self.frame[row, LINE_COLUMN]}"
        several = len(self.files) > 1
        return f"{self.files[self.frame[row, FILE_COLUMN]]}, {at}" if several else at


def is_frame(source: Any) -> bool:
    """Whether the object is a table in memory."""
    if isinstance(source, (str, bytes, Path)) or source is None:
        return False
    known = isinstance(source, (pl.DataFrame, pl.LazyFrame, Mapping))
    return known or hasattr(source, "__arrow_c_stream__") or hasattr(source, "iloc")


def load_raw_table(
    source: Any, log: IssueLog, *, encoding: str | None = None, separator: str | None = None
) -> RawTable:
    """Read files or frames without interpreting any cell.

    Args:
        source: data frame (polars, pandas, pyarrow, mapping of columns), path of a file or folder,
            pattern with ``*`` or ``?``, or a list of paths.
        log: receives what was noticed.
        encoding: of text files.
        separator: of text files.

    Raises:
        DataError: nothing there, not readable, no rows, or no known format.
    """
    if is_frame(source):
        frame = to_polars(source, log)
        if frame.is_empty():
            raise log.error("there are no rows.", "check the query or filter before it.")
        name = str(log.source)
        return RawTable(_mark(frame, 0), (name,), Source("frame", name), comma_likely=False)
    files = find_files(source, log)
    digest = hashlib.sha256()
    parts: list[pl.DataFrame] = []
    commas = False
    for i, file in enumerate(files):
        try:
            raw = read_file(file)
        except OSError as error:
            raise DataError(
                f"the file cannot be read: {error.strerror}.", source=file, remedy="check the path."
            ) from None
        digest.update(hashlib.sha256(raw).digest() if len(files) > 1 else raw)
        part, mark = _parse(raw, file, log, encoding, separator)
        commas |= mark == ";"
        keys = {k: v for k, v in hive_keys(file, source).items() if k not in part.columns}
        part = part.with_columns(pl.lit(v).alias(k) for k, v in keys.items())
        parts.append(_mark(part, i))
    frame = _stack(parts, files, log)
    origin = Source("table", str(log.source), digest.hexdigest())
    return RawTable(frame, tuple(f.name for f in files), origin, commas)


def to_polars(source: Any, log: IssueLog) -> pl.DataFrame:
    """A polars copy of a data frame of another library, with names as text."""
    frame: pl.DataFrame
    if isinstance(source, pl.LazyFrame):
        frame = source.collect()
    elif isinstance(source, pl.DataFrame):
        frame = source
    elif hasattr(source, "iloc"):
        frame = _from_pandas(source, log)
    else:
        try:
            frame = (
                pl.DataFrame(dict(source), strict=False)
                if isinstance(source, Mapping)
                else _from_arrow(source, log)
            )
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise log.error(
                f"the data frame cannot be read: {error}.",
                "give columns of equal length that hold numbers, text or timestamps.",
            ) from None
    if any(c.startswith("\0") for c in frame.columns):
        raise log.error("a column name starts with NUL.", "rename the column.")
    return frame


def _from_arrow(source: Any, log: IssueLog) -> pl.DataFrame:
    names = getattr(source, "column_names", None)
    if names is not None and len(set(names)) < len(names):
        marked = source.rename_columns([str(i) for i in range(len(names))])
        return _renamed(pl.DataFrame(marked), [str(n) for n in names], log)
    return pl.DataFrame(source)


def _from_pandas(source: Any, log: IssueLog) -> pl.DataFrame:
    """Column by column, so that neither pyarrow nor unique names are needed."""
    if any(name is not None for name in source.index.names):
        source = source.reset_index()
    columns = []
    for i in range(source.shape[1]):
        series = source.iloc[:, i]
        kind = getattr(series.dtype, "kind", "O")
        name = str(i)
        if kind in "iufb" and not hasattr(series.dtype, "na_value"):
            columns.append(pl.Series(name, series.to_numpy()))
        elif kind == "M":
            if getattr(series.dtype, "tz", None) is not None:
                series = series.dt.tz_convert("UTC").dt.tz_localize(None)
                stamps = pl.Series(name, series.to_numpy()).dt.replace_time_zone("UTC")
            else:
                stamps = pl.Series(name, series.to_numpy())
            columns.append(stamps)
        else:
            missing = series.isna().to_numpy()
            cells = [None if gone else v for v, gone in zip(series, missing, strict=True)]
            try:
                columns.append(pl.Series(name, cells, strict=True))
            except (TypeError, pl.exceptions.PolarsError, OverflowError):
                columns.append(pl.Series(name, [None if c is None else str(c) for c in cells]))
    header = ["_".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in source.columns]
    return _renamed(pl.DataFrame(columns), header, log)


def _renamed(frame: pl.DataFrame, header: list[str], log: IssueLog) -> pl.DataFrame:
    frame.columns = unique_names(header, frame, log.source, log)
    return frame.drop([c for c in frame.columns if c.startswith("\0")])


def hive_keys(file: Path, source: Any) -> dict[str, str]:
    """Columns that the folders between a source and its file name, ``plant=north/unit=7``.

    Example:
        >>> hive_keys(Path("fleet/unit=7/rows.parquet"), "fleet")
        {'unit': '7'}
    """
    if not isinstance(source, (str, Path)):
        return {}
    try:
        between = file.relative_to(Path(source).expanduser()).parts[:-1]
    except ValueError:
        return {}
    return dict(part.split("=", 1) for part in between if "=" in part)


def find_files(source: Any, log: IssueLog) -> list[Path]:
    """Files of a path, folder (also one partitioned into folders), pattern or list of these.

    Raises:
        DataError: there is none.
    """
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        items = list(source)
        if not items or not all(isinstance(s, (str, Path)) for s in items):
            raise log.error(
                "the list of files is empty or holds something else than paths.",
                "give a list of paths.",
            )
        return [file for item in items for file in find_files(item, log)]
    if not isinstance(source, (str, Path)):
        raise log.error(
            f"the table is a {type(source).__name__}.",
            "give a path, a list of paths, or a polars, pandas or Arrow data frame.",
        )
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(
            f
            for f in path.iterdir()
            if f.is_file() and f.name.removesuffix(".gz").lower().endswith(SUFFIXES)
        )
        if not found:  # partitioned into folders
            found = sorted(f for f in path.rglob("*.parquet") if f.is_file())
        found = [f for f in found if not f.name.startswith(".") and f.stem.lower() != "readme"]
        if not found:
            raise DataError(
                "the folder holds no table.",
                source=path,
                remedy=f"put files ending in {', '.join(SUFFIXES)} there, or give a pattern.",
            )
        return found
    if path.exists():
        return [path]
    if any(mark in str(path) for mark in "*?["):
        matches = sorted(Path(m) for m in glob.glob(str(path), recursive=True))
        if files := [m for m in matches if m.is_file()]:
            return files
        raise DataError("no file matches.", source=path, remedy="check the pattern.")
    raise DataError("there is no such file or folder.", source=path, remedy="check the path.")


def _parse(
    raw: bytes, file: Path, log: IssueLog, encoding: str | None, separator: str | None
) -> tuple[pl.DataFrame, str]:
    """One file as a frame, and its separator ("" for binary formats)."""
    if not raw.strip():
        raise DataError("the file is empty.", source=file, remedy="check the export.")
    if raw.startswith(b"PK\x03\x04") or raw.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(
            "the file is a spreadsheet or archive.", source=file, remedy="save the sheet as CSV."
        )
    parquet, arrow = raw.startswith(b"PAR1"), raw.startswith(b"ARROW1")
    suffix = file.suffix.lower()
    if not (parquet or arrow or suffix in (".parquet", ".pq", ".arrow", ".feather", ".ipc")):
        return parse_text(raw, file, log, encoding=encoding, separator=separator)
    is_parquet = parquet or suffix in (".parquet", ".pq")
    try:
        if is_parquet or arrow:  # a stream does not say how many rows it has
            _check_rows_fit(raw, file, is_parquet)
        if is_parquet:
            frame = pl.read_parquet(io.BytesIO(raw))
        elif arrow:
            frame = pl.read_ipc(io.BytesIO(raw))
        else:
            frame = pl.read_ipc_stream(io.BytesIO(raw))
    except DataError:
        raise
    except Exception as error:  # damaged binary files raise anything, panics of Rust included
        raise DataError(
            f"the file is damaged or of another format ({type(error).__name__}).",
            source=file,
            remedy="export it again.",
        ) from None
    if frame.is_empty():
        raise DataError("there are no rows.", source=file, remedy="check the export.")
    return frame, ""


def _check_rows_fit(raw: bytes, file: Path, is_parquet: bool) -> None:
    """Refuse a binary file whose own count of rows says that it cannot fit in memory."""
    scan = pl.scan_parquet(io.BytesIO(raw)) if is_parquet else pl.scan_ipc(io.BytesIO(raw))
    needed = 8.0 * scan.select(pl.len()).collect().item() * len(scan.collect_schema())
    free = available_memory()
    if needed > free:
        raise DataError(
            f"the table needs about {format_bytes(needed)} of memory, but {format_bytes(free)} "
            "are free.",
            source=file,
            remedy="check the file, split it by unit, or keep fewer columns.",
        )


def _mark(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    return frame.with_columns(
        pl.lit(number, dtype=pl.UInt32).alias(FILE_COLUMN),
        pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias(LINE_COLUMN),
    )


def _stack(parts: list[pl.DataFrame], files: list[Path], log: IssueLog) -> pl.DataFrame:
    """One frame of all files; columns missing in a file are null there."""
    if len(parts) == 1:
        return parts[0]
    names = list(dict.fromkeys(c for p in parts for c in p.columns))
    lacking = [f.name for f, p in zip(files, parts, strict=True) if len(p.columns) < len(names)]
    if lacking:
        absent = [c for c in names if any(c not in p.columns for p in parts)]
        message = f"columns missing in {len(lacking)} of {len(files)} files: {listed(absent)}; "
        message += f"first: {lacking[0]}."
        remedy = "the cells are missing values; check the names of the columns."
        log.note("missing_column", message, remedy, columns=absent, count=len(lacking))
    mixed = [
        c for c in names if len({p.schema[c] for p in parts if c in p.columns} - {pl.Null()}) > 1
    ]
    if mixed:  # numbers in one file, text in another: one type for both
        numeric = {c: all(p.schema[c].is_numeric() for p in parts if c in p.columns) for c in mixed}
        parts = [
            p.with_columns(
                pl.col(c).cast(pl.Float64 if numeric[c] else pl.String, strict=False)
                for c in mixed
                if c in p.columns
            )
            for p in parts
        ]
    return pl.concat(parts, how="diagonal_relaxed")
