"""Sections of the benchmark page on the controls: fixed weights, and gradient surgery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from grace import plots
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments import ResultsStore
from grace.experiments.benchmark import Cell
from grace.experiments.comparisons import CONTROL_WEIGHT
from grace.experiments.controls import (
    SweepPoint,
    fixed_weight_of,
    surgery_of,
    surgery_rows,
    weight_sweep,
)
from grace.formatting import count, interval, number, signed, spread
from grace.report.text_tables import markdown_rows

__all__ = [
    "HEADS",
    "cell_row",
    "control_sections",
    "control_sentences",
    "draw_sweeps",
    "is_control",
]

HEADS = (
    "method", "seeds", "RMSE", "95% interval", "NASA", "RMSE, raw labels", "RMSE, test-selected",
    "gap",
)  # fmt: skip
"""Heads of :func:`cell_row`."""
_NORMALISED = {"none": "as they are", "initial_loss": "initial loss"}


def is_control(method: str) -> bool:
    """Whether a method is shown with the controls and not with the methods of the grid."""
    weight = fixed_weight_of(method)
    if weight is not None:
        return method != "baseline" and weight != float(CONTROL_WEIGHT)
    return surgery_of(method) is not None


def cell_row(c: Cell) -> tuple[str, ...]:
    """A method on a dataset as cells of a table."""
    return (
        f"`{c.method}`",
        str(c.seeds),
        spread(c.rmse, c.rmse_std),
        "–" if c.interval is None else interval(c.interval.low, c.interval.high),
        spread(c.nasa, c.nasa_std),
        number(c.rmse_raw),
        number(c.test_rmse),
        signed(c.gap),
    )


def control_sentences(store: ResultsStore) -> list[str]:
    """What the sweep of fixed weights and gradient surgery say, if there are runs of them."""
    sentences = []
    parts = []
    points = weight_sweep(store)
    for dataset in dict.fromkeys(p.dataset for p in points):
        fixed = [p for p in points if p.dataset == dataset and p.weight is not None]
        best, worst = min(fixed, key=lambda p: p.rmse), max(fixed, key=lambda p: p.rmse)
        text = (
            f"{number(best.rmse)} (weight {best.weight:g}) to {number(worst.rmse)} (weight "
            f"{worst.weight:g}) on {dataset}"
        )
        for p in points:
            if p.dataset == dataset and p.weight is None:
                text += f", where GABA has {number(p.rmse)}"
        parts.append(text)
    if parts:
        sentences.append(
            "Over all fixed weights with the plain loss the RMSE ranges from "
            f"{'; '.join(parts)} (mean over the seeds that all points of a dataset share, at "
            f"least {min(len(p.seeds) for p in points)})."
        )
    rows = [r for r in surgery_rows(store) if r.difference is not None]
    parts = []
    for dataset in dict.fromkeys(r.dataset for r in rows):
        mine = sorted((r for r in rows if r.dataset == dataset), key=lambda r: r.difference or 0.0)
        lower = sum((r.difference or 0.0) < 0 for r in mine)
        ends = " to ".join(
            f"{signed(r.difference)} (`{r.label}`)" for r in ([mine[0], mine[-1]][: len(mine)])
        )
        parts.append(f"{ends} on {dataset}, lower for {lower} of {len(mine)}")
    if parts:
        fewest = min(r.common for r in rows)
        sentences.append(
            f"Gradient surgery changes the RMSE of the baseline by {'; '.join(parts)} (over common "
            f"seeds, at least {fewest}; a test needs {MIN_SEEDS})."
        )
    return sentences


def control_sections(
    store: ResultsStore, found: Sequence[Cell], figures: dict[str, str], folder: str
) -> Iterator[str]:
    """Lines of both sections.

    Args:
        store: with the runs.
        found: cells of the controls.
        figures: file name to caption of :func:`draw_sweeps`.
        folder: of the figures, relative to the page.
    """
    points = weight_sweep(store)
    if points:
        yield "## Sweep of fixed weights\n"
        yield (
            "For two tasks the constant weights are one family: RUL weight w, health weight 1 − w, "
            "plain loss; 0.5 is the baseline, 1 trains RUL alone. Mean RMSE over the seeds that "
            f"all points of a dataset share. GABA rests on its floor at {CONTROL_WEIGHT}. With "
            "one seed, differences as small as the standard deviations over seeds in the tables "
            "above say nothing.\n"
        )
        yield markdown_rows(*_sweep_table(points))
        for name, caption in figures.items():
            yield f"\n![{caption}]({folder}/{name}.svg)"
        yield ""
        yield from _cells(c for c in found if surgery_of(c.method) is None)
    rows = surgery_rows(store)
    if rows:
        yield "## Gradient surgery\n"
        yield (
            "Combinations of the task gradients that compare angles, on the losses as they are and "
            "on losses divided by their initial values. The difference to the baseline is over "
            "common seeds; negative means lower error. With fewer than five seeds nothing is "
            "tested, and these methods are in no ranking below.\n"
        )
        heads = (
            "dataset", "method", "losses", "seeds", "RMSE", "difference to baseline", "NASA",
        )  # fmt: skip
        yield markdown_rows(
            heads,
            [
                (
                    r.dataset, f"`{r.method}`", _NORMALISED.get(r.normalise, r.normalise), r.seeds,
                    spread(r.rmse, r.rmse_std), signed(r.difference), number(r.nasa),
                )
                for r in rows
            ],
        )  # fmt: skip
        yield ""
        yield from _cells(c for c in found if surgery_of(c.method) is not None)


def _cells(found: Iterator[Cell]) -> Iterator[str]:
    """All figures of the controls, folded away."""
    mine = sorted(found, key=lambda c: (c.dataset, c.rmse))
    if mine:
        yield "<details markdown><summary>All figures</summary>\n"
        yield markdown_rows(("dataset", *HEADS), [(c.dataset, *cell_row(c)) for c in mine])
        yield "\n</details>\n"


def _sweep_table(points: Sequence[SweepPoint]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    datasets = list(dict.fromkeys(p.dataset for p in points))
    by = {(p.dataset, p.weight): p for p in points}
    weights = sorted({p.weight for p in points}, key=lambda w: (w is None, w))
    seeds = {p.dataset: len(p.seeds) for p in points}
    rows = []
    for weight in weights:
        mine = [by.get((d, weight)) for d in datasets]
        name = "GABA" if weight is None else f"{weight:g}"
        rows.append((name, *("–" if p is None else spread(p.rmse, p.rmse_std) for p in mine)))
    return ("RUL weight", *(f"{d} ({count(seeds[d], 'seed')})" for d in datasets)), rows


def draw_sweeps(store: ResultsStore, folder: Path) -> dict[str, str]:
    """Write a figure for each dataset with a sweep; file name to caption."""
    drawn = {}
    points = weight_sweep(store)
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
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(folder / f"sweep_{dataset}.svg", metadata={"Date": None, "Creator": None})
        seeds = ("seed " if len(mine[0].seeds) == 1 else "seeds ") + ", ".join(
            map(str, mine[0].seeds)
        )
        drawn[f"sweep_{dataset}"] = f"{dataset}: RMSE by fixed weight, {seeds}"
    return drawn
