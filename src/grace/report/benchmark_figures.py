"""Figures of the benchmark page, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from grace import plots
from grace.evaluation import FriedmanNemenyi
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments.benchmark import Cell
from grace.experiments.controls import SweepPoint
from grace.experiments.weight_floor import FLOOR, WeightPath
from grace.report.benchmark_sentences import listed

__all__ = ["draw_fronts", "draw_ranks", "draw_sweeps", "draw_weights"]


def _save(folder: Path, name: str, ax: Axes) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


def draw_ranks(ranks: FriedmanNemenyi, folder: Path) -> dict[str, str]:
    """Write the diagram of mean ranks; file name to caption, as of all functions here."""
    ax = plots.critical_difference(
        {"name": list(ranks.names), "rank": list(ranks.mean_ranks)},
        critical_difference=ranks.critical_difference,
        groups=ranks.groups,
    )
    _save(folder, "ranks", ax)
    return {"ranks": f"Mean rank by RMSE over {ranks.n_blocks} datasets"}


def draw_fronts(found: Sequence[Cell], folder: Path) -> dict[str, str]:
    """Write RMSE against NASA score for each dataset, of the methods with enough seeds if any."""
    drawn = {}
    for dataset in dict.fromkeys(c.dataset for c in found):
        mine = [c for c in found if c.dataset == dataset]
        mine = [c for c in mine if c.seeds >= MIN_SEEDS] or mine
        frame = {
            "name": [c.method for c in mine],
            "rmse": [c.rmse for c in mine],
            "nasa": [c.nasa for c in mine],
            "rmse_std": [c.rmse_std or 0.0 for c in mine],
            "nasa_std": [c.nasa_std or 0.0 for c in mine],
        }
        _save(folder, f"pareto_{dataset}", plots.pareto_front(frame))
        drawn[f"pareto_{dataset}"] = (
            f"{dataset}: RMSE and NASA score, means and standard deviations over seeds"
        )
    return drawn


def draw_weights(paths: Sequence[WeightPath], folder: Path) -> dict[str, str]:
    """Write the RUL weight of all runs for each dataset."""
    drawn = {}
    for dataset in dict.fromkeys(p.dataset for p in paths):
        mine = [p for p in paths if p.dataset == dataset]
        rows = [
            {"name": p.method, "run": p.seed, "epoch": e, "weight": w, "selected": p.selected}
            for p in mine
            for e, w in zip(p.epochs, p.weights, strict=True)
        ]
        _save(folder, f"weights_{dataset}", plots.weight_paths(rows, floor=FLOOR))
        names = listed(f"`{name}`" for name in dict.fromkeys(p.method for p in mine))
        seeds = ", ".join(map(str, sorted({p.seed for p in mine})))
        drawn[f"weights_{dataset}"] = f"{dataset}: RUL weight of {names}, seeds {seeds}"
    return drawn


def draw_sweeps(points: Sequence[SweepPoint], folder: Path) -> dict[str, str]:
    """Write the RMSE by fixed weight for each dataset with a sweep."""
    drawn = {}
    for dataset in dict.fromkeys(p.dataset for p in points):
        mine = [p for p in points if p.dataset == dataset]
        fixed = [p for p in mine if p.weight is not None]
        gaba = next((p for p in mine if p.weight is None), None)
        ax = plots.weight_sweep(
            {
                "weight": [p.weight for p in fixed],
                "rmse": [p.rmse for p in fixed],
                "rmse_std": [p.rmse_std for p in fixed],
            },
            reference=None if gaba is None else gaba.rmse,
            reference_std=None if gaba is None else gaba.rmse_std,
        )
        _save(folder, f"sweep_{dataset}", ax)
        seeds = ("seed " if len(mine[0].seeds) == 1 else "seeds ") + ", ".join(
            map(str, mine[0].seeds)
        )
        drawn[f"sweep_{dataset}"] = f"{dataset}: RMSE by fixed weight, {seeds}"
    return drawn
