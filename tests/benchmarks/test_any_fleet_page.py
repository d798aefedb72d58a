"""The page on any fleet is the one that the committed measurements give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
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
    for name in ("any_fleet", "fleets", "small_fleets"):
        del sys.modules[name]


def test_rules_for_few_units_are_compared_with_the_best_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import small_fleets

    y = np.arange(12.0)
    oof = pl.DataFrame(
        {
            "unit": [i // 2 for i in range(12)],
            "fold": [i // 4 for i in range(12)],
            "weight": [0.5] * 12,
            "rul_capped": y,
            "linear": y + 1.0,
            "constant": y + 3.0,
        }
    )
    new = pl.DataFrame({"rul_capped": y, "linear": y + 4.0, "constant": y + 2.0})
    found = small_fleets.ratios(oof, new)
    assert set(found) == set(small_fleets.rules())
    # Out of fold it is the best itself; on new units the other one is, with half its error.
    assert found["the candidate with the least error"] == pytest.approx((1.0, 2.0))
    # The prior of a constant is half that of a regression: mean errors (2 · 1 + 3) / 3 and 10 / 3.
    assert found["the prior"] == pytest.approx((5 / 3, 5 / 3))
    for rule in set(small_fleets.rules()) - {"the prior"}:
        assert 1.0 - 1e-3 <= found[rule][0] < 1.5  # more weight on the better one than the prior
        assert found[rule][1] > 5 / 3


def test_a_rule_is_compared_with_the_first_on_groups_of_fleets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import small_fleets

    first = small_fleets.PRESENT
    each = {
        "a-6-0": {first: (1.0, 1.0), "other": (1.0, 1.1)},
        "a-10-0": {first: (1.0, 2.0), "other": (1.0, 2.2)},
        "b-6-1": {first: (1.0, 1.0), "other": (1.0, 1.1)},
    }
    assert small_fleets.to_first(each, first) == [1.0, 1.0, 1.0]
    assert small_fleets.to_first(each, "other") == [1.1, 1.1, 1.1]
    each["b-6-1"]["other"] = (1.0, 1.0)
    mean, low, high = small_fleets.to_first(each, "other")
    assert mean == pytest.approx(1.1 ** (2 / 3), abs=1e-4)
    assert (low, high) == (1.0, 1.1)
    for name in ("small_fleets", "fleets"):
        sys.modules.pop(name, None)
