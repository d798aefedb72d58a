"""The page on accuracy, from the results of ``accuracy.py``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from document import markdown

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LOG, READINGS, NETWORKS, PAGE = (
    RESULTS / "accuracy.jsonl",
    RESULTS / "accuracy.readings.jsonl",
    RESULTS / "network_variants.jsonl",
    ROOT / "docs" / "accuracy.md",
)
DATASETS = ("FD001", "FD002", "FD003", "FD004")
CHOSEN = "stack, shifted by prediction and life"
EARLIER = "best, 20 steps per epoch"  # networks and predictor of an earlier state of the preset
STEPS = "training.steps_per_epoch"
# Shown names of the settings of network_variants.py, in the order of the table.
NETWORK_VARIANTS = {
    "seed=1042": "another seed: what chance changes",
    "windows.length=20": "windows of 20 rows instead of 30",
    "windows.length=50": "windows of 50 rows",
    "truncated=0.5": "half of the training windows begin at a random row of theirs",
    "trunk=tcn": "temporal convolutions instead of CNN, BiLSTM and attention",
    "trunk=transformer": "transformer encoder instead of them",
    "target_cap=1": "target scaled to 1 at the cap, instead of 125",
    "method.name=nasa+gaba": "NASA score as the loss, instead of the failure-biased one",
}
SHOWN_OF_EARLIER = (
    "one network", "stack, least squares", "stack, shifted by prediction alone", CHOSEN
)  # fmt: skip


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file; none if there is no file."""
    return [json.loads(s) for s in path.read_text().splitlines()] if path.exists() else []


def page() -> str:
    """docs/accuracy.md from the three results files."""
    log, readings, networks = read_lines(LOG), read_lines(READINGS), read_lines(NETWORKS)
    text = (ROOT / "benchmarks" / "accuracy_page.md").read_text(encoding="utf-8")
    for mark, lines in {
        "{variants}": variant_table([e for e in log if e["networks"] == "fast"]),
        "{variants_best}": variant_table([e for e in log if e["networks"] == "best"]),
        "{variants_earlier}": variant_table(
            [e for e in log if e["networks"] == EARLIER and e["variant"] in SHOWN_OF_EARLIER],
            chosen=None,
        ),
        "{changes}": change_table(log, readings),
        "{networks}": network_table([e for e in networks if e["settings"].startswith(STEPS)]),
        "{changed_networks}": changed_networks(
            [e for e in networks if not e["settings"].startswith(STEPS)]
        ),
        "{readings}": reading_table(readings),
    }.items():
        text = text.replace(mark, "\n".join(lines))
    return text


def variant_table(log: Sequence[dict[str, Any]], chosen: str | None = CHOSEN) -> list[str]:
    """One line per variant: RMSE and NASA score per unit on each dataset, mean over seeds."""
    order = {e["variant"]: e["order"] for e in log}
    rows = []
    for variant in sorted(order, key=order.__getitem__):
        text = []
        for name in DATASETS:
            found = [e for e in log if (e["variant"], e["dataset"]) == (variant, name)]
            means = (np.mean([e[key] for e in found]) for key in ("rmse", "nasa_per_unit") if found)
            text.append(" / ".join(f"{m:.2f}" for m in means) or "–")
        rows.append([f"**{variant}**" if variant == chosen else variant, *text])
    return markdown(["variant", *DATASETS], rows)


