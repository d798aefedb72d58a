"""Parsed tables kept on disk in columns, found again by what they were made from.

One file per table: the SHA-256 of key and table, then the table as an Arrow IPC stream (LZ4). It
is read into memory and checked rather than mapped: Arrow has no checksum of its own, so a flipped
bit would pass for a measurement, and a mapped file that somebody shortens ends the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl

__all__ = ["cached_table"]

_SUFFIX = ".grace-table"
_LIMIT = 1_000_000_000  # bytes kept in all
_DIGEST_BYTES = 32


def cached_table(content: str, parser: str, parse: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """The table ``parse`` makes, from the cache if the same parser made it of the same bytes.

    The cache is the subfolder ``tables`` of the user's cache folder, or of the folder that the
    environment variable ``GRACE_CACHE`` names; ``GRACE_CACHE=off`` does without. It may be deleted
    at any time and shared by any number of processes. Where it cannot be read or written, or what
    lies there is damaged, ``parse`` is called as if there were none. Beyond 1 GB the tables written
    first go first.

    Args:
        content: SHA-256 of the bytes that ``parse`` reads.
        parser: everything else the table depends on: the parser with its version, the columns. The
            version of polars is added here.
        parse: makes the table, of columns that Arrow knows.

    Raises:
        Exception: whatever ``parse`` raises; nothing is stored then.
    """
    folder = _folder()
    if folder is None:
        return parse()
    made_from = "\n".join((content, parser, f"polars {pl.__version__}"))
    key = hashlib.sha256(made_from.encode()).hexdigest()
    file = folder / f"{key}{_SUFFIX}"
    table = _load(file, key)
    if table is None:
        table = parse()
        # What cannot be kept is parsed again next time.
        with contextlib.suppress(OSError, pl.exceptions.PolarsError):
            _store(file, key, table)
    return table


def _folder() -> Path | None:
    """Where tables are kept; None if nowhere."""
    named = os.environ.get("GRACE_CACHE", "")
    if named.casefold() == "off":
        return None
    if named:
        return Path(named) / "tables"
    # What default_cache() asks through pooch, whose import takes as long as the cache saves.
    import platformdirs

    usual = Path(platformdirs.user_cache_dir("grace"))
    return usual / "tables" if usual.is_absolute() else None  # relative: the user has no home


def _digest(key: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(body)
    return digest.digest()


def _load(file: Path, key: str) -> pl.DataFrame | None:
    """The table in a file, None if there is none or it is not what was stored under this key."""
    try:
        with file.open("rb") as stream:
            digest, body = stream.read(_DIGEST_BYTES), stream.read()
        return pl.read_ipc_stream(body) if digest == _digest(key, body) else None
    except (OSError, pl.exceptions.PolarsError):
        return None


def _store(file: Path, key: str, table: pl.DataFrame) -> None:
    """Write a table under its own name at once, so that nobody ever sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{os.urandom(16).hex()}{_SUFFIX}")
    try:
        with unfinished.open("xb") as stream:  # before the work of encoding: it may be refused
            body = table.write_ipc_stream(None, compression="lz4").getbuffer()
            stream.write(_digest(key, body))
            stream.write(body)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    _drop_oldest(file)


def _drop_oldest(newest: Path) -> None:
    """Keep the tables written last, up to the limit; what a killed process left ages out too."""
    found = [f for f in newest.parent.glob(f"*{_SUFFIX}") if f != newest]
    status = {f: f.stat() for f in found}
    total = newest.stat().st_size
    for file in sorted(found, key=lambda f: status[f].st_mtime, reverse=True):
        total += status[file].st_size
        if total > _LIMIT:
            file.unlink(missing_ok=True)
