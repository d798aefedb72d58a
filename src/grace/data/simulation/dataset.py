"""From a configuration and a seed to fleets with known wear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet, FleetSchema
from grace.data.memory import available_memory, format_bytes
from grace.data.simulation.config import SimulationConfig
from grace.data.simulation.turbofan import (
    CENTROIDS,
    CHANNELS,
    FAULT_MODES,
    SETTING_NOISE,
    SETTINGS,
)
from grace.data.simulation.wear import Engine, run_to_failure

__all__ = ["Simulation", "simulate", "simulate_dataset"]

Array = npt.NDArray[np.float64]

_LEVEL = np.array([c.level for c in CHANNELS]).T  # (6 conditions, 21 channels)
# Between conditions a fault moves a channel in proportion to its level, while the error of an
# instrument is half a share of the reading and half a share of its full scale.
_EFFECT = _LEVEL / _LEVEL[0]
_ERROR = (1.0 + _EFFECT) / 2.0
_NOISE = np.array([c.noise for c in CHANNELS])
_GAIN = np.array([[c.hpc for c in CHANNELS], [c.fan for c in CHANNELS]])
_SPREAD = np.array([c.spread for c in CHANNELS])
# Physical and corrected speed are one shaft: the same scatter between engines in both.
_SHAFT = {"s13": "s8", "s14": "s9"}

_SENSORS = tuple(c.name for c in CHANNELS)
_TWINS = [_SENSORS.index(_SHAFT.get(s, s)) for s in _SENSORS]
_SCHEMA = FleetSchema(
    settings=tuple(SETTINGS),
    sensors=_SENSORS,
    time_unit="cycles",
    descriptions={**SETTINGS, **{c.name: f"{c.symbol}, {c.meaning}" for c in CHANNELS}},
)
# The field's usual 14: the others are constant, or nearly so, within an operating condition.
_DEFAULT_SENSORS = tuple(f"s{i}" for i in (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21))
_SHORT = 30  # rows; a test engine with fewer does not fill the usual window
_CANDIDATES = 5  # engines of which the shortest-lived becomes a short test engine


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated dataset and what a real one never tells.

    ``truth`` has the rows of ``dataset.train.frame``, then those of ``dataset.test.frame``, in
    the same order, with the columns ``split`` ("train" or "test"), ``unit``, ``cycle``, ``health``
    (h, from at most 1 down to ``failure_threshold``), ``degrading`` (bool: after onset) and
    ``condition`` (index into the six operating points of C-MAPSS). ``mix`` has one row per engine:
    ``split``, ``unit``, and ``p0`` to ``p5``, how probable each operating point is in a cycle.

    Example:
        >>> simulation = simulate(SimulationConfig(n_train=4, n_test=2), seed=1)
        >>> simulation.truth.columns
        ['split', 'unit', 'cycle', 'health', 'degrading', 'condition']
        >>> dataset = simulation.dataset
        >>> simulation.truth.height == dataset.train.n_rows + dataset.test.n_rows
        True
    """

    dataset: Dataset
    truth: pl.DataFrame
    mix: pl.DataFrame
    config: SimulationConfig
    seed: int


def simulate_dataset(config: SimulationConfig | None = None, *, seed: int = 0) -> Dataset:
    """A fleet of turbofans in the C-MAPSS layout that runs to failure by known wear.

    The columns are ``unit``, ``cycle``, ``setting1`` to ``setting3`` and ``s1`` to ``s21``. The
    tables of units have, in addition to ``failed`` and ``rul_at_end``, the true quantities:
    ``fault_mode`` ("HPC" or "fan"), ``initial_wear`` (d), ``onset`` (t₀, the last cycle without
    damage), ``rate`` (a), ``true_life`` and ``true_rul_at_end`` (cycles; known for censored engines
    too). The equations are in :func:`simulate`, which also gives the true state of every row.

    Args:
        config: what to simulate; all defaults if not given.
        seed: the same configuration and seed give the same data. Every engine has a random
            stream of its own, so a larger fleet begins with the engines of a smaller one.

    Example:
        >>> dataset = simulate_dataset(SimulationConfig(n_train=5, n_test=3), seed=0)
        >>> dataset.train.n_units, dataset.test.n_units, len(dataset.train.schema.sensors)
        (5, 3, 21)
        >>> dataset.train.units.columns[3:]
        ['fault_mode', 'initial_wear', 'onset', 'rate', 'true_life', 'true_rul_at_end']
        >>> bool((dataset.train.rul()[dataset.train.starts()] + 1 == dataset.train.life()).all())
        True
    """
    return simulate(config, seed=seed).dataset


