from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grace.formatting import interval, number, percent, signed, signed_short, spread

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "grace"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (99.994, "99.99"), (99.996, "100.0"), (999.94, "999.9"), (999.96, "1,000"),
     (-1234.5, "−1,234"), (1e7, "1.0e+07"), (-0.001, "−0.001"), (math.nan, "–"),
     (-math.inf, "−∞")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=-1e300, max_value=1e300))
def test_a_number_keeps_its_size(value: float) -> None:
    read = float(number(value).replace(",", "").replace("−", "-"))
    assert read == pytest.approx(value, rel=0.06, abs=1e-300)


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_signs(value: float) -> None:
    assert signed(value) == "+" + number(value)
    assert signed(-value) == "−" + number(value)
    assert "-" not in signed_short(-value) + percent(-value) + interval(-value, value)


def test_spread_without_a_deviation() -> None:
    assert spread(1.0, None) == "1.00"


def test_shares_are_written_without_a_space() -> None:
    """One convention: 95%, in messages, docstrings, templates and guides."""
    guides = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    found = [
        f"{path.name}: {line.strip()}"
        for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("*.j2"), *guides]
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\d %(?![}a-z\d(]| [a-z\d(])|\d % (of|confidence|intervals?) ", line)
    ]
    assert not found
