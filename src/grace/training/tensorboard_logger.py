"""Training curves in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grace.extras import MissingExtraError
from grace.training.callbacks import Callback, RunEnd, StepEnd, TrainStart
from grace.training.history import EpochRecord, FitResult

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(Callback):
    """Writes losses, gradient norms, task weights, RMSE and configuration as TensorBoard events.

    The configuration of the run is a table on the page "Text". The metrics of the test set, one
    value each, are written at the end of the run.

    Steps are logged every ``log_every`` steps. When a training resumes, TensorBoard discards the
    events of the steps that are repeated.

    Args:
        folder: where to write the event files; None uses ``tensorboard/`` in the run folder.

    Raises:
        MissingExtraError: TensorBoard is not installed.
        ValueError: neither ``folder`` nor a run folder is given (when the training starts).

    Example:
        >>> run(config, "runs/first", callbacks=[TensorBoardLogger()])  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard is not installed", "tensorboard") from error
        self.folder = None if folder is None else Path(folder)
        self._writer_class: Any = SummaryWriter
        self._writer: Any = None
        self._last_step = 0

    def on_train_start(self, start: TrainStart) -> None:
        """Open the event file."""
        folder = self.folder or (start.run_dir and start.run_dir / "tensorboard")
        if folder is None:
            raise ValueError(
                "TensorBoardLogger has no folder. Remedy: pass folder=…, or train in a run folder."
            )
        self._writer = self._writer_class(str(folder), purge_step=start.first_step)
        known = {**start.parameters, "device": start.device, "precision": start.precision}
        lines = ["| parameter | value |", "| --- | --- |"]
        lines += [f"| {key} | {_cell(value)} |" for key, value in known.items()]
        self._writer.add_text("configuration", "\n".join(lines), start.first_step)
        self._last_step = start.first_step

    def on_step_end(self, step: StepEnd) -> None:
        """Log the values of a step; a vector becomes one curve per component."""
        if step.logged:
            for name, value in step.log.as_dict().items():
                for i, item in enumerate(value.reshape(-1).tolist()):
                    curve = f"step/{name}" + (f"/{i}" if value.ndim else "")
                    self._writer.add_scalar(curve, item, step.step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Log the values of an epoch at its last step."""
        step = record.step - 1
        for name in ("lr", "loss", "rul_loss", "health_loss", "grad_norm"):
            self._writer.add_scalar(f"epoch/{name}", getattr(record, name), step)
        for name, value in record.rmse.items():
            self._writer.add_scalar(f"rmse/{name}", value, step)
        self._last_step = step
        self._writer.flush()

    def on_train_end(self, result: FitResult) -> None:
        """Close the event file."""
        self._writer.close()

    def on_run_end(self, end: RunEnd) -> None:
        """Log the metrics of the test set, in an event file of their own."""
        for name, value in end.metrics.items():
            self._writer.add_scalar(name, value, self._last_step)
        self._writer.close()

    def on_exception(self, error: BaseException) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


def _cell(value: Any) -> str:
    """A value as a cell of a Markdown table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
