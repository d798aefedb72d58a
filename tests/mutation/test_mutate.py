"""The functions of a loaded module take over the code of another version of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ORIGINAL = """
from dataclasses import dataclass
def double(x, *, by=2):
    return by * x
@dataclass
class Point:
    x: int
    def moved(self, by=1):
        return Point(self.x + by)
    @property
    def twice(self):
        return double(self.x)
    @classmethod
    def origin(cls):
        return cls(0)
"""


def load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", (6, 6, 4, 0)),
        ("by * x", "by + x", (5, 6, 4, 0)),
        ("by=2", "by=3", (9, 6, 6, 0)),
        ("self.x + by", "self.x - by", (6, -2, 4, 0)),
        ("double(self.x)", "self.x", (6, 6, 2, 0)),
        ("cls(0)", "cls(1)", (6, 6, 4, 1)),
    ],
)
def test_a_mutant_takes_effect_everywhere(
    old: str, new: str, expected: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate = load("mutate_under_test", Path(__file__).with_name("mutate.py"))
    (tmp_path / "module.py").write_text(ORIGINAL)
    monkeypatch.setitem(sys.modules, "mutated_module", None)  # removed at the end
    module = load("mutated_module", tmp_path / "module.py")
    double, point = module.double, module.Point(2)  # held before, as other modules do
    changed = ORIGINAL.replace(old, new) if old else ORIGINAL
    mutate.take_over(module, changed.replace("@dataclass\n", "\n"))
    origin = module.Point.origin().x
    found = (double(3), point.moved(4).x, point.twice, origin)
    assert found == expected


def test_every_target_and_its_tests_exist() -> None:
    mutate = load("mutate_under_test", Path(__file__).with_name("mutate.py"))
    for module, tests in mutate.TARGETS.items():
        assert mutate.source_of(module).is_file()
        for name in tests:
            file, _, test = name.partition("::")
            assert f"def {test}" in (mutate.ROOT / file).read_text("utf-8")
