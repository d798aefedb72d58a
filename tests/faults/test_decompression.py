"""Archives, compressed files and servers that would fill memory or disk are refused early."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import grace
from grace.data import DataError
from grace.data.bounded import MAX_ARCHIVE, compression_of
from grace.data.cmapss import read_cmapss
from grace.data.cmapss_files import CMAPSS_SHA256, verify_cmapss
from grace.data.download import DownloadSource, download_cmapss

NAMES = [n for n in CMAPSS_SHA256 if n != "readme.txt"]
SOURCE = str(Path(grace.__file__).parents[1])


def bomb(name: str, size: int) -> bytes:
    """A zip archive with one member of zeros."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            member.write(block)
    return buffer.getvalue()


# ru_maxrss of a child starts at that of its parent: Linux tells the peak of the process itself.
PEAK = r"""
status = Path("/proc/self/status")
own = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
peak = int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("PEAK", peak / 1024)
"""


def run_child(code: str, *arguments: Path) -> tuple[float, str]:
    """Peak memory in megabytes of a process that runs the code, and what it printed."""
    start = "import re, resource, sys\nfrom pathlib import Path\nimport grace\n"
    start += "from grace.data import DataError\nfrom grace.data.cmapss import read_cmapss\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code + PEAK, *map(str, arguments)],
        capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return float(re.findall(r"PEAK ([\d.]+)", done.stdout)[0]), done.stdout


@cache
def peak_of_imports() -> float:
    return run_child("import polars")[0]


def peak_megabytes(code: str, *arguments: Path) -> tuple[float, str]:
    """Peak memory of a child process above that of the imports alone, and what it printed."""
    peak, text = run_child(code, *arguments)
    return peak - peak_of_imports(), text


READ_CMAPSS = """
try:
    read_cmapss(Path(sys.argv[1]), "FD001")
except DataError as error:
    print("REFUSED", error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("nested", [False, True], ids=["member", "nested archive"])
def test_a_zip_bomb_takes_no_more_than_the_limit(nested: bool, tmp_path: Path) -> None:
    path = tmp_path / "CMAPSSData.zip"
    path.write_bytes(bomb("CMAPSSData.zip" if nested else "train_FD001.txt", 1 << 29))
    with zipfile.ZipFile(path, "a") as archive:
        for name in NAMES:
            if nested or name != "train_FD001.txt":
                archive.writestr(name, "1")
    assert path.stat().st_size < 4 << 20
    peak, text = peak_megabytes(READ_CMAPSS, path)
    assert "REFUSED" in text
    assert "larger than the limit of 0.0671 GB" in text
    assert peak < 4 * MAX_ARCHIVE / 2**20


def test_a_member_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    path.write_bytes(bomb("train_FD001.txt", MAX_ARCHIVE + (1 << 20)))
    with pytest.raises(DataError, match=r"data.zip!train_FD001.txt: .*larger than the limit"):
        verify_cmapss(path)


def test_an_archive_of_very_many_entries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(10_001):
            archive.writestr(str(i), "")
    with pytest.raises(DataError, match="10001 entries"):
        verify_cmapss(path)


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, zlib.compress, lambda raw: zlib.compress(raw, 0)],
    ids=["gzip", "zlib", "zlib stored"],
)
def test_compressed_data_under_a_txt_name_is_refused(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(pack(b"1 1 " + b"0.5 " * 24 + b"\n"))
    with pytest.raises(DataError, match=r"train_FD001.txt: is \w+-compressed data under the name"):
        read_cmapss(tmp_path, "FD001")


def test_an_endless_text_file_is_refused(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(b"1\n")
    with (tmp_path / "train_FD001.txt").open("wb") as file:
        file.truncate(MAX_ARCHIVE + 1)  # a sparse file
    with pytest.raises(DataError, match=r"train_FD001.txt: .*larger than the limit"):
        read_cmapss(tmp_path, "FD001")


# --- tables -------------------------------------------------------------------------------------

KEYS = {"unit": "unit", "time": "time", "time_unit": "hours", "fate": "end_of_record"}


def csv(rows: int) -> bytes:
    lines = [f"{i // 10},{i % 10},{i * 0.7:.3f}" for i in range(rows)]
    return "\n".join(["unit,time,a", *lines]).encode()


@pytest.mark.parametrize("name", ["table.csv.gz", "table.csv", "table.txt"])
def test_a_gzip_table_beyond_the_limit_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(csv(3000)))
    assert grace.read_table(path, **KEYS).n_rows == 3000
    monkeypatch.setattr("grace.data.bounded.MAX_DECOMPRESSED", 20_000)
    with pytest.raises(DataError, match=rf"{name}: .*larger than the limit of 2e-05 GB"):
        grace.read_table(path, **KEYS)


def test_gzip_in_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(gzip.compress(csv(30))))
    with pytest.raises(DataError, match="compressed more than once"):
        grace.read_table(path, **KEYS)


@pytest.mark.parametrize("head", [b"x\x01", b"x\x9c", b"BZh9", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"])
def test_other_compressions_are_named(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(head + csv(30))
    with pytest.raises(DataError, match=f"the file is {compression_of(head)}-compressed"):
        grace.read_table(path, **KEYS)


def test_a_parquet_file_that_announces_more_rows_than_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    n = 100_000
    frame = pl.DataFrame({"unit": np.arange(n) // 100, "time": np.arange(n) % 100, "a": [1.5] * n})
    frame.write_parquet(path)
    monkeypatch.setattr("grace.data.table.sources.available_memory", lambda: 2e6)
    with pytest.raises(DataError, match=r"table.parquet: .*needs about 0.0024 GB"):
        grace.read_table(path, **KEYS)


def test_devices_and_pipes_are_no_tables(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (Path("/dev/zero"), tmp_path / "pipe.csv"):
        with pytest.raises(DataError, match="is no regular file"):
            grace.read_table(path, **KEYS)


# --- servers ------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive of small members that count as the published ones."""
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in CMAPSS_SHA256:
            data = f"content of {name}".encode()
            monkeypatch.setitem(CMAPSS_SHA256, name, hashlib.sha256(data).hexdigest())
            archive.writestr(name, data)
    return buffer.getvalue()


