"""The cache of parsed tables: never stale, never in the way."""

from __future__ import annotations

import errno
import hashlib
import inspect
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from grace.data import DataError, cache, cmapss
from grace.data.cache import cached_table
from grace.data.cmapss import read_cmapss
from grace.data.cmapss_files import default_cache

TABLE = pl.DataFrame({"unit": [1, 1, 2], "s1": [0.1, -0.0, 3e-310], "note": ["a", None, "ü"]})
CONTENT = hashlib.sha256(b"what the table was read from").hexdigest()
EDITED = pytest.mark.filterwarnings("ignore:.*differ from the files NASA published")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; does not exist yet."""
    monkeypatch.setenv("GRACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def parses() -> Counter:
    return Counter()


class Counter:
    """A parser that counts how often it is asked."""

    def __init__(self, table: pl.DataFrame = TABLE) -> None:
        self.table, self.calls = table, 0

    def __call__(self) -> pl.DataFrame:
        self.calls += 1
        return self.table


def forbidden() -> pl.DataFrame:
    raise AssertionError("parsed although it is in the cache")


def files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if not p.is_dir())


def only_file(root: Path) -> Path:
    (file,) = files(root)
    return file


def cmapss_folder(folder: Path, *, cell: str = "1.5", train: str | None = None) -> Path:
    """FD001 of two training units and one test unit; ``cell`` is the first s21."""
    folder.mkdir(exist_ok=True)
    row = " ".join(["0.25"] * 23)
    text = f"1 1 {row} {cell}  \n1 2 {row} 2.5  \n2 1 {row} 3.5  \n"
    (folder / "train_FD001.txt").write_text(text if train is None else train)
    (folder / "test_FD001.txt").write_text(f"1 1 {row} 4.5  \n")
    (folder / "RUL_FD001.txt").write_text("9 \n")
    return folder


# --- the same table -----------------------------------------------------------------------------


def test_second_read_does_not_parse(parses: Counter) -> None:
    assert cached_table(CONTENT, "v1", parses) is TABLE
    again = cached_table(CONTENT, "v1", forbidden)
    assert_frame_equal(again, TABLE, check_exact=True)
    assert parses.calls == 1


@given(
    values=st.lists(st.floats(width=64), min_size=1, max_size=50),
    whole=st.integers(-(2**63), 2**63 - 1),
)
def test_every_bit_comes_back(values: list[float], whole: int) -> None:
    table = pl.DataFrame({"x": values, "ü b": [whole] * len(values)})
    content = hashlib.sha256(repr((values, whole)).encode()).hexdigest()
    cached_table(content, "v1", lambda: table)
    again = cached_table(content, "v1", forbidden)
    assert again.schema == table.schema
    assert again["x"].to_numpy().view(np.int64).tolist() == np.array(values).view(np.int64).tolist()
    assert again["ü b"].to_list() == [whole] * len(values)


def test_types_names_and_order() -> None:
    table = pl.DataFrame(
        {"z": [True, None], "a": [1.5, 2.5], "m": ["x", "y"], "k": [1, 2]},
        schema_overrides={"a": pl.Float32, "m": pl.Categorical, "k": pl.UInt8},
    )
    pieces = pl.concat([table, table.head(0), table], rechunk=False)
    for number, each in enumerate([table, table.head(0), table.slice(1), pieces]):
        cached_table(CONTENT, f"v{number}", lambda each=each: each)
        again = cached_table(CONTENT, f"v{number}", forbidden)
        assert again.columns == each.columns
        assert_frame_equal(again, each, check_exact=True)


@pytest.mark.parametrize("subset", ["FD001", "FD004"])
def test_published_files_come_back_exactly(
    subset: str, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("GRACE_CACHE", "off")
        parsed = read_cmapss(data_root, subset)
    first = read_cmapss(data_root, subset)
    monkeypatch.setattr(cmapss, "_parse_fast", forbidden)
    later = read_cmapss(data_root, subset)
    for part in ("train", "test"):
        wanted = getattr(parsed, part)
        for data in (first, later):
            got = getattr(data, part)
            assert_frame_equal(got.frame, wanted.frame, check_exact=True)
            assert_frame_equal(got.units, wanted.units, check_exact=True)
            assert got.content_hash() == wanted.content_hash()


# --- never stale --------------------------------------------------------------------------------


@EDITED
def test_edited_file_of_the_same_size_and_time_is_read_anew(tmp_path: Path) -> None:
    folder = cmapss_folder(tmp_path / "data", cell="1.5")
    file = folder / "train_FD001.txt"
    before = file.stat()

    def value() -> float:
        return float(read_cmapss(folder, "FD001").train.frame.item(0, "s21"))

    assert [value(), value()] == [1.5, 1.5]
    cmapss_folder(folder, cell="7.5")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert [value(), value()] == [7.5, 7.5]
    cmapss_folder(folder, cell="1.5")
    assert value() == 1.5


@pytest.mark.parametrize("change", ["content", "parser", "polars"])
def test_whatever_a_table_depends_on_is_in_its_key(
    change: str, monkeypatch: pytest.MonkeyPatch, parses: Counter
) -> None:
    cached_table(CONTENT, "v1", lambda: TABLE.head(1))
    content, parser = CONTENT, "v1"
    if change == "content":
        content = hashlib.sha256(b"other").hexdigest()
    elif change == "parser":
        parser = "v2"
    else:
        monkeypatch.setattr(pl, "__version__", "0.0.1")
    assert cached_table(content, parser, parses).height == TABLE.height
    assert parses.calls == 1


@EDITED
@pytest.mark.parametrize("change", ["version", "columns"])
def test_another_cmapss_parser_parses_anew(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cmapss_folder(tmp_path / "data")
    read_cmapss(folder, "FD001")
    if change == "version":
        monkeypatch.setattr(cmapss, "PARSER_VERSION", cmapss.PARSER_VERSION + 1)
    else:
        renamed = cmapss.cmapss_schema().model_copy(update={"time": "flight"})
        monkeypatch.setattr(cmapss, "cmapss_schema", lambda: renamed)
    data = read_cmapss(folder, "FD001")
    assert data.train.frame.columns[1] == ("cycle" if change == "version" else "flight")
    assert len(files(tmp_path / "cache")) == 4


def test_a_changed_parser_has_a_new_version() -> None:
    parser = ["_read_rows", "_parse_fast", "_parse_slowly", "_lines", "_number", "_out_of_order"]
    source = "".join(inspect.getsource(getattr(cmapss, part)) for part in parser)
    now = (cmapss.PARSER_VERSION, hashlib.sha256(source.encode()).hexdigest()[:16])
    assert now == (1, "f1d287622de49ae8"), (
        "the C-MAPSS parser was edited. If it could make another table of some file, raise "
        "PARSER_VERSION, or the old tables come out of users' caches; then write the new pair here."
    )


# --- damage -------------------------------------------------------------------------------------


def flip(at: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = min(int(at * len(data)), len(data) - 1)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change


def plain_arrow(data: bytes) -> bytes:
    stream = TABLE.write_ipc_stream(None)
    return stream.getvalue()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "shorter than the digest": lambda data: data[:20],
    "digest only": lambda data: data[:32],
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "another format": lambda data: b"PAR1" + data,
    "Arrow without a digest": plain_arrow,
    **{f"bit flipped at {at:.2f}": flip(at) for at in np.linspace(0, 1, 21)},
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damaged_file_is_parsed_anew_and_replaced(damage: str, root: Path, parses: Counter) -> None:
    table = pl.DataFrame({"x": np.random.default_rng(0).normal(size=500)})
    parses.table = table
    cached_table(CONTENT, "v1", parses)
    file = only_file(root)
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[damage](whole))
    assert file.read_bytes() != whole
    assert cached_table(CONTENT, "v1", parses).equals(table)
    assert parses.calls == 2
    assert cached_table(CONTENT, "v1", forbidden).equals(table)
    assert only_file(root).read_bytes() == whole


def test_every_single_flipped_bit_is_noticed(root: Path, parses: Counter) -> None:
    cached_table(CONTENT, "v1", parses)
    file = only_file(root)
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(flip(place / len(whole))(whole))
        assert cache._load(file, file.stem) is None
    file.write_bytes(whole)
    assert cache._load(file, file.stem) is not None


def test_a_table_under_the_name_of_another_is_not_taken(root: Path, parses: Counter) -> None:
    cached_table(CONTENT, "v1", lambda: TABLE.head(1))
    other = only_file(root)
    cached_table(CONTENT, "v2", parses)
    (mine,) = set(files(root)) - {other}
    shutil.copy(other, mine)
    assert cached_table(CONTENT, "v2", parses).height == TABLE.height
    assert parses.calls == 2


def test_rightly_signed_but_not_arrow_is_parsed_anew(root: Path, parses: Counter) -> None:
    cached_table(CONTENT, "v1", parses)
    file = only_file(root)
    file.write_bytes(cache._digest(file.stem, b"not arrow") + b"not arrow")
    assert cached_table(CONTENT, "v1", parses) is TABLE
    assert_frame_equal(cached_table(CONTENT, "v1", forbidden), TABLE)


def test_folder_in_place_of_the_file(root: Path, parses: Counter) -> None:
    cached_table(CONTENT, "v1", parses)
    file = only_file(root)
    file.unlink()
    (file / "below").mkdir(parents=True)
    for _ in range(2):
        assert cached_table(CONTENT, "v1", parses) is TABLE
    assert files(root) == []
    assert [p.name for p in file.parent.iterdir()] == [file.name]


# --- never in the way ---------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["", "below"])
def test_cache_that_is_a_file(
    depth: str, root: Path, monkeypatch: pytest.MonkeyPatch, parses: Counter
) -> None:
    root.write_text("mine")
    monkeypatch.setenv("GRACE_CACHE", str(root / depth))
    for _ in range(2):
        assert cached_table(CONTENT, "v1", parses) is TABLE
    assert root.read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, parses: Counter) -> None:
    monkeypatch.setenv("GRACE_CACHE", "/proc/grace")
    for _ in range(2):
        assert cached_table(CONTENT, "v1", parses) is TABLE


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_folder_without_permission(mode: int, root: Path, parses: Counter) -> None:
    cached_table(CONTENT, "v1", lambda: TABLE)
    (root / "tables").chmod(mode)
    try:
        assert cached_table(CONTENT, "v2", parses) is TABLE
        assert_frame_equal(cached_table(CONTENT, "v1", parses), TABLE)
        assert parses.calls == (2 if mode == 0 else 1)
    finally:
        (root / "tables").chmod(0o700)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "open", "replace"])
def test_refused_write(
    code: int, call: str, root: Path, monkeypatch: pytest.MonkeyPatch, parses: Counter
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "replace" else Path, call, refuse)
        assert cached_table(CONTENT, "v1", parses) is TABLE
    assert files(root) == []
    assert cached_table(CONTENT, "v1", parses) is TABLE
    assert len(files(root)) == 1


def run_python(code: str, *args: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_disk_that_fills_while_writing(root: Path) -> None:
    pytest.importorskip("resource")
    code = (
        "import resource, polars as pl, numpy as np, signal\n"
        "from grace.data.cache import cached_table\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "table = pl.DataFrame({'x': np.random.default_rng(0).normal(size=100_000)})\n"
        "for _ in range(2):\n"
        "    assert cached_table('0', 'v1', lambda: table) is table\n"
        "small = table.head(10)\n"
        "cached_table('1', 'v1', lambda: small)\n"
        "assert cached_table('1', 'v1', lambda: 1 / 0).equals(small)\n"
    )
    run_python(code)
    assert only_file(root).stat().st_size < 50_000  # the small one; nothing of the large one


def test_interrupt_while_writing_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_table(CONTENT, "v1", lambda: TABLE)
    assert files(root) == []


def test_table_that_arrow_does_not_know_is_returned_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch, parses: Counter
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise pl.exceptions.ComputeError("no such type in Arrow")

    monkeypatch.setattr(pl.DataFrame, "write_ipc_stream", refuse)
    assert cached_table(CONTENT, "v1", parses) is TABLE
    assert files(root) == []


def test_nothing_is_kept_of_what_does_not_parse(root: Path) -> None:
    def fail() -> pl.DataFrame:
        raise DataError("broken")

    for _ in range(2):
        with pytest.raises(DataError, match="broken"):
            cached_table(CONTENT, "v1", fail)
    assert not root.exists()


def test_messages_on_broken_files_do_not_change(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cmapss_folder(tmp_path / "data", cell="1.5e")
    told = []
    for place in ("off", str(root), str(root)):
        monkeypatch.setenv("GRACE_CACHE", place)
        with pytest.raises(DataError) as raised:
            read_cmapss(folder, "FD001")
        told.append(str(raised.value))
    assert told[0].startswith(f"{folder}/train_FD001.txt, line 1: column 's21' is not a number")
    assert told[0] == told[1] == told[2]
    assert not root.exists()


@EDITED
def test_a_message_names_the_file_that_is_read_now(tmp_path: Path) -> None:
    """The table of one folder serves the same bytes in another, whose own label is told."""
    cmapss_folder(tmp_path / "one")
    read_cmapss(tmp_path / "one", "FD001")
    (cmapss_folder(tmp_path / "two") / "RUL_FD001.txt").write_text("9\n8\n")
    with pytest.raises(DataError, match=r"two/RUL_FD001.txt, line 2: 2 values for 1 test units"):
        read_cmapss(tmp_path / "two", "FD001")


def test_warning_of_edited_files_on_every_read(tmp_path: Path) -> None:
    folder = cmapss_folder(tmp_path / "data")
    told = []
    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_cmapss(folder, "FD001")
        told.append([str(w.message) for w in caught])
    assert len(told[0]) == 1
    assert "differ from the files NASA published (train 3 rows" in told[0][0]
    assert told[0] == told[1] == told[2]


@EDITED
def test_each_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cmapss_folder(tmp_path / "data")
    sources = [(folder / f"{part}_FD001.txt").read_bytes() for part in ("train", "test", "RUL")]
    hashed = []
    sha256 = hashlib.sha256

    def count(data: bytes = b"") -> Any:
        hashed.append(bytes(data))
        return sha256(data)

    monkeypatch.setattr(hashlib, "sha256", count)
    read_cmapss(folder, "FD001")
    assert [hashed.count(source) for source in sources] == [1, 1, 1]


# --- while others use it ------------------------------------------------------------------------


def test_table_in_use_outlives_its_file(root: Path) -> None:
    table = pl.DataFrame({"x": np.random.default_rng(0).normal(size=200_000)})
    cached_table(CONTENT, "v1", lambda: table)
    read = [cached_table(CONTENT, "v1", forbidden) for _ in range(3)]
    file = only_file(root)
    file.write_bytes(b"")  # in place, which would end a process that had mapped it
    assert read[0].equals(table)
    file.write_bytes(bytes(2_000_000))
    assert read[1].equals(table)
    shutil.rmtree(root)
    assert read[2].equals(table)
    assert cached_table(CONTENT, "v1", lambda: table) is table
    assert_frame_equal(cached_table(CONTENT, "v1", forbidden), table)


CROWD = """
import sys
import numpy as np, polars as pl
from grace.data.cache import cached_table
seed = int(sys.argv[1])
order = np.random.default_rng(seed)
parsed = 0
for _ in range(150):
    number = int(order.integers(3))
    table = pl.DataFrame({"x": np.random.default_rng(number).normal(size=20_000)})
    def parse():
        global parsed
        parsed += 1
        return table
    assert cached_table(str(number), "v1", parse).equals(table)
