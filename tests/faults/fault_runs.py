"""Client of ``faulty_process``, and what must hold of a run folder after a fault."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

SERVER = Path(__file__).with_name("faulty_process.py")
# Equal to the bit in every training of one configuration on one machine.
BITWISE = (
    "weights.safetensors", "predictions.parquet", "validation_predictions.parquet",
    "metrics.json", "telemetry.jsonl",
)  # fmt: skip
VOLATILE = ("created", "sha256", "environment")


@dataclass(frozen=True)
class Outcome:
    """How a command ended; ``operations`` is None if it was killed."""

    status: int
    output: str
    operations: int | None
    seconds: float

    @property
    def polite(self) -> bool:
        """Whether it ended well or with a message, never with a traceback."""
        return self.status in (0, 2) and "Traceback" not in self.output


class Server:
    """Runs commands in forked children; a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Server:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        assert self._line() == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def run(
        self, *argv: str | Path, root: Path, kind: str = "none", at: int = 0, **more: Any
    ) -> Outcome:
        """Run ``grace *argv`` with a fault at the ``at``-th file operation below ``root``."""
        output = self.folder / "output.txt"
        request = {
            "argv": list(map(str, argv)), "cwd": str(self.folder), "root": str(root),
            "kind": kind, "at": at, "output": str(output), **more,
        }  # fmt: skip
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._line())
        return Outcome(output=output.read_text(errors="replace"), **answer)


def results(folder: Path) -> dict[str, Any]:
    """What two trainings of one configuration must have in common."""
    found: dict[str, Any] = {name: digest(folder / name) for name in BITWISE}
    records = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    found["history"] = [{k: v for k, v in r.items() if k != "seconds"} for r in records]
    content = json.loads((folder / "artifact.json").read_text())
    content["provenance"] = {
        k: v for k, v in content["provenance"].items() if not k.endswith("seconds")
    }
    found["artifact"] = {k: v for k, v in content.items() if k not in VOLATILE}
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Files that a finished run must not leave behind."""
    return sorted(
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if p.name.endswith(".tmp") or p.name in ("checkpoint.pt", ".grace-swap.json")
        or p.name == ".grace-retrain"
    )  # fmt: skip


class Foreign:
    """Files in and next to a run folder that the software did not write."""

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder, self.outside = folder, outside
        outside.mkdir()
        (outside / "target.html").write_text("the target of a link")
        folder.mkdir(exist_ok=True)
        (folder / "notes.txt").write_text("written by a person")
        (folder / ".notes.txt.1.tmp").write_text("a name like ours")
        (folder / "plots").mkdir()
        (folder / "plots" / "metrics.json").write_text("{}")
        (folder / "link.html").symlink_to(outside / "target.html")
        self.before = self._state()

    def _state(self) -> dict[str, str]:
        mine = (
            "notes.txt", ".notes.txt.1.tmp", "plots/metrics.json", "link.html",
        )  # fmt: skip
        state = {name: digest(self.folder / name) for name in mine}
        state["link"] = os.readlink(self.folder / "link.html")
        state |= {str(p): digest(p) for p in self.outside.iterdir()}
        return state

    def untouched(self) -> bool:
        return self._state() == self.before
