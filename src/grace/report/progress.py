"""Progress of runs on a terminal: bars while they run, and one line per finished part."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from grace.experiments import Event
from grace.training.callbacks import Callback, StepEnd, TrainStart
from grace.training.history import EpochRecord

__all__ = ["GridProgress", "RunProgress"]


_B = TypeVar("_B", bound="_Bars")


class _Bars:
    """A context in which bars are shown."""

    bars: Progress

    def __enter__(self: _B) -> _B:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()


class RunProgress(_Bars, Callback):
    """A context in which the progress of a run is shown; also the callback that updates it.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._epochs = self.bars.add_task("epochs", total=None, visible=False)
        self._steps = self.bars.add_task("steps ", total=None, visible=False)

    def on_stage(self, text: str) -> None:
        """Print the name of the next stage; argument of :func:`grace.experiments.run`."""
        for task in (self._epochs, self._steps):
            self.bars.update(task, visible=False)
        self.console.print(f"[dim]·[/dim] {escape(text)}", highlight=False)

    def on_train_start(self, start: TrainStart) -> None:
        """Show the bars."""
        self._n_epochs = start.epochs
        self.bars.update(
            self._epochs, completed=start.first_epoch, total=start.epochs, visible=True
        )
        self.bars.update(self._steps, completed=0, total=start.steps_per_epoch, visible=True)

    def on_step_end(self, step: StepEnd) -> None:
        """Move the bar of the epoch."""
        self.bars.update(self._steps, completed=step.step_in_epoch)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Print a line that stays."""
        self.bars.update(self._epochs, completed=record.epoch + 1)
        rmse = ", ".join(f"{name} RMSE {value:.2f}" for name, value in record.rmse.items())
        weights = "/".join(f"{w:.2f}" for w in record.weights)
        self.console.print(
            f"  epoch {record.epoch + 1:>3}/{self._n_epochs}  {rmse}, health loss "
            f"{record.health_loss:.2f}, weights {weights}, {record.seconds:.0f} s",
            highlight=False,
            soft_wrap=True,
        )


class GridProgress(_Bars):
    """A context in which the progress of a grid is shown: a bar per active run, a line at its end.

    Args:
        console: where to print.
        names: names of all runs.
    """

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._total, self._ended = len(names), 0
        self._all = self.bars.add_task("all runs", total=len(names), note=f"0/{len(names)}")
        self._running: dict[str, TaskID] = {}

    def on_event(self, event: Event) -> None:
        """Show an event; argument of :func:`grace.experiments.grid`."""
        if event.kind == "started":
            self._running[event.name] = self.bars.add_task(escape(event.name), total=1.0, note="")
            return
        bar = self._running[event.name]
        if event.kind == "stage":
            self.bars.update(bar, note=f"[dim]{escape(event.text)}[/dim]")
        elif event.kind == "progress":
            self.bars.update(bar, completed=event.fraction, note="training")
        else:
            self._end(event, bar)

    def _end(self, event: Event, bar: TaskID) -> None:
        self.bars.remove_task(bar)
        self._ended += 1
        self.bars.update(
            self._all, completed=self._ended, note=f"{self._ended}/{self._total} ended"
        )
        mark = "[bold red]failed[/bold red]" if event.kind == "failed" else event.kind
        took = f", {event.seconds:.0f} s" if event.kind == "finished" else ""
        self.console.print(
            f"[dim]{self._ended}/{self._total}[/dim] {escape(event.name)}: {mark}, "
            f"{escape(event.text)}{took}",
            highlight=False,
            soft_wrap=True,
        )
        if event.trace:
            self.console.print(escape(event.trace), highlight=False, soft_wrap=True)
