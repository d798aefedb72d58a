"""What the advice of `grace diagnose` is worth, checked against the committed grid.

For each dataset of ``benchmarks/results/grid`` and some of its seeds the task gradients are
measured as `grace diagnose` does (training units only). The rule of ``grace.experiments.advice`` is
applied to the stored figures. A case is a dataset and an inner loss: the seeds measured are checked
against the same runs of the grid, so they are no further cases. In each case the advised method is
compared with the other outer balancers of the grid with the same inner loss, over common seeds:

* its rank by mean RMSE;
* its difference to equal weights with the interval of a paired t-test (95%);
* the methods that are better by a paired t-test at 5%, corrected by Holm over the methods.

The share of epochs on GABA's floor comes from the weights that the grid's trainings recorded.

Run: ``python benchmarks/advice.py`` (four minutes on two cores; needs C-MAPSS). Measurements that
``benchmarks/results/advice.json`` already holds are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from document import replace_between
from scipy import stats
from statsmodels.stats.multitest import multipletests

from grace.core.methods import parse_method
from grace.experiments import ResultsStore
from grace.experiments.advice import advise
from grace.experiments.diagnose import diagnose
from grace.experiments.gaba_forecast import expected_steps, forecast_gaba
from grace.files import write_json
from grace.formatting import percent
from grace.training.config import RunConfig

HERE = Path(__file__).parent / "results"
INNER = ("mse", "weighted_mse")
DOCS = Path(__file__).parents[1] / "docs"
METRIC = "rmse_capped"
EQUAL = "fixed:0.5"
FLOOR = 0.05  # RUL weight below which GABA's average is on its floor
STORED = ("ratio", "cosine", "conflict_share", "measured", "seconds")

Array = npt.NDArray[np.float64]


def planned(dataset: str, inner: str, seed: int) -> RunConfig:
    """The training of the grid that the advice is for."""
    method = {"name": f"{inner}+gaba"}
    values = {"dataset": dataset, "seed": seed, "method": method}
    return RunConfig.load(preset="fast", overrides=values)


def measure(dataset: str, inner: str, seed: int) -> dict[str, Any]:
    """The figures that the advice rests on."""
    found = diagnose(planned(dataset, inner, seed))
    key = {"dataset": dataset, "inner": inner, "seed": seed}
    return key | {name: getattr(found, name) for name in STORED}


def advised(row: dict[str, Any]) -> dict[str, Any]:
    """The advice by the stored figures, the ratio taken as constant, and GABA's course."""
    training = planned(row["dataset"], row["inner"], row["seed"]).training
    assert training.steps_per_epoch is not None
    ratio, per_epoch = np.array([row["ratio"]]), training.steps_per_epoch
    whole = forecast_gaba(ratio, training.epochs * per_epoch)
    expected = forecast_gaba(ratio, expected_steps(training, per_epoch))
    figures = (row["ratio"], row["cosine"], row["conflict_share"], row["measured"])
    outer, _ = advise(*figures, expected)
    return {
        "advice": f"{row['inner']}+{outer}",
        "floor_from": whole.floor_from,
        "planned_steps": whole.steps,
        "planned_share": whole.floor_share,
        "expected_steps": expected.steps,
        "expected_share": expected.floor_share,
    }


def in_full(method: str) -> str:
    """Inner loss and outer balancer of a method by name: ``amnl`` is ``weighted_mse+fixed:0.5``."""
    inner, outer, argument = parse_method(method.split(" ")[0])
    if outer == "fixed":
        return f"{inner}+fixed:{argument or '0.5'}"
    return f"{inner}+{outer}"


def paired(mine: Array, other: Array) -> dict[str, Any]:
    """Mean of mine − other over the common seeds, its 95% interval, and the p value of a t-test."""
    difference = (mine - other)[np.isfinite(mine) & np.isfinite(other)]
    mean, n = float(difference.mean()), len(difference)
    half = stats.t.ppf(0.975, n - 1) * float(difference.std(ddof=1)) / np.sqrt(n)
    p = float(stats.ttest_1samp(difference, 0.0).pvalue)
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p, "seeds": n}


