"""Options of `grace results` that select runs, and the runs that they select."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from grace.cli.shared import PlainConsole, stop

if TYPE_CHECKING:
    import polars as pl

    from grace.experiments import ResultsStore

__all__ = ["Datasets", "Methods", "Presets", "Protocol", "Seeds", "Store", "open_store", "select"]

Store = Annotated[
    Path,
    typer.Argument(
        help="Folder of a grid, a results.sqlite file, or a folder written by "
        "`grace results export`."
    ),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Only this dataset. May be repeated.", show_default=False),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Only this method, with its options as listed. May be repeated.",
        show_default=False,
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option("--seed", help="Only this seed. May be repeated.", show_default=False),
]
Presets = Annotated[
    list[str] | None,
    typer.Option("--preset", help="Only this preset. May be repeated.", show_default=False),
]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        help="validation, test or both: which units selected the checkpoint; test is optimistic.",
    ),
]
_BOTH = "both"


def open_store(place: Path) -> ResultsStore:
    """The store at a place, for reading; ends the command if there is none."""
    from grace.experiments.results_store import open_results

    opened = open_results(place)
    if opened is not None:
        return opened
    if not place.exists():
        stop(
            f"{place}: does not exist. Remedy: give the folder of a grid or a results.sqlite file."
        )
    stop(
        f"{place}: holds no results. Remedy: give the folder of a grid, or add finished runs with "
        f"`grace results add {place} RUN_FOLDER`."
    )


def select(
    opened: ResultsStore,
    place: Path,
    *,
    protocol: str,
    dataset: Sequence[str] | None = None,
    method: Sequence[str] | None = None,
    preset: Sequence[str] | None = None,
    seed: Sequence[int] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of scores that the options select, and all rows of the protocol.

    A value that the other options have left without a run is named on standard error.

    Raises:
        RunSelectionError: a name is not in the store, or nothing is selected.
    """
    from grace.experiments.run_selection import select_runs, unmatched

    everything = opened.scores()
    if not everything.height:
        stop(
            f"{place}: holds no runs. Remedy: add finished runs with "
            f"`grace results add {place} RUN_FOLDER`."
        )
    wanted = {
        "dataset": dataset or (), "method": method or (), "preset": preset or (),
        "seed": seed or (), "protocol": () if protocol == _BOTH else (protocol,),
    }  # fmt: skip
    selected = select_runs(everything, wanted)
    missing = unmatched(selected, wanted)
    if missing:
        PlainConsole(stderr=True).print(
            f"[yellow]note:[/yellow] no run with the other filters: {escape(', '.join(missing))}",
            soft_wrap=True,
        )
    if protocol != _BOTH:
        everything = everything.filter(protocol=protocol)
    return selected, everything
