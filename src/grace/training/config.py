"""The configuration of a run: one typed object from Python, YAML and the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from grace.core.inner import build_inner_loss
from grace.core.methods import Method, build_method, parse_method
from grace.data.labels import LEARNED_CAP, LabelConfig
from grace.data.plain_values import check_plain, parse_yaml, read_yaml_text
from grace.data.preprocessing import PreprocessorConfig
from grace.data.readers import canonical_name
from grace.data.windows import WindowConfig
from grace.models import DualTaskModel
from grace.training.device import Precision
from grace.training.errors import ConfigError, explain_validation
from grace.training.presets import DEFAULT_PRESET, PRESETS

__all__ = [
    "MethodConfig",
    "ModelConfig",
    "RunConfig",
    "SurvivalConfig",
    "TrainingConfig",
    "deep_merge",
]

_Width = Annotated[int, Field(ge=1)]
# Values that do not change the result: a run can be resumed with other ones.
_NO_RESULT: dict[str, Any] = {
    "preset": True,
    "training": {"log_every": True, "eval_batch_size": True, "checkpoint_every": True},
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(_Section):
    """Sizes of the network; the defaults are the reference model."""

    lstm_hidden: int = Field(256, ge=1)
    num_heads: int = Field(8, ge=1)
    shared_dim: int = Field(32, ge=1)
    conv_channels: tuple[_Width, ...] = Field((64, 128, 64), min_length=1, max_length=100)
    lstm_layers: int = Field(2, ge=1, le=100)
    funnel_hidden: tuple[_Width, ...] = Field((256, 64), max_length=100)
    dropout_scale: float = Field(1.0, ge=0, le=3)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> ModelConfig:
        width = 2 * self.lstm_hidden
        if width % self.num_heads:
            fits = [n for n in range(1, 17) if width % n == 0]
            raise ValueError(
                f"num_heads = {self.num_heads} must divide 2 · lstm_hidden = {width}: "
                f"choose num_heads from {', '.join(map(str, fits))}, or another lstm_hidden"
            )
        return self

    def build(self, c_in: int, num_classes: int) -> DualTaskModel:
        """A new model, initialised from torch's global generator."""
        return DualTaskModel(c_in=c_in, num_classes=num_classes, **self.model_dump())


class MethodConfig(_Section):
    """A method by name, with options of its two halves (see ``grace methods``)."""

    name: str = "grace"
    inner_options: dict[str, Any] = Field(default_factory=dict)
    outer_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        parse_method(name)
        return name.strip().lower()

    @model_validator(mode="after")
    def _options_fit(self) -> MethodConfig:
        build_inner_loss(parse_method(self.name)[0], **self.inner_options)
        return self

    def check(self, n_tasks: int) -> None:
        """Refuse options that make no balancer of this many tasks.

        Raises:
            ValueError: an option is unknown or out of range, or is for another number of tasks.
        """
        try:
            balancer = self.build(n_tasks=n_tasks).outer
        except ImportError:
            return  # the missing package is reported when the method is built
        if balancer.n_tasks != n_tasks:
            raise ValueError(
                f"outer_options make a balancer of {balancer.n_tasks} tasks, not of {n_tasks}"
            )

    def build(self, cap: float = LEARNED_CAP, *, n_tasks: int = 2) -> Method:
        """A new method; the failure bias starts at the cap unless an option says otherwise.

        Args:
            cap: the label cap in learned units, as the losses see it.
            n_tasks: number of tasks: RUL, health, and the survival head where there is one.
        """
        inner, *_ = parse_method(self.name)
        options = dict(self.inner_options)
        if inner == "weighted_mse":
            options.setdefault("max_rul", cap)
        return build_method(
            self.name, inner_options=options, outer_options=self.outer_options, n_tasks=n_tasks
        )


class SurvivalConfig(_Section):
    """The survival head as a third task: hazards of failure over bins of uncapped remaining life.

    Args:
        enabled: train it; the balancer then weighs three tasks, and units still running
            contribute their likelihood.
        bin_growth: quotient of neighbouring bin edges beyond the first bins, which are one
            sampling step wide. The last edge is 1.3 times the longest life left in training.
    """

    enabled: bool = False
    bin_growth: float = Field(1.1, gt=1.0, le=4.0)


