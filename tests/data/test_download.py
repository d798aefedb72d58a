"""DataIssue, verifying and downloading: local folders, archives and servers only."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grace.data import DataError
from grace.data.cmapss import read_cmapss
from grace.data.cmapss_files import (
    CMAPSS_SHA256,
    find_data_root,
    locate_cmapss,
    verify_cmapss,
)
from grace.data.download import DownloadSource, download_cmapss

DATA = [n for n in CMAPSS_SHA256 if n != "readme.txt"]
Sources = Callable[..., list[DownloadSource]]


@pytest.fixture
def published(data_root: Path) -> Path:
    files = locate_cmapss(data_root)
    assert files is not None
    if ".zip" in files.where:
        pytest.skip("the published files are in an archive here")
    return Path(files.where)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small members that count as the published ones, so that no test needs the real files."""
    members = {name: f"content of {name}".encode() for name in CMAPSS_SHA256}
    for name, data in members.items():
        monkeypatch.setitem(CMAPSS_SHA256, name, hashlib.sha256(data).hexdigest())
    return members


def packed(members: dict[str, bytes], folder: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(folder + name, data)
    return buffer.getvalue()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Sources]:
    """Serves archives at 127.0.0.1; None stands for one that is not there (404)."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def sources(*archives: bytes | None) -> list[DownloadSource]:
            for i, archive in enumerate(archives):
                if archive is not None:
                    (folder / f"{i}.zip").write_bytes(archive)
            base = f"http://127.0.0.1:{server.server_port}"
            return [DownloadSource(f"{base}/{i}.zip") for i in range(len(archives))]

        yield sources
        server.shutdown()


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


COMPLETE = {"CMAPSSData", *(f"CMAPSSData/{name}" for name in CMAPSS_SHA256)}

# --- downloading --------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_download_leaves_exactly_the_verified_files(
    nested: bool, fake: dict[str, bytes], serve: Sources, tmp_path: Path, capsys: Any
) -> None:
    archive = packed(fake, "CMAPSSData/")
    sources = serve(packed({"6. Turbofan/CMAPSSData.zip": archive}) if nested else archive)
    target = tmp_path / "new" / "target"
    folder = download_cmapss(target, sources=sources, progress=nested)
    out, err = capsys.readouterr()
    assert (out, "0.zip" in err) == ("", nested)  # the progress bar goes to stderr
    assert folder == target / "CMAPSSData"
    assert files_below(target) == COMPLETE
    assert {c.status for c in verify_cmapss(folder)} == {"ok"}


def test_second_source_is_taken_when_the_first_is_down(
    fake: dict[str, bytes], serve: Sources, tmp_path: Path
) -> None:
    closed = DownloadSource("http://127.0.0.1:9/CMAPSSData.zip")  # nobody listens at port 9
    sources = [closed, *serve(None, b"<html>moved</html>", packed(fake))]
    download_cmapss(tmp_path / "target", sources=sources, progress=False)
    assert files_below(tmp_path / "target") == COMPLETE


def test_wrong_hashes_are_refused_and_nothing_is_left(
    fake: dict[str, bytes], serve: Sources, tmp_path: Path
) -> None:
    edited = packed({**fake, "train_FD003.txt": b"edited"})
    incomplete = packed({n: d for n, d in fake.items() if n != "RUL_FD001.txt"})
    by_member = serve(edited, incomplete)
    good = packed(fake)
    by_archive = DownloadSource(serve(edited, incomplete, good)[2].url, "0" * 64)
    target = tmp_path / "target"
    with pytest.raises(DataError) as error:
        download_cmapss(target, sources=[*by_member, by_archive], progress=False)
    text = str(error.value)
    digest = hashlib.sha256(b"edited").hexdigest()
    assert f"{by_member[0].url}: train_FD003.txt has SHA-256 {digest}." in text
    assert f"{by_member[1].url}: RUL_FD001.txt is missing." in text
    whole = hashlib.sha256(good).hexdigest()
    (last,) = [line for line in text.splitlines() if by_archive.url in line and whole in line]
    assert f"expected {'0' * 64}" in last
    assert not target.exists()


def test_all_down_lists_every_address_reason_and_the_way_by_hand(
    serve: Sources, tmp_path: Path
) -> None:
    closed = DownloadSource("http://127.0.0.1:9/CMAPSSData.zip")
    sources = [closed, *serve(None, b"no zip")]
    target = tmp_path / "target"
    with pytest.raises(DataError) as error:
        download_cmapss(target, sources=sources, progress=False)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{target}: C-MAPSS could not be downloaded; tried"
    assert lines[1].startswith(f"  - {closed.url}: ConnectionError: ")
    assert lines[2].startswith(f"  - {sources[1].url}: HTTPError: 404 ")
    assert (
        lines[3] == f"  - {sources[2].url}: is not a readable zip archive (File is not a zip file)."
    )
    assert lines[4].startswith(" Remedy: check the connection, or get CMAPSSData.zip by hand")
    assert lines[4].endswith(f"unzip train_FD001.txt and the others into {target / 'CMAPSSData'}.")


def test_what_is_there_is_not_fetched_again(
    fake: dict[str, bytes], serve: Sources, tmp_path: Path
) -> None:
    folder = download_cmapss(tmp_path, sources=serve(packed(fake)), progress=False)
    assert download_cmapss(tmp_path, sources=[], progress=False) == folder
    (folder / "RUL_FD002.txt").unlink()  # an incomplete folder is completed
    download_cmapss(tmp_path, sources=serve(packed(fake)), progress=False)
    assert (folder / "RUL_FD002.txt").is_file()


def test_an_edited_file_is_never_overwritten(
    fake: dict[str, bytes], serve: Sources, tmp_path: Path
) -> None:
    mine = tmp_path / "CMAPSSData" / "train_FD001.txt"
    mine.parent.mkdir()
    mine.write_bytes(b"my own work")
    with pytest.raises(DataError, match=r"not the published files: train_FD001\.txt"):
        download_cmapss(tmp_path, sources=serve(packed(fake)), progress=False)
    assert mine.read_bytes() == b"my own work"


# --- locating -----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with none of the usual places in reach."""
    monkeypatch.delenv("GRACE_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    work = tmp_path / "home" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return work


def test_places_are_searched_in_order(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "train_FD001.txt").touch()
        return folder

    place(elsewhere.parents[1] / "cache" / "grace" / "CMAPSSData")
    assert find_data_root() == elsewhere.parents[1] / "cache" / "grace"
    place(elsewhere.parent / "shared" / "data" / "CMAPSSData")
    assert find_data_root() == Path("../shared/data")
    place(elsewhere / "data")
    assert find_data_root() == Path("data")
    monkeypatch.setenv("GRACE_DATA", str(place(elsewhere / "named")))
    assert find_data_root() == elsewhere / "named"
    assert find_data_root(place(elsewhere / "mine")) == elsewhere / "mine"


def test_an_explicit_root_is_not_replaced_by_another(elsewhere: Path) -> None:
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "train_FD001.txt").touch()
    with pytest.raises(DataError) as error:
        find_data_root(elsewhere / "typo")
    assert str(error.value) == (
        f"no C-MAPSS data found; searched {elsewhere / 'typo'}. Remedy: run `grace data download "
        "cmapss`, or set GRACE_DATA to the folder that holds CMAPSSData/."
    )


