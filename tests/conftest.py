"""What every test may ask for: the real data, where there is any."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from markupsafe import Markup

from grace.data.cmapss_files import find_data_root
from grace.data.errors import DataError
from grace.formatting import printable

if TYPE_CHECKING:
    from grace.data import Dataset

# A busy machine is not a slow test.
settings.register_profile("grace", deadline=None)
settings.load_profile("grace")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="also the tests marked exhaustive")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Not by -m in addopts: a -m of the command line would replace it.
    if config.getoption("exhaustive"):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of pages are built but come out empty: drawing them is most of a page's time."""
    from grace.report.svg import SvgSheet

    def add(self: SvgSheet, figure: object, description: str) -> Markup:
        return Markup('<svg role="img" aria-label="{}"/>').format(printable(description))

    monkeypatch.setattr(SvgSheet, "add", add)


@pytest.fixture
def quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a grid are forked from a process that has imported what each would import.

    A new interpreter takes seconds to import PyTorch. For tests of what workers do, not of how
    they start.
    """
    if os.name != "posix":
        return
    from grace.experiments import workers

    context = multiprocessing.get_context("forkserver")
    # torch._dynamo comes with the first optimizer.
    context.set_forkserver_preload(["grace.experiments.workers", "torch._dynamo", "sklearn"])
    monkeypatch.setattr(workers, "get_context", lambda method: context)


@pytest.fixture
def small_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated fleet has 24 + 16 units where no other number is asked for."""
    from grace.data.readers import READERS

    sim = READERS["sim"]

    def read(root: Path | None, **options: Any) -> Dataset:
        return sim.read(root, **{"n_train": 24, "n_test": 16, **options})

    monkeypatch.setitem(READERS, "sim", replace(sim, read=read))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Data root with the published C-MAPSS files; skips where there is none.

    Found by ``GRACE_DATA`` or at ``../shared/data`` of the repository. The user's cache is left
    out: what a test sees must not depend on what somebody has downloaded.
    """
    shared = Path(__file__).parents[2] / "shared" / "data"
    named = os.environ.get("GRACE_DATA")
    place = Path(named) if named else shared
    try:
        return find_data_root(place)
    except DataError:
        pytest.skip(f"no C-MAPSS data in {place}; set GRACE_DATA to the folder with CMAPSSData/")
