"""What decisions by predicted remaining life cost, next to other policies.

    python benchmarks/decisions.py                       # continues where it was interrupted
    python benchmarks/decisions.py --only sim FD001
    python benchmarks/decisions.py --store STORE         # also the networks of oof_tables.py
    python benchmarks/decisions.py --document            # only write the tables of the guide

**Simulated engines.** Policy and plan by the predicted distribution against those by the true one
(``decisions_simulated.py``).

**FD001-FD004.** Long-run cost of run to failure, age replacement, prognosis and perfect prognosis
on training engines, each predicted by models that never saw it; threshold and replacement age of a
fold are chosen on the other folds. Then one plan for the test engines at their last row, made by a
model of all training engines. Everything is fixed before the test labels are read; each reading is
appended to ``<out>.readings.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from decisions_simulated import build_case, kept, plan_costs, policy_costs
from document import markdown, replace_between
from harness import machine_facts

from grace import RULModel, load_dataset
from grace.decisions import (
    DecisionInputs,
    Trajectories,
    fit_policy,
    model_trajectories,
    out_of_fold_trajectories,
    plan_maintenance,
)
from grace.decisions.comparison import compare_cycles
from grace.decisions.cycles import observation, scheduled_cycles
from grace.files import write_text
from grace.formatting import interval as limits
from grace.formatting import number, percent

GUIDE = Path(__file__).parents[1] / "docs" / "decisions.md"
RATIOS = (2.0, 5.0, 10.0, 50.0)
SUBSETS = ("FD001", "FD002", "FD003", "FD004")
LEAD, INTERVAL, SLOTS = 10.0, 5.0, 60
ROWS_PER_UNIT = 40
CANDIDATES = ["median_life", "linear", "boosting_log"]


def inputs_of(ratio: float) -> DecisionInputs:
    return DecisionInputs(failure_cost=ratio, planned_cost=1.0, lead_time=LEAD, interval=INTERVAL)


def fitted(name: str, folder: Path) -> RULModel:
    """The model of all training engines with its out-of-fold predictions; kept in ``folder``."""
    path = folder / f"{name}-{ROWS_PER_UNIT}"
    if path.exists():
        return RULModel.load(path)
    model = RULModel(candidates=CANDIDATES, rows_per_unit=ROWS_PER_UNIT, seed=0)
    model.fit(load_dataset(name).train, store=folder / "fit")
    model.save(path)
    return model


def policies(t: Trajectories, ratio: float) -> dict[str, Any]:
    """Policies of training engines, threshold and age chosen without the engine's fold."""
    policy = fit_policy(t, inputs_of(ratio))
    c = policy.comparison
    return {
        "failure_cost": ratio,
        "threshold": policy.threshold,
        "threshold_interval": policy.threshold_interval,
        "replacement_age": policy.replacement_age,
        "outcomes": c.frame().to_dicts(),
        "difference": [c.difference, c.interval.low, c.interval.high],
        "pays": c.pays,
        "units": c.n_units,
        "row_spacing": policy.row_spacing,
    }


def network_trajectories(store: Path, name: str) -> Trajectories | None:
    """Stack of network and boosting on every row, if all folds of seed 0 are there."""
    from uncertainty import CANDIDATES as NETWORKS
    from uncertainty import fold_arrays, held_out_table, stack_weights, with_stack

    folds = fold_arrays(store, name, seed=0)
    table = held_out_table(folds) if len(folds) == 5 else None
    if table is None:
        return None
    table = with_stack(table, stack_weights(table, 125.0))
    return out_of_fold_trajectories(table, "stack", list(NETWORKS))


def as_trajectories(found: Trajectories | RULModel) -> Trajectories:
    return found if isinstance(found, Trajectories) else model_trajectories(found)


