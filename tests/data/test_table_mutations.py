"""A damaged table gives a fleet with issues or one clear error, never another exception."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grace.data import DataError, Fleet, read_table

_SPEC = importlib.util.spec_from_file_location(
    "table_mutations", Path(__file__).with_name("table_mutations.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
mutations: Any = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = mutations
_SPEC.loader.exec_module(mutations)


def read_damaged(seed: int, folder: Path) -> Fleet | DataError:
    file = folder / "pumps.csv"
    file.write_bytes(mutations.damaged_file(seed))
    keys: dict[str, Any] = {"fate": ["failed", "end_of_record", "unknown"][seed % 3]}
    keys |= {"static": ["load"]} if seed % 2 else {"settings": ["load"]}
    keys |= {"timezone": "Europe/Berlin"} if seed % 5 == 0 else {}
    try:
        return read_table(file, unit="pump", time="when", time_unit="hours", **keys)
    except DataError as error:
        return error


def check(seeds: range, folder: Path) -> tuple[int, int]:
    fleets = 0
    for seed in seeds:
        result = read_damaged(seed, folder)
        if isinstance(result, DataError):
            assert "Remedy: " in str(result), seed
            assert "pumps.csv" in str(result), seed
            continue
        fleets += 1
        assert not np.isinf(result.values(result.schema.channels)).any(), seed
        assert np.isfinite(result.times()).all(), seed
        assert result.issues, seed
    return fleets, len(seeds) - fleets


# GRACE_TEST_CASES=1000 tries as many.
CASES = int(os.environ.get("GRACE_TEST_CASES", "150"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_damaged_tables(tmp_path: Path) -> None:
    fleets, errors = check(range(CASES), tmp_path)
    assert fleets > 0.3 * CASES
    assert errors > 0.2 * CASES


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encoding_separator_and_line_ends_change_nothing(
    encoding: str, separator: str, tmp_path: Path
) -> None:
    rows = mutations.healthy(random.Random(1))
    keys: dict[str, Any] = {"unit": "pump", "time": "when", "time_unit": "hours", "fate": "failed"}
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text("\n".join(",".join(r) for r in rows), encoding="utf-8")
    other.write_bytes("\r\n".join(separator.join(r) for r in rows).encode(encoding))
    assert read_table(other, **keys).content_hash() == read_table(plain, **keys).content_hash()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_decimal_commas_and_shuffled_rows_change_nothing(encoding: str, tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = mutations.healthy(rng)
    keys: dict[str, Any] = {"unit": "pump", "time": "when", "time_unit": "hours", "fate": "failed"}
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text("\n".join(",".join(r) for r in rows), encoding="utf-8")
    mixed = mutations.shuffle_rows(rng, mutations.decimal_commas(rng, rows))
    other.write_bytes("\n".join(";".join(r) for r in mixed).encode(encoding))
    known, fleet = read_table(plain, **keys), read_table(other, **keys)
    for unit in known.unit_ids:
        one, two = known.select([unit]), fleet.select([unit])
        assert one.content_hash() == two.content_hash()