@pytest.mark.parametrize("there", [True, False])
def test_a_wrong_grace_data_is_not_replaced_by_another(
    there: bool, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "train_FD001.txt").touch()
    named = elsewhere / "typo"
    if there:
        named.mkdir()
    monkeypatch.setenv("GRACE_DATA", str(named))
    with pytest.raises(DataError) as error:
        find_data_root()
    assert str(error.value) == (
        f"the environment variable GRACE_DATA names {named}, but there are no C-MAPSS files there. "
        "Remedy: set it to the folder that holds CMAPSSData/, or unset it to search ./data, "
        "../shared/data and the user's cache."
    )
    assert find_data_root(Path("data")) == Path("data")
    monkeypatch.setenv("GRACE_DATA", "")  # set to nothing is not set
    assert find_data_root() == Path("data")


def test_nowhere_lists_every_place(elsewhere: Path) -> None:
    with pytest.raises(DataError) as error:
        find_data_root()
    cache = elsewhere.parents[1] / "cache" / "grace"
    shared = os.path.join(elsewhere, "..", "shared", "data")
    assert f"searched {elsewhere / 'data'}, {shared}, {cache}." in str(error.value)


def test_the_fullest_of_several_places_is_taken(fake: dict[str, bytes], tmp_path: Path) -> None:
    for i, names in enumerate([DATA[:2], DATA[:5], DATA]):
        (tmp_path / f"part{i}").mkdir()
        for name in names:
            (tmp_path / f"part{i}" / name).write_bytes(fake[name])
    files = locate_cmapss(tmp_path)
    assert files is not None
    assert files.where == str(tmp_path / "part2")
    shutil.rmtree(tmp_path / "part2")
    files = locate_cmapss(tmp_path)
    assert files is not None
    assert files.where == str(tmp_path / "part1")


