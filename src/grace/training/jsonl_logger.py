"""Logs of a run: one JSON object per line, for epochs and for steps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from grace.files import open_append, write_text
from grace.training.step import StepLog

__all__ = ["JSONLLogger", "read_jsonl"]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a log, oldest first. Lines that are no record are left out.

    A log is a record of what happened, not an input of anything: a line cut short by a kill or
    damaged on disk must not keep a run from being resumed or reported. A record is a JSON object
    with an integer ``step`` of 0 or more; values that are not numbers, lists of numbers or null
    are dropped, and so are values whose length differs from that of the first record.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    records: list[dict[str, Any]] = []
    shapes: dict[str, Any] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict) or not _is_step(record.get("step")):
            continue
        kept = {k: v for k, v in record.items() if _is_plot_value(v)}
        for key, value in kept.items():
            if value is not None:
                shapes.setdefault(key, _shape(value))
        records.append({k: v for k, v in kept.items() if v is None or _shape(v) == shapes[k]})
    return records


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    if value is None or isinstance(value, float):
        return True
    return isinstance(value, int) and abs(value) < 2**63


def _shape(value: Any) -> Any:
    """Length of a list, names of a mapping, None of a number: equal in every record of a log."""
    if isinstance(value, dict):
        return tuple(sorted(value))
    return len(value) if isinstance(value, list) else None


def _is_plot_value(value: Any) -> bool:
    """Whether a logged value is a number, null, a list of those, or numbers by name."""
    if isinstance(value, dict):
        return all(_is_number(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_number(item) for item in value)
    return _is_number(value)


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
            plain = {name: value.tolist() for name, value in log.as_dict().items()}
            self._append("telemetry.jsonl", {"step": step, **plain})

    def _append(self, name: str, record: dict[str, Any]) -> None:
        if self.folder is not None:
            with open_append(self.folder / name) as file:
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
    write_text(path, "".join(map(_line, records)))
