"""Every Python block of the tutorials runs, in the order of its page, and every example."""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grace.core.inner import INNER_LOSSES
from grace.core.methods import OUTER_METHODS
from grace.data.dataset_folder import find_folder

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = sorted(TUTORIALS.glob("*.md"))


def blocks(text: str) -> list[tuple[int, str]]:
    """First line and source of each Python block."""
    found: list[tuple[int, str]] = []
    lines = text.splitlines()
    begin = None
    for number, line in enumerate(lines):
        if begin is None and line == "```python":
            begin = number + 1
        elif begin is not None and line == "```":
            found.append((begin, "\n".join(lines[begin:number])))
            begin = None
    return found


def test_there_are_tutorials() -> None:
    assert len(PAGES) >= 8
    assert all(blocks(p.read_text("utf-8")) for p in PAGES)


def _needs_lightning(source: str) -> None:
    if re.search(r"^import lightning", source, re.MULTILINE):
        pytest.importorskip("lightning", reason="needs lightning (extra dev)")


def _needed_data(text: str) -> Path | None:
    """Root of the data a page asks for by ``<!-- data: FOLDER/FILE -->``; skips if it is absent."""
    asked = re.search(r"^<!-- data: (\S+)/(\S+) -->$", text, re.MULTILINE)
    if asked is None:
        return None
    named = os.environ.get("GRACE_DATA")
    root = Path(named) if named else ROOT.parent / "shared" / "data"
    if find_folder(root, asked[1], asked[2]) is None:
        pytest.skip(f"no {asked[1]}/{asked[2]} in {root}; set GRACE_DATA to the folder of the data")
    return root.resolve()


@pytest.mark.usefixtures("small_simulation", "undrawn")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text("utf-8")
    _needs_lightning(text)
    if (root := _needed_data(text)) is not None:
        monkeypatch.setenv("GRACE_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for line, source in blocks(text):
        code = compile("\n" * line + source, str(page), "exec")
        exec(code, names)  # the pages are part of the repository


@contextmanager
def registries_restored() -> Iterator[None]:
    """What an example registers is gone afterwards: other tests iterate the registries."""
    registries: list[dict[str, Any]] = [INNER_LOSSES, OUTER_METHODS]
    before = [dict(registry) for registry in registries]
    try:
        yield
    finally:
        for registry, entries in zip(registries, before, strict=True):
            registry.clear()
            registry.update(entries)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_runs(
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _needs_lightning(script.read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    with registries_restored():
        runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()  # an example shows something


def test_the_list_of_examples_is_complete() -> None:
    listed = re.findall(r"\]\((\w+\.py)\)", (ROOT / "examples" / "README.md").read_text("utf-8"))
    assert listed
    assert sorted(listed) == [path.name for path in EXAMPLES]
