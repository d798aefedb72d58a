"""Where the C-MAPSS files are, in folders and archives, and whether they are the published ones."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from grace.data.bounded import (
    MAX_ARCHIVE,
    MAX_ENTRIES,
    compression_of,
    read_limited,
    read_member,
)
from grace.data.errors import DataError

__all__ = [
    "CMAPSS_SHA256",
    "FETCH",
    "CmapssFiles",
    "MemberCheck",
    "default_cache",
    "find_data_root",
    "locate_cmapss",
    "require_cmapss",
    "verify_cmapss",
]

# What reading a damaged, truncated or encrypted archive raises.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError)
FETCH = "or fetch the published files with `grace data download cmapss`."
# SHA-256 of the published members; edited copies circulate under the same names.
CMAPSS_SHA256 = {
    "RUL_FD001.txt": "a19c8ec94931949d0485bdc35118206e9c81c4547b422efb9cf86f4ceddbceca",
    "RUL_FD002.txt": "c851dd96a6ea6998d3c4a8f834d3c8013aa90e93a6ed950dc826ad0655b2906b",
    "RUL_FD003.txt": "df1e0566306b174a2de41c67a3e7a51877889598b78643fc3e5685259091b7cb",
    "RUL_FD004.txt": "196b836b85a95ac7fdbbf29c5fdf1657382eafa445644d114ffaaf50dc2975e1",
    "readme.txt": "4f5270554b775c67e73aff383c5436fd329d6e4cc3d3a116913276fae511269b",
    "test_FD001.txt": "3cda7109ce17bafb5443f2ac926cfcf88154b941b8c4cf95eb55d1ddd6f52851",
    "test_FD002.txt": "de7b5bf7e998a985c378488480528b7c02cff1406a46740def362dda8d9b4e02",
    "test_FD003.txt": "299babd63c8d987cef079c4a425429f33b3a34797d803bbe2ad48c29dbd0d790",
    "test_FD004.txt": "1dc675fff0624bac10786927c6715b37d1297657137400d2b1a3138d777a3ba5",
    "train_FD001.txt": "963b5e22825b34d8b21c69e1aeb4af3e647050eb672ee8834ba4b5d91d2de0f8",
    "train_FD002.txt": "dac6c4dbc4e7c1bdeb5747da3d313d05c395bb99801b44a002b26a2ba13d788f",
    "train_FD003.txt": "2abbe9968cc5e8eb091980f51b20f62bb4127336d3482cb52071d53bf23329e2",
    "train_FD004.txt": "27ef6160b6a1dcb2613a88de9c239f763b223f02cdc41dc5cdedc5dc189b6218",
}


@dataclass(frozen=True)
class CmapssFiles:
    """The members of a C-MAPSS folder or archive: where they are and how to read one.

    ``where`` is the folder or archive (``outer.zip!CMAPSSData.zip`` if nested), ``members`` maps
    each published name that is there to a function returning its bytes.
    """

    where: str
    members: dict[str, Callable[[], bytes]]

    def label(self, name: str) -> str:
        """The member as messages call it."""
        return f"{self.where}{'!' if '.zip' in Path(self.where).name else '/'}{name}"

    def read(self, name: str) -> bytes:
        """The bytes of a member.

        Raises:
            DataError: it is missing, compressed, larger than ``MAX_ARCHIVE``, or the archive is
                damaged.
        """
        if name not in self.members:
            raise DataError(f"{name} is missing.", source=self.where, remedy=f"add it, {FETCH}")
        try:
            content = self.members[name]()
        except _DAMAGE as error:
            problem, where = f"cannot be read ({error}).", self.label(name)
            raise DataError(problem, source=where, remedy=f"replace it, {FETCH}") from error
        if packed := compression_of(content):
            problem = f"is {packed}-compressed data under the name of a text file."
            raise DataError(problem, source=self.label(name), remedy=f"unpack it, {FETCH}")
        return content


def _in_folder(folder: Path) -> CmapssFiles:
    paths = {name: folder / name for name in CMAPSS_SHA256}
    readers = {n: partial(_read_text_file, p) for n, p in paths.items() if p.is_file()}
    return CmapssFiles(str(folder), dict(readers))


def _read_text_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return read_limited(file, MAX_ARCHIVE, path, "the file")


def _in_zip(file: Path | io.BytesIO, where: str, nested: bool = False) -> Iterator[CmapssFiles]:
    """What an archive holds, then what archives inside it hold (NASA's holds CMAPSSData.zip)."""

    def member(name: str) -> bytes:
        with zipfile.ZipFile(file) as archive:
            return read_member(archive, name, where)

    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if not n.startswith("__MACOSX")]
        if len(names) > MAX_ENTRIES:
            raise zipfile.BadZipFile(f"{len(names)} entries; at most {MAX_ENTRIES} are read")
        nests = [n for n in names if PurePosixPath(n).match("CMAPSSData*.zip") and not nested]
        inner = [(n, member(n)) for n in nests]
    except _DAMAGE as error:
        problem = f"is not a readable zip archive ({error})."
        raise DataError(problem, source=where, remedy=f"replace it, {FETCH}") from error
    found = {PurePosixPath(n).name: partial(member, n) for n in names}
    yield CmapssFiles(where, {n: found[n] for n in CMAPSS_SHA256 if n in found})
    for name, data in inner:
        yield from _in_zip(io.BytesIO(data), f"{where}!{PurePosixPath(name).name}", nested=True)


