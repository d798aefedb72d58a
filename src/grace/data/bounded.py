"""Reads compressed and external files with a limit on their size."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from grace.data.errors import DataError
from grace.data.memory import available_memory, format_bytes

__all__ = [
    "MAX_ARCHIVE",
    "MAX_DECOMPRESSED",
    "MAX_ENTRIES",
    "compression_of",
    "decompress_gzip",
    "read_file",
    "read_limited",
    "read_member",
]

MAX_ARCHIVE = 64 << 20
"""Bytes of a downloaded response and of a decompressed member of a C-MAPSS archive (the published
archive has 12 MB, its largest member 10 MB)."""
MAX_ENTRIES = 10_000
"""Entries of an archive."""
MAX_DECOMPRESSED = 2 << 30
"""Bytes of a decompressed table; less where less memory is free."""
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x78\x01": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def compression_of(raw: bytes) -> str | None:
    """The compression that the first bytes of a file announce; None if there is none.

    Example:
        >>> compression_of(gzip.compress(b"1 1 0.5")), compression_of(b"1 1 0.5")
        ('gzip', None)
    """
    return next((name for magic, name in _MAGIC.items() if raw.startswith(magic)), None)


def read_limited(file: _Readable, limit: int, source: object, what: str) -> bytes:
    """All bytes of an open file, at most ``limit``.

    Raises:
        DataError: there are more.
    """
    content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(
            f"{what} is larger than the limit of {format_bytes(limit)}.",
            source=source,
            remedy="check the file; it is damaged or made to exhaust the memory.",
        )
    return content


def read_member(archive: zipfile.ZipFile, name: str, source: object) -> bytes:
    """One member of a zip archive, at most ``MAX_ARCHIVE`` bytes whatever its header says.

    Raises:
        DataError: it is larger.
    """
    with archive.open(name) as file:
        return read_limited(file, MAX_ARCHIVE, f"{source}!{name}", "the decompressed member")


def decompress_gzip(raw: bytes, source: object) -> bytes:
    """The content of a gzip file, at most ``MAX_DECOMPRESSED`` bytes and a quarter of the memory.

    Raises:
        DataError: it is damaged or larger.
    """
    limit = int(min(MAX_DECOMPRESSED, available_memory() / 4))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            return read_limited(file, limit, source, "the decompressed content")
    except (OSError, EOFError, zlib.error):
        raise DataError(
            "the gzip file is damaged or cut off.", source=source, remedy="copy it again."
        ) from None


def read_file(path: Path) -> bytes:
    """The bytes of a regular file that fits in memory.

    Raises:
        DataError: it is no regular file (a device or pipe has no end), or does not fit.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise DataError("is no regular file.", source=path, remedy="give the path of a file.")
    size, limit = path.stat().st_size, available_memory() / 2
    if size > limit:
        raise DataError(
            f"the file has {format_bytes(size)}, but at most {format_bytes(limit)} can be read "
            "with the memory that is free.",
            source=path,
            remedy="split it by unit, or keep fewer columns.",
        )
    with path.open("rb") as file:
        return read_limited(file, int(min(limit, 2 * size + 2**20)), path, "the file")