def simulate(config: SimulationConfig | None = None, *, seed: int = 0) -> Simulation:
    r"""Simulate a dataset together with the true health of every row.

    For an engine with initial wear d, onset t₀ and fault mode f, at cycle t under condition c::

        s_t = Σ_{t₀ < k ≤ t} m_{c_k} G_k           stress-weighted cycles of wear
        w_t = A (exp(a s_t^b) − 1)                  damage, A e^{B(t)} of Saxena et al.
        h_t = 1 − d − w_t                           health; failed at the first h_t ≤ h_min
        x_tj = μ_cj + e_cj σ_j (M o_j + γ_fj g_j w_t) + n_cj σ_j N ε_tj,  then rounded

    with G_k ~ Gamma of mean 1 and coefficient of variation v (process noise), the stress
    m_c = 1 + S · (severity of c less the mean severity of the fleet's conditions), the wear rate
    a = ln(1 + (1 − h_min)/A) / wear_out^b, healthy level μ, noise σ and fault signature γ of a
    channel, o_j ~ N(0, 1) the manufacturing variation of the engine, g_j ~ N(1, gain_scatter ·
    spread_j) its response, ε_tj ~ N(0, 1), and M, N, S the settings ``manufacturing_variation``,
    ``sensor_noise``, ``condition_stress``. e_c is the level of the channel relative to sea level,
    n_c = (1 + e_c)/2. Conditions are drawn anew every cycle, with frequencies that differ a little
    between engines.

    A train engine is seen until it fails, unless censored; a test engine until ``test_rul`` cycles
    before. Short test engines are the shortest-lived of five, because the life they have left
    is bounded like that of the others.

    Before onset, h is constant and d enters no sensor (an engine is trimmed at delivery): nothing
    measured tells the RUL, except how long the engine has already flown.

    Known differences to Saxena et al.: damage acts on the channels directly and linearly instead of
    on efficiency and flow inside a thermodynamic model; it starts at an onset, from 0 (hence the
    −1); one health margin instead of the smallest of several; wear noise is a gamma process, so
    that health never recovers.

    Args:
        config: what to simulate; all defaults if not given.
        seed: see :func:`simulate_dataset`.

    Reference:
        A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage propagation modeling for aircraft engine
        run-to-failure simulation. PHM08, 2008.

    Example:
        >>> import polars as pl
        >>> simulation = simulate(SimulationConfig(n_train=3, n_test=2, censored_fraction=0.4))
        >>> ends = simulation.truth.filter(pl.col("split") == "train").group_by("unit").last()
        >>> ends.sort("unit").get_column("health").lt(1e-9).to_list()
        [True, True, False]
        >>> simulation.dataset.train.units.get_column("failed").to_list()
        [True, True, False]
    """
    config = config or SimulationConfig()
    _check_fits_in_memory(config)
    train_seed, test_seed = np.random.SeedSequence(seed).spawn(2)
    train, train_truth, train_mix = _fleet(config, train_seed, "train")
    test, test_truth, test_mix = _fleet(config, test_seed, "test")
    plural = "" if config.n_conditions == 1 else "s"
    dataset = Dataset(
        name="sim",
        synthetic=True,
        train=train,
        test=test,
        default_sensors=_DEFAULT_SENSORS,
        n_conditions=config.n_conditions,
        description=(
            f"Simulated turbofan engines in the C-MAPSS layout: {config.n_conditions} operating "
            f"condition{plural}, failure by {' or '.join(FAULT_MODES[: config.n_faults])}, "
            f"seed {seed}."
        ),
    )
    truth, mix = pl.concat([train_truth, test_truth]), pl.concat([train_mix, test_mix])
    return Simulation(dataset, truth, mix, config, seed)


def _check_fits_in_memory(config: SimulationConfig) -> None:
    mean_life = (sum(config.onset) + sum(config.wear_out)) / 2
    n_rows = (config.n_train + config.n_test) * mean_life
    needed = 8.0 * n_rows * (len(_SCHEMA.channels) + 2)
    longest = 16.0 * (config.onset[1] + config.wear_out[1])  # conditions and wear of one engine
    needed, free = max(needed, longest), available_memory()
    if needed > free:
        raise DataError(
            f"the simulated fleet needs at least {format_bytes(needed)} of memory for "
            f"{n_rows:.3g} rows, but {format_bytes(free)} are free.",
            source="sim",
            remedy="lower n_train, n_test, onset or wear_out.",
        )


