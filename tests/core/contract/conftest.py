"""Every balancer of the registry, for two and for three tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trained_balancer import Run, make

from grace.core.methods import OUTER_METHODS

Make = Callable[..., Any]


@pytest.fixture(params=list(OUTER_METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[2, 3])
def n_tasks(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def run(toy: Make, signal: Make) -> Make:
    return lambda name, k=2: Run(make(name, k), toy(n_tasks=k), signal)
