"""The table of the guide is the one that the committed measurements give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_guide_holds_the_committed_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import advice

    made = json.loads((ROOT / "benchmarks/results/advice.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert "\n".join(advice.document(made)) in text
    assert {row["dataset"] for row in made["measured"]} == {"FD001", "FD002", "FD003", "FD004"}
    del sys.modules["advice"]