def change_table(log: Sequence[dict[str, Any]], readings: Sequence[dict[str, Any]]) -> list[str]:
    """What more steps per epoch changed, mean over common seeds with its standard error."""

    def change(entries: Sequence[dict[str, Any]], name: str, key: str, figure: str) -> str:
        of = {
            (e[key], e["seed"]): e[figure]
            for e in entries
            if e["dataset"] == name and e[key] in ("best", EARLIER)
        }
        seeds = sorted(s for k, s in of if k == "best" and (EARLIER, s) in of)
        gaps = np.array([of["best", s] - of[EARLIER, s] for s in seeds])
        error = gaps.std(ddof=1) / np.sqrt(len(gaps))
        return f"{gaps.mean():+.2f} ± {error:.2f}".replace("-", "−")

    rows = []
    for variant in ("one network", CHOSEN):
        mine = [e for e in log if e["variant"] == variant]
        for figure, title in (("rmse", "RMSE"), ("nasa_per_unit", "NASA score per engine")):
            cells = [change(mine, n, "networks", figure) for n in ("FD002", "FD004")]
            rows.append([f"{variant}, held-out engines, {title}", *cells])
    mine = [e for e in readings if e["from"] == "run"]
    for figure, title in (("rmse", "RMSE"), ("nasa", "NASA score")):
        cells = [change(mine, n, "predictor", figure) for n in ("FD002", "FD004")]
        rows.append([f"preset `best`, test engines, {title}", *cells])
    return markdown(["change from 20 steps", "FD002", "FD004"], rows)


def network_table(log: Sequence[dict[str, Any]]) -> list[str]:
    """One line per dataset and variant of the network: root mean square over its folds."""
    rows, keys = [], ("dataset", "settings", "seed", "run_steps_per_epoch")
    for name, settings, seed, steps in sorted({tuple(e[k] for k in keys) for e in log}):
        mine = [e for e in log if tuple(e[k] for k in keys) == (name, settings, seed, steps)]
        errors = (np.sqrt(np.mean([e[k] ** 2 for e in mine])) for k in ("rmse", "run_rmse"))
        folds = ", ".join(str(e["fold"] + 1) for e in mine)
        row = [f"{name}, `{settings}`", str(seed), folds, *(f"{error:.2f}" for error in errors)]
        rows.append([*row, str(steps)])
    heads = ("variant", "seed", "folds", "RMSE", "RMSE of the run's networks",
             "their steps per epoch")  # fmt: skip
    return markdown(heads, rows)


def changed_networks(log: Sequence[dict[str, Any]]) -> list[str]:
    """One line per variant: change of the RMSE, alone and in the mean with the run's network."""

    def root_mean_square(entries: Sequence[dict[str, Any]], key: str) -> float:
        return float(np.sqrt(np.mean([e[key] ** 2 for e in entries])))

    rows = []
    for settings, shown in NETWORK_VARIANTS.items():
        cells = []
        for name in DATASETS:
            mine = [e for e in log if (e["settings"], e["dataset"]) == (settings, name)]
            if not mine:
                cells.append("–")
                continue
            before = root_mean_square(mine, "run_rmse")
            gaps = (root_mean_square(mine, key) - before for key in ("rmse", "mean_rmse"))
            text = " / ".join(f"{gap:+.2f}" for gap in gaps).replace("-", "−")
            cells.append(f"{text} ({len(mine)})")
        rows.append([shown, *cells])
    return markdown(["variant of the network", *DATASETS], rows)


def reading_table(readings: Sequence[dict[str, Any]]) -> list[str]:
    """One line per predictor: mean and standard deviation over the seeds."""
    rows = []
    kinds = sorted({(e["from"], e["predictor"]) for e in readings})
    for source, predictor in kinds:
        row = [predictor if source == "folds" else f"grace train --preset {predictor}"]
        for name in DATASETS:
            mine = [
                e for e in readings
                if (e["from"], e["predictor"], e["dataset"]) == (source, predictor, name)
            ]  # fmt: skip
            rmse, nasa = ([e[key] for e in mine] for key in ("rmse", "nasa"))
            if not mine:
                row.append("–")
            elif len(mine) == 1:
                row.append(f"{rmse[0]:.2f} / {nasa[0]:.0f} (1 seed)")
            else:
                row.append(
                    f"{np.mean(rmse):.2f} ± {np.std(rmse, ddof=1):.2f} / "
                    f"{np.mean(nasa):.0f} ± {np.std(nasa, ddof=1):.0f} ({len(mine)} seeds)"
                )
        rows.append(row)
    return markdown(["predictor", *DATASETS], rows)
