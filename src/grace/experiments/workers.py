"""Runs in worker processes, several at once; a run that fails does not stop the others."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal, Protocol

import torch
import yaml

from grace.child_process import call
from grace.experiments.errors import WorkerError
from grace.experiments.run import run
from grace.experiments.user_message import user_message
from grace.training.callbacks import Callback, StepEnd, TrainStart
from grace.training.config import RunConfig
from grace.training.history import EpochRecord
from grace.training.loggers import build_logger
from grace.training.malloc import keep_freed_memory

__all__ = ["Channel", "Event", "Task", "do_task", "run_tasks", "serve"]

# How often a task is given to a new worker whose process ends before its first message. Memory may
# be short for a moment; a process that can never start is not tried forever.
_STARTS = 3
_PROGRESS_INTERVAL = 0.2  # seconds between messages of a run: a step can take a millisecond


@dataclass(frozen=True)
class Task:
    """A run to do: its configuration as YAML with every value spelt out, its folder and loggers."""

    name: str
    config: str
    folder: Path
    loggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What happened to a run.

    ``text`` is the stage, or how it ended: for ``failed`` the error. ``trace`` is the traceback of
    an error that is a bug, else empty. At most ``fraction`` of the
    training is done; early stopping ends it before 1.

    Example:
        >>> event = Event("FD001-grace-fast-seed42", "progress", "epoch 3 of 60", fraction=0.05)
        >>> event.ended, Event(event.name, "finished", seconds=41.0).ended
        (False, True)
    """

    name: str
    kind: Literal["started", "stage", "progress", "finished", "already finished", "failed"]
    text: str = ""
    trace: str = ""
    fraction: float = 0.0
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether this is the last event of the run."""
        return self.kind in ("finished", "already finished", "failed")


class Channel(Protocol):
    """What a run sends its events to: the connection to a parent process, or to a cluster."""

    def send(self, event: Event, /) -> None:
        """Send one event."""


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: Task | None = None
    heard: bool = False


def run_tasks(
    tasks: Sequence[Task],
    *,
    parallel: int,
    threads: int,
    data_root: Path | None,
    on_event: Callable[[Event], None],
) -> None:
    """Do all tasks, ``parallel`` at a time, each in a worker process with ``threads`` threads.

    A task that fails, or whose process ends, is reported as ``failed``; the others continue. A task
    whose process ends before its first message is given to a new one, up to three times. When this
    function ends, by an interrupt or in any other way, so do the workers.

    Raises:
        WorkerError: the first three workers ended before their first message.
    """
    pool = _Pool(deque(tasks), on_event)
    try:
        while pool.waiting or any(w.task for w in pool.workers):
            while pool.waiting and len(pool.workers) < parallel:
                pool.workers.append(_start(threads, data_root))
            for worker in pool.workers:
                if worker.task is None and pool.waiting:
                    pool.assign(worker)
            for ready in wait([w.connection for w in pool.workers]):
                pool.receive(next(w for w in pool.workers if w.connection is ready))
    finally:
        _stop(pool.workers)


@dataclass
class _Pool:
    """The tasks that wait, and the workers.

    ``starts`` counts by task the workers that ended before their first message; ``heard`` is
    whether any worker ever sent one.
    """

    waiting: deque[Task]
    on_event: Callable[[Event], None]
    workers: list[_Worker] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    heard: bool = False

    def assign(self, worker: _Worker) -> None:
        """Give the next task to an idle worker."""
        worker.task = task = self.waiting.popleft()
        if not self.starts[task.name]:
            self.on_event(Event(task.name, "started"))
        with suppress(OSError):  # it has ended: receiving from it will show how
            worker.connection.send(task)

    def receive(self, worker: _Worker) -> None:
        """Pass on one event of a worker, or what its end means for its task."""
        try:
            event: Event = worker.connection.recv()
        except (EOFError, OSError):
            self._ended(worker)
            return
        self.heard = worker.heard = True
        if event.ended:
            worker.task = None
        self.on_event(event)

    def _ended(self, worker: _Worker) -> None:
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        how, task = _exit_message(worker.process.exitcode), worker.task
        if task is None:
            return
        if worker.heard:
            self.on_event(Event(task.name, "failed", f"its process {how}"))
            return
        self.starts[task.name] += 1
        if not self.heard and self.starts.total() >= _STARTS:
            raise WorkerError(
                f"{self.starts.total()} worker processes ended before they began, the last one "
                f"{how}. Remedy: free memory or use fewer parallel runs; a script that starts a "
                'grid must guard its own start with `if __name__ == "__main__":`'
            )
        if self.starts[task.name] < _STARTS:
            self.waiting.appendleft(task)
        else:
            text = f"{_STARTS} processes ended before they began, the last one {how}"
            self.on_event(Event(task.name, "failed", text))


def _exit_message(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    with suppress(ValueError):  # a real-time signal has no name
        name = signal.Signals(-exitcode).name
        more = " (out of memory? Remedy: fewer --parallel-runs)" if name == "SIGKILL" else ""
        return f"was ended by {name}{more}"
    return f"was ended by signal {-exitcode}"


def _start(threads: int, data_root: Path | None) -> _Worker:
    # A fresh interpreter: a forked one cannot use a GPU, and may hold another thread's locks.
    context = get_context("spawn")
    here, there = context.Pipe()
    target = (__name__, "serve", there, threads, data_root)
    process = context.Process(target=call, args=target, daemon=True)
    with _inherited(threads):
        process.start()
    there.close()  # else the end of the worker would not end the pipe
    return _Worker(process, here)


@contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """What a new process inherits: limits on threads, and SIGINT ignored.

    A terminal sends SIGINT to every process of its group; the parent decides what it means.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    before = {name: os.environ.get(name) for name in names}
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()  # an idle one waits, and one at work has its checkpoints
    for worker in workers:
        worker.process.join(timeout=5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


def serve(connection: Connection, threads: int, data_root: Path | None) -> None:
    """The main function of a worker: do the tasks it receives, until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    keep_freed_memory()
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            connection.send(do_task(connection.recv(), data_root, connection))


class _SendProgress(Callback):
    """Sends the finished share of the training to the parent process."""

    def __init__(self, name: str, channel: Channel) -> None:
        self.name, self.channel = name, channel
        self.total, self.last = 1, 0.0

    def on_train_start(self, start: TrainStart) -> None:
        self.total = start.epochs * start.steps_per_epoch

    def on_step_end(self, step: StepEnd) -> None:
        if time.monotonic() - self.last > _PROGRESS_INTERVAL:
            self._send(step.step + 1)

    def on_epoch_end(self, record: EpochRecord) -> None:
        self._send(record.step)

    def _send(self, steps: int) -> None:
        self.last = time.monotonic()
        self.channel.send(Event(self.name, "progress", fraction=min(1.0, steps / self.total)))


def do_task(task: Task, data_root: Path | None, channel: Channel) -> Event:
    """Do one run, and how it ended."""
    began = time.monotonic()

    def stage(text: str) -> None:
        channel.send(Event(task.name, "stage", text))

    stage("starting")
    try:
        config = RunConfig.model_validate(yaml.safe_load(task.config))
        progress = _SendProgress(task.name, channel)
        callbacks = [progress, *(build_logger(name) for name in task.loggers)]
        result = run(config, task.folder, data_root=data_root, callbacks=callbacks, on_stage=stage)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        message = user_message(error)
        trace = "" if message else "".join(traceback.format_exception(error))
        text = message or str(error) or type(error).__name__
        return Event(task.name, "failed", text, trace, seconds=time.monotonic() - began)
    evaluation = result.evaluation
    mark = f" ({evaluation.protocol.mark})" if evaluation.protocol.mark else ""
    return Event(
        task.name,
        "already finished" if result.resumed_complete else "finished",
        f"RMSE {evaluation.rmse:.2f}, NASA {evaluation.nasa:.0f}{mark}",
        seconds=time.monotonic() - began,
    )
