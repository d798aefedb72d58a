"""Downloading C-MAPSS: several sources, verified by hash, written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from grace.data.bounded import MAX_ARCHIVE
from grace.data.cmapss_files import locate_cmapss, require_cmapss, verify_cmapss
from grace.data.errors import DataError
from grace.data.memory import format_bytes

__all__ = ["CMAPSS_SOURCES", "DownloadSource", "download_cmapss"]


@dataclass(frozen=True)
class DownloadSource:
    """An archive on the web; ``sha256`` is None where nobody has published it."""

    url: str
    sha256: str | None = None


CMAPSS_SOURCES = (
    DownloadSource(
        "https://phm-datasets.s3.amazonaws.com/NASA/"
        "6.+Turbofan+Engine+Degradation+Simulation+Data+Set.zip"
    ),
    DownloadSource("https://data.nasa.gov/docs/legacy/CMAPSSData.zip"),
    DownloadSource(
        "https://zenodo.org/records/15346912/files/CMAPSSData.zip",
        "74bef434a34db25c7bf72e668ea4cd52afe5f2cf8e44367c55a82bfd91a5a34f",
    ),
)


def download_cmapss(
    target: Path, *, sources: Sequence[DownloadSource] = CMAPSS_SOURCES, progress: bool = True
) -> Path:
    """Download C-MAPSS (12 MB) into ``target/CMAPSSData`` unless it is there already.

    Sources are tried in turn; the first whose data files all have the published SHA-256 is taken.
    Files reach the target by rename only, after all were verified: none is ever half written. A
    response or a decompressed member larger than ``MAX_ARCHIVE`` is refused. Folders that were made
    for a failed download are removed.

    Args:
        target: a data root; made if it does not exist.
        sources: archives, tried in this order.
        progress: show a progress bar on stderr.

    Returns:
        The folder with the text files.

    Raises:
        DataError: every source failed (each is listed with its reason), or the target holds other
            files under the published names; those are never overwritten.
    """
    folder = Path(target) / "CMAPSSData"
    if locate_cmapss(folder) is not None:
        checks = [c for c in verify_cmapss(folder) if c.name != "readme.txt"]
        edited = [c.name for c in checks if c.status == "modified"]
        if edited:
            raise DataError(
                f"not the published files: {', '.join(edited)}.",
                source=folder,
                remedy="move them away or choose another target; nothing was downloaded.",
            )
        if all(c.status == "ok" for c in checks):
            return folder
    made = _make_folder(folder)
    failures = []
    try:
        for source in sources:
            # In the target, since a rename is atomic within one file system only.
            with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as scratch:
                try:
                    _fetch(source, Path(scratch), folder, progress)
                    return folder
                except DataError as error:
                    failures.append(f"{source.url}: {error.problem}")
                except Exception as error:  # a server can send anything; the next one is tried
                    failures.append(f"{source.url}: {type(error).__name__}: {str(error)[:400]}")
    finally:
        for path in made:  # those that are still empty, deepest first
            with contextlib.suppress(OSError):
                path.rmdir()
    tried = "".join(f"\n  - {failure}" for failure in failures) or " nothing."
    raise DataError(
        f"C-MAPSS could not be downloaded; tried{tried}\n",
        source=target,
        remedy="check the connection, or get CMAPSSData.zip by hand (search for: NASA C-MAPSS "
        f"turbofan dataset) and unzip train_FD001.txt and the others into {folder}.",
    )


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; the ones that were made, deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _fetch(source: DownloadSource, scratch: Path, folder: Path, progress: bool) -> None:
    """Download an archive into ``scratch``, verify it, and move its members to ``folder``."""
    import pooch

    def unpack(archive: str, action: str, manager: object) -> None:
        _unpack(Path(archive), scratch, folder)

    bar = _RichBar(PurePosixPath(source.url).name) if progress else None
    log = pooch.get_logger()
    level = log.level
    log.setLevel("WARNING")  # progress is shown by the bar
    try:
        pooch.retrieve(
            source.url,
            known_hash=source.sha256,
            fname="cmapss.zip",
            path=scratch,
            downloader=_limited_downloader(bar),
            processor=unpack,
        )
    finally:
        log.setLevel(level)
        if bar is not None:
            bar.close()


def _limited_downloader(bar: _RichBar | None) -> Callable[..., Any]:
    """Pooch's downloader over HTTP, ended at ``MAX_ARCHIVE`` bytes."""
    import pooch

    load = pooch.HTTPDownloader(progressbar=bar or False, chunk_size=1 << 16, timeout=60)

    def download(url: str, output_file: str, manager: object) -> None:
        with open(output_file, "wb") as file:
            load(url, _LimitedFile(file), manager)

    return download


class _LimitedFile:
    """A file that refuses to grow beyond ``MAX_ARCHIVE``: a response may have no end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, MAX_ARCHIVE

    def write(self, chunk: bytes) -> int:
        self._left -= len(chunk)
        if self._left < 0:
            limit = format_bytes(MAX_ARCHIVE)
            raise DataError(f"the response is longer than the limit of {limit}.")
        return self._file.write(chunk)

    def flush(self) -> None:
        self._file.flush()


class _RichBar:
    """Pooch's progress bar protocol by rich: tqdm would be one more thing to install."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(file=sys.stderr))
        self._task = self._progress.add_task(label, total=None)
        self.total = 0
        self._progress.start()

    def update(self, n: int) -> None:
        self._progress.update(self._task, advance=n, total=self.total or None)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()


def _unpack(archive: Path, scratch: Path, folder: Path) -> None:
    """Write every published member of the archive to ``folder``, once all are verified."""
    checks = {c.name: c for c in verify_cmapss(archive)}
    names = [n for n, c in checks.items() if c.status == "ok"]
    broken = [c for n, c in checks.items() if n not in names and n != "readme.txt"]
    if broken:
        problems = {c.name: f"has SHA-256 {c.actual}" if c.actual else "is missing" for c in broken}
        raise DataError("; ".join(f"{name} {what}" for name, what in problems.items()) + ".")
    files = require_cmapss(archive)
    for name in names:
        (scratch / name).write_bytes(files.read(name))
    for name in names:
        os.replace(scratch / name, folder / name)
