"""`grace diagnose`: gradients of the tasks, before a training is started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from grace.cli.shared import (
    ConfigFile,
    DataRoot,
    Preset,
    Set,
    load_config,
    out,
    plain_errors,
    say,
    stop,
)

__all__ = ["diagnose"]


def diagnose(
    dataset: Annotated[
        str | None, typer.Option(help="A name from `grace data list`.", show_default="sim")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A table of your own, instead of a dataset.", show_default=False),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="YAML file with the roles of the table's columns.", show_default=False),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Method whose inner loss is used.", show_default="grace"),
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Maximum training time.")] = 40.0,
    data_root: DataRoot = None,
) -> None:
    """Measure the task gradients for under a minute and recommend a method.

    The first epochs are trained with equal weights. The output shows the ratio
    of the gradient norms, their cosine, and the share of steps that GABA would
    spend on its floor. The test set is not read.

    \b
    Examples:
      grace diagnose --dataset FD001
      grace diagnose --data pumps.csv --schema pumps.yaml
    """
    with plain_errors("Nothing was written."):
        chosen = load_config(
            preset,
            config,
            set_,
            dataset=dataset,
            method=None if method is None else {"name": method},
        )
        from grace.experiments.diagnose import diagnose as measure
        from grace.formatting import count, duration, interval, number, percent

        fleet = None
        if data is not None:
            if dataset is not None:
                stop("--data and --dataset exclude each other")
            if schema is None:
                stop(
                    f"--data {data}: the roles of its columns are not known. Remedy: `grace data "
                    f"describe {data} --suggest` proposes a schema; check it and give it by "
                    "--schema"
                )
            from grace.data import read_table

            fleet = read_table(data, schema=schema)
        elif schema is not None:
            stop("--schema describes a table: give the table by --data")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=out, transient=True) as progress:
            task = progress.add_task("reading the data")
            found = measure(
                chosen,
                dataset=fleet,
                data_root=data_root,
                seconds=seconds,
                on_step=lambda step, epoch: progress.update(
                    task, description=f"epoch {epoch}, step {step}"
                ),
            )
        floor = "never"
        if found.floor_from is not None:
            floor = (
                f"from step {found.floor_from} of {found.planned_steps}, "
                f"{percent(found.floor_share)} of the steps"
            )
        for name, value in (
            ("data", found.dataset),
            (
                "measured",
                f"{found.measured} of {count(found.steps, 'step')}, "
                f"{count(found.epochs, 'epoch')}, "
                f"{duration(found.seconds)}",
            ),
            (
                "gradient ratio",
                f"{number(found.ratio)} (RUL to health; 80% of the steps "
                f"{interval(found.ratio_low, found.ratio_high)})",
            ),
            (
                "cosine",
                f"{number(found.cosine)}; in conflict in {percent(found.conflict_share)} "
                "of the steps",
            ),
            ("GABA on its floor", floor),
            ("recommended", found.method),
        ):
            say(f"{name + ':':<19} {value}")
        out.print(found.reason, highlight=False)
