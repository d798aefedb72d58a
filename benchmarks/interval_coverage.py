"""Measured coverage of the bootstrap intervals, and the table of it in the evaluation guide.

Errors of U units are drawn from a known distribution, ``bootstrap_intervals`` is called, and it is
counted how often the interval holds the true value (from 4 million draws). Distributions:

* ``normal``: standard deviation 12;
* ``zones``: what networks leave on C-MAPSS, small errors near failure, large ones in the middle,
  a bias at the label cap;
* ``heavy``: Laplace with standard deviation 10, cut at ±60: terms of the NASA score span 3 decades.

``python benchmarks/interval_coverage.py --write docs/evaluation.md`` measures and writes the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from grace.evaluation import bootstrap_intervals, mae, nasa_mean, rmse

DISTRIBUTIONS = ("normal", "zones", "heavy")
METRICS = {"rmse": rmse, "mae": mae, "nasa_mean": nasa_mean}
UNITS = (20, 50, 100, 400)
START, END = "<!-- coverage: benchmarks/interval_coverage.py -->", "<!-- /coverage -->"


def draw(kind: str, rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """Errors of ``n`` units."""
    if kind == "normal":
        return rng.normal(0.0, 12.0, n)
    if kind == "heavy":
        return np.clip(rng.laplace(0.0, 10.0 / np.sqrt(2.0), n), -60.0, 60.0)
    zone, z = rng.random(n), rng.normal(size=n)
    return np.where(zone < 0.35, 4.0 * z, np.where(zone < 0.8, 14.0 * z, 6.0 * z - 5.0))


def coverage(
    kind: str, n_units: int, repetitions: int, n_resamples: int = 2000
) -> dict[str, float]:
    """Share of nominal 95% intervals that hold the true value, by metric."""
    many = draw(kind, np.random.default_rng(0), 4_000_000)
    zero = np.zeros_like(many)
    truth = {name: metric(zero, many) for name, metric in METRICS.items()}
    hits = dict.fromkeys(METRICS, 0)
    rng = np.random.default_rng([1, n_units])
    for seed in range(repetitions):
        d = draw(kind, rng, n_units)
        made = bootstrap_intervals(
            list(METRICS), np.zeros(n_units), d, n_resamples=n_resamples, seed=seed
        )
        for name, interval in made.items():
            hits[name] += interval.low <= truth[name] <= interval.high
    return {name: count / repetitions for name, count in hits.items()}


def table(measured: dict[str, dict[str, dict[str, float]]], repetitions: int) -> str:
    """The measurement as Markdown."""
    lines = [
        f"Measured coverage of nominal 95% intervals ({repetitions:,} simulated test sets each):",
        "",
        "| units | errors | RMSE | MAE | NASA score |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for n, by_kind in measured.items():
        for kind, found in by_kind.items():
            figures = " | ".join(f"{found[name]:.0%}" for name in METRICS)
            lines.append(f"| {n} | {kind} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--write", type=Path, help="Markdown file with the two marker lines.")
    parser.add_argument("--read", type=Path, help="figures of an earlier measurement")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    measured: dict[str, dict[str, dict[str, float]]] = {}
    if args.read:
        measured = json.loads(args.read.read_text(encoding="utf-8"))
    else:
        for n in UNITS:
            measured[str(n)] = {k: coverage(k, n, args.repetitions) for k in DISTRIBUTIONS}
    text = table(measured, args.repetitions)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    if args.write:
        page = args.write.read_text(encoding="utf-8")
        before, rest = page.split(START)
        after = rest.split(END)[1]
        args.write.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
