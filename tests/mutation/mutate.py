"""Mutation testing of modules that train: ``python tests/mutation/mutate.py --help``.

mutmut makes the mutants. Its own runner forks after it has run the tests, and torch's threads hang
in such forks. Here a parent that has only imported forks one child per mutant: the child gives the
functions of the module the code of the mutant and runs the module's tests. Outcomes are appended
to a file, one JSON line per mutant, so that an interrupted campaign goes on where it stopped.

Left out are mutants of messages: of ``raise`` statements, and of strings that hold a space.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import importlib
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
STEP = ("tests/training/test_step.py", "tests/training/test_further_tasks.py",
        "tests/training/test_survival_task.py")  # fmt: skip
TRAINER = ("tests/training/test_trainer.py", "tests/training/test_selection.py",
           "tests/training/test_callbacks.py")  # fmt: skip
EDITED = "test_edited_files_are_flagged_in_metrics_report_and_artifact"
RUN = ("tests/experiments/test_run.py", "tests/experiments/test_run_artifact.py",
       "tests/experiments/test_run_evaluation.py", "tests/experiments/test_training_data.py",
       "tests/experiments/test_survival_run.py",
       f"tests/faults/test_hostile_tables.py::{EDITED}")  # fmt: skip
EVALUATION = ("tests/evaluation/test_evaluate.py", "tests/evaluation/test_plausibility.py")
# Module → the tests that are to notice a change of it.
TARGETS: dict[str, tuple[str, ...]] = {
    "grace.training.step": STEP,
    "grace.training.trainer": TRAINER,
    "grace.experiments.run": RUN,
    "grace.experiments.training_data": RUN,
    "grace.experiments.run_evaluation": RUN,
    "grace.evaluation.comparison": ("tests/evaluation/test_comparison.py",),
    "grace.evaluation.ranks": ("tests/evaluation/test_comparison.py",),
    "grace.evaluation.predictor_metrics": EVALUATION,
}


@dataclass(frozen=True)
class Mutant:
    """A changed source; ``name`` identifies the change, ``diff`` shows it."""

    module: str
    name: str
    line: int
    diff: str
    source: str


def mutants(module: str, sample: int | None = None, seed: int = 0) -> tuple[list[Mutant], int]:
    """Mutants of a module but those of messages, or a sample of them, and the number of all."""
    import libcst as cst
    from libcst import matchers
    from mutmut.mutation.file_mutation import create_mutations

    path = source_of(module)
    text = path.read_text(encoding="utf-8")
    # mutmut leaves decorated classes out: it could not put its switch into them.
    text = re.sub(r"^@dataclass(\(.*\))?$", "", text, flags=re.MULTILINE)
    tree, mutations, _, _ = create_mutations(str(path), text)
    raises = matchers.findall(tree, matchers.Raise())
    in_messages = {id(node) for found in raises for node in _descendants(found)}
    chosen = []
    for mutation in mutations:
        old, new = mutation.original_node, mutation.mutated_node
        if mutation.contained_by_top_level_function is None or id(old) in in_messages:
            continue
        if isinstance(old, cst.SimpleString) and (" " in old.value or "XX" not in new.value):
            continue  # a message, or one more change of the same string
        chosen.append(mutation)
    total = len(chosen)
    if sample is not None and sample < total:
        chosen = random.Random(seed).sample(chosen, sample)
    result = []
    for mutation in chosen:
        function = mutation.contained_by_top_level_function
        after = function.deep_replace(mutation.original_node, mutation.mutated_node)
        changed = tree.deep_replace(function, after).code
        diff = list(difflib.unified_diff(text.splitlines(), changed.splitlines(), n=0, lineterm=""))
        line = int(diff[2].split()[1].lstrip("-").split(",")[0])
        name = hashlib.sha256(changed.encode()).hexdigest()[:12]
        result.append(Mutant(module, name, line, "\n".join(diff[3:]), changed))
    return sorted(result, key=lambda m: m.line), total


def _descendants(node: Any) -> Iterator[Any]:
    yield node
    for child in node.children:
        yield from _descendants(child)


def source_of(module: str) -> Path:
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


def functions(namespace: dict[str, Any], module: str) -> Iterator[tuple[str, FunctionType]]:
    """Functions and methods that a module defines, by qualified name."""
    for name, value in namespace.items():
        if isinstance(value, property):
            value = value.fget
        value = getattr(value, "__func__", value)
        if getattr(value, "__module__", None) != module:
            continue
        if isinstance(value, FunctionType):
            yield name, value
        elif isinstance(value, type):
            for inner, function in functions(dict(vars(value)), module):
                yield f"{name}.{inner}", function


def take_over(module: ModuleType, source: str) -> None:
    """Give the functions of a loaded module the code and defaults of another version of it."""
    namespace: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    copy = ModuleType(module.__name__)
    copy.__dict__.update(namespace)
    original = sys.modules[module.__name__]
    sys.modules[module.__name__] = copy  # dataclasses look their module up
    try:
        exec(compile(source, str(module.__file__), "exec", dont_inherit=True), copy.__dict__)
    finally:
        sys.modules[module.__name__] = original
    changed = dict(functions(copy.__dict__, module.__name__))
    for name, function in functions(vars(module), module.__name__):
        if name not in changed:
            continue  # made by a decorator
        other = changed[name]
        function.__code__ = other.__code__
        function.__defaults__, function.__kwdefaults__ = other.__defaults__, other.__kwdefaults__


def run_tests(mutant: Mutant | None, tests: tuple[str, ...], seconds: float) -> tuple[str, float]:
    """Outcome and duration of the tests in a child process; ``None`` is the module as it is."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()  # whatever the tests start ends with them
        status = 3
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            if mutant is not None:
                take_over(sys.modules[mutant.module], mutant.source)
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not slow"]
            options += ["-o", "addopts=--import-mode=importlib --strict-markers"]
            status = int(pytest.main([*options, *tests]))
        except BaseException:  # the mutant cannot be loaded: noticed
            status = 1
        finally:
            os._exit(status)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        spent = time.monotonic() - began
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return {0: "survived", 1: "killed"}.get(code, f"status {code}"), spent
        if spent > seconds:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "killed by timeout", spent
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", action="append", choices=sorted(TARGETS), help="default: all")
    parser.add_argument("--sample", type=int, help="mutants per module, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, help="seconds; default: ten times the tests' own")
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / "src"))
    done = {}
    if options.out.exists():
        done = {r["name"]: r for r in map(json.loads, options.out.read_text().splitlines())}
    for module in options.module or TARGETS:
        importlib.import_module(module)
    for name in ("pytest", "hypothesis", "sklearn.ensemble", "grace.cli", "grace.report"):
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    for module in options.module or TARGETS:
        tests = TARGETS[module]
        chosen, total = mutants(module, options.sample, options.seed)
        outcome, spent = run_tests(None, tests, 1800.0)
        if outcome != "survived":
            sys.exit(f"{module}: the tests fail without any mutant ({outcome})")
        limit = options.timeout or 10.0 * spent + 30.0
        print(f"{module}: {len(chosen)} of {total} mutants, tests take {spent:.0f} s", flush=True)
        counts: Counter[str] = Counter()
        for mutant in chosen:
            if mutant.name in done:
                counts[done[mutant.name]["outcome"]] += 1
                continue
            outcome, spent = run_tests(mutant, tests, limit)
            counts[outcome] += 1
            record = {k: v for k, v in asdict(mutant).items() if k != "source"}
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**record, "outcome": outcome, "seconds": spent}) + "\n")
            if not outcome.startswith("killed"):
                print(f"{outcome}: {source_of(module)}:{mutant.line}\n{mutant.diff}\n", flush=True)
        print(f"{module}: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
