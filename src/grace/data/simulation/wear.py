"""The life of one engine: conditions flown and damage done, cycle by cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grace.data.simulation.config import SimulationConfig
from grace.data.simulation.turbofan import CONDITION_ORDER, MIX, SEVERITY

__all__ = ["Engine", "increments", "run_to_failure", "stress_of"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Engine:
    """One engine from delivery to failure; symbols as in :func:`grace.data.simulation.simulate`.

    Args:
        fault: index into ``FAULT_MODES``.
        initial_wear: d, in units of health.
        onset: t₀, the last cycle without damage.
        rate: a, in 1/cycle^b.
        condition: index into ``CENTROIDS`` per cycle, shape (life,).
        damage: w per cycle, in units of health, shape (life,).
        mix: probability of each of ``CENTROIDS`` per cycle, shape (6,).
    """

    fault: int
    initial_wear: float
    onset: int
    rate: float
    condition: npt.NDArray[np.int64]
    damage: Array
    mix: Array

    @property
    def life(self) -> int:
        """Cycles flown, the last of which is the failure."""
        return len(self.damage)


def run_to_failure(config: SimulationConfig, rng: np.random.Generator) -> Engine:
    """Draw an engine and fly it until its health is used up."""
    fault = int(rng.integers(config.n_faults))
    worn = float(rng.uniform(*config.initial_wear))
    onset = int(rng.integers(config.onset[0], config.onset[1] + 1))
    wear_out = rng.uniform(*config.wear_out)
    A, b = config.wear_amplitude, config.wear_exponent
    rate = float(np.log1p((1.0 - config.failure_threshold) / A) / wear_out**b)
    margin = 1.0 - worn - config.failure_threshold
    enough = (np.log1p(margin / A) / rate) ** (1.0 / b)  # wear cycles s at which h = h_min

    points = np.array(CONDITION_ORDER[: config.n_conditions])
    share = MIX[points] / MIX[points].sum()
    mix = np.cumsum(rng.dirichlet(20.0 * share))
    stress = stress_of(config)
    # Flown in batches, because how many cycles it takes is only known at the end.
    batch = onset + int(1.3 * enough) + 10
    conditions, wear = np.empty(0, dtype=np.int64), np.empty(0)
    while wear[onset:].sum() < enough:
        new = points[np.minimum(np.searchsorted(mix, rng.random(batch)), len(points) - 1)]
        conditions = np.concatenate([conditions, new])
        wear = np.concatenate([wear, stress[new] * increments(config, rng, batch)])
    wear[:onset] = 0.0
    s = np.cumsum(wear)
    life = int(np.searchsorted(s, enough)) + 1
    # The engine stops at the threshold, wherever within its last cycle it is reached.
    damage = A * np.expm1(rate * np.minimum(s[:life], enough) ** b)
    probability = np.zeros(len(SEVERITY))
    probability[points] = np.diff(mix, prepend=0.0)
    return Engine(fault, worn, onset, rate, conditions[:life], damage, probability)


def stress_of(config: SimulationConfig) -> Array:
    """m_c: wear of a cycle at each of ``CENTROIDS``, shape (6,), 1 on average over the fleet."""
    points = np.array(CONDITION_ORDER[: config.n_conditions])
    share = MIX[points] / MIX[points].sum()
    # Relative to the fleet's own mix, so that wear_out means the same for any number of conditions.
    return np.asarray(1.0 + config.condition_stress * (SEVERITY - share @ SEVERITY[points]))


def increments(
    config: SimulationConfig, rng: np.random.Generator, shape: int | tuple[int, ...]
) -> Array:
    """Wear of cycles at average stress: mean 1, coefficient of variation v."""
    v = config.process_noise
    return rng.gamma(1.0 / v**2, v**2, shape) if v > 0.0 else np.ones(shape)