# --- verifying, archives ------------------------------------------------------------------------


def test_verify_tells_modified_and_missing(published: Path, tmp_path: Path) -> None:
    assert {c.status for c in verify_cmapss(published)} == {"ok"}
    for name in ("RUL_FD001.txt", "test_FD001.txt"):
        shutil.copyfile(published / name, tmp_path / name)
    with (tmp_path / "RUL_FD001.txt").open("ab") as file:
        file.write(b"\n")
    checks = {c.name: c for c in verify_cmapss(tmp_path)}
    assert set(checks) == set(CMAPSS_SHA256)
    assert checks["test_FD001.txt"].status == "ok"
    assert checks["RUL_FD001.txt"].status == "modified"
    assert checks["train_FD004.txt"].status == "missing"
    assert checks["train_FD004.txt"].actual is None


def test_zip_and_nasa_zip_around_it(published: Path, tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_STORED) as archive:
        for name in CMAPSS_SHA256:
            archive.write(published / name, name)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "CMAPSSData.zip").write_bytes(inner.getvalue())
    outer = tmp_path / "nasa.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("6. Turbofan/CMAPSSData.zip", inner.getvalue())
    wanted = read_cmapss(published, "FD001").train.content_hash()
    for root in (tmp_path / "plain", tmp_path / "plain" / "CMAPSSData.zip", outer):
        assert read_cmapss(root, "FD001").train.content_hash() == wanted
        assert {c.status for c in verify_cmapss(root)} == {"ok"}


def test_damage_inside_a_zip_names_archive_and_member(tmp_path: Path) -> None:
    line = "1 2 " + " ".join(["0.5"] * 24)
    archive = tmp_path / "copy.zip"
    members = {f"{part}_FD001.txt": line.encode() for part in ("train", "test", "RUL")}
    archive.write_bytes(packed(members, "folder/"))
    with pytest.raises(DataError) as error:
        read_cmapss(archive, "FD001")
    start = f"{archive}!train_FD001.txt, line 1: unit 1 starts at cycle 2, not at 1."
    assert str(error.value).startswith(start)


def test_a_zip_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "other.zip").write_bytes(b"none of ours: not even opened")
    assert locate_cmapss(tmp_path) is None
    (tmp_path / "CMAPSSData.zip").write_bytes(b"<html>moved</html>")
    with pytest.raises(DataError, match="is not a readable zip archive"):
        read_cmapss(tmp_path, "FD001")


def test_a_damaged_member_of_a_zip(tmp_path: Path) -> None:
    archive = tmp_path / "CMAPSSData.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("train_FD001.txt", "1 1 0.5 " * 20)
    data = bytearray(archive.read_bytes())
    data[60] ^= 0xFF  # inside the stored text: the checksum no longer holds
    archive.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"train_FD001\.txt: cannot be read \(Bad CRC-32"):
        read_cmapss(tmp_path, "FD001")