def test_plans(name: str, model: RULModel, t: Trajectories, log: Path) -> list[dict[str, Any]]:
    """One plan for the test engines at their last row, without a limit of capacity.

    Args:
        name: of the data set.
        model: of all training engines.
        t: their out-of-fold trajectories.
        log: file that the reading of the labels is appended to.
    """
    data = load_dataset(name)
    frame, distribution = model.predict_distribution(data.test)
    age = frame["age"].to_numpy().astype(np.float64)
    made = {}
    for ratio in RATIOS:
        policy = fit_policy(t, inputs_of(ratio))
        plan = plan_maintenance(
            frame["unit"].to_list(), distribution, inputs_of(ratio),
            cost_rate=policy.comparison.best_cost, n_slots=SLOTS,
        )  # fmt: skip
        starts = dict(zip(plan.frame["unit"], plan.frame["start"], strict=True))
        end = LEAD + SLOTS * INTERVAL
        wait = np.array([end if starts[u] is None else starts[u] for u in frame["unit"]])
        made[ratio] = (age + wait, np.maximum(age + LEAD, policy.replacement_age))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with log.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"dataset": name, "read": stamp}) + "\n")
    rul = dict(zip(data.test.units["unit"], data.test.units["rul_at_end"], strict=True))
    end = age + np.array([rul[u] for u in frame["unit"]], dtype=np.float64)
    n = len(end)
    truth = Trajectories(
        end=end, failed=np.ones(n, bool), fold=np.zeros(n, np.int64), owner=np.arange(n),
        age=age, distribution=distribution,
    )  # fmt: skip
    seen, found = observation(truth), []
    for ratio, ages in made.items():
        planned, by_age = (
            scheduled_cycles(truth, inputs_of(ratio), a[:, None], seen) for a in ages
        )
        c = compare_cycles(truth, inputs_of(ratio), planned, by_age, 0)
        found.append(
            {
                "failure_cost": ratio,
                "outcomes": c.frame().to_dicts(),
                "difference": [c.difference, c.interval.low, c.interval.high],
                "pays": c.pays,
                "units": n,
            }
        )
    return found


def simulated(folder: Path, entry: dict[str, Any], save: Any) -> None:
    """Fill the entry of the simulated fleet, ratio by ratio."""
    done = {k: {r["failure_cost"] for r in entry.setdefault(k, [])} for k in ("policy", "plan")}
    if all(set(RATIOS) <= d for d in done.values()):
        return
    case = build_case(folder, ROWS_PER_UNIT)
    for ratio in RATIOS:
        for key, compute in (("policy", policy_costs), ("plan", plan_costs)):
            if ratio not in done[key]:
                entry[key].append(compute(case, ratio))
                save()
                print("sim", key, json.dumps(entry[key][-1])[:400], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=("sim", *SUBSETS), default=["sim", *SUBSETS])
    parser.add_argument("--work", type=Path, default=Path("runs/decisions"), help="fitted models")
    parser.add_argument("--store", type=Path, help="networks of oof_tables.py")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/decisions.json"))
    parser.add_argument("--document", action="store_true", help="only write the guide's tables")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    if args.out.exists():
        results = json.loads(args.out.read_text(encoding="utf-8"))
    if args.document:
        document(results)
        return

    def save() -> None:
        results["machine"] = machine_facts()
        write_text(args.out, json.dumps(results, indent=1) + "\n")

    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        entry = results.setdefault(name, {})
        if name == "sim":
            simulated(args.work, entry, save)
            continue
        sources: dict[str, Any] = {"training": lambda name=name: fitted(name, args.work)}
        if args.store is not None:
            sources["network"] = lambda name=name: network_trajectories(args.store, name)
        for key, make in sources.items():
            if key not in entry and (found := make()) is not None:
                path = args.work / f"{name}-{key}.npz"
                t = kept(path, lambda found=found: as_trajectories(found))
                entry[key] = [policies(t, r) for r in RATIOS]
                save()
                print(name, key, [relative(e) for e in entry[key]], flush=True)
        if "test" not in entry:
            model = fitted(name, args.work)
            t = kept(args.work / f"{name}-training.npz", lambda m=model: model_trajectories(m))
            log = args.out.with_suffix(".readings.jsonl")
            entry["test"] = test_plans(name, model, t, log)
            save()
            print(name, "test", [relative(e) for e in entry["test"]], flush=True)


