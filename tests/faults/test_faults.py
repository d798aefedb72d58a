"""Kills, full disks and signals at any file operation: nothing is lost, nothing foreign touched.

The full counts are those of ``campaign.py``; here are a few of each, chosen anew in every run of
the tests (``GRACE_TEST_SEED`` repeats one).
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from campaign import Trials, two_processes
from fault_runs import Server

SEED = int(os.environ.get("GRACE_TEST_SEED", random.randrange(10**6)))


def points(count: int, of: int) -> list[int]:
    """``count`` of the operations, one in each of as many equal parts."""
    rng = random.Random(SEED)
    edges = [round(i * of / count) for i in range(count + 1)]
    return [rng.randint(a + 1, b) for a, b in itertools.pairwise(edges)]


def check(trials: Trials, kind: str, force: bool, count: int) -> None:
    for at in points(count, trials.operations[force]):
        trial = trials.trial(kind, at, force=force)
        assert not trial.wrong, (SEED, trial)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_a_run_survives_a_fault_at_a_file_operation(trials: Trials, kind: str, force: bool) -> None:
    check(trials, kind, force, 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_a_run_survives_further_faults(trials: Trials, kind: str, force: bool) -> None:
    check(trials, kind, force, 4)


@pytest.mark.parametrize(
    ("number", "force"),
    [
        (signal.SIGTERM, False),
        (signal.SIGINT, True),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_survives_signals_at_any_moment(
    trials: Trials, number: signal.Signals, force: bool
) -> None:
    rng = random.Random(SEED)
    at = rng.random() * trials.seconds[force]
    trial = trials.trial("signal", at, force=force, number=number)
    assert not trial.wrong, (SEED, trial)


@pytest.mark.slow
def test_two_processes_on_one_folder(trials: Trials, tmp_path: Path) -> None:
    with Server(tmp_path) as other:
        assert not two_processes(trials.server, other, trials.space)


@pytest.mark.slow
def test_a_file_system_that_is_really_full(trials: Trials, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        arguments = ("train", "--preset", "fast", "--config", trials.config, "--out", disk / "run")
        full = trials.server.run(*arguments, root=disk)
        assert full.status == 2, full.output
        assert full.polite
        assert str(disk / "run") in full.output.partition("error: ")[2]
        assert "No space left" in full.output
        subprocess.run([*mount[:-3], "remount,size=64m", "tmpfs", str(disk)], check=True)
        again = trials.server.run(*arguments, root=disk)
        assert again.status == 0, again.output
        from fault_runs import results

        assert results(disk / "run") == trials.expected
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_the_harness_notices_a_lost_file(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "expected", {**trials.expected, "weights.safetensors": "other"})
    assert "differ" in trials.trial("none", 0, force=False).wrong
