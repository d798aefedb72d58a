"""What every test may ask for: the real data, where there is any."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
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
    from grace.experiments import ResultsStore

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


def made_store(
    scores: dict[str, dict[str, list[float]]], path: Path | str = ":memory:"
) -> ResultsStore:
    """A store of invented runs: RMSE per dataset and method for seeds 1 to n; gap −0.5.

    ``rmse_raw`` is the RMSE + 1, ``nasa_capped`` 20 times the RMSE.
    """
    from grace.experiments import ResultsStore

    store = ResultsStore(path)
    for dataset, methods in scores.items():
        for method, values in methods.items():
            for seed, rmse in enumerate(values, start=1):
                for protocol, value in (("validation", rmse), ("test", rmse - 0.5)):
                    run_ = f"{dataset}-{method}-{seed}"
                    row = {
                        "run": run_, "folder": run_, "dataset": dataset, "method": method,
                        "preset": "fast", "settings": "", "seed": seed, "group": dataset,
                        "mark": "" if protocol == "validation" else "test-selected",
                        "rmse_capped": value, "rmse_raw": value + 1, "nasa_capped": 20 * value,
                        "nasa_raw": 30 * value, "health_accuracy": 0.9, "health_f1": 0.9,
                        "protocol": protocol, "version": "0", "seconds": 60.0, "epochs": 3,
                        "threads": 1, "device": "cpu", "precision": "float32",
                    }  # fmt: skip
                    store._insert(
                        "scores", [(run_, protocol, dataset, method, seed, json.dumps(row))]
                    )
                    store._insert(
                        "predictions",
                        [
                            (
                                run_,
                                protocol,
                                str(u),
                                50.0,
                                50.0,
                                50.0 + value * (1 if u % 2 else -1),
                            )
                            for u in range(12)
                        ],
                    )
    return store


@pytest.fixture(scope="session")
def made() -> Callable[..., ResultsStore]:
    """A function that makes a store of invented runs: see :func:`made_store`."""
    return made_store
