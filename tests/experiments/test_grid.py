"""Many runs at once: the same results, none taken down by another, resumed where they stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from grace.data.errors import DataError
from grace.experiments import (
    DEFAULT_METHODS,
    SEEDS,
    Event,
    grid,
    grid_configs,
    run,
    runs_table,
    workers,
    write_runs,
)
from grace.prediction.artifact import Artifact, ArtifactError
from grace.training.config import RunConfig
from grace.training.errors import ConfigError

Tiny = Callable[..., RunConfig]


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_all_combinations_have_names_of_their_own(bare: Tiny) -> None:
    base = bare()
    made = grid_configs(base, datasets=["sim", "FD001"], methods=["amnl", "dwa"])
    assert len(made) == 2 * 2 * len(SEEDS)
    for name, config in made.items():
        assert config.dataset in name
        assert config.method.name in name
        assert f"-seed{config.seed}-" in name
        assert config.model == base.model
        assert config.training == base.training
    assert [c.seed for c in made.values()][:4] == [SEEDS[0]] * 4


def test_an_option_that_does_not_fit_every_method_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="warmup_steps"):
        grid_configs(tiny(), datasets=["sim"], methods=["grace", "amnl"], seeds=[1])


@pytest.mark.parametrize("bad", [{"parallel_runs": 0}, {"threads_per_run": 0}])
def test_numbers_below_one_are_refused(tiny: Tiny, tmp_path: Path, bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="≥ 1"):
        grid({"a": tiny()}, tmp_path, **bad)
    with pytest.raises(ConfigError, match="at least one"):
        grid({}, tmp_path)


@pytest.fixture
def plain(bare: Tiny) -> dict[str, RunConfig]:
    """Four runs of two methods and two seeds."""
    base = bare()
    return grid_configs(base, datasets=["sim"], methods=["amnl", "fixed:0.1"], seeds=[1, 2])


def test_a_new_interpreter_gives_the_bits_of_this_one(
    plain: dict[str, RunConfig], tmp_path: Path, one_thread: None
) -> None:
    """What the other tests leave out: their workers are forked."""
    name, config = next(iter(plain.items()))
    result = grid({name: config}, tmp_path / "grid", threads_per_run=1)
    assert not result.failed, result.failed
    alone = Artifact.load(run(config, tmp_path / "alone").folder).model.state_dict()
    for key, value in Artifact.load(result.folder / name).model.state_dict().items():
        assert torch.equal(value, alone[key]), key


def test_runs_at_once_give_the_bits_of_runs_alone(
    plain: dict[str, RunConfig],
    tmp_path: Path,
    one_thread: None,
    quick_workers: None,
) -> None:
    events: list[Event] = []
    result = grid(
        plain, tmp_path / "grid", parallel_runs=2, threads_per_run=1, on_event=events.append
    )
    assert not result.failed, result.failed
    assert [e.kind for e in result.outcomes.values()] == ["finished"] * 4
    for name, config in plain.items():
        alone = run(config, tmp_path / "alone" / name)
        together = Artifact.load(result.folder / name)
        ours = Artifact.load(alone.folder)
        assert together.provenance["fingerprint"] == ours.provenance["fingerprint"]
        for key, value in ours.model.state_dict().items():
            assert torch.equal(value, together.model.state_dict()[key]), key
        stored = json.loads((result.folder / name / "artifact.json").read_text())
        assert stored["environment"]["threads"] == 1
        mine = [e for e in events if e.name == name]
        assert mine[0].kind == "started"
        assert mine[-1].kind == "finished"
        assert [e.fraction for e in mine if e.kind == "progress"][-1] == 1.0

    again = grid(plain, tmp_path / "grid", parallel_runs=2, threads_per_run=1)
    assert [e.kind for e in again.outcomes.values()] == ["already finished"] * 4

    table = runs_table(result.folders())
    assert table.height == 4
    for row in table.iter_rows(named=True):
        metrics = json.loads((result.folder / row["run"] / "metrics.json").read_text())
        last = metrics["evaluation"]["model"]["last_cycle"]
        assert row["rmse_capped"] == last["capped"]["rmse"]
        assert row["nasa_raw"] == last["raw"]["nasa_sum"]
        assert (row["precision"], row["threads"], row["device"]) == ("fp32", 1, "cpu")


@pytest.mark.usefixtures("quick_workers")
def test_a_run_that_fails_does_not_stop_the_others(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    names = list(plain)
    (tmp_path / names[1]).mkdir()
    (tmp_path / names[1] / "checkpoint.pt").write_text("no checkpoint")
    result = grid(plain, tmp_path, parallel_runs=1, threads_per_run=1)
    assert [e.name for e in result.failed] == [names[1]]
    assert "was not made by grace" in result.failed[0].text
    assert result.failed[0].trace == ""
    assert {f.name for f in result.folders()} == {*names} - {names[1]}
    assert runs_table(result.folders()).height == 3
    assert pl.read_csv(write_runs(tmp_path)).height == 3


def test_what_every_run_would_fail_of_is_found_before_any(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    name, config = next(iter(plain.items()))
    run(config, tmp_path / name)
    other = config.model_copy(update={"validation_fraction": 0.4})
    with pytest.raises(ArtifactError, match="another configuration"):
        grid({name: other}, tmp_path)
    with pytest.raises(ConfigError, match="n_trian"):
        grid({"a": config.model_copy(update={"dataset_options": {"n_trian": 1}})}, tmp_path)
    real = config.model_copy(update={"dataset": "FD001", "dataset_options": {}})
    with pytest.raises(DataError):
        grid({"a": real}, tmp_path, data_root=tmp_path / "nowhere")
    assert multiprocessing.active_children() == []


def test_errors_a_user_can_mend_come_without_a_traceback(
    plain: dict[str, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = multiprocessing.Pipe()
    name, config = next(iter(plain.items()))
    task = workers.Task(name, config.to_yaml(), tmp_path / name)
    outcomes = {}
    for error in (ZeroDivisionError("a bug"), OSError(28, "No space left", "disk"), KeyError()):

        def fail(*args: Any, error: Exception = error, **options: Any) -> None:
            raise error

        monkeypatch.setattr(workers, "run", fail)
        outcomes[type(error)] = workers.do_task(task, None, there)
    assert {event.kind for event in outcomes.values()} == {"failed"}
    assert outcomes[ZeroDivisionError].text == "a bug"
    assert "ZeroDivisionError: a bug" in outcomes[ZeroDivisionError].trace
    assert outcomes[OSError].trace == ""
    assert "disk: No space left. Remedy" in outcomes[OSError].text
    assert outcomes[KeyError].text == "KeyError"
    assert here.recv().kind == "stage"


def test_what_a_worker_takes_over_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    before = signal.getsignal(signal.SIGINT)
    with workers._inherited(3):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["POLARS_MAX_THREADS"] == "3"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "POLARS_MAX_THREADS" not in os.environ
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (-9, "SIGKILL (out of memory?"), (-15, "SIGTERM"), (-40, "signal 40")],
)
def test_how_a_process_ended_in_words(code: int, words: str) -> None:
    assert words in workers._exit_message(code)


@pytest.mark.usefixtures("quick_workers")
def test_a_killed_process_is_reported_and_its_run_goes_on_later(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    killed: list[str] = []

    def tell(event: Event) -> None:
        if event.kind == "progress" and not killed:
            killed.append(event.name)
            child = multiprocessing.active_children()[0]
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)

    result = grid(plain, tmp_path, parallel_runs=1, on_event=tell)
    assert [e.name for e in result.failed] == killed
    assert "SIGKILL" in result.failed[0].text
    again = grid(plain, tmp_path, parallel_runs=1)
    kinds = {name: e.kind for name, e in again.outcomes.items()}
    assert kinds.pop(killed[0]) == "finished"
    assert set(kinds.values()) == {"already finished"}


@pytest.mark.usefixtures("quick_workers")
def test_an_interrupt_leaves_no_process_and_the_grid_goes_on(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    def tell(event: Event) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid(plain, tmp_path, parallel_runs=2, threads_per_run=1, on_event=tell)
    assert multiprocessing.active_children() == []
    again = grid(plain, tmp_path, parallel_runs=1, threads_per_run=1)
    assert not again.failed
    assert "already finished" in {e.kind for e in again.outcomes.values()}


def test_workers_do_not_outlive_a_killed_parent(bare: Tiny, tmp_path: Path) -> None:
    long = bare(training={"epochs": 5000}).to_yaml()
    (tmp_path / "long.yaml").write_text(long, encoding="utf-8")
    command = [sys.executable, "-m", "grace.cli", "grid", "--config", "long.yaml"]
    command += ["--method", "amnl", "--seed", "1", "--out", "grid"]
    parent = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    logs = (tmp_path / "grid").glob
    wait_for(lambda: any(p.stat().st_size for p in logs("*/history.jsonl")))
    (log,) = logs("*/history.jsonl")
    parent.kill()
    parent.wait()
    time.sleep(1.0)
    size = log.stat().st_size
    time.sleep(1.0)
    assert log.stat().st_size == size  # nobody trains on


def test_a_script_without_a_guard_is_told_so_once(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny().to_yaml(), encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        "from grace.experiments import grid, workers\n"
        "from grace.training import RunConfig\n"
        "workers._STARTS = 1\n"  # every start imports grace again
        "config = RunConfig.load(file='tiny.yaml')\n"
        "grid({'a': config, 'b': config, 'c': config}, 'grid')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("must guard its own start with `if __name__") == 1


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_grid_is_the_two_by_two_with_controls(tiny: Tiny, bare: Tiny) -> None:
    made = grid_configs(bare(), datasets=["sim"], seeds=[1])
    assert [c.method.name for c in made.values()] == [
        *DEFAULT_METHODS, "mse+fixed:0.0477", "weighted_mse+fixed:0.0477",
    ]  # fmt: skip
    given = grid_configs(bare(), datasets=["sim"], methods=["gaba", "fixed:0.0477"], seeds=[1])
    assert [c.method.name for c in given.values()] == ["gaba", "fixed:0.0477"]
    alone = grid_configs(tiny(), datasets=["sim"], methods=["grace"], seeds=[1], controls=False)
    assert len(alone) == 1
    with_options = grid_configs(tiny(), datasets=["sim"], methods=["grace"], seeds=[1])
    options = [c.method.outer_options for c in with_options.values()]
    assert options == [{"warmup_steps": 3}, {}]
