"""The page on accuracy, from the results of ``accuracy.py``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from document import markdown
from network_text import (
    DATASETS,
    changed_networks,
    mean_change,
    network_sentences,
    network_table,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LOG, READINGS, ZONES_LOG, NETWORKS, PATHS, PAGE = (
    RESULTS / "accuracy.jsonl",
    RESULTS / "accuracy.readings.jsonl",
    RESULTS / "accuracy.zones.jsonl",
    RESULTS / "network_variants.jsonl",
    RESULTS / "path_variants.jsonl",
    ROOT / "docs" / "accuracy.md",
)
CHOSEN = "stack, shifted by prediction and life"
# Earlier states of the preset, as networks of the log and as predictors of the readings.
WITHOUT_PATH, EARLIER = "best, without the path", "best, 20 steps per epoch"
# RMSE and NASA score (sum) that the preset was to reach, labels capped at 125.
AIMS = {"FD001": (10.3, 185), "FD002": (9.6, 430), "FD003": (8.9, 165), "FD004": (9.8, 500)}
STEPS = "training.steps_per_epoch"
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
    steps = [e for e in networks if e["settings"].startswith(STEPS)]

    def of(state: str) -> list[dict[str, Any]]:
        return [e for e in log if e["networks"] == state]

    for mark, lines in {
        "{aims}": aims_table(readings),
        "{variants}": variant_table(of("fast")),
        "{variants_best}": variant_table(of("best")),
        "{variants_without_path}": variant_table(
            [e for e in of(WITHOUT_PATH) if e["variant"] in SHOWN_OF_EARLIER], chosen=None
        ),
        "{variants_earlier}": variant_table(
            [e for e in of(EARLIER) if e["variant"] in SHOWN_OF_EARLIER], chosen=None
        ),
        "{zones}": zone_table(read_lines(ZONES_LOG)),
        "{paths}": path_table(read_lines(PATHS)),
        "{path_changes}": change_table(log, readings, "best", WITHOUT_PATH, (CHOSEN,), DATASETS),
        "{changes}": change_table(
            log, readings, WITHOUT_PATH, EARLIER, ("one network", CHOSEN), ("FD002", "FD004")
        ),
        "{networks}": network_table(steps),
        "{changed_networks}": changed_networks(networks),
        "{network_sentences}": network_sentences(networks),
        "{trend}": trend_table(readings),
        "{readings}": reading_table(readings),
        "{counts}": [reading_counts(readings)],
    }.items():
        text = text.replace(mark, "\n".join(lines))
    return text


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def aims_table(readings: Sequence[dict[str, Any]]) -> list[str]:
    """Aims and measured figures of the present state of the preset."""
    rows, kept, n = [], 0, 0
    for name, aims in AIMS.items():
        mine = [
            e for e in readings
            if (e["from"], e["predictor"], e["dataset"]) == ("run", "best", name)
        ]  # fmt: skip
        cells = [name, ", ".join(str(s) for s in sorted(e["seed"] for e in mine))]
        for key, aim, digits in zip(("rmse", "nasa"), aims, (2, 0), strict=True):
            values = [e[key] for e in mine]
            if not values:
                cells += [f"{aim}", "–"]
                continue
            met = np.mean(values) <= aim
            kept, n = kept + met, n + 1
            cells += [f"{aim}", f"{spread(values, digits)}{'' if met else ' (missed)'}"]
        rows.append(cells)
    heads = ("dataset", "seeds", "RMSE, aim", "RMSE", "NASA score, aim", "NASA score")
    return [*markdown(heads, rows), "", f"{kept} of {n} aims are met by the mean over the seeds."]


def variant_table(log: Sequence[dict[str, Any]], chosen: str | None = CHOSEN) -> list[str]:
    """One line per variant: RMSE and NASA score per unit on each dataset, mean over seeds."""
    order = {e["variant"]: e["order"] for e in log}
    rows = []
    for variant in sorted(order, key=order.__getitem__):
        text = []
        for name in DATASETS:
            found = [e for e in log if (e["variant"], e["dataset"]) == (variant, name)]
            cells = [spread([e[key] for e in found]) for key in ("rmse", "nasa_per_unit") if found]
            # A cell of two lines is broken between the two figures.
            text.append(" / ".join(c.replace(" ", "\N{NO-BREAK SPACE}") for c in cells) or "–")
        rows.append([f"**{variant}**" if variant == chosen else variant, *text])
    return markdown(["variant", *DATASETS], rows)


def change_table(
    log: Sequence[dict[str, Any]],
    readings: Sequence[dict[str, Any]],
    new: str,
    old: str,
    variants: Sequence[str],
    datasets: Sequence[str],
) -> list[str]:
    """What one state of the preset changed: mean over common seeds with its standard error."""

    def change(entries: Sequence[dict[str, Any]], name: str, key: str, figure: str) -> str:
        of = {
            (e[key], e["seed"]): e[figure]
            for e in entries
            if e["dataset"] == name and e[key] in (new, old)
        }
        seeds = sorted(s for k, s in of if k == new and (old, s) in of)
        gaps = np.array([of[new, s] - of[old, s] for s in seeds])
        return "–" if len(gaps) < 2 else mean_change(gaps, least=2)

    rows = []
    for variant in variants:
        mine = [e for e in log if e["variant"] == variant]
        for figure, title in (("rmse", "RMSE"), ("nasa_per_unit", "NASA score per engine")):
            cells = [change(mine, n, "networks", figure) for n in datasets]
            rows.append([f"{variant}, held-out engines, {title}", *cells])
    mine = [e for e in readings if e["from"] == "run"]
    for figure, title in (("rmse", "RMSE"), ("nasa", "NASA score")):
        cells = [change(mine, n, "predictor", figure) for n in datasets]
        rows.append([f"preset `best`, test engines, {title}", *cells])
    return markdown(["change", *datasets], rows)


def zone_table(log: Sequence[dict[str, Any]]) -> list[str]:
    """RMSE, share of the squared error and part of it that is of the unit, by remaining life."""
    rows = []
    mine = [e for e in log if e["networks"] == "best"]
    for low, high in sorted({(e["low"], e["high"]) for e in mine}):
        cells = []
        for name in DATASETS:
            of = [e for e in mine if (e["dataset"], e["low"]) == (name, low)]
            if not of:
                cells.append("–")
                continue
            rmse, share, unit = (np.mean([e[k] for e in of]) for k in ("rmse", "share", "of_unit"))
            cells.append(f"{rmse:.1f} / {100 * share:.0f}% / {100 * unit:.0f}%")
        rows.append([f"{low:.0f} to {high:.0f}", *cells])
    return markdown(["cycles left", *DATASETS], rows)


def path_table(log: Sequence[dict[str, Any]]) -> list[str]:
    """One line per variant of the candidate: its RMSE alone / of the shifted stack with it."""
    names = [n for n in DATASETS if any(e["dataset"] == n for e in log)]
    rows = []
    for variant in dict.fromkeys(e["variant"] for e in sorted(log, key=lambda e: e["order"])):
        cells = []
        for name in names:
            mine = [e for e in log if (e["variant"], e["dataset"]) == (variant, name)]
            found = (np.mean([e[k] for e in mine]) for k in ("rmse", "stack_rmse") if mine)
            cells.append(" / ".join(f"{v:.2f}" for v in found) or "–")
        rows.append([variant, *cells])
    return markdown(["variant", *names], rows)


def trend_table(readings: Sequence[dict[str, Any]]) -> list[str]:
    """Out-of-fold RMSE of the stack with and without trend channels, of the same seeds."""
    trend, rows = "best, with trend channels", []
    for e in (e for e in readings if e["predictor"] == trend):
        other = next(
            o for o in readings
            if (o["predictor"], o["dataset"], o["seed"]) == (EARLIER, e["dataset"], e["seed"])
        )  # fmt: skip
        figures = (f"{r['rmse_out_of_fold']:.2f}" for r in (other, e))
        rows.append([f"{e['dataset']}, seed {e['seed']}", *figures])
    return markdown(["stack, RMSE out of fold", "without", "with trend channels"], rows)


def reading_counts(readings: Sequence[dict[str, Any]]) -> str:
    """How often each test set was read for this page, and how many readings have no date."""
    counts = {n: sum(e["dataset"] == n for e in readings) for n in DATASETS}
    of = ", ".join(f"{count} of {name}" for name, count in counts.items())
    undated = sum("read" not in e for e in readings)
    return f"The log has {len(readings)} readings: {of}; {undated} from before dates were logged."


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
