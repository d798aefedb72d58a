"""Trained models as artifacts, and predictions from them."""

from grace.prediction.artifact import Artifact, ArtifactError
from grace.prediction.export import OnnxExport, export_onnx
from grace.prediction.predictor import Predictor

__all__ = ["Artifact", "ArtifactError", "OnnxExport", "Predictor", "export_onnx"]
