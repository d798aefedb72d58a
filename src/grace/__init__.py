"""GRACE: remaining useful life and health state of machines from sensor histories.

The public API is available from this module. Names are imported on first use, so ``import grace``
loads neither torch nor polars.

Example:
    >>> import grace
    >>> data = grace.load_dataset("sim", n_train=5, n_test=3)
    >>> data.train.n_units
    5
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grace._version import __version__

if TYPE_CHECKING:
    from grace import core as core
    from grace import data as data
    from grace import evaluation as evaluation
    from grace import experiments as experiments
    from grace import models as models
    from grace import plots as plots
    from grace import prediction as prediction
    from grace import report as report
    from grace import training as training
    from grace import uncertainty as uncertainty
    from grace.core import build_method
    from grace.data import DataError, Dataset, Fleet, FleetSchema, read_table
    from grace.data.readers import list_datasets, load_dataset
    from grace.estimator import RULModel
    from grace.evaluation import evaluate
    from grace.experiments import evaluate_run, grid, run
    from grace.prediction import Artifact, ArtifactError, Predictor, export_onnx
    from grace.report import write_report
    from grace.training import Callback, ConfigError, RunConfig, Trainer

# Public name → module that defines it.
_NAMES = {
    "Artifact": "grace.prediction",
    "ArtifactError": "grace.prediction",
    "Callback": "grace.training",
    "ConfigError": "grace.training",
    "DataError": "grace.data",
    "Dataset": "grace.data",
    "Fleet": "grace.data",
    "FleetSchema": "grace.data",
    "Predictor": "grace.prediction",
    "RULModel": "grace.estimator",
    "RunConfig": "grace.training",
    "Trainer": "grace.training",
    "build_method": "grace.core",
    "evaluate": "grace.evaluation",
    "evaluate_run": "grace.experiments",
    "export_onnx": "grace.prediction",
    "grid": "grace.experiments",
    "list_datasets": "grace.data.readers",
    "load_dataset": "grace.data.readers",
    "read_table": "grace.data",
    "run": "grace.experiments",
    "write_report": "grace.report",
}
_PACKAGES = (
    "core",
    "data",
    "evaluation",
    "experiments",
    "models",
    "plots",
    "prediction",
    "report",
    "training",
    "uncertainty",
)

__all__ = [
    "Artifact",
    "ArtifactError",
    "Callback",
    "ConfigError",
    "DataError",
    "Dataset",
    "Fleet",
    "FleetSchema",
    "Predictor",
    "RULModel",
    "RunConfig",
    "Trainer",
    "__version__",
    "build_method",
    "core",
    "data",
    "evaluate",
    "evaluate_run",
    "evaluation",
    "experiments",
    "export_onnx",
    "grid",
    "list_datasets",
    "load_dataset",
    "models",
    "plots",
    "prediction",
    "read_table",
    "report",
    "run",
    "training",
    "uncertainty",
    "write_report",
]

if not TYPE_CHECKING:  # a type checker must still report misspelt names

    def __getattr__(name):
        """Import a public name on first use (PEP 562)."""
        import importlib

        if name in _NAMES:
            value = getattr(importlib.import_module(_NAMES[name]), name)
        elif name in _PACKAGES:
            value = importlib.import_module(f"grace.{name}")
        else:
            raise AttributeError(f"module 'grace' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
