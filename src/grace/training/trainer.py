"""The training loop: epochs of steps, learning-rate schedule, checkpoint selection, resuming.

It does not use a training framework: methods that read the gradient of each task need manual
optimisation, which disables the framework's optimiser step, clipping and exact resuming, and its
hooks cost as much as the step of a small network (one millisecond).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from grace.core.methods import Method
from grace.data.windows import WindowSet
from grace.models import DualTaskModel
from grace.training.averaging import weight_average
from grace.training.callbacks import Callback, CallbackList, StepEnd, TrainStart
from grace.training.checkpoint import load_checkpoint, save_checkpoint
from grace.training.config import TrainingConfig
from grace.training.device import determinism, device_name, resolve_device, resolve_precision
from grace.training.history import Best, EpochRecord, FitResult
from grace.training.inference import predict_windows
from grace.training.jsonl_logger import JSONLLogger
from grace.training.parameters import flatten
from grace.training.rng import derived_seed, preserve_rng_state, seed_generators
from grace.training.schedule import LearningRate
from grace.training.step import NonFiniteLossError, TrainState, training_step
from grace.training.survival_task import survival_tasks
from grace.training.training_state import restore_training, stored_precision, training_state

__all__ = [
    "Best",
    "EpochRecord",
    "FitResult",
    "Trainer",
    "make_optimizer",
    "training_step",
]


@dataclass
class Trainer:
    """Trains a model by a method on windows.

    A network with a survival head is trained on three tasks; the method's balancer must weigh as
    many, and ``train`` may hold windows whose RUL is unknown.

    All randomness derives from ``seed``: :meth:`fit` seeds torch's global generators and restores
    their state afterwards.

    Args:
        model: a new network; left with the last epoch's raw weights.
        method: inner loss and balancer.
        config: how to train.
        seed: of data order, dropout and input noise.
        run_dir: folder of the checkpoint and the logs; None writes nothing to disk.
        fingerprint: identifies data and configuration; a checkpoint with another one is refused.
        callbacks: called at the start and end of training and after each step and epoch, see
            :class:`~grace.training.callbacks.Callback`. The JSON-lines log in ``run_dir`` is
            always written.
        name: of the run, for loggers; empty takes the name of ``run_dir``.
        parameters: what loggers shall store of the run, by dotted key (see
            :class:`~grace.training.callbacks.TrainStart`); has no effect on the training. Empty
            takes ``seed`` and the keys of ``config``.

    Example:
        >>> from grace.experiments.training_data import build_training_data, load_data
        >>> from grace.training import RunConfig
        >>> tiny = {"dataset_options": {"n_train": 6, "n_test": 2}, "model": {"lstm_hidden": 8}}
        >>> config = RunConfig.load(overrides={**tiny, "training": {"epochs": 1}})
        >>> data = build_training_data(config, load_data(config))
        >>> trainer = Trainer(data.model, config.method.build(), config.training, seed=config.seed)
        >>> result = trainer.fit(data.train, data.monitors, select="validation")
        >>> len(result.history), list(result.best)
        (1, ['validation'])
    """

    model: DualTaskModel
    method: Method
    config: TrainingConfig
    seed: int = 0
    run_dir: Path | None = None
    fingerprint: str = ""
    callbacks: Sequence[Callback] = ()
    name: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def fit(
        self, train: WindowSet, monitors: Mapping[str, WindowSet], *, select: str | None
    ) -> FitResult:
        """Train, or resume from the checkpoint in ``run_dir``.

        Args:
            train: training windows.
            monitors: windows to evaluate after each epoch, by name.
            select: the monitor that drives the schedule and early stopping. None: the training
                ends after the last epoch; the weights are then in ``final`` of the result. The
                schedule must be ``cosine``, which needs no monitor.

        Raises:
            ValueError: ``select`` is None, but the schedule needs a monitor.
            NonFiniteLossError: a loss became NaN or infinite; the message names the units. The
                last checkpoint is kept.
            ConfigError: the device is not available.
            CheckpointError: ``run_dir`` holds a checkpoint of another configuration.
            Exception: whatever a callback raises.
        """
        if select is None and self.config.schedule != "cosine":
            raise ValueError(
                f"schedule={self.config.schedule!r} needs a monitor: name it in select, or take "
                "schedule='cosine'"
            )
        device = resolve_device(self.config.device)
        with preserve_rng_state(device), determinism(self.config.deterministic, device):
            train = train.to(device)
            monitors = {name: windows.to(device) for name, windows in monitors.items()}
            return self._fit(train, monitors, select, device)

    def _fit(
        self,
        train: WindowSet,
        monitors: Mapping[str, WindowSet],
        select: str | None,
        device: torch.device,
    ) -> FitResult:
        cfg = self.config
        path = None if self.run_dir is None else self.run_dir / "checkpoint.pt"
        begun = None
        if path is not None and path.exists():
            begun = load_checkpoint(path, fingerprint=self.fingerprint)
        if path is not None and begun is not None:
            precision = stored_precision(begun, path)
        else:
            precision = resolve_precision(cfg.precision, device)
        result = FitResult(
            {name: Best() for name in monitors}, [], False, device_name(device), precision
        )
        self.model.to(device)
        self.method.outer.to(device)
        known = train.rul[~train.rul.isnan()]
        self.method.outer.on_fit_start(target_std=float(known.double().std(correction=0)))
        optimizer = make_optimizer(self.model, self.method, cfg)
        average = weight_average(self.model, cfg.ema_decay, warmup=cfg.ema_warmup)
        train_state = TrainState(
            self.model,
            self.method,
            optimizer,
            average,
            cfg.grad_clip,
            precision == "bf16",
            cfg.input_noise,
            cfg.offset_noise,
            None if train.offset_group is None else train.offset_group.to(device),
            survival_tasks(self.model),
        )
        rate = LearningRate(optimizer, cfg)
        parts = {
            "model": self.model,
            "average": average,
            "balancer": self.method.outer,
            "optimizer": optimizer,
            "rate": rate,
        }
        callbacks = CallbackList([JSONLLogger(), *self.callbacks])
        if path is not None and begun is not None:
            restore_training(begun, parts, result, path)
            callbacks.load_state_dict(begun["callbacks"])
        try:
            callbacks.on_train_start(self._start(result, len(train), tuple(monitors)))
            for epoch in range(len(result.history), cfg.epochs):
                if result.stopped_early:
                    break
                record = self._epoch(epoch, train_state, rate, train, monitors, result, callbacks)
                result.history.append(record)
                if select is not None:
                    rate.after_epoch(epoch, record.rmse[select])
                    waited = epoch - result.best[select].epoch
                    patience = cfg.early_stopping_patience
                    result.stopped_early = patience is not None and waited >= patience
                last = result.stopped_early or epoch == cfg.epochs - 1
                # Before the checkpoint, whose callback states must include this epoch. A kill in
                # between repeats the epoch, and on_train_start removes what was logged of it.
                callbacks.on_epoch_end(record)
                if path is not None and (last or (epoch + 1) % cfg.checkpoint_every == 0):
                    state = callbacks.state_dict()
                    save_checkpoint(path, training_state(self.fingerprint, parts, result, state))
            if select is None:
                result.final = _weights(_evaluated(train_state))
            callbacks.on_train_end(result)
        except BaseException as error:
            callbacks.on_exception(error)
            raise
        return result

    def _start(self, result: FitResult, windows: int, monitors: tuple[str, ...]) -> TrainStart:
        return TrainStart(
            self.config,
            self.model,
            tuple(result.history),
            len(self._order(0, windows, torch.device("cpu"))),
            monitors,
            self.run_dir,
            result.device,
            result.precision,
            self.name or (self.run_dir.name if self.run_dir is not None else ""),
            self.parameters
            or flatten({"seed": self.seed, "training": self.config.model_dump(mode="json")}),
        )

    def _epoch(
        self,
        epoch: int,
        train_state: TrainState,
        rate: LearningRate,
        train: WindowSet,
        monitors: Mapping[str, WindowSet],
        result: FitResult,
        callbacks: CallbackList,
    ) -> EpochRecord:
        cfg, began, device = self.config, time.perf_counter(), train.ends.device
        rate.before_epoch(epoch)
        # Each epoch has its own seed, so resuming needs no generator states.
        seed_generators(device, derived_seed(self.seed, "noise", epoch))
        batches = self._order(epoch, len(train), device)
        sums = torch.zeros(2 + self.method.outer.n_tasks, device=device, dtype=torch.float64)
        for i, index in enumerate(batches):
            step = epoch * len(batches) + i
            every, logged = cfg.diagnose_every, step % cfg.log_every == 0
            diagnose = bool(every) and step % every == 0
            try:
                log = training_step(train_state, train.batch(index), diagnose=diagnose, log=logged)
            except NonFiniteLossError as error:
                raise error.located(f"epoch {epoch + 1}, step {step}", train.unit_ids) from None
            sums += torch.stack([log.loss, log.grad_norm, *log.losses])
            callbacks.on_step_end(StepEnd(epoch, step, i + 1, log, logged))
        means = sums / len(batches)
        self.method.outer.on_epoch_end(means[2:].float())
        evaluated = _evaluated(train_state)
        rmse = {}
        for name, windows in monitors.items():
            rul, _ = predict_windows(evaluated, windows, batch_size=cfg.eval_batch_size)
            learned = float((rul - windows.rul.cpu()).double().square().mean().sqrt())
            rmse[name] = learned * windows.time_unit  # as all figures, in the fleet's unit
            if rmse[name] < result.best[name].rmse:
                result.best[name] = Best(epoch, rmse[name], _weights(evaluated))
        loss, grad_norm, rul_loss, health_loss, *other_losses = means.tolist()
        return EpochRecord(
            epoch=epoch,
            step=(epoch + 1) * len(batches),
            lr=rate.current,
            loss=loss,
            rul_loss=rul_loss,
            health_loss=health_loss,
            grad_norm=grad_norm,
            weights=self.method.outer.weights.tolist(),
            rmse=rmse,
            seconds=time.perf_counter() - began,
            other_losses=other_losses,
        )

    def _order(self, epoch: int, count: int, device: torch.device) -> list[Tensor]:
        """The batches of an epoch: a permutation that depends only on seed and epoch."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
        order = torch.randperm(count, generator=generator).to(device)
        batches = list(order.split(self.config.batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()  # batch norm needs more than one sample
        return batches[: self.config.steps_per_epoch]


def _evaluated(train_state: TrainState) -> nn.Module:
    """The network that predicts: the weight average, if there is one."""
    average = train_state.average
    return train_state.model if average is None else average.module


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


def make_optimizer(
    model: DualTaskModel, method: Method, cfg: TrainingConfig
) -> torch.optim.Optimizer:
    """AdamW or Adam over the network, and over the balancer's parameters if it has any."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": cfg.lr}]
    balancer = list(method.outer.parameters())
    if balancer:  # task weights have their own learning rate and no weight decay
        groups.append({"params": balancer, "lr": cfg.balancer_lr, "weight_decay": 0.0})
    kind = torch.optim.AdamW if cfg.optimizer == "adamw" else torch.optim.Adam
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return kind(groups, lr=cfg.lr, betas=(0.9, 0.999), weight_decay=cfg.weight_decay, fused=fused)


def copy_with_weights(model: DualTaskModel, weights: Mapping[str, Tensor]) -> DualTaskModel:
    """A copy of ``model`` on the CPU holding ``weights``, in evaluation mode."""
    clone = copy.deepcopy(model).cpu()
    clone.load_state_dict(dict(weights))
    return clone.eval()
