"""Gradient surgery: balancers that read the angles between task gradients, not only their norms.

All but one come from TorchJD (extra ``surgery``; CAGrad also needs a solver, extra ``cagrad``),
which computes weights from the K × K Gramian of the task gradients; Nash-MTL is solved here with
Newton's method and needs no extra. All have the interface, the state and the logs of every other
balancer. The Gramian is float64, and the dual-cone projection of UPGrad and DualProj is solved
without the library's default regularisation, because with it their guarantee (no task loss
increases) does not hold at norm ratios of 500:1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from grace.core.balancer import LossBalancer, Site

__all__ = ["GRADIENT_SURGERY", "SurgeryLoss"]

Normalise = Literal["none", "norm", "initial_loss", "target_std"]

# As in grace.extras, which this package may not import.
_REMEDY = "Remedy: in the clone of grace, pip install '.[{}]' (pip install -e if it is editable)"
# nnls and TorchJD report a failed solution as a RuntimeError, of which torch's LinAlgError is one.
_NO_SOLUTION = (np.linalg.LinAlgError, RuntimeError)

GRADIENT_SURGERY: dict[str, str] = {
    "pcgrad": "PCGrad (Yu et al. 2020): project conflicting gradients onto each other's normal",
    "mgda": "MGDA (Désidéri 2012; Sener & Koltun 2018): the shortest vector of the convex hull",
    "imtl_g": "IMTL-G (Liu et al. 2021): equal projections onto every task gradient",
    "aligned_mtl": "Aligned-MTL (Senushkin et al. 2023): align the principal components",
    "upgrad": "UPGrad (Quinton & Rey 2024): mean of the projections onto the dual cone",
    "dualproj": "DualProj (Lopez-Paz & Ranzato 2017): project the mean onto the dual cone",
    "cagrad": "CAGrad (Liu et al. 2021), c = 0.4; needs the extra cagrad",
    "nash_mtl": "Nash-MTL (Navon et al. 2022), solved exactly in each step; needs no extra",
}


def _require_torchjd() -> Any:
    try:
        import torchjd.aggregation as aggregation
    except ImportError as error:
        problem = "gradient surgery needs TorchJD"
        raise ImportError(f"{problem}. {_REMEDY.format('surgery')}") from error
    return aggregation


class _CAGrad:
    """CAGrad's weights; a failure of its solver becomes a ``LinAlgError``."""

    def __init__(self) -> None:
        try:
            from cvxpy.error import SolverError
            from torchjd.aggregation import CAGradWeighting

            self._weigh = CAGradWeighting(c=0.4)  # looks for its solver when it is made
        except ImportError as error:
            problem = "CAGrad needs TorchJD, cvxpy and clarabel"
            raise ImportError(f"{problem}. {_REMEDY.format('cagrad')}") from error
        self._failure = SolverError

    def __call__(self, gramian: Tensor) -> Tensor:
        try:
            return self._weigh(gramian)
        except (self._failure, TypeError) as error:  # TorchJD computes with the missing solution
            raise np.linalg.LinAlgError(str(error)) from error


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
    """Weights w > 0 with G·w = 1/w: the bargaining solution, by minimising ½wᵀGw − Σ log w.

    Raises:
        numpy.linalg.LinAlgError: there is no solution, because the gradients are linearly dependent
            with opposite directions (two tasks at cosine −1).
    """
    matrix = gramian.cpu().numpy()
    weights = 1.0 / np.sqrt(np.clip(np.diag(matrix), 1e-300, None))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(100):  # damped Newton; convex, so it converges from any positive start
            gradient = matrix @ weights - 1.0 / weights
            step = np.linalg.solve(matrix + np.diag(weights**-2.0), gradient)
            shrink = 1.0
            while np.any(weights - shrink * step <= 0):
                shrink *= 0.5
            weights = weights - shrink * step
            if np.max(np.abs(shrink * step) / weights) < 1e-12:
                return torch.as_tensor(weights, device=gramian.device)
    raise np.linalg.LinAlgError("Nash-MTL has no solution for these task gradients")


