"""Runs in processes of their own: several at once, and none takes another down with it."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

import torch
import yaml

from grace.experiments.run import run
from grace.experiments.user_message import user_message
from grace.training.callbacks import Callback, StepEnd, TrainStart
from grace.training.config import RunConfig
from grace.training.history import EpochRecord
from grace.training.malloc import keep_freed_memory

__all__ = ["Event", "Task", "run_tasks"]

_PROGRESS_INTERVAL = 0.2  # seconds between messages of a run: a step can take a millisecond


@dataclass(frozen=True)
class Task:
    """A run to do: its configuration as YAML with every value spelt out, and its folder."""

    name: str
    config: str
    folder: Path


@dataclass(frozen=True)
class Event:
    """What happened to a run.

    ``text`` is the stage, or how it ended: for ``failed`` the error. ``trace`` is the traceback of
    an error that is a bug and not the user's to mend, else empty. At most ``fraction`` of the
    training is done; early stopping ends it before 1.
    """

    name: str
    kind: Literal["started", "stage", "progress", "finished", "already finished", "failed"]
    text: str = ""
    trace: str = ""
    fraction: float = 0.0
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more will be heard of this run."""
        return self.kind in ("finished", "already finished", "failed")


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

    A task that fails, or whose process dies, is reported as ``failed``; the others go on. When
    this ends, by an interrupt or in any other way, so do the workers.

    Raises:
        RuntimeError: the first worker died before it said anything.
    """
    waiting = deque(tasks)
    workers: list[_Worker] = []
    try:
        while waiting or any(w.task for w in workers):
            while waiting and len(workers) < parallel:
                workers.append(_start(threads, data_root))
            for worker in workers:
                if worker.task is None and waiting:
                    _assign(worker, waiting.popleft(), on_event)
            for ready in wait([w.connection for w in workers]):
                worker = next(w for w in workers if w.connection is ready)
                if not _receive(worker, on_event):
                    workers.remove(worker)
    finally:
        _stop(workers)


def _assign(worker: _Worker, task: Task, on_event: Callable[[Event], None]) -> None:
    worker.task = task
    on_event(Event(task.name, "started"))
    with suppress(OSError):  # it has died: receiving from it will tell
        worker.connection.send(task)


def _receive(worker: _Worker, on_event: Callable[[Event], None]) -> bool:
    """Pass on one event; False if the worker is no more."""
    try:
        event: Event = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        how = _exit_message(worker.process.exitcode)
        if not worker.heard:
            raise RuntimeError(
                f"a worker process {how} before it began. A script that starts a grid must guard "
                'its own start with `if __name__ == "__main__":`'
            ) from None
        if worker.task is not None:
            on_event(Event(worker.task.name, "failed", f"its process {how}"))
        return False
    worker.heard = True
    if event.ended:
        worker.task = None
    on_event(event)
    return True


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
    process = context.Process(target=_serve, args=(there, threads, data_root), daemon=True)
    with _inherited(threads):
        process.start()
    there.close()  # else the end of the worker would not end the pipe
    return _Worker(process, here)


@contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """What a new process takes over at its start: limits on threads, and deafness to Ctrl-C.

    An interrupt of a terminal goes to every process; what it means is the parent's to decide.
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


def _serve(connection: Connection, threads: int, data_root: Path | None) -> None:
    """The life of a worker: do the tasks it is given, until it is ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    keep_freed_memory()
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            connection.send(_do(connection.recv(), data_root, connection))


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on writing into the run's folder."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _SendProgress(Callback):
    """Sends the finished share of the training to the parent process."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name, self.connection = name, connection
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
        self.connection.send(Event(self.name, "progress", fraction=min(1.0, steps / self.total)))


def _do(task: Task, data_root: Path | None, connection: Connection) -> Event:
    """Do one run, and how it ended."""
    began = time.monotonic()

    def stage(text: str) -> None:
        connection.send(Event(task.name, "stage", text))

    stage("starting")
    try:
        config = RunConfig.model_validate(yaml.safe_load(task.config))
        progress = _SendProgress(task.name, connection)
        result = run(config, task.folder, data_root=data_root, callbacks=[progress], on_stage=stage)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        told = user_message(error)
        trace = "" if told else "".join(traceback.format_exception(error))
        text = told or str(error) or type(error).__name__
        return Event(task.name, "failed", text, trace, seconds=time.monotonic() - began)
    evaluation = result.evaluation
    mark = f" ({evaluation.protocol.mark})" if evaluation.protocol.mark else ""
    return Event(
        task.name,
        "already finished" if result.resumed_complete else "finished",
        f"RMSE {evaluation.rmse:.2f}, NASA {evaluation.nasa:.0f}{mark}",
        seconds=time.monotonic() - began,
    )
