"""The rules of the house, read from the source: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "grace"
# An arrow points from a higher room to a lower one.
LEVEL = {
    "core": 0,
    "models": 1,
    "data": 1,
    "training": 2,
    "evaluation": 2,
    "candidates": 3,
    "uncertainty": 3,
    "prediction": 4,
    "estimator": 5,
    "plots": 6,
    "decisions": 6,
    "experiments": 6,
    "report": 7,
    "cli": 8,
    "serve": 8,
    # Belongs to no room: the version, and the package itself, which imports nothing else.
    "_version": -1,
    "files": -1,
    "child_process": -1,
    "formatting": -1,
    "extras": -1,
}
SIDEWAYS = {("cli", "serve")}
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST, path: Path) -> set[str]:
    """Every grace module a file names, at the top or inside a function."""
    found: set[str] = set()
    package = ("grace", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(p for p in (base, node.module) if p)
            found.add(name)
            if name == "grace":
                found |= {f"grace.{a.name}" for a in node.names}
    return {n for n in found if n == "grace" or n.startswith("grace.")}


def forbidden(importer: str, name: str) -> bool:
    """Whether a file of the room ``importer`` may not import the module ``name``."""
    parts = name.split(".")
    if len(parts) == 1:
        return False
    target = parts[1]
    if importer == "core":
        return target != "core"
    anywhere = ("_version", "files", "formatting", "child_process", "extras")
    if target in (importer, *anywhere) or (importer, target) in SIDEWAYS:
        return False
    return target not in LEVEL or LEVEL[target] >= LEVEL[importer]


def test_imports_point_downwards() -> None:
    upwards = {}
    for path in FILES:
        here = room(path)
        if here == "__init__":
            continue  # the public API names every package; test_importing_grace_is_light limits it
        assert here in LEVEL, f"{here}: a room without a place in the order"
        names = imported(ast.parse(path.read_text(encoding="utf-8")), path)
        if found := {n for n in names if forbidden(here, n)}:
            upwards[str(path.relative_to(SOURCE))] = found
    assert len(FILES) > 100
    assert not upwards


def test_the_rule_can_be_broken() -> None:
    assert forbidden("core", "grace.data.labels")
    assert forbidden("core", "grace.models")
    assert forbidden("training", "grace.prediction.artifact")
    assert forbidden("evaluation", "grace.prediction")
    assert forbidden("evaluation", "grace.training")
    assert forbidden("candidates", "grace.prediction.artifact")
    assert forbidden("prediction", "grace.estimator")
    assert forbidden("plots", "grace.decisions")
    assert forbidden("experiments", "grace.report.page")
    assert forbidden("data", "grace.models")
    assert not forbidden("report", "grace.experiments")
    assert not forbidden("candidates", "grace.training.trainer")
    assert not forbidden("experiments", "grace.prediction.predictor")
    text = "from . import gaba\nfrom .. import data\ndef f():\n    import grace.serve.app\n"
    found = imported(ast.parse(text), SOURCE / "core" / "x.py")
    assert found == {"grace.core", "grace", "grace.data", "grace.serve.app"}


def test_a_file_fits_in_one_sitting() -> None:
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert not {str(p.relative_to(SOURCE)): n for p, n in lines.items() if n > 400}


def test_no_drawer_for_everything() -> None:
    bad = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert not [p for p in FILES if p.name in bad or p.stem.endswith("_v2")]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_importing_grace_is_light() -> None:
    heavy = ["torch", "numpy", "scipy", "sklearn", "polars", "pydantic", "matplotlib", "typer"]
    code = f"import sys, grace; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_importing_the_core_needs_no_data_and_no_gradient_surgery() -> None:
    heavy = ["polars", "sklearn", "pydantic", "matplotlib", "torchjd", "typer"]
    code = f"import sys, grace.core; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_importing_changes_no_global_state(tmp_path: Path) -> None:
    code = (
        "import os, torch, random, numpy as np\n"
        "a, b, c = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "import grace.core, grace.models, grace.data, grace.training, grace.experiments\n"
        "import grace.prediction, grace.evaluation\n"
        "assert torch.equal(a, torch.get_rng_state()) and b == random.getstate()\n"
        "assert c == np.random.get_state()[1].tolist()\n"
        "print(os.listdir('.'))"
    )
    assert run_python(code) == "[]"
