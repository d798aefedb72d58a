"""N-CMAPSS: flights from samples, nothing read that is not measured, and damaged files."""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grace.data import DataError, ncmapss
from grace.data.flight_statistics import FlightStatistics
from grace.data.ncmapss import read_ncmapss
from grace.data.readers import load_dataset

pytest.importorskip("h5py", reason="h5py is not installed (extra ncmapss)")


def _helper() -> Any:
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


layout = _helper()
NAME = "N-CMAPSS_DS02-006.h5"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("data")
    layout.write_ncmapss(folder / NAME)
    return folder


def test_rows_are_flights_with_mean_and_deviation_of_their_samples(root: Path) -> None:
    data = load_dataset("ncmapss", root=root)
    raw = layout.arrays("test")
    names = [*layout.W_VAR, *layout.X_S_VAR]
    samples = pl.DataFrame(np.hstack([raw["A"][:, :2], raw["W"], raw["X_s"]]))
    samples.columns = ["unit", "cycle", *names]
    flights = samples.group_by("unit", "cycle").agg(
        *(pl.col(c).mean().alias(c) for c in layout.W_VAR),
        *(pl.col(c).mean().alias(f"{c}_mean") for c in layout.X_S_VAR),
        *(pl.col(c).std(ddof=0).alias(f"{c}_std") for c in layout.X_S_VAR),
    )
    expected = flights.sort("unit", "cycle")
    found = data.test
    assert found.schema.time_unit == "flights"
    assert found.unit_ids == [11, 14, 15]
    np.testing.assert_allclose(
        found.values(found.schema.channels), expected.select(found.schema.channels).to_numpy()
    )
    np.testing.assert_array_equal(found.times(), expected["cycle"].to_numpy())


def test_published_split_rul_and_flight_class(root: Path) -> None:
    data = load_dataset("ncmapss", root=root)
    for fleet, part in ((data.train, "dev"), (data.test, "test")):
        raw = layout.arrays(part)
        assert tuple(fleet.unit_ids) == layout.UNITS[part]
        assert fleet.units["failed"].all()
        _, first = np.unique(raw["A"][:, :2], axis=0, return_index=True)
        np.testing.assert_array_equal(fleet.rul(), raw["Y"][first, 0])
        assert fleet.units["flight_class"].to_list() == [str(1 + u % 3) for u in fleet.unit_ids]


def test_virtual_sensors_health_parameters_and_health_state_are_not_inputs(
    root: Path, tmp_path: Path
) -> None:
    data = load_dataset("ncmapss", root=root)
    schema = data.train.schema
    given_names = {c.removesuffix("_mean").removesuffix("_std") for c in schema.channels}
    assert given_names == {*layout.W_VAR, *layout.X_S_VAR}
    assert not given_names & {*layout.X_V_VAR, *layout.T_VAR, "hs"}
    # They need not even be there, and what they hold changes nothing.
    rng = np.random.default_rng(5)
    changed: dict[str, Any] = {"X_v_dev": None, "X_v_test": None, "T_dev": None, "T_var": None}
    a = layout.arrays("dev")["A"]
    a[:, 3] = rng.random(len(a))
    layout.write_ncmapss(tmp_path / NAME, A_dev=a, **changed)
    assert read_ncmapss(tmp_path).train.content_hash() == data.train.content_hash()


