"""``grace train``: one run from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grace.cli.shared import (
    ConfigFile,
    DataRoot,
    Device,
    Epochs,
    Preset,
    SelectOn,
    Set,
    load_config,
    out,
    plain_errors,
    say,
    show,
    stop,
    training_options,
)


def train(
    dataset: Annotated[
        str | None,
        typer.Option(help="A name from `grace data list`.", show_default="sim"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="A name from `grace methods`, or <inner>+<outer>.", show_default="grace"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.", show_default="42")] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    select_on: SelectOn = None,
    epochs: Epochs = None,
    device: Device = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder.", show_default="runs/<name of the run>"),
    ] = None,
    data_root: DataRoot = None,
    force: Annotated[
        bool, typer.Option(help="Train again even if the folder contains a run.")
    ] = False,
    logger: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard or mlflow. May be repeated.", show_default=False),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the HTML report at the end.")] = True,
    data: Annotated[
        str | None,
        typer.Option(
            help="A table of your own: CSV, Parquet, Arrow, or a folder of them. Of the other "
            "options only --schema, --method, --preset, --seed, --out, --force and --no-report "
            "apply.",
            show_default=False,
        ),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="YAML file with the roles of the table's columns.", show_default=False),
    ] = None,
    show_config: Annotated[
        bool, typer.Option(help="Print the complete configuration as YAML and stop.")
    ] = False,
) -> None:
    """Train a model, evaluate it on the test set, and save both.

    Values come from the preset, then from --config, then from the options;
    later ones win. An interrupted run continues when the same command is
    given again.

    \b
    Examples:
      grace train                         simulated fleet, small network
      grace train --dataset FD001         NASA C-MAPSS, see `grace data download`
      grace train --dataset FD001 --preset reference
      grace train --dataset FD001 --preset best
      grace train --method amnl --seed 123 --set windows.length=40
      grace train --dataset FD002 --select-on test --preset paper
      grace train --show-config > my.yaml    a file to edit for --config
      grace train --data pumps.csv --schema pumps.yaml --out runs/pumps
      grace train --data pumps.csv --schema pumps.yaml --method amnl
    """
    with plain_errors("Finished parts are kept; the same command continues where it stopped."):
        if data is not None or schema is not None:
            _refuse_dataset_options(
                data,
                {"--dataset": dataset, "--config": config, "--set": set_, "--select-on": select_on,
                 "--epochs": epochs, "--logger": logger, "--device": device,
                 "--data-root": data_root, "--show-config": show_config},
            )  # fmt: skip
            from grace.cli.table import train_table

            train_table(
                str(data),
                schema,
                output,
                force=force,
                report=report,
                seed=42 if seed is None else seed,
                **{k: v for k, v in (("method", method), ("preset", preset)) if v is not None},
            )
            return
        chosen = load_config(
            preset,
            config,
            set_,
            dataset=dataset,
            method=None if method is None else {"name": method},
            seed=seed,
            select_on=select_on,
            training=training_options(epochs, device),
        )
        if show_config:
            show(chosen)
            return

        from grace.experiments import run, run_name
        from grace.training import PRESETS

        if PRESETS[chosen.preset].stacked:
            from grace.cli.stacked import train_stacked

            train_stacked(
                chosen,
                output or Path("runs") / run_name(chosen),
                data_root=data_root,
                force=force,
                report=report,
                logger=logger,
            )
            return

        from grace.report.console import render_evaluation
        from grace.report.progress import RunProgress
        from grace.training.loggers import build_logger
        from grace.training.malloc import keep_freed_memory

        loggers = [build_logger(name) for name in logger or []]
        keep_freed_memory()
        folder = output or Path("runs") / run_name(chosen)
        with RunProgress(out) as progress:
            result = run(
                chosen,
                folder,
                data_root=data_root,
                callbacks=[progress, *loggers],
                on_stage=progress.on_stage,
                overwrite=force,
            )
        if result.resumed_complete:
            say(f"{folder} already holds this run, finished; nothing was trained.")
        out.print(render_evaluation(result.evaluation, result.validation_selected))
        say(f"artifact: {folder}")
        if report:
            from grace.report import write_report

            say(f"report:   {write_report(folder)}")


def _refuse_dataset_options(data: str | None, given: dict[str, object]) -> None:
    if data is None:
        stop("--schema describes a table: give the table by --data")
    for name, value in given.items():
        if value:
            stop(f"{name} is an option of named datasets; it has no effect with --data")
