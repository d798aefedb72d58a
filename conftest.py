"""Examples in docstrings run in a temporary folder, with a finished run where they name one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds on the simulated fleet: one epoch of a tiny network."""
    import grace

    overrides = {
        "dataset_options": {"n_train": 8, "n_test": 4},
        "model": {"lstm_hidden": 8},
        "training": {"epochs": 1},
        "evaluate_baselines": False,
    }
    config = grace.RunConfig.load(preset="fast", overrides=overrides)
    return grace.run(config, tmp_path_factory.mktemp("runs") / "first").folder


@pytest.fixture(autouse=True)
def _folder_of_an_example(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(request.node, pytest.DoctestItem):
        return
    monkeypatch.chdir(tmp_path)
    assert request.node.dtest is not None
    if "runs/first" in (request.node.dtest.docstring or ""):
        shutil.copytree(request.getfixturevalue("finished_run"), tmp_path / "runs" / "first")
