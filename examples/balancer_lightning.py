"""GABA with three tasks in PyTorch Lightning: ``pip install "lightning>=2.6.4,<3"``.

The balancer is a submodule: it moves with the model and is saved in its checkpoints.
"""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from grace.core import GABALoss
from grace.core.gradient_utils import compute_task_grad_norm


class ThreeTasks(lightning.LightningModule):
    """Three regressions of very different size on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 32), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(32, 1) for _ in range(3))
        # For more than two tasks only the form "inverse" equalises the weighted gradient norms.
        # 40 steps are few: a shorter memory (default 0.99) lets the average reach its limit.
        self.balancer = GABALoss(n_tasks=3, beta=0.9, warmup_steps=5, closed_form="inverse")

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """The weighted sum of the three losses."""
        x, targets = batch
        z = self.trunk(x)
        predicted = torch.cat([head(z) for head in self.heads], dim=1)
        losses = (predicted - targets).square().mean(dim=0)
        norms = None
        if self.balancer.needs_signal:
            shared = list(self.trunk.parameters())
            norms = torch.stack([compute_task_grad_norm(loss, shared) for loss in losses])
        return self.balancer(*losses, task_grad_norms=norms)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-2)


lightning.seed_everything(0)
x = torch.randn(512, 6)
targets = x[:, :3] * torch.tensor([1.0, 30.0, 0.1])
model = ThreeTasks()
trainer = lightning.Trainer(
    max_epochs=5, accelerator="cpu", gradient_clip_val=1.0, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(model, DataLoader(TensorDataset(x, targets), batch_size=64, shuffle=True))
weights = model.balancer.weights
print("weights", [round(w, 3) for w in weights.tolist()])
assert model.balancer.ema_weights[1] < model.balancer.min_weight  # the largest task: on the floor
assert weights[1] < 0.05  # the floor, renormalised
assert weights.argmax() == 2  # the smallest task gets the largest weight
