"""Training: one step, one loop, callbacks, configuration, presets and checkpoints."""

from grace.training.callbacks import Callback, RunEnd, StepEnd, TrainStart
from grace.training.config import RunConfig
from grace.training.errors import ConfigError
from grace.training.loggers import LOGGERS
from grace.training.presets import DEFAULT_PRESET, PRESETS
from grace.training.trainer import Trainer

__all__ = [
    "DEFAULT_PRESET",
    "LOGGERS",
    "PRESETS",
    "Callback",
    "ConfigError",
    "RunConfig",
    "RunEnd",
    "StepEnd",
    "TrainStart",
    "Trainer",
]
