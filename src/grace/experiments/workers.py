"""Runs in processes of their own: several at once, and none takes another down with it."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

import torch

__all__ = ["Event", "Task", "work_off"]

# No more than one word per run and this many seconds: a step can take a millisecond.
_SILENCE = 0.2


@dataclass(frozen=True)
class Task:
    """A run to do: its configuration as YAML (spelt out, no preset needed), and its folder."""

    name: str
    config: str
    folder: Path


@dataclass(frozen=True)
class Event:
    """What a worker tells of a run.

    ``text`` is the stage, or how it ended: for ``failed`` the error in one or a few lines.
    ``trace`` is the traceback of an error that is no user's to mend, else empty. ``fraction`` of
    the training, at most, is behind it; early stopping ends it before 1.
    """

    name: str
    kind: Literal["started", "stage", "progress", "finished", "already finished", "failed"]
    text: str = ""
    trace: str = ""
    fraction: float = 0.0
    seconds: float = 0.0


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: Task | None = None


def work_off(
    tasks: Sequence[Task],
    *,
    parallel: int,
    threads: int,
    data_root: Path | None,
    tell: Callable[[Event], None],
) -> None:
    """Do all tasks, ``parallel`` at a time, each in a worker process with ``threads`` threads.

    A task that fails, or whose process dies, is told as ``failed``; the others go on. An interrupt
    stops all workers: their runs go on from their last checkpoint when asked for again.

    Workers are started afresh, so a script that calls this must guard its own start with
    ``if __name__ == "__main__":``.
    """
    waiting = deque(tasks)
    workers: list[_Worker] = []
    try:
        while waiting or any(w.task for w in workers):
            while waiting and len(workers) < parallel:
                workers.append(_start(threads, data_root))
            for worker in workers:
                if worker.task is None and waiting:
                    _give(worker, waiting.popleft(), tell)
            for ready in wait([w.connection for w in workers]):
                worker = next(w for w in workers if w.connection is ready)
                if not _listen(worker, tell):
                    workers.remove(worker)
    finally:
        _stop(workers)


def _give(worker: _Worker, task: Task, tell: Callable[[Event], None]) -> None:
    worker.task = task
    tell(Event(task.name, "started"))
    with suppress(OSError):  # it has died: listening to it will tell
        worker.connection.send(task)


def _listen(worker: _Worker, tell: Callable[[Event], None]) -> bool:
    """Pass on one event; False if the worker is no more."""
    try:
        event: Event = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        if worker.task is not None:
            tell(Event(worker.task.name, "failed", _epitaph(worker.process.exitcode)))
        return False
    if event.kind in ("finished", "already finished", "failed"):
        worker.task = None
    tell(event)
    return True


def _epitaph(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        more = " (out of memory?)" if name == "SIGKILL" else ""
        how = f"was ended by {name}{more}"
    else:
        how = f"ended with exit code {exitcode}"
    return f"its process {how}. Remedy: give the same command again, with fewer --parallel-runs."


def _start(threads: int, data_root: Path | None) -> _Worker:
    # A fresh interpreter: a forked one cannot use a GPU, and may hold another thread's locks.
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, threads, data_root), daemon=True)
    with _thread_limit(threads):
        process.start()
    there.close()  # else the end of the worker would not end the pipe
    return _Worker(process, here)


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Libraries that a new process loads read these once, at their start."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), threads)
    before: Mapping[str, str | None] = {name: os.environ.get(name) for name in limits}
    os.environ.update({name: str(value) for name, value in limits.items()})
    try:
        yield
    finally:
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
    from grace.training.memory import keep_freed_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    torch.set_num_threads(threads)
    keep_freed_memory()
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            connection.send(_work(connection.recv(), data_root, connection))


def _work(task: Task, data_root: Path | None, connection: Connection) -> Event:
    """Do one run and tell how it ended."""
    import yaml

    from grace.experiments.run import RunListener, run
    from grace.training.config import RunConfig
    from grace.training.trainer import Progress

    last = 0.0

    def stage(text: str) -> None:
        connection.send(Event(task.name, "stage", text))

    def progress(step: Progress) -> None:
        nonlocal last
        if step.record is None and time.monotonic() - last < _SILENCE:
            return
        last = time.monotonic()
        done = (step.epoch + step.step / step.steps_per_epoch) / step.epochs
        connection.send(Event(task.name, "progress", fraction=min(1.0, done)))

    began = time.monotonic()
    try:
        config = RunConfig.model_validate(yaml.safe_load(task.config))
        listener = RunListener(stage, progress)
        result = run(config, task.folder, data_root=data_root, listener=listener)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        ours = type(error).__module__.startswith("grace") or "grace-rul[" in str(error)
        trace = "" if ours else "".join(traceback.format_exception(error))
        return Event(
            task.name, "failed", str(error) or type(error).__name__, trace,
            seconds=time.monotonic() - began,
        )  # fmt: skip
    kind: Literal["finished", "already finished"] = (
        "already finished" if result.resumed_complete else "finished"
    )
    text = f"RMSE {result.evaluation.rmse:.2f}, NASA {result.evaluation.nasa:.0f}"
    return Event(task.name, kind, text, seconds=time.monotonic() - began)
