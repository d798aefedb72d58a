"""How often `grace diagnose` gives the right advice, checked against the committed grid.

For each dataset of ``benchmarks/results/grid`` and each of its seeds the task gradients are
measured as `grace diagnose` does (training units only). The advice is then compared with every
other outer balancer that the grid has with the same inner loss, over common seeds:

* right: no method is better by a paired t-test at 5%, corrected by Holm over the methods;
* excess (``loss``): RMSE of the advice minus that of the best method of the grid (mean over seeds).
  The best is chosen after the fact, so it is positive even for advice that cannot be improved on.

Run: ``python benchmarks/advice.py`` (four minutes on two cores; needs C-MAPSS). Measurements that
``benchmarks/results/advice.json`` already holds are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from document import replace_between
from scipy import stats
from statsmodels.stats.multitest import multipletests

from grace.core.methods import parse_method
from grace.experiments import ResultsStore
from grace.experiments.diagnose import diagnose
from grace.files import write_json
from grace.formatting import percent
from grace.training.config import RunConfig

HERE = Path(__file__).parent / "results"
INNER = ("mse", "weighted_mse")
PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
METRIC = "rmse_capped"


def measure(dataset: str, inner: str, seed: int) -> dict[str, Any]:
    """The advice and the figures behind it."""
    config = RunConfig.load(
        preset="fast",
        overrides={"dataset": dataset, "seed": seed, "method": {"name": f"{inner}+gaba"}},
    )
    found = diagnose(config)
    kept = ("method", "ratio", "cosine", "conflict_share", "floor_share", "seconds", "measured")
    return {"dataset": dataset, "inner": inner, "seed": seed} | {
        name: getattr(found, name) for name in kept
    }


def in_full(method: str) -> str:
    """Inner loss and outer balancer of a method by name: ``amnl`` is ``weighted_mse+fixed:0.5``."""
    inner, outer, argument = parse_method(method.split(" ")[0])
    if outer == "fixed":
        return f"{inner}+fixed:{argument or '0.5'}"
    return f"{inner}+{outer}"


def check(scores: pl.DataFrame, dataset: str, advice: str) -> dict[str, Any]:
    """The advised method compared with all others of the same inner loss."""
    inner = advice.partition("+")[0]
    here = scores.filter(pl.col("dataset") == dataset, pl.col("full").str.starts_with(inner + "+"))
    wide = here.pivot("full", index="seed", values=METRIC, aggregate_function="mean")
    mine = wide[advice].to_numpy()
    others = {c: wide[c].to_numpy() for c in wide.columns if c not in ("seed", advice)}
    names, differences, p_values = [], [], []
    for name, values in others.items():
        both = np.isfinite(mine.astype(float)) & np.isfinite(values.astype(float))
        if both.sum() < 5:
            continue
        names.append(name)
        differences.append(float((mine - values)[both].mean()))
        p_values.append(float(stats.ttest_rel(mine[both], values[both]).pvalue))
    reject, corrected, *_ = multipletests(p_values, method="holm")
    better = [n for n, d, r in zip(names, differences, reject, strict=True) if r and d > 0]
    worst = int(np.argmax(differences))
    return {
        "rmse": float(np.nanmean(mine.astype(float))),
        "compared": len(names),
        "better": better,
        "right": not better,
        "loss": max(0.0, differences[worst]),
        "best": names[worst] if differences[worst] > 0 else advice,
        "p_best": float(corrected[worst]),
        "rank": 1 + sum(d > 0 for d in differences),
    }


def document(made: dict[str, Any]) -> list[str]:
    """The table and the sentence of the guide."""
    lines = [
        "| dataset, inner loss | ratio of norms | on its floor | advice | RMSE | excess | better |",
        "| --- | --: | --: | --- | --: | --: | --- |",
    ]
    both = list(zip(made["measured"], made["checked"], strict=True))
    for key in dict.fromkeys((m["dataset"], m["inner"]) for m, _ in both):
        mine = [(m, c) for m, c in both if (m["dataset"], m["inner"]) == key]
        ratios = ", ".join(f"{m['ratio']:.0f}" for m, _ in mine)
        floor = ", ".join(percent(m["floor_share"]) for m, _ in mine)
        advice = ", ".join(dict.fromkeys(f"`{c['advice'].partition('+')[2]}`" for _, c in mine))
        _, first = mine[0]
        lines.append(
            f"| {key[0]}, `{key[1]}` | {ratios} | {floor} | {advice} | {first['rmse']:.2f} "
            f"| {first['loss']:.2f} | {len(first['better'])} of {first['compared']} |"
        )
    losses = [c["loss"] for _, c in both if c["right"] is not None]
    lines += [
        "",
        f"The advice was right in {made['right']} of {made['of']} cases: no method of the grid was "
        "significantly better (paired over five seeds, Holm). The mean excess over the method "
        f"that turned out best is {np.mean(losses):.2f} RMSE.",
    ]
    if not any(c["better"] for _, c in both):
        lines[-1] += (
            " No method was significantly better anywhere, so hardly any advice could have been "
            "wrong on these datasets."
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "advice.json")
    parser.add_argument("--seeds", type=int, default=1, help="seeds measured per dataset")
    args = parser.parse_args()
    with ResultsStore.read_export(HERE / "grid") as store:
        scores = store.scores(protocol="validation")
    scores = scores.with_columns(
        pl.col("method").map_elements(in_full, return_dtype=pl.String).alias("full")
    )
    made = json.loads(args.out.read_text()) if args.out.exists() else {"measured": []}
    for dataset in sorted(scores["dataset"].unique()):
        for seed in sorted(scores["seed"].unique())[: args.seeds]:
            for inner in INNER:
                key = {"dataset": dataset, "inner": inner, "seed": seed}
                if any(key.items() <= row.items() for row in made["measured"]):
                    continue
                made["measured"].append(measure(dataset, inner, seed))
                write_json(args.out, made)
    rows = []
    for row in made["measured"]:
        advice = in_full(row["method"])
        known = scores.filter(pl.col("dataset") == row["dataset"])["full"].to_list()
        found = check(scores, row["dataset"], advice) if advice in known else None
        rows.append({**{k: row[k] for k in ("dataset", "inner", "seed")}, "advice": advice}
                    | (found or {"right": None}))  # fmt: skip
    made["checked"] = rows
    decided = [r for r in rows if r["right"] is not None]
    made["right"] = sum(r["right"] for r in decided)
    made["of"] = len(decided)
    write_json(args.out, made)
    replace_between(PAGE, "advice", document(made))
    print("\n".join(document(made)))


if __name__ == "__main__":
    main()
