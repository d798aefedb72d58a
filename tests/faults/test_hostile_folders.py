"""Any run folder, however damaged, gives a result or one line that names the file."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from hostile_folders import FAST, attack, check_outcome, commands, invoke
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("undrawn")

Runs = tuple[Path, Path, Path, Path]
# The same seeds every time: new ones are tried by campaign.py, which reports all it finds.
quick = settings(max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))
long = settings(max_examples=10, derandomize=True, suppress_health_check=list(HealthCheck))


def check(hostile: Runs, seed: int, kinds: int) -> None:
    finished, unfinished, config, space = hostile
    for case in attack(seed, finished, unfinished, config, space, kinds=kinds):
        assert not case.wrong, case


@quick
@given(seed=st.integers(0, 2**32))
def test_commands_over_hostile_folders(hostile: Runs, seed: int) -> None:
    check(hostile, seed, kinds=1)


@pytest.mark.slow
@long
@given(seed=st.integers(0, 2**32))
def test_all_commands_over_hostile_folders(hostile: Runs, seed: int) -> None:
    check(hostile, seed, kinds=len(FAST))


def test_the_rule_can_be_broken() -> None:
    folder = Path("/runs/a")
    good = "error: /runs/a/metrics.json: no such file. Remedy: …\n"
    assert not check_outcome("report", folder, 2, None, good)
    assert check_outcome("report", folder, 1, None, "")
    assert check_outcome("report", folder, 2, None, "error: metrics.json is damaged\n")
    assert check_outcome("report", folder, 2, None, good + "another line\n")
    assert check_outcome("report", folder, 2, KeyError("x"), good)
    assert check_outcome("report", folder, 2, None, good + "\x1b[2J")


@pytest.mark.parametrize("damage", ["", "{", "\x00" * 50, '{"step": 1e400}', "[[[["])
@pytest.mark.parametrize("name", ["history.jsonl", "telemetry.jsonl"])
def test_a_damaged_log_never_stops_a_resume(
    hostile: Runs, tmp_path: Path, name: str, damage: str
) -> None:
    finished, unfinished, config, _ = hostile
    folder = tmp_path / "run"
    shutil.copytree(unfinished, folder)
    (folder / name).write_text(damage)
    status, error, text = invoke(*commands(folder, config, tmp_path)["train"])
    assert (status, error) == (0, None), text
    for file in ("weights.safetensors", "predictions.parquet"):
        assert (folder / file).read_bytes() == (finished / file).read_bytes()
    assert [json.loads(x)["epoch"] for x in (folder / "history.jsonl").open()] == [0, 1, 2]


def test_attacks_are_repeatable(hostile: Runs) -> None:
    finished, unfinished, config, space = hostile
    seed = random.randrange(10**6)
    twice = [attack(seed, finished, unfinished, config, space, kinds=1) for _ in range(2)]
    assert [c.damage for c in twice[0]] == [c.damage for c in twice[1]]
