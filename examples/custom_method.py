"""A balancer and an inner loss of your own, registered by name and used like any other.

After registration every pair works: ``build_method("log_cosh+larger_first")``, configurations,
``grace.run``. Registration is per process: put it in a module that you import before training.
"""

import torch
from torch import Tensor

import grace
from grace.core import LossBalancer, build_method
from grace.core.inner import INNER_LOSSES
from grace.core.methods import OUTER_METHODS, OuterMethod


def log_cosh_loss(pred: Tensor, target: Tensor, scale: float = 10.0) -> Tensor:
    """Quadratic for small errors, linear for large ones; ``scale`` in the unit of RUL."""
    d = (pred.reshape(-1) - target.reshape(-1)) / scale
    return scale**2 * (d + torch.nn.functional.softplus(-2.0 * d) - 0.6931472).mean()


class LargerFirst(LossBalancer):
    """More weight for the task whose loss has fallen less since the first step."""

    first: Tensor

    def __init__(self, n_tasks: int = 2, temperature: float = 1.0) -> None:
        super().__init__(n_tasks)
        self.temperature = temperature
        # State in buffers: it moves with the model and is restored from checkpoints.
        self.register_buffer("first", torch.zeros(n_tasks))

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ λ_i L_i with λ from the relative losses."""
        if self.training and not self.first.any():
            self.first.copy_(losses.detach())
        relative = losses.detach() / self.first.clamp_min(1e-12)
        return self._apply_weights(losses, torch.softmax(relative / self.temperature, dim=0))

    def init_options(self) -> dict[str, object]:
        """Arguments that build an equal balancer."""
        return {**super().init_options(), "temperature": self.temperature}


INNER_LOSSES["log_cosh"] = log_cosh_loss
OUTER_METHODS["larger_first"] = OuterMethod(LargerFirst, "more weight for the slower task")

method = build_method("log_cosh+larger_first", outer_options={"temperature": 0.5})
print(method.name, method.outer)

config = grace.RunConfig.load(
    overrides={
        "method": {"name": "log_cosh+larger_first", "inner_options": {"scale": 15.0}},
        "dataset_options": {"n_train": 8, "n_test": 4},
        "model": {"lstm_hidden": 8},
        "training": {"epochs": 1},
        "evaluate_baselines": False,
    }
)
result = grace.run(config, "runs/custom_method")
print(f"RMSE {result.evaluation.rmse:.1f} {result.evaluation.protocol.time_unit}")
