"""Killed without warning, again and again, a run ends as if nothing had happened."""

from __future__ import annotations

import json
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

from grace.experiments.run import run
from grace.training.callbacks import Callback, StepEnd
from grace.training.config import RunConfig
from grace.training.jsonl_logger import read_jsonl

# Imports once, then trains in a forked child for each line that it reads. A pause in every step
# makes the moment of the kill finer than a step.
SCRIPT = """
import json, os, sys, time
import torch._dynamo  # else every child imports it with its first optimizer
from grace.experiments.run import run
from grace.training.callbacks import Callback
from grace.training.config import RunConfig
class Pause(Callback):
    def on_step_end(self, step):
        time.sleep(0.02)
config = RunConfig.model_validate(json.loads(sys.argv[1]))
for line in sys.stdin:
    child = os.fork()
    if not child:
        run(config, sys.argv[2], callbacks=[Pause()])
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Killer:
    """Trains in a process of its own, which is killed."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.folder = folder
        arguments = [sys.executable, "-c", SCRIPT, config.model_dump_json(), str(folder)]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def kill_after(self, steps: int, delay: float) -> None:
        """Start, wait until so many steps are logged and a little longer, and kill."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        deadline = time.monotonic() + 120
        while lines(self.folder / "telemetry.jsonl") < steps:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        assert int(self.process.stdout.readline()) == signal.SIGKILL  # it had not ended before

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate(timeout=60)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def history(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in r.items() if k != "seconds"} for r in read_jsonl(folder / "history.jsonl")
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_runs_end_to_the_bit_like_an_undisturbed_one(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = tiny(training={"epochs": 5, "batch_size": 16})
    whole = run(config, tmp_path / "whole")
    per_epoch = read_jsonl(whole.folder / "history.jsonl")[0]["step"]
    rng = random.Random(os.environ.get("GRACE_TEST_SEED", "0"))
    parts = tmp_path / "parts"
    # Early in the first epoch, around the first checkpoint, and somewhere later.
    moments = (
        (2, per_epoch - 1),
        (per_epoch, per_epoch + 2),
        (2 * per_epoch, 4 * per_epoch),
    )
    with Killer(config, parts) as killer:
        for low, high in moments:
            killer.kill_after(rng.randint(low, high), rng.uniform(0, 0.04))
    assert not (parts / "artifact.json").exists()
    assert 1 <= lines(parts / "telemetry.jsonl") < lines(whole.folder / "telemetry.jsonl")

    seen: list[int] = []

    class Watch(Callback):
        def on_step_end(self, step: StepEnd) -> None:
            seen.append(step.epoch)

    resumed = run(config, parts, callbacks=[Watch()])
    assert min(seen) >= 1  # it went on, and did not begin again
    for name in ("weights.safetensors", "telemetry.jsonl"):
        assert (parts / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert history(parts) == history(whole.folder)
    assert resumed.evaluation == whole.evaluation
    metrics = [json.loads((f / "metrics.json").read_text()) for f in (parts, whole.folder)]
    assert metrics[0] == metrics[1]


class StopError(Exception):
    """Ends a training from within."""


@pytest.mark.parametrize("method", ["gradnorm", "dwa", "uncertainty", "mse+pcgrad"])
def test_other_methods_survive_too(
    tiny: Callable[..., RunConfig], tmp_path: Path, method: str
) -> None:
    if method == "mse+pcgrad":
        pytest.importorskip("torchjd")
    values = tiny().model_dump()
    values["method"] = {"name": method}
    values["training"] |= {"epochs": 4, "batch_size": 16}
    config = RunConfig.model_validate(values)
    whole = run(config, tmp_path / "whole")

    class Stop(Callback):
        def on_step_end(self, step: StepEnd) -> None:
            if step.step == lines(whole.folder / "telemetry.jsonl") // 2:
                raise StopError

    with pytest.raises(StopError):
        run(config, tmp_path / "parts", callbacks=[Stop()])
    run(config, tmp_path / "parts")
    for name in ("weights.safetensors", "telemetry.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert history(tmp_path / "parts") == history(whole.folder)