def _candidates(root: Path) -> Iterator[CmapssFiles]:
    if root.is_file():
        yield from _in_zip(root, str(root))
    elif root.is_dir():
        yield _in_folder(root)
        below = sorted(root.iterdir(), key=lambda p: (not p.name.startswith("CMAPSSData"), p.name))
        yield from (_in_folder(path) for path in below if path.is_dir())
        # By name, since the archives of other datasets next to it are up to 15 GB.
        for path in (*root.glob("CMAPSSData*.zip"), *root.glob("6*Turbofan*.zip")):
            yield from _in_zip(path, str(path))


def locate_cmapss(root: Path | str) -> CmapssFiles | None:
    """Find the C-MAPSS files in a folder, one level below it, or in a zip; None if not there.

    Of several places the first with all data files is taken, else the one with most of them.

    Raises:
        DataError: a zip archive that had to be opened is damaged.
    """
    best: CmapssFiles | None = None
    for files in _candidates(Path(root)):
        data = [n for n in files.members if n != "readme.txt"]
        if len(data) == len(CMAPSS_SHA256) - 1:
            return files
        if data and (best is None or len(files.members) > len(best.members)):
            best = files
    return best


def require_cmapss(root: Path | str) -> CmapssFiles:
    """As :func:`locate_cmapss`, but a :class:`DataError` says so where there are none."""
    files = locate_cmapss(root)
    if files is None:
        problem = "no C-MAPSS files (train_FD001.txt, ...) here, one level below, or in a zip."
        remedy = f"name the folder that holds them, {FETCH}"
        raise DataError(problem, source=root, remedy=remedy)
    return files


@dataclass(frozen=True)
class MemberCheck:
    """One published file compared by SHA-256; ``actual`` is None if it is missing."""

    name: str
    expected: str
    actual: str | None
    status: Literal["ok", "missing", "modified"]


def verify_cmapss(root: Path | str) -> list[MemberCheck]:
    """Compare every member with the published one, by SHA-256.

    Args:
        root: folder or zip, as for ``read_cmapss``.

    Raises:
        DataError: there are no C-MAPSS files at all, or they cannot be read.
    """
    files = require_cmapss(root)
    checks = []
    for name, expected in CMAPSS_SHA256.items():
        here = name in files.members
        actual = hashlib.sha256(files.read(name)).hexdigest() if here else None
        status: Literal["ok", "missing", "modified"] = "ok" if actual == expected else "modified"
        checks.append(MemberCheck(name, expected, actual, status if here else "missing"))
    return checks


def default_cache() -> Path:
    """The user's cache folder for data, as the operating system places it."""
    import pooch

    return Path(pooch.os_cache("grace"))


def find_data_root(explicit: Path | str | None = None) -> Path:
    """The data root: the place that was named, else the first of the usual ones with C-MAPSS.

    ``explicit`` is named, or else the environment variable ``GRACE_DATA``: then nowhere else is
    searched, so that nobody reads other data than what was meant. The usual places are ``./data``,
    ``../shared/data`` and the user's cache folder (``pooch.os_cache("grace")``). A root holds the
    text files or their zip directly, or one level down (``CMAPSSData/``).

    Raises:
        DataError: there is none; the message lists the places.
    """
    named = os.environ.get("GRACE_DATA")
    if explicit is None and named:
        if locate_cmapss(named) is None:
            problem = f"the environment variable GRACE_DATA names {named}, but there are no "
            remedy = "set it to the folder that holds CMAPSSData/, or unset it to search ./data, "
            remedy += "../shared/data and the user's cache."
            raise DataError(problem + "C-MAPSS files there.", remedy=remedy)
        return Path(named)
    usual = [Path("data"), Path("../shared/data"), default_cache()]
    places = [Path(explicit)] if explicit is not None else usual
    for place in places:
        if locate_cmapss(place) is not None:
            return place
    listing = ", ".join(str(place.absolute()) for place in places)
    remedy = "run `grace data download cmapss`, or set GRACE_DATA to the folder that holds "
    raise DataError(f"no C-MAPSS data found; searched {listing}.", remedy=remedy + "CMAPSSData/.")
