"""The optional loggers by name, as ``grace train --logger`` offers them."""

from __future__ import annotations

from collections.abc import Callable

from grace.training.callbacks import Callback
from grace.training.errors import ConfigError
from grace.training.mlflow_logger import MLflowLogger
from grace.training.tensorboard_logger import TensorBoardLogger

__all__ = ["LOGGERS", "build_logger"]

LOGGERS: dict[str, Callable[[], Callback]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MLflowLogger,
}


def build_logger(name: str) -> Callback:
    """A new logger with its default options.

    Raises:
        ConfigError: no logger of this name.
        MissingExtraError: its package is not installed; the message is the remedy.
    """
    if name not in LOGGERS:
        raise ConfigError(f"unknown logger {name!r}: choose from {', '.join(LOGGERS)}")
    return LOGGERS[name]()
