"""The survival head as a task of the training step."""

from __future__ import annotations

import torch
from torch import Tensor

from grace.core.survival import survival_nll
from grace.data.windows import Batch
from grace.models import DualTaskModel
from grace.training.step import TaskLoss

__all__ = ["survival_tasks"]


def survival_tasks(model: DualTaskModel) -> tuple[TaskLoss, ...]:
    """The further tasks of a network: the likelihood of its survival head, or none without one.

    The loss of a window with known RUL is the negative log-likelihood of failing then, that of a
    unit still running the one of surviving as long as it was observed to. Both are uncapped, in
    learned units; the mean is over all windows of the batch.
    """
    head = model.survival_head
    if head is None:
        return ()

    def loss(z: Tensor, batch: Batch) -> Tensor:
        if batch.rul_uncapped is None or batch.survived is None:
            raise ValueError(
                "the survival head needs uncapped RULs: make batches with WindowSet.batch"
            )
        event = ~batch.rul_uncapped.isnan()
        time = torch.where(event, batch.rul_uncapped, batch.survived)
        # Half-precision logits would not carry the log-likelihood of long lives.
        return survival_nll(head(z).float(), time, event, head.edges)

    return (loss,)
