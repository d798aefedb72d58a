"""What every registered reader owes, and the registry itself. A new reader joins by itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from grace.data import DataError, Dataset, Fleet
from grace.data.bearings import BEARINGS_FILE, BEARINGS_FOLDER
from grace.data.disks import DISKS_FILE, DISKS_FOLDER
from grace.data.readers import READERS, list_datasets, load_dataset

ON_DISK = [n for n, r in READERS.items() if r.needs_files]
FOLDERS = {
    "bearings": f"{BEARINGS_FOLDER}/{BEARINGS_FILE}",
    "disks": f"{DISKS_FOLDER}/{DISKS_FILE}",
}
RUN_TO_FAILURE = {"ncmapss"}  # whose test units are not truncated
Load = Callable[[str], Dataset]
RootOf = Callable[[str], "Path | None"]


def _ncmapss_file() -> ModuleType:
    name = "grace_tests_ncmapss_file"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, Path(__file__).with_name("ncmapss_file.py")
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def root_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RootOf:
    """Data root of a dataset: the disk copy, or a generated file in the published layout."""
    generated = tmp_path_factory.mktemp("ncmapss")

    def find(name: str) -> Path | None:
        if not READERS[name].needs_files:
            return None
        if name == "ncmapss":
            pytest.importorskip("h5py", reason="h5py is not installed (extra ncmapss)")
            _ncmapss_file().write_ncmapss(generated / "N-CMAPSS" / "N-CMAPSS_DS02-006.h5")
            return generated
        root: Path = request.getfixturevalue("data_root")
        if name in FOLDERS and not (root / FOLDERS[name]).is_file():
            pytest.skip(f"no {FOLDERS[name]} in {root}")
        return root

    return find


@pytest.fixture(scope="session")
def load(root_of: RootOf) -> Load:
    """Each dataset is read once per session; those on disk skip where there is no disk copy."""
    cache: dict[str, Dataset] = {}

    def get(name: str) -> Dataset:
        if name not in cache:
            cache[name] = load_dataset(name, root=root_of(name))
        return cache[name]

    return get


@pytest.fixture(params=list(READERS))
def dataset(request: pytest.FixtureRequest, load: Load) -> Dataset:
    return load(request.param)


@pytest.fixture(params=["train", "test"])
def fleet(request: pytest.FixtureRequest, dataset: Dataset) -> Fleet:
    return getattr(dataset, request.param)  # type: ignore[no-any-return]


def test_train_ran_to_failure_or_is_censored(dataset: Dataset) -> None:
    left = dataset.train.units["rul_at_end"]
    assert ((left == 0.0) | left.is_null()).all()
    assert dataset.train.units["failed"].any()


def test_test_units_are_truncated_with_known_life(dataset: Dataset) -> None:
    left = dataset.test.units["rul_at_end"]
    assert left.null_count() == 0
    assert (left >= 0).all()
    assert dataset.test.units["failed"].all() == (dataset.name in RUN_TO_FAILURE)


def test_train_and_test_share_one_schema(dataset: Dataset) -> None:
    assert dataset.train.schema == dataset.test.schema


def test_default_sensors_and_texts(dataset: Dataset) -> None:
    schema = dataset.train.schema
    assert set(dataset.default_sensors) <= set(schema.sensors)
    assert len(set(dataset.default_sensors)) == len(dataset.default_sensors) > 0
    assert dataset.n_conditions >= 1
    assert dataset.name
    assert dataset.description
    assert set(schema.descriptions) == set(schema.channels)


def test_default_sensors_vary_in_train(dataset: Dataset) -> None:
    values = dataset.train.values(dataset.default_sensors)
    spread = np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
    assert (spread > 0).all()


def test_source_names_the_dataset(dataset: Dataset) -> None:
    for fleet in (dataset.train, dataset.test):
        assert fleet.source.kind == "dataset"
        assert fleet.source.name in READERS


def test_columns_and_types(fleet: Fleet) -> None:
    schema = fleet.schema
    assert fleet.frame.columns == [schema.unit, schema.time, *schema.channels]
    assert all(fleet.frame.schema[c] == pl.Float64 for c in schema.channels)
    assert fleet.units.columns[:3] == ["unit", "failed", "rul_at_end"]
    assert fleet.units.schema["failed"] == pl.Boolean
    assert fleet.units.schema["rul_at_end"] == pl.Float64


def test_values_are_finite_or_missing(fleet: Fleet) -> None:
    values = fleet.values(fleet.schema.channels)
    assert not np.isinf(values).any()
    assert not np.isnan(values).all(axis=0).any()
    assert np.isfinite(fleet.times()).all()


def test_units_are_contiguous_and_times_increase(fleet: Fleet) -> None:
    assert fleet.lengths().sum() == fleet.n_rows
    assert len(fleet.lengths()) == fleet.n_units == len(set(fleet.unit_ids))
    inside = np.ones(fleet.n_rows, dtype=bool)
    inside[fleet.starts()] = False
    assert (np.diff(fleet.times(), prepend=0.0)[inside] > 0).all()
    assert fleet.frame[fleet.schema.unit].gather(fleet.starts()).to_list() == fleet.unit_ids


def test_rul_falls_by_the_time_that_passes(fleet: Fleet) -> None:
    inside = np.ones(fleet.n_rows, dtype=bool)
    inside[fleet.starts()] = False
    fall = -np.diff(fleet.rul(), prepend=0.0)[inside]
    step = np.diff(fleet.times(), prepend=0.0)[inside]
    known = ~np.isnan(fall)
    np.testing.assert_allclose(fall[known], step[known])
    last = fleet.rul()[fleet.starts() + fleet.lengths() - 1]
    np.testing.assert_array_equal(last, fleet.units["rul_at_end"].fill_null(np.nan).to_numpy())


@pytest.mark.parametrize("name", list(READERS))
def test_reading_twice_gives_the_same_content(name: str, load: Load, root_of: RootOf) -> None:
    first = load(name)
    again = load_dataset(name.lower(), root=root_of(name))
    assert again.train.content_hash() == first.train.content_hash()
    assert again.test.content_hash() == first.test.content_hash()


@pytest.mark.parametrize("name", list(READERS))
def test_listing_tells_the_truth(name: str, load: Load, root_of: RootOf) -> None:
    dataset = load(name)
    (info,) = [i for i in list_datasets(root_of(name)) if i.name == name]
    assert (info.train_units, info.test_units) == (dataset.train.n_units, dataset.test.n_units)
    assert info.train_rows in (None, dataset.train.n_rows)
    assert info.test_rows in (None, dataset.test.n_rows)
    assert info.n_conditions == dataset.n_conditions
    assert info.fault_modes
    assert info.found is not None


def test_unknown_name_suggests_and_lists() -> None:
    with pytest.raises(DataError) as error:
        load_dataset("fd02")
    assert str(error.value) == (
        "there is no dataset 'fd02'; did you mean FD002? "
        "Remedy: choose from FD001, FD002, FD003, FD004, bearings, disks, ncmapss, sim."
    )
    with pytest.raises(DataError, match=r"there is no dataset 'xyz'\. Remedy: choose from"):
        load_dataset("xyz")


def test_listing_without_data_says_so(tmp_path: Path) -> None:
    found = {info.name: info.found for info in list_datasets(tmp_path)}
    assert found == {**dict.fromkeys(ON_DISK), "sim": "built in"}


def test_options_the_reader_does_not_take() -> None:
    with pytest.raises(TypeError, match="FD001 takes no options, but got seed"):
        load_dataset("FD001", seed=1)


def test_simulation_takes_fields_or_a_config_not_both() -> None:
    from grace.data.simulation import SimulationConfig

    config = SimulationConfig(n_train=3, n_test=2)
    by_config = load_dataset("sim", config=config, seed=5)
    by_fields = load_dataset("sim", n_train=3, n_test=2, seed=5)
    assert by_config.train.content_hash() == by_fields.train.content_hash()
    assert load_dataset("sim", config=config).train.content_hash() != (
        by_config.train.content_hash()
    )
    with pytest.raises(TypeError, match="either config or single fields"):
        load_dataset("sim", config=config, n_train=3)