def test_blocks_of_any_size_give_the_same_flights(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for every in (1, 4):
        whole = read_ncmapss(root, every=every)
        with monkeypatch.context() as patch:
            patch.setattr(ncmapss, "BLOCK_ROWS", 7)
            blocks = read_ncmapss(root, every=every)
        for one, other in ((whole.train, blocks.train), (whole.test, blocks.test)):
            channels = one.schema.channels
            np.testing.assert_allclose(one.values(channels), other.values(channels), atol=1e-9)


def test_every_keeps_each_nth_sample_of_a_flight(root: Path) -> None:
    raw = layout.arrays("dev")
    first = raw["A"][:, :2] == raw["A"][0, :2]
    samples = raw["X_s"][first.all(axis=1)][::4, 0]
    found = read_ncmapss(root, every=4).train.frame
    assert found["T24_mean"][0] == pytest.approx(samples.mean())
    assert found["T24_std"][0] == pytest.approx(samples.std())


def test_memory_does_not_grow_with_the_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {p: layout.arrays(p) for p in ("dev", "test")}
    repeated = {
        f"{name}_{part}": np.repeat(values, 200, axis=0)
        for part, content in parts.items()
        for name, values in content.items()
    }
    layout.write_ncmapss(tmp_path / NAME, **repeated)
    size = sum(v.nbytes for v in repeated.values())
    monkeypatch.setattr(ncmapss, "BLOCK_ROWS", 1000)
    tracemalloc.start()
    try:
        read_ncmapss(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 50e6
    assert peak < size / 10


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    offset=st.sampled_from([0.0, 1e6, -1e8]),
    every=st.integers(1, 4),
)
def test_merged_statistics_are_those_of_all_samples(
    sizes: list[int], offset: float, every: int
) -> None:
    rng = np.random.default_rng(sum(sizes))
    flights = FlightStatistics(2, every=every)
    blocks = [offset + rng.normal(size=(n, 2)) for n in sizes]
    for block in blocks:
        assert flights.add(np.ones((len(block), 2), int), block, np.zeros((len(block), 1))) is None
    _, mean, std, _ = flights.result()
    kept = np.concatenate(blocks)[::every]
    np.testing.assert_allclose(mean[0], kept.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std[0], kept.std(axis=0), atol=1e-6, rtol=1e-6)


def _with(part: str, name: str, row: int, column: int, value: float) -> Any:
    values = layout.arrays(part)[name].astype(np.float64)
    values[row, column] = value
    return values


def _a_dev(change: Any) -> Any:
    a = layout.arrays("dev")["A"]
    change(a)
    return a


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"W_test": None}, r"HDF5 dataset /W_test is missing"),
    "names missing": ({"X_s_var": None}, r"HDF5 dataset /X_s_var is missing"),
    "empty": ({"Y_dev": np.empty((0, 1))}, r"/Y_dev has shape \(0, 1\)"),
    "one dimension": ({"Y_dev": np.arange(4.0)}, r"/Y_dev has shape \(4,\)"),
    "text": ({"X_s_dev": np.full((5, 14), b"x")}, r"/X_s_dev has shape \(5, 14\) and type \|S1"),
    "rows": ({"W_dev": np.ones((5, 4))}, r"numbers of rows differ: /A_dev \d+, /W_dev 5"),
    "not finite": ({"X_s_test": _with("test", "X_s", 9, 3, np.nan)}, r"/X_s_test .* row 9"),
    "half a cycle": ({"A_dev": _with("dev", "A", 3, 1, 1.5)}, r"/A_dev .* no whole number"),
    "column": ({"A_var": np.array([b"unit", b"cycle", b"x", b"hs"])}, r"/A_var lacks Fc"),
    "width": ({"W_var": np.array([*(v.encode() for v in layout.W_VAR), b"q"])}, r"/W_var names 5"),
    "label jumps": ({"Y_dev": _with("dev", "Y", 1, 0, 50)}, r"RUL \(/Y_dev\) changes within unit"),
    "label": ({"Y_dev": np.zeros((len(layout.arrays("dev")["Y"]), 1))}, r"does not fall by one"),
    "class": (
        {"A_dev": _a_dev(lambda a: a.__setitem__((a[:, 1] == 2, 2), 9))},
        r"Fc changes within unit 2",
    ),
    "both parts": ({"A_dev": _a_dev(lambda a: a.__setitem__((a[:, 0] == 2, 0), 11))}, "share unit"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_one_error_with_file_dataset_and_remedy(
    case: str, tmp_path: Path
) -> None:
    content, message = DAMAGED[case]
    path = layout.write_ncmapss(tmp_path / NAME, **content)
    with pytest.raises(DataError, match=message) as error:
        read_ncmapss(tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert "Remedy: " in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9])
def test_a_cut_off_file_is_one_error(kept: float, tmp_path: Path) -> None:
    path = layout.write_ncmapss(tmp_path / NAME)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(DataError, match="is no readable HDF5 file"):
        read_ncmapss(tmp_path)


def test_bytes_changed_anywhere_give_a_result_or_one_error(tmp_path: Path) -> None:
    path = layout.write_ncmapss(tmp_path / NAME)
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        hurt = np.frombuffer(raw, dtype=np.uint8).copy()
        where = rng.integers(0, 6000)  # the structure of the file
        hurt[where : where + 8] = rng.integers(0, 256, len(hurt[where : where + 8]))
        path.write_bytes(hurt.tobytes())
        try:
            read_ncmapss(tmp_path)
        except DataError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - either outcome is right


def test_not_found_and_wrong_options(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"N-CMAPSS/N-CMAPSS_DS02\*\.h5 was not found"):
        read_ncmapss(tmp_path)
    with pytest.raises(DataError, match=r"DS03"):
        load_dataset("ncmapss", root=root, subset="DS03")
    with pytest.raises(ValueError, match="subset 'DS99' must be one of DS01"):
        read_ncmapss(root, subset="DS99")
    with pytest.raises(ValueError, match="every = 0 must be an integer of 1 or more"):
        read_ncmapss(root, every=0)
    with pytest.raises(TypeError, match="takes the options subset, every, but got seed"):
        load_dataset("ncmapss", root=root, seed=1)


def test_without_h5py_the_message_names_the_extra(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[ncmapss\]'"):
        read_ncmapss(root)
