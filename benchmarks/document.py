"""Write the measured tables of the documents from results, so that no figure is typed by hand.

    python benchmarks/document.py                     # docs/performance.md from benchmarks/results
    python benchmarks/document.py --results elsewhere

The benchmarks write the results: ``training_step.py --json benchmarks/results/training_step.json``
and so on, each with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["markdown", "replace_between", "sections"]

ROOT = Path(__file__).parents[1]
RESULTS, GUIDE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
FIGURE = ROOT / "docs" / "images" / "lambda.svg"
Result = Mapping[str, Any]


def replace_between(path: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->`` in a file.

    Raises:
        ValueError: the file has no such pair of marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = path.read_text(encoding="utf-8")
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path}: has no {begin} … {end}")
    path.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{tail}", encoding="utf-8")


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; columns after the first are aligned to the right."""
    rule = ["---", *["--:"] * (len(heads) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def where(result: Result) -> str:
    """One line on the machine that a result is from."""
    facts = result["machine"]
    units = ", ".join(facts["matrix_units"]) or "no bf16 units"
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    return (
        f"{facts['processor']}, {threads}, {units}, torch "
        f"{facts['versions']['torch']}, load {facts['load_1min']} at the end."
    )


def _of(rows: Sequence[Result], **wanted: Any) -> dict[str, Result]:
    """Rows with these values, by name."""
    return {r["name"]: r for r in rows if all(r[k] == v for k, v in wanted.items())}


def training_step(result: Result) -> list[str]:
    """Whole steps: ratios per batch size and precision."""
    rows = result["rows"]
    batches = list(dict.fromkeys(r["batch"] for r in rows))
    lines = []
    for precision in dict.fromkeys(r["precision"] for r in rows):
        found = {b: _of(rows, table="step", batch=b, precision=precision) for b in batches}
        for name in found[batches[0]]:
            cells = [name, precision]
            for row in (found[b].get(name) for b in batches):
                cells.append(f"{row['× form (a) fp32']:.2f}" if row else "–")
                cells.append(f"{row['× plain']:.2f}" if row else "–")
            lines.append(cells)
    heads = ["step", "precision"]
    for batch in batches:
        heads += [f"batch {batch}: × form (a) fp32", "× fixed"]
    return [*markdown(heads, lines), "", where(result)]


def stages(result: Result, batch: int = 256) -> list[str]:
    """Where the time of an exact step goes, and the rest of the distance to the limit."""
    lines = []
    for table in ("stage", "block"):
        for precision in ("fp32", "bf16"):
            for name, row in _of(
                result["rows"], table=table, batch=batch, precision=precision
            ).items():
                if row.get("% of exact step", 0) is None:
                    continue
                share, apart = row["share of floor"], row.get("% of distance")
                of_step = row.get("% of exact step")
                lines.append(
                    [
                        name if table == "stage" else f"block: {name}",
                        precision,
                        "–" if of_step is None else f"{of_step:.1f}%",
                        f"{100 * share:.0f}%" if share else "–",
                        "–" if apart is None else f"{apart:.0f}%",
                    ]
                )
    heads = [
        "stage",
        "precision",
        "of the exact step",
        "of the measured rate",
        "of the time above the limit",
    ]
    return markdown(heads, lines)


def price(result: Result, batch: int = 256) -> list[str]:
    """The three forms of GABA against fixed weights."""
    names = {
        "ours: GRACE, exact, every step": "exact, every step (default)",
        "ours: GRACE, update_every=10": "`update_every: 10`",
        "ours: GRACE, norms at z": "`site: feature`",
    }
    found = {
        p: _of(result["rows"], table="step", batch=batch, precision=p) for p in ("fp32", "bf16")
    }
    lines = [
        [label, *(f"{found[p][name]['× plain']:.2f}" for p in found)]
        for name, label in names.items()
    ]
    return markdown(["form", "× fixed weights, fp32", "× fixed weights, bf16"], lines)


def fidelity(result: Result) -> list[str]:
    """Final figures over seeds, and how far λ is from the exact form's."""
    merged: dict[tuple[str, str], dict[str, Result]] = {}
    for row in result["rows"]:
        merged.setdefault((row["dataset"], row["variant"]), {})[row["metric"]] = row
    apart = {(g["dataset"], g["variant"]): g for g in result["weights"]}
    heads = ["data", "form", "validation RMSE", "difference", "test RMSE", "difference", "NASA"]
    heads += ["mean abs. Δλ", "last λ"] if apart else []
    lines = []
    for key, both in merged.items():
        cells = [*key]
        for metric in ("validation RMSE", "test RMSE"):
            row = both[metric]
            cells.append(f"{row['mean']:.2f} ± {row['std']:.2f}")
            known = row["difference"] is not None
            cells.append(
                f"{_no_minus_zero(row['difference']):+.2f} ± {row['half width']:.2f}"
                if known
                else "–"
            )
        row = both["test RMSE"]
        cells.append(f"{row['NASA']:.0f} ± {row['NASA std']:.0f}")
        if apart:
            gap = apart.get(key)
            cells += [f"{gap['mean |Δλ|']:.4f}", f"{gap['last λ']:.4f}"] if gap else ["–", "–"]
        lines.append(cells)
    return markdown(heads, lines)


def _no_minus_zero(value: float) -> float:
    return round(value, 2) + 0.0


def data_feed(result: Result) -> list[str]:
    """An epoch of batches by three ways, and the time from file to windows."""
    names = [r["way"].replace("__getitems__", "`__getitems__`") for r in result["rows"]]
    epochs = [[name, f"{r['× ours']:.1f}"] for name, r in zip(names, result["rows"], strict=True)]
    lines = markdown(["an epoch of batches", "× ours"], epochs)
    if not result["reading"]:
        return lines
    ways = [k for k in result["reading"][0] if k != "part"]
    reading = [[r["part"], *(f"{r[w]:.0f}" for w in ways)] for r in result["reading"]]
    return [*lines, "", *markdown(["from file to windows", *ways], reading), "", where(result)]


def prediction(result: Result) -> list[str]:
    """Windows per second as ratios, and parity in cycles."""
    rows = result["rows"]
    batches = list(dict.fromkeys(r["batch"] for r in rows))
    lines = []
    for key in dict.fromkeys((r["runtime"], r["precision"]) for r in rows):
        mine = [r for r in rows if (r["runtime"], r["precision"]) == key]
        best = max(mine, key=lambda r: r["windows/s"])
        lines.append(
            [
                *key,
                *(f"{r['ratio']:.2f}" for r in mine),
                f"{best['windows/s']:,.0f} ({best['batch']})",
                f"{best['max |ΔRUL|']:.2g}",
                f"{best['RMSE']:.3f}",
                f"{best['health same']:.2%}",
            ]
        )
    heads = ["runtime", "precision", *(f"batch {b}: × torch fp32" for b in batches)]
    heads += ["most windows/s (at batch)", "largest abs. ΔRUL, cycles", "RMSE", "same health"]
    return [*markdown(heads, lines), "", where(result)]


def parallel_runs(result: Result) -> list[str]:
    """A grid one after another and several at once."""
    lines = [
        [r["way"], f"{r['relative time']:.2f}", f"{r['hours for the grid']:.1f}"]
        for r in result["rows"]
    ]
    heads = [result["what"], "relative time", f"hours for {result['grid runs']} runs"]
    return [*markdown(heads, lines), "", where(result)]


SECTIONS: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "training step": ("training_step", training_step),
    "stages": ("training_step", stages),
    "price": ("training_step", price),
    "fidelity gaba": ("fidelity_gaba", fidelity),
    "fidelity precision": ("fidelity_precision", fidelity),
    "data feed": ("data_feed", data_feed),
    "prediction": ("prediction", prediction),
    "parallel runs": ("parallel_runs", parallel_runs),
}


def sections(results: Path = RESULTS) -> dict[str, list[str]]:
    """Name of a section of the guide → its lines, for the results that are there."""
    made = {}
    for name, (file, write) in SECTIONS.items():
        path = results / f"{file}.json"
        if path.exists():
            made[name] = write(json.loads(path.read_text(encoding="utf-8")))
    return made


def draw_weights(result: Result, path: Path) -> None:
    """λ of the RUL task over steps: a panel per dataset and floor, a line per form and seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    matplotlib.rcParams["svg.hashsalt"] = "grace"
    floors = result["floors"]
    datasets = list(result["trajectories"])
    sheet, axes = plt.subplots(
        len(floors), len(datasets), figsize=(4.4 * len(datasets), 5.6), sharex="col", squeeze=False
    )
    colours = ("#222222", "#1f77b4", "#e07b00")
    for column, dataset in enumerate(datasets):
        for row, (suffix, floor) in enumerate(floors.items()):
            axis = axes[row][column]
            low = next(filter(None, floors))  # the suffix of the forms with the low floor
            of_floor = {
                name.removesuffix(low): seeds
                for name, seeds in result["trajectories"][dataset].items()
                if name.endswith(low) == bool(suffix)
            }
            for colour, (name, seeds) in zip(colours, of_floor.items(), strict=False):
                for i, path_of in enumerate(seeds.values()):
                    label = "" if i else name
                    axis.plot(
                        path_of["steps"], path_of["weights"], color=colour, lw=0.9, label=label
                    )
            axis.set(yscale="log", title=f"{dataset}, floor {floor:g}")
            axis.grid(alpha=0.25, lw=0.5)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_locator(NullLocator())
    for axis in axes[-1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("λ of the RUL task")
    axes[0][0].legend(fontsize=8, frameon=False)
    sheet.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path, metadata={"Date": None})
    plt.close(sheet)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write the measured tables of the guide.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    for name, lines in sections(args.results).items():
        replace_between(GUIDE, name, lines)
    gaba = args.results / "fidelity_gaba.json"
    if gaba.exists():
        draw_weights(json.loads(gaba.read_text(encoding="utf-8")), FIGURE)


if __name__ == "__main__":
    main()
