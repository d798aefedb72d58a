"""Training: one step, one loop, its configuration and its checkpoints."""

from grace.training.config import RunConfig
from grace.training.errors import ConfigError
from grace.training.presets import PRESETS
from grace.training.trainer import Trainer

__all__ = ["PRESETS", "ConfigError", "RunConfig", "Trainer"]
