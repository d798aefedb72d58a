"""Training, evaluation and report of a stacked preset, behind `grace train --preset best`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from grace.cli.shared import out, say, stop

if TYPE_CHECKING:
    from grace.training import RunConfig

__all__ = ["report_stacked", "train_stacked"]


def train_stacked(
    config: RunConfig,
    folder: Path,
    *,
    data_root: Path | None,
    force: bool,
    report: bool,
    logger: list[str] | None,
) -> None:
    """Fit, evaluate and save a stacked preset on a named dataset.

    Raises:
        DataError: the data cannot be used.
        ArtifactError: the folder holds something else.
    """
    from grace.experiments.stacked_run import run_stacked
    from grace.report.console import render_evaluation
    from grace.training.malloc import keep_freed_memory

    _refuse_without_effect(config, logger)
    keep_freed_memory()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("")
        result = run_stacked(
            config,
            folder,
            data_root=data_root,
            progress=lambda name, fold: progress.update(
                task, description=f"candidate {name}, fold {fold + 1}"
            ),
            on_stage=lambda text: progress.update(task, description=text),
            overwrite=force,
        )
    if result.resumed_complete:
        say(f"{folder} already holds this run, finished; nothing was trained.")
    out.print(render_evaluation(result.evaluation, None))
    say(f"model:  {folder}")
    if report:
        say(f"report: {report_stacked(folder)}")


def _refuse_without_effect(config: RunConfig, logger: list[str] | None) -> None:
    """Refuse settings of a single network's run: ignoring them would be a lie."""
    from grace.training import RunConfig

    usual = RunConfig.load(
        preset=config.preset,
        overrides={
            **config.model_dump(include={"dataset", "dataset_options", "seed"}),
            "evaluate_baselines": config.evaluate_baselines,
            "method": {"name": config.method.name},
            "labels": {"cap": config.labels.cap},
        },
    )
    given = [
        name for name in type(config).model_fields if getattr(config, name) != getattr(usual, name)
    ]
    if logger:
        given.append("logger")
    if given:
        stop(
            f"settings of {', '.join(given)} have no effect with --preset {config.preset}, which "
            "is more than one network. Remedy: leave them out; dataset, seed, method and label cap "
            "can be chosen"
        )


def report_stacked(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a run's model, with its evaluation.

    Raises:
        ArtifactError: the folder holds no such run.
    """
    from grace.experiments import read_metrics
    from grace.experiments.stacked_run import load_stacked_run
    from grace.files import write_text
    from grace.report.model_page import model_page

    model, _ = load_stacked_run(folder)
    evaluation, _ = read_metrics(folder)
    page = output or folder / "report.html"
    write_text(page, model_page(model, name=folder.name, evaluation=evaluation))
    return page
