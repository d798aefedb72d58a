"""The only way to a prediction, whoever asks: Python, the command line, a batch job, a server."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from grace.data.fleet import Fleet
from grace.data.windows import WindowSet
from grace.prediction.artifact import Artifact
from grace.training.inference import predict_windows
from grace.training.trainer import resolve_device

__all__ = ["Predictor"]


class Predictor:
    """Predicts the RUL and health state of a fleet with a trained artifact.

    Example:
        >>> predictor = Predictor.load("runs/sim-grace-fast-seed42")  # doctest: +SKIP
        >>> predictor.predict(fleet)  # doctest: +SKIP
    """

    def __init__(self, artifact: Artifact, *, device: str = "cpu", batch_size: int = 1024) -> None:
        self.artifact = artifact
        self.device = resolve_device(device)
        self.batch_size = batch_size
        self._model = artifact.model.to(self.device).eval()

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> Predictor:
        """From an artifact folder."""
        return cls(Artifact.load(folder), device=device)

    def predict(self, fleet: Fleet, *, every_row: bool = False) -> pl.DataFrame:
        """Predictions for the last row of each unit, or for every row.

        Units shorter than the window are left-padded by repeating their first row; none is
        dropped.

        Returns:
            One row per unit (or per row of the fleet, in its order) with ``unit``, ``time``,
            ``rul`` (in the fleet's unit of time, capped at the model's label cap by its
            training), ``health`` (class index), ``p_health_0`` … and ``condition_distance``
            (training standard deviations from the nearest known operating condition).

        Raises:
            DataError: a column the model needs is missing, or an operating condition is unseen
                and the artifact was made with ``unseen="error"``.
        """
        config = self.artifact.config
        table = self.artifact.preprocessor.transform(fleet)
        windows = WindowSet.build(
            table, fleet, config.labels, config.windows, every_row=True, labelled_only=False
        )
        if not every_row:
            windows = windows.last_of_each_unit()
        rul, probabilities = predict_windows(
            self._model, windows.to(self.device), batch_size=self.batch_size
        )
        ends = windows.ends.numpy()
        columns = {
            "unit": fleet.frame.get_column(fleet.schema.unit)[ends],
            "time": table.times[ends],
            "rul": rul.double().numpy(),
            "health": probabilities.argmax(dim=1).numpy(),
        }
        for c in range(probabilities.shape[1]):
            columns[f"p_health_{c}"] = probabilities[:, c].double().numpy()
        columns["condition_distance"] = table.condition_distance[ends]
        return pl.DataFrame(columns)
