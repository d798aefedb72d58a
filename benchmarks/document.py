"""Tables of the documents, written by the commands that measured them, so that none is typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["replace_between"]


def replace_between(path: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->`` in a file.

    Raises:
        ValueError: the file has no such pair of marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = path.read_text(encoding="utf-8")
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path}: has no {begin} … {end}")
    path.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{tail}", encoding="utf-8")
