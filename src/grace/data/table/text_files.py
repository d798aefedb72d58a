"""Delimited text of any encoding and separator as a table of text cells."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

import polars as pl

from grace.data.bounded import compression_of, decompress_gzip
from grace.data.errors import DataError
from grace.data.table.issue_log import IssueLog, listed

__all__ = ["BOMS", "SAMPLE_LINES", "find_separator", "parse_text", "read_cells", "unique_names"]

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = (",", ";", "\t", "|")
SAMPLE_LINES = 50


def parse_text(
    raw: bytes,
    file: Path,
    log: IssueLog,
    *,
    encoding: str | None = None,
    separator: str | None = None,
) -> tuple[pl.DataFrame, str]:
    """Read delimited text; every column is String, empty cells are null.

    Args:
        raw: bytes of the file, possibly gzip-compressed.
        file: its name, for messages.
        log: receives what was noticed (encoding, ragged lines, duplicated column names).
        encoding: as given by the user, or None to recognise it.
        separator: as given by the user, or None to recognise it.

    Returns:
        The table, and the separator.

    Raises:
        DataError: the file is empty, holds only a header, cannot be decoded or is not text.
    """
    text = _decode(_decompress(raw, file), file, log, encoding)
    lines = [line for line in text[:200_000].splitlines() if line.strip()]
    if not lines:
        raise DataError("the file is empty.", source=file, remedy="check the export.")
    separator = separator or find_separator(lines[:SAMPLE_LINES])
    if separator == " ":
        text = "\n".join(" ".join(line.split()) for line in text.splitlines())
    cells = read_cells(text, separator, file, log)
    cells = cells.filter(~pl.all_horizontal(pl.all().is_null() | (pl.all() == "")))
    if cells.height < 2:
        raise DataError(
            "the file has a header but no rows." if cells.height else "the file is empty.",
            source=file,
            remedy="check the export.",
        )
    header = ["" if n is None else str(n).strip().strip("\ufeff") for n in cells.row(0)]
    table = cells[1:]
    # A separator at the end of every line makes one empty column.
    while len(header) > 1 and not header[-1] and table[:, -1].null_count() == table.height:
        header, table = header[:-1], table[:, :-1]
    table.columns = unique_names(header, table, file, log)
    return table.drop([c for c in table.columns if c.startswith("\0")]), separator


def unique_names(header: list[str], table: pl.DataFrame, file: object, log: IssueLog) -> list[str]:
    """Column names made unique; a repeated column is marked for removal by a leading NUL."""
    seen: dict[str, int] = {}
    names: list[str] = []
    renamed: list[str] = []
    dropped: list[str] = []
    for i, raw_name in enumerate(header):
        name = raw_name or f"column_{i + 1}"
        if name not in seen:
            seen[name] = i
            names.append(name)
        elif table[:, i].equals(table[:, seen[name]], check_names=False, null_equal=True):
            dropped.append(name)
            names.append(f"\0{i}")
        else:
            k = 2
            while f"{name}_{k}" in seen or f"{name}_{k}" in header:
                k += 1
            seen[f"{name}_{k}"] = i
            names.append(f"{name}_{k}")
            renamed.append(name)
    if dropped:
        message = f"{file}: columns that occur twice with equal content: {listed(dropped)}."
        log.note("duplicate_column", message, "one was kept.", severity="note", columns=dropped)
    if renamed:
        message = f"{file}: column names used twice with different content: {listed(renamed)}."
        remedy = "the later ones were renamed (name_2, …); name the columns uniquely."
        log.note("duplicate_column", message, remedy, columns=renamed, count=len(renamed))
    return names


def _decompress(raw: bytes, file: Path) -> bytes:
    packed = compression_of(raw)
    if packed is None:
        return raw
    if packed != "gzip":
        raise DataError(f"the file is {packed}-compressed.", source=file, remedy="unpack it.")
    content = decompress_gzip(raw, file)
    if compression_of(content):
        problem = "the file is compressed more than once."
        raise DataError(problem, source=file, remedy="unpack it.")
    return content


def _decode(raw: bytes, file: Path, log: IssueLog, encoding: str | None) -> str:
    chosen = encoding or next((name for bom, name in BOMS if raw.startswith(bom)), None)
    if chosen is None and raw[:4000].count(0) > len(raw[:4000]) // 4:
        # Text in two bytes per character without a mark: the zeros say which byte is the high one.
        chosen = "utf-16-le" if raw[1:4000:2].count(0) >= raw[0:4000:2].count(0) else "utf-16-be"
    for name in (chosen,) if chosen else ("utf-8", "cp1252", "latin-1"):
        try:
            text = raw.decode(name)
        except LookupError:
            raise DataError(
                f"there is no encoding {name!r}.",
                source=file,
                remedy="name one such as utf-8, utf-16 or latin-1.",
            ) from None
        except UnicodeError:
            continue
        break
    else:
        raise DataError(
            f"the file is not {chosen} text.",
            source=file,
            remedy="save it again as UTF-8, or name its encoding.",
        )
    control = sum(text[:4000].count(c) for c in map(chr, (*range(9), *range(14, 32))))
    if control > len(text[:4000]) // 20:
        raise DataError(
            "the file is not text.",
            source=file,
            remedy="give CSV, Parquet or Arrow files; save spreadsheets as CSV.",
        )
    if encoding is None and name not in ("utf-8", "utf-8-sig"):
        log.note(
            "encoding",
            f"{file}: read as {name}.",
            "check column names and text for wrong characters, or give encoding=.",
            severity="note",
        )
    return text.removeprefix("\ufeff").replace("\0", "")


def find_separator(lines: list[str]) -> str:
    """The separator that cuts the sample most evenly into most fields; a comma if none does."""
    best, best_score = ",", (0.0, 0)
    for mark in _SEPARATORS:
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=mark)]
        except csv.Error:
            continue
        if counts[0] < 2:
            continue
        score = (sum(c == counts[0] for c in counts) / len(counts), counts[0])
        if score > best_score:
            best, best_score = mark, score
    if best_score[1] < 2 and min(len(line.split()) for line in lines) > 1:
        return " "
    return best


def read_cells(text: str, separator: str, file: Path, log: IssueLog) -> pl.DataFrame:
    """All lines, the header included, as text."""
    if "\n" not in text:
        text = text.replace("\r", "\n")  # line ends of old exports
    raw = text.encode("utf-8", errors="replace")
    quote: str | None = '"'
    for attempt in range(3):
        try:
            return pl.read_csv(
                raw,
                separator=separator,
                has_header=False,
                infer_schema=False,
                quote_char=quote,
                truncate_ragged_lines=attempt > 0,
            )
        except pl.exceptions.NoDataError:
            raise DataError("the file is empty.", source=file, remedy="check the export.") from None
        except pl.exceptions.PolarsError:
            if attempt == 0:
                _note_ragged(text, separator, file, log)
            else:  # an unclosed quotation mark: take the marks as characters
                quote = None
    raise DataError(
        "the file cannot be read as delimited text.",
        source=file,
        remedy="check separators and quotation marks, or save it again.",
    )


def _note_ragged(text: str, separator: str, file: Path, log: IssueLog) -> None:
    try:
        rows = csv.reader(io.StringIO(text), delimiter=separator)
        width = len(next(rows))
        long = [rows.line_num for row in rows if len(row) > width]
    except csv.Error:
        long = []
    if long:
        message = f"{file}: {len(long)} lines have more than {width} fields; first: line {long[0]}."
        remedy = "the surplus fields were dropped; check separators and quotation marks."
    else:
        message = f"{file}: quotation marks are not closed."
        remedy = "check the export for cells with line breaks or quotation marks."
    log.note("ragged_lines", message, remedy, count=len(long))
