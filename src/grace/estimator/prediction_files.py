"""Files of predictions, written part by part, which appear only when they are complete."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from grace.files import atomic_writer

__all__ = ["SUFFIXES", "prediction_writer"]

SUFFIXES = (".csv", ".json", ".parquet")
"""Formats of predictions."""
Write = Callable[[pl.DataFrame], None]


@contextmanager
def prediction_writer(path: Path) -> Iterator[Write]:
    """A function that adds predictions to a file, which takes its place when the block ends.

    CSV: lists of channels become one cell, separated by semicolons. JSON: a list of objects, null
    for NaN. Parquet: parts wait in a hidden folder next to the file.

    Raises:
        ValueError: the suffix is unknown.
        OSError: the file cannot be written; one of that name is unchanged.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        with _parquet(path) as write:
            yield write
    elif kind in SUFFIXES:
        with atomic_writer(path) as file:
            writer = _Csv(file) if kind == ".csv" else _Json(file)
            yield writer.add
            writer.end()
    else:
        raise ValueError(
            f"{path}: unknown file type. Use a name that ends in {', '.join(SUFFIXES)}."
        )


class _Csv:
    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.first = file, True

    def add(self, frame: pl.DataFrame) -> None:
        flat = frame.with_columns(
            pl.col(name).list.join("; ")
            for name, kind in frame.schema.items()
            if isinstance(kind, pl.List)
        )
        self.file.write(flat.write_csv(include_header=self.first).encode())
        self.first = False

    def end(self) -> None: ...


class _Json:
    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.first = file, True

    def add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty():
            return
        rows = frame.fill_nan(None).to_dicts()
        text = json.dumps(rows, indent=1, allow_nan=False, default=str)
        self.file.write(("[\n" if self.first else ",\n").encode() + text[2:-2].encode())
        self.first = False

    def end(self) -> None:
        self.file.write(b"[]\n" if self.first else b"\n]\n")


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.parts-") as folder:
        parts: list[Path] = []

        def add(frame: pl.DataFrame) -> None:
            parts.append(Path(folder) / f"{len(parts):06d}.parquet")
            frame.write_parquet(parts[-1])

        yield add
        whole = parts[0] if parts else Path(folder) / "whole.parquet"
        if len(parts) > 1:
            whole = Path(folder) / "whole.parquet"
            pl.scan_parquet(parts, glob=False).sink_parquet(whole)
        with atomic_writer(path) as file, whole.open("rb") as joined:
            shutil.copyfileobj(joined, file)
