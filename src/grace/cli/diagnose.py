"""`grace diagnose`: gradients of the tasks, before a training is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from grace.experiments.diagnose import Diagnosis

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
    seed: Annotated[
        int | None, typer.Option(help="Seed of the measured training.", show_default="42")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Maximum training time.")] = 40.0,
    data_root: DataRoot = None,
) -> None:
    """Measure the task gradients for under a minute and recommend a method.

    The first epochs are trained with equal weights. The output shows the ratio
    of the gradient norms, their cosine, and what GABA's weights would do in the
    planned training. The test set is not read.

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
            seed=seed,
        )
        from grace.experiments.diagnose import diagnose as measure

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
        for name, value in _lines(found):
            say(f"{name + ':':<19} {value}")
        for text in (found.reason, *_notes(found)):
            out.print(text, highlight=False)


def _lines(found: Diagnosis) -> list[tuple[str, str]]:
    """The figures by name."""
    from grace.experiments.advice import CONFLICT
    from grace.formatting import count, duration, interval, number, percent

    planned, expected = found.planned_steps, found.expected_steps
    weight = f"0.50 at first, {number(found.final_weight)} after {planned:,}"
    plan = count(planned, "step")
    if expected < planned:
        plan += f"; with early stopping about {expected:,}"
        weight = weight.replace(
            "first,", f"first, {number(found.expected_weight)} after {expected:,} steps,"
        )
    return [
        ("data", found.dataset),
        (
            "measured",
            f"{found.measured} of {count(found.steps, 'step')}, {count(found.epochs, 'epoch')}, "
            f"{duration(found.seconds)}",
        ),
        (
            "gradient ratio",
            f"{number(found.ratio)} (RUL to health; 80% of the measured steps "
            f"{interval(found.ratio_low, found.ratio_high)})",
        ),
        (
            "cosine",
            f"{number(found.cosine)}; in conflict (below {number(CONFLICT)}) in "
            f"{percent(found.conflict_share)} of the measured steps",
        ),
        ("planned training", plan),
        ("GABA's RUL weight", weight + ("" if expected < planned else " steps")),
        ("GABA's floor", _floor(found)),
        ("recommended", found.method),
    ]


def _floor(found: Diagnosis) -> str:
    """When GABA's average reaches its floor, in the planned and in the expected training."""
    from grace.core.gaba import GABALoss
    from grace.formatting import number, percent

    planned, expected = found.planned_steps, found.expected_steps
    if found.floor_from is not None:
        text = f"from step {found.floor_from:,}, {percent(found.floor_share)} of {planned:,} steps"
        if expected < planned:
            text += f"; {percent(found.expected_floor_share)} of {expected:,}"
        return text
    raw = 1 / (1 + found.ratio)
    if min(raw, 1 - raw) < GABALoss().min_weight:
        return "not reached: the training ends before the average reaches it"
    if raw != raw:
        return "not reached: one task has no gradient"
    return f"not reached: at this ratio the RUL weight tends to {number(raw)}"


def _notes(found: Diagnosis) -> list[str]:
    """What the figures rest on."""
    from grace.experiments.gaba_forecast import EARLY_STOP
    from grace.formatting import percent

    notes = [
        "The benchmark on C-MAPSS cannot distinguish these methods: the advice promises no lower "
        "error."
    ]
    if found.expected_steps < found.planned_steps:
        notes.append(
            f"Early stopping: {percent(EARLY_STOP)} of the planned steps are assumed, the mean of "
            "preset fast on C-MAPSS, but not fewer than its patience allows."
        )
    return notes
