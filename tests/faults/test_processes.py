"""Processes that are ended from outside: by a signal, or because their parent was killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from grace.experiments import Event, grid, grid_configs, workers
from grace.experiments.errors import WorkerError
from grace.training.config import RunConfig

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "grace.cli", *arguments],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # a caller under nohup ignores SIGHUP, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip


@posix
@pytest.mark.parametrize(
    ("command", "name"),
    [
        # SIGTERM and SIGINT of a training are among the trials of test_faults.py.
        ("train", "SIGHUP"),
        pytest.param("grid", "SIGTERM", marks=pytest.mark.exhaustive),
        pytest.param("grid", "SIGINT", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_command_with_one_line(
    tiny_values: dict[str, Any], tmp_path: Path, command: str, name: str
) -> None:
    tiny_values["training"]["epochs"] = 5000
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(tiny_values))
    more = ["--method", "grace", "--seed", "1"] if command == "grid" else []
    process = start(command, "--config", "long.yaml", "--out", "made", *more, folder=tmp_path)
    wait_for(lambda: any((tmp_path / "made").glob("**/checkpoint.pt")))
    time.sleep(random.random() * 0.1)
    number = signal.Signals[name]
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in text
    assert text.count("\n") == 1, text
    assert ("Interrupted" if name == "SIGINT" else name) in text
    assert "kept; the same command continues" in text


@posix
@pytest.mark.slow
def test_workers_end_with_a_killed_parent_even_before_they_begin(
    tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    tiny_values["training"]["epochs"] = 5000
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(tiny_values))
    arguments = ("grid", "--config", "long.yaml", "--method", "amnl", "--out", "grid")
    process = start(*arguments, folder=tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("the kernel does not list children")
    found: list[int] = []

    def one_worker() -> bool:
        found[:] = [int(p) for p in children.read_text().split() if is_worker(int(p))]
        return len(found) == 1

    wait_for(one_worker)
    time.sleep(1.0)  # importing: the first message comes seconds later
    process.kill()
    process.communicate()
    killed = time.monotonic()
    wait_for(lambda: not any(is_worker(pid) for pid in found), seconds=20)
    assert time.monotonic() - killed < 5.0  # about 0.1 s; 15 s if they finish importing


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def end_unheard(times: int) -> Callable[..., Any]:
    """As ``workers._start``, but the first workers end before they say anything."""
    original, left = workers._start, [times]

    def start(threads: int, data_root: Path | None) -> Any:
        worker = original(threads, data_root)
        if left[0]:
            left[0] -= 1
            worker.process.kill()
        return worker

    return start


@pytest.mark.usefixtures("quick_workers")
def test_a_worker_that_ends_before_its_first_message_is_replaced(
    tiny: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_start", end_unheard(2))
    events: list[Event] = []
    result = grid({"a": tiny()}, tmp_path, threads_per_run=1, on_event=events.append)
    assert not result.failed
    assert [e.kind for e in events if e.kind == "started"] == ["started"]
    assert events[-1].kind == "finished"


@pytest.mark.usefixtures("quick_workers")
def test_a_worker_that_always_ends_fails_its_own_task_only(
    tiny: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny(method={"outer_options": {}}, training={"epochs": 1})
    base = base.model_copy(update={"method": base.method.model_copy(update={"outer_options": {}})})
    configs = grid_configs(base, datasets=["sim"], methods=["amnl"], seeds=[1, 2])
    first, second = configs
    original, calls = workers._start, [0]

    def start(threads: int, data_root: Path | None) -> Any:
        worker = original(threads, data_root)
        calls[0] += 1
        if 2 <= calls[0] <= 4:  # after one that worked
            worker.process.kill()
        return worker

    monkeypatch.setattr(workers, "_start", start)
    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)
        if event.kind == "finished" and event.name == first:
            multiprocessing.active_children()[0].kill()  # the next task needs a new worker

    result = grid(configs, tmp_path, threads_per_run=1, on_event=note)
    assert result.outcomes[first].kind == "finished"
    assert result.outcomes[second].kind == "failed"
    assert "SIGKILL" in result.outcomes[second].text


@pytest.mark.usefixtures("quick_workers")
def test_workers_that_never_begin_end_the_grid_with_one_message(
    tiny: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grace.experiments.user_message import user_message

    monkeypatch.setattr(workers, "_start", end_unheard(99))
    with pytest.raises(WorkerError, match=r"3 worker processes .* SIGKILL") as caught:
        grid({"a": tiny(), "b": tiny()}, tmp_path, parallel_runs=2, threads_per_run=1)
    assert user_message(caught.value) == str(caught.value)
    assert multiprocessing.active_children() == []
