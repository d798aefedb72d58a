"""The units and windows that the network is trained and validated on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from grace.candidates import network
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset


def spread_over(unit: torch.Tensor) -> torch.Tensor:
    windows: Any = SimpleNamespace(unit=unit, take=lambda index: unit[index])
    return network._spread(windows)  # type: ignore[return-value]


def test_long_records_count_no_more_than_short_ones() -> None:
    chosen = spread_over(torch.tensor([0] * 500 + [1] * 40 + [2] * 7))
    assert torch.bincount(chosen).tolist() == [40, 40, 7]


def test_large_fleets_give_fewer_windows_per_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_VALIDATION_WINDOWS", 30)
    chosen = spread_over(torch.arange(10).repeat_interleave(100))
    assert torch.bincount(chosen).tolist() == [3] * 10
    monkeypatch.setattr(network, "_VALIDATION_WINDOWS", 1)
    assert torch.bincount(spread_over(torch.arange(10).repeat_interleave(5))).tolist() == [1] * 10


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[Any], set[str], Any]]:
    """Units trained on, monitors and selection of every training."""
    seen: list[tuple[set[Any], set[str], Any]] = []

    class Watched(network.Trainer):
        def fit(self, train: Any, monitors: Any, *, select: Any) -> Any:
            units = {train.unit_ids[u] for u in train.unit.tolist()}
            seen.append((units, set(monitors), select))
            return super().fit(train, monitors, select=select)

    monkeypatch.setattr(network, "Trainer", Watched)
    return seen


def short(fleet: Fleet, preset: str, method: str = "grace") -> network.Network:
    found = network.network_configuration
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            network,
            "network_configuration",
            lambda *a: (c := found(*a)).model_copy(
                update={"training": c.training.model_copy(update={"epochs": 1})}
            ),
        )
        return network.Network(method, preset).fit(fleet, LabelConfig(), seed=0)  # type: ignore[return-value]


def test_a_stacked_preset_learns_from_all_units(watched: list[Any]) -> None:
    fleet = load_dataset("sim", n_train=8, n_test=1).train
    short(fleet, "best")
    assert watched[-1] == (set(fleet.unit_ids), set(), None)
    short(fleet, "fast")
    units, monitors, select = watched[-1]
    assert units < set(fleet.unit_ids)
    assert (monitors, select) == ({"validation"}, "validation")


def test_a_stacked_preset_measures_gradients_on_every_tenth_step() -> None:
    fleet = load_dataset("sim", n_train=8, n_test=1).train
    configuration = network.network_configuration
    best = configuration(fleet, LabelConfig(), "grace", "best")
    assert best.method.outer_options == {"update_every": 10}
    assert best.training.schedule == "cosine"
    assert best.training.epochs <= 24
    assert best.features.trend_rows == ()
    assert configuration(fleet, LabelConfig(), "grace", "fast").method.outer_options == {}
    assert configuration(fleet, LabelConfig(), "amnl", "best").method.outer_options == {}


@pytest.mark.parametrize(
    ("units", "derived", "epochs", "steps"),
    [(8, 20, 15, 20), (100, 20, 24, 20), (208, 20, 24, 34), (300, 40, 24, 50), (600, 40, 24, 60)],
)
def test_more_units_take_more_steps_with_a_stacked_preset(
    units: int, derived: int, epochs: int, steps: int
) -> None:
    asked = {"epochs": 15 if units < 40 else 60, "steps_per_epoch": derived, "batch_size": 64}
    found = network.fixed_training(asked, units, "best")
    assert found == {"epochs": epochs, "steps_per_epoch": steps, "batch_size": 64}


def test_steps_of_a_stacked_preset_are_those_of_the_units_it_learns_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = load_dataset("sim", n_train=8, n_test=1).train
    monkeypatch.setattr(network, "_UNITS_PER_STEP", 0.25)
    best = network.network_configuration(fleet, LabelConfig(), "grace", "best")
    assert best.training.steps_per_epoch == 32
    fast = network.network_configuration(fleet, LabelConfig(), "grace", "fast")
    assert fast.training.steps_per_epoch == 20


def test_a_large_fleet_measures_gradients_on_every_tenth_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = load_dataset("sim", n_train=8, n_test=1).train
    monkeypatch.setattr(network, "LARGE_FLEET", 8)
    large = network.network_configuration(fleet, LabelConfig(), "grace", "fast")
    assert large.method.outer_options == {"update_every": 10}
    amnl = network.network_configuration(fleet, LabelConfig(), "amnl", "fast")
    assert amnl.method.outer_options == {}
    monkeypatch.setattr(network, "LARGE_FLEET", 9)
    small = network.network_configuration(fleet, LabelConfig(), "grace", "fast")
    assert small.method.outer_options == {}
