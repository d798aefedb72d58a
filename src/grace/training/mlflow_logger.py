"""Training curves and parameters in MLflow."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from grace.extras import MissingExtraError
from grace.training.callbacks import Callback, RunEnd, StepEnd, TrainStart
from grace.training.history import EpochRecord, FitResult

__all__ = ["MLflowLogger"]

# Limits of MLflow's tracking API.
_KEY, _VALUE, _BATCH = 250, 6000, 100
_NOT_IN_KEY = re.compile(r"[^\w\-. /]")


class _Param(NamedTuple):
    """As ``mlflow.entities.Param``, for a client that is used without MLflow."""

    key: str
    value: str


class MLflowLogger(Callback):
    """Logs a run as one MLflow run: configuration, metrics of the training, metrics of the test.

    The parameters are the complete configuration by dotted key: ``dataset``, ``method.name``,
    ``seed``, ``preset``, ``training.lr`` and so on; keys and values are cut at MLflow's limits.
    The test metrics name the rows that selected the checkpoint, for example
    ``validation_selected/test_rmse_capped``.

    It uses an MLflow client of its own and does not change MLflow's active run. A resumed training
    continues the same MLflow run and logs no step twice. Values that are not finite are left out,
    because not every MLflow store accepts them. MLflow's usage statistics are turned off unless
    ``MLFLOW_DISABLE_TELEMETRY`` is set.

    Args:
        experiment: name of the MLflow experiment; it is created if it does not exist. None takes
            ``MLFLOW_EXPERIMENT_NAME``, else ``grace``.
        run_name: name of the MLflow run; None takes the name of the run folder.
        tracking_uri: MLflow server or database, for example ``sqlite:///mlflow.db``; None uses
            MLflow's own setting (``MLFLOW_TRACKING_URI``).
        client: an ``mlflow.MlflowClient`` to use instead of a new one.

    Raises:
        MissingExtraError: MLflow is not installed and no client is given.

    Example:
        >>> logger = MLflowLogger(tracking_uri="sqlite:///mlflow.db")  # doctest: +SKIP
        >>> run(config, "runs/first", callbacks=[logger])  # doctest: +SKIP
    """

    def __init__(
        self,
        experiment: str | None = None,
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        client: Any = None,
    ) -> None:
        if client is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            try:
                from mlflow import MlflowClient
            except ImportError as error:
                raise MissingExtraError("mlflow is not installed", "mlflow") from error
            client = MlflowClient(tracking_uri=tracking_uri)
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "grace"
        self.run_name = run_name
        self._client = client
        self._run_id: str | None = None
        self._last_step = self._last_epoch = -1
        self._reached = 0  # last step of the training

    def on_train_start(self, start: TrainStart) -> None:
        """Create the MLflow run, or continue that of the checkpoint."""
        self._reached = max(0, start.first_step - 1)
        if self._run_id is not None:
            self._client.update_run(self._run_id, status="RUNNING")
            self._last_step = self._last_logged("step/loss")
            self._last_epoch = self._last_logged("epoch/loss")
            return
        name = self.run_name or start.name or None
        created = self._client.create_run(self._experiment_id(), run_name=name)
        self._run_id = created.info.run_id
        known = {**start.parameters, "device": start.device, "precision": start.precision}
        params = _params(known)
        for first in range(0, len(params), _BATCH):
            self._client.log_batch(self._run_id, params=params[first : first + _BATCH])

    def on_step_end(self, step: StepEnd) -> None:
        """Log the values of a step; a vector becomes one metric per component."""
        if step.logged and step.step > self._last_step:
            for name, value in step.log.as_dict().items():
                for i, item in enumerate(value.reshape(-1).tolist()):
                    self._metric(f"step/{name}" + (f"/{i}" if value.ndim else ""), item, step.step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Log the values of an epoch at its last step."""
        step = self._reached = record.step - 1
        if step > self._last_epoch:
            for name in ("lr", "loss", "rul_loss", "health_loss", "grad_norm"):
                self._metric(f"epoch/{name}", getattr(record, name), step)
            for name, value in record.rmse.items():
                self._metric(f"rmse/{name}", value, step)

    def on_train_end(self, result: FitResult) -> None:
        """Log the best RMSE of each monitor and mark the run as finished."""
        for name, best in result.best.items():
            self._metric(f"best_rmse/{name}", best.rmse, best.epoch)
        self._client.set_terminated(self._run_id, status="FINISHED")

    def on_run_end(self, end: RunEnd) -> None:
        """Log the metrics of the test set at the last step."""
        for name, value in end.metrics.items():
            self._metric(name, value, self._reached)

    def on_exception(self, error: BaseException) -> None:
        """Mark the run as failed, or as killed if the user interrupted it."""
        if self._run_id is not None:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            self._client.set_terminated(self._run_id, status=status)

    def state_dict(self) -> dict[str, Any]:
        """The identifier of the MLflow run."""
        return {} if self._run_id is None else {"run_id": self._run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the MLflow run of the checkpoint."""
        self._run_id = state["run_id"]

    def _experiment_id(self) -> str:
        """The experiment, created if it does not exist; runs of a grid may do so at once."""
        known = self._client.get_experiment_by_name(self.experiment)
        if known is not None:
            return str(known.experiment_id)
        try:
            return str(self._client.create_experiment(self.experiment))
        except Exception:
            known = self._client.get_experiment_by_name(self.experiment)
            if known is None:
                raise
            return str(known.experiment_id)

    def _metric(self, key: str, value: float, step: int) -> None:
        if math.isfinite(value):
            self._client.log_metric(self._run_id, key, value, step=step)

    def _last_logged(self, key: str) -> int:
        history = self._client.get_metric_history(self._run_id, key)
        return max((metric.step for metric in history), default=-1)


def _params(values: Mapping[str, Any]) -> list[Any]:
    """Parameters within MLflow's limits on characters and lengths."""
    try:
        from mlflow.entities import Param
    except ImportError:
        Param = _Param
    return [Param(_NOT_IN_KEY.sub("_", k)[:_KEY], str(v)[:_VALUE]) for k, v in values.items()]
