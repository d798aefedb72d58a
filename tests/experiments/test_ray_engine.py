"""A grid on a local Ray cluster of two nodes: same results, resumed, lost workers replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import grace
from grace.experiments import Event, ResultsStore, grid, grid_configs, ray_engine
from grace.experiments.partitions import predict_partitions
from grace.experiments.results_store import STORE_NAME
from grace.prediction.artifact import Artifact
from grace.training.config import RunConfig
from grace.training.errors import ConfigError

Tiny = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, so that two runs at a time are on different nodes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    size = 80 * 1024 * 1024
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": size, "include_dashboard": False},
    )
    made.add_node(num_cpus=1, object_store_memory=size)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def configs(bare: Tiny) -> dict[str, RunConfig]:
    plain = bare(training={"epochs": 30})  # long enough for one to be killed in the middle
    return grid_configs(plain, datasets=["sim"], methods=["amnl", "fixed:0.1"], seeds=[1])


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_a_cluster_replaces_a_lost_worker_gives_the_bits_of_one_machine_and_resumes(
    cluster: Any, configs: dict[str, RunConfig], tmp_path: Path
) -> None:
    events: list[Event] = []
    killed: list[str] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if event.kind == "progress" and not killed:
            killed.append(event.name)
            for number in _workers_of(tmp_path / "far" / event.name):
                os.kill(number, signal.SIGKILL)

    far = grid(configs, tmp_path / "far", engine="ray", on_event=on_event)
    assert [e.name for e in events if "started again" in e.text] == killed
    here = grid(configs, tmp_path / "here", threads_per_run=1)
    assert [e.kind for e in far.outcomes.values()] == ["finished"] * 2, far.failed
    for name in configs:
        ours = Artifact.load(here.folder / name).model.state_dict()
        for key, value in Artifact.load(far.folder / name).model.state_dict().items():
            assert torch.equal(value, ours[key]), key
        kinds = [e.kind for e in events if e.name == name]
        assert kinds[0] == "started"
        assert kinds[-1] == "finished"
        assert "progress" in kinds
    tables = []
    for folder in (far.folder, here.folder):
        with ResultsStore(folder / STORE_NAME) as store:
            tables.append(store.scores(protocol="validation"))
    assert tables[0].height == 2
    figures = ["run", "rmse_capped", "nasa_raw", "data_train", "version"]
    assert tables[0].select(figures).equals(tables[1].select(figures))
    again = grid(configs, tmp_path / "far", engine="ray")
    assert [e.kind for e in again.outcomes.values()] == ["already finished"] * 2
    assert not list((tmp_path / "far").glob(".ray-*"))


def _workers_of(folder: Path) -> list[int]:
    """Processes that hold a file of the folder open."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                opened = [os.readlink(f) for f in (entry / "fd").iterdir()]
            except OSError:
                continue
            if any(path.startswith(str(folder)) for path in opened):
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_partitions_on_two_nodes_give_the_bits_of_one_machine(cluster: Any, tmp_path: Path) -> None:
    """Here and not with the other tests of partitions: starting the cluster takes long."""
    columns = ["unit", "cycle", "s2", "s3", "s4", "s11"]
    data = grace.load_dataset("sim", n_train=6, n_test=6)
    made = grace.RULModel(candidates=["median_life", "linear"], rows_per_unit=3)
    made.fit(
        data.train.frame.select(columns), unit="unit", time="cycle", time_unit="cycles",
        fate="end_of_record",
    )  # fmt: skip
    model, fleet = made.save(tmp_path / "model"), tmp_path / "fleet"
    names = [f"plant=north/{k}.parquet" for k in range(3)]
    for k, name in enumerate(names):
        (fleet / name).parent.mkdir(parents=True, exist_ok=True)
        rows = data.test.frame.select(columns)
        rows.filter(pl.col("unit").is_in([2 * k + 1, 2 * k + 2])).write_parquet(fleet / name)

    ended = predict_partitions(model, fleet, tmp_path / "far", engine="ray")
    assert [e.kind for e in ended] == ["finished"] * 3, ended
    again = predict_partitions(model, fleet, tmp_path / "far", engine="ray")
    assert [e.kind for e in again] == ["already finished"] * 3
    with pytest.raises(ConfigError, match="64 threads"):
        predict_partitions(model, fleet, tmp_path / "no", engine="ray", threads=64)
    predict_partitions(model, fleet, tmp_path / "here")
    for name in names:
        far, here = (pl.read_parquet(tmp_path / place / name) for place in ("far", "here"))
        assert far["rul"].len() == 2
        assert_frame_equal(far, here, check_exact=True)


@pytest.mark.slow
def test_what_no_node_can_do_is_refused_before_any_run(
    cluster: Any, configs: dict[str, RunConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"64 threads.*the largest node has 1 CPUs"):
        grid(configs, tmp_path, engine="ray", threads_per_run=64)
    with pytest.raises(ConfigError, match=r"0\.5 GPUs"):
        grid(configs, tmp_path, engine="ray", gpus_per_run=0.5)


def test_without_ray_the_extra_is_named(
    configs: dict[str, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[ray\]'"), ray_engine.connected():
        pass


def test_a_share_of_a_gpu_needs_the_cluster(configs: dict[str, RunConfig], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the engine ray"):
        grid(configs, tmp_path, gpus_per_run=0.5)
