"""Controls of a balancer: all fixed weights of two tasks, and gradient surgery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grace.core.methods import OUTER_METHODS, parse_method
from grace.core.surgery import GRADIENT_SURGERY
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments.benchmark import validation_scores
from grace.experiments.results_store import ResultsStore

__all__ = [
    "BaselineSpread",
    "SurgeryRow",
    "SweepPoint",
    "SweepRange",
    "baseline_spreads",
    "fixed_weight_of",
    "scale_invariant",
    "surgery_of",
    "surgery_rows",
    "sweep_ranges",
    "weight_sweep",
]

_EQUAL = 0.5  # weight of `fixed` without an argument


class SweepPoint(NamedTuple):
    """A fixed weight of the RUL task on a dataset; ``weight`` None is GABA.

    ``rmse`` and ``rmse_std`` (n − 1) are over ``seeds``, which all points of a dataset share;
    ``all_rmse`` and ``all_std`` over the ``all_seeds`` seeds (how many) that this point has.
    """

    dataset: str
    weight: float | None
    seeds: tuple[int, ...]
    rmse: float
    rmse_std: float | None
    all_seeds: int
    all_rmse: float
    all_std: float | None


class SweepRange(NamedTuple):
    """Range of the RMSE over the fixed weights of a dataset, compared with that of chance.

    ``std`` is the standard deviation over seeds, pooled over the fixed weights with at least five
    seeds, and ``chance`` the range that as many runs as there are weights exceed in 5% of all
    cases if they differ only by the seed (studentised range). Both are None without such weights.
    """

    dataset: str
    seeds: tuple[int, ...]
    weights: int
    best: SweepPoint
    worst: SweepPoint
    std: float | None
    chance: float | None

    @property
    def range(self) -> float:
        """RMSE of the worst minus that of the best weight."""
        return self.worst.rmse - self.best.rmse


class SurgeryRow(NamedTuple):
    """A method of gradient surgery on a dataset, next to ``baseline``.

    ``normalise`` is what the task gradients were divided by, "none" for nothing; ``difference``
    is the mean of RMSE minus that of the baseline over the ``common`` seeds, None without any.
    ``from_mean`` is ``rmse`` minus the baseline's mean over all its seeds, None without a baseline.
    ``figures`` holds RMSE and NASA score by seed.
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
    from_mean: float | None
    figures: tuple[tuple[int, float, float], ...]


class BaselineSpread(NamedTuple):
    """RMSE of ``baseline`` on a dataset over its ``seeds`` seeds, and over those of ``common``.

    ``rank`` is the place of the single common seed among all (1 is the lowest RMSE), None with
    several.
    """

    dataset: str
    seeds: int
    mean: float
    std: float | None
    common: tuple[int, ...]
    at_common: float
    rank: int | None


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
            mine = list(by[weight].values())
            found.append(
                SweepPoint(
                    str(dataset), weight, common, float(np.mean(values)), _std(values),
                    len(mine), float(np.mean(mine)), _std(mine),
                )
            )  # fmt: skip
    return found


def sweep_ranges(points: Sequence[SweepPoint]) -> list[SweepRange]:
    """How far the RMSE varies over the fixed weights of each dataset."""
    from scipy import stats  # a second, which every command would pay

    rows = []
    for dataset in dict.fromkeys(p.dataset for p in points):
        fixed = [p for p in points if p.dataset == dataset and p.weight is not None]
        many = [p for p in fixed if p.all_seeds >= MIN_SEEDS and p.all_std]
        std = chance = None
        if many:
            freedom = sum(p.all_seeds - 1 for p in many)
            squares = sum((p.all_seeds - 1) * (p.all_std or 0.0) ** 2 for p in many)
            std = float(np.sqrt(squares / freedom))
            # The points are means over the common seeds.
            one = std / float(np.sqrt(len(fixed[0].seeds)))
            chance = one * float(stats.studentized_range.ppf(0.95, len(fixed), freedom))
        best, worst = min(fixed, key=lambda p: p.rmse), max(fixed, key=lambda p: p.rmse)
        seeds = fixed[0].seeds
        rows.append(SweepRange(dataset, seeds, len(fixed), best, worst, std, chance))
    return rows


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


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
        rmse = part["rmse_capped"].to_list()
        mean = float(np.mean(rmse))
        figures = part.sort("seed").select("seed", "rmse_capped", "nasa_capped").rows()
        rows.append(
            SurgeryRow(
                str(dataset), *found, str(label), part.height, mean, _std(rmse),
                float(part["nasa_capped"].to_numpy().mean()), len(common), difference,
                mean - float(np.mean(list(baseline.values()))) if baseline else None,
                tuple(figures),
            )
        )  # fmt: skip
    return sorted(rows, key=lambda r: (r.dataset, r.method, r.normalise != "none", r.normalise))


def baseline_spreads(store: ResultsStore, rows: Sequence[SurgeryRow]) -> list[BaselineSpread]:
    """The baseline that the rows of each dataset are compared with; none without a common seed."""
    found = []
    for dataset in dict.fromkeys(r.dataset for r in rows):
        known = _by_seed(store, dataset, ["baseline"])
        used = {seed for r in rows if r.dataset == dataset for seed, *_ in r.figures}
        common = tuple(sorted(used & known.keys()))
        if not common:
            continue
        values = sorted(known.values())
        rank = values.index(known[common[0]]) + 1 if len(common) == 1 else None
        found.append(
            BaselineSpread(
                dataset, len(values), float(np.mean(values)), _std(values), common,
                float(np.mean([known[s] for s in common])), rank,
            )
        )  # fmt: skip
    return found


def scale_invariant(rows: Sequence[SurgeryRow]) -> dict[str, list[str]]:
    """Methods with equal figures under every normalisation that was run, and on which datasets.

    Compared where a dataset has runs of several normalisations with the same seeds: RMSE and NASA
    score of every seed must be equal in all digits.
    """
    found: dict[str, list[str]] = {}
    for method, dataset in dict.fromkeys((r.method, r.dataset) for r in rows):
        mine = [r.figures for r in rows if (r.method, r.dataset) == (method, dataset)]
        if len(mine) > 1 and all(figures == mine[0] for figures in mine):
            found.setdefault(method, []).append(dataset)
    return found


def _by_seed(store: ResultsStore, dataset: str, method: Sequence[str]) -> dict[int, float]:
    table = store.scores(protocol="validation", dataset=[dataset], method=method)
    return dict(table.select("seed", "rmse_capped").rows()) if table.height else {}
