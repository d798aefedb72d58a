"""Logs of a run: one JSON object per line, for epochs and for steps."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from grace.training.step import StepLog

__all__ = ["JSONLLogger", "read_jsonl"]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a log, oldest first; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class JSONLLogger:
    """Appends to ``history.jsonl`` (epochs) and ``telemetry.jsonl`` (steps); None logs nothing.

    JSON has no NaN and no infinity: null is written in their place, and read as None.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def rewind(self, step: int, history: list[dict[str, Any]]) -> None:
        """Bring both logs to the state they had before ``step``: the rest will be logged again."""
        if self.folder is not None:
            telemetry = read_jsonl(self.folder / "telemetry.jsonl")
            _rewrite(self.folder / "telemetry.jsonl", [r for r in telemetry if r["step"] < step])
            _rewrite(self.folder / "history.jsonl", history)

    def epoch(self, record: dict[str, Any]) -> None:
        """Log an epoch."""
        self._append("history.jsonl", record)

    def step(self, step: int, log: StepLog) -> None:
        """Log a step: losses, gradient norm before clipping, λ, and the balancer's diagnostics."""
        if self.folder is not None:
            values = {k: v for k, v in vars(log).items() if k != "diagnostics"} | log.diagnostics
            plain = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in values.items()}
            self._append("telemetry.jsonl", {"step": step, **plain})

    def _append(self, name: str, record: dict[str, Any]) -> None:
        if self.folder is not None:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(_line(record))


def _line(record: dict[str, Any]) -> str:
    return json.dumps(_finite(record), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """``value`` with None in the place of every NaN and infinity, at any depth."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(map(_line, records)), encoding="utf-8")
    os.replace(temporary, path)
