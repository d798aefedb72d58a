"""The benchmark page: tables, figures and sentences computed from a results store, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from grace import plots
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments import ResultsStore, rank_methods
from grace.experiments.benchmark import (
    FACTORIAL,
    Cell,
    Effect,
    cells,
    factorial_effects,
    optimism,
    selection_share,
    win_tie_loss,
)
from grace.experiments.published import PUBLISHED, Published
from grace.files import write_text
from grace.formatting import count, duration, interval, number, p_value, percent, signed
from grace.prediction.artifact import ArtifactError
from grace.report.benchmark_controls import (
    HEADS,
    cell_row,
    control_sections,
    control_sentences,
    draw_sweeps,
    is_control,
)
from grace.report.text_tables import markdown_rows

__all__ = ["benchmark_sentences", "write_benchmark_page"]


def write_benchmark_page(store: ResultsStore, path: str | Path) -> Path:
    """Write the page, and its figures as SVG into a folder of the same name next to it.

    Args:
        store: with the runs of one configuration (preset and settings).
        path: Markdown file.

    Raises:
        ArtifactError: the store is empty.
        ArtifactError: it holds several runs of a method, dataset and seed.
    """
    path = Path(path)
    table = store.scores(protocol="validation")
    if not table.height:
        raise ArtifactError(
            f"{store.path}: no validation-selected results. Remedy: add finished runs with "
            "`grace results add FOLDER`."
        )
    found = cells(store)
    figures = _draw(store, table, found, path.parent / path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(_page(store, table, found, figures, path)) + "\n")
    return path


def benchmark_sentences(store: ResultsStore) -> list[str]:
    """What the runs say: balancing, failure-biased loss, interaction, selection on the test set.

    Raises:
        ValueError: see :func:`write_benchmark_page`.
    """
    effects = factorial_effects(store)
    sentences = [_effect_sentence(name, effects) for name in dict.fromkeys(e.name for e in effects)]
    if not effects:
        missing = ", ".join(FACTORIAL.values())
        sentences.append(
            f"The effects of balancing and loss need runs of {missing} with common seeds."
        )
    gaps = optimism(store)
    if gaps:
        parts = [f"{signed(mean)} on {name}" for name, (mean, _, _) in gaps.items()]
        sentences.append(
            "Selection of the checkpoint on the test set changes the RMSE of the same trainings by "
            f"{', '.join(parts)} (mean over methods and seeds)."
        )
    shares = [row for row in selection_share(cells(store)) if row["share"] is not None]
    if shares:
        sentences.append(
            "Published figures of the same methods are lower than the validation-selected ones "
            f"here by {_leads(shares)}."
        )
    return [*sentences, *control_sentences(store)]


def _leads(rows: Sequence[dict[str, Any]]) -> str:
    """Mean lead of the published figures by dataset, and the part that selection explains."""
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        mine = [row for row in rows if row["dataset"] == dataset]
        lead = fmean(row["validation"] - row["published"] for row in mine)
        gain = fmean(row["validation"] - row["test"] for row in mine)
        parts.append(
            f"{number(lead)} on {dataset} ({count(len(mine), 'method')}), of which selection on "
            f"the test set explains {percent(gain / lead)}"
        )
    return "; ".join(parts)


def _effect_sentence(name: str, effects: Sequence[Effect]) -> str:
    mine = [e for e in effects if e.name == name]
    parts = []
    for e in mine:
        between = "" if e.low is None else f" [{interval(e.low, e.high)}]"
        parts.append(f"{signed(e.mean)}{between} on {e.dataset}")
    sure = [e for e in mine if e.p_holm is not None and e.p_holm < 0.05]
    tested = [e for e in mine if e.p_holm is not None]
    if not tested:
        significance = "No test is made: at least five common seeds are needed."
    elif not sure:
        significance = f"None of the {len(tested)} differences is significant at 5% (Holm)."
    else:
        names = ", ".join(
            f"{e.dataset} ({'lower' if e.mean < 0 else 'higher'} error)" for e in sure
        )
        significance = f"Significant at 5% (Holm): {names}."
    what = {
        "balancing": "GABA instead of fixed 0.5/0.5 weights changes the RMSE by",
        "failure-biased loss": "The failure-biased instead of the plain loss changes the RMSE by",
        "interaction": "The interaction of the two, (D − C) − (B − A), is",
    }[name]
    return f"{what} {', '.join(parts)}. {significance}"


def _page(
    store: ResultsStore,
    table: pl.DataFrame,
    found: Sequence[Cell],
    figures: dict[str, str],
    path: Path,
) -> Iterator[str]:
    yield "# Benchmark\n"
    seeds = ", ".join(map(str, sorted(table["seed"].unique().to_list())))
    yield (
        f"{count(table.height, 'training')} of preset "
        f"`{', '.join(table['preset'].unique().sort().to_list())}`, seeds {seeds}, "
        f"grace {', '.join(table['version'].unique().sort().to_list())}, "
        f"{duration(float(table['seconds'].sum()))} of training and evaluation in total. "
        "The checkpoint is selected on held-out training units; the figures are for the last "
        "record of every test unit, labels capped at 125, in cycles. This page is generated; "
        "do not edit it.\n"
    )
    yield "## What the runs say\n"
    yield from (f"- {sentence}" for sentence in benchmark_sentences(store))
    yield "\n## Results\n"
    yield (
        "Mean ± standard deviation over seeds. The interval is a 95% bootstrap interval over test "
        "units. *Gap* is the test-selected minus the validation-selected RMSE of the same "
        "trainings; test-selected figures are optimistic. Published figures are claims of their "
        f"authors, {PUBLISHED[0].protocol}.\n"
    )
    apart = {c.method for c in found if is_control(c.method)}
    for dataset in dict.fromkeys(c.dataset for c in found):
        yield f"### {dataset}\n"
        mine = sorted(
            (c for c in found if c.dataset == dataset and c.method not in apart),
            key=lambda c: c.rmse,
        )
        published = {p.method: p for p in PUBLISHED if p.dataset == dataset}
        yield markdown_rows(
            (*HEADS, "published RMSE / NASA"),
            [(*cell_row(c), _published(published.pop(c.method, None))) for c in mine],
        )
        if published:
            yield "\nOther published figures (claims of their authors, not measured here):\n"
            yield markdown_rows(
                ("publication", "RMSE", "NASA", "protocol"),
                [
                    (p.method, number(p.rmse), number(p.nasa), p.protocol)
                    for p in published.values()
                ],
            )
        yield ""
    sweeps = {k: v for k, v in figures.items() if k.startswith("sweep_")}
    yield from control_sections(store, [c for c in found if c.method in apart], sweeps, path.stem)
    effects = factorial_effects(store)
    if effects:
        yield "## Effects of the two axes\n"
        yield "Negative means lower error; 95% t interval over seeds; p corrected by Holm.\n"
        yield markdown_rows(
            ("dataset", "effect", "seeds", "RMSE", "95% interval", "p (Holm)"),
            [_effect_row(e) for e in effects],
        )
    shares = selection_share(found)
    if shares:
        yield "\n## Published figures and selection on the test set\n"
        yield (
            "RMSE of the same method as published, and measured here under both protocols. The "
            "share is the part of the lead of the published figure over the validation-selected "
            "one that selection on the test set explains; – where the published figure does not "
            "lead.\n"
        )
        yield markdown_rows(
            ("dataset", "method", "published", "validation-selected", "test-selected", "share"),
            [
                (
                    row["dataset"],
                    f"`{row['method']}`",
                    number(row["published"]),
                    number(row["validation"]),
                    number(row["test"]),
                    "–" if row["share"] is None else percent(row["share"]),
                )
                for row in shares
            ],
        )
    yield "\n## Wins, ties and losses\n"
    yield (
        "Every pair of methods on every dataset; a win has a Holm-corrected p value below 0.05 "
        "(paired t-test over common seeds, at least five).\n"
    )
    yield markdown_rows(
        ("method", "wins", "ties", "losses"),
        [
            (r.method, str(r.wins), str(r.ties), str(r.losses))
            for r in sorted(win_tie_loss(store), key=lambda r: (r.losses - r.wins, r.method))
            if r.wins + r.ties + r.losses
        ],
    )
    for name, caption in figures.items():
        if name in sweeps:
            continue
        yield f"\n## {caption}\n"
        yield f"![{caption}]({path.stem}/{name}.svg)"


def _effect_row(e: Effect) -> tuple[str, ...]:
    between = "–" if e.low is None else interval(e.low, e.high)
    p = p_value(e.p_holm)
    return e.dataset, e.name, str(e.seeds), signed(e.mean), between, p


def _published(entry: Published | None) -> str:
    return "–" if entry is None else f"{number(entry.rmse)} / {number(entry.nasa)}"


def _draw(
    store: ResultsStore, table: pl.DataFrame, found: Sequence[Cell], folder: Path
) -> dict[str, str]:
    """Write the figures that the runs allow; file name to caption."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}

    def save(name: str, caption: str, ax: Axes) -> None:
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        drawn[name] = caption

    weights = store.weights()
    with plots.figure_style():
        try:
            ranks = rank_methods(table.filter(pl.col("method").is_in(_tested(found))))
        except ValueError:
            pass  # fewer than three methods on two datasets
        else:
            ax = plots.critical_difference(
                {"name": list(ranks.names), "rank": list(ranks.mean_ranks)},
                critical_difference=ranks.critical_difference,
                groups=ranks.groups,
            )
            save("ranks", f"Mean rank by RMSE over {ranks.n_blocks} datasets", ax)
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
            save(f"pareto_{dataset}", f"{dataset}: RMSE and NASA score", plots.pareto_front(frame))
            runs = table.filter(dataset=dataset, method="gaba")["run"].to_list()
            records = weights.filter(pl.col("run").is_in(runs[:1])).to_dicts()
            if records:
                ax = plots.task_weights(records)
                save(f"weights_{dataset}", f"{dataset}: task weights of GABA over training", ax)
        drawn |= draw_sweeps(store, folder)
    return drawn


def _tested(found: Sequence[Cell]) -> list[str]:
    """Methods with enough seeds for a test on every dataset that they were run on."""
    return sorted({c.method for c in found} - {c.method for c in found if c.seeds < MIN_SEEDS})
