"""Distributions of the remaining useful life by the survival head of a trained network."""

from __future__ import annotations

import copy

import numpy as np
import polars as pl
import torch

from grace.data.fleet import Fleet
from grace.data.labels import survived
from grace.data.windows import WindowSet
from grace.prediction.artifact import Artifact, ArtifactError
from grace.uncertainty import RULDistribution, UnitCalibration, evaluation_points

__all__ = ["calibrate_survival", "survival_distribution"]


@torch.inference_mode()
def survival_distribution(
    artifact: Artifact,
    windows: WindowSet,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    source: str = "artifact",
) -> RULDistribution:
    """Distributions of M windows in the fleet's unit of time, calibrated if the artifact can.

    Args:
        artifact: with a survival head.
        windows: inputs of the rows.
        device: where to compute.
        batch_size: windows per forward pass.
        source: what a message names.

    Raises:
        ArtifactError: the network has no survival head, or gives values that are not finite.
    """
    head = artifact.model.survival_head
    if head is None:
        raise ArtifactError(
            f"{source}: the network has no survival head, so it gives no distribution. Remedy: "
            "train with `--set survival.enabled=true`, or use grace.RULModel, which has one for "
            "every predictor."
        )
    windows = windows.to(device)
    model = copy.deepcopy(artifact.model).to(device).eval()
    assert model.survival_head is not None
    hazards = np.empty((len(windows), len(head.edges) - 1))
    for index in torch.arange(len(windows), device=device).split(batch_size):
        logits = model.survival_head(model.features(windows.gather(index)))
        hazards[index.cpu().numpy()] = torch.sigmoid(logits.double()).cpu().numpy()
    if not np.isfinite(hazards).all():
        raise ArtifactError(
            f"{source}: hazards of the survival head are NaN or infinite. Remedy: check the inputs "
            "with Predictor.input_flags; if they are usual, train again."
        )
    edges = artifact.config.labels.from_learned(head.edges.double().cpu().numpy())
    raw = RULDistribution.from_hazards(edges, hazards)
    if artifact.calibration is None:
        return raw
    return artifact.calibration.apply(raw, raw.median)


def calibrate_survival(artifact: Artifact, fleet: Fleet) -> UnitCalibration | None:
    """Calibration of the survival head on units that the network was not trained on.

    Args:
        artifact: with a survival head, not yet calibrated.
        fleet: held-out units.

    Returns:
        The calibration by unit, in zones of the predicted median where there are units enough;
        None if no RUL is known.
    """
    rul, times = fleet.rul(), fleet.times()
    if not np.isfinite(rul).any():
        return None
    rows = pl.DataFrame(
        {
            "unit": np.repeat(np.arange(fleet.n_units), fleet.lengths()),
            "age": times - np.repeat(times[fleet.starts()], fleet.lengths()),
            "rul_true": pl.Series(rul).fill_nan(None),
            "censored_after": survived(fleet),
            "fold": np.zeros(fleet.n_rows, dtype=np.int64),
            "row": np.arange(fleet.n_rows, dtype=np.float64),
        }
    )
    points = evaluation_points(rows, "row")
    config = artifact.config
    windows = WindowSet.build(
        artifact.preprocessor.transform(fleet), fleet, config.labels, config.windows,
        every_row=True, labelled_only=False,
    )  # fmt: skip
    raw = survival_distribution(artifact, windows.take(torch.from_numpy(points.row)))
    return UnitCalibration.fit(
        raw, points.y, unit=points.unit, prediction=raw.median, event=points.event
    )
