"""Damaged and malicious run folders, generated from a seed, and the rule that commands must keep.

A hostile folder is a copy of a run in which one or two files are damaged (cut, flipped bits, other
bytes, a folder or a link in their place) or hold well-formed but wrong content (other types, huge
numbers, NaN, missing keys, deep nesting, control characters). Wrong content is usually signed
again, so that not only the digests are tested but every reader behind them.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import typer
from damage import FINISHED, UNFINISHED, damage
from typer.testing import CliRunner

from grace.cli import app
from grace.cli.shared import out, plain_errors
from grace.experiments import ResultsStore, runs_table
from grace.report.grid import render_grid

LIMIT_SECONDS = 120
table_app = typer.Typer()


@table_app.callback()
def nothing() -> None:
    """Makes ``table`` a subcommand."""


@table_app.command()
def table(folder: Path, store: Path) -> None:
    """What `grace grid` does with its runs at the end."""
    with plain_errors():
        runs = runs_table([folder])
        out.print(render_grid(runs, reference=runs["method"][0]))
        with ResultsStore(store) as opened:
            opened.add(folder)
            out.print(opened.scores())


class TimeLimitError(BaseException):
    """A command took longer than any honest one."""


@dataclass(frozen=True)
class Case:
    """A command over a hostile folder, and what is wrong with how it ended ("" if nothing)."""

    seed: int
    damage: str
    command: str
    status: int
    wrong: str
    output: str


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def invoke(*arguments: str | Path) -> tuple[int, BaseException | None, str]:
    """Exit status, the exception that is no exit, and the output of ``grace *arguments``."""
    try:
        with time_limit(LIMIT_SECONDS):
            one = table_app if arguments[0] == "table" else app
            done = CliRunner().invoke(one, list(map(str, arguments)), env={"COLUMNS": "200"})
    except TimeLimitError as error:
        return 99, error, ""
    error = None if isinstance(done.exception, SystemExit) else done.exception
    return done.exit_code, error, done.output


def check_outcome(
    command: str, folder: Path, status: int, error: BaseException | None, text: str
) -> str:
    """What breaks the rule: status 0 or 2, no traceback, and one line that names the file."""
    if error is not None:
        return f"{type(error).__name__}: {error}"[:300]
    if status == 1 and command == "evaluate" and "These results differ" in text:
        return ""  # that is what this status is for
    if status == 1 and command == "grid" and "failed:" in text:
        return ""
    if status not in (0, 2):
        return f"status {status}"
    if "Traceback" in text:
        return "a traceback was printed"
    if any(ord(c) < 32 and c not in "\n\t" for c in text):
        return "control characters were printed"
    if status == 2:
        _, found, message = text.partition("error: ")
        if not found or message.rstrip("\n").count("\n"):
            return "the message is not one line"
        names_unit = re.search(r"\bunit \S", message)  # of the data, where no file is at fault
        if str(folder) not in message and not names_unit:
            return "the message names neither file nor unit"
    return ""


FAST = ("evaluate", "report", "predict", "train", "table")


def commands(folder: Path, config: Path, out: Path) -> dict[str, list[str | Path]]:
    """Every command that reads a run folder."""
    again: list[str | Path] = ["train", "--preset", "fast", "--config", config, "--out", folder]
    return {
        "evaluate": ["evaluate", folder],
        "report": ["report", folder, "--out", out / "report.html"],
        "predict": ["predict", folder],
        "train": [*again, "--no-report"],
        "export": ["export", folder, "--out", out / "model.onnx"],
        "table": ["table", folder, out / "results.sqlite"],
    }


def attack(
    seed: int, finished: Path, unfinished: Path, config: Path, space: Path, *, kinds: int = 6
) -> list[Case]:
    """Make hostile folder number ``seed`` and give it to the commands; one case per command."""
    rng = random.Random(seed)
    resume = rng.random() < 0.2
    folder, written = space / f"run{seed}", space / f"out{seed}"
    shutil.copytree(unfinished if resume else finished, folder, symlinks=True)
    written.mkdir()
    did = damage(folder, UNFINISHED if resume else FINISHED, rng)
    offered = commands(folder, config, written)
    chosen = ["train"] if resume else rng.sample(FAST, k=min(kinds, len(FAST)))
    if not resume and rng.random() < 0.02:
        chosen.append("export")  # seconds, if the artifact can be read
    found = []
    for name in chosen:
        status, error, text = invoke(*offered[name])
        wrong = check_outcome(name, folder, status, error, text)
        found.append(Case(seed, did, name, status, wrong, text if wrong else ""))
    for path in (folder, written):
        shutil.rmtree(path, ignore_errors=True)
    return found


def attack_model(seed: int, model: Path, table: Path, space: Path) -> Case:
    """Make hostile copy number ``seed`` of a saved estimator and predict with it."""
    rng = random.Random(seed)
    folder = space / f"model{seed}"
    shutil.copytree(model, folder)
    did = damage(folder, tuple(sorted(p.name for p in model.iterdir())), rng)
    status, error, text = invoke("predict", table, "--model", folder)
    wrong = check_outcome("predict", folder, status, error, text)
    shutil.rmtree(folder, ignore_errors=True)
    return Case(seed, did, "predict --model", status, wrong, text if wrong else "")


def make_model(space: Path) -> tuple[Path, Path]:
    """A saved estimator and a table of units in service."""
    import numpy as np

    from grace.estimator import RULModel

    rng = np.random.default_rng(0)
    rows = [
        {"unit": f"p{u}", "hour": t, "heat": 20 + 0.02 * t**1.5 + rng.normal(0, 0.3),
         "load": rng.normal(5, 1), "failed": int(t == 30 + u)}
        for u in range(12) for t in range(1, 31 + u)
    ]  # fmt: skip
    frame = pl.DataFrame(rows)
    keys = {"unit": "unit", "time": "hour", "time_unit": "hours", "fate": "failed"}
    RULModel(candidates=["linear", "similarity"], seed=0).fit(frame, **keys).save(space / "model")
    table = space / "today.csv"
    frame.filter(pl.col("hour") < 20).drop("failed").write_csv(table)
    return space / "model", table


def make_runs(values: dict[str, Any], space: Path) -> tuple[Path, Path, Path]:
    """A finished run, one that was interrupted after its first epoch, and their configuration."""
    import yaml

    from grace.experiments.run import run
    from grace.training.callbacks import Callback
    from grace.training.config import RunConfig

    class StopError(Exception):
        pass

    class Stop(Callback):
        def on_step_end(self, step: Any) -> None:
            if step.epoch == 1:
                raise StopError

    config = space / "tiny.yaml"
    config.write_text(yaml.safe_dump(values))
    loaded = RunConfig.load(preset="fast", file=config)
    run(loaded, space / "finished")
    with suppress(StopError):
        run(loaded, space / "unfinished", callbacks=[Stop()])
    assert os.path.exists(space / "unfinished" / "checkpoint.pt")
    return space / "finished", space / "unfinished", config
