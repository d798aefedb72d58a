"""GABA in a training loop of your own: plain PyTorch, two tasks, one shared trunk.

``grace.core`` needs PyTorch only. The balancer reads the norm of each task's gradient on the shared
parameters; the same gradients, combined with the weights, are the gradient of the weighted sum, so
no third backward pass is needed.
"""

import torch
from torch import nn

from grace.core import GABALoss, moderate_weighted_mse_loss
from grace.core.gradient_utils import (
    combine_gradients,
    get_head_params,
    get_shared_params,
    task_gradients,
)


class Network(nn.Module):
    """A trunk with a RUL head and a health head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.rul_head = nn.Linear(16, 1)
        self.health_head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """RUL (B,) and health logits (B, 3)."""
        z = self.trunk(x)
        return self.rul_head(z).squeeze(1), self.health_head(z)


torch.manual_seed(0)
x = torch.randn(1024, 8)
rul = (60 + 25 * x[:, 0] + 10 * x[:, 1]).clamp(0, 125)
health = (rul <= 80).long() + (rul <= 30).long()  # 0 healthy, 1 degrading, 2 critical

model = Network()
balancer = GABALoss(n_tasks=2, warmup_steps=20)
shared = get_shared_params(model)  # everything outside `*_head`
parameters = [*shared, *get_head_params(model)]  # the shared ones first
optimizer = torch.optim.AdamW(parameters, lr=3e-3)

for _ in range(20):
    for batch in torch.randperm(len(x)).split(128):
        predicted, logits = model(x[batch])
        losses = torch.stack(
            [
                moderate_weighted_mse_loss(predicted, rul[batch]),
                nn.functional.cross_entropy(logits, health[batch]),
            ]
        )
        gradients = task_gradients(losses, parameters)
        balancer.combine(losses, norms=gradients.norms(first=len(shared)))
        combined = combine_gradients(gradients, balancer.weights)
        for parameter, gradient in zip(parameters, combined, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

with torch.no_grad():
    predicted, logits = model.eval()(x)
print("RMSE", round((predicted - rul).square().mean().sqrt().item(), 2))
print("health accuracy", round((logits.argmax(1) == health).float().mean().item(), 3))
print("weights", [round(w, 4) for w in balancer.weights.tolist()])