def outcome(entry: dict[str, Any], name: str = "prognosis") -> dict[str, Any]:
    return next(o for o in entry["outcomes"] if o["name"] == name)


def relative(entry: dict[str, Any]) -> str:
    """Relative cost with its interval."""
    o = outcome(entry)
    return f"{number(o['relative'])} ({limits(o['relative_low'], o['relative_high'])})"


def per_thousand(value: float) -> str:
    return number(1000.0 * value)


def margin(entry: dict[str, Any]) -> str:
    """Difference to age replacement as a share of its cost, with its interval."""
    base = outcome(entry, "age replacement")["cost"]
    value, low, high = (v / base for v in entry["difference"])
    return f"{percent(value, 1)} ({percent(low, 1)} to {percent(high, 1)})"


def document(results: dict[str, Any]) -> None:
    """Write the tables of the guide."""
    rows = []
    for e in results["sim"]["policy"]:
        o, value = outcome(e), e["ratio"]
        rows.append([
            f"{e['failure_cost']:g}", percent(e["threshold"], 1), percent(e["true_threshold"], 1),
            f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})", margin(e), relative(e),
            number(e["true_relative"]), percent(o["break_share"], 1), number(o["unexploited"]),
        ])  # fmt: skip
    heads = ["failure ÷ planned", "p*", "p* by truth", "cost ÷ cost by truth",
             "against age replacement", "relative cost", "by truth", "failed",
             "life given up"]  # fmt: skip
    replace_between(GUIDE, "simulated-policy", markdown(heads, rows))
    rows = []
    for e in results["sim"]["plan"]:
        a, b = e["ratio"], e["ratio_age"]
        rows.append([
            f"{e['failure_cost']:g}", *(per_thousand(c) for c in e["cost"].values()),
            f"{a[0]:.3f} ({a[1]:.3f} to {a[2]:.3f})", f"{b[0]:.3f} ({b[1]:.3f} to {b[2]:.3f})",
        ])  # fmt: skip
    heads = ["failure ÷ planned", *results["sim"]["plan"][0]["cost"], "predicted ÷ true",
             "predicted ÷ age replacement"]  # fmt: skip
    ratios = [e["ratio"][0] for e in results["sim"]["plan"]]
    by_age = [1.0 - e["ratio_age"][0] for e in results["sim"]["plan"]]
    summary = (
        f"By the predicted distribution the plan costs {min(ratios):.2f} to {max(ratios):.2f} "
        f"times what it costs by the true one, and {percent(min(by_age))} to "
        f"{percent(max(by_age))} less than age replacement."
    )
    replace_between(GUIDE, "simulated-plan", [*markdown(heads, rows), "", summary])
    for key in ("training", "network", "test"):
        rows = []
        for name in SUBSETS:
            for e in results.get(name, {}).get(key, []):
                o = outcome(e)
                costs = [outcome(e, p)["cost"] for p in ("run to failure", "age replacement")]
                costs += [o["cost"], outcome(e, "perfect prognosis")["cost"]]
                rows.append([
                    f"{name}, {e['failure_cost']:g}", *map(per_thousand, costs), relative(e),
                    margin(e), per_thousand(o["breaks"]), number(o["unexploited"]),
                    per_thousand(o["false_alarms"]),
                ])  # fmt: skip
        heads = ["subset, failure ÷ planned", "run to failure", "age replacement", "prognosis",
                 "perfect", "relative cost", "against age replacement", "failures",
                 "life given up", "false alarms"]  # fmt: skip
        if rows:
            if key == "test":  # a single decision raises no alarms
                heads, rows = heads[:-1], [r[:-1] for r in rows]
            replace_between(GUIDE, key, markdown(heads, rows))


if __name__ == "__main__":
    main()
