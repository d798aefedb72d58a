"""What ``RULModel.fit`` learns from a fleet: comparison out of fold, stack, final candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from grace.candidates import (
    SCREENED,
    STACKED_CANDIDATES,
    CandidateOptions,
    EarlyShift,
    Stack,
    fit_each,
    out_of_fold,
)
from grace.candidates.network import Network, fixed_training
from grace.data.defaults import LARGE_FLEET, FleetDefaults, derive_defaults
from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor, PreprocessorConfig
from grace.data.splits import kfold_units
from grace.data.table import TableSchema
from grace.estimator.fold_models import FoldModels
from grace.estimator.inputs import with_conditions
from grace.estimator.saved_model import STACK, Learned
from grace.estimator.stacking import MIN_ROWS_PER_UNIT, fit_stack
from grace.training.config import RunConfig
from grace.training.presets import DEFAULT_PRESET, PRESETS
from grace.uncertainty import fit_distribution

__all__ = ["DEFAULT_METHOD", "candidate_options", "learn"]

DEFAULT_METHOD = "grace"
_FOLDS = 5


def candidate_options(params: Mapping[str, Any]) -> CandidateOptions:
    """Arguments of the candidates' constructors, from the parameters of a ``RULModel``.

    Raises:
        ConfigError: ``method`` or ``preset`` is unknown.
        ValueError: they differ from the defaults, but the network does not take part.
    """
    method, preset = params["method"], params["preset"]
    RunConfig.load(preset=preset, overrides={"method": {"name": method}})
    if params["candidates"] is not None and Network.name not in params["candidates"]:
        for name, default in (("method", DEFAULT_METHOD), ("preset", DEFAULT_PRESET)):
            if params[name] != default and not (name == "preset" and PRESETS[preset].stacked):
                raise ValueError(
                    f"{name}={params[name]!r} is a setting of the network, which is not among the "
                    f"candidates: add {Network.name!r} to candidates, or leave {name} out"
                )
    return {Network.name: {"method": method, "preset": preset}}


def _folds(fleet: Fleet, defaults: FleetDefaults) -> tuple[int, str]:
    """Number of folds in which the candidates are compared, and why."""
    known = fleet.n_known
    of = f"{known} units of known life"
    if known >= LARGE_FLEET:
        return 2, f"2 folds by unit: half of {of} teaches as much as four fifths, in less time."
    if defaults.validation == "kfold":
        return defaults.n_folds, defaults.reasons["validation"]
    return _FOLDS, f"{_FOLDS} folds by unit: {of}, each predicted by a model that never saw it."


def _stacked_reasons(defaults: FleetDefaults, fold: Fleet, preset: str) -> dict[str, str]:
    """Reasons of the settings of a stacked preset.

    Its networks are those of the folds, so their settings are derived from the units of a fold;
    no units are held out to choose an epoch.

    Args:
        defaults: those of the whole fleet, which the labels are from.
        fold: units that the network of the first fold learns from.
        preset: its name.
    """
    try:
        derived = derive_defaults(fold, cap=defaults.get("labels.cap"))
    except DataError:  # too little to train a network on, so no candidate is one
        derived = defaults
    unused = ("validation_fraction", "features.trend_rows")
    found = {k: v for k, v in derived.reasons.items() if k not in unused}
    found |= {k: v for k, v in defaults.reasons.items() if k.startswith("labels.")}
    fixed = fixed_training(derived.values["training"], fold.n_known, preset)
    found["training.epochs"] = (
        f"{fixed['epochs']} epochs, in which the learning rate falls to its lower end: no units "
        "are held out to choose an epoch, so that the network learns from all of them."
    )
    found["training.steps_per_epoch"] = (
        f"{fixed['steps_per_epoch']} steps per epoch: more with more units. The network of the "
        f"first fold learns from {fold.n_known} of known life."
    )
    return found


def learn(
    fleet: Fleet,
    table_schema: TableSchema | None,
    params: Mapping[str, Any],
    *,
    store: Path | None,
    progress: Callable[[str, int], None] | None,
) -> tuple[Learned, pl.DataFrame]:
    """The learned state, and the out-of-fold predictions it rests on; see ``RULModel.fit``.

    Raises:
        DataError: fewer than two units have a known life.
        ValueError: a parameter is unknown or out of range.
    """
    options, seed = candidate_options(params), params["seed"]
    defaults = derive_defaults(fleet, cap=params["cap"])
    labels = LabelConfig.model_validate(defaults.values["labels"])
    n_folds, reason = _folds(fleet, defaults)
    # The models of the folds predict new units themselves, or new ones are fitted on all units.
    models = FoldModels() if PRESETS[params["preset"]].stacked else None
    left_out: dict[str, str] = {}
    folds = kfold_units(fleet, n_folds, seed=seed)
    oof = out_of_fold(
        fleet,
        labels,
        folds,
        candidates=STACKED_CANDIDATES
        if models is not None and params["candidates"] is None
        else params["candidates"],
        options=options,
        seed=seed,
        per_unit=max(params["rows_per_unit"], MIN_ROWS_PER_UNIT if models else 0),
        store=store,
        progress=progress,
        models=models,
        screened=SCREENED if params["candidates"] is None and models is None else (),
        on_left_out=left_out.__setitem__,
    )
    early: EarlyShift | None = None
    if models is None:
        reasons = dict(defaults.reasons)
        stack = Stack().fit(oof)
        predicted = stack.predict({name: oof[name].to_numpy() for name in stack.used})
    else:
        stack, early, predicted = fit_stack(oof, labels)
        reasons = _stacked_reasons(defaults, fleet.select(folds[0].train), params["preset"])
    used = stack.used
    # Compares the inputs of a prediction with those of training; predicts nothing.
    input_check = Preprocessor(
        PreprocessorConfig(missing_channel="fill", unseen="nearest", robust_limits=True),
        default_conditions="auto" if fleet.schema.settings else 1,
    ).fit(fleet)
    oof = with_conditions(oof.with_columns(pl.Series(STACK, predicted)), fleet, input_check)
    learned = Learned(
        fleet_schema=fleet.schema,
        table_schema=table_schema,
        labels=labels,
        reasons={**reasons, "validation": reason},
        left_out=left_out,
        candidates=fit_each(list(used), fleet, labels, seed=seed, options=options)
        if models is None
        else {name: models.mean(name) for name in used},
        stack=stack,
        early=early,
        distribution=fit_distribution(oof, STACK, candidates=list(used) if len(used) > 1 else ()),
        input_check=input_check,
        static=fleet.units.select("unit", *fleet.schema.static),
        provenance={
            "source": asdict(fleet.source),
            "content_hash": fleet.content_hash(),
            "n_units": fleet.n_units,
            "n_failed": int(fleet.units["failed"].sum()),
            "n_rows": fleet.n_rows,
            "issues": [i.message for i in fleet.issues if i.severity == "warning"],
        },
        summary=stack.summary(fleet.schema.time_unit),
    )
    return learned, oof
