"""Results of ``benchmarks/uncertainty.py`` as tables of the guide and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from document import markdown, replace_between

from grace.formatting import interval, signed

COVERAGE = 0.9
GUIDE = Path(__file__).parents[1] / "docs" / "uncertainty.md"
SCORES = ["", "CRPS", "interval score 90%", "coverage", "mean width"]
Metrics = Mapping[str, Any]


def document(results: Mapping[str, Any]) -> None:
    """Write the tables of the guide."""
    tables: dict[str, list[list[str]]] = {"compared": [], "truncated": [], "tested": []}
    differences = []
    for name, entry in results.items():
        for which, metrics in entry.get("truncated", {}).items():
            tables["truncated"].append(score_row(name, which, metrics))
        for which, metrics in entry["training"].items():
            tables["compared"].append(score_row(name, which, metrics, zones=False))
        for which, metrics in entry["test"]["scores"].items():
            tables["tested"].append(score_row(name, which, metrics))
        differences += difference_rows(name, entry["test"])
    for mark, rows in tables.items():
        if rows:
            replace_between(GUIDE, mark, markdown(SCORES, rows))
    replace_between(GUIDE, "differences", markdown(["", "CRPS", "interval score 90%"], differences))


def intervals(metrics: Metrics) -> list[Any]:
    """Figures of the 90% intervals: all units, then each zone."""
    return [i for i in metrics["intervals"] if i["nominal"] == COVERAGE]


def score_row(name: str, which: str, metrics: Metrics, *, zones: bool = True) -> list[str]:
    """Scores of one distribution on one dataset."""
    whole, *parts = intervals(metrics)
    coverage = f"{whole['coverage']:.1%}"
    if zones:
        coverage += " (" + ", ".join(f"{i['coverage']:.1%} of {i['n']}" for i in parts) + ")"
    return [
        f"{name} `{which}`",
        f"{metrics['crps']:.2f}",
        f"{whole['interval_score']:.1f}",
        coverage,
        f"{whole['mean_width']:.1f}",
    ]


def difference_rows(name: str, test: Metrics) -> list[list[str]]:
    """Differences to each reference with their intervals, and the widths near and far."""
    rows = [
        [f"{name}, model − `{which}`", *(f"{signed(p['value'])} ({limits(p)})" for p in parts)]
        for which, parts in test["differences"].items()
    ]
    near, far = test["width_near_failure"], test["width_at_80_to_125"]
    return [*rows, [f"{name}, mean width at ≤ 30 and at 80–125", f"{near:.1f}", f"{far:.1f}"]]


def limits(part: Metrics) -> str:
    """The interval of a difference."""
    return interval(part["interval"]["low"], part["interval"]["high"])


def summary(name: str, test: Metrics) -> str:
    """One line per distribution."""
    lines = []
    for which, metrics in test["scores"].items():
        whole, *parts = intervals(metrics)
        zones = ", ".join(f"{i['group']} {i['coverage']:.3f} (n {i['n']})" for i in parts)
        lines.append(
            f"{name} {which}: CRPS {metrics['crps']:.2f}, coverage {whole['coverage']:.3f}, "
            f"width {whole['mean_width']:.1f}, interval score {whole['interval_score']:.1f}; "
            f"{zones}"
        )
    for which, parts in test["differences"].items():
        lines += [
            f"{name} model − {which}, {p['metric']}: {signed(p['value'])} ({limits(p)})"
            for p in parts
        ]
    near, far = test["width_near_failure"], test["width_at_80_to_125"]
    lines.append(f"{name} width at ≤ 30: {near:.1f}, at 80–125: {far:.1f}, ratio {near / far:.3f}")
    return "\n".join(lines)
