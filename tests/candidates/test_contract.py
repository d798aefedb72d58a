"""What every candidate of the registry must hold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from grace.candidates import CANDIDATES, SCREENED, Candidate, fit_each, predict_each
from grace.candidates.network import network_configuration
from grace.data import DataError, Fleet, FleetSchema
from grace.data.labels import LabelConfig
from grace.prediction.state_files import read_state, write_state
from grace.training.config import RunConfig

QUICK = [n for n in CANDIDATES if n not in SCREENED]
# The network is trained for each test: minutes.
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n == "network" else n for n in CANDIDATES]
CAP = 30.0


def make(
    *,
    n_units: int = 14,
    scale: float = 1.0,
    affine: tuple[float, float] = (1.0, 0.0),
    rename: Mapping[int, str] | None = None,
    reorder: bool = False,
    constant: bool = False,
    gaps: float = 0.0,
    seed: int = 0,
) -> Fleet:
    """Units of two groups whose wear grows with age over life; a third of them still running."""
    rng = np.random.default_rng(seed)
    rows, left, group = [], {}, []
    for u in range(n_units):
        life = int(rng.integers(25, 40)) * (1 if u % 2 else 2)
        seen = life if u % 3 else int(0.7 * life)
        t = np.arange(seen)
        wear = (t / life) ** 2
        rows.append(
            pl.DataFrame(
                {
                    "unit": [u] * seen,
                    "time": (t * scale).astype(float),
                    "load": np.where(u % 4 < 2, 1.0, 5.0) + rng.normal(0, 0.01, seen),
                    "a": affine[0] * (wear + rng.normal(0, 0.03, seen)) + affine[1],
                    "b": 2.0 - wear + rng.normal(0, 0.05, seen),
                }
            )
        )
        left[u] = 0.0 if u % 3 else None
        group.append("small" if u % 2 else "large")
    frame = pl.concat(rows)
    if gaps:
        hole = pl.Series(rng.random(frame.height) < gaps)
        frame = frame.with_columns(b=pl.when(hole).then(float("nan")).otherwise(pl.col("b")))
    sensors = ["a", "b"]
    if constant:
        frame, sensors = frame.with_columns(c=pl.lit(7.0)), ["a", "b", "c"]
    if reorder:
        sensors = sensors[::-1]
    ids = pl.Series("unit", list(range(n_units)))
    units = pl.DataFrame(
        {"unit": ids, "rul_at_end": pl.Series([left[u] for u in ids], dtype=pl.Float64),
         "size": group}
    )  # fmt: skip
    if rename is not None:
        names = {u: rename[u] for u in range(n_units)}
        frame = frame.with_columns(pl.col("unit").replace_strict(names, return_dtype=pl.String))
        units = units.with_columns(pl.col("unit").replace_strict(names, return_dtype=pl.String))
    schema = FleetSchema(
        unit="unit", time="time", settings=("load",), sensors=tuple(sensors), static=("size",),
        time_unit="hours",
    )  # fmt: skip
    return Fleet.from_frame(frame, schema, units=units)


def fitted(name: str, fleet: Fleet, cap: float = CAP) -> Candidate:
    return CANDIDATES[name]().fit(fleet, LabelConfig(cap=cap), seed=3)


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine epochs of the network instead of fifteen: enough for what is tested here."""

    def short(*args: Any, **options: Any) -> RunConfig:
        config = network_configuration(*args, **options)
        training = config.training.model_copy(update={"epochs": 9})
        return config.model_copy(update={"training": training})

    monkeypatch.setattr("grace.candidates.network.network_configuration", short)


@cache
def reference(name: str) -> tuple[Any, ...]:
    fleet = make()
    model = fitted(name, fleet)
    return fleet, model, model.predict(fleet)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_finite_and_within_the_labels(name: str) -> None:
    fleet, model, rul = reference(name)
    assert rul.shape == (fleet.n_rows,)
    assert np.isfinite(rul).all()
    assert (rul >= 0).all()
    assert (rul <= model.cap_).all()
    assert model.cap_ <= CAP


@pytest.mark.parametrize("name", [n for n in NAMES if n != "constant"])
def test_something_is_learned(name: str) -> None:
    fleet, _, rul = reference(name)
    truth = np.minimum(fleet.rul(), CAP)
    known = np.isfinite(truth)
    spread = truth[known].std()
    share = 0.99 if name == "median_life" else 0.9  # lives of the two groups differ twofold
    assert np.sqrt(np.mean((rul - truth)[known] ** 2)) < share * spread


