"""Trained models as artifacts, and predictions from them."""

from grace.prediction.artifact import Artifact, ArtifactError
from grace.prediction.predictor import Predictor

__all__ = ["Artifact", "ArtifactError", "Predictor"]
