"""The version and a hash of the code, in one place: written into every artifact."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["__version__", "source_hash"]

__version__ = "0.1.0"


@cache
def source_hash(folder: Path = Path(__file__).parent) -> str | None:
    """SHA-256 over the Python files of the package, 64 hexadecimal digits; None without files.

    The version stays the same between releases, this does not: it identifies the code of a run also
    where there is no git checkout. It depends on paths below ``folder`` and contents; line ends do
    not matter, because git may convert them. Computed once per process. A package in an archive has
    no files to read.

    Args:
        folder: of the package.

    Example:
        >>> len(source_hash())
        64
    """
    import hashlib

    digest = hashlib.sha256()
    files = sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix())
    if not files:
        return None
    for path in files:
        content = path.read_bytes().replace(b"\r\n", b"\n")
        name = path.relative_to(folder).as_posix().encode()
        # Lengths keep the end of a name apart from the start of a content.
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
    return digest.hexdigest()
