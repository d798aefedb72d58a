"""Runs on a Ray cluster: the same runs, folders and events as on one machine."""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from grace._version import __version__
from grace.experiments.errors import WorkerError
from grace.experiments.workers import Event, Task, do_task
from grace.extras import install_remedy
from grace.training.errors import ConfigError

__all__ = ["ATTEMPTS", "check_nodes", "connected", "run_tasks_on_ray", "thread_limits"]

ATTEMPTS = 3  # of a run whose worker or node is lost
_POLL = 0.2  # seconds between readings of the events
_NODE_CHECK = 120.0  # seconds; a node may have to start its first worker process


def run_tasks_on_ray(
    tasks: Sequence[Task],
    *,
    parallel: int | None,
    threads: int,
    data_root: Path | None,
    on_event: Callable[[Event], None],
    gpus: float = 0.0,
) -> None:
    """Do all tasks on the cluster that ``RAY_ADDRESS`` names, else on one started here.

    All nodes must see the folders of the tasks and the data under the same paths (a shared file
    system), and have the same version of grace. A run whose worker or node is lost is given to
    another one, at most three times in all, and continues from its last checkpoint.

    Args:
        tasks: the runs.
        parallel: maximum number of runs at the same time; None leaves it to the cluster.
        threads: CPU threads of each run; results are those of one machine with as many threads.
        data_root: where the data is, on every node; None searches the usual places.
        on_event: called with everything that happens.
        gpus: share of a GPU that each run takes; 0 trains on CPUs.

    Raises:
        ConfigError: Ray is not installed, or no node has that many CPUs or GPUs.
        WorkerError: a node does not see the folder, or has another version of grace.
    """
    with connected() as ray:
        check_nodes(ray, tasks[0].folder.parent, threads, gpus)
        mailbox = ray.remote(num_cpus=0)(_Mailbox).remote()
        remote = ray.remote(
            num_cpus=threads,
            num_gpus=gpus,
            max_retries=0,  # lost runs are submitted again here, where it can be reported
            runtime_env={"env_vars": thread_limits(threads)},
        )(_remote_run)
        waiting, running = deque(tasks), dict[Any, Task]()
        losses: Counter[str] = Counter()
        once: set[tuple[str, str]] = set()

        def pass_on(event: Event) -> None:
            """The mailbox may be later than the end of a run, and a run may start twice."""
            key = (event.name, "ended" if event.ended else event.kind)
            if (event.name, "ended") in once or (event.kind == "started" and key in once):
                return
            once.add(key)
            on_event(event)

        try:
            while waiting or running:
                while waiting and (parallel is None or len(running) < parallel):
                    task = waiting.popleft()
                    running[remote.remote(task, data_root, threads, mailbox)] = task
                done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL)
                for event in ray.get(mailbox.take.remote()):
                    pass_on(event)
                for reference in done:
                    task = running.pop(reference)
                    try:
                        pass_on(ray.get(reference))
                    except ray.exceptions.RayError as error:
                        losses[task.name] += 1
                        why = f"its worker was lost ({type(error).__name__})"
                        if losses[task.name] < ATTEMPTS:
                            pass_on(Event(task.name, "stage", f"{why}; started again"))
                            waiting.append(task)
                        else:
                            pass_on(Event(task.name, "failed", f"{why} {ATTEMPTS} times"))
        finally:
            for reference in running:
                with suppress(Exception):
                    ray.cancel(reference, force=True)


@contextmanager
def connected() -> Iterator[Any]:
    """The ``ray`` module, connected to a cluster; what is started here is ended here.

    Raises:
        ConfigError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError(
            f"the engine ray needs the package ray. {install_remedy('ray')}"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    with suppress(ValueError):  # not in the main thread: nothing was replaced
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def thread_limits(threads: int) -> dict[str, str]:
    """Environment of a worker that computes with so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    return dict.fromkeys(names, str(threads))


def check_nodes(ray: Any, folder: Path, threads: int, gpus: float) -> None:
    """Find out before any work what would make every task of a node fail.

    Raises:
        ConfigError: no node has that many CPUs or GPUs.
        WorkerError: a node does not answer, does not see the folder, or has another version.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not any(
        n["Resources"].get("CPU", 0) >= threads and n["Resources"].get("GPU", 0) >= gpus
        for n in nodes
    ):
        most = max((n["Resources"].get("CPU", 0) for n in nodes), default=0)
        cards = max((n["Resources"].get("GPU", 0) for n in nodes), default=0)
        raise ConfigError(
            f"a run asks for {threads} threads and {gpus:g} GPUs, but the largest node has "
            f"{most:g} CPUs and {cards:g} GPUs. Remedy: fewer --threads-per-run or --gpus-per-run"
        )
    token = folder.absolute() / f".ray-{uuid.uuid4().hex}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = {
            look.options(scheduling_strategy=affinity(n["NodeID"], soft=False)).remote(token): n
            for n in nodes
        }
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_NODE_CHECK)
        for reference in late:
            raise WorkerError(f"node {_address(asked[reference])} does not answer")
        for reference in done:
            seen, version = ray.get(reference)
            where = _address(asked[reference])
            if version != __version__:
                raise WorkerError(
                    f"node {where} has grace {version}, this one {__version__}. Remedy: install "
                    "the same version on every node"
                )
            if not seen:
                raise WorkerError(
                    f"node {where} does not see {folder.absolute()}. Remedy: choose an output "
                    "folder on a file system that all nodes share"
                )
    finally:
        token.unlink(missing_ok=True)


def _address(node: Any) -> str:
    return str(node["NodeManagerAddress"])


def _look(token: Path) -> tuple[bool, str]:
    from grace._version import __version__ as version

    return token.exists(), version


class _Mailbox:
    """Keeps the events of all runs until the driver takes them; runs in a process of its own."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[Event]:
        taken, self.events = self.events, []
        return taken


class _Channel:
    """What a run writes its events to: the mailbox, with the interface of a connection."""

    def __init__(self, mailbox: Any) -> None:
        self.mailbox = mailbox

    def send(self, event: Event) -> None:
        self.mailbox.put.remote(event)


def _remote_run(task: Task, data_root: Path | None, threads: int, mailbox: Any) -> Event:
    """Do one run in a worker of the cluster, and how it ended."""
    import torch

    from grace.training.malloc import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()
    channel = _Channel(mailbox)
    began = time.monotonic()
    channel.send(Event(task.name, "started"))
    event = do_task(task, data_root, channel)
    return Event(
        event.name, event.kind, event.text, event.trace, event.fraction, time.monotonic() - began
    )