class TrainingConfig(_Section):
    """How long and how hard to train.

    Args:
        epochs: maximum number of passes over the training windows.
        steps_per_epoch: end an epoch after this many batches; None means all of them.
        batch_size: windows per step.
        optimizer: ``adamw`` or ``adam``.
        lr: peak learning rate.
        weight_decay: of ``optimizer``, on the network's parameters.
        balancer_lr: learning rate of a balancer's own parameters (uncertainty, gradnorm).
        warmup_epochs: epochs of linear warm-up, factor f + (1 − f)·e/warmup_epochs.
        warmup_factor: f.
        schedule: after the warm-up, ``plateau`` reduces the learning rate where validation RMSE
            stalls; ``cosine`` lets it fall along half a cosine until the last epoch, which needs
            no validation units.
        plateau_factor: learning-rate factor when validation RMSE stalls.
        plateau_patience: epochs without improvement before that.
        min_lr: lower end of the learning rate.
        grad_clip: limit of the gradient norm over all network parameters; None disables it.
        ema_decay: decay of the weight average, updated each step and used for evaluation;
            0 evaluates the raw weights.
        ema_warmup: let the decay grow as (1 + t)/(10 + t) up to ``ema_decay``, so that short runs
            are not averaged with the initial weights.
        input_noise: standard deviation of Gaussian noise on the inputs while training, in σ.
        offset_noise: standard deviation of a random shift per window and sensor while training, in
            σ. A network can otherwise recognise training units by their constant sensor offsets and
            memorise their lives. Changes relative to the offset are not affected.
        early_stopping_patience: stop after this many epochs without a better selection RMSE;
            None never stops early.
        precision: ``fp32``; ``bf16`` autocast of the network (losses and updates stay fp32);
            ``auto``, bf16 where the processor has units for it (AMX, AVX512-BF16, GPUs), else fp32.
        deterministic: refuse operations without a reproducible order.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` …
        eval_batch_size: windows per step of prediction; None chooses by device.
        log_every: steps between lines of the telemetry log.
        diagnose_every: steps between measurements of the task gradients (norms, ratio, cosine)
            for methods that do not read them anyway; each costs an extra backward pass; 0 never.
        checkpoint_every: epochs between checkpoints.
    """

    epochs: int = Field(500, ge=1)
    steps_per_epoch: int | None = Field(None, ge=1)
    batch_size: int = Field(256, ge=2)
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    balancer_lr: float = Field(0.025, gt=0)
    warmup_epochs: int = Field(10, ge=0)
    warmup_factor: float = Field(0.1, gt=0, le=1)
    schedule: Literal["plateau", "cosine"] = "plateau"
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    plateau_patience: int = Field(30, ge=0)
    min_lr: float = Field(5e-6, ge=0)
    grad_clip: float | None = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    ema_warmup: bool = False
    input_noise: float = Field(0.0, ge=0)
    offset_noise: float = Field(0.0, ge=0)
    early_stopping_patience: int | None = Field(100, ge=1)
    precision: Precision = "fp32"
    deterministic: bool = False
    device: str = "auto"
    eval_batch_size: int | None = Field(None, ge=1)
    log_every: int = Field(20, ge=1)
    diagnose_every: int = Field(200, ge=0)
    checkpoint_every: int = Field(1, ge=1)


