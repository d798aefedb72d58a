"""Many runs at once: the same results, none taken down by another, resumed where they stopped."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from grace.data.errors import DataError
from grace.experiments import (
    DEFAULT_METHODS,
    SEEDS,
    Event,
    compare_methods,
    compare_over_units,
    grid,
    grid_configs,
    means_over_seeds,
    rank_methods,
    run,
    runs_table,
    workers,
    write_runs,
)
from grace.experiments.table import _settings
from grace.prediction.artifact import Artifact, ArtifactError
from grace.report.grid import render_grid
from grace.training.config import RunConfig, deep_merge
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
def plain(tiny: Tiny) -> dict[str, RunConfig]:
    """Four runs of two methods and two seeds."""
    base = without_options(tiny())
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


def test_workers_do_not_outlive_a_killed_parent(tiny: Tiny, tmp_path: Path) -> None:
    long = without_options(tiny(training={"epochs": 5000})).to_yaml()
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


FIGURES = ("rmse_raw", "nasa_capped", "nasa_raw", "health_accuracy", "health_f1")


def rows(dataset: str, method: str, values: dict[int, float], **over: Any) -> list[dict[str, Any]]:
    same = {"dataset": dataset, "method": method, "preset": "fast", "mark": "", "settings": ""}
    same["group"] = f"{dataset} {over.get('preset', 'fast')} {over.get('mark', '')}"
    made_with = {"device": "cpu", "precision": "fp32", "threads": 1}
    return [
        {**same, "seed": seed, "rmse_capped": value, **dict.fromkeys(FIGURES, 1.0), **made_with}
        | over
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

    one, two = compare_methods(table, metrics=["rmse_capped"], reference="a")
    (test,) = one.tests
    assert (one.dataset, test.a, test.b, test.n) == ("FD001", "b", "a", 3)
    assert test.mean_difference == pytest.approx((-0.5 - 0.5 - 1.0) / 3)
    assert two.tests == []
    assert "1 seed(s) in common" in two.missing["b"]


def test_every_method_is_paired_over_the_seeds_it_shares_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    a = dict(enumerate(rng.normal(12, 1, 7).tolist()))
    b, c = ({s: v + rng.normal(0.5, 0.5) for s, v in a.items()} for _ in "bc")
    del c[0], c[3]
    table = pl.DataFrame(
        rows("FD001", "a", a) + rows("FD001", "b", b) + rows("FD001", "c", c)
        + rows("FD001", "d", {4: 1.0})
    )  # fmt: skip
    comparison, nasa = compare_methods(table, reference="a")
    assert (comparison.metric, nasa.metric) == ("rmse_capped", "nasa_capped")
    by_name = {t.a: t for t in comparison.tests}
    assert {n: t.n for n, t in by_name.items()} == {"b": 7, "c": 5}
    assert by_name["c"].mean_difference == pytest.approx(np.mean([c[s] - a[s] for s in c]))
    assert list(comparison.missing) == ["d"]
    # Holm over the two tests: the smaller p is doubled.
    small, large = sorted(comparison.tests, key=lambda t: t.p_t or 0.0)
    assert small.p_t_holm == pytest.approx(2 * small.p_t)
    assert large.p_t_holm == pytest.approx(max(large.p_t, small.p_t_holm))
    assert all(t.p_t is None and "undefined" in t.note for t in nasa.tests)  # NASA is 1 throughout

    without, _ = compare_methods(table.filter(pl.col("method") != "a"), reference="a")
    assert without.tests == []
    assert "no finished run" in without.missing["a"]


def test_every_comparison_of_a_gaba_method_asks_for_its_control() -> None:
    one = rows("FD001", "grace", {1: 1.0, 2: 2.0}) + rows("FD001", "amnl", {1: 1.0, 2: 2.0})
    (found, _) = compare_methods(pl.DataFrame(one), reference="amnl")
    assert "control of grace" in found.missing["weighted_mse+fixed:0.0477"]
    with_control = one + rows("FD001", "weighted_mse+fixed:0.0477", {1: 1.0, 2: 2.0})
    (found, _) = compare_methods(pl.DataFrame(with_control), reference="amnl")
    assert found.missing == {}
    plain = rows("FD001", "gaba", {1: 1.0}) + rows("FD001", "fixed:0.0477", {1: 1.0})
    (found, _) = compare_methods(pl.DataFrame(plain), reference="gaba")
    assert "mse+fixed:0.0477" not in found.missing


def test_a_grid_is_the_two_by_two_with_controls(tiny: Tiny) -> None:
    made = grid_configs(without_options(tiny()), datasets=["sim"], seeds=[1])
    assert [c.method.name for c in made.values()] == [
        *DEFAULT_METHODS, "mse+fixed:0.0477", "weighted_mse+fixed:0.0477",
    ]  # fmt: skip
    given = grid_configs(
        without_options(tiny()), datasets=["sim"], methods=["gaba", "fixed:0.0477"], seeds=[1]
    )
    assert [c.method.name for c in given.values()] == ["gaba", "fixed:0.0477"]
    bare = grid_configs(tiny(), datasets=["sim"], methods=["grace"], seeds=[1], controls=False)
    assert len(bare) == 1
    with_options = grid_configs(tiny(), datasets=["sim"], methods=["grace"], seeds=[1])
    options = [c.method.outer_options for c in with_options.values()]
    assert options == [{"warmup_steps": 3}, {}]


def test_methods_are_ranked_over_data_sets() -> None:
    table = pl.DataFrame(
        [
            row
            for k in range(4)
            for name, value in (("amnl", 3.0), ("grace", 1.0), ("gaba", 2.0))
            for row in rows(f"FD00{k + 1}", name, {1: value + k, 2: value + k + 0.5})
        ]
        + rows("FD001", "dwa", {1: 0.0})
    )
    result = rank_methods(table)
    assert result.names == ("amnl", "grace", "gaba")  # dwa has one dataset only
    assert result.mean_ranks == (3.0, 1.0, 2.0)
    assert result.n_blocks == 4
    with pytest.raises(ValueError, match="2 datasets"):
        rank_methods(table.filter(pl.col("dataset") == "FD001"))
    twice = pl.concat([table, table.with_columns(group=pl.lit("x") + pl.col("group"))])
    with pytest.raises(ValueError, match="not independent"):
        rank_methods(twice)


def test_only_comparable_runs_share_a_group(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    plain = without_options(tiny(training={"epochs": 1}))
    fleet = data.test.frame.with_columns(pl.col("s2") + 1.0)
    changes: dict[str, tuple[dict[str, Any], Any]] = {
        "a": ({}, data),
        "seed": ({"seed": 9}, data),
        "method": ({"method": {"name": "amnl", "outer_options": {}}}, data),
        "options": ({"method": {"name": "grace", "outer_options": {"beta": 0.9}}}, data),
        "logging": ({"training": {"log_every": 5}}, data),
        "rate": ({"training": {"lr": 0.01}}, data),
        "rows": ({"validation_rows": "truncated"}, data),
        "data": ({}, replace(data, test=replace(data.test, frame=fleet))),
        "marked": ({"select_on": "test"}, data),
    }
    for name, (over, used) in changes.items():
        values = deep_merge(plain.model_dump(mode="json"), over)
        if "method" in over:
            values["method"] = over["method"]
        run(RunConfig.model_validate(values), tmp_path / name, dataset=used)
    table = runs_table([tmp_path / name for name in changes])
    by_run = {row["run"]: row for row in table.iter_rows(named=True)}
    same = {"a", "seed", "method", "options", "logging"}
    groups = {name: row["group"] for name, row in by_run.items()}
    assert {n for n, g in groups.items() if g == groups["a"]} == same
    assert len(set(groups.values())) == 5
    assert by_run["options"]["method"] == "grace (beta=0.9)"
    assert "training.lr=0.01" in by_run["rate"]["settings"]
    # units are drawn together for both methods
    found = compare_over_units(
        table.filter(pl.col("run").is_in(["options", "method"])), reference="amnl"
    )
    (rmse, nasa) = found[groups["a"]]["grace (beta=0.9)"]
    assert (rmse.metric, nasa.metric) == ("rmse", "nasa_mean")
    expected = by_run["options"]["rmse_capped"] - by_run["method"]["rmse_capped"]
    assert rmse.value == pytest.approx(expected)


def test_what_was_made_under_other_rules_is_never_pooled() -> None:
    table = pl.DataFrame(
        rows("FD001", "a", {1: 10.0, 2: 12.0})
        + rows("FD001", "b", {1: 11.0, 2: 12.0})
        + rows("FD001", "a", {1: 8.0, 2: 9.0}, mark="test-selected, optimistic")
        + rows("FD001", "a", {1: 1.0, 2: 2.0}, preset="paper")
    )
    assert means_over_seeds(table)["seeds"].to_list() == [2, 2, 2, 2]
    groups = compare_methods(table, metrics=["rmse_capped"], reference="a")
    assert [(g.preset, g.mark != "", len(g.tests)) for g in groups] == [
        ("fast", False, 1), ("fast", True, 0), ("paper", False, 0),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="several runs with seed 1"):
        compare_methods(pl.concat([table, table.head(1)]), reference="a")


LAST_HEADS = (
    "RMSE capped", "seeds", "val.-selected", "NASA capped", "RMSE raw", "health acc.",
    "difference", "p (t)", "p (Wilcoxon)", "effect d_z",
)  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 90, 200])
def test_the_table_keeps_names_and_whole_figures_at_any_width(width: int) -> None:
    name = "weighted_mse+fixed:0.0477"
    table = pl.DataFrame(
        rows("FD001", "amnl", {1: 10.0, 2: 12.0}, nasa_capped=2.5e6, mark="test-selected")
        + rows("FD001", name, {1: 11.0, 2: 12.25}, nasa_capped=3e4, mark="test-selected")
    )
    table = table.with_columns(rmse_capped_validation_selected=pl.lit(12.5))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_grid(table, reference="amnl"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert "amnl" in text
    assert name[:16] in text
    assert "11.62 ± 0.88" in text
    assert "+0.62 ± 0.53" in text
    titles = [line for line in text.splitlines() if "[test-selected]" in line]
    assert len(titles) == 3 or width < 80  # figures and two tables of differences, all marked
    if width == 200:
        assert "12.50 ± 0.00" in text  # of the validation-selected checkpoint
        assert "left out" not in text
    # Whatever columns are shown, the heads are whole.
    heads = [line for line in text.splitlines() if line.strip().startswith("method")]
    assert all(line.rstrip().endswith(LAST_HEADS) for line in heads)
    if width == 40:
        assert "Columns left out" in text


def test_settings_added_later_and_not_used_keep_runs_comparable(tiny: Tiny) -> None:
    """The key of earlier runs was made without these settings."""

    def settings(**over: Any) -> set[str]:
        return set(_settings(tiny(**over).model_dump(mode="json")))

    unused = settings()
    assert "training.lr" in unused
    assert not [name for name in unused if name.startswith(("survival", "training.schedule"))]
    assert settings(training={"schedule": "cosine"}) - unused == {"training.schedule"}
    assert "survival.enabled" in settings(survival={"enabled": True})
