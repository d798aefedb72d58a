"""Sentences and tables of the page on accuracy about variants of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from document import markdown
from scipy.stats import sem

DATASETS = ("FD001", "FD002", "FD003", "FD004")
STEPS_NOW = {"FD001": 20, "FD002": 34, "FD003": 20, "FD004": 33}  # of preset best
OTHER_SEEDS = ("seed=1042", "seed=2042")  # settings of network_variants.py
# Shown names of its other settings, in the order of the table.
NETWORK_VARIANTS = {
    "windows.length=20": "windows of 20 rows instead of 30",
    "windows.length=50": "windows of 50 rows",
    "truncated=0.5": "half of the training windows begin at a random row of theirs",
    "trunk=tcn": "temporal convolutions instead of CNN, BiLSTM and attention",
    "trunk=transformer": "transformer encoder instead of CNN, BiLSTM and attention",
    "target_cap=1": "target scaled to 1 at the cap, instead of 125",
    "method.name=nasa+gaba": "NASA score as the loss, instead of the failure-biased one",
}


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


class NetworkChange(NamedTuple):
    """Change of the RMSE by a variant of the network on a dataset, per fold, (n_folds,).

    ``alone`` is against the mean RMSE of the preset's networks of all seeds; ``paired`` is that of
    the mean of the variant and the network with seed 42, against the mean of two networks of the
    preset, seed 42 and another.
    """

    variant: str
    dataset: str
    alone: npt.NDArray[np.float64]
    paired: npt.NDArray[np.float64]


def present_networks(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Folds of seed 42 with the present number of steps per epoch."""
    return [
        e for e in log if e["seed"] == 42 and e["run_steps_per_epoch"] == STEPS_NOW[e["dataset"]]
    ]


def network_changes(log: Sequence[dict[str, Any]]) -> list[NetworkChange]:
    """Changes by the named variants on all folds on which all seeds were trained."""
    log = present_networks(log)
    usual: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for e in log:
        if e["settings"] in OTHER_SEEDS:
            usual.setdefault((e["dataset"], e["fold"]), []).append(e)
    usual = {key: entries for key, entries in usual.items() if len(entries) == len(OTHER_SEEDS)}
    found = []
    for settings, shown in NETWORK_VARIANTS.items():
        for name in DATASETS:
            mine = [
                (e, usual[name, e["fold"]]) for e in log
                if (e["settings"], e["dataset"]) == (settings, name) and (name, e["fold"]) in usual
            ]  # fmt: skip
            if mine:
                alone = [
                    e["rmse"] - np.mean([o[0]["run_rmse"], *(x["rmse"] for x in o)])
                    for e, o in mine
                ]
                paired = [e["mean_rmse"] - np.mean([x["mean_rmse"] for x in o]) for e, o in mine]
                found.append(NetworkChange(shown, name, np.array(alone), np.array(paired)))
    return found


def mean_change(changes: npt.NDArray[np.float64], *, least: int = 3) -> str:
    """Mean of paired changes, with its standard error if there are at least ``least``."""
    error = f" ± {sem(changes):.2f}" if len(changes) >= least else ""
    return f"{changes.mean():+.2f}".replace("-", "−") + error


def changed_networks(log: Sequence[dict[str, Any]]) -> list[str]:
    """One line per variant: change of the RMSE, alone and in a mean of two networks."""
    cells = {}
    for c in network_changes(log):
        parts = (mean_change(c.alone), f"{mean_change(c.paired)} ({len(c.alone)})")
        # A cell of two lines is broken between the two figures.
        cells[c.variant, c.dataset] = " / ".join(
            p.replace(" ", "\N{NO-BREAK SPACE}") for p in parts
        )
    names = [name for name in DATASETS if any(name == dataset for _, dataset in cells)]
    rows = [
        [shown, *(cells.get((shown, name), "–") for name in names)]
        for shown in NETWORK_VARIANTS.values()
        if any((shown, name) in cells for name in names)
    ]
    return markdown(["variant of the network", *names], rows)


def network_sentences(log: Sequence[dict[str, Any]]) -> list[str]:
    """What another seed changes, and which variants change more than two standard errors."""
    several = [c for c in network_changes(log) if len(c.alone) >= 3]
    seeds = []
    for name in DATASETS:
        for settings in OTHER_SEEDS:
            mine = [
                e for e in present_networks(log)
                if (e["settings"], e["dataset"]) == (settings, name)
            ]  # fmt: skip
            if mine:
                alone, mean = (
                    np.array([e[key] - e["run_rmse"] for e in mine])
                    for key in ("rmse", "mean_rmse")
                )
                seeds.append(
                    f"{mean_change(alone)} with {settings[5:]} on {name} (mean of both networks: "
                    f"{mean_change(mean)}; {len(mine)} folds)"
                )
    told = [f"- Other seeds than 42 change the RMSE by {', '.join(seeds)}."]
    for kind, of in (("alone", "The network alone"), ("paired", "The mean of two networks")):
        lower, higher = (
            [
                f"{c.variant} ({c.dataset})" for c in several
                if sign * getattr(c, kind).mean() > 2 * sem(getattr(c, kind))
            ]
            for sign in (-1, 1)
        )  # fmt: skip
        told.append(
            f"- {of} has a lower RMSE by more than two standard errors over at least three folds "
            f"with: {'; '.join(lower) or 'none of the variants'}. It has a higher one with: "
            f"{'; '.join(higher) or 'none'}."
        )
    return told
