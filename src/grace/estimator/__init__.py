"""The estimator: from a table of sensor histories to predictions in one call."""

from grace.estimator.explanation import Explanation
from grace.estimator.report import ModelReport
from grace.estimator.rul_model import RULModel

__all__ = ["Explanation", "ModelReport", "RULModel"]
