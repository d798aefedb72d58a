"""The C-MAPSS reader: the published figures, tolerance, and every kind of damage by line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from grace.data import DataError
from grace.data.cmapss import (
    CMAPSS_SUBSETS,
    cmapss_schema,
    read_cmapss,
)

FETCH = "or fetch the published files with `grace data download cmapss`."
RESTORE = f"restore the lines: units and their cycles run 1, 2, 3, ..., {FETCH}"
CORRECT = f"correct the cell, {FETCH}"
EDITED = pytest.mark.filterwarnings("ignore:.*differ from the files NASA published")


def rows(*lives: int) -> list[str]:
    """Units 1, 2, ... of these lengths, in the published form with two trailing blanks."""
    return [
        f"{u} {c} " + " ".join(f"{u}.{c:02d}{k:02d}" for k in range(24)) + "  "
        for u, life in enumerate(lives, 1)
        for c in range(1, life + 1)
    ]


def write(folder: Path, train: list[str], test: list[str], rul: list[str], end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, lines in (("train", train), ("test", test), ("RUL", rul)):
        (folder / f"{part}_FD001.txt").write_bytes("".join(x + end for x in lines).encode())
    return folder


def edit(line: str, column: int, cell: str) -> str:
    cells = line.split()
    cells[column] = cell
    return " ".join(cells) + "  "


# --- the published files ------------------------------------------------------------------------


@pytest.mark.parametrize("subset", list(CMAPSS_SUBSETS))
def test_counts_of_the_specification(subset: str, data_root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the published files raise no warning
        data = read_cmapss(data_root, subset)
    train_rows = {"FD001": 20631, "FD002": 53759, "FD003": 24720, "FD004": 61249}
    test_rows = {"FD001": 13096, "FD002": 33991, "FD003": 16596, "FD004": 41214}
    engines = {"FD001": (100, 100), "FD002": (260, 259), "FD003": (100, 100), "FD004": (249, 248)}
    windows = {"FD001": 17731, "FD002": 46219, "FD003": 21820, "FD004": 54028}
    assert (data.train.n_rows, data.test.n_rows) == (train_rows[subset], test_rows[subset])
    assert (data.train.n_units, data.test.n_units) == engines[subset]
    assert int((data.train.lengths() - 29).sum()) == windows[subset]
    assert data.n_conditions == (6 if subset in ("FD002", "FD004") else 1)
    assert len(data.default_sensors) == 14
    assert data.train.units["failed"].all()
    assert data.train.schema.time_unit == "cycles"
    assert "Saxena" in data.citation
    assert data.synthetic


@pytest.mark.parametrize(
    ("subset", "first", "last_train", "last_test", "last_rul"),
    [
        ("FD001", (1, 1, -0.0007, 641.82), (100, 200, -0.0032, 643.85), (100, 198), 20.0),
        ("FD002", (1, 1, 34.9983, 555.32), (260, 316, 35.0036, 556.64), (259, 123), 51.0),
        ("FD003", (1, 1, -0.0005, 642.36), (100, 152, 0.0, 643.64), (100, 247), 28.0),
        ("FD004", (1, 1, 42.0049, 549.68), (249, 255, 42.003, 549.85), (248, 281), 26.0),
    ],
)
def test_first_and_last_rows(
    subset: str,
    first: tuple[float, ...],
    last_train: tuple[float, ...],
    last_test: tuple[int, int],
    last_rul: float,
    data_root: Path,
) -> None:
    data = read_cmapss(data_root, subset)
    picked = data.train.frame.select("unit", "cycle", "setting1", "s2")
    assert picked.row(0) == first
    assert picked.row(-1) == last_train
    assert data.test.frame.select("unit", "cycle").row(-1) == last_test
    assert data.test.rul()[-1] == last_rul
    assert data.train.rul()[-1] == 0.0


def test_short_engines_of_fd002_and_fd004_are_kept(data_root: Path) -> None:
    assert read_cmapss(data_root, "FD002").test.lengths().min() == 21
    assert read_cmapss(data_root, "FD004").test.lengths().min() == 19


def test_last_column_of_the_first_row(data_root: Path) -> None:
    assert read_cmapss(data_root, "FD001").train.frame.row(0, named=True)["s21"] == 23.4190


def test_schema_names_symbols_and_units() -> None:
    texts = cmapss_schema().descriptions
    assert texts["setting3"].startswith("TRA")
    assert texts["s11"] == "Ps30, static pressure at HPC outlet, psia"
    symbols = ",".join(texts[f"s{i}"].split(",")[0] for i in range(1, 22))
    assert symbols == (
        "T2,T24,T30,T50,P2,P15,P30,Nf,Nc,epr,Ps30,phi,NRf,NRc,BPR,farB,htBleed,Nf_dmd,PCNfR_dmd,"
        "W31,W32"
    )


# --- small files: tolerance ---------------------------------------------------------------------


@EDITED
@pytest.mark.parametrize("place", [".", "CMAPSSData", "some folder"])
def test_folder_or_one_level_down(place: str, tmp_path: Path) -> None:
    write(tmp_path / place, rows(3, 4), rows(2, 2), ["7 ", "0 "])
    data = read_cmapss(tmp_path, "FD001")
    assert data.train.lengths().tolist() == [3, 4]
    assert data.test.units["rul_at_end"].to_list() == [7.0, 0.0]
    assert data.test.rul().tolist() == [8.0, 7.0, 1.0, 0.0]


@EDITED
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.rstrip(),
        lambda x: x.replace(" ", "\t"),
        lambda x: x.replace(" ", "   "),
        lambda x: "  " + x,
        lambda x: x + "\n",  # a blank line after every row
        lambda x: x + "\r",
        lambda x: " ".join(f"{float(c):.18e}" for c in x.split()),  # numpy.savetxt
    ],
    ids=["no trailing blanks", "tabs", "blanks", "leading", "blank lines", "CRLF", "savetxt"],
)
def test_other_spellings_read_the_same(change: Callable[[str], str], tmp_path: Path) -> None:
    plain = read_cmapss(write(tmp_path / "a", rows(3, 2), rows(2), ["5"]), "FD001")
    lines = [change(x) for x in rows(3, 2)]
    other = read_cmapss(write(tmp_path / "b", lines, rows(2), ["5"]), "FD001")
    assert other.train.content_hash() == plain.train.content_hash()


@EDITED
def test_fast_and_slow_path_agree_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 24)) * 10.0 ** rng.integers(-3, 5, size=24)
    lines = [f"1 {c} " + " ".join(f"{v:.4f}" for v in row) for c, row in enumerate(values, 1)]
    fast = write(tmp_path / "a", [f"{x}  " for x in lines], rows(1), ["1"])
    slow = write(tmp_path / "b", [f"{x} \t" for x in lines], rows(1), ["1"])
    assert (
        read_cmapss(fast, "FD001").train.content_hash()
        == read_cmapss(slow, "FD001").train.content_hash()
    )


def test_an_edited_copy_warns_once_and_clearly(tmp_path: Path) -> None:
    write(tmp_path, rows(3), rows(2), ["7"])
    with pytest.warns(UserWarning, match="differ") as caught:
        read_cmapss(tmp_path, "FD001")
    assert [str(w.message) for w in caught] == [
        f"{tmp_path}: train_FD001.txt, test_FD001.txt, RUL_FD001.txt differ from the files NASA "
        "published (train 3 rows, published 20631; test 2, published 13096). Results are not "
        f"comparable with published ones. Remedy: keep them if that is intended, {FETCH}"
    ]


# --- small files: damage ------------------------------------------------------------------------

BASE = rows(3, 3, 2)  # units 1 1 1 2 2 2 3 3 on lines 1 to 8
DAMAGE = {
    "short row": ([*BASE[:3], "2 1 0.5", *BASE[4:]], 4, "3 columns instead of 26."),
    "long row": ([BASE[0] + "9", *BASE[1:]], 1, "27 columns instead of 26."),
    "lost cell": ([BASE[0].replace("1.0105", ""), *BASE[1:]], 1, "25 columns instead of 26."),
    "word": ([*BASE[:2], edit(BASE[2], 6, "n/a"), *BASE[3:]], 3, "s2:n/a"),
    "underscore": ([*BASE[:2], edit(BASE[2], 6, "1_0"), *BASE[3:]], 3, "s2:1_0"),
    "NaN": ([edit(BASE[0], 4, "NaN"), *BASE[1:]], 1, "setting3 inf:NaN"),
    "inf": ([*BASE[:7], edit(BASE[7], 25, "-inf")], 8, "s21 inf:-inf"),
    "half cycle": ([BASE[0], edit(BASE[1], 1, "1.5"), *BASE[2:]], 2, "cycle whole:1.5"),
    "half unit": ([BASE[0], edit(BASE[1], 0, "1.2"), *BASE[2:]], 2, "unit whole:1.2"),
    "gap": ([BASE[0], *BASE[2:]], 2, "cycle 3 of unit 1 follows cycle 1."),
    "repeat": ([BASE[0], *BASE], 2, "cycle 1 of unit 1 is repeated."),
    "backwards": ([BASE[0], BASE[1], BASE[0]], 3, "cycle 1 of unit 1 follows cycle 2."),
    "late start": ([*BASE[:3], *BASE[4:]], 4, "unit 2 starts at cycle 2, not at 1."),
    "missing unit": ([*BASE[:3], *BASE[6:]], 4, "unit 2 is missing: unit 3 follows unit 1."),
    "first missing": (BASE[3:], 1, "the first unit is 2 instead of 1."),
    "unit zero": ([edit(BASE[0], 0, "0"), *BASE[1:]], 1, "the first unit is 0 instead of 1."),
    "reappears": ([*BASE[:6], BASE[0], *BASE[6:]], 7, "unit 1 reappears after unit 2."),
    "after a blank line": ([BASE[0], "", BASE[2]], 3, "cycle 3 of unit 1 follows cycle 1."),
}


def message(problem: str) -> str:
    if problem.endswith("."):
        return problem
    place, cell = problem.split(":")
    column, *kind = place.split()
    what = {"inf": "finite", "whole": "a whole number"}.get(kind[0] if kind else "", "a number")
    return f"column '{column}' is not {what}: '{cell}'."


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", list(DAMAGE))
def test_damage_names_file_line_and_remedy(kind: str, part: str, tmp_path: Path) -> None:
    lines, line, problem = DAMAGE[kind]
    write(tmp_path, lines if part == "train" else BASE, lines if part == "test" else BASE, ["1"])
    with pytest.raises(DataError) as error:
        read_cmapss(tmp_path, "FD001")
    if "columns instead" in problem:
        remedy = f"write unit, cycle, 3 settings and 21 sensors separated by blanks, {FETCH}"
    elif problem.endswith("."):
        remedy = RESTORE
    elif " " in problem:
        remedy = CORRECT
    else:
        remedy = f"correct the cell (a header line has to go), {FETCH}"
    file = tmp_path / f"{part}_FD001.txt"
    assert str(error.value) == f"{file}, line {line}: {message(problem)} Remedy: {remedy}"
    assert error.value.line == line
    assert error.value.source == str(file)


@pytest.mark.parametrize("line", range(8))
def test_a_lost_line_anywhere_but_at_the_end_of_a_unit_is_found(line: int, tmp_path: Path) -> None:
    write(tmp_path, [*BASE[:line], *BASE[line + 1 :]], BASE, ["1", "2", "3"])
    if line in (2, 5, 7):  # a shorter life is a legal life: only the hash can tell
        with pytest.warns(UserWarning, match="differ from the files NASA published"):
            read_cmapss(tmp_path, "FD001")
    else:
        with pytest.raises(DataError):
            read_cmapss(tmp_path, "FD001")


RUL_DAMAGE = {
    "too few": (["1", "2"], 2, "2 values for 3 test units.", "give one line per test unit"),
    "too many": (["1", "2", "3", "4"], 4, "4 values for 3 test units.", "give one line per"),
    "negative": (["1", "-2", "3"], 2, "RUL -2 is negative.", "write one number >= 0 per line"),
    "word": (["1", "two", "3"], 2, "column 'RUL' is not a number: 'two'.", "correct the cell"),
    "nan": (["1", "2", "nan"], 3, "column 'RUL' is not finite: 'nan'.", "correct the cell"),
    "two": (["1", "2 3", "4"], 2, "2 columns, not 1.", "write one number >= 0 per line"),
}


@pytest.mark.parametrize("kind", list(RUL_DAMAGE))
def test_damaged_rul_file(kind: str, tmp_path: Path) -> None:
    lines, line, problem, remedy = RUL_DAMAGE[kind]
    write(tmp_path, BASE, BASE, lines)
    with pytest.raises(DataError) as error:
        read_cmapss(tmp_path, "FD001")
    start = f"{tmp_path / 'RUL_FD001.txt'}, line {line}: {problem} Remedy: {remedy}"
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(FETCH)


def test_empty_and_missing_files(tmp_path: Path) -> None:
    write(tmp_path, [], BASE, ["1", "2", "3"])
    with pytest.raises(DataError) as error:
        read_cmapss(tmp_path, "FD001")
    file = tmp_path / "train_FD001.txt"
    assert str(error.value) == f"{file}: the file is empty. Remedy: replace it, {FETCH}"
    file.unlink()
    with pytest.raises(DataError) as error:
        read_cmapss(tmp_path, "FD001")
    assert str(error.value) == (f"{tmp_path}: train_FD001.txt is missing. Remedy: add it, {FETCH}")


def test_nothing_there_and_unknown_subset(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_cmapss(tmp_path, "FD001")
    assert str(error.value) == (
        f"{tmp_path}: no C-MAPSS files (train_FD001.txt, ...) here, one level below, or in a zip. "
        f"Remedy: name the folder that holds them, {FETCH}"
    )
    with pytest.raises(DataError, match="no subset 'FD005'"):
        read_cmapss(tmp_path, "FD005")
