"""The tables of the terminal for a fleet that neither flies nor counts cycles."""

from __future__ import annotations

import io
import re

import numpy as np
from rich.console import Console

from grace.evaluation import Evaluation, Protocol, evaluate
from grace.report.console import render_evaluation


def pumps(*, select_on: str = "validation", shift: float = 0.0) -> Evaluation:
    """Twelve pumps in hours, with a baseline that is better than the model."""
    rng = np.random.default_rng(0)
    unit = np.repeat([f"pump {k}" for k in range(12)], 40)
    time = np.tile(np.arange(40.0), 12) * 100.0
    rul = np.repeat(rng.uniform(0.0, 4000.0, 12), 40) + 3900.0 - time
    capped = np.minimum(rul, 5000.0)
    protocol = Protocol(
        dataset="pumps", select_on=select_on, label_cap=5000.0, time_unit="hours",
        health_thresholds=(3200.0, 1200.0), n_train=20, n_validation=4, validation_fraction=0.15,
        seeds=(1,),
    )  # fmt: skip
    return evaluate(
        protocol, unit=unit, time=time, rul=rul, predicted=capped * 0.9 + shift,
        baselines={"constant": np.full(rul.size, 2500.0), "oracle": capped},
    )  # fmt: skip


def test_words_of_one_fleet_are_not_used_for_another() -> None:
    optimistic = pumps(select_on="test")
    honest = pumps(shift=50.0).with_optimism_gap(optimistic)
    file = io.StringIO()
    console = Console(file=file, width=200, color_system=None)
    console.print(render_evaluation(pumps()))
    console.print(render_evaluation(optimistic, honest))
    text = file.getvalue()
    assert "hours" in text
    assert "last record" in text
    assert "optimism gap" in text
    assert any(word in text for word in ("warning: ", "note: "))  # remarks are among the words
    assert not re.search(r"cycle|engine|flight", text, re.IGNORECASE)
