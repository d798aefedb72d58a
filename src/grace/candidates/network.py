"""The multi-task network as a candidate; its size depends on the fleet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from grace.candidates.base import Array, Candidate, Index, State
from grace.candidates.shared import SharedFeatures
from grace.core.gaba import GABALoss
from grace.data.defaults import LARGE_FLEET, derive_defaults
from grace.data.feature_table import FeatureTable
from grace.data.fleet import Fleet
from grace.data.input_flags import InputWarning
from grace.data.labels import LabelConfig
from grace.data.learnable import check_learnable
from grace.data.preprocessing import Preprocessor
from grace.data.splits import split_units
from grace.data.windows import WindowSet
from grace.models import DualTaskModel
from grace.training.config import MethodConfig, RunConfig, deep_merge
from grace.training.inference import predict_windows
from grace.training.presets import DEFAULT_PRESET, PRESETS
from grace.training.rng import derived_seed, preserve_rng_state, seed_generators
from grace.training.trainer import Trainer, copy_with_weights

__all__ = ["Network", "fixed_training", "network_configuration"]

_GRID = 4096.0  # inputs are rounded to this fraction of a standard deviation
_CHUNK_ROWS = 100_000  # rows preprocessed at a time when predicting
_MAX_SENSORS = 48
# Steps between measurements of the gradient norms, with stacked presets and large fleets.
_UPDATE_EVERY = 10
# Steps per epoch of a stacked preset: docs/accuracy.md. The limit was not tuned.
_UNITS_PER_STEP, _MOST_STEPS = 6, 60
_VALIDATION_PER_UNIT = 40
_VALIDATION_WINDOWS = 4000  # evaluated after every epoch, which would take longer than the training


class Network(Candidate):
    """RUL and health state of windows of sensor history, by one shared network.

    Window length, row spacing, features, network size and training length are those that
    :func:`~grace.data.defaults.derive_defaults` reads off the fleet. A part of the units is held
    out to choose the epoch; where units are few, the mean of several networks with different
    parts held out is taken. With a stacked preset nothing is held out: the learning rate falls to
    its lower end in a fixed number of epochs, and the last weights are taken.

    Inputs are rounded to 1/4096 of a standard deviation: rounding errors, such as another
    physical unit of a sensor brings, would otherwise grow during training.

    Args:
        method: inner loss and balancer by name, see ``grace methods``.
        preset: a name of :data:`~grace.training.presets.PRESETS`. ``fast`` and
            ``best`` are sized by the fleet; of the others network and training are as named,
            features and windows by the fleet.

    Attributes:
        config_: configuration of the training.
        preprocessor_: from a fleet to inputs, fitted on all training units.
        networks_: the trained networks, on the CPU.
    """

    name = "network"
    description = "multi-task network on windows of sensor history"
    revision = 2
    config_: RunConfig
    preprocessor_: Preprocessor
    networks_: tuple[DualTaskModel, ...]

    def __init__(self, method: str = "grace", preset: str = DEFAULT_PRESET) -> None:
        self.method = method
        self.preset = preset

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        if not np.isfinite(labels.cap):
            labels = LabelConfig(cap=max(self.cap_, 1e-300))
        self.config_ = network_configuration(fleet, labels, self.method, self.preset, shared, seed)
        self.preprocessor_ = Preprocessor(
            self.config_.features, default_conditions="auto" if fleet.schema.settings else 1
        ).fit(fleet)
        table = self._table(fleet)
        members = 2 if fleet.n_known < 40 else 1
        self.networks_ = tuple(self._train(fleet, table, seed + 1000 * i) for i in range(members))

    def _train(self, fleet: Fleet, table: FeatureTable, seed: int) -> DualTaskModel:
        config = self.config_
        selects = config.training.schedule == "plateau"
        held_out = set(
            split_units(fleet, config.validation_fraction, seed=seed).validation if selects else ()
        )
        windows = WindowSet.build(table, fleet, config.labels, config.windows)
        is_held = torch.tensor([u in held_out for u in windows.unit_ids])[windows.unit]
        train = windows.take(~is_held)
        check_learnable(train, config.labels, source=fleet.name)
        cpu = torch.device("cpu")
        with preserve_rng_state(cpu):
            seed_generators(cpu, derived_seed(seed, "weights"))
            model = config.model.build(windows.n_channels, config.labels.n_classes)
        model.rul_head.start_at(float(train.rul.mean()))
        trainer = Trainer(model, config.method.build(), config.training, seed=seed)
        if not selects:
            return copy_with_weights(model, trainer.fit(train, {}, select=None).final)
        every = WindowSet.build(table, fleet, config.labels, config.windows, every_row=True)
        is_held = torch.tensor([u in held_out for u in every.unit_ids])[every.unit]
        result = trainer.fit(
            train, {"validation": _spread(every.take(is_held))}, select="validation"
        )
        return copy_with_weights(model, result.best["validation"].weights)

    def _table(self, fleet: Fleet) -> FeatureTable:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # the estimator reports unusual inputs
            table = self.preprocessor_.transform(fleet)
        return replace(table, rows=np.round(table.rows * np.float32(_GRID)) / np.float32(_GRID))

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        out = np.empty(len(rows))
        lengths, starts = fleet.lengths(), fleet.starts()
        order = np.argsort(rows, kind="stable")
        asked = rows[order]
        owner = np.searchsorted(starts, asked, side="right") - 1
        wanted = np.unique(owner)
        part_of = np.cumsum(lengths[wanted]) // _CHUNK_ROWS
        ids = fleet.unit_ids
        for part in np.unique(part_of):
            units = wanted[part_of == part]
            piece = fleet.select([ids[u] for u in units])
            mine = np.isin(owner, units)
            begins = np.cumsum(lengths[units]) - lengths[units]
            number = np.searchsorted(units, owner[mine])
            inside = begins[number] + asked[mine] - starts[owner[mine]]
            windows = WindowSet.build(
                self._table(piece),
                piece,
                self.config_.labels,
                self.config_.windows,
                every_row=True,
                labelled_only=False,
            ).take(torch.from_numpy(inside))
            mean = torch.stack([predict_windows(m, windows)[0] for m in self.networks_]).mean(0)
            out[order[mine]] = self.config_.labels.from_learned(mean.double().numpy())
        return out

    def _state(self) -> State:
        return {
            "config": self.config_.model_dump(mode="json"),
            "preprocessor": self.preprocessor_.to_dict(),
            "c_in": [m.c_in for m in self.networks_],
            "weights": [
                {k: v.detach().cpu().numpy() for k, v in m.state_dict().items()}
                for m in self.networks_
            ],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.config_ = RunConfig.model_validate(state["config"])
        self.method, self.preset = self.config_.method.name, self.config_.preset
        self.preprocessor_ = Preprocessor.from_dict(state["preprocessor"])
        networks = []
        for c_in, weights in zip(state["c_in"], state["weights"], strict=True):
            with preserve_rng_state(torch.device("cpu")):
                model = self.config_.model.build(int(c_in), self.config_.labels.n_classes)
            model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
            networks.append(model.eval())
        self.networks_ = tuple(networks)


def network_configuration(
    fleet: Fleet,
    labels: LabelConfig,
    method: str,
    preset: str,
    shared: SharedFeatures | None = None,
    seed: int = 0,
) -> RunConfig:
    """Configuration of the network for a fleet: derived from it where the preset leaves it open."""
    values = dict(derive_defaults(fleet, cap=labels.cap).values)
    outer_options: dict[str, int] = {}
    if PRESETS[preset].stacked:
        values["training"] = fixed_training(values["training"], fleet.n_known, preset)
        # Held-out engines of FD002 and FD004: trend channels gained nothing and cost time.
        values["features"] = {**values["features"], "trend_rows": ()}
    elif preset != DEFAULT_PRESET:
        values = {k: v for k, v in values.items() if k not in ("model", "training")}
    known = fleet.n_known
    if (PRESETS[preset].stacked or known >= LARGE_FLEET) and isinstance(
        MethodConfig(name=method).build().outer, GABALoss
    ):
        outer_options["update_every"] = _UPDATE_EVERY
    sensors = None
    if len(fleet.schema.sensors) > _MAX_SENSORS and shared is not None:
        sensors = shared.features.sensors_
    return RunConfig.load(
        preset=preset,
        overrides=deep_merge(
            values,
            {
                "preset": preset,
                "method": {"name": method, "outer_options": outer_options},
                "labels": labels.model_dump(),
                "features": {"sensors": sensors},
                "seed": seed,
            },
        ),
    )


def fixed_training(derived: Mapping[str, Any], n_known: int, preset: str) -> dict[str, Any]:
    """Training section of a stacked preset, whose length is fixed beforehand.

    The preset's number of epochs, or fewer where the fleet asks for fewer; one step per epoch for
    every six units of known life, within limits.
    """
    steps = max(derived["steps_per_epoch"], n_known // _UNITS_PER_STEP)
    return {
        **derived,
        "epochs": min(derived["epochs"], int(PRESETS[preset].values["training"]["epochs"])),
        "steps_per_epoch": min(steps, _MOST_STEPS),
    }


def _spread(windows: WindowSet) -> WindowSet:
    """At most some windows per unit, evenly spaced: long records count no more than short ones."""
    order = torch.argsort(windows.unit, stable=True)
    sizes = torch.unique_consecutive(windows.unit[order], return_counts=True)[1]
    most = min(_VALIDATION_PER_UNIT, max(1, _VALIDATION_WINDOWS // len(sizes)))
    chosen = []
    for at in order.split(sizes.tolist()):
        count = min(len(at), most)
        chosen.append(at[((torch.arange(count) + 0.5) * len(at) / count).long()])
    return windows.take(torch.cat(chosen))
