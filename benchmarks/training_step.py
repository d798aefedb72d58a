"""One training step: ours against the straightforward form, peers, and the machine's own floor.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py [--json out.json]
    python benchmarks/training_step.py --compare old.json new.json

Every variant runs once per round, in shuffled order; figures are medians, and ratios are what
counts. Form (a) is ``reference.py``; the floor is counted in ``floor.py``. Stages of ours are
differences between whole runs: backward = (forward+backward) − forward, balancer = GRACE − plain,
optimiser (with clip, finiteness checks, weight average) = plain − (forward+backward).
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from data_feed import fd004_windows, random_windows
from floor import Shapes, block_costs, step_floor
from harness import interleave, machine_facts, medians, print_facts, print_table, write_json
from step_variants import FEEDS_PER_CALL, LOADS_PER_CALL, PRODUCT_ROWS, Variants, build_variants

from grace.data.windows import WindowSet
from grace.training.device import resolve_device
from grace.training.malloc import keep_freed_memory

Row = dict[str, Any]
PLAIN, EXACT, BETWEEN = "plain", "GRACE exact", "GRACE between updates"
EVERY_10 = "GRACE update_every=10"
TITLES = {
    "form (a)": "form (a): straightforward GRACE",
    PLAIN: "ours: fixed weights",
    EXACT: "ours: GRACE, exact, every step",
    EVERY_10: "ours: GRACE, update_every=10",
    "GRACE at z": "ours: GRACE, norms at z",
}


def measure(
    windows: WindowSet,
    batch: int,
    precisions: Sequence[str],
    rounds: int,
    sizes: Mapping[str, Any],
    device: torch.device,
) -> tuple[dict[tuple[str, str], list[float]], dict[str, str]]:
    """(precision, variant) → seconds per round; all precisions share the rounds."""
    variants: Variants = {}
    missing: dict[str, str] = {}
    keys: dict[str, tuple[str, str]] = {}
    for precision in dict.fromkeys(("fp32", *precisions)):
        peers = precision == "fp32"
        built, absent = build_variants(
            windows, batch, precision, peers=peers, sizes=sizes, device=device
        )
        missing |= absent
        for name, call in built.items():
            # Form (a) in fp32 is what everything is held against, so it is always there.
            if precision in precisions or name == "form (a)":
                keys[f"{precision} {name}"] = (precision, name)
                variants[f"{precision} {name}"] = call
    seconds = interleave(variants, rounds, warmup=1, device=device)
    return {keys[name]: values for name, values in seconds.items()}, missing


def _difference(a: Sequence[float], b: Sequence[float]) -> float:
    """Median of round-by-round differences, not below zero."""
    return max(0.0, statistics.median(x - y for x, y in zip(a, b, strict=True)))


def product_rates(raw: Mapping[tuple[str, str], list[float]], precision: str) -> dict[str, float]:
    """Operations per second of each way to multiply, by the median of the same rounds."""
    return {
        name.removeprefix("product "): 2.0 * PRODUCT_ROWS**3 / statistics.median(seconds)
        for (p, name), seconds in raw.items()
        if p == precision and name.startswith("product ")
    }


def summarise(
    raw: Mapping[tuple[str, str], list[float]], batch: int, precision: str, s: Shapes
) -> list[Row]:
    """Rows of the three tables (whole steps, stages, blocks) for one batch size and precision."""
    mine = {name: values for (p, name), values in raw.items() if p == precision}
    middle = medians(mine)
    middle["feed"] /= FEEDS_PER_CALL
    middle["form (a) feed"] /= LOADS_PER_CALL
    middle[EVERY_10] = (middle[EXACT] + 9 * middle[BETWEEN]) / 10
    base = statistics.median(raw["fp32", "form (a)"])
    rate = max(product_rates(raw, precision).values())
    one, two = (step_floor(batch, s, backwards=n) for n in (1, 2))
    rows: list[Row] = []

    def add(table: str, name: str, seconds: float, operations: float, **more: Any) -> None:
        rows.append(
            {
                "table": table,
                "batch": batch,
                "precision": precision,
                "name": name,
                "ms": 1e3 * seconds,
                "steps/s": 1 / seconds if table == "step" else None,
                "× form (a) fp32": seconds / base,
                "floor ms": 1e3 * operations / rate,
                "share of floor": operations / rate / seconds if seconds else None,
                **more,
            }
        )

    steps = [*TITLES, *(n for n in mine if n.startswith("peer"))]
    for name in steps:
        backwards = {PLAIN: one, "GRACE at z": one, EVERY_10: one + (two - one) / 10}
        add(
            "step",
            TITLES.get(name, name),
            middle[name],
            backwards.get(name, two),
            **{"× plain": middle[name] / middle[PLAIN]},
        )
    costs = block_costs(batch, s)
    forward = sum(c.forward for c in costs.values())
    backward = sum(c.backward for c in costs.values())
    whole = middle[EXACT] + middle["feed"]
    distance = whole - two / rate
    for name, seconds, operations, part in (
        ("data feed", middle["feed"], 0.0, True),
        ("forward", middle["forward"], forward, True),
        ("backward", _difference(mine["forward+backward"], mine["forward"]), backward, True),
        ("balancer, exact", _difference(mine[EXACT], mine[PLAIN]), backward, True),
        ("optimiser", _difference(mine[PLAIN], mine["forward+backward"]), 0.0, True),
        ("balancer, between updates", _difference(mine[BETWEEN], mine[PLAIN]), 0.0, False),
        ("form (a): its data feed", middle["form (a) feed"], 0.0, False),
    ):
        more = {
            "% of exact step": 100 * seconds / whole,
            "% of distance": 100 * (seconds - operations / rate) / distance,
        }
        add("stage", name, seconds, operations, **(more if part else dict.fromkeys(more)))
    for name, cost in costs.items():
        seconds = middle[f"block {name}"]
        add("block", name, seconds, cost.forward + cost.backward)
    return rows


def targets(rows: Sequence[Row], amx: bool) -> list[Row]:
    """What the project promises of a step at batch 256 (shown for every batch)."""
    found = {(r["batch"], r["precision"], r["name"]): r for r in rows}
    lines: list[Row] = []

    def line(batch: int, what: str, value: float, limit: float, note: str = "") -> None:
        met = "yes" if value <= limit else f"no{note}"
        lines.append({"batch": batch, "what": what, "is": value, "at most": limit, "met": met})

    for batch, precision in dict.fromkeys((r["batch"], r["precision"]) for r in rows):
        exact = found[batch, precision, TITLES[EXACT]]
        tenth = found[batch, precision, TITLES[EVERY_10]]
        feed = found[batch, precision, "data feed"]
        line(
            batch,
            f"{precision}: GRACE exact / form (a) fp32",
            exact["× form (a) fp32"],
            1 / 2 if precision == "fp32" else 1 / 6,
            "" if precision == "fp32" or amx else " (promised for AMX, absent here)",
        )
        line(batch, f"{precision}: GRACE exact / fixed weights", exact["× plain"], 1.5)
        line(batch, f"{precision}: update_every=10 / fixed weights", tenth["× plain"], 1.1)
        line(
            batch, f"{precision}: feed / epoch of exact steps", feed["% of exact step"] / 100, 0.02
        )
    return lines


def show(rows: Sequence[Row], batch: int, precision: str) -> None:
    """The three tables of one batch size and precision."""
    here = [r for r in rows if (r["batch"], r["precision"]) == (batch, precision)]
    head = ["name", "ms", "× form (a) fp32"]
    tail = ["floor ms", "share of floor"]
    for table, title, columns in (
        ("step", "whole steps", [*head, "× plain", "steps/s", *tail]),
        ("stage", "stages of ours", [*head, "% of exact step", *tail, "% of distance"]),
        ("block", "blocks of ours, forward and one backward", [*head, *tail]),
    ):
        chosen = [r for r in here if r["table"] == table]
        print_table(f"batch {batch}, {precision}: {title}", chosen, columns=columns)


def compare(old_file: Path, new_file: Path) -> None:
    """Print two results side by side; '× form (a)' carries over between machines, ms does not."""
    old, new = (json.loads(f.read_text(encoding="utf-8")) for f in (old_file, new_file))
    key = ("table", "batch", "precision", "name")
    before = {tuple(r[k] for k in key): r for r in old["rows"]}
    lines = []
    for row in new["rows"]:
        match = before.get(tuple(row[k] for k in key))
        if match is None or not match["ms"]:
            continue
        measure_, name = "× form (a) fp32", f"{row['batch']} {row['precision']} {row['name']}"
        lines.append(
            {
                "what": name,
                "old × (a)": match[measure_],
                "new × (a)": row[measure_],
                "new/old": row[measure_] / match[measure_],
                "old ms": match["ms"],
                "new ms": row["ms"],
            }
        )
    for label, result in (("old", old), ("new", new)):
        print(f"{label}: {result['machine']['when']}", end=" ")
        print_facts(result["machine"])
    print_table("new against old (new/old of the ratio to form (a), < 1 is faster)", lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--precision", choices=["fp32", "bf16", "both"], default="both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=int, help="torch threads (default: as the environment)")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument(
        "--quick", action="store_true", help="small network, 2 rounds: a smoke test"
    )
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD.json", "NEW.json"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = _arguments(argv)
    if args.compare:
        compare(*args.compare)
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    keep_freed_memory()  # as `grace train` does; every variant gains by it
    sizes: dict[str, Any] = {}
    if args.quick:
        args.batch, args.rounds, sizes = [8], 2, {"lstm_hidden": 32}
        windows, source = random_windows(), "random rows"
    else:
        windows, source, _ = fd004_windows()
    # TorchJD's default is vmap, which has no rule for the LSTM: it loops, and says so.
    warnings.filterwarnings("ignore", message="There is a performance drop")
    precisions = ["fp32", "bf16"] if args.precision == "both" else [args.precision]
    shapes = Shapes(c_in=windows.n_channels, length=windows.length, **sizes)
    facts = machine_facts()
    print_facts(facts)
    rows: list[Row] = []
    rates: list[Row] = []
    seconds: dict[str, list[float]] = {}
    for batch in args.batch:
        raw, missing = measure(windows, batch, precisions, args.rounds, sizes, device)
        seconds |= {f"{batch} {p} {n}": v for (p, n), v in raw.items()}
        for precision in precisions:
            rows += summarise(raw, batch, precision, shapes)
            show(rows, batch, precision)
            for way, rate in product_rates(raw, precision).items():
                rates.append(
                    {"batch": batch, "precision": precision, "way": way, "GFLOP/s": rate / 1e9}
                )
        for name, why in missing.items():
            print(f"  {name}: not measured, {why}")
    amx = any("amx" in unit for unit in facts["matrix_units"])
    promises = targets(rows, amx)
    print_table(
        f"what is promised ({source}, {args.rounds} rounds)",
        promises,
        notes=[
            "form (a) is counted without its DataLoader; promises are for batch 256",
            "peers: IMTL-G (GABA's raw weights) on form (a)'s network unless said; the default "
            "backward of TorchJD is vmap, which loops over the LSTM",
            "% of distance: how the time of the exact step above the floor divides over stages; "
            "stages are differences, on a busy machine a small one drowns in noise",
            "floor: operations counted from shapes, at the machine's faster matrix product below",
        ],
    )
    print_table(f"matrix products of {PRODUCT_ROWS} rows, median of the same rounds", rates)
    if args.json:
        given = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
        settings = {k: str(v) for k, v in given.items()} | {"data": source}
        more = {"settings": settings, "rates": rates, "promises": promises, "raw": seconds}
        write_json(args.json, name="training_step", rows=rows, **more)


if __name__ == "__main__":
    main()
