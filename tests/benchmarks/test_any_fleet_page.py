"""The page on any fleet is the one that the committed measurements give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import any_fleet

    content = json.loads((ROOT / "benchmarks/results/any_fleet.json").read_text(encoding="utf-8"))
    assert any_fleet.PAGE.read_text(encoding="utf-8") == any_fleet.page(content)
    assert {r["fleet"] for r in content["results"]} == set(any_fleet.FLEETS)
    worst = max(any_fleet.ratio(e)[1] for r in content["results"] for e in r["errors"].values())
    assert f"{worst:.3f}" in any_fleet.page(content)
    for name in ("any_fleet", "fleets"):
        del sys.modules[name]