def _weighting(name: str) -> Callable[[Tensor], Tensor]:
    if name == "nash_mtl":
        return _nash_weights
    if name == "cagrad":
        return _CAGrad()
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
    """A gradient surgery method as a balancer: weights from the Gramian of the task gradients.

    A step whose Gramian is degenerate (a zero or non-finite gradient) or for which the method has
    no solution (Nash-MTL at cosine −1) keeps the last weights and is counted in the telemetry as
    ``skipped``.

    Known differences to the published methods:

    * all: the weights are found in float64 from the gradients on the shared parameters, and the
      heads get the gradient of the same weighted sum, where some publications train each head on
      its own unweighted loss;
    * ``pcgrad``: none; the order of the projections is random;
    * ``mgda``: none in the problem; it is solved by TorchJD's Frank–Wolfe iteration, at most 100
      steps;
    * ``imtl_g``: without the loss transformation of the same publication (IMTL-L); a pseudo-inverse
      replaces the inverse, so that linearly dependent gradients have a solution;
    * ``aligned_mtl``: equal preferences and the smallest eigenvalue as scale; the authors' code
      uses the mean eigenvalue;
    * ``upgrad``, ``dualproj``: the projection onto the dual cone is solved by non-negative least
      squares, without the constants by which TorchJD normalises and regularises the Gramian;
    * ``cagrad``: c = 0.4, and the solver is CLARABEL on the normalised Gramian;
    * ``nash_mtl``: the bargaining problem is solved exactly by Newton's method in every step;
      published is a sequence of convex approximations, whose weights may be reused for some steps.

    Args:
        name: one of ``GRADIENT_SURGERY``.
        n_tasks: number of tasks K.
        normalise: what the task gradients are divided by before they are compared. Methods that
            read angles compare mostly the scale of the tasks if the losses are not scaled.
            ``"norm"``: each gradient's norm; ``"initial_loss"``: each task's loss in the first
            step; ``"target_std"``: the RUL gradient by the variance of the RUL labels, so that
            a squared error is measured in standard deviations (the trainer passes the standard
            deviation to :meth:`on_fit_start`); ``"none"`` (as published): nothing.
        site: where the gradients are compared: ``"shared"`` (all shared parameters, as published),
            ``"last_layer"``, or ``"feature"`` (the shared feature z). The latter two need one
            backward pass through the trunk instead of one per task.

    Raises:
        ValueError: unknown name, normalisation or site.
        ImportError: a package the method needs is not installed; the message names the extra.

    Example:
        >>> balancer = SurgeryLoss("nash_mtl")
        >>> gramian = torch.tensor([[4.0, 0.0], [0.0, 1.0]])  # orthogonal gradients, norms 2 and 1
        >>> total = balancer(torch.tensor(8.0), torch.tensor(0.5), gramian=gramian)
        >>> balancer.weights
        tensor([0.5000, 1.0000])
    """

    signal = "gramian"
    initial_losses: Tensor
    started: Tensor
    target_std: Tensor
    skipped_count: Tensor

    def __init__(
        self,
        name: str = "upgrad",
        n_tasks: int = 2,
        normalise: Normalise = "none",
        site: Site = "shared",
    ) -> None:
        super().__init__(n_tasks)
        if name not in GRADIENT_SURGERY:
            raise ValueError(
                f"unknown gradient surgery method {name!r}: "
                f"choose from {', '.join(GRADIENT_SURGERY)}"
            )
        if normalise not in get_args(Normalise):
            raise ValueError(
                f"normalise={normalise!r}: choose from {', '.join(get_args(Normalise))}"
            )
        if site not in get_args(Site):
            raise ValueError(f"site={site!r}: choose from {', '.join(get_args(Site))}")
        self.name, self.normalise, self.site = name, normalise, site
        self._weigh = _weighting(name)
        self.register_buffer("initial_losses", torch.ones(n_tasks))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.register_buffer("target_std", torch.zeros(()))  # 0: not known yet
        self.register_buffer("skipped_count", torch.zeros((), dtype=torch.int64))

    def on_fit_start(self, *, target_std: float) -> None:
        """Store the standard deviation of the RUL labels, for ``normalise="target_std"``.

        Raises:
            ValueError: it is needed and not positive (all labels are equal).
        """
        if self.normalise == "target_std" and not 0.0 < target_std < math.inf:
            raise ValueError(f"target_std={target_std} must be positive: are all labels equal?")
        self.target_std.fill_(target_std)

    def _scale(self, norms: Tensor) -> Tensor:
        """What each task gradient is divided by, (K,) float64."""
        if self.normalise == "norm":
            return norms
        if self.normalise == "initial_loss":
            return self.initial_losses.double()
        scale = torch.ones_like(norms)
        if self.normalise == "target_std":
            if not bool(self.target_std > 0):
                raise ValueError(
                    'normalise="target_std" needs the standard deviation of the RUL labels: '
                    "call on_fit_start(target_std=...) before training"
                )
            scale[0] = self.target_std.double().square()
        return scale

    @torch.no_grad()
    def _find(self, gramian: Tensor) -> Tensor | None:
        """The weights, (K,) float64, or None where the method has none for this Gramian."""
        norms = gramian.diagonal().sqrt()
        scale = self._scale(norms)
        if not (bool(torch.isfinite(gramian).all()) and bool((norms > 0).all())):
            return None
        try:
            found = self._weigh(gramian / scale.outer(scale)) / scale
        except _NO_SOLUTION:
            return None
        return found if bool(torch.isfinite(found).all()) else None

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ λ_i L_i; without a solution the last weights are kept and the step is counted."""
        if not self.training:
            return (self.applied_weights * losses).sum()
        with torch.no_grad():
            if not bool(self.started) and bool(torch.isfinite(losses).all()):
                self.initial_losses.copy_(losses.clamp_min(1e-12))
                self.started.fill_(True)
        found = self._find(signal["gramian"].double())
        if found is None:
            self.skipped_count += 1
            found = self.applied_weights
        return self._apply_weights(losses, found.to(self.applied_weights))

    def telemetry(self) -> dict[str, Tensor]:
        """Number of steps without a usable Gramian or solution."""
        return {"skipped": self.skipped_count}

    def init_options(self) -> dict[str, Any]:
        """All options."""
        return {
            "name": self.name,
            "n_tasks": self.n_tasks,
            "normalise": self.normalise,
            "site": self.site,
        }
