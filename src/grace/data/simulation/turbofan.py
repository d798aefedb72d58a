"""The engine behind the simulation: its operating points, its channels and its fault signatures.

Levels, noise and fault signatures are rounded statistics of the public C-MAPSS files (healthy means
per operating point from FD002, noise and end-of-life deviations from FD001 and FD003), so that
magnitudes and engineering units are the ones a C-MAPSS user knows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = [
    "CENTROIDS",
    "CHANNELS",
    "CONDITION_ORDER",
    "FAULT_MODES",
    "MIX",
    "SETTINGS",
    "SETTING_NOISE",
    "SEVERITY",
    "Channel",
]


class Channel(NamedTuple):
    """One measured channel.

    Args:
        name: column name.
        symbol: name in the C-MAPSS documentation.
        meaning: what is measured, and its unit.
        level: healthy mean at each point of ``CENTROIDS``.
        noise: standard deviation of one reading at sea level; 0 for a channel that never moves.
        hpc: mean deviation at failure by an HPC fault, in units of ``noise``.
        fan: the same for a fan fault.
        spread: standard deviation between engines of that deviation, relative to its mean; it is
            multiplied by ``SimulationConfig.gain_scatter``.
        decimals: digits that the recorder keeps.
    """

    name: str
    symbol: str
    meaning: str
    level: tuple[float, float, float, float, float, float]
    noise: float
    hpc: float
    fan: float
    spread: float
    decimals: int


SETTINGS = {
    "setting1": "altitude, kft",
    "setting2": "Mach number",
    "setting3": "throttle resolver angle (TRA), deg",
}

# (altitude, Mach, TRA), in the order in which every table below lists the operating points.
CENTROIDS = np.array(
    [
        [0, 0, 100],
        [10, 0.25, 100],
        [20, 0.70, 100],
        [25, 0.62, 60],
        [35, 0.84, 100],
        [42, 0.84, 100],
    ]
)
SETTING_NOISE = np.array([0.0022, 0.0003, 0.0])
# Share of flights at each point, as counted in FD002.
MIX = np.array([0.15, 0.15, 0.15, 0.15, 0.15, 0.25])
# How hard a cycle there is on the engine, in [-1, 1]: dense air at full throttle is the worst, part
# throttle the mildest.
SEVERITY = np.array([1.0, 0.7, 0.4, -1.0, -0.1, -0.4])
# A fleet of n conditions flies the first n of these, so that few conditions are far apart.
CONDITION_ORDER = (0, 5, 3, 2, 4, 1)

FAULT_MODES = ("HPC", "fan")

# fmt: off
CHANNELS = (
    Channel("s1", "T2", "total temperature at fan inlet, °R",
            (518.67, 489.05, 491.19, 462.54, 449.44, 445.00), 0.0, 0, 0, 0, 2),
    Channel("s2", "T24", "total temperature at LPC outlet, °R",
            (642.3, 604.6, 607.2, 536.7, 555.5, 549.4), 0.30, 4.4, 4.3, 1, 2),
    Channel("s3", "T30", "total temperature at HPC outlet, °R",
            (1586.0, 1498.0, 1481.5, 1259.0, 1362.8, 1350.5), 3.9, 3.9, 5.2, 1, 2),
    Channel("s4", "T50", "total temperature at LPT outlet, °R",
            (1401.0, 1303.8, 1246.3, 1044.5, 1125.0, 1121.2), 3.9, 6.7, 7.3, 1, 2),
    Channel("s5", "P2", "pressure at fan inlet, psia",
            (14.62, 10.52, 9.35, 7.05, 5.48, 3.91), 0.0, 0, 0, 0, 2),
    Channel("s6", "P15", "total pressure in bypass duct, psia",
            (21.6085, 15.487, 13.6575, 9.027, 7.998, 5.7165), 0.0017, 0.3, -2.1, 1, 2),
    Channel("s7", "P30", "total pressure at HPC outlet, psia",
            (553.9, 394.7, 334.8, 175.5, 194.6, 138.7), 0.40, -6.0, 24.0, 1, 2),
    Channel("s8", "Nf", "physical fan speed, rpm",
            (2388.04, 2318.87, 2323.92, 1915.34, 2222.95, 2211.93), 0.035, 5.0, 11.0, 2, 2),
    Channel("s9", "Nc", "physical core speed, rpm",
            (9055.0, 8778.0, 8722.5, 8009.5, 8349.0, 8320.5), 4.2, 8.0, 16.0, 7, 2),
    Channel("s10", "epr", "engine pressure ratio (P50/P2)",
            (1.301, 1.261, 1.0775, 0.9405, 1.0215, 1.0205), 0.0008, 0.0, 16.0, 1, 2),
    Channel("s11", "Ps30", "static pressure at HPC outlet, psia",
            (47.3, 45.26, 44.24, 36.61, 41.77, 41.93), 0.10, 7.8, 9.5, 1, 2),
    Channel("s12", "phi", "ratio of fuel flow to Ps30, pps/psi",
            (522.0, 371.8, 315.1, 164.7, 183.1, 130.6), 0.30, -6.8, 28.0, 1, 2),
    Channel("s13", "NRf", "corrected fan speed, rpm",
            (2388.04, 2388.07, 2388.05, 2028.23, 2388.04, 2388.01), 0.035, 5.0, 11.0, 2, 2),
    Channel("s14", "NRc", "corrected core speed, rpm",
            (8137.5, 8131.0, 8061.5, 7873.8, 8067.8, 8084.3), 3.1, 7.0, 16.0, 7, 2),
    Channel("s15", "BPR", "bypass ratio",
            (8.410, 8.630, 9.200, 10.872, 9.299, 9.346), 0.020, 5.1, -6.5, 1, 4),
    Channel("s16", "farB", "burner fuel-air ratio",
            (0.0300, 0.0300, 0.0247, 0.0200, 0.0200, 0.0200), 0.0001, 3.0, 3.5, 1, 2),
    Channel("s17", "htBleed", "bleed enthalpy",
            (392.0, 368.5, 364.2, 306.4, 333.2, 330.0), 0.90, 4.4, 5.2, 1, 0),
    Channel("s18", "Nf_dmd", "demanded fan speed, rpm",
            (2388, 2319, 2324, 1915, 2223, 2212), 0.0, 0, 0, 0, 0),
    Channel("s19", "PCNfR_dmd", "demanded corrected fan speed, %",
            (100.0, 100.0, 100.0, 84.93, 100.0, 100.0), 0.0, 0, 0, 0, 2),
    Channel("s20", "W31", "HPT coolant bleed, lbm/s",
            (38.96, 28.63, 24.53, 14.31, 14.88, 10.62), 0.10, -4.9, 5.4, 1, 2),
    Channel("s21", "W32", "LPT coolant bleed, lbm/s",
            (23.37, 17.18, 14.72, 8.59, 8.93, 6.37), 0.060, -4.8, 5.5, 1, 4),
)
# fmt: on
