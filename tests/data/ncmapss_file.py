"""Small HDF5 files in the exact layout of the published N-CMAPSS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

W_VAR = ("alt", "Mach", "TRA", "T2")
X_S_VAR = (
    *("T24", "T30", "T48", "T50", "P15", "P2", "P21", "P24", "Ps30", "P40", "P50", "Nf", "Nc"),
    "Wf",
)
X_V_VAR = (
    *("T40", "P30", "P45", "W21", "W22", "W25", "W31", "W32", "W48", "W50", "SmFan", "SmLPC"),
    *("SmHPC", "phi"),
)
T_VAR = (
    *("fan_eff_mod", "fan_flow_mod", "LPC_eff_mod", "LPC_flow_mod", "HPC_eff_mod"),
    *("HPC_flow_mod", "HPT_eff_mod", "HPT_flow_mod", "LPT_eff_mod", "LPT_flow_mod"),
)
A_VAR = ("unit", "cycle", "Fc", "hs")
UNITS = {"dev": (2, 5, 10, 16, 18, 20), "test": (11, 14, 15)}


def arrays(part: str, seed: int = 0) -> dict[str, Any]:
    """The datasets of one part: lives of 4 to 8 flights of 5 to 30 samples."""
    rng = np.random.default_rng([seed, len(part)])
    a, y = [], []
    for unit in UNITS[part]:
        life = int(rng.integers(4, 9))
        for cycle in range(1, life + 1):
            n = int(rng.integers(5, 31))
            a.append(np.tile([unit, cycle, 1 + unit % 3, float(cycle < 3)], (n, 1)))
            y.append(np.full((n, 1), life - cycle))
    who = np.concatenate(a).astype(np.float64)
    n = len(who)
    wear = who[:, 1:2]
    return {
        "W": rng.normal(100.0, 10.0, (n, len(W_VAR))),
        "X_s": rng.normal(500.0, 5.0, (n, len(X_S_VAR))) + wear,
        "X_v": rng.normal(50.0, 1.0, (n, len(X_V_VAR))),
        "T": -0.001 * wear * np.ones((n, len(T_VAR))),
        "Y": np.concatenate(y),
        "A": who,
    }


def write_ncmapss(path: Path, *, seed: int = 0, **replaced: Any) -> Path:
    """Write a file; ``replaced`` gives datasets other content, or None to leave them out."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {}
    for part in ("dev", "test"):
        content |= {f"{name}_{part}": v for name, v in arrays(part, seed).items()}
    names = {"W": W_VAR, "X_s": X_S_VAR, "X_v": X_V_VAR, "T": T_VAR, "A": A_VAR}
    content |= {f"{name}_var": np.array(v, dtype="S20") for name, v in names.items()}
    with h5py.File(path, "w") as file:
        for name, value in (content | replaced).items():
            if value is not None:
                file.create_dataset(name, data=value)
    return path
