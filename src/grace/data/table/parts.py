"""Tables larger than memory, some rows at a time and then whole units at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grace.data.errors import DataError
from grace.data.table.issue_log import IssueLog
from grace.data.table.sources import find_files, hive_keys
from grace.data.table.table_schema import TableSchema
from grace.data.table.text_parts import TextFile

__all__ = ["PART", "TableFiles", "UnitParts"]

PART = "\0part"
_BINARY = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class TableFiles:
    """The files of a table, read some rows at a time.

    ``columns`` are those of all files; a column that a file lacks is null there. Without the unit
    column and with several files, the name of each file is its unit.
    """

    source: Any
    files: tuple[Path, ...]
    texts: tuple[TextFile | None, ...]
    columns: tuple[str, ...]
    unit: str | None = None

    @classmethod
    def open(cls, source: Any, schema: TableSchema, *, root: Path | None = None) -> TableFiles:
        """Find the files and read their headers.

        Args:
            source: path, folder, pattern or list of paths.
            schema: for the unit column, encoding and separator.
            root: folder of the whole table, of which ``source`` is one file.

        Raises:
            DataError: there is no file, or one cannot be read.
        """
        log = IssueLog(source if isinstance(source, (str, Path)) else "table")
        files = tuple(find_files(source, log))
        texts: list[TextFile | None] = []
        names = dict[str, None]()
        for file in files:
            if file.suffix.lower() in _BINARY:
                texts.append(None)
                names |= dict.fromkeys(_schema(file))
            else:
                text = TextFile.open(file, encoding=schema.encoding, separator=schema.separator)
                texts.append(text)
                names |= dict.fromkeys(text.names)
            names |= dict.fromkeys(hive_keys(file, root or source))
        is_several = len(files) > 1 or root is not None
        unit = schema.unit if schema.unit not in names and is_several else None
        if unit:
            names[unit] = None
        return cls(root or source, files, tuple(texts), tuple(names), unit)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def comma_likely(self) -> bool:
        """Whether fields are separated by semicolons in a file."""
        return any(text is not None and text.separator == ";" for text in self.texts)

    def chunks(self, rows: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """About ``rows`` rows at a time, in the order of the files, with these columns only."""
        for file, text in zip(self.files, self.texts, strict=True):
            keys = hive_keys(file, self.source)
            for frame in _binary(file, rows, columns) if text is None else text.blocks(rows):
                add: dict[str, str | None] = {
                    name: value for name, value in keys.items() if name not in frame.columns
                }
                if self.unit is not None:
                    add[self.unit] = file.stem
                add |= {c: None for c in columns if c not in frame.columns and c not in add}
                yield frame.with_columns(pl.lit(v).alias(k) for k, v in add.items()).select(columns)


def _scan(file: Path) -> pl.LazyFrame:
    kind = file.suffix.lower()
    return pl.scan_parquet(file, glob=False) if kind in _PARQUET else pl.scan_ipc(file)


def _schema(file: Path) -> list[str]:
    try:
        return _scan(file).collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(file, error) from None


def _binary(file: Path, rows: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    try:
        scan = _scan(file)
        kept = [c for c in scan.collect_schema().names() if c in columns]
        count = scan.select(pl.len()).collect().item()
        if kept and hasattr(scan, "collect_batches"):  # polars 1.34; a slice decodes a row group
            yield from scan.select(kept).collect_batches(chunk_size=rows, maintain_order=True)
            return
        for start in range(0, count, rows):
            if kept:
                yield scan.select(kept).slice(start, rows).collect()
            else:
                yield pl.DataFrame({"\0": [None] * min(rows, count - start)})
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"the file is damaged or of another format ({type(error).__name__}).",
        source=file,
        remedy="export it again.",
    )


class UnitParts:
    """Groups the rows of a table into parts of whole units.

    Parts follow the order in which units first appear, and rows keep their order. A part is given
    out as soon as its last row was seen, so that a table sorted by unit is never held; of one
    that is not, the rows of later parts wait in files once more than ``hold`` of them wait.

    Args:
        counts: rows of each unit, in order of first appearance.
        rows: rows of a part; a longer unit is a part of its own.
        unit: the unit column.
        unit_type: type of its identifiers.
        hold: most rows that wait in memory.
        folder: for the files.
    """

    def __init__(
        self,
        counts: dict[Any, int],
        *,
        rows: int,
        unit: str,
        unit_type: pl.DataType,
        hold: int,
        folder: Path,
    ) -> None:
        self.unit, self.hold, self.folder = unit, hold, folder
        self.sizes: list[int] = []
        number, held = [], 0
        for count in counts.values():
            if not self.sizes or held + count > rows:
                self.sizes.append(0)
                held = 0
            held += count
            self.sizes[-1] += count
            number.append(len(self.sizes) - 1)
        self.plan = pl.DataFrame(
            {unit: list(counts), PART: number}, schema_overrides={unit: unit_type, PART: pl.UInt32}
        )
        self.spilled = 0
        self._files: dict[int, list[Path]] = {}
        self._waiting: dict[int, list[pl.DataFrame]] = {}

    def __call__(self, chunks: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Parts from chunks of the table; rows of units that are not planned are left out."""
        seen, following, held = [0] * len(self.sizes), 0, 0
        for chunk in chunks:
            marked = chunk.join(self.plan, on=self.unit, how="inner", maintain_order="left")
            for (part,), rows in marked.partition_by(
                PART, as_dict=True, maintain_order=True, include_key=False
            ).items():
                self._waiting.setdefault(int(part), []).append(rows)
                seen[int(part)] += rows.height
                held += rows.height
            while following < len(self.sizes) and seen[following] == self.sizes[following]:
                held -= sum(f.height for f in self._waiting.get(following, []))
                yield self._take(following)
                following += 1
            if held > self.hold:
                self._spill()
                held = 0

    def _take(self, part: int) -> pl.DataFrame:
        files = self._files.pop(part, [])
        frames = []
        for path in files:
            with path.open("rb") as file:
                frames.append(pl.read_ipc(file))
            path.unlink()
        return pl.concat([*frames, *self._waiting.pop(part, [])], how="vertical_relaxed")

    def _spill(self) -> None:
        for part, frames in self._waiting.items():
            files = self._files.setdefault(part, [])
            files.append(self.folder / f"{part:06d}-{len(files):06d}.arrow")
            pl.concat(frames, how="vertical_relaxed").write_ipc(files[-1])
            self.spilled += 1
        self._waiting.clear()
