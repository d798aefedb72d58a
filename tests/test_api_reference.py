"""The API reference: every public class and function has a description and a runnable example."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import grace
from grace.core.methods import OUTER_METHODS

ROOT = Path(__file__).parents[1]
# Examples that need what a test cannot give: a server, a cluster, minutes of training.
NOT_RUN = {"grid", "export_onnx"}


def hooks() -> ModuleType:
    """``docs/hooks.py``, which writes the pages."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = hooks()
MODULES = [f"grace.{name}" for name in (*HOOKS.PACKAGES, *HOOKS.SUBMODULES)]


def documented(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def public() -> Iterator[tuple[str, str]]:
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in module.__all__:
            if documented(getattr(module, attribute)):
                yield name, attribute


def run_examples(value: Any) -> list[doctest.Example]:
    """Examples of a docstring that are run, not only shown."""
    found = doctest.DocTestParser().get_examples(value.__doc__ or "")
    return [e for e in found if not e.options.get(doctest.SKIP)]


@pytest.mark.parametrize(("module", "name"), [*public()])
def test_a_public_name_has_a_runnable_example(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    assert (value.__doc__ or "").strip().splitlines()[0].strip()
    if name in NOT_RUN:
        assert doctest.DocTestParser().get_examples(value.__doc__ or ""), name
    else:
        assert run_examples(value), f"{module}.{name} has no example: add one to its docstring"


def test_an_example_that_is_only_shown_does_not_count() -> None:
    def shown() -> None:
        """Nothing.

        >>> 1 / 0  # doctest: +SKIP
        """

    assert not run_examples(shown)


@pytest.mark.parametrize("name", [n for n in grace.__all__ if documented(getattr(grace, n))])
def test_the_public_api_is_in_the_reference(name: str) -> None:
    value = getattr(grace, name)
    pages = [importlib.import_module(m) for m in MODULES]
    assert any(value is getattr(page, n) for page in pages for n in page.__all__), name


@pytest.mark.parametrize("module", MODULES)
def test_a_page_of_the_reference_names_what_is_public(module: str) -> None:
    text = HOOKS.reference(module)
    assert HOOKS.listed(module)
    assert all(f"::: {module}.{name}\n" in text for name in HOOKS.listed(module))


def test_known_differences_are_listed_for_every_published_method() -> None:
    page = HOOKS.known_differences()
    sections = page.split("\n## ")[1:]
    assert len(sections) == len(HOOKS.PUBLISHED)
    assert all("\n* " in section for section in sections)
    names = {section.splitlines()[0] for section in sections}
    made = {getattr(m.build, "func", m.build) for m in OUTER_METHODS.values()}
    assert {maker.__name__ for maker in made if inspect.isclass(maker)} <= names
