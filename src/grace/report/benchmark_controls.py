"""Sections of the benchmark page on the controls: fixed weights, and gradient surgery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments import ResultsStore
from grace.experiments.benchmark import Cell
from grace.experiments.comparisons import CONTROL_WEIGHT
from grace.experiments.controls import (
    BaselineSpread,
    SurgeryRow,
    SweepPoint,
    baseline_spreads,
    fixed_weight_of,
    scale_invariant,
    surgery_of,
    surgery_rows,
    sweep_ranges,
    weight_sweep,
)
from grace.formatting import count, interval, number, signed, spread
from grace.report.benchmark_sentences import listed
from grace.report.text_tables import markdown_rows

__all__ = [
    "HEADS",
    "cell_row",
    "control_sections",
    "control_sentences",
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
        signed(c.gap) + ("" if c.gap_std is None else f" ± {number(c.gap_std)}"),
    )


def control_sentences(store: ResultsStore) -> list[str]:
    """What the sweep of fixed weights and gradient surgery say, if there are runs of them."""
    rows = surgery_rows(store)
    return [*_sweep_sentence(weight_sweep(store)), *_surgery_sentence(store, rows)]


def _seeds(seeds: Sequence[int]) -> str:
    """A phrase for the seeds of a comparison."""
    if len(seeds) == 1:
        return f"one seed each ({seeds[0]})"
    return f"{len(seeds)} seeds each ({', '.join(map(str, seeds))})"


def _sweep_sentence(points: Sequence[SweepPoint]) -> list[str]:
    ranges = sweep_ranges(points)
    if not ranges:
        return []
    parts = []
    for r in ranges:
        text = (
            f"from {number(r.best.rmse)} (weight {r.best.weight:g}) to {number(r.worst.rmse)} "
            f"(weight {r.worst.weight:g}) on {r.dataset}, a range of {number(r.range)}"
        )
        if r.std is not None:
            sign = "more" if r.range > r.std else "not more"
            text += f", {sign} than the standard deviation over seeds of {number(r.std)}"
        for p in points:
            if p.dataset == r.dataset and p.weight is None:
                text += f" (GABA: {number(p.rmse)})"
        parts.append(text)
    seeds = " or ".join(dict.fromkeys(_seeds(r.seeds) for r in ranges))
    text = (
        f"Over all fixed weights with the plain loss, {seeds}, the RMSE ranges {'; '.join(parts)}."
    )
    known = [r for r in ranges if r.chance is not None]
    if known:
        beyond = [r.dataset for r in known if r.range > (r.chance or 0.0)]
        limits = listed(f"{number(r.chance)} on {r.dataset}" for r in known)
        text += (
            " As many runs that differ only by the seed exceed a range of "
            f"{limits} in 5% of all cases; the range is larger on "
            f"{listed(beyond) if beyond else 'none of the datasets'}."
        )
    return [text]


def _surgery_sentence(store: ResultsStore, rows: Sequence[SurgeryRow]) -> list[str]:
    rows = [r for r in rows if r.difference is not None]
    changes, means = [], []
    for b in baseline_spreads(store, rows):
        mine = sorted((r for r in rows if r.dataset == b.dataset), key=lambda r: r.difference or 0)
        ends = [mine[0], mine[-1]][: len(mine)]
        text = " to ".join(f"{signed(r.difference)} (`{r.label}`)" for r in ends)
        text += f" on {b.dataset}"
        if min(r.common for r in mine) >= MIN_SEEDS:
            lower = sum((r.difference or 0.0) < 0 for r in mine)
            text += f" (lower for {lower} of {len(mine)})"
        elif b.seeds > 1:
            from_mean = sorted(r.from_mean or 0.0 for r in mine)
            far = " to ".join(map(signed, (from_mean[0], from_mean[-1])[: len(mine)]))
            mean = f"{spread(b.mean, b.std)} over {count(b.seeds, 'seed')}"
            means.append(f"{far} on {b.dataset} ({mean}{_place(b)})")
        changes.append(text)
    if not changes:
        return []
    told = (
        "Gradient surgery changes the RMSE of the baseline with the same seeds by "
        f"{listed(changes)}."
    )
    if means:
        told += f" From the mean of the baseline over all its seeds it is {listed(means)}."
    fewest = min(r.common for r in rows)
    if fewest < MIN_SEEDS:
        told += (
            f" With {'one seed' if fewest == 1 else count(fewest, 'seed')} nothing is tested and "
            f"methods are not counted; {MIN_SEEDS} are needed."
        )
    return [told]


def _place(b: BaselineSpread) -> str:
    """Where the baseline's run that the others are compared with lies among its seeds."""
    if b.rank is None:
        return ""
    place = f"number {b.rank} from the lowest"
    if b.rank in (1, b.seeds):
        place = f"the {'lowest' if b.rank == 1 else 'highest'} of them"
    return f"; its run with seed {b.common[0]}, {number(b.at_common)}, is {place}"


