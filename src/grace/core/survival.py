"""Likelihood of discrete-time survival: hazards over bins, with censored outcomes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["survival_nll"]


def survival_nll(
    logits: Tensor, time: Tensor, event: Tensor, edges: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of hazards h = sigmoid(logits) over bins (e_k, e_{k+1}].

    A known RUL in bin k contributes −Σ_{j<k} log(1 − h_j) − log h_k. A censored one contributes
    −Σ_{j<k} log(1 − h_j) − w·log(1 − h_k), with w the fraction of bin k it was seen to survive.
    Times beyond the last edge count as survival of all bins. All in log-space of the logits.

    Args:
        logits: (B, K).
        time: RUL, or time survived where not ``event``, (B,), ≥ 0, in the unit of ``edges``.
        event: whether the RUL is known, (B,) bool.
        edges: (K + 1,) increasing, starting at 0.
        reduction: ``mean``, ``sum`` or ``none`` (B,).

    Raises:
        ValueError: the shapes do not fit, or ``reduction`` is not known.

    References:
        K. Gensheimer and B. Narasimhan (2019), A scalable discrete-time survival model for neural
        networks, PeerJ 7:e6257.

    Example:
        >>> edges = torch.tensor([0.0, 10.0, 20.0])
        >>> even = torch.zeros(1, 2)  # both hazards 1/2
        >>> survival_nll(even, torch.tensor([15.0]), torch.tensor([True]), edges).exp()
        tensor(4.)
    """
    if logits.dim() != 2 or edges.shape != (logits.shape[1] + 1,):
        raise ValueError(
            f"logits {tuple(logits.shape)} need (B, K) and edges (K + 1,), got {tuple(edges.shape)}"
        )
    t, known = time.reshape(-1), event.reshape(-1).bool()
    if not len(t) == len(known) == len(logits):
        raise ValueError(
            f"logits, time and event have {len(logits)}, {len(t)} and {len(known)} rows"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction {reduction!r}: choose mean, sum or none")
    edges = edges.to(t)
    width = edges[1:] - edges[:-1]
    survived = ((t[:, None] - edges[:-1]) / width).clamp(0.0, 1.0)
    in_bin = (t[:, None] > edges[:-1]) & (t[:, None] <= edges[1:])
    in_bin[:, 0] |= t <= edges[0]
    failed = in_bin & known[:, None]
    # A failure in a bin replaces its survival; the bins before were survived whole.
    exposure = torch.where(failed, torch.zeros_like(survived), survived).to(logits)
    loss = (exposure * softplus(logits) + failed.to(logits) * softplus(-logits)).sum(dim=1)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.mean()
