"""The datasets grace knows by name, and one way to load each of them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from grace.data.cmapss import CMAPSS_SUBSETS, read_cmapss
from grace.data.cmapss_files import find_data_root, locate_cmapss
from grace.data.dataset_folder import find_folder
from grace.data.errors import DataError
from grace.data.fleet import Dataset
from grace.data.issues import Source

__all__ = [
    "READERS",
    "DatasetInfo",
    "Reader",
    "canonical_name",
    "list_datasets",
    "load_dataset",
]


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset as a listing shows it, without reading it.

    ``train_rows`` and ``test_rows`` are None where they depend on options or on chance; ``found``
    is the folder or archive that holds it, ``"built in"``, or None if it has to be downloaded.

    Example:
        >>> info = READERS["sim"].info(None)
        >>> info.name, info.n_conditions, info.found
        ('sim', 3, 'built in')
    """

    name: str
    train_units: int
    test_units: int
    train_rows: int | None
    test_rows: int | None
    n_conditions: int
    fault_modes: tuple[str, ...]
    description: str
    found: str | None


@dataclass(frozen=True)
class Reader:
    """How to read one dataset and what to say of it.

    ``read(root, **options)`` gives the dataset; ``info(root)`` describes it and tells whether it is
    there. ``root`` is a data root, or None to search the usual places. ``needs_files`` is False
    for what is made on the spot.

    Example:
        >>> READERS["sim"].needs_files, READERS["sim"].read(None, n_train=2, n_test=1).train.n_units
        (False, 2)
    """

    read: Callable[..., Dataset]
    info: Callable[[Path | None], DatasetInfo]
    needs_files: bool = True


def _read_cmapss(subset: str, root: Path | None, **options: Any) -> Dataset:
    if options:
        raise TypeError(f"{subset} takes no options, but got {', '.join(options)}")
    return read_cmapss(find_data_root(root), subset)


def _cmapss_info(subset: str, root: Path | None) -> DatasetInfo:
    size = CMAPSS_SUBSETS[subset]
    found = None
    try:
        files = locate_cmapss(find_data_root(root))
        if files and all(f"{p}_{subset}.txt" in files.members for p in ("train", "test", "RUL")):
            found = files.where
    except DataError:
        pass  # nowhere, or a damaged archive: loading it will tell which
    conditions = "1 operating condition" if size.n_conditions == 1 else "6 operating conditions"
    return DatasetInfo(
        name=subset,
        train_units=size.train_units,
        test_units=size.test_units,
        train_rows=size.train_rows,
        test_rows=size.test_rows,
        n_conditions=size.n_conditions,
        fault_modes=size.fault_modes,
        description=f"NASA C-MAPSS, simulated turbofan engines, {conditions}.",
        found=found,
    )


def _read_simulation(root: Path | None, **options: Any) -> Dataset:
    # Imported here: who reads real data need not load the simulation.
    from grace.data.simulation import SimulationConfig, simulate_dataset

    seed = options.pop("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed = {seed!r} must be an integer from 0 to 2^63 - 1")
    config = options.pop("config", None)
    if config is not None and not isinstance(config, SimulationConfig):
        config = SimulationConfig.model_validate(config)
    if config is not None and options:
        raise TypeError(f"give either config or single fields, not both: {', '.join(options)}")
    return simulate_dataset(config or SimulationConfig(**options), seed=seed)


def _simulation_info(root: Path | None) -> DatasetInfo:
    from grace.data.simulation import SimulationConfig

    config = SimulationConfig()
    return DatasetInfo(
        name="sim",
        train_units=config.n_train,
        test_units=config.n_test,
        train_rows=None,
        test_rows=None,
        n_conditions=config.n_conditions,
        fault_modes=("HPC degradation", "fan degradation")[: config.n_faults],
        description="Built-in simulated turbofan fleet in the C-MAPSS layout; needs no download.",
        found="built in",
    )


def _read_bearings(root: Path | None, **options: Any) -> Dataset:
    from grace.data.bearings import read_bearings

    unknown = sorted(set(options) - {"time_unit"})
    if unknown:
        raise TypeError(f"bearings takes the option time_unit, but got {', '.join(unknown)}")
    return read_bearings(root, **options)


def _bearings_info(root: Path | None) -> DatasetInfo:
    from grace.data.bearings import BEARINGS_FILE, BEARINGS_FOLDER, DESCRIPTION

    found = find_folder(root, BEARINGS_FOLDER, BEARINGS_FILE)
    return DatasetInfo(
        name="bearings",
        train_units=6,
        test_units=11,
        train_rows=7534,
        test_rows=13959,
        n_conditions=1,
        fault_modes=("wear of rings, balls or cage",),
        description=DESCRIPTION,
        found=None if found is None else str(found),
    )


