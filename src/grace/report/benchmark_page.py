"""The benchmark page: tables, figures and sentences computed from a results store, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from grace import plots
from grace.evaluation import FriedmanNemenyi
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments import ResultsStore, rank_methods
from grace.experiments.benchmark import Cell, PublishedRow, cells, optimism, published_rows
from grace.experiments.benchmark_tests import (
    TESTED_METRICS,
    Effect,
    Pair,
    factorial_effects,
    pair_tests,
    win_tie_loss,
)
from grace.experiments.controls import weight_sweep
from grace.experiments.published import PUBLISHED, Published
from grace.experiments.weight_floor import (
    FLOOR,
    WeightPath,
    floor_rows,
    largest_difference,
    weight_paths,
)
from grace.files import write_text
from grace.formatting import interval, number, p_value, percent, signed
from grace.prediction.artifact import ArtifactError
from grace.report.benchmark_controls import (
    HEADS,
    cell_row,
    control_sections,
    control_sentences,
    is_control,
)
from grace.report.benchmark_figures import draw_fronts, draw_ranks, draw_sweeps, draw_weights
from grace.report.benchmark_provenance import provenance_text, repeat_section
from grace.report.benchmark_sentences import (
    METRIC_NAMES,
    decided_sentence,
    decided_sentences,
    effect_sentences,
    family_text,
    floor_sentence,
    optimism_sentence,
    power_sentences,
    published_sentences,
    rank_text,
    unit_interval_sentence,
)
from grace.report.text_tables import markdown_rows

__all__ = ["GENERATED", "benchmark_sentences", "write_benchmark_page"]

GENERATED = "This page is generated; do not edit it."


@dataclass(frozen=True)
class _Results:
    """What the page is written from, each computed once."""

    store: ResultsStore
    table: pl.DataFrame
    cells: list[Cell]
    effects: list[Effect]
    pairs: list[Pair]
    published: list[PublishedRow]
    paths: list[WeightPath]

    @classmethod
    def of(cls, store: ResultsStore) -> _Results:
        found = cells(store)
        return cls(
            store,
            store.scores(protocol="validation"),
            found,
            factorial_effects(store),
            [pair for metric in TESTED_METRICS for pair in pair_tests(store, metric=metric)],
            published_rows(found),
            weight_paths(store),
        )

    def ranks(self) -> FriedmanNemenyi | None:
        """Ranks of the methods with enough seeds for a test on every dataset they were run on."""
        few = {c.method for c in self.cells if c.seeds < MIN_SEEDS}
        tested = sorted({c.method for c in self.cells} - few)
        try:
            return rank_methods(self.table.filter(pl.col("method").is_in(tested)))
        except ValueError:  # fewer than three methods on two datasets
            return None


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
    if not store.scores(protocol="validation").height:
        raise ArtifactError(
            f"{store.path}: no validation-selected results. Remedy: add finished runs with "
            "`grace results add FOLDER`."
        )
    results = _Results.of(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(_page(results, path)) + "\n")
    return path


def benchmark_sentences(store: ResultsStore) -> list[str]:
    """What the runs say: effects, power, selection on the test set, published figures, controls.

    Raises:
        ArtifactError: see :func:`write_benchmark_page`.
    """
    return _sentences(_Results.of(store))


def _sentences(r: _Results) -> list[str]:
    first = [p for p in r.pairs if p.metric == TESTED_METRICS[0]]
    presets = r.table["preset"].unique().sort().to_list()
    return [
        *effect_sentences(r.effects),
        *power_sentences(r.effects, first),
        *decided_sentence(r.pairs),
        *optimism_sentence(optimism(r.store)),
        *published_sentences(r.published, presets),
        *control_sentences(r.store),
        *floor_sentence(floor_rows(r.paths)),
    ]


def _page(r: _Results, path: Path) -> Iterator[str]:
    folder = path.parent / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    test_selected = bool(r.store.scores(protocol="test").height)
    yield "# Benchmark\n"
    yield (
        f"{provenance_text(r.table)} The checkpoint is selected on held-out training units; the "
        "figures are for the last record of every test unit, labels capped at 125, in cycles. "
        f"{GENERATED}\n"
    )
    yield "## What the runs say\n"
    yield from (f"- {sentence}" for sentence in _sentences(r))
    yield from _tables(r)
    with plots.figure_style():
        sweeps = draw_sweeps(weight_sweep(r.store), folder)
        apart = [c for c in r.cells if is_control(c.method)]
        yield from control_sections(r.store, apart, sweeps, path.stem)
        yield from _effects(r.effects)
        yield from _published_section(r.published)
        yield from _pairs(r)
        ranks = r.ranks()
        if ranks is not None:
            yield "\n## Ranks\n"
            yield rank_text(ranks)
            yield from _images(draw_ranks(ranks, folder), path)
        yield "\n## RMSE and NASA score\n"
        yield (
            "Bars are standard deviations over seeds. A method is on the front if no other has a "
            "lower or equal mean in both; whether the means differ, the figure does not say."
        )
        yield from _images(draw_fronts(r.cells, folder), path)
        if r.paths:
            yield from _weights(r.paths)
            yield from _images(draw_weights(r.paths, folder), path)
    yield "\n## How to repeat\n"
    yield (
        "Data: C-MAPSS, as `grace data download` gets it. Finished runs of a grid are kept, so "
        "that an interrupted command continues. Other numbers of threads or other processors give "
        "other sums in the last digits, and after some epochs another training. Gradient surgery "
        "needs the extras `surgery` and `cagrad`.\n"
    )
    yield repeat_section(r.table, test_selected=test_selected)


def _images(figures: dict[str, str], path: Path) -> Iterator[str]:
    for name, caption in figures.items():
        yield f"\n![{caption}]({path.stem}/{name}.svg)\n\n*{caption}.*"


def _tables(r: _Results) -> Iterator[str]:
    """A table of results per dataset, next to published figures."""
    yield "\n## Results\n"
    yield (
        "Mean ± standard deviation over seeds. The interval is a 95% bootstrap interval over test "
        "units. *Gap* is the test-selected minus the validation-selected RMSE of the same "
        "trainings; test-selected figures are optimistic. Published figures are claims of their "
        f"authors, {PUBLISHED[0].protocol}.\n"
    )
    if spread := unit_interval_sentence(r.cells):
        yield f"{spread} Methods are therefore compared on the same units and seeds.\n"
    for dataset in dict.fromkeys(c.dataset for c in r.cells):
        yield f"### {dataset}\n"
        mine = sorted(
            (c for c in r.cells if c.dataset == dataset and not is_control(c.method)),
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


def _published(entry: Published | None) -> str:
    return "–" if entry is None else f"{number(entry.rmse)} / {number(entry.nasa)}"


def _effects(effects: Sequence[Effect]) -> Iterator[str]:
    if not effects:
        return
    yield "## Effects of the two axes\n"
    tested = any(e.p_holm is not None for e in effects)
    family = f", corrected by Holm over {family_text(effects)}" if tested else ""
    yield (
        f"Negative means lower error. 95% t interval over seeds; p of the t-test{family}. The "
        "intervals are not corrected.\n"
    )
    yield markdown_rows(
        ("metric", "dataset", "effect", "seeds", "mean", "95% interval", "p", "p (Holm)"),
        [
            (
                METRIC_NAMES.get(e.metric, e.metric), e.dataset, e.name, e.seeds, signed(e.mean),
                "–" if e.low is None else interval(e.low, e.high), p_value(e.p), p_value(e.p_holm),
            )
            for e in effects
        ],
    )  # fmt: skip


def _published_section(rows: Sequence[PublishedRow]) -> Iterator[str]:
    if not rows:
        return
    yield "\n## Published figures and selection on the test set\n"
    yield (
        "RMSE of the same method as published, and measured here under both protocols. *Lead* is "
        "validation-selected minus published, with the standard error of the former over seeds; "
        "negative where the published figure is worse. *Share* is the part of the lead that "
        "selection on the test set explains; – where the lead is not above two standard errors. "
        "The rest of the lead includes another network, another training and a protocol that is "
        "not known in full.\n"
    )
    heads = (
        "dataset", "method", "published", "validation-selected", "test-selected", "lead", "share",
    )  # fmt: skip
    yield markdown_rows(
        heads,
        [
            (
                row.dataset, f"`{row.method}`", number(row.published), number(row.validation),
                number(row.test),
                signed(row.lead) + ("" if row.error is None else f" (± {number(row.error)})"),
                "–" if row.share is None else percent(row.share),
            )
            for row in rows
        ],
    )  # fmt: skip


def _pairs(r: _Results) -> Iterator[str]:
    """Wins, ties and losses by each metric."""
    yield "\n## Wins, ties and losses\n"
    if not r.pairs:
        yield "No pair of methods has five common seeds, so nothing is tested."
        return
    sizes = sorted({p.family for p in r.pairs})
    family = " to ".join(dict.fromkeys(map(str, (sizes[0], sizes[-1]))))
    families = len({(p.metric, p.dataset) for p in r.pairs})
    yield (
        "Every pair of methods on every dataset: paired t-test over common seeds, at least five. "
        "A family of Holm's correction is all pairs of one dataset by one metric, "
        f"{family} tests; there are {families} families, and nothing is corrected across them. A "
        "win has a corrected p value below 0.05; a tie is a pair that is *not decided*. Wins / "
        "ties / losses:\n"
    )
    records = {m: {x.method: x for x in win_tie_loss(r.store, metric=m)} for m in TESTED_METRICS}
    first = records[TESTED_METRICS[0]].values()
    yield markdown_rows(
        ("method", *(METRIC_NAMES[m] for m in TESTED_METRICS)),
        [
            (
                f"`{x.method}`",
                *(" / ".join(map(str, records[m][x.method][1:])) for m in TESTED_METRICS),
            )
            for x in sorted(first, key=lambda x: (x.losses - x.wins, x.method))
            if x.wins + x.ties + x.losses
        ],
    )
    yield ""
    yield from (f"- {sentence}" for sentence in decided_sentences(r.pairs))


def _weights(paths: Sequence[WeightPath]) -> Iterator[str]:
    yield "\n## Task weights of GABA\n"
    unknown = sum(p.selected is None for p in paths)
    text = (
        f"The floor of GABA is active where the applied RUL weight is below {FLOOR:g}. *Epochs on "
        "the floor* are those that end there, of all runs; *reached* and *selected* are medians of "
        "the first epoch on the floor and of the epoch that the validation units selected; "
        "*before* counts runs whose selected epoch is before the first on the floor. The selected "
        "epoch follows from early stopping, which ends a training a fixed number of epochs after "
        "the best one"
    )
    yield text + (f"; it is not known for {unknown} of {len(paths)} runs.\n" if unknown else ".\n")
    yield markdown_rows(
        ("dataset", "method", "runs", "epochs on the floor", "reached", "selected", "before"),
        [
            (
                x.dataset, f"`{x.method}`", x.runs, percent(x.share),
                "–" if x.first is None else f"{x.first:g}",
                "–" if x.selected is None else f"{x.selected:g}",
                f"{x.before} of {x.known}" if x.known else "–",
            )
            for x in floor_rows(paths)
        ],
    )  # fmt: skip
    most = number(largest_difference(paths))
    yield (
        "\nIn the figures a line is a run, and dots mark the selected epochs. At the same epoch "
        f"the weights of the runs of a dataset differ by at most {most}."
    )