@pytest.mark.parametrize("name", NAMES)
def test_no_row_sees_a_later_one(name: str) -> None:
    fleet, model, rul = reference(name)
    cut = fleet.truncate({u: 12.0 for u in fleet.unit_ids})
    kept = fleet.times() <= 12.0
    np.testing.assert_allclose(model.predict(cut), rul[kept], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_predicted_alone_as_in_company(name: str) -> None:
    fleet, model, rul = reference(name)
    alone = fleet.select([5])
    inside = fleet.frame.get_column("unit").to_numpy() == 5
    # Tables larger than memory are predicted in parts, with the same bits. A network multiplies
    # matrices, whose last bits depend on how many rows there are.
    rtol = 1e-6 if name.startswith("network") else 0.0
    np.testing.assert_allclose(model.predict(alone), rul[inside], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", NAMES)
def test_rows_asked_for_are_those_of_all(name: str) -> None:
    fleet, model, rul = reference(name)
    rows = np.array([40, 3, 11, 3], dtype=np.int64)
    np.testing.assert_allclose(model.predict(fleet, rows), rul[rows], rtol=1e-6, atol=1e-6)


SAME: dict[str, dict[str, Any]] = {
    "units renamed": {"rename": {u: f"z{(u * 5) % 14}" for u in range(14)}},
    "columns reordered": {"reorder": True},
    "constant column": {"constant": True},
    "other physical unit": {"affine": (1.8, 32.0)},
}
ALL_AT_ONCE = {key: value for change in SAME.values() for key, value in change.items()}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(pytest.param(n, c, id=f"{n}-{k}") for n in CANDIDATES if n != "network"
          for k, c in SAME.items()),
        pytest.param("network", ALL_AT_ONCE, id="network-all at once", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_means_the_same_is_predicted_the_same(name: str, change: dict[str, Any]) -> None:
    _, _, rul = reference(name)
    other = make(**change)
    again = fitted(name, other).predict(other)
    np.testing.assert_allclose(again, rul, rtol=1e-3, atol=1e-3 * CAP)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_scale_with_the_unit_of_time(name: str) -> None:
    _, _, rul = reference(name)
    seconds = make(scale=3600.0)
    again = fitted(name, seconds, cap=3600.0 * CAP).predict(seconds)
    np.testing.assert_allclose(again / 3600.0, rul, rtol=1e-3, atol=1e-3 * CAP)


@pytest.mark.parametrize("name", NAMES)
def test_missing_values_are_survived(name: str) -> None:
    fleet = make(gaps=0.3)
    model = fitted(name, fleet)
    assert np.isfinite(model.predict(fleet)).all()
    blind = Fleet.from_frame(
        fleet.frame.with_columns(a=pl.lit(float("nan")), b=pl.lit(float("nan"))),
        fleet.schema,
        units=fleet.units,
    )
    assert np.isfinite(model.predict(blind)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_model(name: str) -> None:
    fleet, _, rul = reference(name)
    np.testing.assert_array_equal(fitted(name, fleet).predict(fleet), rul)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_predicts_the_same(name: str, tmp_path: Path) -> None:
    fleet, model, rul = reference(name)
    write_state(tmp_path, name, model.to_state())
    again = CANDIDATES[name].from_state(read_state(tmp_path, name))
    np.testing.assert_array_equal(again.predict(fleet), rul)


def test_together_as_alone() -> None:
    fleet = reference("linear")[0]
    together = fit_each(QUICK, fleet, LabelConfig(cap=CAP), seed=3)
    rows = np.array([200, 3, 11, 3], dtype=np.int64)
    # Read from disk, equal features are different objects.
    together["linear"] = CANDIDATES["linear"].from_state(together["linear"].to_state())
    found = predict_each(together, fleet, rows)
    assert list(found) == QUICK
    for name in QUICK:
        np.testing.assert_allclose(found[name], reference(name)[2][rows], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_no_labels_no_model(name: str) -> None:
    running = make().select([0])  # still running, and observed for less than the cap
    with pytest.raises(DataError, match="Remedy"):
        CANDIDATES[name]().fit(running, LabelConfig(cap=100.0), seed=0)
