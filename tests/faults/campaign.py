"""The full counts of every fault: ``python tests/faults/campaign.py --help``.

Writes its counts as JSON after every item, so that an interrupted campaign loses nothing. The tests
of this folder run small parts of the same functions.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from fault_runs import Foreign, Outcome, Server, leftovers, results
from hostile_folders import attack, make_runs

# A run of about a second.
TINY: dict[str, Any] = {
    "dataset": "sim",
    "dataset_options": {
        "n_train": 7, "n_test": 5, "n_conditions": 1, "onset": [5, 30], "wear_out": [40, 60],
        "test_rul": [5, 40], "short_test_fraction": 0.4,
    },
    "seed": 3,
    "validation_fraction": 0.3,
    "evaluate_baselines": False,
    "features": {"sensors": ["s2", "s3", "s4", "s7", "s11"]},
    "windows": {"length": 10, "stride": 3, "min_history": 1},
    "labels": {"cap": 60, "health_thresholds": [40, 15]},
    "model": {
        "lstm_hidden": 4, "num_heads": 2, "shared_dim": 6, "conv_channels": [4, 6, 4],
        "funnel_hidden": [8, 6],
    },
    "training": {
        "epochs": 3, "batch_size": 32, "steps_per_epoch": 4, "warmup_epochs": 1, "log_every": 1,
        "diagnose_every": 4, "device": "cpu", "deterministic": True, "ema_warmup": True,
        "lr": 0.01,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One fault and what was found after it; ``wrong`` is empty if nothing."""

    kind: str
    force: bool
    at: float
    status: int
    wrong: str


class Trials:
    """Faults over one configuration: each trial begins with a fresh folder.

    Args:
        server: runs the commands.
        space: an empty folder.
    """

    def __init__(self, server: Server, space: Path) -> None:
        self.server, self.space = server, space
        self.config = space / "tiny.yaml"
        self.config.write_text(yaml.safe_dump(TINY))
        self.old, whole = space / "old", space / "whole"
        self.operations, self.seconds = {}, {}
        # With --force, another run was there before.
        assert self._train(self.old, "--seed", "4").status == 0
        done = self._train(whole)
        assert done.status == 0, done.output
        assert done.operations
        self.operations[False], self.seconds[False] = done.operations, done.seconds
        self.expected = results(whole)
        shutil.copytree(self.old, space / "forced")
        forced = self._train(space / "forced", "--force")
        assert forced.status == 0
        assert forced.operations
        self.operations[True], self.seconds[True] = forced.operations, forced.seconds
        self.before = results(self.old)
        assert results(space / "forced") == self.expected != self.before

    def _train(self, folder: Path, *more: str, **fault: Any) -> Outcome:
        arguments = ("train", "--preset", "fast", "--config", self.config, "--out", folder)
        return self.server.run(*arguments, *more, root=folder, **fault)

    def trial(self, kind: str, at: float, *, force: bool, number: int = 0) -> Trial:
        """Do one fault, start again, and compare with the undisturbed run."""
        folder, outside = self.space / "run", self.space / "outside"
        for place in (folder, outside):
            shutil.rmtree(place, ignore_errors=True)
        if force:
            shutil.copytree(self.old, folder)
        foreign = Foreign(folder, outside)
        more = ["--force"] if force else []
        if kind == "signal":
            fault = {"kind": kind, "after": at, "signal": number}
        else:
            fault = {"kind": kind, "at": int(at)}
        hit = self._train(folder, *more, **fault)
        wrong = [*self._of_the_fault(kind, hit), *self._of_the_old_run(folder, force)]
        again = self._train(folder, *more)
        if again.status != 0:
            wrong.append(f"the next start ended with {again.status}: {again.output[-300:]}")
        elif results(folder) != self.expected:
            wrong.append("the results differ from those of the undisturbed run")
        elif left := [x for x in leftovers(folder) if x != ".notes.txt.1.tmp"]:
            wrong.append(f"left behind: {left}")
        if not foreign.untouched():
            wrong.append("a foreign file was touched")
        return Trial(kind, force, at, hit.status, "; ".join(wrong))

    def _of_the_fault(self, kind: str, hit: Outcome) -> Iterator[str]:
        message = hit.output.partition("error: ")[2]
        if kind == "kill" and hit.status != -signal.SIGKILL:
            yield f"was not killed: {hit.status}"
        if kind == "full":
            if not hit.polite:
                yield f"status {hit.status}: {hit.output[-300:]}"
            if hit.status == 2 and str(self.space / "run") not in message:
                yield f"the message names no file: {message!r}"
            if hit.status == 2 and message.strip().count("\n"):
                yield f"the message is not one line: {message!r}"
        if kind == "signal" and hit.status != 0:
            if hit.status not in (130, 143):
                yield f"status {hit.status}: {hit.output[-300:]}"
            elif "kept; the same command continues" not in hit.output:
                yield f"nothing says what is kept: {hit.output[-300:]}"
        if "Traceback" in hit.output:
            yield "a traceback was printed"

    def _of_the_old_run(self, folder: Path, force: bool) -> Iterator[str]:
        """With --force, the folder holds the whole old run or the whole new one, at any moment."""
        if force and not (folder / ".grace-swap.json").exists():
            try:
                if results(folder) not in (self.before, self.expected):
                    yield "the finished run was damaged"
            except (OSError, ValueError) as error:
                yield f"the finished run was damaged: {error}"


