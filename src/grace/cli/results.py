"""`grace results`: the store of a grid's results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grace.cli.results_export import export
from grace.cli.results_filters import (
    Datasets,
    Methods,
    Presets,
    Protocol,
    Seeds,
    Store,
    open_store,
    select,
)
from grace.cli.shared import CommandGroup, out, plain_errors, say, stop

__all__ = ["results_app"]

results_app = CommandGroup(
    no_args_is_help=True,
    help="List, compare and export the results of many runs.\n\n"
    "`grace grid` adds each finished run to results.sqlite in its folder.",
)

results_app.command()(export)
_REFERENCE = "baseline"


@results_app.command("list")
def list_(
    store: Store,
    protocol: Protocol = "validation",
    dataset: Datasets = None,
    method: Methods = None,
    preset: Presets = None,
    seed: Seeds = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to show, separated by commas.",
            show_default="what differs between the runs, and the main scores",
        ),
    ] = None,
    sort: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to sort by, separated by commas; -NAME for largest first.",
            show_default="dataset, method, seed",
        ),
    ] = None,
) -> None:
    """One line per run.

    \b
    Examples:
      grace results list runs/grid --dataset FD001 --sort rmse_capped
      grace results list runs/grid --columns dataset,method,seed,threads,version
    """
    with plain_errors(), open_store(store) as opened:
        from grace.report.run_tables import run_list

        table, _ = select(
            opened, store, protocol=protocol, dataset=dataset, method=method, preset=preset,
            seed=seed,
        )  # fmt: skip
        # Columns that were asked for are shown in lines longer than the terminal, if need be.
        out.print(run_list(table, _names(columns), _names(sort)), crop=False)


def _names(options: list[str] | None) -> list[str]:
    """Names in options that may be repeated and may hold several names each."""
    return [name.strip() for text in options or () for name in text.split(",") if name.strip()]


@results_app.command()
def compare(
    store: Store,
    reference: Annotated[
        str | None,
        typer.Option(help="Method that the others are compared with.", show_default=_REFERENCE),
    ] = None,
    protocol: Protocol = "validation",
    dataset: Datasets = None,
    method: Methods = None,
    preset: Presets = None,
    seed: Seeds = None,
) -> None:
    """Means over seeds, and paired comparisons with a reference method."""
    with plain_errors(), open_store(store) as opened:
        from grace.experiments.run_selection import check_known
        from grace.report.grid import render_grid

        if protocol == "both":
            stop(
                "--protocol both: runs are compared within a protocol. Remedy: validation or test."
            )
        names = list(method or ())
        if names and (reference or opened.scores(method=[_REFERENCE]).height):
            names.append(reference or _REFERENCE)
        table, everything = select(
            opened, store, protocol=protocol, dataset=dataset, method=names, preset=preset,
            seed=seed,
        )  # fmt: skip
        if reference:
            check_known("reference method", [reference], table["method"])
        out.print(
            render_grid(
                table,
                reference=reference or _REFERENCE,
                predictions=opened.predictions(protocol),
                all_runs=everything,
            ),
            crop=False,
        )
        if not reference and _REFERENCE not in table["method"]:
            methods = ", ".join(table["method"].unique(maintain_order=True))
            say(f"Nothing is compared. Remedy: give --reference, one of {methods}.")


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

        is_file = bool(store.suffix) and not store.is_dir()
        is_export = not is_file and (store / EXPORTED[0]).is_file()
        file = store if is_file or is_export else store / STORE_NAME
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
    """Write the benchmark page: tables of results, effects, comparisons, figures, summary.

    A page that this command wrote is replaced; another file is not.
    """
    with plain_errors(), open_store(store) as opened:
        from grace.report.benchmark_page import GENERATED, write_benchmark_page

        if output.is_dir():
            stop(f"--out {output}: is a folder. Remedy: give a Markdown file in it.")
        if output.exists() and GENERATED.encode() not in output.read_bytes():
            stop(
                f"--out {output}: exists already and is no page of this command. Remedy: give "
                "another name, or remove the file."
            )
        say(str(write_benchmark_page(opened, output)))
