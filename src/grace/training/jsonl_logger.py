"""Logs of a run as JSON lines: one object per epoch and one per logged step."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grace.files import append_text, write_text
from grace.training.callbacks import Callback, StepEnd, TrainStart
from grace.training.history import EpochRecord

__all__ = ["JSONLLogger", "read_jsonl"]


# Values that are read by name; all others need only be plain and of equal shape.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        ("lr", "loss", "rul_loss", "health_loss", "grad_norm", "seconds", "floor_share"),
        (float, int),
    ),
    **dict.fromkeys(("weights", "other_losses", "lambda_raw"), list),
    "rmse": dict,
}


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a log, oldest first. Lines that are no record are left out.

    A log is a record of what happened, not an input of anything: a line cut short by a kill or
    damaged on disk must not keep a run from being resumed or reported. A record is a JSON object
    with an integer ``step`` of 0 or more, and an ``epoch`` of 0 or more if other records have one.
    Values that are not numbers, lists of numbers, numbers by name or null are dropped, and so are
    values whose length or names differ from those of most records.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    records: list[dict[str, Any]] = []
    shapes: dict[str, Counter[Any]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict) or not _is_step(record.get("step")):
            continue
        kept = {k: v for k, v in record.items() if _is_plot_value(v) and _is_of_kind(k, v)}
        for key, value in kept.items():
            if value is not None:
                shapes.setdefault(key, Counter())[_shape(value)] += 1
        records.append(kept)
    usual = {key: counted.most_common(1)[0][0] for key, counted in shapes.items()}
    return [
        {k: v for k, v in record.items() if v is None or _shape(v) == usual[k]}
        for record in records
        if "epoch" not in usual or _is_step(record.get("epoch"))
    ]


def _is_of_kind(key: str, value: Any) -> bool:
    if key == "epoch":
        return _is_step(value)
    return value is None or isinstance(value, _KINDS.get(key, object))


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


class JSONLLogger(Callback):
    """Writes ``history.jsonl`` (one line per epoch) and ``telemetry.jsonl`` (per logged step).

    JSON has no NaN and no infinity: null is written instead, and read as None. When a training
    resumes, the lines after its last checkpoint are removed first, because those steps are
    repeated.

    Args:
        folder: where to write; None takes the folder of the run, and writes nothing if the
            training has none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def on_train_start(self, start: TrainStart) -> None:
        """Create the folder and remove the lines of steps that will be repeated."""
        self.folder = self.folder or start.run_dir
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.rewind(start.first_step, [asdict(record) for record in start.history])

    def on_step_end(self, step: StepEnd) -> None:
        """Log losses, gradient norm before clipping, task weights and balancer diagnostics."""
        if step.logged and self.folder is not None:
            plain = {name: value.tolist() for name, value in step.log.as_dict().items()}
            self._append("telemetry.jsonl", {"step": step.step, **plain})

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Log an epoch."""
        self._append("history.jsonl", asdict(record))

    def rewind(self, step: int, history: list[dict[str, Any]]) -> None:
        """Restore both logs to their content before ``step``."""
        if self.folder is not None:
            telemetry = read_jsonl(self.folder / "telemetry.jsonl")
            _rewrite(self.folder / "telemetry.jsonl", [r for r in telemetry if r["step"] < step])
            _rewrite(self.folder / "history.jsonl", history)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        if self.folder is not None:
            append_text(self.folder / name, _line(record))


def _line(record: dict[str, Any]) -> str:
    return json.dumps(_finite(record), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """``value`` with None instead of NaN and infinity, at any depth."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    write_text(path, "".join(map(_line, records)))