def _fleet(
    config: SimulationConfig, seed: np.random.SeedSequence, split: str
) -> tuple[Fleet, pl.DataFrame, pl.DataFrame]:
    """One split, the truth of its rows, and how often its engines fly which condition."""
    n = config.n_train if split == "train" else config.n_test
    streams = [np.random.default_rng(s) for s in seed.spawn(n)]
    # Spread evenly over the fleet rather than drawn: the share is exact, and an engine's fate does
    # not depend on how many others there are.
    share = config.censored_fraction if split == "train" else config.short_test_fraction
    chosen = np.diff(np.floor(np.arange(n + 1) * share + 1e-9)) > 0
    engines: list[Engine] = []
    lasts: list[int] = []
    for rng, special in zip(streams, chosen, strict=True):
        candidates = [run_to_failure(config, rng)]
        if split == "test" and special:
            candidates += [run_to_failure(config, rng) for _ in range(_CANDIDATES - 1)]
        engines.append(min(candidates, key=lambda engine: engine.life))
        observe = _last_train_cycle if split == "train" else _last_test_cycle
        lasts.append(observe(config, rng, engines[-1].life, bool(special)))

    length = np.array(lasts)
    unit = np.repeat(np.arange(1, n + 1), length)
    cycle = np.concatenate([np.arange(1, m + 1) for m in lasts])
    condition = np.concatenate([e.condition[:m] for e, m in zip(engines, lasts, strict=True)])
    damage = np.concatenate([e.damage[:m] for e, m in zip(engines, lasts, strict=True)])
    settings, readings = _measure(config, streams, engines, length, condition, damage)
    frame = pl.DataFrame(
        {
            "unit": unit,
            "cycle": cycle,
            **{name: settings[:, j] for j, name in enumerate(SETTINGS)},
            **{name: readings[:, j] for j, name in enumerate(_SENSORS)},
        }
    )
    life = np.array([e.life for e in engines])
    left = (life - length).astype(np.float64)
    known = [None if split == "train" and r > 0 else r for r in left.tolist()]
    units = pl.DataFrame(
        {
            "unit": np.arange(1, n + 1),
            "rul_at_end": pl.Series(known, dtype=pl.Float64),
            "fault_mode": [FAULT_MODES[e.fault] for e in engines],
            "initial_wear": [e.initial_wear for e in engines],
            "onset": [e.onset for e in engines],
            "rate": [e.rate for e in engines],
            "true_life": life,
            "true_rul_at_end": left,
        }
    )
    worn = np.repeat([e.initial_wear for e in engines], length)
    truth = pl.DataFrame(
        {
            "split": [split] * len(unit),
            "unit": unit,
            "cycle": cycle,
            "health": 1.0 - worn - damage,
            "degrading": cycle > np.repeat([e.onset for e in engines], length),
            "condition": condition,
        }
    )
    mixes = np.stack([e.mix for e in engines])
    mix = pl.DataFrame(
        {
            "split": [split] * n,
            "unit": np.arange(1, n + 1),
            **{f"p{c}": mixes[:, c] for c in range(mixes.shape[1])},
        }
    )
    return Fleet.from_frame(frame, _SCHEMA, units=units, name=f"simulated {split}"), truth, mix


def _last_train_cycle(
    config: SimulationConfig, rng: np.random.Generator, life: int, censored: bool
) -> int:
    """The failure, or the day the engine was taken out of service."""
    return max(1, int(rng.uniform(0.3, 0.95) * life)) if censored else life


def _last_test_cycle(
    config: SimulationConfig, rng: np.random.Generator, life: int, short: bool
) -> int:
    """The last cycle shown of a test engine; at least one is always left to fly."""
    least = min(config.min_test_cycles, life - 1)
    if short:
        return min(int(rng.integers(config.min_test_cycles, _SHORT)), life - 1)
    # As in the C-MAPSS test sets the life left is uniform, whatever the engine's age.
    low, high = config.test_rul
    high = min(high, life - least)
    return life - int(rng.integers(min(low, high), high + 1))


def _measure(
    config: SimulationConfig,
    streams: list[np.random.Generator],
    engines: list[Engine],
    length: npt.NDArray[np.int64],
    condition: npt.NDArray[np.int64],
    damage: Array,
) -> tuple[Array, Array]:
    """Settings (n_rows, 3) and readings (n_rows, 21), as the recorder keeps them."""
    p = len(CHANNELS)
    lifelong = np.stack([rng.standard_normal((2, p)) for rng in streams])[:, :, _TWINS]
    hurried = zip(streams, length, strict=True)
    noise = np.concatenate([rng.standard_normal((m, p + len(SETTINGS))) for rng, m in hurried])

    fault = np.array([e.fault for e in engines])
    offset = config.manufacturing_variation * lifelong[:, 0]
    gain = _GAIN[fault] * (1.0 + config.gain_scatter * _SPREAD * lifelong[:, 1])
    engine = np.repeat(np.arange(len(engines)), length)
    shown = offset[engine] + gain[engine] * damage[:, None]
    readings: Any = _LEVEL[condition] + _NOISE * (
        _EFFECT[condition] * shown + _ERROR[condition] * config.sensor_noise * noise[:, :p]
    )
    settings: Any = CENTROIDS[condition] + SETTING_NOISE * noise[:, p:]
    for j, channel in enumerate(CHANNELS):
        readings[:, j] = readings[:, j].round(channel.decimals)
    return settings.round(4), readings
