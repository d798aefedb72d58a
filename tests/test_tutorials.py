"""Every Python block of the tutorials runs, in the order of its page."""

from __future__ import annotations

from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parent.parent / "docs" / "tutorials"
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
    assert len(PAGES) >= 4
    assert all(blocks(p.read_text("utf-8")) for p in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for line, source in blocks(page.read_text("utf-8")):
        code = compile("\n" * line + source, str(page), "exec")
        exec(code, names)  # the pages are part of the repository
