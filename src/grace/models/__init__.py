"""The network: a shared trunk and two heads."""

from grace.models.dual_task_model import DualTaskModel

__all__ = ["DualTaskModel"]