print(parsed)
"""


def test_several_processes_and_a_vandal(root: Path) -> None:
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, str(seed)], stdout=subprocess.PIPE, text=True
        )
        for seed in range(3)
    ]
    chance = random.Random(0)
    while any(process.poll() is None for process in crowd):
        for file in files(root) if root.exists() else []:
            try:
                if chance.random() < 0.5:
                    file.unlink()
                else:
                    os.truncate(file, 1000)
            except OSError:
                pass  # somebody was faster
        if chance.random() < 0.1:
            shutil.rmtree(root, ignore_errors=True)
    parsed = [int(process.communicate()[0] or 0) for process in crowd]
    assert [process.returncode for process in crowd] == [0, 0, 0]
    assert sum(parsed) > 3 * len(crowd)  # the vandal was felt


# --- where, and how much ------------------------------------------------------------------------


@pytest.mark.parametrize("off", ["off", "OFF"])
def test_off(off: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parses: Counter) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRACE_CACHE", off)
    for _ in range(2):
        assert cached_table(CONTENT, "v1", parses) is TABLE
    assert parses.calls == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize("named", [None, ""])
def test_place(named: str | None, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_table(CONTENT, "v1", lambda: TABLE)
    assert only_file(root).parent == root / "tables"
    monkeypatch.delenv("GRACE_CACHE")
    if named is not None:
        monkeypatch.setenv("GRACE_CACHE", named)
    assert cache._folder() == default_cache() / "tables"


def test_without_a_home_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parses: Counter
) -> None:
    import platformdirs

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRACE_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    assert cached_table(CONTENT, "v1", parses) is TABLE
    assert files(tmp_path) == []


def test_tests_leave_the_user_s_cache_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.undo()  # of this file's own fixture; what remains is that of the session
    place = Path(os.environ["GRACE_CACHE"])
    assert place.is_relative_to(tmp_path_factory.getbasetemp())


def test_importing_writes_nothing(root: Path) -> None:
    run_python("import grace.data.cmapss, grace.data.readers, grace.data.cache")
    assert not root.exists()


def test_growth_is_bounded_and_the_oldest_go_first(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(number: int) -> Path:
        before = set(files(root)) if root.exists() else set()
        cached_table(CONTENT, f"v{number}", lambda: TABLE)
        (file,) = set(files(root)) - before
        os.utime(file, (number, number))
        return file

    size = write(0).stat().st_size
    stranger = root / "tables" / "notes.arrow"
    stranger.write_bytes(bytes(10 * size))
    killed = root / "tables" / "0123.grace-table"  # what a process left that was killed
    killed.write_bytes(b"half")
    os.utime(killed, (0, 0))
    monkeypatch.setattr(cache, "_LIMIT", 3 * size)
    written = [write(number) for number in range(1, 6)]
    assert set(files(root)) == {*written[-3:], stranger}
    monkeypatch.setattr(cache, "_LIMIT", 1)
    last = write(6)
    assert set(files(root)) == {last, stranger}  # the one just written stays in any case
