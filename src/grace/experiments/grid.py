"""A grid of runs: datasets x methods x seeds, several at once, resumable, and its table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError

from grace.experiments.comparisons import control_of
from grace.experiments.ray_engine import run_tasks_on_ray
from grace.experiments.results_store import STORE_NAME, ResultsStore
from grace.experiments.run import run_name
from grace.experiments.training_data import load_data
from grace.experiments.workers import Event, Task, run_tasks
from grace.prediction.artifact import ArtifactError, read_artifact_json
from grace.training.config import RunConfig, deep_merge
from grace.training.errors import ConfigError
from grace.training.loggers import build_logger

__all__ = ["DEFAULT_METHODS", "SEEDS", "GridResult", "grid", "grid_configs"]

# The 2 x 2 of inner loss and outer balancer.
DEFAULT_METHODS = ("baseline", "amnl", "gaba", "grace")
SEEDS = (42, 123, 456, 789, 1024)

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class GridResult:
    """How each run of a grid ended: the last event of each, by name.

    Example:
        >>> done = Event("sim-grace-fast-seed42", "finished", seconds=41.0)
        >>> bad = Event("sim-gaba-fast-seed42", "failed", "disk full")
        >>> result = GridResult(Path("grid"), {event.name: event for event in (done, bad)})
        >>> [event.name for event in result.failed], len(result.folders())
        (['sim-gaba-fast-seed42'], 1)
    """

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
    methods: Iterable[str] = DEFAULT_METHODS,
    seeds: Iterable[int] = SEEDS,
    controls: bool = True,
) -> dict[str, RunConfig]:
    """Configurations of all combinations by name; everything else is as in ``base``.

    Seeds vary slowest, so that a grid that was interrupted holds whole comparisons. The options of
    ``base``'s method are applied to every method.

    Args:
        base: everything but dataset, method and seed.
        datasets: names of datasets.
        methods: names of methods; the others are usually compared with the first.
        seeds: training seeds.
        controls: after each GABA method, also its control of constant weights with the same inner
            loss (see :func:`~grace.experiments.control_of`), which every claim for an adaptive
            weight has to beat.

    Raises:
        ConfigError: a dataset or method is unknown, or an option does not fit every method.

    Example:
        >>> base = RunConfig.load(preset="fast")
        >>> for name in grid_configs(base, datasets=["sim"], methods=["amnl", "grace"], seeds=[1]):
        ...     print(name)
        sim-amnl-fast-seed1
        sim-grace-fast-seed1
        sim-weighted_mse+fixed_0.0477-fast-seed1
    """
    listed = list(dict.fromkeys(methods))
    known = {name.strip().lower() for name in listed}
    added: dict[str, None] = {}
    for name in listed:
        control = control_of(name) if controls else None
        # fixed:w alone means the plain loss
        if control and not {control, control.removeprefix("mse+")} & known:
            added[control] = None
    configs = {}
    for seed, dataset, method in product(seeds, list(datasets), [*listed, *added]):
        changed = {"dataset": dataset, "seed": seed, "method": {"name": method}}
        values = deep_merge(base.model_dump(mode="json"), changed)
        if method in added:  # constant weights have none of GABA's options
            values["method"]["outer_options"] = {}
        config = RunConfig.load(preset=base.preset, overrides=values)
        configs[run_name(config)] = config
    return configs


def grid(
    configs: Mapping[str, RunConfig],
    folder: str | Path,
    *,
    engine: Engine = "local",
    parallel_runs: int | None = None,
    threads_per_run: int | None = None,
    gpus_per_run: float = 0.0,
    data_root: str | Path | None = None,
    loggers: Sequence[str] = (),
    on_event: Callable[[Event], None] | None = None,
) -> GridResult:
    """Do all runs, each in a folder of its own below ``folder``; finished ones are not repeated.

    Every finished run is added to ``results.sqlite`` in ``folder`` (see :class:`ResultsStore`).

    One small network leaves a GPU, or many cores, idle: several runs share them
    (``benchmarks/parallel_runs.py`` prints what that gains here). The number of threads can change
    the last digits of a sum, and with them a whole training: compare runs of equal
    ``threads_per_run``, which each run's artifact notes.

    Args:
        configs: what to run, by the name of its folder.
        folder: of the grid. With ``engine="ray"`` on a file system that all nodes share.
        engine: ``"local"`` trains in processes of this machine, ``"ray"`` on the cluster that the
            environment variable ``RAY_ADDRESS`` names (extra ``ray``).
        parallel_runs: how many at a time, each in a process of its own; None means 1, on a
            cluster as many as it has room for.
        threads_per_run: threads of each; None shares out those of this machine, on a cluster 1.
        gpus_per_run: share of a GPU that each run takes; only on a cluster.
        data_root: where the data is; None searches the usual places.
        loggers: names of :data:`~grace.training.LOGGERS`; each run logs under the name of its
            folder. Their settings come from the environment (``MLFLOW_TRACKING_URI``,
            ``MLFLOW_EXPERIMENT_NAME``).
        on_event: called with everything that happens.

    Raises:
        ConfigError: there is nothing to run, a number is below 1, an option of a dataset or a
            logger does not exist, or the cluster has no node for such runs.
        WorkerError: worker processes cannot start, or a node of the cluster cannot be used.
        DataError: a dataset cannot be read.
        ArtifactError: a folder holds a finished run of another configuration.
        MissingExtraError: the package of a logger is not installed.

    All of this is found before anything is trained. A run that fails does not stop the others.
    A script that calls this must guard its own start with ``if __name__ == "__main__":``, as
    everything that starts processes.

    Example:
        >>> import grace
        >>> tiny = {"dataset_options": {"n_train": 8, "n_test": 4}, "training": {"epochs": 1}}
        >>> base = grace.RunConfig.load(preset="fast", overrides=tiny)
        >>> methods = ["baseline", "grace"]
        >>> result = grid(base, "runs/grid", datasets=["sim"], methods=methods)  # doctest: +SKIP
        >>> len(result.folders())  # doctest: +SKIP
        >>> 10
        10
    """
    if not configs:
        raise ConfigError("a grid needs at least one dataset, one method and one seed")
    numbers = {"parallel_runs": parallel_runs, "threads_per_run": threads_per_run}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ConfigError(f"{name} = {number} must be ≥ 1")
    if gpus_per_run < 0 or (gpus_per_run and engine != "ray"):
        raise ConfigError(f"gpus_per_run = {gpus_per_run:g} must be ≥ 0, and needs the engine ray")
    for name in loggers:
        build_logger(name)  # raises before anything is trained
    folder = Path(folder)
    _check(configs, folder, data_root)
    outcomes: dict[str, Event] = {}

    def note(event: Event) -> None:
        if event.ended:
            outcomes[event.name] = event
            if event.kind != "failed":
                store.add(folder / event.name)
        if on_event is not None:
            on_event(event)

    with ResultsStore(folder / STORE_NAME) as store:
        tasks = [
            Task(name, c.to_yaml(), folder.absolute() / name, tuple(loggers))
            for name, c in configs.items()
        ]
        root = None if data_root is None else Path(data_root).absolute()
        if engine == "ray":
            run_tasks_on_ray(
                tasks,
                parallel=parallel_runs,
                threads=threads_per_run or 1,
                data_root=root,
                on_event=note,
                gpus=gpus_per_run,
            )
        else:
            parallel = min(parallel_runs or 1, len(configs))
            threads = threads_per_run or max(1, torch.get_num_threads() // parallel)
            run_tasks(tasks, parallel=parallel, threads=threads, data_root=root, on_event=note)
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
