"""Write the table of measured figures into the README, so that none is typed.

    python benchmarks/measured.py                    # trains missing baselines, needs the data
    python benchmarks/measured.py --data-root DIR

The figures of the network are those of the committed grid (``benchmarks/results/grid``), those of
preset ``best`` the logged readings of ``benchmarks/accuracy.py``. Trivial baselines are trained on
the same engines as the network and read the same test sets; their errors are kept in
``benchmarks/results/baselines.json``, so that a second call trains none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from document import replace_between

from grace.data.labels import capped_rul
from grace.experiments.benchmark import validation_scores
from grace.experiments.results_store import open_results
from grace.experiments.run_evaluation import fit_baselines
from grace.experiments.training_data import build_training_data, load_run_data
from grace.files import atomic_writer
from grace.training.config import RunConfig

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"
STORE, BASELINES = RESULTS / "grid", RESULTS / "baselines.json"
READINGS = RESULTS / "accuracy.readings.jsonl"
METHOD, PRESET = "grace", "fast"
COLUMNS = ("gradient_boosting_all_inputs", "gradient_boosting", "age_only", "constant")
HEADS = ("run", "seeds", "RMSE, capped", "RMSE, raw", "NASA")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds, or the one value."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{statistics.mean(values):,.{digits}f} ± {statistics.stdev(values):,.{digits}f}"


def baseline_errors(dataset: str, seed: int, data_root: Path | None) -> dict[str, float]:
    """Capped RMSE of each baseline at the last row of every test engine."""
    config = RunConfig.load(preset=PRESET, overrides={"dataset": dataset, "seed": seed})
    data, _ = load_run_data(config, data_root, None)
    made = build_training_data(config, data)
    fitted = fit_baselines(config, data.train.select(made.split.train), made.preprocessor)
    last = data.test.starts() + data.test.lengths() - 1
    truth = capped_rul(data.test, config.labels)[last]
    return {
        name: float(np.sqrt(np.mean((rul[last] - truth) ** 2)))
        for name, rul in fitted.predict(data.test).items()
    }


def baselines_of(runs: pl.DataFrame, path: Path, data_root: Path | None) -> list[dict[str, Any]]:
    """Errors of the baselines for each run, from the file or trained now and added to it."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for dataset, seed in runs.select("dataset", "seed").iter_rows():
        if not any(k["dataset"] == dataset and k["seed"] == seed for k in known):
            read = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            rmse = baseline_errors(dataset, seed, data_root)
            known.append({"dataset": dataset, "seed": seed, "test set read": read, "rmse": rmse})
            with atomic_writer(path) as file:
                file.write((json.dumps(known, indent=1) + "\n").encode())
            print(f"{dataset}, seed {seed}: baselines trained", flush=True)
    return known


def row(dataset: str, runs: pl.DataFrame, baselines: Sequence[dict[str, Any]]) -> str:
    """One line of the table: the runs of one dataset."""
    seeds = runs["seed"].to_list()
    of_seed = {b["seed"]: b["rmse"] for b in baselines if b["dataset"] == dataset}
    cells = [
        f"{dataset}, `{METHOD}`, `{PRESET}`",
        ", ".join(map(str, seeds)),
        spread(runs["rmse_capped"].to_list()),
        spread(runs["rmse_raw"].to_list()),
        spread(runs["nasa_capped"].to_list(), digits=0),
        *(spread([of_seed[seed][name] for seed in seeds]) for name in COLUMNS),
    ]
    return "| " + " | ".join(cells) + " |"


def best_rows() -> list[str]:
    """The lines of preset ``best``: logged runs of ``grace train``."""
    lines = [json.loads(line) for line in READINGS.read_text(encoding="utf-8").splitlines()]
    runs = [r for r in lines if (r["from"], r["predictor"]) == ("run", "best")]
    rows = []
    for dataset in sorted({r["dataset"] for r in runs}):
        of = sorted((r for r in runs if r["dataset"] == dataset), key=lambda r: int(r["seed"]))
        cells = [
            f"{dataset}, `best`",
            ", ".join(str(r["seed"]) for r in of),
            spread([r["rmse"] for r in of]),
            spread([r["rmse_raw"] for r in of]),
            spread([r["nasa"] for r in of], digits=0),
            *("–" for _ in COLUMNS),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def table(runs: pl.DataFrame, baselines: Sequence[dict[str, Any]]) -> list[str]:
    """The lines between the markers of the README."""
    heads = [*HEADS, *(name.replace("_", " ") for name in COLUMNS)]
    return [
        "Unit: cycles. Preset `fast` is one network, its checkpoint selected on held-out engines;",
        "preset `best` combines networks of five folds with other models. The results are for the",
        "last cycle of all test engines. Mean ± standard deviation over seeds; each seed holds out",
        "other engines. The last four columns are the capped RMSE of trivial baselines trained on",
        "the same engines; `gradient boosting all inputs` has the same inputs as the network.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *(
            row(str(dataset), part, baselines)
            for (dataset,), part in runs.group_by("dataset", maintain_order=True)
        ),
        *best_rows(),
        "",
        "The standard deviation does not include the sampling variability of the test engines; the",
        "reports give intervals for it.",
    ]


def grid_runs() -> pl.DataFrame:
    """Validation-selected scores of the method and preset of the table, in the order of seeds."""
    store = open_results(STORE)
    if store is None:
        raise SystemExit(f"{STORE}: holds no results")
    with store:
        found = validation_scores(store).filter(
            (pl.col("method") == METHOD) & (pl.col("preset") == PRESET)
        )
    return found.sort("dataset", "seed")


def main(argv: Sequence[str] | None = None) -> None:
    """Replace the text between the markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    args = parser.parse_args(argv)
    runs = grid_runs()
    replace_between(README, "measured", table(runs, baselines_of(runs, BASELINES, args.data_root)))


if __name__ == "__main__":
    main()
