"""All predictions are made here, from Python, the command line, a batch job or a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from grace.data.errors import DataError
from grace.data.feature_table import FeatureTable
from grace.data.fleet import Fleet
from grace.data.windows import WindowSet
from grace.prediction.artifact import Artifact, ArtifactError
from grace.prediction.runtime import Runtime, make_runtime
from grace.prediction.survival import survival_distribution
from grace.training.device import resolve_device
from grace.training.inference import scoring_batch
from grace.uncertainty import DistributionMethods, RULDistribution

__all__ = ["Predictor", "score"]


class Predictor(DistributionMethods):
    """Predicts the RUL and health state of a fleet with a trained artifact.

    An artifact trained with ``survival.enabled=true`` also gives the distribution of the uncapped
    RUL: ``predict_interval``, ``predict_quantiles``, ``prob_failure_within`` and ``sample``.

    Args:
        artifact: the trained model.
        runtime: ``torch``, ``onnxruntime`` or ``openvino`` (see ``grace.prediction.runtime``).
        precision: ``fp32``; ``bf16`` (torch, openvino); ``int8`` (onnxruntime).
        device: ``cpu``, ``cuda``, ``auto`` …; other runtimes than torch compute on the CPU.
        threads: of one batch; None means as many as PyTorch uses (``OMP_NUM_THREADS`` counts).
        batch_size: windows per forward pass; memory grows with it. None chooses by device.
        model_file: what ``export_onnx`` wrote; None exports in memory where a runtime needs it,
            which takes seconds.

    Raises:
        ValueError: an argument is unknown or does not go with the others.
        ImportError: the runtime is not installed; the message names the extra.
        ArtifactError: ``model_file`` was exported from another model.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> predictor = Predictor.load("runs/first")
        >>> predictor.predict(load_dataset("sim", n_train=8, n_test=4).test).shape
        (4, 8)
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        runtime: str = "torch",
        precision: str = "fp32",
        device: str = "cpu",
        threads: int | None = None,
        batch_size: int | None = None,
        model_file: str | Path | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be ≥ 1")
        self.artifact = artifact
        self.source = "artifact"  # what messages name; `load` sets the file
        where = "cpu" if device == "auto" and runtime != "torch" else device
        self.device = resolve_device(where)
        self.batch_size = batch_size or scoring_batch(self.device)
        self.runtime = make_runtime(
            artifact,
            runtime,
            precision=precision,
            device=self.device,
            threads=threads,
            file=None if model_file is None else Path(model_file),
        )

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Predictor:
        """From an artifact folder; ``options`` as for the class."""
        made = cls(Artifact.load(folder), **options)
        made.source = str(Path(folder) / "artifact.json")
        return made

    def predict(self, fleet: Fleet, *, every_row: bool = False) -> pl.DataFrame:
        """Predictions for the last row of each unit, or for every row.

        Units shorter than the window are left-padded by repeating their first row; none is
        dropped. Memory grows with the rows, never with rows times window length: windows are cut
        one batch at a time.

        Returns:
            One row per unit (or per row of the fleet, in its order) with ``unit``, ``time``,
            ``rul`` (in the fleet's unit of time; trained on labels up to the cap, which it
            seldom exceeds), ``health`` (class index), ``p_health_0`` … and ``condition_distance``
            (training standard deviations from the nearest known operating condition).

        Raises:
            DataError: a column the model needs is missing, the fleet counts time in another unit
                than the model, an operating condition is unseen and the artifact was made with
                ``unseen="error"``, or a prediction is NaN or infinite.
            ArtifactError: preprocessing and network do not belong together.
        """
        config = self.artifact.config
        table, windows = self._windows(fleet, every_row)
        rul, probabilities = score(
            self.runtime, windows, n_classes=config.labels.n_classes, batch_size=self.batch_size
        )
        ends = windows.ends.numpy()
        units, times = fleet.frame.get_column(fleet.schema.unit)[ends], table.times[ends]
        _refuse_non_finite(fleet, units, times, rul, probabilities)
        columns = {
            "unit": units,
            "time": times,
            "rul": config.labels.from_learned(rul.astype(np.float64)),
            "health": probabilities.argmax(axis=1),
        }
        for c in range(probabilities.shape[1]):
            columns[f"p_health_{c}"] = probabilities[:, c].astype(np.float64)
        columns["condition_distance"] = table.condition_distance[ends]
        return pl.DataFrame(columns)

    def predict_distribution(
        self, table: Fleet, *, every_row: bool = False
    ) -> tuple[pl.DataFrame, RULDistribution]:
        """Distributions of the uncapped RUL by the survival head, at the rows of :meth:`predict`.

        They are computed by the network in PyTorch, whatever the runtime, and calibrated on the
        validation units of the run.

        Args:
            table: a fleet.
            every_row: for every row instead of the last of each unit.

        Returns:
            ``unit``, ``time`` and ``age`` (time since the unit's first record) of the rows, and
            their distributions in the fleet's unit of time.

        Raises:
            ArtifactError: the network has no survival head.
            DataError: as :meth:`predict`.
        """
        features, windows = self._windows(table, every_row)
        distribution = survival_distribution(
            self.artifact, windows, device=self.device, batch_size=self.batch_size,
            source=self.source,
        )  # fmt: skip
        ends, begins = windows.ends.numpy(), windows.begins.numpy()
        times = features.times[ends]
        frame = pl.DataFrame(
            {
                "unit": table.frame.get_column(table.schema.unit)[ends],
                "time": times,
                "age": times - features.times[begins],
            }
        )
        return frame, distribution

    def _windows(self, fleet: Fleet, every_row: bool) -> tuple[FeatureTable, WindowSet]:
        """Inputs of the rows to predict, in the order of the fleet."""
        config, known = self.artifact.config, self.artifact.preprocessor.schema_.time_unit
        if fleet.schema.time_unit != known:
            raise DataError(
                f"time is counted in {fleet.schema.time_unit!r}, but the model was trained on "
                f"{known!r}.",
                source=fleet.name,
                remedy="convert the time column, and set time_unit of the schema accordingly.",
            )
        table = self.artifact.preprocessor.transform(fleet)
        windows = WindowSet.build(
            table, fleet, config.labels, config.windows, every_row=True, labelled_only=False
        )
        if windows.n_channels != self.artifact.model.c_in:
            raise ArtifactError(
                f"{self.source}: the preprocessing makes {windows.n_channels} channels, but the "
                f"network takes {self.artifact.model.c_in}. Remedy: restore the file from a copy, "
                "or train again."
            )
        return table, windows if every_row else windows.last_of_each_unit()

    def input_flags(self, fleet: Fleet) -> pl.DataFrame:
        """What is unusual about the inputs of each unit, compared with training.

        Returns:
            One row per unit: ``unit``, ``rows``, ``rows_filled``, ``rows_outside``,
            ``rows_unseen_condition``, ``channels_outside``, ``channels_missing``,
            ``attributes_unknown`` (see ``FeatureTable``), and ``padded``: the unit has fewer rows
            than the window covers.

        Raises:
            DataError: as :meth:`predict`.
        """
        flags = self.artifact.preprocessor.transform(fleet).flags
        assert flags is not None
        return flags.with_columns(padded=pl.col("rows") < self.artifact.config.windows.span)

    def score_stream(
        self, fleets: Iterable[Fleet], *, every_row: bool = False
    ) -> Iterator[pl.DataFrame]:
        """Predictions of one fleet after another, as :meth:`predict` makes them.

        For fleets that do not fit in memory: give a generator that reads one partition (whole
        units) at a time; only one is held.
        """
        for fleet in fleets:
            yield self.predict(fleet, every_row=every_row)