def check(scores: pl.DataFrame, dataset: str, advice: str) -> dict[str, Any]:
    """The advised method compared with all others of the same inner loss."""
    inner = advice.partition("+")[0]
    here = scores.filter(pl.col("dataset") == dataset, pl.col("full").str.starts_with(inner + "+"))
    wide = here.pivot("full", index="seed", values=METRIC, aggregate_function="mean")
    columns = {c: wide[c].to_numpy().astype(float) for c in wide.columns if c != "seed"}
    mine = columns.pop(advice)
    # Surgery ran with fewer seeds, in a comparison of its own.
    others = {
        name: paired(mine, values)
        for name, values in columns.items()
        if (np.isfinite(mine) & np.isfinite(values)).sum() >= 5
    }
    reject, *_ = multipletests([o["p"] for o in others.values()], method="holm")
    pairs = zip(others.items(), reject, strict=True)
    better = [name for (name, o), r in pairs if r and o["mean"] > 0]
    best = max(others, key=lambda name: others[name]["mean"])
    return {
        "rmse": float(np.nanmean(mine)),
        "rank": 1 + sum(o["mean"] > 0 for o in others.values()),
        "of": 1 + len(others),
        "to_equal": others[f"{inner}+{EQUAL}"],
        "excess": max(0.0, others[best]["mean"]),
        "best": best if others[best]["mean"] > 0 else advice,
        "better": better,
    }


def floor_of_grid(store: ResultsStore) -> list[dict[str, Any]]:
    """Each GABA training of the grid: epochs, share on the floor, and whether it was selected."""
    scores = store.scores(protocol="validation")
    weights = store.weights()
    rows = []
    for run in scores.filter(pl.col("method").is_in(["gaba", "grace"])).iter_rows(named=True):
        mine = weights.filter(pl.col("run") == run["run"]).sort("epoch")
        on_floor = np.array([w[0] < FLOOR for w in mine["weights"].to_list()])
        inner = in_full(run["method"]).partition("+")[0]
        training = planned(run["dataset"], inner, run["seed"]).training
        assert training.early_stopping_patience is not None
        # Exact for a training that stopped early; the others selected this epoch or a later one.
        selected = len(on_floor) - 1 - training.early_stopping_patience
        rows.append(
            {
                "dataset": run["dataset"],
                "inner": inner,
                "seed": run["seed"],
                "epochs": len(on_floor),
                "planned_epochs": training.epochs,
                "floor_step": int(mine["step"][int(on_floor.argmax())]) if on_floor.any() else None,
                "share": float(on_floor.mean()),
                "selected_before": bool(not on_floor[selected]),
            }
        )
    return rows


