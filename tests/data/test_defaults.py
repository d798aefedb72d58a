"""Settings derived from a fleet: scale-free, with reasons, usable from 9 to 3,000 rows a unit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from grace.data import DataError, Fleet, FleetSchema
from grace.data.defaults import derive_defaults
from grace.data.labels import LabelConfig
from grace.data.learnable import check_learnable
from grace.data.preprocessing import Preprocessor, PreprocessorConfig
from grace.data.readers import load_dataset
from grace.data.windows import WindowConfig, WindowSet
from grace.training.config import RunConfig


def fleet(
    n_units: int, rows: int, *, step: float = 1.0, censored: int = 0, spread: float = 0.2
) -> Fleet:
    """Units of about ``rows`` rows with a wearing sensor; the last ones are still running."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(2, (rows * (1 + spread * rng.uniform(-1, 1, n_units))).astype(int))
    unit = np.repeat(np.arange(n_units), lengths)
    age = np.concatenate([np.arange(n) for n in lengths])
    wear = age / np.repeat(lengths, lengths)
    frame = pl.DataFrame(
        {"unit": unit, "t": age * step, "x": wear + 0.1 * rng.normal(size=len(unit))}
    )
    fates = {u: 0.0 if u < n_units - censored else None for u in range(n_units)}
    return Fleet.from_frame(
        frame, FleetSchema(time="t", sensors=("x",), time_unit="h"), rul_at_end=fates
    )


SIZES = {
    "nine rows": (60, 9, 1.0, 0),
    "dense": (30, 3000, 0.1, 0),
    "few": (5, 120, 1.0, 0),
    "censored": (50, 100, 24.0, 30),
    "many": (600, 40, 1.0, 0),
}


@pytest.mark.parametrize("case", SIZES)
def test_defaults_are_a_valid_configuration_that_gives_usable_windows(case: str) -> None:
    n, rows, step, censored = SIZES[case]
    units = fleet(n, rows, step=step, censored=censored)
    found = derive_defaults(units)
    config = RunConfig.load(overrides=found.values)
    assert config.labels.cap == pytest.approx(0.6 * rows * step, rel=0.15)
    prep = Preprocessor(config.features).fit(units)
    table = prep.transform(units)
    windows = WindowSet.build(table, units, config.labels, config.windows)
    check_learnable(windows, config.labels, source=case)
    assert len(windows) >= 4 * (n - censored)
    assert len(windows) // config.training.batch_size >= 4
    padded = windows.ends - windows.begins + 1 < config.windows.span
    assert padded.float().mean() < 0.5
    # A window spans a stretch of life in which something changes, a tenth at least.
    assert 0.1 < config.windows.span / rows < 0.5


def test_the_scheme_follows_the_number_of_known_lives() -> None:
    assert derive_defaults(fleet(3, 50)).n_folds == 3
    assert derive_defaults(fleet(39, 50)).validation == "kfold"
    assert derive_defaults(fleet(40, 50)).validation == "holdout"
    assert derive_defaults(fleet(60, 50, censored=30)).validation == "kfold"


def test_every_value_has_a_reason_of_one_sentence() -> None:
    found = derive_defaults(fleet(12, 200))

    def keys(values: object, place: str = "") -> list[str]:
        if not isinstance(values, dict):
            return [place]
        return [k for name, v in values.items() for k in keys(v, f"{place}.{name}".strip("."))]

    assert set(found.reasons) == {*keys(found.values), "validation"}
    assert all(reason and "\n" not in reason for reason in found.reasons.values())
    assert found.reasons["labels.cap"].startswith("0.6 of the median known life, ")


@pytest.mark.parametrize("scale", [3600.0, 1e-6])
def test_defaults_scale_with_the_unit_of_time(scale: float) -> None:
    one, other = derive_defaults(fleet(20, 80)), derive_defaults(fleet(20, 80, step=scale))
    assert other.get("labels.cap") == pytest.approx(scale * one.get("labels.cap"))
    assert other.get("features.age_scale") == pytest.approx(scale * one.get("features.age_scale"))
    for key in one.reasons:
        if key not in (
            "labels.cap",
            "labels.health_thresholds",
            "features.age_scale",
            "validation",
        ):
            assert one.get(key) == other.get(key), key


def test_a_known_life_left_counts_as_a_known_life() -> None:
    frame = fleet(4, 50, spread=0.0).frame
    schema = FleetSchema(time="t", sensors=("x",), time_unit="h")
    units = Fleet.from_frame(frame, schema, rul_at_end=dict.fromkeys(range(4), 50.0))
    assert derive_defaults(units).get("labels.cap") == pytest.approx(60.0)


def test_a_fleet_without_known_lives_is_refused() -> None:
    with pytest.raises(DataError, match="only 1 of 6 units have a known life"):
        derive_defaults(fleet(6, 50, censored=5))
    short = fleet(6, 50).frame.group_by("unit", maintain_order=True).first()
    with pytest.raises(DataError, match="every unit has one row"):
        derive_defaults(Fleet.from_frame(short, FleetSchema(time="t", sensors=("x",))))
    with pytest.raises(ValueError, match="cap=-1"):
        derive_defaults(fleet(6, 50), cap=-1)


def windows_of(units: Fleet, labels: LabelConfig, config: WindowConfig) -> WindowSet:
    table = Preprocessor(PreprocessorConfig(n_conditions=1)).fit(units).transform(units)
    return WindowSet.build(table, units, labels, config)


@pytest.mark.parametrize(
    ("labels", "config", "rows", "cause"),
    [
        (LabelConfig(), WindowConfig(length=30), 9, "have the same RUL, 0 .*min_history"),
        (LabelConfig(cap=1e-3), WindowConfig(length=1), 2, None),
        (
            LabelConfig(cap=90.0),
            WindowConfig(length=200, min_history=5),
            90,
            "is padded: the longest history has 90 rows",
        ),
        (LabelConfig(), WindowConfig(length=5), 60, "no training window is in health class 0"),
        (LabelConfig(cap=40.0), WindowConfig(length=5), 60, None),
    ],
)
def test_windows_without_information_are_refused_with_the_cause(
    labels: LabelConfig, config: WindowConfig, rows: int, cause: str | None
) -> None:
    windows = windows_of(fleet(10, rows, spread=0.0), labels, config)
    if cause is None and labels.cap > 1:
        check_learnable(windows, labels, source="pumps")
        return
    with pytest.raises(DataError, match=cause or "health class 1") as caught:
        check_learnable(windows, labels, source="pumps")
    assert str(caught.value).startswith("pumps: ")


def test_no_window_or_only_the_cap_is_refused() -> None:
    labels = LabelConfig(cap=20.0)
    windows = windows_of(fleet(10, 60, spread=0.0), labels, WindowConfig(length=5))
    with pytest.raises(DataError, match="no training window has a known RUL"):
        check_learnable(windows.take(torch.arange(0)), labels)
    with pytest.raises(DataError, match=r"same RUL, 20 .*raise labels\.cap"):
        check_learnable(windows.take(windows.rul == 125.0), labels)


def test_a_large_fleet_trains_in_fewer_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = load_dataset("sim", n_train=45, n_test=1).train
    usual = derive_defaults(fleet).values["training"]["epochs"]
    monkeypatch.setattr("grace.data.defaults.LARGE_FLEET", 45)
    assert derive_defaults(fleet).values["training"]["epochs"] == 20 < usual
