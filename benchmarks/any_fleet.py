"""The default predictor against every single candidate, on fleets that differ in everything.

    python benchmarks/any_fleet.py                  # all fleets, continues where it was interrupted
    python benchmarks/any_fleet.py --only cells sim
    python benchmarks/any_fleet.py --page           # docs/any_fleet.md from the results

Every fleet is fitted by :class:`grace.RULModel` with no argument but the seed, in a process of its
own, so that seconds and peak memory are those of one fleet. Two figures are compared:

* ``test``: RMSE at the last row of each test unit, candidates fitted on all training units;
* ``out of fold``: RMSE on training units. That of the predictor is cross-fitted (a fold is
  predicted by weights that were fitted on the other folds), while the best candidate is chosen with
  hindsight, on the same rows its error is computed on.

Labels are capped as the model's defaults say; errors are in the fleet's unit of time. A file per
fleet is kept in ``runs/any_fleet``; the table goes to ``benchmarks/results/any_fleet.json`` and
``docs/any_fleet.md``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from document import markdown
from fleets import FLEETS
from harness import machine_facts
from small_fleets import RESULTS as SMALL
from small_fleets import section as small_fleets

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "any_fleet.md"
LIMIT = 1.02  # allowed ratio to the best single candidate


def errors_on(test: Any, model: Any, candidates: dict[str, Any]) -> dict[str, float]:
    """RMSE of the stack and of each candidate at the last row of test units of known life."""
    from grace.candidates import predict_each
    from grace.data.labels import capped_rul
    from grace.estimator.inputs import wanted_rows

    last = wanted_rows(test, every_row=False)
    truth = capped_rul(test, model.labels_)[last]
    known = np.isfinite(truth)
    each = predict_each(candidates, test, last)
    each = {"stack": model.stack_.predict(each), **each}
    return {
        name: float(np.sqrt(np.mean((p[known] - truth[known]) ** 2))) for name, p in each.items()
    }


def evaluate(name: str, seed: int) -> dict[str, Any]:
    """Fit the default model on one fleet and compare it with its candidates."""
    from grace import RULModel
    from grace.candidates import fit_each

    case = FLEETS[name][1]()
    begin = time.perf_counter()
    model = RULModel(seed=seed).fit(case.train)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    single = {e.name: e.rmse for e in model.stack_.errors_}
    found = {
        "fleet": name,
        "description": FLEETS[name][0],
        "seed": seed,
        "time_unit": case.train.schema.time_unit,
        "units": case.train.n_units,
        "failed": int(case.train.units["failed"].sum()),
        "rows": case.train.n_rows,
        "cap": model.labels_.cap,
        "weights": {n: w for n, w in model.stack_.weights_.items() if w > 0},
        "seconds": seconds,
        "peak_bytes": peak,
        "errors": {"out of fold": {"stack": model.stack_.rmse_, **single}},
    }
    if case.test is not None:
        candidates = fit_each(list(single), case.train, model.labels_, seed=seed)
        found["test_units"] = case.test.n_units
        found["errors"]["test"] = errors_on(case.test, model, candidates)
    return found


def ratio(errors: dict[str, float]) -> tuple[str, float]:
    """Best single candidate, and the error of the stack relative to it."""
    single = {n: e for n, e in errors.items() if n != "stack"}
    best = min(single, key=lambda n: single[n])
    return best, errors["stack"] / single[best]


def table(results: list[dict[str, Any]]) -> list[str]:
    """One line per fleet and set of rows."""
    heads = (
        *("fleet", "units (failed)", "evaluated on", "default", "best candidate", "ratio"),
        *("seconds", "peak MB"),
    )
    lines = []
    for r in results:
        for on, errors in r["errors"].items():
            best, times = ratio(errors)
            units = f"{r['test_units']} test units" if on == "test" else "out of fold"
            lines.append(
                (
                    f"{r['fleet']}: {r['description']}"
                    + ("" if "network" in errors else " (measured without the network)"),
                    f"{r['units']} ({r['failed']})",
                    units,
                    f"{errors['stack']:.4g} {r['time_unit']}",
                    f"{best} {errors[best]:.4g}",
                    f"{times:.3f}" + ("" if times <= LIMIT else " ✗"),
                    f"{r['seconds']:.0f}",
                    f"{r['peak_bytes'] / 2**20:.0f}",
                )
            )
    return markdown(heads, lines)


def collect(folder: Path) -> list[dict[str, Any]]:
    """Results that are there, in the order of ``FLEETS``."""
    paths = [folder / f"{name}.json" for name in FLEETS]
    return [json.loads(p.read_text(encoding="utf-8")) for p in paths if p.exists()]


def page(content: dict[str, Any]) -> str:
    """docs/any_fleet.md from the results, with the section on small fleets."""
    small = json.loads(SMALL.read_text(encoding="utf-8"))
    results, limit = content["results"], content["limit"]
    ratios = [(ratio(e)[1], r, on) for r in results for on, e in r["errors"].items()]
    within = sum(value <= limit for value, *_ in ratios)
    n_candidates = max(len(e) - 1 for r in results for e in r["errors"].values())
    facts = content["machine"]
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    worst, fleet, on = max(ratios, key=lambda found: found[0])
    where_worst = "test units" if on == "test" else "out of fold"
    lines = [
        "# Any fleet",
        "",
        "Written by `python benchmarks/any_fleet.py`; do not edit it.",
        "",
        "`grace.RULModel()` with no argument but the seed is fitted on fleets that differ in "
        "number of units, rows per unit, unit of time, attributes and censoring. Cells, cutters, "
        "fuses, compressors and valves are generated (`benchmarks/fleets.py`), `sim` is the "
        "built-in simulated fleet, the others are real. FD001 to FD004 are given as tables whose "
        "columns have no meaning to the model.",
        "",
        "The default predictor, a weighted mean of candidates, is compared with the best single "
        "candidate. *Out of fold*: each unit is predicted by candidates and weights that were "
        "fitted without it, while the best candidate is chosen afterwards, on the same units. "
        "*Test units*: the last row of each unit that was not used at all; the best candidate is "
        "chosen on them. The RMSE is in the fleet's unit of time, with capped labels. A ratio "
        "below 1 means that the default predictor is more accurate than every single candidate.",
        "",
        f"In {within} of {len(ratios)} comparisons the ratio is at most {limit}; ✗ marks the "
        f"others. The largest is {worst:.3f} ({fleet['fleet']}, {where_worst}, {fleet['units']} "
        "training units). With fewer than about 20 units, the errors of the candidates are too "
        "uncertain to find the best weights (see below). On test units, the best of "
        f"{n_candidates} candidates is chosen with hindsight, on one row per unit: some of its "
        "lead is luck.",
        "",
        *table(results),
        "",
        f"Seconds of fitting with {threads} on {facts['processor']}, other work beside it.",
        "",
        *small_fleets(small),
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """The committed results and the page about them, of what was measured so far."""
    results = collect(folder)
    content = {"machine": machine_facts(), "limit": LIMIT, "results": results}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / "any_fleet.json").write_text(text, encoding="utf-8")
    PAGE.write_text(page(content), encoding="utf-8")
    print("\n".join(table(results)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=FLEETS, default=list(FLEETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/any_fleet"))
    parser.add_argument("--again", action="store_true", help="repeat what is there")
    parser.add_argument("--page", action="store_true", help="write the page, fit nothing")
    parser.add_argument("--one", choices=FLEETS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.page:
        content = json.loads((RESULTS / "any_fleet.json").read_text(encoding="utf-8"))
        PAGE.write_text(page(content), encoding="utf-8")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    if args.one:
        found = evaluate(args.one, args.seed)
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        (args.out / f"{args.one}.json").write_text(text, encoding="utf-8")
        return
    for name in args.only:
        if args.again or not (args.out / f"{name}.json").exists():
            command = [sys.executable, __file__, "--one", name, "--out", str(args.out)]
            done = subprocess.run([*command, "--seed", str(args.seed)], check=False)
            if done.returncode:
                print(f"{name}: ended with status {done.returncode}", flush=True)
    write(args.out)


if __name__ == "__main__":
    main()
