import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@dataclass
class Table:
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    unit: np.ndarray
    age: np.ndarray
    rul: np.ndarray


def make_fleet(n_units: int, seed: int, *, truncated: bool = False) -> Table:
    """Units that wear: one sensor rises towards the failure, one only makes noise."""
    rng = np.random.default_rng(seed)
    life = rng.integers(120, 260, n_units)
    seen = (life * rng.uniform(0.3, 0.98, n_units)).astype(int) if truncated else life
    age = np.concatenate([np.arange(1, n + 1) for n in seen]).astype(float)
    rul = np.repeat(life, seen) - age
    wear = np.exp(-rul / 40.0) + rng.normal(0.0, 0.05, rul.size)
    rows = np.stack([wear, rng.normal(size=rul.size)], axis=1).astype(np.float32)
    unit = np.repeat(np.arange(n_units), seen)
    return Table(rows, np.cumsum(seen) - seen, seen, unit, age, rul)


@pytest.fixture(scope="session")
def train() -> Table:
    return make_fleet(30, 0)


@pytest.fixture(scope="session")
def test_fleet() -> Table:
    return make_fleet(20, 1, truncated=True)


@pytest.fixture(scope="session")
def cmapss() -> Path:
    root = os.environ.get("GRACE_DATA") or Path(__file__).parents[2] / "../shared/data"
    folder = Path(root) / "CMAPSSData"
    if not (folder / "RUL_FD001.txt").exists():
        pytest.skip(f"no C-MAPSS files in {folder}: set GRACE_DATA to the folder above CMAPSSData")
    return folder
