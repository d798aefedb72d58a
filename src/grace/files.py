"""Writing files that survive a crash, and reading them back with their integrity checked.

Every file that a run or an artifact consists of is written here. A write is atomic and durable: a
temporary file in the same folder, flushed to disk, takes the place of the old one, and the folder
entry is flushed too. A kill or a power cut leaves the old file or the new one, never a part.
Symbolic links are replaced, never followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

__all__ = [
    "DigestError",
    "abandoned",
    "append_text",
    "atomic_writer",
    "canonical_json",
    "flush_folder",
    "read_json",
    "sha256_bytes",
    "sha256_file",
    "verify_digests",
    "write_bytes",
    "write_json",
    "write_text",
]

_CHUNK = 1 << 20
_TEMPORARY = re.compile(r"\.(.+)\.(\d+)\.tmp", re.DOTALL)


class DigestError(ValueError):
    """A file whose content is not what was written; the message names file and digests."""


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of ``path`` when the block ends without an error.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; ``path`` is unchanged
            and the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, temporary, str(temporary)):
            # A failed write does not say of which file; the name of a temporary one helps nobody.
            error.filename, error.filename2 = str(path), None
        raise
    flush_folder(path.parent)


def abandoned(path: Path) -> str | None:
    """Name of the file that a killed process was about to replace by this temporary file.

    Returns:
        None if ``path`` is no temporary file of :func:`atomic_writer`, or its process may be alive.

    Example:
        >>> abandoned(Path("run/metrics.json"))
        >>> abandoned(Path(f"run/.metrics.json.{os.getpid()}.tmp"))
    """
    found = _TEMPORARY.fullmatch(path.name)
    return found[1] if found and not _may_be_alive(int(found[2])) else None


def _may_be_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that a rename or deletion survives a power cut."""
    if os.name != "posix":
        return  # Windows cannot open a folder, and orders its metadata itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the file itself has been flushed
        pass
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file atomically and durably.

    Returns:
        The SHA-256 of the content, hexadecimal.
    """
    with atomic_writer(path) as file:
        file.write(content)
    return sha256_bytes(content)


def write_text(path: Path, content: str) -> str:
    """As :func:`write_bytes`, in UTF-8. Lone surrogates are written as ``?``."""
    return write_bytes(path, content.encode("utf-8", errors="replace"))


def write_json(path: Path, content: Any) -> str:
    """As :func:`write_bytes`, as indented JSON.

    Raises:
        ValueError: a value is NaN or infinite, which JSON cannot hold.
    """
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, not JSON, or nested deeper than Python can follow.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def canonical_json(content: Any) -> bytes:
    """The one spelling of a JSON value that digests are taken of: sorted keys, no blanks.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        b'{"a":[1.5,null],"b":1}'
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", errors="replace")


def append_text(path: Path, content: str) -> None:
    """Add text to the end of a UTF-8 file, which is made if it does not exist.

    Raises:
        OSError: the file cannot be opened or written, or ``path`` is a symbolic link; it is named.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o666), "ab") as file:
            file.write(content.encode("utf-8", errors="replace"))
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)  # a failed write does not say of which file
        raise


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal, in bounded memory.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def verify_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Compare files of a folder with the digests recorded when they were written.

    Raises:
        DigestError: a file is missing or its content differs; all of them are named.
        OSError: a file cannot be read.
    """
    wrong = []
    for name, expected in digests.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{path}: is missing")
        elif (actual := sha256_file(path)) != expected:
            wrong.append(
                f"{path}: SHA-256 is {actual[:16]}… instead of {expected[:16]}…, so the file was "
                "changed or damaged after it was written"
            )
    if wrong:
        raise DigestError("; ".join(wrong))
