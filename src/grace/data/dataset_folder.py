"""Folders of datasets that are published as tables, and their cells as text."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from grace.data.cmapss_files import default_cache
from grace.data.errors import DataError
from grace.data.issues import DataFile
from grace.data.table.issue_log import IssueLog
from grace.data.table.sources import load_raw_table

__all__ = ["find_folder", "read_cells"]


def find_folder(root: Path | None, folder: str, file: str) -> Path | None:
    """The folder that holds ``file``: ``root`` itself or ``root/folder``; None if there is none.

    Without a root, the environment variable ``GRACE_DATA`` names it, or else the usual places are
    searched: ``./data``, ``../shared/data`` and the user's cache folder.
    """
    named = os.environ.get("GRACE_DATA")
    usual = [Path(named)] if named else [Path("data"), Path("../shared/data"), default_cache()]
    for place in usual if root is None else [root]:
        for candidate in (place / folder, place):
            if (candidate / file).is_file():
                return candidate
    return None


def read_cells(
    root: Path | None, folder: str, file: str, columns: tuple[str, ...]
) -> tuple[pl.DataFrame, DataFile]:
    """One table of a dataset, every cell as text, and the file it came from.

    Raises:
        DataError: the file is not found, cannot be read, or lacks one of ``columns``.
    """
    where = find_folder(root, folder, file)
    if where is None:
        raise DataError(
            f"{folder}/{file} was not found.",
            source=root,
            remedy=f"set GRACE_DATA to the folder that holds {folder}/.",
        )
    path = where / file
    table = load_raw_table(path, IssueLog(path))
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise DataError(
            f"columns are missing: {', '.join(missing)}.",
            source=path,
            remedy="use the published file.",
        )
    return table.frame.select(table.columns), DataFile(file, str(table.source.sha256))