def control_sections(
    store: ResultsStore, found: Sequence[Cell], figures: dict[str, str], folder: str
) -> Iterator[str]:
    """Lines of both sections.

    Args:
        store: with the runs.
        found: cells of the controls.
        figures: file name to caption of the sweeps.
        folder: of the figures, relative to the page.
    """
    points = weight_sweep(store)
    if points:
        yield "## Sweep of fixed weights\n"
        yield (
            "For two tasks the constant weights are one family: RUL weight w, health weight 1 − w, "
            "plain loss; 0.5 is the baseline, 1 trains RUL alone. Mean RMSE over the seeds that "
            "all points of a dataset share; weights with more seeds have a second row with mean ± "
            f"standard deviation over all of theirs. GABA rests on its floor at {CONTROL_WEIGHT}.\n"
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
            "on losses divided by their initial values. RMSE, and in brackets the difference to "
            "the baseline over common seeds; negative means lower error. With fewer than five "
            "seeds nothing is tested, and these methods are in no ranking below.\n"
        )
        yield markdown_rows(*_surgery_table(rows, baseline_spreads(store, rows)))
        equal = scale_invariant(rows)
        if equal:
            each = "; ".join(f"`{name}` on {listed(where)}" for name, where in equal.items())
            yield (
                f"\nEqual figures with and without normalisation, in all digits: {each}. The "
                "direction of such a method does not depend on the scale of each loss."
            )
        yield ""
        yield from _cells(c for c in found if surgery_of(c.method) is not None)


def _cells(found: Iterable[Cell]) -> Iterator[str]:
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
        more = [p for p in mine if p is not None and p.all_seeds > len(p.seeds)]
        if more:
            sizes = sorted({p.all_seeds for p in more})
            several = " to ".join(dict.fromkeys(map(str, (sizes[0], sizes[-1]))))
            cells = (
                "–" if p is None or p not in more else spread(p.all_rmse, p.all_std) for p in mine
            )
            rows.append((f"{name}, {several} seeds", *cells))
    return ("RUL weight", *(f"{d} ({count(seeds[d], 'seed')})" for d in datasets)), rows


def _surgery_table(
    rows: Sequence[SurgeryRow], baselines: Sequence[BaselineSpread]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row per method and normalisation, a column per dataset; the baseline first."""
    datasets = list(dict.fromkeys(r.dataset for r in rows))
    seeds = {d: min(r.seeds for r in rows if r.dataset == d) for d in datasets}
    base = {b.dataset: b for b in baselines}
    of = [base.get(d) for d in datasets]
    same = ["–" if b is None else number(b.at_common) for b in of]
    every = [
        "–" if b is None else f"{spread(b.mean, b.std)} ({count(b.seeds, 'seed')})" for b in of
    ]
    table = [
        ("`baseline`, same seeds", "as they are", *same),
        ("`baseline`, all its seeds", "as they are", *every),
    ]
    by = {(r.method, r.normalise, r.dataset): r for r in rows}
    kinds = dict.fromkeys((r.method, r.normalise) for r in rows)
    for method, normalise in sorted(kinds, key=lambda k: (k[0], k[1] != "none", k[1])):
        cells = []
        for dataset in datasets:
            r = by.get((method, normalise, dataset))
            cells.append(
                "–" if r is None else f"{spread(r.rmse, r.rmse_std)} ({signed(r.difference)})"
            )
        table.append((f"`{method}`", _NORMALISED.get(normalise, normalise), *cells))
    heads = ("method", "losses", *(f"{d} ({count(seeds[d], 'seed')})" for d in datasets))
    return heads, table
