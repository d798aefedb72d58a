"""``grace grid``: trains many runs and compares the methods."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from grace.cli.shared import (
    ConfigFile,
    DataRoot,
    Device,
    Epochs,
    PlainConsole,
    Preset,
    SelectOn,
    Set,
    load_config,
    out,
    plain_errors,
    say,
    stop,
    training_options,
)


class Engine(str, Enum):
    """Where runs are trained."""

    local = "local"
    ray = "ray"


def grid(
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="A name from `grace data list`. May be repeated.", show_default="sim"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A name from `grace methods`, or <inner>+<outer>. May be repeated; the others "
            "are compared with the first.",
            show_default="--config, else baseline, amnl, gaba, grace",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="May be repeated.", show_default="--config, else 42, 123, 456, 789, 1024"
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="local: this machine; ray: the cluster of RAY_ADDRESS (extra ray)."),
    ] = Engine.local,
    parallel_runs: Annotated[
        int | None,
        typer.Option(
            help="Number of runs at the same time.",
            min=1,
            show_default="1; with ray, what the cluster has room for",
        ),
    ] = None,
    threads_per_run: Annotated[
        int | None,
        typer.Option(
            help="CPU threads of each run.",
            min=1,
            show_default="all threads / parallel runs; with ray, 1",
        ),
    ] = None,
    gpus_per_run: Annotated[
        float, typer.Option(help="Share of a GPU that a run takes; only with ray.", min=0.0)
    ] = 0.0,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    select_on: SelectOn = None,
    epochs: Epochs = None,
    device: Device = None,
    output: Annotated[Path, typer.Option("--out", help="Folder of the grid.")] = Path("runs/grid"),
    logger: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorboard or mlflow; each run logs under the name of its folder. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Train and compare methods over datasets and seeds.

    Each run has its own folder, as with `grace train`. An interrupted grid
    continues when the same command is given again; finished runs are kept.
    A failed run does not stop the others.

    \b
    Examples:
      grace grid --parallel-runs 2
      grace grid --dataset FD001 --dataset FD002 --method amnl --method grace
      grace grid --method gaba --method fixed:0.0477 --seed 1 --seed 2
      grace grid --engine ray --out /shared/grid
    """
    with plain_errors("Finished runs and epochs are kept; the same command continues the grid."):
        base = load_config(
            preset,
            config,
            set_,
            # Options of --set are those of the methods that run, not of the preset's method.
            method={"name": method[0]} if method else None,
            select_on=select_on,
            training=training_options(epochs, device),
        )
        from grace.training import PRESETS

        if PRESETS[base.preset].stacked:
            stop(
                f"--preset {base.preset} combines several kinds of models, which no grid compares: "
                f"use `grace train --preset {base.preset}` for each dataset and seed"
            )
        from grace.experiments import DEFAULT_METHODS, SEEDS, grid_configs, runs_table, write_runs
        from grace.experiments import grid as run_grid
        from grace.report.grid import render_grid
        from grace.report.progress import GridProgress

        given = base.model_fields_set  # by --config or --set
        methods = [base.method.name] if "method" in given else DEFAULT_METHODS
        configs = grid_configs(
            base,
            datasets=dataset or [base.dataset],
            methods=method or methods,
            seeds=seed or ([base.seed] if "seed" in given else SEEDS),
        )
        reference = next(iter(configs.values())).method.name
        with GridProgress(out, list(configs)) as progress:
            result = run_grid(
                configs,
                output,
                engine=engine.value,
                parallel_runs=parallel_runs,
                threads_per_run=threads_per_run,
                gpus_per_run=gpus_per_run,
                data_root=data_root,
                loggers=logger or [],
                on_event=progress.on_event,
            )
        if result.folders():
            out.print(render_grid(runs_table(result.folders()), reference=reference))
        say(f"results, one row per finished run: {write_runs(output)}")
    for event in result.failed:
        PlainConsole(stderr=True).print(
            f"[bold red]failed:[/bold red] {escape(event.name)}: {escape(event.text)}",
            soft_wrap=True,
        )
    if result.failed:
        raise typer.Exit(1)
