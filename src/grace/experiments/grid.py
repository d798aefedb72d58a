"""A grid of runs: data sets x methods x seeds, several at once, resumable, and its table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from pydantic import ValidationError

from grace.experiments.run import run_name
from grace.experiments.training_data import load_data
from grace.experiments.workers import Event, Task, run_tasks
from grace.prediction.artifact import ArtifactError, read_artifact_json
from grace.training.config import RunConfig, deep_merge
from grace.training.errors import ConfigError

__all__ = ["SEEDS", "GridResult", "grid", "grid_configs"]

SEEDS = (42, 123, 456, 789, 1024)


@dataclass(frozen=True)
class GridResult:
    """How each run of a grid ended: the last event of each, by name."""

    folder: Path
    outcomes: Mapping[str, Event]

    @property
    def failed(self) -> list[Event]:
        """The runs that failed."""
        return [event for event in self.outcomes.values() if event.kind == "failed"]

    def folders(self) -> list[Path]:
        """The folders of the runs that are there to be read."""
        return [self.folder / n for n, event in self.outcomes.items() if event.kind != "failed"]


def grid_configs(
    base: RunConfig,
    *,
    datasets: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int] = SEEDS,
) -> dict[str, RunConfig]:
    """Configurations of all combinations by name; everything else is as in ``base``.

    Seeds vary slowest, so that a grid that was interrupted holds whole comparisons.

    Raises:
        ConfigError: a data set or method is unknown, or an option does not fit every method.

    Example:
        >>> base = RunConfig.load(preset="fast")
        >>> list(grid_configs(base, datasets=["sim"], methods=["amnl", "grace"], seeds=[1]))
        ['sim-amnl-fast-seed1', 'sim-grace-fast-seed1']
    """
    configs = {}
    for seed, dataset, method in product(seeds, datasets, methods):
        changed = {"dataset": dataset, "seed": seed, "method": {"name": method}}
        values = deep_merge(base.model_dump(mode="json"), changed)
        config = RunConfig.load(preset=base.preset, overrides=values)
        configs[run_name(config)] = config
    return configs


def grid(
    configs: Mapping[str, RunConfig],
    folder: str | Path,
    *,
    parallel_runs: int = 1,
    threads_per_run: int | None = None,
    data_root: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> GridResult:
    """Do all runs, each in a folder of its own below ``folder``; finished ones are not repeated.

    One small network leaves a GPU, or many cores, idle: several runs share them
    (``benchmarks/parallel_runs.py`` prints what that gains here). The number of threads can change
    the last digits of a sum, and with them a whole training: compare runs of equal
    ``threads_per_run``, which each run's artifact notes.

    Args:
        configs: what to run, by the name of its folder.
        folder: of the grid.
        parallel_runs: how many at a time, each in a process of its own.
        threads_per_run: threads of each; None shares out those that are available.
        data_root: where the data is; None searches the usual places.
        on_event: called with everything that happens.

    Raises:
        ConfigError: there is nothing to run, a number is below 1, or an option of a dataset does
            not exist.
        DataError: a dataset cannot be read.
        ArtifactError: a folder holds a finished run of another configuration.

    All of this is found before anything is trained. A run that fails does not stop the others.
    A script that calls this must guard its own start with ``if __name__ == "__main__":``, as
    everything that starts processes.
    """
    if not configs:
        raise ConfigError("a grid needs at least one dataset, one method and one seed")
    if parallel_runs < 1 or (threads_per_run is not None and threads_per_run < 1):
        raise ConfigError(
            f"parallel_runs = {parallel_runs} and threads_per_run = {threads_per_run} must be ≥ 1"
        )
    folder = Path(folder)
    parallel = min(parallel_runs, len(configs))
    _check(configs, folder, data_root)
    outcomes: dict[str, Event] = {}

    def note(event: Event) -> None:
        if event.ended:
            outcomes[event.name] = event
        if on_event is not None:
            on_event(event)

    run_tasks(
        [Task(name, config.to_yaml(), folder / name) for name, config in configs.items()],
        parallel=parallel,
        threads=threads_per_run or max(1, torch.get_num_threads() // parallel),
        data_root=None if data_root is None else Path(data_root),
        on_event=note,
    )
    return GridResult(folder, {name: outcomes[name] for name in configs})


def _check(configs: Mapping[str, RunConfig], folder: Path, data_root: str | Path | None) -> None:
    """Find out before hours of training what would make every run fail after them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in configs.items():
        if not (folder / name / "artifact.json").exists():
            continue
        stored = read_artifact_json(folder / name)["config"]
        try:
            same = RunConfig.model_validate(stored).fingerprint() == config.fingerprint()
        except ValidationError:  # of a version with other keys
            same = False
        if not same:
            raise ArtifactError(
                f"{folder / name}: holds a finished run of another configuration. Remedy: choose "
                "another output folder, or delete this one."
            )
    read: set[str] = set()
    for config in configs.values():
        key = json.dumps([config.dataset, config.dataset_options], default=str, sort_keys=True)
        if key not in read:
            read.add(key)
            load_data(config, data_root)
