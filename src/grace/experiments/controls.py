"""Controls of a balancer: all fixed weights of two tasks, and gradient surgery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grace.core.methods import OUTER_METHODS, parse_method
from grace.core.surgery import GRADIENT_SURGERY
from grace.experiments.benchmark import validation_scores
from grace.experiments.results_store import ResultsStore

__all__ = [
    "SurgeryRow",
    "SweepPoint",
    "fixed_weight_of",
    "surgery_of",
    "surgery_rows",
    "weight_sweep",
]

_EQUAL = 0.5  # weight of `fixed` without an argument


class SweepPoint(NamedTuple):
    """A fixed weight of the RUL task on a dataset; ``weight`` None is GABA.

    ``rmse`` and ``rmse_std`` (n − 1) are over ``seeds``, which all points of a dataset share.
    """

    dataset: str
    weight: float | None
    seeds: tuple[int, ...]
    rmse: float
    rmse_std: float | None


class SurgeryRow(NamedTuple):
    """A method of gradient surgery on a dataset, next to ``baseline`` with the same seeds.

    ``normalise`` is what the task gradients were divided by, "none" for nothing; ``difference``
    is the mean of RMSE minus that of the baseline over the ``common`` seeds, None without any.
    """

    dataset: str
    method: str
    normalise: str
    label: str
    seeds: int
    rmse: float
    rmse_std: float | None
    nasa: float
    common: int
    difference: float | None


def fixed_weight_of(method: str) -> float | None:
    """RUL weight of a method with the plain loss and fixed weights; None for any other.

    Example:
        >>> fixed_weight_of("fixed:0.25"), fixed_weight_of("baseline"), fixed_weight_of("amnl")
        (0.25, 0.5, None)
    """
    parts = _parsed(method)
    if parts is None or parts[:2] != ("mse", "fixed"):
        return None
    return _EQUAL if parts[2] is None else float(parts[2])


def surgery_of(method: str) -> tuple[str, str] | None:
    """Name of the gradient surgery of a method and its normalisation; None for any other.

    Example:
        >>> surgery_of("mse+upgrad (normalise=initial_loss)"), surgery_of("gaba")
        (('upgrad', 'initial_loss'), None)
    """
    name, _, options = method.partition(" (")
    parts = _parsed(name)
    if parts is None or parts[1] not in GRADIENT_SURGERY:
        return None
    given = dict(o.split("=", 1) for o in options.rstrip(")").split(", ") if "=" in o)
    normalise = given.pop("normalise", "none")
    rest = ", ".join(f"{key}={value}" for key, value in given.items())
    inner = "" if parts[0] == "mse" else f"{parts[0]}+"
    return f"{inner}{parts[1]}" + (f" ({rest})" if rest else ""), normalise


def _parsed(method: str) -> tuple[str, str, str | None] | None:
    try:
        parts = parse_method(method)
    except ValueError:  # options, or a name of somebody's own
        return None
    return parts if parts[1] in OUTER_METHODS else None


def weight_sweep(store: ResultsStore) -> list[SweepPoint]:
    """Every fixed weight with the plain loss, and GABA, over the seeds that all of them have.

    Datasets with fewer than three weights are left out: that is no sweep.
    """
    found = []
    for (dataset,), part in validation_scores(store).group_by("dataset", maintain_order=True):
        by: dict[float | None, dict[int, float]] = {}
        for name in part["method"].unique(maintain_order=True):
            weight = fixed_weight_of(str(name))
            if weight is not None or name == "gaba":
                by[weight] = dict(part.filter(method=name).select("seed", "rmse_capped").rows())
        if len(by.keys() - {None}) < 3:
            continue
        common = tuple(sorted(set.intersection(*(set(v) for v in by.values()))))
        if not common:
            continue
        for weight in sorted(by, key=lambda w: (w is None, w)):
            values = [by[weight][s] for s in common]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found.append(SweepPoint(str(dataset), weight, common, float(np.mean(values)), spread))
    return found


def surgery_rows(store: ResultsStore) -> list[SurgeryRow]:
    """Every method of gradient surgery, ordered by dataset, method and normalisation."""
    rows = []
    for (dataset, label), part in validation_scores(store).group_by("dataset", "method"):
        found = surgery_of(str(label))
        if found is None:
            continue
        baseline = _by_seed(store, str(dataset), ["baseline"])
        mine = dict(part.select("seed", "rmse_capped").rows())
        common = sorted(mine.keys() & baseline.keys())
        difference = float(np.mean([mine[s] - baseline[s] for s in common])) if common else None
        rmse = part["rmse_capped"].to_numpy()
        rows.append(
            SurgeryRow(
                str(dataset), *found, str(label), part.height, float(rmse.mean()),
                float(rmse.std(ddof=1)) if rmse.size > 1 else None,
                float(part["nasa_capped"].to_numpy().mean()), len(common), difference,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda r: (r.dataset, r.method, r.normalise != "none", r.normalise))


def _by_seed(store: ResultsStore, dataset: str, method: Sequence[str]) -> dict[int, float]:
    table = store.scores(protocol="validation", dataset=[dataset], method=method)
    return dict(table.select("seed", "rmse_capped").rows()) if table.height else {}