class RunConfig(_Section):
    """Configuration of a run: every value that influences its result.

    Args:
        dataset: a name of ``grace data list``.
        dataset_options: options of that dataset's reader (the simulation's configuration, say).
        preset: the preset from which unset values were taken, for the record. The defaults of this
            class are those of ``paper``; :meth:`load` starts from ``fast`` if no preset is given.
        seed: initial weights, data order, dropout, and which units are held out.
        validation_fraction: share of the training units held out, by unit.
        select_on: ``validation`` chooses the checkpoint on held-out training units and reads the
            test set once at the end. ``test`` chooses it on the test set, as most published
            results do; every result of such a run is marked *test-selected, optimistic*.
        validation_rows: rows of the validation units whose RMSE drives schedule, early stopping
            and selection. ``all``: every row. ``truncated``: several truncations of each unit, as
            a test set of running units has one, and equal weight per unit.
        evaluate_baselines: also fit and evaluate the trivial baselines.
        survival: the survival head as a third task.

    Example:
        >>> config = RunConfig.load(preset="fast", overrides={"dataset": "FD001", "seed": 42})
        >>> config.dataset, config.method.name
        ('FD001', 'grace')
    """

    dataset: str = "sim"
    dataset_options: dict[str, Any] = Field(default_factory=dict)
    preset: str = "paper"
    seed: int = Field(42, ge=0, lt=2**32)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    select_on: Literal["validation", "test"] = "validation"
    validation_rows: Literal["all", "truncated"] = "all"
    evaluate_baselines: bool = True
    features: PreprocessorConfig = Field(default_factory=PreprocessorConfig)
    windows: WindowConfig = Field(default_factory=WindowConfig)
    labels: LabelConfig = Field(default_factory=LabelConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    method: MethodConfig = Field(default_factory=MethodConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    survival: SurvivalConfig = Field(default_factory=SurvivalConfig)

    @property
    def n_tasks(self) -> int:
        """Number of tasks that the balancer weighs."""
        return 3 if self.survival.enabled else 2

    @model_validator(mode="after")
    def _method_weighs_the_tasks(self) -> RunConfig:
        self.method.check(self.n_tasks)
        return self

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, given: Any) -> Any:
        check_plain(given)
        return given

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        return canonical_name(name)

    @classmethod
    def load(
        cls,
        *,
        preset: str | None = None,
        file: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> RunConfig:
        """Layer a preset, a YAML file and explicit values, the later winning.

        Args:
            preset: a name of ``PRESETS``; if None, the file's ``preset`` key, else
                ``DEFAULT_PRESET`` (``fast``).
            file: YAML with the keys of this class, nested.
            overrides: the same, as a mapping.

        Raises:
            ConfigError: the preset, the file or a key is unknown, or a value is out of range.
        """
        from_file: Mapping[str, Any] = {}
        if file is not None:
            from_file = _read_yaml(Path(file))
        for where, layer in ((f"{file}: ", from_file), ("", overrides or {})):
            try:
                check_plain(layer)
            except ValueError as error:
                raise ConfigError(f"{where}{error}") from error
        chosen = (
            preset or (overrides or {}).get("preset") or from_file.get("preset") or DEFAULT_PRESET
        )
        if not isinstance(chosen, str) or chosen not in PRESETS:
            raise ConfigError(f"unknown preset {chosen!r}: choose from {', '.join(PRESETS)}")
        merged: dict[str, Any] = {}
        for layer in (PRESETS[chosen].values, from_file, overrides or {}, {"preset": chosen}):
            merged = deep_merge(merged, layer)
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            hint = "`grace train --show-config` lists all keys"
            raise ConfigError(explain_validation(error, file, hint=hint)) from error

    def to_yaml(self) -> str:
        """The configuration as YAML that :meth:`load` reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def fingerprint(self) -> str:
        """SHA-256 of all values that can change the result, the device among them.

        Not included: the name of the preset, the intervals of logging and checkpoints, and the
        batch size of prediction. A run can be resumed with other values of these.
        """
        left_out = deep_merge(_NO_RESULT, self.unused_additions())
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()

    def unused_additions(self) -> dict[str, Any]:
        """Settings added later that are not used here, as ``exclude`` of ``model_dump``.

        Earlier runs have no such settings: without them a run keeps its fingerprint and stays
        comparable with those.
        """
        found: dict[str, Any] = {} if self.survival.enabled else {"survival": True}
        if self.training.schedule == "plateau":
            found["training"] = {"schedule": True}
        return found


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` replacing its own, section by section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = deep_merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_yaml(read_yaml_text(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8 ({error.reason})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content
