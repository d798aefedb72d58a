"""The remedy for a missing extra fits how README.md installs, and every extra it names exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from grace.core import surgery
from grace.experiments.user_message import user_message
from grace.extras import MissingExtraError, install_remedy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "grace"


def test_the_remedy_is_a_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'pip install ".[surgery,export]"' in readme
    assert "pip install '.[surgery,export]'" in install_remedy("surgery,export")


def test_no_message_names_an_index_that_has_no_such_package() -> None:
    named = [p for p in SOURCE.rglob("*.py") if "grace-rul[" in p.read_text(encoding="utf-8")]
    assert not named


def test_the_core_states_the_same_remedy() -> None:
    """It imports nothing of grace, so it has the text once more."""
    for extra in ("surgery", "cagrad"):
        assert surgery._REMEDY.format(extra) == install_remedy(extra)


def test_every_named_extra_exists() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = set(content["project"]["optional-dependencies"])
    text = "\n".join(p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py"))
    named = re.findall(r'MissingExtraError\(\s*f?"[^"]*",\s*"([\w,]+)"', text)
    named += re.findall(r"_REMEDY\.format\('(\w+)'\)", text)  # of grace.core, which imports nothing
    assert {"mlflow", "tensorboard", "surgery", "explain"} <= set(named)
    assert {extra for one in named for extra in one.split(",")} <= known


def test_a_missing_extra_is_one_line_for_the_user_and_other_import_errors_are_bugs() -> None:
    error = MissingExtraError("h5py is not installed", "ncmapss")
    assert isinstance(error, ImportError)
    assert user_message(error) == str(error)
    assert user_message(ImportError("cannot import name 'run'")) is None
    with pytest.raises(ImportError, match=r"h5py is not installed\. Remedy: "):
        raise error
