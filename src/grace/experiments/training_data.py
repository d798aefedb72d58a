"""From a configuration to what training starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet
from grace.data.learnable import check_learnable
from grace.data.preprocessing import Preprocessor
from grace.data.readers import load_dataset
from grace.data.splits import UnitSplit, split_units
from grace.data.windows import WindowSet
from grace.experiments.selection_rows import truncated_windows
from grace.models import DualTaskModel
from grace.prediction.artifact import ArtifactError
from grace.training.config import RunConfig
from grace.training.errors import ConfigError, explain_validation
from grace.training.memory_estimate import check_fits_in_memory
from grace.training.rng import derived_seed, preserve_rng_state, seed_generators
from grace.uncertainty import time_edges

__all__ = [
    "TrainingData",
    "build_training_data",
    "load_data",
    "load_run_data",
    "load_stored_data",
]


def load_data(config: RunConfig, data_root: str | Path | None = None) -> Dataset:
    """The dataset of a configuration.

    Raises:
        DataError: it is not there, or cannot be used.
        ConfigError: its reader has no such option.
    """
    taken = sorted({"name", "root"} & set(config.dataset_options))
    if taken:
        raise ConfigError(f"dataset_options of {config.dataset}: there is no option {taken[0]!r}")
    try:
        return load_dataset(config.dataset, root=data_root, **config.dataset_options)
    except DataError:
        raise
    except ValidationError as error:
        where = f"dataset_options of {config.dataset}"
        raise ConfigError(explain_validation(error, where)) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"dataset_options of {config.dataset}: {error}") from error


def load_run_data(
    config: RunConfig, data_root: str | Path | None, dataset: Dataset | None
) -> tuple[Dataset, dict[str, str]]:
    """The dataset of a run, ``dataset`` if given, and the hashes of its training and test units.

    Raises:
        DataError: it is not there, cannot be used, or no test unit has a known RUL at its end.
        ConfigError: its reader has no such option.
    """
    data = dataset or load_data(config, data_root)
    if data.test.units["rul_at_end"].null_count() == data.test.n_units:
        raise DataError(
            "no test unit has a known RUL at its end, so nothing can be evaluated.",
            source=data.name,
            remedy="give rul_at_end for the test units.",
        )
    return data, {"train": data.train.content_hash(), "test": data.test.content_hash()}


def load_stored_data(
    config: RunConfig, folder: str | Path, data_root: str | Path | None = None
) -> Dataset:
    """The dataset of the configuration that an artifact holds.

    Raises:
        DataError: it is not there, or cannot be used.
        ArtifactError: the stored options do not fit the dataset.
    """
    try:
        return load_data(config, data_root)
    except ConfigError as error:
        raise ArtifactError(
            f"{Path(folder) / 'artifact.json'}: {error}. Remedy: restore it from a copy, or train "
            "again."
        ) from error


@dataclass
class TrainingData:
    """What a training starts from: split, fitted preprocessing, windows, and a new network."""

    split: UnitSplit
    train_fleet: Fleet
    preprocessor: Preprocessor
    input_names: tuple[str, ...]
    train: WindowSet
    monitors: dict[str, WindowSet]
    model: DualTaskModel


# Windows evaluated per epoch at most: of dense records every n-th says as much.
_MONITORED = 20_000


def _thinned(windows: WindowSet) -> WindowSet:
    """Every n-th window, if there are more than are evaluated per epoch."""
    step = -(-len(windows) // _MONITORED)
    return windows if step <= 1 else windows.take(torch.arange(0, len(windows), step))


def _with_running_units(windows: WindowSet) -> WindowSet:
    """Windows with a label, and those whose unit was observed for some time after them."""
    assert windows.survived is not None
    return windows.take(~windows.rul.isnan() | (windows.survived > 0))


def survival_edges(windows: WindowSet, train: Fleet, config: RunConfig) -> torch.Tensor:
    """Bin edges (K + 1,) of the survival head, in learned units.

    From 0 in steps of the median sampling step (at most a fiftieth of the longest life left),
    growing geometrically later, to 1.3 times the longest life left.
    """
    assert windows.rul_uncapped is not None
    assert windows.survived is not None
    longest = float(torch.fmax(windows.rul_uncapped, windows.survived).max())
    times, inside = train.times(), np.ones(max(train.n_rows - 1, 0), dtype=bool)
    inside[train.starts()[1:] - 1] = False
    gaps = np.diff(times)[inside]
    gaps = gaps[gaps > 0]
    step = longest / 50.0
    if gaps.size:
        step = min(step, config.labels.to_learned(float(np.median(gaps))))
    edges = time_edges(step, 1.3 * longest, ratio=config.survival.bin_growth)
    return torch.from_numpy(edges).float()


def build_training_data(config: RunConfig, data: Dataset) -> TrainingData:
    """Split by unit, fit on the training units, cut windows, make the network; all by the seed."""
    split = split_units(data.train, config.validation_fraction, seed=config.seed)
    train = data.train.select(split.train)
    held_out = data.train.select(split.validation, name=f"{data.name} validation")
    preprocessor = Preprocessor(
        config.features,
        default_sensors=data.default_sensors,
        default_conditions=data.n_conditions,
    ).fit(train)

    table = preprocessor.transform(train)
    windows = WindowSet.build(table, train, config.labels, config.windows)
    check_learnable(windows, config.labels, source=data.name)
    if config.survival.enabled:
        windows = _with_running_units(
            WindowSet.build(table, train, config.labels, config.windows, labelled_only=False)
        )
    check_fits_in_memory(config, n_windows=len(windows), n_channels=windows.n_channels)
    validation = WindowSet.build(
        preprocessor.transform(held_out), held_out, config.labels, config.windows, every_row=True
    )
    if config.validation_rows == "truncated":
        validation = truncated_windows(validation, held_out.rul(), cap=config.labels.cap)
    else:
        validation = _thinned(validation)
    monitors = {"validation": validation}
    if config.select_on == "test":
        every = WindowSet.build(
            preprocessor.transform(data.test), data.test, config.labels, config.windows,
            every_row=True,
        )  # fmt: skip
        monitors["test"] = every.last_of_each_unit()
    with preserve_rng_state(torch.device("cpu")):
        seed_generators(torch.device("cpu"), derived_seed(config.seed, "weights"))
        model = config.model.build(windows.n_channels, config.labels.n_classes)
        if config.survival.enabled:
            edges = survival_edges(windows, train, config)
            seed_generators(torch.device("cpu"), derived_seed(config.seed, "survival"))
            model.add_survival_head(edges)
    model.rul_head.start_at(float(windows.rul[~windows.rul.isnan()].mean()))
    return TrainingData(split, train, preprocessor, table.names, windows, monitors, model)
