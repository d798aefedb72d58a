"""``import grace``: every public name resolves, on first use, to the object it stands for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import grace


@pytest.mark.parametrize("name", grace.__all__)
def test_every_public_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(grace, name) is not None
    assert name in dir(grace)


def test_names_are_the_objects_of_their_modules() -> None:
    from grace.data import Fleet
    from grace.experiments import run
    from grace.prediction import Predictor

    assert grace.Fleet is Fleet
    assert grace.run is run
    assert grace.Predictor is Predictor
    assert grace.core is import_module("grace.core")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'grace' has no attribute 'Fleets'"):
        grace.Fleets  # noqa: B018
    with pytest.raises(ImportError):
        exec("from grace import Fleets")


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(grace.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and "TYPE" in ast.dump(n.test))
    seen = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert {k: m for k, m in seen.items() if m != "grace"} == grace._NAMES
    assert {k for k, m in seen.items() if m == "grace"} == set(grace._PACKAGES)
    assert set(grace.__all__) == {*seen, "__version__"}


def test_a_name_loads_its_module_only_when_it_is_used() -> None:
    code = (
        "import sys, grace; from grace import core\n"
        "assert 'torch' in sys.modules and 'polars' not in sys.modules\n"
        "grace.Fleet; assert 'polars' in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
