"""GRACE: remaining useful life and health state of machines from sensor histories.

The public names are imported when they are first used, so that ``import grace`` is light.

Example:
    >>> import grace
    >>> grace.load_dataset("sim", n_train=4, n_test=2).train.n_units
    4
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from grace._version import __version__

if TYPE_CHECKING:
    from grace.data import Dataset as Dataset
    from grace.data import Fleet as Fleet
    from grace.data import FleetSchema as FleetSchema
    from grace.data import read_table as read_table
    from grace.data.readers import load_dataset as load_dataset
    from grace.estimator import RULModel as RULModel
    from grace.evaluation import evaluate as evaluate
    from grace.experiments import run as run
    from grace.prediction import Predictor as Predictor
    from grace.training import RunConfig as RunConfig

_PUBLIC = {
    "Dataset": "grace.data",
    "Fleet": "grace.data",
    "FleetSchema": "grace.data",
    "Predictor": "grace.prediction",
    "RULModel": "grace.estimator",
    "RunConfig": "grace.training",
    "evaluate": "grace.evaluation",
    "load_dataset": "grace.data.readers",
    "read_table": "grace.data",
    "run": "grace.experiments",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'grace' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
