"""The estimator: from a table of sensor histories to predictions in one call."""

from grace.estimator.rul_model import RULModel

__all__ = ["RULModel"]
