"""The tools of this folder, and a run of seconds as a configuration."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign import TINY, Trials
from fault_runs import Server
from hostile_folders import make_runs

from grace.training.config import RunConfig, deep_merge


@pytest.fixture
def tiny_values() -> dict[str, Any]:
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny(tiny_values: dict[str, Any]) -> Callable[..., RunConfig]:
    """A configuration; keyword arguments are laid over it."""
    return lambda **over: RunConfig.load(preset="fast", overrides=deep_merge(tiny_values, over))


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    if not hasattr(os, "fork") or not Path("/proc/self/fd").exists():
        pytest.skip("needs fork and /proc")
    space = tmp_path_factory.mktemp("trials")
    with Server(space) as server:
        yield Trials(server, space)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Path]:
    """A finished run, an unfinished one, their configuration, and a folder for copies."""
    space = tmp_path_factory.mktemp("hostile")
    return (*make_runs(TINY, space), space)