class Hostile(BaseHTTPRequestHandler):
    good = b""

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        kind = self.path.strip("/").removesuffix(".zip")
        if kind == "good":
            self._head(b"Content-Length: %d" % len(self.good))
            self.wfile.write(self.good)
        elif kind in ("endless", "endless-gzip"):
            block = os.urandom(1 << 20)
            self._head(b"Content-Encoding: gzip" if kind == "endless-gzip" else b"X: 1")
            packer = zlib.compressobj(wbits=31)
            try:
                for _ in range(4096):
                    zeros = packer.compress(bytes(1 << 20))
                    self.wfile.write(zeros if kind == "endless-gzip" else block)
            except OSError:
                pass
        elif kind == "length":
            self._head(b"Content-Length: a lot")
            self.wfile.write(b"x")
        elif kind == "negative":
            self._head(b"Content-Length: -5")
            self.wfile.write(b"x")
        elif kind == "status":
            self.wfile.write(b"HTTP/1.1 two hundred OK\r\n\r\n")
        elif kind == "header":
            self._head(b"\xff\xfe\x00: \x80\r\nno colon here\r\n: empty")
            self.wfile.write(b"x")
        elif kind == "encoding":
            self._head(b"Content-Encoding: gzip")
            self.wfile.write(b"this is not gzip")
        elif kind == "loop":
            self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /loop.zip\r\n\r\n")
        elif kind == "location":
            self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n")
        elif kind == "chunks":
            self._head(b"Transfer-Encoding: chunked")
            self.wfile.write(b"zz\r\nnonsense\r\n")
        elif kind == "short":
            self._head(b"Content-Length: 1000000")
            self.wfile.write(self.good[:50])
        # "silent": the connection is closed without an answer

    def _head(self, lines: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + lines + b"\r\n\r\n")


KINDS = [
    "endless", "endless-gzip", "length", "negative", "status", "header", "encoding", "loop",
    "location", "chunks", "short", "silent",
]  # fmt: skip


@pytest.fixture
def address(fake: bytes) -> Iterator[str]:
    Hostile.good = fake
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("progress", [False, True], ids=["quiet", "bar"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_hostile_server_the_next_source_is_tried(
    kind: str, progress: bool, address: str, tmp_path: Path
) -> None:
    sources = [DownloadSource(f"{address}/{kind}.zip"), DownloadSource(f"{address}/good.zip")]
    folder = download_cmapss(tmp_path / "a" / "b", sources=sources, progress=progress)
    assert {p.name for p in folder.iterdir()} == set(CMAPSS_SHA256)
    assert [p.name for p in folder.parent.iterdir()] == ["CMAPSSData"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_download_leaves_no_folder(kind: str, address: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    target = tmp_path / "mine" / "a" / "b"
    with pytest.raises(DataError, match=rf"tried\n  - {address}/{kind}.zip: "):
        download_cmapss(target, sources=[DownloadSource(f"{address}/{kind}.zip")], progress=False)
    assert list((tmp_path / "mine").iterdir()) == []


def test_an_endless_response_ends_at_the_limit(address: str, tmp_path: Path) -> None:
    written = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal written
        while not done.is_set():
            sizes = [p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()]
            written = max(written, sum(sizes))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(DataError, match=r"longer than the limit of 0.0671 GB"):
            download_cmapss(
                tmp_path, sources=[DownloadSource(f"{address}/endless.zip")], progress=False
            )
    finally:
        done.set()
        watcher.join()
    assert written <= MAX_ARCHIVE
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_no_folder(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("grace.data.download._unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_cmapss(
            tmp_path / "a", sources=[DownloadSource(f"{address}/good.zip")], progress=False
        )
    assert list(tmp_path.iterdir()) == []
