"""Delimited text of any size, some lines at a time."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from grace.data.bounded import compression_of
from grace.data.errors import DataError
from grace.data.memory import format_bytes
from grace.data.table.issue_log import IssueLog, listed
from grace.data.table.text_files import BOMS, SAMPLE_LINES, find_separator, read_cells

__all__ = ["TextFile"]

_HEAD = 1 << 18
_MOST = 64 << 20  # characters between two line ends outside quotation marks


@dataclass(frozen=True)
class TextFile:
    """A text file whose encoding, separator and header are known.

    ``line_bytes`` is the mean length of its first lines. ``old_line_ends``: lines end with a
    carriage return only.
    """

    path: Path
    encoding: str
    separator: str
    names: tuple[str, ...]
    line_bytes: float
    old_line_ends: bool

    @classmethod
    def open(cls, path: Path, *, encoding: str | None, separator: str | None) -> TextFile:
        """Recognise encoding, separator and header as for a file that fits in memory.

        Raises:
            DataError: the file is empty, no text, has no rows, or two columns of one name.
        """
        chosen, has_feed = _recognise(path, encoding)
        made = cls(path, chosen, separator or ",", (), 1.0, not has_feed)
        head = next(made._texts(_HEAD), "")
        lines = [line for line in head.splitlines() if line.strip()]
        if not lines:
            raise DataError("the file is empty.", source=path, remedy="check the export.")
        separator = separator or find_separator(lines[:SAMPLE_LINES])
        cells = read_cells(_spaced(head, separator), separator, path, IssueLog(path))
        if cells.height < 2:
            raise DataError(
                "the file has a header but no rows.", source=path, remedy="check the export."
            )
        header = ["" if n is None else str(n).strip().strip("\ufeff") for n in cells.row(0)]
        names = tuple(n or f"column_{i + 1}" for i, n in enumerate(header))
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise DataError(
                f"the header names {listed(twice)} more than once.",
                source=path,
                remedy="name the columns uniquely.",
            )
        size = len(head.encode("utf-8", errors="replace"))
        return cls(path, chosen, separator, names, size / len(lines), not has_feed)

    def blocks(self, rows: int) -> Iterator[pl.DataFrame]:
        """About ``rows`` rows at a time, every cell as text.

        Raises:
            DataError: quotation marks are not closed.
        """
        header: str | None = None
        for text in self._texts(max(1 << 12, int(rows * self.line_bytes))):
            text = _spaced(text, self.separator)
            if header is None:
                text = text.lstrip("\n\r")
                header, _, text = text.partition("\n")
            # The header says how many fields a line has.
            cells = read_cells(f"{header}\n{text}", self.separator, self.path, IssueLog(self.path))
            cells = cells[1:].filter(~pl.all_horizontal(pl.all().is_null() | (pl.all() == "")))
            cells.columns = list(self.names)
            if cells.height:
                yield cells

    def _texts(self, size: int) -> Iterator[str]:
        """Decoded text cut at line ends that are not inside quotation marks."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        rest, first = "", True
        with _opened(self.path) as file:
            while True:
                raw = _read(file, size, self.path)
                text = decoder.decode(raw, final=not raw).replace("\0", "")
                if first and text:
                    text, first = text.removeprefix("\ufeff"), False
                rest += text.replace("\r", "\n") if self.old_line_ends else text
                if not raw:
                    break
                cut = _last_line_end(rest)
                if cut:
                    yield rest[:cut]
                    rest = rest[cut:]
                elif len(rest) > _MOST:
                    raise DataError(
                        f"quotation marks are not closed within {format_bytes(_MOST)}.",
                        source=self.path,
                        remedy="check the export for quotation marks, or save it as Parquet.",
                    )
        if rest.strip():
            yield rest


def _last_line_end(text: str) -> int:
    """Where the last line ends that an even number of quotation marks precedes; 0 if none does."""
    marks = text.count('"')
    place = len(text)
    while (end := text.rfind("\n", 0, place)) >= 0:
        marks -= text.count('"', end, place)
        if marks % 2 == 0:
            return end + 1
        place = end
    return 0


def _spaced(text: str, separator: str) -> str:
    if separator != " ":
        return text
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    with path.open("rb") as file:
        packed = compression_of(file.read(8))
    if packed is None:
        return path.open("rb")
    if packed != "gzip":
        raise DataError(f"the file is {packed}-compressed.", source=path, remedy="unpack it.")
    return gzip.open(path, "rb")


def _read(file: IO[bytes] | gzip.GzipFile, size: int, path: Path) -> bytes:
    try:
        return file.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(
            "the gzip file is damaged or cut off.", source=path, remedy="copy it again."
        ) from None


def _recognise(path: Path, encoding: str | None) -> tuple[str, bool]:
    """Encoding of the whole file, and whether it has a line feed."""
    with _opened(path) as file:
        head = _read(file, 4000, path)
    chosen = encoding or next((name for bom, name in BOMS if head.startswith(bom)), None)
    if chosen is None and head.count(0) > len(head) // 4:
        chosen = "utf-16-le" if head[1::2].count(0) >= head[0::2].count(0) else "utf-16-be"
    for name in (chosen,) if chosen else ("utf-8", "cp1252", "latin-1"):
        try:
            has_feed, start = _try_encoding(path, name)
        except LookupError:
            raise DataError(
                f"there is no encoding {name!r}.",
                source=path,
                remedy="name one such as utf-8, utf-16 or latin-1.",
            ) from None
        except UnicodeError:
            continue
        control = sum(start.count(c) for c in map(chr, (*range(9), *range(14, 32))))
        if control > len(start) // 20:
            raise DataError(
                "the file is not text.",
                source=path,
                remedy="give CSV, Parquet or Arrow files; save spreadsheets as CSV.",
            )
        return name, has_feed
    raise DataError(
        f"the file is not {chosen} text.",
        source=path,
        remedy="save it again as UTF-8, or name its encoding.",
    )


def _try_encoding(path: Path, name: str) -> tuple[bool, str]:
    """Decode the whole file; whether it has a line feed, and its first characters."""
    decoder = codecs.getincrementaldecoder(name)()
    has_feed, start = False, ""
    with _opened(path) as file:
        while raw := _read(file, 1 << 20, path):
            text = decoder.decode(raw)
            has_feed = has_feed or "\n" in text
            start = start or text[:4000]
        decoder.decode(b"", final=True)
    return has_feed, start
