"""The training loop: epochs of steps, a schedule, a choice of checkpoint, and resuming.

Written by hand rather than left to a training framework: with task gradients taken by hand a
framework's optimisation, clipping and resuming are switched off anyway, and on a network of one
millisecond per step its hooks cost as much as the step.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grace.core.methods import Method
from grace.data.windows import WindowSet
from grace.models import DualTaskModel
from grace.training.averaging import weight_average
from grace.training.checkpoint import load_checkpoint, save_checkpoint
from grace.training.config import TrainingConfig
from grace.training.device import determinism, device_name, resolve_device, resolve_precision
from grace.training.history import Best, EpochRecord, FitResult, Progress
from grace.training.inference import predict_windows
from grace.training.jsonl_logger import JSONLLogger
from grace.training.rng import derived_seed, preserve_rng_state, seed_generators
from grace.training.schedule import LearningRate
from grace.training.step import NonFiniteLossError, TrainState, training_step

__all__ = [
    "Best",
    "EpochRecord",
    "FitResult",
    "Progress",
    "Trainer",
    "make_optimizer",
    "training_step",
]


@dataclass
class Trainer:
    """Trains a model by a method on windows.

    Every source of randomness starts from ``seed``: the global generators of torch are set inside
    :meth:`fit` and given back as they were.

    Args:
        model: a new network; left with the last epoch's raw weights.
        method: inner loss and balancer.
        config: how to train.
        seed: of data order, dropout and input noise.
        run_dir: where checkpoint and logs go; None keeps nothing on disk.
        fingerprint: what a checkpoint must match to be resumed from.
        on_progress: called after every step and every epoch.
    """

    model: DualTaskModel
    method: Method
    config: TrainingConfig
    seed: int = 0
    run_dir: Path | None = None
    fingerprint: str = ""
    on_progress: Callable[[Progress], None] | None = None

    def fit(self, train: WindowSet, monitors: Mapping[str, WindowSet], *, select: str) -> FitResult:
        """Train, or go on from the checkpoint in ``run_dir``.

        Args:
            train: training windows.
            monitors: windows to evaluate after each epoch, by name.
            select: the monitor that drives the schedule and early stopping.

        Raises:
            NonFiniteLossError: a loss became NaN or infinite; the units are named, and the last
                checkpoint, if there was one yet, is still there.
            ConfigError: the device is not available.
            CheckpointError: ``run_dir`` holds a checkpoint of another configuration.
        """
        device = resolve_device(self.config.device)
        with preserve_rng_state(device), determinism(self.config.deterministic, device):
            train = train.to(device)
            monitors = {name: windows.to(device) for name, windows in monitors.items()}
            return self._fit(train, monitors, select, device)

    def _fit(
        self,
        train: WindowSet,
        monitors: Mapping[str, WindowSet],
        select: str,
        device: torch.device,
    ) -> FitResult:
        cfg = self.config
        path = None if self.run_dir is None else self.run_dir / "checkpoint.pt"
        begun = None
        if path is not None and path.exists():
            begun = load_checkpoint(path, fingerprint=self.fingerprint)
        precision = begun["precision"] if begun else resolve_precision(cfg.precision, device)
        result = FitResult(
            {name: Best() for name in monitors}, [], False, device_name(device), precision
        )
        self.model.to(device)
        self.method.outer.to(device)
        self.method.outer.on_fit_start(target_std=float(train.rul.double().std(correction=0)))
        optimizer = make_optimizer(self.model, self.method, cfg)
        average = weight_average(self.model, cfg.ema_decay, warmup=cfg.ema_warmup)
        stepper = TrainState(
            self.model,
            self.method,
            optimizer,
            average,
            cfg.grad_clip,
            precision == "bf16",
            cfg.input_noise,
            cfg.offset_noise,
            None if train.offset_group is None else train.offset_group.to(device),
        )
        rate = LearningRate(optimizer, cfg)
        parts = {
            "model": self.model,
            "average": average,
            "balancer": self.method.outer,
            "optimizer": optimizer,
            "rate": rate,
        }
        journal = JSONLLogger(self.run_dir)
        if begun is not None:
            self._restore(begun, parts, result)
        logged = [asdict(record) for record in result.history]
        journal.rewind(logged[-1]["step"] if logged else 0, logged)

        for epoch in range(len(result.history), cfg.epochs):
            if result.stopped_early:
                break
            record = self._epoch(epoch, stepper, rate, train, monitors, result, journal)
            result.history.append(record)
            rate.after_epoch(epoch, record.rmse[select])
            waited = epoch - result.best[select].epoch
            patience = cfg.early_stopping_patience
            result.stopped_early = patience is not None and waited >= patience
            last = result.stopped_early or epoch == cfg.epochs - 1
            if path is not None and (last or (epoch + 1) % cfg.checkpoint_every == 0):
                save_checkpoint(path, self._state(parts, result))
            journal.epoch(asdict(record))
            if self.on_progress is not None:
                steps = record.step // (epoch + 1)
                self.on_progress(Progress(epoch, cfg.epochs, steps, steps, record))
        return result

    def _epoch(
        self,
        epoch: int,
        stepper: TrainState,
        rate: LearningRate,
        train: WindowSet,
        monitors: Mapping[str, WindowSet],
        result: FitResult,
        journal: JSONLLogger,
    ) -> EpochRecord:
        cfg, began, device = self.config, time.perf_counter(), train.ends.device
        rate.before_epoch(epoch)
        # An epoch draws from its own seed, so resuming at its start needs no generator states.
        seed_generators(device, derived_seed(self.seed, "noise", epoch))
        batches = self._order(epoch, len(train), device)
        sums = torch.zeros(2 + self.method.outer.n_tasks, device=device, dtype=torch.float64)
        for i, index in enumerate(batches):
            step = epoch * len(batches) + i
            every, logged = cfg.diagnose_every, step % cfg.log_every == 0
            diagnose = bool(every) and step % every == 0
            try:
                log = training_step(stepper, train.batch(index), diagnose=diagnose, log=logged)
            except NonFiniteLossError as error:
                raise error.located(f"epoch {epoch + 1}, step {step}", train.unit_ids) from None
            sums += torch.stack([log.loss, log.grad_norm, *log.losses])
            if logged:
                journal.step(step, log)
            if self.on_progress is not None:
                self.on_progress(Progress(epoch, cfg.epochs, i + 1, len(batches)))
        means = sums / len(batches)
        self.method.outer.on_epoch_end(means[2:].float())
        evaluated = stepper.average.module if stepper.average is not None else self.model
        rmse = {}
        for name, windows in monitors.items():
            rul, _ = predict_windows(evaluated, windows, batch_size=cfg.eval_batch_size)
            learned = float((rul - windows.rul.cpu()).double().square().mean().sqrt())
            rmse[name] = learned * windows.time_unit  # as all figures, in the fleet's unit
            if rmse[name] < result.best[name].rmse:
                weights = {k: v.detach().cpu().clone() for k, v in evaluated.state_dict().items()}
                result.best[name] = Best(epoch, rmse[name], weights)
        loss, grad_norm, rul_loss, health_loss = means[:4].tolist()
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
        )

    def _order(self, epoch: int, count: int, device: torch.device) -> list[Tensor]:
        """The batches of an epoch: a permutation that depends on seed and epoch alone."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
        order = torch.randperm(count, generator=generator).to(device)
        batches = list(order.split(self.config.batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()  # a batch of one has no batch statistics worth normalising by
        return batches[: self.config.steps_per_epoch]

    def _state(self, parts: Mapping[str, Any], result: FitResult) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "best": {name: asdict(best) for name, best in result.best.items()},
            "history": [asdict(record) for record in result.history],
            "stopped_early": result.stopped_early,
            "precision": result.precision,
        }

    @staticmethod
    def _restore(state: dict[str, Any], parts: Mapping[str, Any], result: FitResult) -> None:
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        result.best = {name: Best(**best) for name, best in state["best"].items()}
        result.history = [EpochRecord(**record) for record in state["history"]]
        result.stopped_early = state["stopped_early"]


def make_optimizer(
    model: DualTaskModel, method: Method, cfg: TrainingConfig
) -> torch.optim.Optimizer:
    """AdamW or Adam over the network, and over the balancer's parameters if it has any."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": cfg.lr}]
    balancer = list(method.outer.parameters())
    if balancer:  # a task weight is no network weight: it has its own rate and does not decay
        groups.append({"params": balancer, "lr": cfg.balancer_lr, "weight_decay": 0.0})
    kind = torch.optim.AdamW if cfg.optimizer == "adamw" else torch.optim.Adam
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return kind(groups, lr=cfg.lr, betas=(0.9, 0.999), weight_decay=cfg.weight_decay, fused=fused)


def copy_with_weights(model: DualTaskModel, weights: Mapping[str, Tensor]) -> DualTaskModel:
    """A copy of ``model`` on the CPU holding ``weights``, in evaluation mode."""
    clone = copy.deepcopy(model).cpu()
    clone.load_state_dict(dict(weights))
    return clone.eval()