def _read_disks(root: Path | None, **options: Any) -> Dataset:
    from grace.data.disks import read_disks

    if options:
        raise TypeError(f"disks takes no options, but got {', '.join(options)}")
    return read_disks(root)


def _disks_info(root: Path | None) -> DatasetInfo:
    from grace.data.disks import DESCRIPTION, DISKS_FILE, DISKS_FOLDER

    found = find_folder(root, DISKS_FOLDER, DISKS_FILE)
    return DatasetInfo(
        name="disks",
        train_units=2231,
        test_units=26,
        train_rows=80088,
        test_rows=443,
        n_conditions=1,
        fault_modes=("any failure of the drive",),
        description=DESCRIPTION,
        found=None if found is None else str(found),
    )


def _read_ncmapss(root: Path | None, **options: Any) -> Dataset:
    from grace.data.ncmapss import read_ncmapss

    unknown = sorted(set(options) - {"subset", "every"})
    if unknown:
        raise TypeError(f"ncmapss takes the options subset, every, but got {', '.join(unknown)}")
    return read_ncmapss(root, **options)


def _ncmapss_info(root: Path | None) -> DatasetInfo:
    from grace.data.ncmapss import DESCRIPTION, find_ncmapss

    found = find_ncmapss(root)
    return DatasetInfo(
        name="ncmapss",
        train_units=6,
        test_units=3,
        train_rows=None,
        test_rows=None,
        n_conditions=1,
        fault_modes=("HPT and LPT degradation",),
        description=f"DS02: {DESCRIPTION}",
        found=None if found is None else str(found.parent),
    )


READERS: dict[str, Reader] = {
    **{
        name: Reader(partial(_read_cmapss, name), partial(_cmapss_info, name))
        for name in CMAPSS_SUBSETS
    },
    "bearings": Reader(_read_bearings, _bearings_info),
    "disks": Reader(_read_disks, _disks_info),
    "ncmapss": Reader(_read_ncmapss, _ncmapss_info),
    "sim": Reader(_read_simulation, _simulation_info, needs_files=False),
}


def load_dataset(name: str, *, root: Path | str | None = None, **options: Any) -> Dataset:
    """Load a dataset by name.

    Args:
        name: ``"FD001"`` to ``"FD004"``, ``"bearings"``, ``"disks"``, ``"ncmapss"`` or
            ``"sim"``; case does not matter.
        root: data root, e.g. the folder that holds ``CMAPSSData/``; None searches the places of
            :func:`~grace.data.cmapss_files.find_data_root`. Not used by ``"sim"``.
        **options: what the reader takes. ``"sim"``: ``seed``, and either ``config`` or single
            fields of :class:`~grace.data.simulation.SimulationConfig`. ``"bearings"``:
            ``time_unit``, seconds or snapshots. ``"ncmapss"``: ``subset`` ("DS02") and ``every``,
            see :func:`~grace.data.ncmapss.read_ncmapss`. The others: none.

    Raises:
        DataError: no dataset of this name (the message suggests one), files missing or broken.
        TypeError: an option the reader does not take.

    Example:
        >>> dataset = load_dataset("sim", seed=1, n_train=5, n_test=3)
        >>> dataset.train.n_units, dataset.test.n_units
        (5, 3)
        >>> load_dataset("FD01")
        Traceback (most recent call last):
        grace.data.errors.DataError: there is no dataset 'FD01'; did you mean FD001? \
Remedy: choose from FD001, FD002, FD003, FD004, bearings, disks, ncmapss, sim.
    """
    known = canonical_name(name)
    dataset = READERS[known].read(None if root is None else Path(root), **options)
    digest = hashlib.sha256("".join(file.sha256 for file in dataset.files).encode()).hexdigest()
    source = Source("dataset", known, digest if dataset.files else None)
    return replace(
        dataset,
        train=replace(dataset.train, source=source),
        test=replace(dataset.test, source=source),
    )


def canonical_name(name: str) -> str:
    """The name of a dataset as the registry spells it; case does not matter.

    Raises:
        DataError: no dataset of this name; the message suggests one.

    Example:
        >>> canonical_name("fd001")
        'FD001'
    """
    by_fold = {known.casefold(): known for known in READERS}
    known = by_fold.get(name.casefold())
    if known is None:
        close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
        hint = f"; did you mean {by_fold[close[0]]}?" if close else "."
        raise DataError(
            f"there is no dataset {name!r}{hint}", remedy=f"choose from {', '.join(READERS)}."
        )
    return known


def list_datasets(root: Path | str | None = None) -> list[DatasetInfo]:
    """Every known dataset with its size and where it was found, without reading any.

    Args:
        root: where to look, as for :func:`load_dataset`.

    Example:
        >>> [(d.name, d.train_units, d.n_conditions) for d in list_datasets()][:2]
        [('FD001', 100, 1), ('FD002', 260, 6)]
    """
    where = None if root is None else Path(root)
    return [reader.info(where) for reader in READERS.values()]
