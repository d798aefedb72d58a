"""Gradient surgeons: balancers that read the angles between task gradients, not only their norms.

All but one come from TorchJD (extra ``surgery``; CAGrad also needs a solver, extra ``cagrad``),
which computes weights from the K × K Gramian of the task gradients; Nash-MTL is solved here, by
Newton's method in numpy, and needs no extra. Here they all get the call, the state and the logs of
every other balancer. The Gramian is float64, and the dual-cone projection behind UPGrad and
DualProj is solved without the library's default regularisation, under which their guarantee not to
harm any task does not hold at norm ratios of 500:1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from grace.core.balancer import LossBalancer

__all__ = ["GRADIENT_SURGERY", "SurgeryLoss"]

Normalise = Literal["none", "norm", "initial_loss"]

GRADIENT_SURGERY: dict[str, str] = {
    "pcgrad": "PCGrad (Yu et al. 2020): project conflicting gradients onto each other's normal",
    "mgda": "MGDA (Désidéri 2012; Sener & Koltun 2018): the shortest vector of the convex hull",
    "imtl_g": "IMTL-G (Liu et al. 2021): equal projections onto every task gradient",
    "aligned_mtl": "Aligned-MTL (Senushkin et al. 2023): align the principal components",
    "upgrad": "UPGrad (Quinton & Rey 2024): mean of the projections onto the dual cone",
    "dualproj": "DualProj (Lopez-Paz & Ranzato 2017): project the mean onto the dual cone",
    "cagrad": "CAGrad (Liu et al. 2021), c = 0.4; needs the extra cagrad",
    "nash_mtl": "Nash-MTL (Navon et al. 2022) in its exact form for one step; needs no extra",
}


def _require_torchjd() -> Any:
    try:
        import torchjd.aggregation as aggregation
    except ImportError as error:
        raise ImportError(
            "gradient surgery needs TorchJD: pip install 'grace-rul[surgery]'"
        ) from error
    return aggregation


def _cagrad() -> Any:
    try:
        from torchjd.aggregation import CAGradWeighting

        return CAGradWeighting(c=0.4)  # looks for its solver when it is made
    except ImportError as error:
        raise ImportError(
            "CAGrad needs TorchJD, cvxpy and clarabel: pip install 'grace-rul[cagrad]'"
        ) from error


def _dual_cone_projector() -> Any:
    from scipy.optimize import nnls
    from torchjd.linalg import DualConeProjector

    class NonNegativeLeastSquares(DualConeProjector):
        """argmin vᵀGv with v ≥ u, as v = u + s, s ≥ 0 and ‖Rs + Ru‖ for RᵀR = G."""

        def __reduce__(self) -> tuple[Any, ...]:
            return _dual_cone_projector, ()  # a local class cannot be pickled by name

        def __call__(self, u: Tensor, gramian: Tensor) -> Tensor:
            matrix = gramian.detach().cpu().double().numpy()
            values, vectors = np.linalg.eigh(matrix)
            root = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T

            def project(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
                return np.asarray(vector + nnls(root, -root @ vector)[0])

            projected = np.apply_along_axis(project, -1, u.detach().cpu().double().numpy())
            return torch.as_tensor(projected, device=u.device, dtype=u.dtype)

    return NonNegativeLeastSquares()


def _nash_weights(gramian: Tensor) -> Tensor:
    """Weights w > 0 with G·w = 1/w: the bargaining solution, by minimising ½wᵀGw − Σ log w."""
    matrix = gramian.cpu().numpy()
    weights = 1.0 / np.sqrt(np.clip(np.diag(matrix), 1e-300, None))
    for _ in range(100):  # damped Newton; convex, so it converges from any positive start
        gradient = matrix @ weights - 1.0 / weights
        step = np.linalg.solve(matrix + np.diag(weights**-2.0), gradient)
        shrink = 1.0
        while np.any(weights - shrink * step <= 0):
            shrink *= 0.5
        weights = weights - shrink * step
        if np.max(np.abs(shrink * step) / weights) < 1e-12:
            break
    return torch.as_tensor(weights, device=gramian.device)


def _weighting(name: str) -> Callable[[Tensor], Tensor]:
    if name == "nash_mtl":
        return _nash_weights
    if name == "cagrad":
        return _cagrad()  # type: ignore[no-any-return]
    aggregation = _require_torchjd()
    if name in ("upgrad", "dualproj"):
        cls = aggregation.UPGradWeighting if name == "upgrad" else aggregation.DualProjWeighting
        return cls(projector=_dual_cone_projector())  # type: ignore[no-any-return]
    makers: dict[str, Callable[[], Any]] = {
        "pcgrad": lambda: aggregation.PCGradWeighting(),
        "mgda": lambda: aggregation.MGDAWeighting(),
        "imtl_g": lambda: aggregation.IMTLGWeighting(),
        "aligned_mtl": lambda: aggregation.AlignedMTLWeighting(),
    }
    return makers[name]()  # type: ignore[no-any-return]


class SurgeryLoss(LossBalancer):
    """A gradient surgeon as a balancer: weights from the Gramian of the task gradients.

    Args:
        name: one of ``GRADIENT_SURGERY``.
        n_tasks: K.
        normalise: what the gradients are divided by before they are compared. Unscaled losses
            compare mostly the scale of the tasks: ``"norm"`` divides by each gradient's norm,
            ``"initial_loss"`` by each task's first loss, ``"none"`` (as published) by nothing.

    Raises:
        ValueError: unknown name or normalisation.
        ImportError: what the surgeon needs is not installed; the message names the extra.
    """

    signal = "gramian"
    initial_losses: Tensor
    started: Tensor
    skipped_count: Tensor

    def __init__(
        self, name: str = "upgrad", n_tasks: int = 2, normalise: Normalise = "none"
    ) -> None:
        super().__init__(n_tasks)
        if name not in GRADIENT_SURGERY:
            raise ValueError(f"unknown surgeon {name!r}: choose from {', '.join(GRADIENT_SURGERY)}")
        if normalise not in ("none", "norm", "initial_loss"):
            raise ValueError(f"normalise={normalise!r}: choose none, norm or initial_loss")
        self.name, self.normalise = name, normalise
        self._weigh = _weighting(name)
        self.register_buffer("initial_losses", torch.ones(n_tasks))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.register_buffer("skipped_count", torch.zeros((), dtype=torch.int64))

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ λ_i L_i; a degenerate Gramian leaves the last weights in place and is counted."""
        gramian = signal["gramian"].double()
        if not self.training:
            return (self.applied_weights * losses).sum()
        with torch.no_grad():
            if not bool(self.started) and bool(torch.isfinite(losses).all()):
                self.initial_losses.copy_(losses.clamp_min(1e-12))
                self.started.fill_(True)
            norms = gramian.diagonal().sqrt()
            usable = bool(torch.isfinite(gramian).all()) and bool((norms > 0).all())
            weights = self.applied_weights.double()
            if usable:
                scale = {
                    "none": torch.ones_like(norms),
                    "norm": norms,
                    "initial_loss": self.initial_losses.double(),
                }[self.normalise]
                found = self._weigh(gramian / scale.outer(scale)) / scale
                usable = bool(torch.isfinite(found).all())
                weights = found if usable else weights
            self.skipped_count += int(not usable)
        return self._apply_weights(losses, weights.to(losses))

    def telemetry(self) -> dict[str, Tensor]:
        """How often the Gramian was unusable."""
        return {"skipped": self.skipped_count}

    def init_options(self) -> dict[str, Any]:
        """All options."""
        return {"name": self.name, "n_tasks": self.n_tasks, "normalise": self.normalise}
