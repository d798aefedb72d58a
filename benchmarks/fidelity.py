"""Do the cheap forms end where the exact one does? Whole trainings, over seeds, side by side.

    python benchmarks/fidelity.py gaba --dataset FD001 --parallel-runs 2
    python benchmarks/fidelity.py precision --dataset FD001 --parallel-runs 2

``gaba`` trains GRACE with exact norms on every step, on every k-th step, and with norms at the
shared feature z, with the published floor and with one so low that λ moves freely. They are
compared with the fixed weights that GABA ends in when its floor binds. ``precision`` trains the
reference network in fp32 and in bf16. Interrupted, either goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from harness import machine_facts, print_facts, print_table, write_json
from rich.console import Console
from scipy import stats

from grace.core.methods import build_method
from grace.data.readers import canonical_name
from grace.evaluation import PairedTest
from grace.experiments import SEEDS, compare_methods, grid, means_over_seeds, runs_table
from grace.report.progress import GridProgress
from grace.training import RunConfig
from grace.training.config import deep_merge
from grace.training.jsonl_logger import read_jsonl

ROOT = Path(__file__).parents[1]
Row = dict[str, Any]
EXACT = "exact, every step"
# A floor of 0.001 leaves λ free at the norm ratios seen here; 0.05 is the published one.
LOW_FLOOR, LOW = 0.001, ", low floor"


def _gaba(**options: Any) -> dict[str, Any]:
    return {"method": {"name": "grace", "outer_options": options}}


FORMS: dict[str, dict[str, Any]] = {
    EXACT: {},
    "every 10th step": {"update_every": 10},
    "shared feature z": {"site": "feature"},
}
STUDIES: dict[str, dict[str, Any]] = {
    "gaba": {
        "base": {"preset": "fast", "training": {"log_every": 5}},
        "variants": {
            **{name: _gaba(**options) for name, options in FORMS.items()},
            "fixed 0.0477": {"method": {"name": "weighted_mse+fixed:0.0477"}},
            **{
                f"{name}{LOW}": _gaba(min_weight=LOW_FLOOR, **options)
                for name, options in FORMS.items()
            },
        },
        "references": (EXACT, f"{EXACT}{LOW}"),
    },
    "precision": {
        "base": {"preset": "reference", "training": {"epochs": 7}},
        "variants": {p: {"training": {"precision": p}} for p in ("fp32", "bf16")},
        "references": ("fp32",),
    },
}


def configurations(
    study: str, datasets: Sequence[str], seeds: Sequence[int], over: Mapping[str, Any]
) -> dict[str, RunConfig]:
    """Run name → configuration; seeds vary slowest."""
    base = STUDIES[study]["base"]
    configs = {}
    for seed in seeds:
        for dataset in datasets:
            for variant, changed in STUDIES[study]["variants"].items():
                values: dict[str, Any] = {
                    "dataset": dataset, "seed": seed, "evaluate_baselines": False, **base,
                }  # fmt: skip
                values = deep_merge(deep_merge(values, over), changed)
                configs[run_folder(dataset, variant, seed)] = RunConfig.load(overrides=values)
    return configs


def run_folder(dataset: str, variant: str, seed: int) -> str:
    """Name of the folder of one run."""
    plain = variant.replace(", ", "-").replace(" ", "_")
    return f"{dataset}-{plain}-seed{seed}"


def figures(study: str, table: pl.DataFrame) -> list[Row]:
    """One row per dataset, variant and metric: means over seeds, and the paired difference."""
    rows: list[Row] = []
    for reference in STUDIES[study]["references"]:
        part = table.filter(pl.col("variant").str.ends_with(LOW) == reference.endswith(LOW))
        means = means_over_seeds(part, by="variant")
        for metric, name in (("rmse_capped", "test RMSE"), ("validation_rmse", "validation RMSE")):
            tests = {
                (group.dataset, test.a): test
                for group in compare_methods(
                    part, metrics=(metric,), reference=reference, by="variant"
                )
                for test in group.tests
            }
            for row in means.iter_rows(named=True):
                test = tests.get((row["dataset"], row["variant"]))
                rows.append(
                    {
                        "dataset": row["dataset"],
                        "variant": row["variant"],
                        "seeds": row["seeds"],
                        "metric": name,
                        "mean": row[f"{metric}_mean"],
                        "std": row[f"{metric}_std"],
                        "difference": None if test is None else test.mean_difference,
                        "half width": None if test is None else half_width(test),
                        "NASA": row["nasa_capped_mean"],
                        "NASA std": row["nasa_capped_std"],
                    }
                )
    return rows


def half_width(test: PairedTest) -> float:
    """Half of the 95% interval of the mean paired difference (Student's t)."""
    return float(stats.t.ppf(0.975, test.n - 1) * test.std_difference / test.n**0.5)


def trajectory(folder: Path) -> list[tuple[int, float]]:
    """λ of the RUL task at every logged step."""
    return [(r["step"], r["weights"][0]) for r in read_jsonl(folder / "telemetry.jsonl")]


def trajectories(
    out: Path, study: str, datasets: Sequence[str], seeds: Sequence[int]
) -> dict[str, dict[str, dict[int, list[tuple[int, float]]]]]:
    """Dataset → variant → seed → trajectory, of the variants that balance."""
    return {
        dataset: {
            variant: {seed: trajectory(out / run_folder(dataset, variant, seed)) for seed in seeds}
            for variant, changed in STUDIES[study]["variants"].items()
            if "outer_options" in changed.get("method", {})
        }
        for dataset in datasets
    }


def distances(paths: Mapping[str, Mapping[str, Mapping[int, Any]]]) -> Iterator[Row]:
    """How far λ is from that of the exact form: same seed, same step, both trained on their own."""
    for dataset, variants in paths.items():
        for variant, by_seed in variants.items():
            low = variant.endswith(LOW)
            reference = variants[f"{EXACT}{LOW}" if low else EXACT]
            gaps = []
            for seed, path in by_seed.items():
                exact = dict(reference[seed])
                gaps += [abs(value - exact[step]) for step, value in path if step in exact]
            last = [path[-1][1] for path in by_seed.values()]
            yield {
                "dataset": dataset,
                "variant": variant,
                "mean |Δλ|": statistics.mean(gaps),
                "max |Δλ|": max(gaps),
                "last λ": statistics.mean(last),
            }


def thinned(paths: Any, every: int = 4) -> Any:
    """Trajectories with every n-th point, to five digits: enough to be drawn."""
    if isinstance(paths, dict):
        return {key: thinned(value, every) for key, value in paths.items()}
    steps, weights = zip(*paths[::every], strict=True)
    return {"steps": steps, "weights": [float(f"{weight:.5g}") for weight in weights]}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Whole trainings of the cheap forms, over seeds.")
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--dataset", action="append", help="may be repeated; FD001 by default")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the five")
    parser.add_argument("--parallel-runs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fidelity")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--set", type=json.loads, default={}, help="values over all, as JSON")
    args = parser.parse_args(argv)

    if not 2 <= args.seeds <= len(SEEDS):
        parser.error(f"--seeds {args.seeds}: a paired difference needs 2 to {len(SEEDS)}")
    datasets = [canonical_name(name) for name in args.dataset or ["FD001"]]
    seeds = SEEDS[: args.seeds]
    configs = configurations(args.study, datasets, seeds, args.set)
    out = args.out / args.study
    with GridProgress(Console(), list(configs)) as progress:
        result = grid(configs, out, parallel_runs=args.parallel_runs, on_event=progress.on_event)
    if result.failed:
        raise SystemExit("\n".join(f"{e.name}: {e.text}\n{e.trace}" for e in result.failed))
    of_run = {
        run_folder(d, v, s): v for d in datasets for v in STUDIES[args.study]["variants"]
        for s in seeds
    }  # fmt: skip
    table = runs_table(result.folders())
    table = table.with_columns(variant=pl.col("run").replace_strict(of_run))
    rows = figures(args.study, table)
    paths = trajectories(out, args.study, datasets, seeds) if args.study == "gaba" else {}
    gaps = list(distances(paths))
    print_facts(machine_facts())
    print_table("Means over seeds; differences are paired, ± half a 95% interval", rows)
    if gaps:
        print_table("λ against the exact form, same seed and step", gaps)
    if args.json:
        write_json(
            args.json,
            name=f"fidelity {args.study}",
            rows=rows,
            weights=gaps,
            floors={"": build_method("grace").outer.init_options()["min_weight"], LOW: LOW_FLOOR},
            trajectories=thinned(paths),
        )


if __name__ == "__main__":
    main()