def two_processes(first: Server, second: Server, space: Path) -> list[str]:
    """Two trainings of one folder at once: one works, the other is refused or finds it done."""
    from concurrent.futures import ThreadPoolExecutor

    config, folder = space / "tiny.yaml", space / "shared"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ("train", "--preset", "fast", "--config", config, "--out", folder)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(s.run, *arguments, root=folder) for s in (first, second)]
        ended = [one.result() for one in both]
    wrong = [e.output[-300:] for e in ended if not e.polite]
    if all(e.status for e in ended):
        wrong.append("neither finished")
    for one in ended:
        if one.status == 2 and "another process is training here" not in one.output:
            wrong.append(one.output[-300:])
    return wrong


class Counts:
    """Counts by harness, written after every item."""

    def __init__(self, path: Path) -> None:
        self.path, self.counts = path, {}
        self.wrong: list[Any] = []
        self.written = 0.0

    def add(self, harness: str, outcome: str, wrong: Any = None) -> None:
        self.counts.setdefault(harness, Counter())[outcome] += 1
        if wrong:
            self.counts[harness]["wrong"] += 1
            self.wrong.append(wrong)
        if wrong or time.monotonic() - self.written > 2:
            self.write()

    def write(self) -> None:
        content = {"counts": self.counts, "wrong": self.wrong}
        self.path.write_text(json.dumps(content, indent=1, default=str))
        self.written = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("faults.json"))
    parser.add_argument("--folders", type=int, default=1500, help="hostile run folders")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--commands", type=int, default=2, help="commands per hostile folder")
    parser.add_argument("--kills", type=int, default=100, help="kills with --force and without")
    parser.add_argument("--full", type=int, default=40, help="full disks, as for --kills")
    parser.add_argument("--signals", type=int, default=20, help="signals, as for --kills")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes on one folder")
    options = parser.parse_args()
    counts = Counts(options.json)
    with tempfile.TemporaryDirectory() as name:
        space = Path(name)
        if options.kills or options.full or options.signals or options.pairs:
            (space / "one").mkdir()
            (space / "two").mkdir()
            with Server(space / "one") as server, Server(space / "two") as other:
                _faults(options, counts, Trials(server, space / "one"))
                for _ in range(options.pairs):
                    wrong = two_processes(server, other, space / "one")
                    counts.add("two processes", "pairs", wrong)
        (space / "hostile").mkdir()
        _hostile(options, counts, space / "hostile")
    counts.write()
    print(json.dumps({"counts": counts.counts, "wrong": len(counts.wrong)}, indent=1))


def _faults(options: argparse.Namespace, counts: Counts, trials: Trials) -> None:
    rng = random.Random(0)
    for kind, wanted in (("kill", options.kills), ("full", options.full)):
        for force in (False, True):
            points = list(range(1, trials.operations[force] + 1))
            while 0 < len(points) < wanted:
                points += points
            for at in sorted(rng.sample(points, wanted)):
                trial = trials.trial(kind, at, force=force)
                counts.add(
                    f"{kind}{' --force' if force else ''}", f"status {trial.status}",
                    trial.wrong and asdict(trial),
                )  # fmt: skip
            counts.write()
    for force in (False, True):
        for i in range(options.signals):
            number = (signal.SIGTERM, signal.SIGINT)[i % 2]
            at = rng.random() * trials.seconds[force]
            trial = trials.trial("signal", at, force=force, number=number)
            counts.add(
                f"signal{' --force' if force else ''}", f"status {trial.status}",
                trial.wrong and asdict(trial),
            )  # fmt: skip


def _hostile(options: argparse.Namespace, counts: Counts, space: Path) -> None:
    finished, unfinished, config = make_runs(TINY, space)
    for seed in range(options.first, options.first + options.folders):
        cases = attack(seed, finished, unfinished, config, space, kinds=options.commands)
        counts.add("hostile folders", "folders")
        for case in cases:
            outcome = f"{case.command}: status {case.status}"
            counts.add("hostile folders x commands", outcome, case.wrong and asdict(case))


if __name__ == "__main__":
    main()
