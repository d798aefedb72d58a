"""Many runs at once: the same results, none taken down by another, resumed where they stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from grace.experiments import (
    SEEDS,
    Event,
    compare_methods,
    grid,
    grid_configs,
    means_over_seeds,
    run,
    runs_table,
)
from grace.prediction.artifact import Artifact
from grace.training.config import RunConfig
from grace.training.errors import ConfigError

Tiny = Callable[..., RunConfig]


def without_options(config: RunConfig) -> RunConfig:
    """The configuration without options of a method, so that any method fits."""
    method = config.method.model_copy(update={"outer_options": {}})
    return config.model_copy(update={"method": method})


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_all_combinations_have_names_of_their_own(tiny: Tiny) -> None:
    base = without_options(tiny())
    made = grid_configs(base, datasets=["sim", "FD001"], methods=["amnl", "gaba"])
    assert len(made) == 2 * 2 * len(SEEDS)
    for name, config in made.items():
        assert config.dataset in name
        assert config.method.name in name
        assert name.endswith(f"seed{config.seed}")
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
def plain(tiny: Tiny) -> dict[str, RunConfig]:
    """Four runs of two methods and two seeds."""
    base = without_options(tiny())
    return grid_configs(base, datasets=["sim"], methods=["amnl", "fixed:0.1"], seeds=[1, 2])


def test_runs_at_once_give_the_bits_of_runs_alone(
    plain: dict[str, RunConfig], tmp_path: Path, one_thread: None
) -> None:
    told: list[Event] = []
    result = grid(plain, tmp_path / "grid", parallel_runs=2, threads_per_run=1, tell=told.append)
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
        mine = [e for e in told if e.name == name]
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


def test_a_run_that_fails_does_not_stop_the_others(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    names = list(plain)
    run(plain[names[2]], tmp_path / names[1])  # a finished run of another configuration
    result = grid(plain, tmp_path, parallel_runs=2, threads_per_run=1)
    assert [e.name for e in result.failed] == [names[1]]
    assert "another configuration" in result.failed[0].text
    assert result.failed[0].trace == ""
    assert {f.name for f in result.folders()} == {*names} - {names[1]}
    assert runs_table(result.folders()).height == 3


def test_an_error_nobody_expected_comes_with_its_traceback(
    plain: dict[str, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    name, config = next(iter(plain.items()))
    (tmp_path / name / "history.jsonl").mkdir(parents=True)  # nobody puts a folder there
    result = grid({name: config}, tmp_path, threads_per_run=1)
    assert "history.jsonl" in result.failed[0].text
    assert "Traceback" in result.failed[0].trace
    assert multiprocessing.active_children() == []
    # The limits that a worker is started under are not left behind.
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "POLARS_MAX_THREADS" not in os.environ


def test_a_killed_process_is_told_and_its_run_goes_on_later(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    killed: list[str] = []

    def tell(event: Event) -> None:
        if event.kind == "progress" and not killed:
            killed.append(event.name)
            child = multiprocessing.active_children()[0]
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)

    result = grid(plain, tmp_path, parallel_runs=1, tell=tell)
    assert [e.name for e in result.failed] == killed
    assert "SIGKILL" in result.failed[0].text
    assert "same command again" in result.failed[0].text
    again = grid(plain, tmp_path, parallel_runs=1)
    kinds = {name: e.kind for name, e in again.outcomes.items()}
    assert kinds.pop(killed[0]) == "finished"
    assert set(kinds.values()) == {"already finished"}


def test_an_interrupt_leaves_no_process_and_the_grid_goes_on(
    plain: dict[str, RunConfig], tmp_path: Path
) -> None:
    def tell(event: Event) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid(plain, tmp_path, parallel_runs=2, threads_per_run=1, tell=tell)
    assert multiprocessing.active_children() == []
    again = grid(plain, tmp_path, parallel_runs=2, threads_per_run=1)
    assert not again.failed
    assert "already finished" in {e.kind for e in again.outcomes.values()}


FIGURES = ("rmse_raw", "nasa_capped", "nasa_raw", "health_accuracy", "health_f1")


def rows(dataset: str, method: str, values: dict[int, float]) -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, "method": method, "mark": "", "seed": seed, "rmse_capped": value}
        | dict.fromkeys(FIGURES, 1.0)
        for seed, value in values.items()
    ]


def test_means_and_paired_differences_by_hand() -> None:
    table = pl.DataFrame(
        rows("FD001", "a", {1: 10.0, 2: 12.0, 3: 14.0})
        + rows("FD001", "b", {3: 13.0, 1: 9.5, 2: 11.5})
        + rows("FD002", "a", {1: 20.0})
        + rows("FD002", "b", {1: 21.0})
    )
    means = means_over_seeds(table)
    first = means.row(0, named=True)
    assert (first["dataset"], first["method"], first["seeds"]) == ("FD001", "a", 3)
    assert first["rmse_capped_mean"] == pytest.approx(12.0)
    assert first["rmse_capped_std"] == pytest.approx(2.0)
    assert means.row(2, named=True)["rmse_capped_std"] is None

    tests = compare_methods(table, reference="a")
    assert list(tests) == ["FD001"]  # one seed says nothing
    (test,) = tests["FD001"]
    assert (test.a, test.b, test.n) == ("b", "a", 3)
    assert test.mean_difference == pytest.approx((-0.5 - 0.5 - 1.0) / 3)


def test_only_seeds_that_all_methods_have_are_compared() -> None:
    table = pl.DataFrame(
        rows("FD001", "a", {1: 10.0, 2: 12.0, 3: 99.0}) + rows("FD001", "b", {1: 11.0, 2: 14.0})
    )
    (test,) = compare_methods(table, reference="a")["FD001"]
    assert test.n == 2
    assert test.mean_difference == pytest.approx(1.5)
    assert compare_methods(table, reference="c") == {}
