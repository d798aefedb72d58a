"""Windows against brute force: how many, which rows, which targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.data import Fleet, FleetSchema
from grace.data.labels import LabelConfig
from grace.data.preprocessing import FeatureTable, Preprocessor, PreprocessorConfig
from grace.data.readers import load_dataset
from grace.data.windows import WindowConfig, WindowSet

LABELS = LabelConfig(cap=20.0, health_thresholds=(12.0, 5.0))


def make(
    lengths: list[int], left: dict[int, float | None] | None = None
) -> tuple[Fleet, FeatureTable]:
    """Units whose two channels are the row number and the unit number."""
    n = sum(lengths)
    unit = np.repeat(np.arange(len(lengths)), lengths)
    cycle = np.concatenate([np.arange(1, m + 1) for m in lengths])
    frame = pl.DataFrame(
        {"unit": unit, "cycle": cycle, "row": np.arange(n) * 1.0, "who": unit * 1.0}
    )
    fleet = Fleet.from_frame(frame, FleetSchema(sensors=("row", "who")), rul_at_end=left)
    rows = np.ascontiguousarray(fleet.values(("row", "who")), dtype=np.float32)
    table = FeatureTable(
        rows, ("row", "who"), fleet.starts(), fleet.lengths(), tuple(fleet.unit_ids),
        fleet.times(), np.zeros(n, dtype=np.int64), np.zeros(n),
    )  # fmt: skip
    return fleet, table


def brute(lengths: list[int], T: int, stride: int, first: int) -> list[tuple[int, int, list[int]]]:
    """Unit, last row and rows of every window, by plain loops."""
    windows, start = [], 0
    for unit, length in enumerate(lengths):
        ends = [p for p in range(length) if p >= first - 1 and (p - first + 1) % stride == 0]
        for end in ends or [length - 1]:
            rows = [start + max(0, end - back) for back in range(T - 1, -1, -1)]
            windows.append((unit, start + end, rows))
        start += length
    return windows


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(LENGTHS, st.integers(1, 15), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 20)))
@settings(max_examples=80)
def test_windows_are_those_of_brute_force(
    lengths: list[int], T: int, stride: int, history: int | None
) -> None:
    fleet, table = make(lengths)
    config = WindowConfig(length=T, stride=stride, min_history=history)
    windows = WindowSet.build(table, fleet, LABELS, config)
    want = brute(lengths, T, stride, history or T)
    assert windows.unit.tolist() == [u for u, _, _ in want]
    assert windows.ends.tolist() == [e for _, e, _ in want]
    x = windows.gather(torch.arange(len(windows)))
    assert x.shape == (len(want), T, 2)
    assert x[..., 0].tolist() == [[float(r) for r in rows] for _, _, rows in want]
    assert (x[..., 1] == windows.unit[:, None]).all()
    rul = np.minimum(fleet.rul(), LABELS.cap)
    np.testing.assert_allclose(windows.rul, [rul[e] * 125 / 20 for _, e, _ in want], rtol=1e-6)
    assert set(windows.unit.tolist()) == set(range(len(lengths)))  # none dropped


@given(LENGTHS, st.integers(1, 15), st.integers(1, 5))
def test_count_per_unit_by_the_formula(lengths: list[int], T: int, stride: int) -> None:
    fleet, table = make(lengths)
    windows = WindowSet.build(table, fleet, LABELS, WindowConfig(length=T, stride=stride))
    counts = np.bincount(windows.unit.numpy(), minlength=len(lengths))
    want = [(n - T) // stride + 1 if n >= T else 1 for n in lengths]
    assert counts.tolist() == want


def test_a_short_unit_is_padded_with_its_own_first_row() -> None:
    fleet, table = make([5, 3])
    windows = WindowSet.build(table, fleet, LABELS, WindowConfig(length=6))
    assert windows.gather(torch.tensor([0, 1]))[..., 0].tolist() == [
        [0, 0, 1, 2, 3, 4],
        [5, 5, 5, 5, 6, 7],
    ]


def test_every_row_gets_a_window_for_evaluation() -> None:
    fleet, table = make([4, 1, 7])
    windows = WindowSet.build(
        table, fleet, LABELS, WindowConfig(length=3, stride=4), every_row=True
    )
    assert windows.ends.tolist() == list(range(12))
    last = windows.last_of_each_unit()
    assert last.ends.tolist() == [3, 4, 11]
    assert last.unit.tolist() == [0, 1, 2]
    assert last.rul.tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(last.gather(torch.tensor([2])), windows.gather(torch.tensor([11])))


def test_targets_of_a_batch() -> None:
    fleet, table = make([30, 4], left={0: 0.0, 1: 10.0})
    windows = WindowSet.build(table, fleet, LABELS, WindowConfig(length=2))
    batch = windows.batch(torch.tensor([0, 20, 28, len(windows) - 1]))
    assert batch.rul.tolist() == [125.0, 50.0, 0.0, 62.5]  # 20, 8, 0 and 10 at a cap of 20
    assert batch.health.tolist() == [0, 1, 2, 1]
    assert batch.health.dtype == torch.int64
    assert batch.unit.tolist() == [0, 0, 0, 1]
    assert batch.x.dtype == batch.rul.dtype == torch.float32


def test_what_nobody_knows_is_left_out_unless_asked_for() -> None:
    fleet, table = make([25, 6], left={0: None, 1: 0.0})
    config = WindowConfig(length=1)
    known = WindowSet.build(table, fleet, LABELS, config)
    # Unit 0 has five rows followed by 20 or more cycles of life: label cap.
    assert known.ends.tolist() == [0, 1, 2, 3, 4, *range(25, 31)]
    assert not known.rul.isnan().any()
    every = WindowSet.build(table, fleet, LABELS, config, labelled_only=False)
    assert len(every) == 31
    assert every.rul[5:25].isnan().all()
    assert every.health[5:25].tolist() == [-1] * 20


@pytest.mark.parametrize("scale", [1.0, 3600.0, 0.02])
def test_targets_are_in_learned_units_and_free_of_the_unit_of_time(scale: float) -> None:
    fleet, table = make([25, 6, 30], left={0: None, 1: 0.0, 2: 7.0})
    frame = fleet.frame.with_columns(cycle=pl.col("cycle") * scale)
    fates = fleet.units.with_columns(rul_at_end=pl.col("rul_at_end") * scale)
    scaled = Fleet.from_frame(frame, fleet.schema, units=fates.select("unit", "rul_at_end"))
    config = WindowConfig(length=3)
    want = WindowSet.build(table, fleet, LABELS, config, labelled_only=False)
    got = WindowSet.build(table, scaled, LabelConfig(cap=20.0 * scale,
        health_thresholds=(12.0 * scale, 5.0 * scale)), config, labelled_only=False)  # fmt: skip
    assert want.time_unit == 20.0 / 125.0
    assert got.time_unit == pytest.approx(scale * want.time_unit)
    for name in ("rul", "rul_uncapped", "survived"):
        a, b = getattr(want, name), getattr(got, name)
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)
    # One learned unit is 20/125 = 0.16: RUL 20 is 125, and uncapped 29 + 7 is 225.
    last = want.unit == 2
    assert want.rul[last].max() == pytest.approx(125.0)
    assert want.rul_uncapped is not None
    assert want.rul_uncapped[last].max() == pytest.approx((27.0 + 7.0) / 0.16)


def test_a_censored_window_carries_the_time_its_unit_survived() -> None:
    fleet, table = make([25, 6], left={0: None, 1: 10.0})
    every = WindowSet.build(table, fleet, LABELS, WindowConfig(length=1), labelled_only=False)
    assert every.survived is not None
    assert every.rul_uncapped is not None
    torch.testing.assert_close(
        every.survived * every.time_unit,
        torch.tensor([*range(24, -1, -1), *range(5, -1, -1)]) * 1.0,
    )
    assert every.rul_uncapped[:25].isnan().all()
    last = every.last_of_each_unit()
    assert last.survived is not None
    assert last.survived.tolist() == [0.0, 0.0]
    some = every.take(every.rul.isnan())
    assert some.ends.tolist() == list(range(5, 25))


@given(LENGTHS, st.integers(1, 6), st.integers(2, 5))
@settings(max_examples=40)
def test_a_window_of_row_steps_is_made_of_means_that_end_at_its_last_row(
    lengths: list[int], T: int, step: int
) -> None:
    fleet, table = make(lengths)
    windows = WindowSet.build(
        table, fleet, LABELS, WindowConfig(length=T, row_step=step), every_row=True
    )
    x = windows.gather(torch.arange(len(windows))).numpy()
    starts = np.repeat(table.starts, table.lengths)
    for end in range(len(windows)):
        want = []
        for back in range(T - 1, -1, -1):
            at = max(end - back * step, starts[end])
            want.append(table.rows[max(at - step + 1, starts[end]) : at + 1].mean(axis=0))
        np.testing.assert_allclose(x[end], want, rtol=1e-5, atol=1e-5)


def test_rows_per_unit_before_the_first_window_count_native_rows() -> None:
    fleet, table = make([40])
    config = WindowConfig(length=5, row_step=4)
    assert config.span == 20
    assert WindowSet.build(table, fleet, LABELS, config).ends.tolist() == list(range(19, 40))


def test_rows_are_shared_and_not_copied() -> None:
    fleet, table = make([400, 300])
    windows = WindowSet.build(table, fleet, LABELS, WindowConfig(length=50))
    assert windows.rows.data_ptr() == table.rows.ctypes.data
    assert windows.last_of_each_unit().rows.data_ptr() == table.rows.ctypes.data
    assert windows.rows.shape == (700, 2)
    bytes_of_index = sum(
        getattr(windows, k).nbytes for k in ("begins", "ends", "rul", "health", "unit")
    )
    assert bytes_of_index <= 36 * len(windows)


def test_to_keeps_everything() -> None:
    fleet, table = make([9, 4])
    windows = WindowSet.build(table, fleet, LABELS, WindowConfig(length=3))
    moved = windows.to("cpu")
    index = torch.arange(len(windows))
    for a, b in zip(windows.batch(index), moved.batch(index), strict=True):
        assert torch.equal(a, b)
    assert (moved.unit_ids, moved.length) == (windows.unit_ids, windows.length)


@pytest.mark.parametrize(
    ("subset", "count"),
    [("FD001", 17_731), ("FD002", 46_219), ("FD003", 21_820), ("FD004", 54_028)],
)
def test_published_counts(data_root: Path, subset: str, count: int) -> None:
    data = load_dataset(subset, root=data_root)
    prep = Preprocessor(
        PreprocessorConfig(n_conditions=1), default_sensors=data.default_sensors
    ).fit(data.train)
    windows = WindowSet.build(prep.transform(data.train), data.train, LabelConfig(), WindowConfig())
    assert len(windows) == count
    assert windows.n_channels == 14
    test = WindowSet.build(
        prep.transform(data.test), data.test, LabelConfig(), WindowConfig(), every_row=True
    )
    assert len(test.last_of_each_unit()) == data.test.n_units