def _refuse_non_finite(
    fleet: Fleet,
    units: pl.Series,
    times: npt.NDArray[np.float64],
    rul: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float32],
) -> None:
    """A prediction that is no number must never be read as a health class.

    Raises:
        DataError: a prediction is NaN or infinite; unit and time are named.
    """
    wrong = np.flatnonzero(~(np.isfinite(rul) & np.isfinite(probabilities).all(axis=1)))
    if wrong.size:
        first = int(wrong[0])
        others = f" (and {wrong.size - 1} more)" if wrong.size > 1 else ""
        raise DataError(
            f"the prediction of unit {units[first]} at {fleet.schema.time} {times[first]:g} is NaN "
            f"or infinite{others}.",
            source=fleet.name,
            remedy="check the inputs of this unit with Predictor.input_flags; if they are usual, "
            "train the model again.",
        )


def score(
    runtime: Runtime, windows: WindowSet, *, n_classes: int, batch_size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """RUL in learned units (M,) and health probabilities (M, K) of M windows, in order.

    Windows are cut one batch at a time: memory beyond the rows and the results grows with
    ``batch_size``, not with M.
    """
    windows = windows.to(runtime.device)
    rul = np.empty(len(windows), dtype=np.float32)
    probabilities = np.empty((len(windows), n_classes), dtype=np.float32)
    for start in range(0, len(windows), batch_size):
        here = slice(start, min(start + batch_size, len(windows)))
        index = torch.arange(here.start, here.stop, device=runtime.device)
        rul[here], probabilities[here] = runtime(windows.gather(index))
    return rul, probabilities
