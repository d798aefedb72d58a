"""The true distribution of the remaining life of simulated engines, from their hidden state."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.simulation.config import SimulationConfig
from grace.data.simulation.dataset import Simulation
from grace.data.simulation.wear import increments, stress_of

__all__ = ["true_survival"]

Array = npt.NDArray[np.float64]


def true_survival(
    simulation: Simulation,
    rows: npt.NDArray[np.int64],
    times: npt.ArrayLike,
    *,
    split: Literal["train", "test"] = "train",
    n_paths: int = 500,
    seed: int = 0,
) -> Array:
    """P(RUL > t) of rows whose hidden state is known, by flying each engine on many times.

    Known are the wear so far, the wear rate, the onset, the initial wear, and how often the engine
    flies under which condition; random are only the conditions and the wear of the cycles to come.
    No predictor that sees sensors can know more.

    Args:
        simulation: of :func:`~grace.data.simulation.simulate`.
        rows: numbers of rows of the split's fleet, ascending, (M,).
        times: cycles from the row, (K,).
        split: "train" or "test".
        n_paths: simulated continuations per engine; all its rows use the same ones.
        seed: of the continuations.

    Returns:
        (M, K), non-increasing along each row; the standard error is at most 0.5/√n_paths.

    Example:
        >>> from grace.data.simulation import SimulationConfig, simulate
        >>> config = SimulationConfig(n_train=2, n_test=1, process_noise=0.0, condition_stress=0.0)
        >>> simulation = simulate(config, seed=1)
        >>> life = simulation.dataset.train.life()[0]
        >>> true_survival(simulation, np.array([9]), [life - 11, life - 10], n_paths=3)
        array([[1., 0.]])
    """
    config = simulation.config
    fleet = getattr(simulation.dataset, split)
    truth = simulation.truth.filter(pl.col("split") == split)
    mix = simulation.mix.filter(pl.col("split") == split).drop("split", "unit").to_numpy()
    units = fleet.units
    onset, rate, worn = (
        units[c].to_numpy().astype(np.float64) for c in ("onset", "rate", "initial_wear")
    )
    owner = np.repeat(np.arange(fleet.n_units), fleet.lengths())[rows]
    cycle = truth["cycle"].to_numpy()[rows].astype(np.float64)
    damage = np.maximum(1.0 - worn[owner] - truth["health"].to_numpy()[rows], 0.0)
    asked = np.asarray(times, dtype=np.float64)
    survival = np.empty((len(rows), asked.size))
    for unit in np.unique(owner):
        mine = np.flatnonzero(owner == unit)
        margin = 1.0 - worn[unit] - config.failure_threshold
        enough = _wear_cycles(config, margin, rate[unit])
        left = enough - _wear_cycles(config, damage[mine], rate[unit])
        rng = np.random.default_rng([seed, int(unit)])
        wear = _paths(config, mix[unit], float(np.max(left)), n_paths, rng)
        waiting = np.maximum(onset[unit] - cycle[mine], 0.0)
        # Rounding of the recorded health must not add a cycle to an engine that has failed.
        needed = np.maximum(left - 1e-9, 0.0)
        for row, wait, need in zip(mine, waiting, needed, strict=True):
            cycles = wait + (wear < need).sum(axis=1) + (need > 0)
            survival[row] = (cycles[:, None] > asked).mean(axis=0)
    return survival


def _wear_cycles(config: SimulationConfig, damage: npt.ArrayLike, rate: float) -> Array:
    """s at which the damage is w: (ln(1 + w/A)/a)^(1/b)."""
    share = np.log1p(np.asarray(damage, dtype=np.float64) / config.wear_amplitude) / rate
    return np.asarray(share ** (1.0 / config.wear_exponent))


def _paths(
    config: SimulationConfig, mix: Array, longest: float, n: int, rng: np.random.Generator
) -> Array:
    """Cumulative wear of n continuations, (n, cycles), until all have passed ``longest``."""
    stress, limits = stress_of(config), np.cumsum(mix)
    total = np.zeros((n, 0))
    while total.shape[1] == 0 or total[:, -1].min() < longest:
        batch = max(10, int(0.6 * longest) if total.shape[1] else int(1.2 * longest))
        condition = np.minimum(np.searchsorted(limits, rng.random((n, batch))), len(mix) - 1)
        more = np.cumsum(stress[condition] * increments(config, rng, (n, batch)), axis=1)
        start = total[:, -1:] if total.shape[1] else np.zeros((n, 1))
        total = np.concatenate([total, start + more], axis=1)
    return total
