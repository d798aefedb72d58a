"""How a run goes, on a terminal: bars while it works, one line per epoch that stays."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from grace.experiments import RunListener
from grace.training.trainer import Progress as Step

__all__ = ["RunProgress"]


class RunProgress:
    """A context in which a run's progress is shown.

    Args:
        console: where to.
        epochs: at most how many.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._epochs = self.bars.add_task("epochs", total=epochs, visible=False)
        self._steps = self.bars.add_task("steps ", total=None, visible=False)

    def __enter__(self) -> RunProgress:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def listener(self) -> RunListener:
        """What to give to :func:`grace.experiments.run`."""
        return RunListener(on_stage=self._stage, on_progress=self._progress)

    def _stage(self, text: str) -> None:
        for task in (self._epochs, self._steps):
            self.bars.update(task, visible=False)
        self.console.print(f"[dim]·[/dim] {escape(text)}", highlight=False)

    def _progress(self, step: Step) -> None:
        self.bars.update(self._steps, completed=step.step, total=step.steps_per_epoch, visible=True)
        self.bars.update(self._epochs, completed=step.epoch, visible=True)
        record = step.record
        if record is None:
            return
        self.bars.update(self._epochs, completed=step.epoch + 1)
        rmse = ", ".join(f"{name} RMSE {value:.2f}" for name, value in record.rmse.items())
        weights = "/".join(f"{w:.2f}" for w in record.weights)
        self.console.print(
            f"  epoch {record.epoch + 1:>3}/{step.epochs}  {rmse}, health loss "
            f"{record.hs_loss:.2f}, weights {weights}, {record.seconds:.0f} s",
            highlight=False,
            soft_wrap=True,
        )
