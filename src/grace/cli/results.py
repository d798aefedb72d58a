"""`grace results`: the store of a grid's results."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from grace.cli.shared import out, plain_errors, say, stop

if TYPE_CHECKING:
    import polars as pl

    from grace.experiments import ResultsStore

__all__ = ["results_app"]

results_app = typer.Typer(
    no_args_is_help=True,
    help="List, compare and export the results of many runs.\n\n"
    "`grace grid` adds each finished run to results.sqlite in its folder.",
)

Store = Annotated[
    Path,
    typer.Argument(
        help="Folder of a grid, a results.sqlite file, or a folder written by "
        "`grace results export`."
    ),
]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", help="Only this dataset. May be repeated.")
]
Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Only this method. May be repeated.")
]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Only this seed. May be repeated.")]


class Selection(str, Enum):
    """Which rows selected the checkpoint."""

    validation = "validation"
    test = "test"


class Format(str, Enum):
    """File formats of an exported table."""

    csv = "csv"
    parquet = "parquet"
    markdown = "markdown"
    latex = "latex"


Protocol = Annotated[
    Selection,
    typer.Option("--protocol", help="Which units selected the checkpoint; test is optimistic."),
]
_SHOWN = ("dataset", "method", "seed", "rmse_capped", "nasa_capped", "rmse_raw", "seconds")


def _open(place: Path) -> ResultsStore:
    from grace.experiments.results_store import open_results

    opened = open_results(place)
    if opened is not None:
        return opened
    stop(
        f"{place}: holds no results. Remedy: give the folder of a grid, or add finished runs with "
        f"`grace results add {place} RUN_FOLDER`."
    )


@results_app.command("list")
def list_(
    store: Store,
    protocol: Protocol = Selection.validation,
    dataset: Datasets = None,
    method: Methods = None,
    seed: Seeds = None,
) -> None:
    """One line per run."""
    with plain_errors(), _open(store) as opened:
        table = opened.scores(
            protocol=protocol.value, dataset=dataset or (), method=method or (), seed=seed or ()
        )
        if not table.height:
            stop(f"{store}: no {protocol.value}-selected run matches these filters")
        out.print(_rich(table.select(_SHOWN)))


def _rich(table: pl.DataFrame) -> Table:
    from grace.formatting import number

    shown = Table(box=None, pad_edge=False)
    for name in table.columns:
        kind = table[name].dtype
        shown.add_column(name.replace("_", " "), justify="right" if kind.is_numeric() else "left")
    for row in table.iter_rows():
        shown.add_row(*(number(v) if isinstance(v, float) else str(v) for v in row))
    return shown


@results_app.command()
def compare(
    store: Store,
    reference: Annotated[
        str, typer.Option(help="Method that the others are compared with.")
    ] = "baseline",
    protocol: Protocol = Selection.validation,
    dataset: Datasets = None,
    method: Methods = None,
) -> None:
    """Means over seeds, and paired comparisons with a reference method."""
    with plain_errors(), _open(store) as opened:
        from grace.report.grid import render_grid

        names = [*(method or ()), reference] if method else ()
        table = opened.scores(protocol=protocol.value, dataset=dataset or (), method=names)
        if not table.height:
            stop(f"{store}: no {protocol.value}-selected run matches these filters")
        predictions = opened.predictions(protocol.value)
        out.print(render_grid(table, reference=reference, predictions=predictions))


@results_app.command()
def export(
    store: Store,
    output: Annotated[Path, typer.Option("--out", help="Folder, or file with --format.")],
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="One table of scores in this format. Default: a folder with scores, predictions "
            "at the last row and task weights, which every command here reads.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Selection | None,
        typer.Option(help="With --format: only this protocol.", show_default="both"),
    ] = None,
) -> None:
    """Write the results to files that other programs read."""
    with plain_errors(), _open(store) as opened:
        if format_ is None:
            for path in opened.export(output):
                say(str(path))
            return
        from grace.files import atomic_writer

        table = opened.scores(protocol=None if protocol is None else protocol.value).drop("folder")
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(output) as file:
            file.write(_encoded(table, format_))
        say(str(output))


def _encoded(table: pl.DataFrame, form: Format) -> bytes:
    import io

    buffer = io.BytesIO()
    if form is Format.csv:
        table.write_csv(buffer)
    elif form is Format.parquet:
        table.write_parquet(buffer)
    else:
        import polars as pl

        from grace.formatting import number

        short = table.select("protocol", *_SHOWN)
        text = short.select(
            pl.col(c).map_elements(number, return_dtype=pl.String)
            if short[c].dtype.is_float()
            else pl.col(c).cast(pl.String)
            for c in short.columns
        )
        from grace.report.text_tables import latex_table, markdown_table

        table_text = latex_table(text) if form is Format.latex else markdown_table(text)
        return (table_text + "\n").encode()
    return buffer.getvalue()


@results_app.command()
def add(
    store: Annotated[
        Path,
        typer.Argument(
            help="Folder of a grid, a results.sqlite file, or a folder written by `grace results "
            "export`, which is then written again."
        ),
    ],
    run: Annotated[
        list[Path],
        typer.Argument(help="Folders of finished runs, or stores in any form that STORE may have."),
    ],
) -> None:
    """Add finished runs, or all runs of other stores.

    A run that is already there is replaced; an unfinished one is left out.
    """
    with plain_errors():
        from grace.experiments import ResultsStore
        from grace.experiments.results_store import EXPORTED, STORE_NAME, open_results
        from grace.prediction.artifact import ArtifactError

        is_export = not store.suffix and (store / EXPORTED[0]).is_file()
        file = store if store.suffix or is_export else store / STORE_NAME
        new = replaced = 0
        refused: list[ArtifactError] = []
        with ResultsStore.read_export(store) if is_export else ResultsStore(file) as opened:
            for folder in run:
                try:
                    other = open_results(folder)
                    if other is None:
                        other = ResultsStore(":memory:")
                        other.add(folder)
                    with other:
                        counts = opened.merge(other)
                except ArtifactError as error:
                    refused.append(error)
                    say(f"left out: {error}")
                    continue
                new, replaced = new + counts[0], replaced + counts[1]
            if is_export and len(refused) < len(run):
                opened.export(store)
        from grace.formatting import count

        say(f"{count(new, 'run')} added to {file}, {replaced} replaced, {len(refused)} left out")
        if len(refused) == len(run):
            raise refused[-1]


@results_app.command()
def page(
    store: Store,
    output: Annotated[Path, typer.Option("--out", help="Markdown file.")] = Path("benchmark.md"),
) -> None:
    """Write the benchmark page: tables of results, effects, comparisons, figures, summary."""
    with plain_errors(), _open(store) as opened:
        from grace.report.benchmark_page import write_benchmark_page

        say(str(write_benchmark_page(opened, output)))