def cases(measured: list[dict[str, Any]], scores: pl.DataFrame) -> list[dict[str, Any]]:
    """One entry for each dataset, inner loss and advice."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in measured:
        made = advised(row)
        key = (row["dataset"], row["inner"], made["advice"])
        if key not in found:
            known = scores.filter(pl.col("dataset") == row["dataset"])["full"].to_list()
            checked = check(scores, row["dataset"], made["advice"]) if key[2] in known else {}
            head = {"dataset": key[0], "inner": key[1], "seeds": [], "ratios": []}
            found[key] = head | made | checked
        found[key]["seeds"].append(row["seed"])
        found[key]["ratios"].append(row["ratio"])
    return list(found.values())


def document(made: dict[str, Any]) -> list[str]:
    """The sentences and the table of the guide."""
    checked = [c for c in made["cases"] if "rank" in c]
    clear = [c for c in checked if c["to_equal"]["low"] > 0 or c["to_equal"]["high"] < 0]
    better = [c for c in checked if c["better"]]
    first = sum(c["rank"] == 1 for c in checked)
    last = sum(c["rank"] == c["of"] for c in checked)
    mean = float(np.mean([c["to_equal"]["mean"] for c in checked]))
    if clear or better:
        lead = (
            f"In {len(clear)} of {len(checked)} cases the advised method differs from equal "
            f"weights; in {len(better)} another method of the grid is significantly better."
        )
    else:
        lead = (
            "The grid cannot distinguish these methods. In none of "
            f"{len(checked)} cases (a dataset and an inner loss) does the advised method differ "
            "significantly from equal weights: all 95% intervals contain 0. In none is another "
            "method of the grid significantly better."
        )
    high = max(c["to_equal"]["high"] for c in checked)
    small = sum(c["of"] <= 3 for c in checked)
    summary = (
        f"{lead} The advice ranks first in {first} cases and last in {last} ({small} have only two "
        f"other methods). Its RMSE minus that of equal weights is {_signed(mean)} on average; the "
        f"largest upper limit of the intervals is {_signed(high)}."
    )
    if not (clear or better):
        summary += (
            " So neither a gain nor a loss in RMSE from the advice is shown. What a constant saves "
            "is the time for the gradient norms of GABA."
        )
    lines = [
        summary,
        "",
        "| dataset, inner loss | ratio of norms | on the floor: planned, expected, grid | advice "
        "| RMSE | rank | minus equal weights (95%) | better |",
        "| --- | --: | --: | --- | --: | --: | --: | --: |",
    ]
    for c in made["cases"]:
        grid = [f for f in made["floor"] if all(f[k] == c[k] for k in ("dataset", "inner"))]
        shares = (c["planned_share"], c["expected_share"], np.mean([f["share"] for f in grid]))
        line = (
            f"| {c['dataset']}, `{c['inner']}` | {', '.join(f'{r:.0f}' for r in c['ratios'])} "
            f"| {', '.join(percent(s) for s in shares)} | `{c['advice'].partition('+')[2]}` "
        )
        if "rank" not in c:
            lines.append(line + "| | not in the grid | | |")
            continue
        equal = c["to_equal"]
        limits = f"{_signed(equal['low'])} to {_signed(equal['high'])}"
        lines.append(
            line + f"| {c['rmse']:.2f} | {c['rank']} of {c['of']} "
            f"| {_signed(equal['mean'])} ({limits}) | {len(c['better'])} |"
        )
    return lines


def _signed(value: float) -> str:
    """A difference of RMSE with its sign and two decimals."""
    return f"{value:+.2f}".replace("-", "−")


def floor_text(made: dict[str, Any]) -> list[str]:
    """The sentence on the floor of GABA in the grid's trainings."""
    rows = made["floor"]
    shares = [r["share"] for r in rows]
    step = {r["floor_step"] for r in rows}
    steps = " to ".join(f"{s}" for s in sorted({min(step), max(step)}))
    length = np.mean([r["epochs"] / r["planned_epochs"] for r in rows])
    before = sum(r["selected_before"] for r in rows)
    return [
        f"In the {len(rows)} GABA and GRACE trainings of the benchmark (preset `fast`) the floor "
        f"was reached by step {steps}, the end of an epoch. Early stopping ended them after "
        f"{percent(length)} of the planned steps on average, so that {percent(np.mean(shares))} of "
        f"the epochs were on the floor ({percent(min(shares))} to {percent(max(shares))}). In "
        f"{before} of {len(rows)} trainings the selected checkpoint lies before the floor.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "advice.json")
    parser.add_argument("--seeds", type=int, default=1, help="seeds measured per dataset")
    args = parser.parse_args()
    made = json.loads(args.out.read_text()) if args.out.exists() else {"measured": []}
    scores, floor = results()
    for dataset in sorted(scores["dataset"].unique()):
        for seed in sorted(scores["seed"].unique())[: args.seeds]:
            for inner in INNER:
                key = {"dataset": dataset, "inner": inner, "seed": seed}
                if any(key.items() <= row.items() for row in made["measured"]):
                    continue
                made["measured"].append(measure(dataset, inner, seed))
                write_json(args.out, made)
    keep = ("dataset", "inner", "seed", *STORED)
    measured = [{k: row[k] for k in keep} for row in made["measured"]]
    made = {"measured": measured, "cases": cases(measured, scores), "floor": floor}
    write_json(args.out, made)
    replace_between(DOCS / "methods.md", "advice", document(made))
    for page in (DOCS / "methods.md", DOCS / "tutorials" / "methods_grid.md"):
        replace_between(page, "floor", floor_text(made))
    print("\n".join([*document(made), "", *floor_text(made)]))


def results() -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Validation-selected scores of the committed grid with full method names, and the floor."""
    with ResultsStore.read_export(HERE / "grid") as store:
        scores, floor = store.scores(protocol="validation"), floor_of_grid(store)
    full = pl.col("method").map_elements(in_full, return_dtype=pl.String).alias("full")
    return scores.with_columns(full), floor


if __name__ == "__main__":
    main()
